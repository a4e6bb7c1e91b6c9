//! A map behind a map: values go to the end of a file of our own, and the engine keeps only where each of them lies.
//!
//! sled writes a page several times before it rests, and pages of large values go to files that it never gives back;
//! with a few bytes for each value there is little to write again. What is written over or removed stays in the file until
//! the map is copied, which happens when its time is over. Bytes that are damaged, or that a cut left out, are handed on as
//! they are found: every value carries a checksum of its own, and whoever reads it says which one is damaged.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use parking_lot::Mutex;

use super::{Kv, KvError, Pair, failed};

const NAME: &str = "values";
/// A value that is not longer than this stays with the engine.
const INLINE_BYTES: usize = 64;
/// How an entry of the engine begins.
const INLINE: u8 = 0;
const ELSEWHERE: u8 = 1;

/// The map.
#[derive(Debug)]
pub(super) struct ValuesKv<K> {
    inner: K,
    file: File,
    /// Where the next value goes.
    end: Mutex<u64>,
}

/// Creates the file of a new map; durable with its directory.
pub(super) fn create(dir: &Path) -> io::Result<()> {
    File::create_new(dir.join(NAME))?.sync_all()
}

/// Whether the map in this directory has its values in a file of their own.
pub(super) fn exist(dir: &Path) -> bool {
    dir.join(NAME).exists()
}

impl<K: Kv> ValuesKv<K> {
    /// Puts the values that are found in `dir` behind its map.
    pub(super) fn open(inner: K, dir: &Path) -> Result<Self, KvError> {
        let opened = OpenOptions::new().read(true).write(true).open(dir.join(NAME));
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KvError::Damaged { why: format!("its file `{NAME}` is missing") });
            }
            opened => opened.map_err(failed)?,
        };
        // What a cut left at the end belongs to nobody, and stays.
        let end = Mutex::new(file.metadata().map_err(failed)?.len());
        Ok(Self { inner, file, end })
    }

    fn put_away(&self, value: &[u8]) -> Result<Vec<u8>, KvError> {
        if value.len() <= INLINE_BYTES {
            return Ok([&[INLINE], value].concat());
        }
        let mut end = self.end.lock();
        self.file.write_all_at(value, *end).map_err(failed)?;
        let place = Place { begin: *end, len: u32::try_from(value.len()).map_err(failed)? };
        *end += u64::from(place.len);
        Ok(place.to_bytes())
    }

    fn fetch(&self, entry: &[u8]) -> Result<Vec<u8>, KvError> {
        match entry.split_first() {
            Some((&INLINE, value)) => Ok(value.to_vec()),
            Some((&ELSEWHERE, place)) => self.read(Place::from_bytes(place).ok_or_else(damaged)?),
            Some(_) | None => Err(damaged()),
        }
    }

    fn read(&self, place: Place) -> Result<Vec<u8>, KvError> {
        let left = self.end.lock().saturating_sub(place.begin);
        let len = usize::try_from(u64::from(place.len).min(left)).map_err(failed)?;
        let mut value = vec![0; len];
        self.file.read_exact_at(&mut value, place.begin).map_err(failed)?;
        Ok(value)
    }
}

impl<K: Kv> Kv for ValuesKv<K> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.inner.get(key)?.map(|entry| self.fetch(&entry)).transpose()
    }

    fn scan(&self, keys: Range<Vec<u8>>) -> Result<Vec<Pair>, KvError> {
        let entries = self.inner.scan(keys)?.into_iter();
        entries.map(|(key, entry)| Ok((key, self.fetch(&entry)?))).collect()
    }

    fn keys(&self, keys: Range<Vec<u8>>) -> Result<Vec<Vec<u8>>, KvError> {
        self.inner.keys(keys)
    }

    fn write(&self, pairs: Vec<Pair>, gone: Vec<Vec<u8>>) -> Result<(), KvError> {
        let entries: Result<_, KvError> =
            pairs.into_iter().map(|(key, value)| Ok((key, self.put_away(&value)?))).collect();
        self.inner.write(entries?, gone)
    }

    /// The values first: an entry must never lead to a value that is not there.
    fn sync(&self) -> Result<(), KvError> {
        self.file.sync_data().map_err(failed)?;
        self.inner.sync()
    }
}

/// Where a value lies in the file.
#[derive(Debug, Clone, Copy)]
struct Place {
    begin: u64,
    len: u32,
}

impl Place {
    fn to_bytes(self) -> Vec<u8> {
        [&[ELSEWHERE], self.begin.to_le_bytes().as_slice(), &self.len.to_le_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (begin, len) = bytes.split_first_chunk::<8>()?;
        Some(Self { begin: u64::from_le_bytes(*begin), len: u32::from_le_bytes(len.try_into().ok()?) })
    }
}

fn damaged() -> KvError {
    KvError::Damaged { why: "an entry leads nowhere".to_owned() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Engine as _, MemoryEngine};
    use super::*;

    fn open(engine: &MemoryEngine, dir: &Path) -> ValuesKv<Arc<dyn Kv>> {
        ValuesKv::open(engine.open(dir).unwrap(), dir).unwrap()
    }

    fn long(letter: &str) -> Vec<u8> {
        letter.repeat(1_000).into_bytes()
    }

    fn file(dir: &Path) -> Vec<u8> {
        std::fs::read(dir.join(NAME)).unwrap()
    }

    #[test]
    fn short_values_stay_with_the_engine_and_long_ones_are_written_once() {
        let (temp, engine) = (tempfile::tempdir().unwrap(), MemoryEngine::default());
        create(temp.path()).unwrap();
        let kv = open(&engine, temp.path());
        let pairs =
            vec![(b"a".to_vec(), long("a")), (b"b".to_vec(), b"short".to_vec()), (b"c".to_vec(), long("c"))];
        kv.write(pairs.clone(), vec![]).unwrap();
        kv.sync().unwrap();
        assert_eq!(file(temp.path()).len(), 2_000);
        drop(kv);
        let kv = open(&engine, temp.path());
        assert_eq!(kv.scan(b"a".to_vec()..b"z".to_vec()).unwrap(), pairs);
        kv.write(vec![(b"a".to_vec(), long("x"))], vec![b"c".to_vec()]).unwrap();
        assert_eq!(kv.get(b"a").unwrap(), Some(long("x")));
        assert_eq!(kv.get(b"c").unwrap(), None);
        assert_eq!(file(temp.path()).len(), 3_000);
    }

    #[test]
    fn what_is_damaged_or_cut_off_is_handed_on_as_it_is_and_the_others_are_whole() {
        let (temp, engine) = (tempfile::tempdir().unwrap(), MemoryEngine::default());
        create(temp.path()).unwrap();
        let kv = open(&engine, temp.path());
        kv.write(["a", "b", "c"].map(|key| (key.into(), long(key))).to_vec(), vec![]).unwrap();
        kv.sync().unwrap();
        drop(kv);
        let mut bytes = file(temp.path());
        bytes[10] = b'!';
        bytes.truncate(2_500);
        std::fs::write(temp.path().join(NAME), &bytes).unwrap();
        let kv = open(&engine, temp.path());
        assert_eq!(kv.get(b"a").unwrap().unwrap(), bytes[..1_000]);
        assert_eq!(kv.get(b"b").unwrap().unwrap(), long("b"));
        assert_eq!(kv.get(b"c").unwrap().unwrap(), bytes[2_000..]);
        std::fs::remove_file(temp.path().join(NAME)).unwrap();
        let gone = ValuesKv::open(engine.open(temp.path()).unwrap(), temp.path());
        assert!(matches!(gone, Err(KvError::Damaged { .. })));
    }
}
