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

#[derive(Debug, Default)]
struct Contents {
    seen: Map,
    synced: Map,
}

/// The engine; clones share their maps.
#[derive(Debug, Clone, Default)]
pub struct MemoryEngine(Arc<Mutex<BTreeMap<PathBuf, Arc<MemoryKv>>>>);

impl MemoryEngine {
    /// Cuts the power: each insert since the last sync is kept or lost, as `keep` says.
    pub fn power_cut(&self, mut keep: impl FnMut() -> bool) {
        for kv in self.0.lock().values() {
            let contents = &mut *kv.0.lock();
            contents.seen.retain(|key, value| contents.synced.get(key) == Some(value) || keep());
            for (key, value) in &contents.synced {
                contents.seen.entry(key.clone()).or_insert_with(|| value.clone());
            }
            contents.synced = contents.seen.clone();
        }
    }
}

impl Kv for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.0.lock().seen.get(key).cloned())
    }

    fn scan(&self, keys: Range<Vec<u8>>) -> Result<Vec<Pair>, KvError> {
        Ok(self.0.lock().seen.range(keys).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn insert(&self, pairs: Vec<Pair>) -> Result<(), KvError> {
        self.0.lock().seen.extend(pairs);
        Ok(())
    }

    fn sync(&self) -> Result<(), KvError> {
        let contents = &mut *self.0.lock();
        contents.synced = contents.seen.clone();
        Ok(())
    }
}

impl Engine for MemoryEngine {
    fn open(&self, dir: &Path) -> Result<Arc<dyn Kv>, KvError> {
        let kv: Arc<MemoryKv> = Arc::clone(self.0.lock().entry(dir.to_owned()).or_default());
        Ok(kv)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let maps = self.0.lock();
        let within = maps.keys().filter(|path| path.parent() == Some(dir));
        Ok(within.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn set_aside(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut maps = self.0.lock();
        let kv = maps.remove(from).ok_or(io::ErrorKind::NotFound)?;
        maps.insert(to.to_owned(), kv);
        Ok(())
    }
}
