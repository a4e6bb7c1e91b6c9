//! The sled engine: one database per directory.
//!
//! Three of sled's habits shape this file. Its flush asks the kernel to write but not the drive, so a sync is a flush
//! and then a real sync through a descriptor of our own. A damaged file may make it panic instead of return, when it is
//! opened or when it is read. And one that is damaged enough opens as if it were new, so every database carries a mark
//! that must be found again. The mark also says where its values are: with the database in its first form, beside it since.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::directories;
use super::tail::TailKv;
use super::values::{self, ValuesKv};
use super::{Engine, Kv, KvError, Pair, failed};

/// How much each open database may cache.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// The least a database takes on disk: with its values beside it it holds little more than keys. Those of the first form
/// have sled's own half a megabyte.
const SEGMENT_BYTES: usize = 64 * 1024;
/// A database that was just closed holds its lock a little longer: its threads have to end.
const LOCK_RETRIES: u32 = 200;
const LOCK_RETRY_AFTER: Duration = Duration::from_millis(10);

/// Written when a database is created. A damaged file may open without an error, as if it were a new one; then this
/// is missing. Keys of readings begin with a larger byte.
const MARK: &[u8] = &[0];
/// What the mark says when the values are beside the database. It said nothing before.
const VALUES_BESIDE: &[u8] = b"values";

/// Opens sled databases.
#[derive(Debug, Clone, Copy, Default)]
pub struct SledEngine;

#[derive(Debug)]
struct SledKv {
    /// There until it is dropped.
    db: Option<sled::Db>,
    /// Our own descriptor of the database's only file, to sync it.
    file: File,
}

impl Kv for SledKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.guarded(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    fn scan(&self, keys: Range<Vec<u8>>) -> Result<Vec<Pair>, KvError> {
        let pair = |(key, value): (sled::IVec, sled::IVec)| (key.to_vec(), value.to_vec());
        self.guarded(|db| db.range(keys).map(|found| found.map(pair)).collect())
    }

    fn keys(&self, keys: Range<Vec<u8>>) -> Result<Vec<Vec<u8>>, KvError> {
        self.guarded(|db| db.range(keys).keys().map(|key| key.map(|key| key.to_vec())).collect())
    }

    fn write(&self, pairs: Vec<Pair>, gone: Vec<Vec<u8>>) -> Result<(), KvError> {
        let mut batch = sled::Batch::default();
        for key in gone {
            batch.remove(key);
        }
        for (key, value) in pairs {
            batch.insert(key, value);
        }
        self.guarded(|db| db.apply_batch(batch))
    }

    fn sync(&self) -> Result<(), KvError> {
        self.guarded(|db| db.flush())?;
        self.file.sync_data().map_err(failed)
    }
}

impl SledKv {
    fn guarded<T>(&self, act: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, KvError> {
        let db = self.db.as_ref().ok_or(KvError::Busy)?;
        guarded(|| act(db))
    }
}

/// A damaged database may panic once more when it is closed.
impl Drop for SledKv {
    fn drop(&mut self) {
        let db = self.db.take();
        let close = || {
            drop(db);
            Ok(())
        };
        if let Err(error) = guarded(close) {
            tracing::debug!(%error, "a damaged bucket was closed");
        }
    }
}

/// Takes a panic of the engine for what it is: the word that it found what it never wrote.
fn guarded<T>(act: impl FnOnce() -> sled::Result<T>) -> Result<T, KvError> {
    // Nothing of ours is shared with the closure but the database, which is set aside after it.
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(result) => result.map_err(classify),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(KvError::Damaged { why: text.unwrap_or("its engine panicked").to_owned() })
        }
    }
}

impl Engine for SledEngine {
    fn open(&self, dir: &Path) -> Result<Arc<dyn Kv>, KvError> {
        if !dir.exists() {
            directories::create(dir, create)?;
        }
        let db = open_when_free(dir)?;
        let file = File::open(dir.join("db")).map_err(failed)?;
        let sled = SledKv { db: Some(db), file };
        let Some(mark) = sled.get(MARK)? else {
            return Err(KvError::Damaged { why: "it is empty, though it was once created".to_owned() });
        };
        if mark.is_empty() {
            return Ok(Arc::new(TailKv::open(sled, dir)?));
        }
        Ok(Arc::new(TailKv::open(ValuesKv::open(sled, dir)?, dir)?))
    }
}

fn create(dir: &Path) -> Result<(), KvError> {
    values::create(dir).map_err(failed)?;
    let db = open_when_free(dir)?;
    db.insert(MARK, VALUES_BESIDE).map_err(classify)?;
    db.flush().map_err(classify)?;
    File::open(dir.join("db")).and_then(|file| file.sync_all()).map_err(failed)
}

fn open_when_free(dir: &Path) -> Result<sled::Db, KvError> {
    for _ in 0..LOCK_RETRIES {
        match open_guarded(dir) {
            Err(KvError::Busy) => thread::sleep(LOCK_RETRY_AFTER),
            result => return result,
        }
    }
    Err(KvError::Busy)
}

fn open_guarded(dir: &Path) -> Result<sled::Db, KvError> {
    let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES);
    let config = if values::exist(dir) { config.segment_size(SEGMENT_BYTES) } else { config };
    guarded(|| config.open())
}

fn classify(error: sled::Error) -> KvError {
    match error {
        sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => KvError::Busy,
        sled::Error::Io(error)
            if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
        {
            KvError::Damaged { why: error.to_string() }
        }
        sled::Error::Corruption { .. } | sled::Error::ReportableBug(_) => {
            KvError::Damaged { why: error.to_string() }
        }
        // It was created in another form than what lies beside it says.
        sled::Error::Unsupported(why) => KvError::Damaged { why },
        sled::Error::Io(_) | sled::Error::CollectionNotFound(_) => failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_engine_is_damage_with_what_it_said() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("one");
        drop(SledEngine.open(&dir).unwrap());
        let (db, file) = (open_when_free(&dir).unwrap(), File::open(dir.join("db")).unwrap());
        let kv = SledKv { db: Some(db), file };
        let error = kv.guarded::<()>(|_| panic!("page {} is not there", 7)).unwrap_err();
        assert!(matches!(&error, KvError::Damaged { why } if why == "page 7 is not there"), "{error}");
        assert!(kv.get(MARK).unwrap().is_some(), "it is still there for whoever has it open");
    }
}
