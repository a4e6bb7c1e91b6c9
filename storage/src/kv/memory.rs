//! Maps in memory that forget what was not synced, for tests.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Engine, Kv, KvError, Pair};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Default)]
struct MemoryKv(Mutex<Contents>);

/// An open map. One of its own for each opening, so that it can be told when nobody has the map open any more.
#[derive(Debug)]
struct Opened(Arc<MemoryKv>);

#[derive(Debug, Default)]
struct Contents {
    seen: Map,
    synced: Map,
    /// What was written since the last sync.
    unsynced: Vec<(Vec<Pair>, Vec<Vec<u8>>)>,
}

fn write(map: &mut Map, (pairs, gone): &(Vec<Pair>, Vec<Vec<u8>>)) {
    gone.iter().for_each(|key| drop(map.remove(key)));
    map.extend(pairs.iter().cloned());
}

/// The engine; clones share their maps.
#[derive(Debug, Clone, Default)]
pub struct MemoryEngine(Arc<Mutex<BTreeMap<PathBuf, Arc<MemoryKv>>>>);

impl MemoryEngine {
    /// Cuts the power: each write since the last sync is kept or lost as a whole, as `keep` says.
    pub fn power_cut(&self, mut keep: impl FnMut() -> bool) {
        for kv in self.0.lock().values() {
            let contents = &mut *kv.0.lock();
            let kept = std::mem::take(&mut contents.unsynced).into_iter().filter(|_| keep());
            kept.for_each(|batch| write(&mut contents.synced, &batch));
            contents.seen = contents.synced.clone();
        }
    }
}

impl Kv for Opened {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.0.0.lock().seen.get(key).cloned())
    }

    fn scan(&self, keys: Range<Vec<u8>>) -> Result<Vec<Pair>, KvError> {
        Ok(self.0.0.lock().seen.range(keys).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn keys(&self, keys: Range<Vec<u8>>) -> Result<Vec<Vec<u8>>, KvError> {
        Ok(self.0.0.lock().seen.range(keys).map(|(key, _)| key.clone()).collect())
    }

    fn write(&self, pairs: Vec<Pair>, gone: Vec<Vec<u8>>) -> Result<(), KvError> {
        let contents = &mut *self.0.0.lock();
        let batch = (pairs, gone);
        write(&mut contents.seen, &batch);
        contents.unsynced.push(batch);
        Ok(())
    }

    fn sync(&self) -> Result<(), KvError> {
        let contents = &mut *self.0.0.lock();
        for batch in std::mem::take(&mut contents.unsynced) {
            write(&mut contents.synced, &batch);
        }
        Ok(())
    }
}

impl Engine for MemoryEngine {
    fn open(&self, dir: &Path) -> Result<Arc<dyn Kv>, KvError> {
        Ok(Arc::new(Opened(Arc::clone(self.0.lock().entry(dir.to_owned()).or_default()))))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let maps = self.0.lock();
        let within = maps.keys().filter(|path| path.parent() == Some(dir));
        Ok(within.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn remove(&self, dir: &Path) -> io::Result<()> {
        self.0.lock().remove(dir).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn size(&self, dir: &Path) -> io::Result<u64> {
        let kv = self.0.lock().get(dir).cloned().ok_or(io::ErrorKind::NotFound)?;
        let bytes = kv.0.lock().seen.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        Ok(u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    fn set_aside(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut maps = self.0.lock();
        let kv = maps.remove(from).ok_or(io::ErrorKind::NotFound)?;
        maps.insert(to.to_owned(), kv);
        Ok(())
    }
}
