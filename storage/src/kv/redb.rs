//! The redb engine: one database file per directory.
//!
//! A write becomes visible at once and durable with the next sync, as with sled: what lies between is lost as a whole.
//! A database is made beside its place and moved there, so that a kill never leaves a half-made one behind.

use std::io;
use std::ops::Range;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use redb::{Database, Durability, ReadableDatabase as _, TableDefinition};

use super::directories;
use super::{Engine, Kv, KvError, Pair, failed};

/// How much each open database may cache.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Somebody may be about to close it.
const LOCK_RETRIES: u32 = 200;
const LOCK_RETRY_AFTER: Duration = Duration::from_millis(10);

const FILE: &str = "redb";
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bucket");

/// Opens redb databases.
#[derive(Debug, Clone, Copy, Default)]
pub struct RedbEngine;

struct RedbKv {
    db: Database,
    path: PathBuf,
}

impl std::fmt::Debug for RedbKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbKv").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RedbKv {
    fn each<T>(&self, keys: &Range<Vec<u8>>, take: impl Fn(&[u8], &[u8]) -> T) -> Result<Vec<T>, KvError> {
        let table = self.db.begin_read().map_err(classify)?.open_table(TABLE).map_err(classify)?;
        let mut found = Vec::new();
        for pair in table.range(keys.start.as_slice()..keys.end.as_slice()).map_err(classify)? {
            let (key, value) = pair.map_err(classify)?;
            found.push(take(key.value(), value.value()));
        }
        Ok(found)
    }

    fn commit(&self, pairs: Vec<Pair>, gone: Vec<Vec<u8>>, how: Durability) -> Result<(), KvError> {
        let mut transaction = self.db.begin_write().map_err(classify)?;
        transaction.set_durability(how).map_err(failed)?;
        let mut table = transaction.open_table(TABLE).map_err(classify)?;
        for key in gone {
            table.remove(key.as_slice()).map_err(classify)?;
        }
        for (key, value) in pairs {
            table.insert(key.as_slice(), value.as_slice()).map_err(classify)?;
        }
        drop(table);
        transaction.commit().map_err(classify)
    }
}

impl Kv for RedbKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let table = self.db.begin_read().map_err(classify)?.open_table(TABLE).map_err(classify)?;
        Ok(table.get(key).map_err(classify)?.map(|value| value.value().to_vec()))
    }

    fn scan(&self, keys: Range<Vec<u8>>) -> Result<Vec<Pair>, KvError> {
        self.each(&keys, |key, value| (key.to_vec(), value.to_vec()))
    }

    fn keys(&self, keys: Range<Vec<u8>>) -> Result<Vec<Vec<u8>>, KvError> {
        self.each(&keys, |key, _| key.to_vec())
    }

    fn write(&self, pairs: Vec<Pair>, gone: Vec<Vec<u8>>) -> Result<(), KvError> {
        self.commit(pairs, gone, Durability::None)
    }

    fn sync(&self) -> Result<(), KvError> {
        // A durable commit takes all that came before it along.
        self.commit(Vec::new(), Vec::new(), Durability::Immediate)
    }
}

impl Engine for RedbEngine {
    fn open(&self, dir: &Path) -> Result<Arc<dyn Kv>, KvError> {
        if !dir.exists() {
            directories::create(dir, create)?;
        }
        let path = dir.join(FILE);
        if !path.exists() {
            return Err(KvError::Damaged { why: "its file is missing".to_owned() });
        }
        let db = open_when_free(&path)?;
        Ok(Arc::new(RedbKv { db, path }))
    }
}

fn create(dir: &Path) -> Result<(), KvError> {
    let path = dir.join(FILE);
    let db = Database::builder().create(&path).map_err(classify)?;
    RedbKv { db, path }.sync()
}

fn open_when_free(path: &Path) -> Result<Database, KvError> {
    for _ in 0..LOCK_RETRIES {
        match open_guarded(path) {
            Err(KvError::Busy) => thread::sleep(LOCK_RETRY_AFTER),
            result => return result,
        }
    }
    Err(KvError::Busy)
}

fn open_guarded(path: &Path) -> Result<Database, KvError> {
    let open = || Database::builder().set_cache_size(CACHE_BYTES).open(path);
    match catch_unwind(open) {
        Ok(result) => result.map_err(classify),
        Err(_) => Err(KvError::Damaged { why: "its engine panicked".to_owned() }),
    }
}

fn classify(error: impl Into<redb::Error>) -> KvError {
    let error = error.into();
    let damaged_file =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData);
    if matches!(&error, redb::Error::DatabaseAlreadyOpen) {
        KvError::Busy
    } else if matches!(&error, redb::Error::Io(error) if damaged_file(error))
        || matches!(&error, redb::Error::Corrupted(_) | redb::Error::TableDoesNotExist(_))
    {
        KvError::Damaged { why: error.to_string() }
    } else {
        failed(error)
    }
}
