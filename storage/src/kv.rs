//! The ordered map that a time bucket is kept in, as a trait, so that leaving an engine is a small change.
//!
//! An engine is only asked for what every one of them can do. It never decides what to do with a damaged bucket.

mod directories;
mod memory;
#[cfg(any(test, feature = "redb"))]
mod redb;
mod sled;
mod tail;
mod values;

use std::error::Error as StdError;
use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub use memory::MemoryEngine;
#[cfg(any(test, feature = "redb"))]
pub use redb::RedbEngine;
pub use sled::SledEngine;

/// A failure of an engine.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// What is on disk is not what the engine once wrote.
    #[error("it is damaged: {why}")]
    Damaged {
        /// What the engine says of it.
        why: String,
    },
    /// Something else still has it open.
    #[error("it is still open elsewhere")]
    Busy,
    /// Anything else.
    #[error("its engine failed")]
    Failed(#[source] Box<dyn StdError + Send + Sync>),
}

fn failed(error: impl StdError + Send + Sync + 'static) -> KvError {
    KvError::Failed(Box::new(error))
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// An ordered map on disk.
pub trait Kv: Send + Sync + Debug {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;
    /// All keys of a range and their values, ascending.
    fn scan(&self, keys: Range<Vec<u8>>) -> Result<Vec<Pair>, KvError>;
    /// All keys of a range, ascending.
    fn keys(&self, keys: Range<Vec<u8>>) -> Result<Vec<Vec<u8>>, KvError>;
    /// Inserts or replaces some pairs and removes some keys: all of it or, if cut short, nothing.
    fn write(&self, pairs: Vec<Pair>, gone: Vec<Vec<u8>>) -> Result<(), KvError>;
    /// Returns once everything inserted is on stable storage.
    fn sync(&self) -> Result<(), KvError>;
}

impl Kv for Arc<dyn Kv> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        (**self).get(key)
    }

    fn scan(&self, keys: Range<Vec<u8>>) -> Result<Vec<Pair>, KvError> {
        (**self).scan(keys)
    }

    fn keys(&self, keys: Range<Vec<u8>>) -> Result<Vec<Vec<u8>>, KvError> {
        (**self).keys(keys)
    }

    fn write(&self, pairs: Vec<Pair>, gone: Vec<Vec<u8>>) -> Result<(), KvError> {
        (**self).write(pairs, gone)
    }

    fn sync(&self) -> Result<(), KvError> {
        (**self).sync()
    }
}

/// What opens maps. Where a map is a directory of its own, only opening is the engine's.
pub trait Engine: Send + Sync + Debug {
    /// Opens the map in a directory, creating both durably if need be.
    fn open(&self, dir: &Path) -> Result<Arc<dyn Kv>, KvError>;
    /// The names of the maps below a directory.
    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        directories::list(dir)
    }
    /// Removes a map that nobody has open, and gives its space back.
    fn remove(&self, dir: &Path) -> std::io::Result<()> {
        directories::remove(dir)
    }
    /// How many bytes a map takes on disk.
    fn size(&self, dir: &Path) -> std::io::Result<u64> {
        directories::size(dir)
    }
    /// Moves a map that nobody has open.
    fn set_aside(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        directories::set_aside(from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> Pair {
        (key.as_bytes().to_vec(), value.as_bytes().to_vec())
    }

    fn behaves_like_an_engine(engine: &dyn Engine, root: &Path) {
        let kv = engine.open(&root.join("one")).unwrap();
        kv.write(vec![pair("b", "2"), pair("a", "1"), pair("c", "3"), pair("d", "9")], vec![]).unwrap();
        kv.write(vec![pair("b", "4")], vec![b"d".to_vec()]).unwrap();
        kv.sync().unwrap();
        assert_eq!(kv.get(b"b").unwrap(), Some(b"4".to_vec()));
        assert_eq!(kv.scan(b"a".to_vec()..b"c".to_vec()).unwrap(), [pair("a", "1"), pair("b", "4")]);
        assert_eq!(kv.keys(b"a".to_vec()..b"z".to_vec()).unwrap(), [b"a", b"b", b"c"]);
        drop(kv);
        let again = engine.open(&root.join("one")).unwrap();
        assert_eq!(again.get(b"a").unwrap(), Some(b"1".to_vec()));
        drop(again);
        engine.set_aside(&root.join("one"), &root.join("two")).unwrap();
        assert_eq!(engine.list(root).unwrap(), ["two"]);
        assert_eq!(engine.open(&root.join("one")).unwrap().get(b"a").unwrap(), None);
        assert!(engine.size(&root.join("two")).unwrap() > 0);
        engine.remove(&root.join("two")).unwrap();
        assert_eq!(engine.list(root).unwrap(), ["one"]);
    }

    #[test]
    fn all_engines_behave_alike() {
        let temp = tempfile::tempdir().unwrap();
        behaves_like_an_engine(&SledEngine, &temp.path().join("sled"));
        behaves_like_an_engine(&RedbEngine, &temp.path().join("redb"));
        behaves_like_an_engine(&MemoryEngine::default(), Path::new("root"));
    }
}
