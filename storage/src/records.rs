//! Typed records: small things with a key that are replaced now and then, such as retained messages.
//!
//! A change of one is a journal entry, so it is as durable as a reading and in one order with them. What is here is only
//! a view of these entries: kept in memory, loaded from the last snapshot whose checksum holds, and brought level by the
//! journal when that is opened. Small keys that are written over never go to the buckets' engine, because a power cut
//! destroys those first. Every value carries its type's version; an older one is migrated when it is read.

mod take_over;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use voltree_model::Timestamp;

pub use take_over::take_over;

use crate::record::{self, RecordError};
use crate::{Disk, Entry, Error, Lsn, snapshot};

/// The name of the snapshot in the data directory; the one before it ends in `.old`.
pub(crate) const SNAPSHOT: &str = "records";
/// A snapshot is taken once so many bytes came since the last, or as many as it would have itself, if that is more.
const SNAPSHOT_BYTES: u64 = 256 * 1024;
/// And whenever the journal has to be kept for longer than so many entries.
const SNAPSHOT_ENTRIES: u64 = 100_000;

/// How large a value may be, so that the entry around it, with the key, is one that can be written.
const MAX_VALUE_BYTES: usize = record::MAX_RECORD_BYTES - 128 * 1024;

/// What a record is. The order is a disk format: new kinds go to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecordKind {
    /// Which states that earlier versions kept in files of their own were taken over.
    Migration,
    /// The last message of a topic.
    RetainedMessage,
    /// The session of an MQTT client that means to come back.
    Session,
    /// A message whose handler failed on it too often.
    DeadLetter,
    /// What is known of a device besides its readings.
    Device,
    /// A rule that alerts come from.
    Rule,
    /// An alert.
    Alert,
    /// An order to a device and what became of it.
    Command,
    /// Who may come in.
    User,
    /// Something that happened.
    Event,
    /// What an operator decided of somebody who publishes.
    Admission,
    /// How far the alert engine has judged.
    Judgement,
    /// A message that waits for an outside broker.
    Outgoing,
    /// A message that waits in a session for its client.
    SessionMessage,
    /// What an operator said of a device or one of its entities: disabled, removed.
    Standing,
    /// The last will of an MQTT client.
    Will,
    /// Through which outside brokers a device was heard.
    WayOut,
    /// A message that made an outside broker hang up again and again.
    SetAside,
    /// What a device announced, or the topic under which it was first seen.
    Announcement,
}

/// A type that is kept as records.
pub trait Record: Serialize + DeserializeOwned {
    /// What it is.
    const KIND: RecordKind;
    /// The version that is written today.
    const VERSION: u8;

    /// Reads what an older version wrote, with [`decode_value`] and the type that it was then.
    fn migrate(version: u8, _bytes: &[u8]) -> Result<Self, RecordError> {
        Err(RecordError::UnknownVersion { found: version })
    }
}

/// A record was set, or taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordChange {
    kind: RecordKind,
    key: String,
    version: u8,
    /// `None` takes it away.
    value: Option<Arc<[u8]>>,
}

/// The records of one node as of the last committed entry.
#[derive(Debug, Default)]
pub struct Records {
    view: RwLock<View>,
    saved: RwLock<Saved>,
    saving: Mutex<()>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    version: u8,
    value: Arc<[u8]>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct View {
    /// The entry up to which all changes are in.
    through: Lsn,
    records: BTreeMap<(RecordKind, String), Stored>,
    /// The last change.
    #[serde(skip)]
    changed: Lsn,
    #[serde(skip)]
    bytes_since: u64,
}

/// Up to where the snapshots go; 0 is none.
#[derive(Debug, Clone, Copy, Default)]
struct Saved {
    current: Lsn,
    older: Lsn,
}

/// Decodes the value of a record as a type that it once was.
pub fn decode_value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    record::decode(bytes)
}

impl RecordChange {
    /// The entry that sets a record, or takes it away.
    pub fn entry<T: Record>(key: &str, value: Option<&T>, at: Timestamp) -> Result<Entry, Error> {
        let value = value.map(record::encode_within::<T, MAX_VALUE_BYTES>).transpose();
        let value = value.map_err(|source| Error::Encode { what: "a record", source })?;
        let (key, value) = (key.to_owned(), value.map(Arc::from));
        Ok(Entry::Record { at, change: Self { kind: T::KIND, key, version: T::VERSION, value } })
    }
}

impl Records {
    /// All records of a type, by key.
    pub fn all<T: Record>(&self) -> Result<BTreeMap<String, T>, Error> {
        let view = self.view.read();
        let of_kind = view.records.range((T::KIND, String::new())..);
        let of_kind = of_kind.take_while(|((kind, _), _)| *kind == T::KIND);
        of_kind.map(|((_, key), stored)| Ok((key.clone(), read(key, stored)?))).collect()
    }

    /// The keys of a type's records that begin with `prefix`.
    pub fn keys<T: Record>(&self, prefix: &str) -> Vec<String> {
        let view = self.view.read();
        let from = view.records.range((T::KIND, prefix.to_owned())..);
        let keys = from.take_while(|((kind, key), _)| *kind == T::KIND && key.starts_with(prefix));
        keys.map(|((_, key), _)| key.clone()).collect()
    }

    /// How many records of a type there are.
    pub fn count<T: Record>(&self) -> usize {
        let view = self.view.read();
        view.records.range((T::KIND, String::new())..).take_while(|((kind, _), _)| *kind == T::KIND).count()
    }

    /// One record.
    pub fn get<T: Record>(&self, key: &str) -> Result<Option<T>, Error> {
        let view = self.view.read();
        view.records.get(&(T::KIND, key.to_owned())).map(|stored| read(key, stored)).transpose()
    }

    /// Loads the newest snapshot that is whole. Only both being damaged is an error.
    pub(crate) fn load(disk: &dyn Disk, path: &Path) -> Result<Self, Error> {
        let older = snapshot::load::<View>(disk, &older(path));
        let (view, saved) = match (snapshot::load::<View>(disk, path), older) {
            (Ok(Some(current)), older) => {
                let older = older.ok().flatten().map_or(Lsn(0), |view| view.through);
                let saved = Saved { current: current.through, older };
                (current, saved)
            }
            (Ok(None), older) => {
                let view = older?.unwrap_or_default();
                let saved = Saved { current: view.through, older: view.through };
                (view, saved)
            }
            (Err(damaged), Ok(Some(view))) => {
                let error: &(dyn std::error::Error + 'static) = &damaged;
                tracing::error!(event = "records.damaged", error, "falling back to the snapshot before");
                disk.rename(path, &path.with_extension("damaged")).map_err(|source| Error::File {
                    doing: "rename",
                    path: path.to_owned(),
                    source,
                })?;
                let saved = Saved { current: view.through, older: view.through };
                (view, saved)
            }
            (Err(damaged), Ok(None) | Err(_)) => return Err(damaged),
        };
        let view = View { changed: view.through, ..view };
        Ok(Self { view: RwLock::new(view), saved: RwLock::new(saved), saving: Mutex::default() })
    }

    /// The entry up to which the snapshot has all changes.
    pub(crate) fn covered(&self) -> Lsn {
        self.saved.read().current
    }

    /// Takes over a committed change, unless the snapshot had it.
    pub(crate) fn apply(&self, lsn: Lsn, change: &RecordChange) {
        let mut view = self.view.write();
        if lsn <= view.through.max(view.changed) {
            return;
        }
        view.changed = lsn;
        let RecordChange { kind, key, version, value } = change;
        let size = key.len() + value.as_ref().map_or(0, |value| value.len());
        view.bytes_since += u64::try_from(size).unwrap_or(u64::MAX);
        let key = (*kind, key.clone());
        match value {
            Some(value) => {
                view.records.insert(key, Stored { version: *version, value: Arc::clone(value) });
            }
            None => drop(view.records.remove(&key)),
        }
    }

    /// The entry up to which neither snapshot needs the journal.
    pub(crate) fn floor(&self, committed: Lsn) -> Lsn {
        let changed = self.view.read().changed;
        let older = self.saved.read().older;
        if changed <= older { committed } else { older }
    }

    /// Takes a snapshot if there is enough that it lacks; `committed` must have been read before.
    pub(crate) fn save_if_due(&self, disk: &dyn Disk, path: &Path, committed: Lsn) -> Result<(), Error> {
        let _one_at_a_time = self.saving.lock();
        let kept_for = committed.0.saturating_sub(self.floor(committed).0);
        let due = {
            let view = self.view.read();
            view.bytes_since >= SNAPSHOT_BYTES.max(view.bytes()) || kept_for >= SNAPSHOT_ENTRIES
        };
        if due { self.save(disk, path, committed) } else { Ok(()) }
    }

    fn save(&self, disk: &dyn Disk, path: &Path, committed: Lsn) -> Result<(), Error> {
        let (state, bytes) = {
            let view = self.view.read();
            // Changes that came since `committed` was read are in too, and come once more to no harm.
            (View { through: committed.max(view.changed), ..view.clone() }, view.bytes_since)
        };
        snapshot::replace(disk, path, &older(path), &state)?;
        let mut saved = self.saved.write();
        *saved = Saved { current: state.through, older: saved.current };
        self.view.write().bytes_since -= bytes;
        Ok(())
    }
}

impl View {
    fn bytes(&self) -> u64 {
        let sizes = self.records.iter().map(|((_, key), stored)| key.len() + stored.value.len());
        u64::try_from(sizes.sum::<usize>()).unwrap_or(u64::MAX)
    }
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("old")
}

fn read<T: Record>(key: &str, stored: &Stored) -> Result<T, Error> {
    let value = match stored.version {
        version if version == T::VERSION => record::decode(&stored.value),
        version => T::migrate(version, &stored.value),
    };
    value.map_err(|source| Error::Record { kind: T::KIND, key: key.to_owned(), source })
}

#[cfg(test)]
mod tests;
