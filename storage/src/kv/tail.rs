//! A map in front of a map: small writes go to the end of a file of our own until there are enough of them to be worth
//! the engine's while, because sled writes hundreds of kilobytes to make a few hundred bytes durable.
//!
//! What is in the file is also in memory, and goes before what the engine has. It is written over again into the engine
//! as a whole, and only then is the file emptied; doing that twice changes nothing. The file lives in the map's directory
//! and goes where that goes.
//!
//! After each such turn the file begins anew with how many keys the engine has and their checksum: a damaged file makes
//! sled forget keys without a word, and whoever opens the map again counts them.
//!
//! A last record that is not whole is a write that a cut of the power tore, and nobody was told that it is durable. What was
//! synced is followed by the mark of that: with the mark behind it a record was whole once, and is damaged. The mark needs
//! no sync of its own, as it outlives a kill without; only a cut of the power may take it away.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::{Kv, KvError, Pair};
use crate::frame::column::{Reader, push};

const NAME: &str = "tail";
/// With more than this the engine is given all of it.
const SPILL_BYTES: usize = 512 * 1024;
/// Never more than this waits in memory.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Length and checksum.
const HEADER_BYTES: usize = 8;
/// Under which the file keeps the engine's census, as if it were a key. Keys of others begin with a larger byte.
const CENSUS: &[u8] = &[0, 1];

/// The map.
#[derive(Debug)]
pub(super) struct TailKv<K> {
    inner: K,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the engine does not have yet; `None` is a key that is gone.
    ahead: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// How large all that is.
    bytes: usize,
    /// Records that are not in the file yet.
    unwritten: Vec<u8>,
    file: Option<File>,
    /// What the engine had after it was given all of it last.
    census: Option<Census>,
}

impl State {
    fn apply(&mut self, pairs: Vec<Pair>, gone: Vec<Vec<u8>>) {
        let gone = gone.into_iter().map(|key| (key, None));
        for (key, value) in gone.chain(pairs.into_iter().map(|(key, value)| (key, Some(value)))) {
            self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            self.ahead.insert(key, value);
        }
    }

    /// Counts the engine's keys again, where they were counted before. Of those that the file changes some may have been
    /// changed already, so with them only too few are noticed.
    fn check(&self, engine: &impl Kv) -> Result<(), KvError> {
        let Some(then) = self.census else { return Ok(()) };
        let now = Census::take(engine)?;
        let changed = u64::try_from(self.ahead.len()).unwrap_or(u64::MAX);
        let is_well =
            if self.ahead.is_empty() { now == then } else { now.keys.saturating_add(changed) >= then.keys };
        if is_well {
            return Ok(());
        }
        let why = format!("it has {} keys, and had {} when they were written", now.keys, then.keys);
        Err(KvError::Damaged { why })
    }
}

impl<K: Kv> TailKv<K> {
    /// Puts the tail that is found in `dir` in front of its map.
    pub(super) fn open(inner: K, dir: &Path) -> Result<Self, KvError> {
        let path = dir.join(NAME);
        let mut state = State::default();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let good = replay(&bytes, &mut state)?;
        if let Some(Some(census)) = state.ahead.remove(CENSUS) {
            state.census = Some(Census::from_bytes(&census).ok_or_else(damaged)?);
        }
        state.check(&inner)?;
        if good < bytes.len() {
            // A write that was cut short; nobody was told that it is durable.
            let file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
            let len = u64::try_from(good).unwrap_or(u64::MAX);
            file.set_len(len).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        Ok(Self { inner, path, state: Mutex::new(state) })
    }

    fn append(&self, state: &mut State) -> io::Result<()> {
        let new = state.file.is_none();
        let mut file = match state.file.take() {
            Some(file) => file,
            None => OpenOptions::new().create(true).append(true).open(&self.path)?,
        };
        let len = file.metadata()?.len();
        if let Err(error) = file.write_all(&state.unwritten).and_then(|()| file.sync_data()) {
            // What of it is there nobody can say, so none of it may stay.
            file.set_len(len)?;
            return Err(error);
        }
        if let Some(dir) = self.path.parent().filter(|_| new) {
            File::open(dir)?.sync_all()?;
        }
        self.mark(&mut file)?;
        state.file = Some(file);
        state.unwritten.clear();
        Ok(())
    }

    /// Says in the file that what it has was synced. Without the mark nothing is lost but the word that a damaged last
    /// record was whole, so it may fail as long as nothing of it stays.
    fn mark(&self, file: &mut File) -> io::Result<()> {
        let mut mark = Vec::new();
        push_mark(&mut mark);
        let len = file.metadata()?.len();
        let Err(error) = file.write_all(&mark) else { return Ok(()) };
        tracing::debug!(%error, path = %self.path.display(), "what was synced has no mark");
        file.set_len(len)
    }

    /// Gives the engine all of it, key by key, so that no batch grows with what waits. A cut between two keys leaves some
    /// of them behind, so all of it must be in our file first, to be found again.
    fn spill(&self, state: &mut State) -> Result<(), KvError> {
        if !state.unwritten.is_empty() {
            self.append(state).map_err(failed)?;
        }
        for (key, value) in &state.ahead {
            match value {
                Some(value) => self.inner.write(vec![(key.clone(), value.clone())], Vec::new())?,
                None => self.inner.write(Vec::new(), vec![key.clone()])?,
            }
        }
        self.inner.sync()?;
        let census = Census::take(&self.inner)?;
        self.begin_anew(census).map_err(failed)?;
        *state = State { census: Some(census), ..State::default() };
        Ok(())
    }

    /// Puts a file that has only the census in the place of the one whose records the engine has.
    fn begin_anew(&self, census: Census) -> io::Result<()> {
        let mut record = Vec::new();
        push_record(&mut record, &[(CENSUS.to_vec(), census.to_bytes())], &[]);
        push_mark(&mut record);
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(&record)?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        self.path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    }
}

impl<K: Kv> Kv for TailKv<K> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        if let Some(value) = self.state.lock().ahead.get(key) {
            return Ok(value.clone());
        }
        self.inner.get(key)
    }

    fn scan(&self, keys: Range<Vec<u8>>) -> Result<Vec<Pair>, KvError> {
        // The lock is held so that nothing moves from here to there in between.
        let state = self.state.lock();
        let found = self.inner.scan(keys.clone())?;
        if state.ahead.range(keys.clone()).next().is_none() {
            return Ok(found);
        }
        let mut merged: BTreeMap<_, _> = found.into_iter().map(|(key, value)| (key, Some(value))).collect();
        merged.extend(state.ahead.range(keys).map(|(key, value)| (key.clone(), value.clone())));
        Ok(merged.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }

    fn keys(&self, keys: Range<Vec<u8>>) -> Result<Vec<Vec<u8>>, KvError> {
        let state = self.state.lock();
        let mut found: Vec<_> = self.inner.keys(keys.clone())?;
        found.retain(|key| !state.ahead.contains_key(key));
        let ahead = state.ahead.range(keys).filter(|(_, value)| value.is_some());
        found.extend(ahead.map(|(key, _)| key.clone()));
        found.sort_unstable();
        Ok(found)
    }

    fn write(&self, pairs: Vec<Pair>, gone: Vec<Vec<u8>>) -> Result<(), KvError> {
        let mut state = self.state.lock();
        push_record(&mut state.unwritten, &pairs, &gone);
        state.apply(pairs, gone);
        // Durable earlier than asked for is no harm, and memory has its limits.
        if state.bytes > MOST_BYTES { self.spill(&mut state) } else { Ok(()) }
    }

    fn sync(&self) -> Result<(), KvError> {
        let mut state = self.state.lock();
        if state.bytes > SPILL_BYTES {
            return self.spill(&mut state);
        }
        if state.unwritten.is_empty() {
            return Ok(());
        }
        self.append(&mut state).map_err(failed)
    }
}

/// How many keys a map has, and their checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Census {
    keys: u64,
    crc: u32,
}

impl Census {
    fn take(map: &impl Kv) -> Result<Self, KvError> {
        let keys = map.keys(vec![1]..vec![0xff])?;
        let mut hasher = crc32fast::Hasher::new();
        for key in &keys {
            hasher.update(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
            hasher.update(key);
        }
        Ok(Self { keys: u64::try_from(keys.len()).unwrap_or(u64::MAX), crc: hasher.finalize() })
    }

    fn to_bytes(self) -> Vec<u8> {
        [self.keys.to_le_bytes().as_slice(), &self.crc.to_le_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (keys, crc) = bytes.split_first_chunk::<8>()?;
        Some(Self { keys: u64::from_le_bytes(*keys), crc: u32::from_le_bytes(crc.try_into().ok()?) })
    }
}

fn push_record(buffer: &mut Vec<u8>, pairs: &[Pair], gone: &[Vec<u8>]) {
    let mut record = Vec::new();
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    record.extend_from_slice(&count(pairs.len()));
    for (key, value) in pairs {
        push(&mut record, key);
        push(&mut record, value);
    }
    gone.iter().for_each(|key| push(&mut record, key));
    buffer.extend_from_slice(&count(record.len()));
    buffer.extend_from_slice(&crc32fast::hash(&record).to_le_bytes());
    buffer.extend_from_slice(&record);
}

/// A record of nothing.
fn push_mark(buffer: &mut Vec<u8>) {
    push_record(buffer, &[], &[]);
}

/// Applies all records up to the first that is not whole; says where that begins. If whole ones follow, it was not torn
/// but damaged.
fn replay(bytes: &[u8], state: &mut State) -> Result<usize, KvError> {
    let mut at = 0;
    while let Some((record, end)) = record_at(bytes, at) {
        let (pairs, gone) = parse(record).ok_or_else(damaged)?;
        state.apply(pairs, gone);
        at = end;
    }
    let later =
        (at + 1..bytes.len().saturating_sub(HEADER_BYTES)).any(|later| record_at(bytes, later).is_some());
    if later { Err(damaged()) } else { Ok(at) }
}

fn record_at(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let (header, rest) = bytes.get(at..)?.split_at_checked(HEADER_BYTES)?;
    let (len, crc) = header.split_at(4);
    let len = usize::try_from(u32::from_le_bytes(len.try_into().ok()?)).ok()?;
    let record = rest.get(..len).filter(|record| !record.is_empty())?;
    (crc == crc32fast::hash(record).to_le_bytes()).then_some((record, at + HEADER_BYTES + len))
}

fn parse(record: &[u8]) -> Option<(Vec<Pair>, Vec<Vec<u8>>)> {
    let mut reader = Reader::new(record);
    let mut pairs = Vec::new();
    for _ in 0..reader.u32().ok()? {
        pairs.push((reader.block().ok()?.to_vec(), reader.block().ok()?.to_vec()));
    }
    let mut gone = Vec::new();
    while !reader.rest().is_empty() {
        gone.push(reader.block().ok()?.to_vec());
    }
    Some((pairs, gone))
}

fn damaged() -> KvError {
    KvError::Damaged { why: format!("its file `{NAME}` has a record that is no longer what was written") }
}

fn failed(error: io::Error) -> KvError {
    KvError::Failed(Box::new(error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Engine as _, MemoryEngine};
    use super::*;

    /// A map in memory with its tail in a directory.
    struct Machine {
        temp: tempfile::TempDir,
        engine: MemoryEngine,
    }

    impl Machine {
        fn new() -> Self {
            Self { temp: tempfile::tempdir().unwrap(), engine: MemoryEngine::default() }
        }

        fn open(&self) -> Result<TailKv<Arc<dyn Kv>>, KvError> {
            TailKv::open(self.engine.open(self.temp.path())?, self.temp.path())
        }

        fn tail(&self) -> Vec<u8> {
            std::fs::read(self.temp.path().join(NAME)).unwrap()
        }

        fn set_tail(&self, bytes: &[u8]) {
            std::fs::write(self.temp.path().join(NAME), bytes).unwrap();
        }
    }

    /// Ends without closing anything, as a process that is killed does.
    fn kill(kv: TailKv<Arc<dyn Kv>>) {
        std::mem::forget(kv);
    }

    fn pair(key: &str, value: &str) -> Pair {
        (key.as_bytes().to_vec(), value.as_bytes().to_vec())
    }

    fn all(kv: &TailKv<Arc<dyn Kv>>) -> Vec<Pair> {
        let range = || b"a".to_vec()..b"z".to_vec();
        let pairs = kv.scan(range()).unwrap();
        assert_eq!(kv.keys(range()).unwrap(), pairs.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>());
        for (key, value) in &pairs {
            assert_eq!(kv.get(key).unwrap().as_ref(), Some(value));
        }
        pairs
    }

    #[test]
    fn small_writes_stay_in_front_and_survive_a_cut_once_synced() {
        let machine = Machine::new();
        let kv = machine.open().unwrap();
        kv.write(vec![pair("a", "1"), pair("b", "2")], vec![]).unwrap();
        kv.sync().unwrap();
        kv.write(vec![pair("c", "3")], vec![b"a".to_vec()]).unwrap();
        kv.sync().unwrap();
        kv.write(vec![pair("d", "lost")], vec![]).unwrap();
        assert_eq!(all(&kv).len(), 3);
        drop(kv);
        machine.engine.power_cut(|| false);
        assert_eq!(all(&machine.open().unwrap()), [pair("b", "2"), pair("c", "3")]);
    }

    #[test]
    fn what_has_grown_goes_to_the_engine_and_empties_the_file() {
        let machine = Machine::new();
        let kv = machine.open().unwrap();
        kv.write(vec![pair("a", "1"), pair("b", "2")], vec![]).unwrap();
        kv.sync().unwrap();
        kv.write(vec![pair("c", &"x".repeat(SPILL_BYTES))], vec![b"b".to_vec()]).unwrap();
        kv.sync().unwrap();
        assert!(machine.tail().len() < 64, "only how many keys there are");
        kv.write(vec![pair("a", "new")], vec![]).unwrap();
        kv.sync().unwrap();
        drop(kv);
        machine.engine.power_cut(|| false);
        let kv = machine.open().unwrap();
        let keys: Vec<_> = all(&kv).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [b"a", b"c"]);
        assert_eq!(kv.get(b"a").unwrap().unwrap(), b"new");
    }

    #[test]
    fn keys_that_the_engine_forgot_are_missed_when_it_is_opened() {
        let machine = Machine::new();
        let kv = machine.open().unwrap();
        kv.write(vec![pair("a", "1"), pair("b", &"x".repeat(SPILL_BYTES)), pair("c", "3")], vec![]).unwrap();
        kv.sync().unwrap();
        drop(kv);
        assert_eq!(all(&machine.open().unwrap()).len(), 3);
        engine_writes(&machine, &[], &["c"]);
        let error = machine.open().unwrap_err().to_string();
        assert!(error.contains("it has 2 keys, and had 3"), "{error}");
        engine_writes(&machine, &[pair("c", "3")], &[]);
        let kv = machine.open().unwrap();
        // What waits may be what the engine was being given when it was cut short.
        kv.write(vec![pair("d", "4")], vec![b"a".to_vec()]).unwrap();
        kv.sync().unwrap();
        drop(kv);
        engine_writes(&machine, &[], &["a"]);
        assert_eq!(all(&machine.open().unwrap()).len(), 3);
        engine_writes(&machine, &[], &["b", "c"]);
        assert!(matches!(machine.open(), Err(KvError::Damaged { .. })), "that is more than waits");
    }

    fn engine_writes(machine: &Machine, pairs: &[Pair], gone: &[&str]) {
        let gone = gone.iter().map(|key| key.as_bytes().to_vec()).collect();
        machine.engine.open(machine.temp.path()).unwrap().write(pairs.to_vec(), gone).unwrap();
    }

    #[test]
    fn a_torn_end_is_cut_off_and_damage_before_it_is_noticed() {
        let machine = Machine::new();
        let kv = machine.open().unwrap();
        for n in ["a", "b", "c"] {
            kv.write(vec![pair(n, "value")], vec![]).unwrap();
            kv.sync().unwrap();
        }
        kill(kv);
        let (whole, mut mark) = (machine.tail(), Vec::new());
        push_mark(&mut mark);
        let (third, last_mark) = (whole.len() / 3 * 2, whole.len() - mark.len());
        for len in third..whole.len() {
            machine.set_tail(whole.get(..len).unwrap());
            let left = if len < last_mark { &["a", "b"][..] } else { &["a", "b", "c"] };
            let left: Vec<_> = left.iter().map(|n| pair(n, "value")).collect();
            assert_eq!(all(&machine.open().unwrap()), left, "{len} bytes");
            assert_eq!(machine.tail().len(), if len < last_mark { third } else { last_mark });
        }
        for at in 0..last_mark {
            let mut bytes = whole.clone();
            bytes[at] = !bytes[at];
            machine.set_tail(&bytes);
            assert!(matches!(machine.open(), Err(KvError::Damaged { .. })), "byte {at}");
        }
    }

    #[test]
    fn no_byte_of_what_was_synced_changes_without_a_word() {
        let machine = Machine::new();
        let kv = machine.open().unwrap();
        kv.write(vec![pair("a", &"x".repeat(SPILL_BYTES))], vec![]).unwrap();
        kv.sync().unwrap();
        drop(kv);
        let spilled = machine.tail();
        let kv = machine.open().unwrap();
        kv.write(vec![pair("b", "2")], vec![]).unwrap();
        kv.sync().unwrap();
        kill(kv);
        drop(machine.open().unwrap());
        let mut mark = Vec::new();
        push_mark(&mut mark);
        for whole in [spilled, machine.tail()] {
            let begin_of_mark = whole.len() - mark.len();
            assert_eq!(whole[begin_of_mark..], mark, "one mark, however often it is opened");
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 0x55;
                machine.set_tail(&bytes);
                match machine.open() {
                    Ok(kv) => assert!(at >= begin_of_mark && kv.get(b"a").unwrap().is_some(), "byte {at}"),
                    Err(error) => assert!(matches!(error, KvError::Damaged { .. }), "byte {at}: {error}"),
                }
            }
        }
    }
}
