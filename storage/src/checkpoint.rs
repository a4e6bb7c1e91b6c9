//! What the store remembers of every device besides its rows: how far the journal is sealed, the ledger, latest values.
//!
//! One file for the whole node and one with what changed since; when that is as large, both become a new file and the
//! one before is kept. The journal is kept as far back as that older one needs it, so falling back to it loses nothing.

mod changes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, Ledger, MetricName, Origin, Timestamp, Unit};

use crate::error::FileContext;
use crate::{Disk, Error, Lsn, snapshot};

/// The newest value of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatestValue {
    /// When it was measured.
    pub at: Timestamp,
    /// The value.
    pub value: f64,
    /// The unit as its source wrote it.
    pub unit: Option<Unit>,
}

/// A device as of its entry `applied`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceCheckpoint {
    /// The last of its entries that is counted here.
    pub applied: Lsn,
    /// The origin of the last of its entries that had one.
    pub last_origin: Option<Origin>,
    /// What became of its readings; `pending` is 0.
    pub ledger: Ledger,
    /// The time of the first entry.
    pub created_at: Timestamp,
    /// The latest time of a reading.
    pub last_seen: Option<Timestamp>,
    /// The newest value of each series.
    pub latest: BTreeMap<MetricName, LatestValue>,
    /// The newest text values.
    pub attributes: BTreeMap<MetricName, String>,
    /// How many readings came, however they are counted.
    pub readings: u64,
}

/// The node's own row: entries that name no device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCheckpoint {
    /// The last of these entries that is counted here.
    pub applied: Lsn,
    /// What became of them.
    pub ledger: Ledger,
}

/// The whole file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) devices: BTreeMap<DeviceId, Arc<DeviceCheckpoint>>,
    pub(crate) node: NodeCheckpoint,
}

/// How far a checkpoint covers the journal, which is all that need be known of one that is not the current one.
#[derive(Debug)]
pub(crate) struct Coverage {
    devices: BTreeMap<DeviceId, Lsn>,
    node: Lsn,
}

pub(crate) use changes::Changes;

/// The file and the one before it, as far as they are there.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    pub(crate) current: Option<Checkpoint>,
    /// What the file itself says, without the changes since.
    pub(crate) file: Option<Checkpoint>,
    pub(crate) changes: Changes,
    /// What a damaged current one would be replaced by.
    pub(crate) older: Option<Checkpoint>,
}

impl DeviceCheckpoint {
    /// A device of which nothing is counted yet.
    pub(crate) fn new(created_at: Timestamp) -> Self {
        Self {
            applied: Lsn(0),
            last_origin: None,
            ledger: Ledger::default(),
            created_at,
            last_seen: None,
            latest: BTreeMap::new(),
            attributes: BTreeMap::new(),
            readings: 0,
        }
    }
}

impl Checkpoint {
    /// The last origin of every device that has one.
    pub(crate) fn last_origins(&self) -> BTreeMap<DeviceId, Origin> {
        let origins = self.devices.iter().filter_map(|(id, device)| Some((id.clone(), device.last_origin?)));
        origins.collect()
    }

    /// The last entry that anything here covers.
    pub(crate) fn last_applied(&self) -> Lsn {
        let devices = self.devices.values().map(|device| device.applied);
        devices.max().unwrap_or_default().max(self.node.applied)
    }

    /// Up to where an owner is covered; the node itself is `None`.
    pub(crate) fn covered(&self, owner: Option<&DeviceId>) -> Option<Lsn> {
        match owner {
            Some(device) => self.devices.get(device).map(|device| device.applied),
            None => Some(self.node.applied),
        }
    }

    pub(crate) fn coverage(&self) -> Coverage {
        let devices = self.devices.iter().map(|(id, device)| (id.clone(), device.applied)).collect();
        Coverage { devices, node: self.node.applied }
    }

    /// Saves this as the current one; the current one becomes the older.
    pub(crate) fn save(&self, disk: &dyn Disk, path: &Path) -> Result<(), Error> {
        snapshot::replace(disk, path, &older(path), self)
    }
}

impl Coverage {
    /// Up to where an owner is covered; the node itself is `None`.
    pub(crate) fn of(&self, owner: Option<&DeviceId>) -> Option<Lsn> {
        owner.map_or(Some(self.node), |device| self.devices.get(device).copied())
    }
}

impl Checkpoints {
    /// Loads both. A damaged current one is passed over if the older one is whole, and is an error otherwise.
    pub(crate) fn load(disk: &dyn Disk, path: &Path) -> Result<Self, Error> {
        let mut loaded = Self::load_files(disk, path)?;
        loaded.changes = match &loaded.file {
            Some(file) => {
                let mut current = file.clone();
                let changes = current.catch_up(disk, path)?;
                loaded.current = Some(current);
                changes
            }
            None => Changes::without_checkpoint(),
        };
        Ok(loaded)
    }

    fn load_files(disk: &dyn Disk, path: &Path) -> Result<Self, Error> {
        match snapshot::load(disk, path) {
            Ok(Some(current)) => {
                // A damaged older one is no loss while the current one is whole; it is then not counted on.
                let older = snapshot::load(disk, &older(path)).ok().flatten();
                Ok(Self { file: Some(current), older, ..Self::default() })
            }
            Ok(None) => Ok(Self { file: snapshot::load(disk, &older(path))?, ..Self::default() }),
            Err(damaged @ Error::CorruptSnapshot { .. }) => match snapshot::load(disk, &older(path))? {
                Some(older) => {
                    tracing::error!(event = "checkpoint.damaged", error = %damaged, "falling back to the one before");
                    Ok(Self { file: Some(older), ..Self::default() })
                }
                None => Err(damaged),
            },
            Err(other) => Err(other),
        }
    }
}

/// Moves a damaged current file out of the way, so that it can't replace the older one.
pub(crate) fn set_damaged_aside(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    match snapshot::load::<Checkpoint>(disk, path) {
        Err(Error::CorruptSnapshot { .. }) => {
            disk.rename(path, &path.with_extension("damaged")).file("rename", path)
        }
        Ok(_) => Ok(()),
        Err(other) => Err(other),
    }
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("old")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDisk;

    fn numbered(n: u64) -> Checkpoint {
        Checkpoint {
            node: NodeCheckpoint { applied: Lsn(n), ledger: Ledger::default() },
            ..Checkpoint::default()
        }
    }

    fn loaded(disk: &MemoryDisk, path: &Path) -> (Option<u64>, Option<u64>) {
        let Checkpoints { current, older, .. } = Checkpoints::load(disk, path).unwrap();
        (current.map(|c| c.node.applied.0), older.map(|c| c.node.applied.0))
    }

    #[test]
    fn the_last_two_are_kept() {
        let (disk, path) = (MemoryDisk::default(), Path::new("data/checkpoint"));
        assert_eq!(loaded(&disk, path), (None, None));
        for n in 1..=3 {
            numbered(n).save(&disk, path).unwrap();
        }
        assert_eq!(loaded(&disk, path), (Some(3), Some(2)));
    }

    #[test]
    fn a_damaged_one_falls_back_to_the_older_which_then_stays() {
        let (disk, path) = (MemoryDisk::default(), Path::new("data/checkpoint"));
        numbered(1).save(&disk, path).unwrap();
        numbered(2).save(&disk, path).unwrap();
        disk.flip(path, 20).unwrap();
        assert_eq!(loaded(&disk, path), (Some(1), None));
        set_damaged_aside(&disk, path).unwrap();
        assert_eq!(loaded(&disk, path), (Some(1), None));
        numbered(3).save(&disk, path).unwrap();
        assert_eq!(loaded(&disk, path), (Some(3), Some(1)));
    }

    #[test]
    fn two_damaged_ones_are_an_error_that_says_what_to_do() {
        let (disk, path) = (MemoryDisk::default(), Path::new("data/checkpoint"));
        numbered(1).save(&disk, path).unwrap();
        numbered(2).save(&disk, path).unwrap();
        disk.flip(path, 20).unwrap();
        disk.flip(&older(path), 20).unwrap();
        let error = Checkpoints::load(&disk, path).unwrap_err().to_string();
        assert!(error.contains("data/checkpoint") && error.contains("restore it"), "{error}");
    }

    #[test]
    fn a_cut_at_any_moment_of_saving_leaves_one_of_the_two() {
        let (disk, path) = (MemoryDisk::default(), Path::new("data/checkpoint"));
        numbered(1).save(&disk, path).unwrap();
        snapshot::write_beside(&disk, path, &numbered(2)).unwrap();
        disk.rename(path, &older(path)).unwrap();
        disk.sync_dir(Path::new("data")).unwrap();
        disk.power_cut(|| false);
        assert_eq!(loaded(&disk, path), (Some(1), None));
    }
}
