//! The sled engine: one database per directory.
//!
//! Three of sled's habits shape this file. Its flush asks the kernel to write but not the drive, so a sync is a flush
//! and then a real sync through a descriptor of our own. A damaged file may make it panic instead of return. And one
//! that is damaged enough opens as if it were new, so every database carries a mark that must be found again. The mark
//! also says where its values are: with the database in its first form, beside it since.

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
/// is missing. No other key begins with this byte.
const MARK: &[u8] = &[0];
/// What the mark says when the values are beside the database. It said nothing before.
const VALUES_BESIDE: &[u8] = b"values";

/// Opens sled databases.
#[derive(Debug, Clone, Copy, Default)]
pub struct SledEngine;

#[derive(Debug)]
struct SledKv {
    db: sled::Db,
    /// Our own descriptor of the database's only file, to sync it.
    file: File,
}

impl Kv for SledKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.db.get(key).map_err(classify)?.map(|value| value.to_vec()))
    }

    fn scan(&self, keys: Range<Vec<u8>>) -> Result<Vec<Pair>, KvError> {
        let pairs = self.db.range(keys);
        pairs.map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(classify)).collect()
    }

    fn keys(&self, keys: Range<Vec<u8>>) -> Result<Vec<Vec<u8>>, KvError> {
        self.db.range(keys).keys().map(|key| key.map(|key| key.to_vec()).map_err(classify)).collect()
    }

    fn write(&self, pairs: Vec<Pair>, gone: Vec<Vec<u8>>) -> Result<(), KvError> {
        let mut batch = sled::Batch::default();
        for key in gone {
            batch.remove(key);
        }
        for (key, value) in pairs {
            batch.insert(key, value);
        }
        self.db.apply_batch(batch).map_err(classify)
    }

    fn sync(&self) -> Result<(), KvError> {
        self.db.flush().map_err(classify)?;
        self.file.sync_data().map_err(failed)
    }
}

impl Engine for SledEngine {
    fn open(&self, dir: &Path) -> Result<Arc<dyn Kv>, KvError> {
        if !dir.exists() {
            directories::create(dir, create)?;
        }
        let db = open_when_free(dir)?;
        let Some(mark) = db.get(MARK).map_err(classify)? else {
            return Err(KvError::Damaged { why: "it is empty, though it was once created".to_owned() });
        };
        let file = File::open(dir.join("db")).map_err(failed)?;
        let sled = SledKv { db, file };
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
    let open = || config.open();
    // Nothing of ours is shared with the closure, so nothing can be left half-changed.
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(result) => result.map_err(classify),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(KvError::Damaged { why: text.unwrap_or("its engine panicked").to_owned() })
        }
    }
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
