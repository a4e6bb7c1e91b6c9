//! What changed since the checkpoint's file was written, in a file beside it: a seal adds the devices that it touched
//! instead of writing all of them anew.
//!
//! Every record has whole devices, and the one that covers more of the journal wins. So it does no harm to read changes
//! that the checkpoint has already, or to miss the last ones: the journal is kept for the checkpoint's file alone, and
//! for the one before it, whatever the changes say.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use voltree_model::DeviceId;

use super::{Checkpoint, DeviceCheckpoint, NodeCheckpoint};
use crate::error::FileContext;
use crate::record;
use crate::{Disk, DiskFile, Error};

/// Length and checksum.
const HEADER_BYTES: usize = 8;
/// With fewer bytes of changes than this, the checkpoint's file is not worth writing anew.
const LEAST_BYTES: u64 = 16 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Change {
    devices: BTreeMap<DeviceId, Arc<DeviceCheckpoint>>,
    node: NodeCheckpoint,
}

/// The file of changes, as the one who writes it knows it.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    file: Option<Box<dyn DiskFile>>,
    bytes: u64,
    /// Nobody knows what the file ends with, or there is no checkpoint that it belongs to.
    unusable: bool,
}

impl Checkpoint {
    /// Takes over the changes in the file beside `path`; tells how many bytes they are, and whether more may follow.
    pub(super) fn catch_up(&mut self, disk: &dyn Disk, path: &Path) -> Result<Changes, Error> {
        let path = beside(path);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Changes::default()),
            Err(source) => return Err(Error::File { doing: "read", path, source }),
        };
        let mut at = 0;
        while let Some((change, end)) = change_at(&bytes, at) {
            self.absorb(change);
            at = end;
        }
        let unusable = at < bytes.len();
        if unusable {
            tracing::warn!(
                event = "checkpoint.changes_cut_off",
                offset = at,
                "the journal has what is missing"
            );
        }
        Ok(Changes { file: None, bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX), unusable })
    }

    fn absorb(&mut self, change: Change) {
        for (id, device) in change.devices {
            if self.devices.get(&id).is_none_or(|known| known.applied < device.applied) {
                self.devices.insert(id, device);
            }
        }
        if change.node.applied > self.node.applied {
            self.node = change.node;
        }
    }

    /// What makes `before` this.
    fn since(&self, before: &Self) -> Change {
        let same =
            |id: &DeviceId, device| before.devices.get(id).is_some_and(|known| Arc::ptr_eq(known, device));
        let devices = self.devices.iter().filter(|(id, device)| !same(id, device));
        let devices = devices.map(|(id, device)| (id.clone(), Arc::clone(device))).collect();
        Change { devices, node: self.node.clone() }
    }
}

impl Changes {
    /// There is no checkpoint yet that anything could be added to.
    pub(super) fn without_checkpoint() -> Self {
        Self { unusable: true, ..Self::default() }
    }

    /// Saves what makes `before`, which is saved, into `after`. True if the checkpoint's file was written anew.
    pub(crate) fn save(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        before: &Checkpoint,
        after: &Checkpoint,
    ) -> Result<bool, Error> {
        let change = record::encode(&after.since(before))
            .map_err(|source| Error::Encode { what: "a change of the checkpoint", source })?;
        let file_bytes = disk.len(path).unwrap_or_default();
        if self.unusable || self.bytes > LEAST_BYTES.max(file_bytes) {
            self.begin_anew(disk, path, after)?;
            return Ok(true);
        }
        let len = u32::try_from(change.len()).unwrap_or(u32::MAX).to_le_bytes();
        let record = [len.as_slice(), &crc32fast::hash(&change).to_le_bytes(), &change].concat();
        let added = self.append(disk, &beside(path), &record);
        // A record that may be there or not must not get another one behind it.
        self.unusable = added.is_err();
        added.map(|()| false)
    }

    fn begin_anew(&mut self, disk: &dyn Disk, path: &Path, after: &Checkpoint) -> Result<(), Error> {
        // Changes that stay behind if this is cut short are older than the file, and change nothing.
        after.save(disk, path)?;
        let changes = beside(path);
        match disk.remove(&changes) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.unusable = true;
                return Err(error).file("remove", &changes);
            }
            Ok(()) | Err(_) => {}
        }
        *self = Self::default();
        Ok(())
    }

    fn append(&mut self, disk: &dyn Disk, path: &Path, record: &[u8]) -> Result<(), Error> {
        let (mut file, is_new) = match self.file.take() {
            Some(file) => (file, false),
            None => match disk.open_append(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    (disk.create(path).file("create", path)?, true)
                }
                opened => (opened.file("open", path)?, false),
            },
        };
        file.append(record).file("write", path)?;
        file.sync_data().file("sync", path)?;
        if let Some(dir) = path.parent().filter(|_| is_new) {
            disk.sync_dir(dir).file("sync", dir)?;
        }
        self.file = Some(file);
        self.bytes += u64::try_from(record.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("changes")
}

fn change_at(bytes: &[u8], at: usize) -> Option<(Change, usize)> {
    let (header, rest) = bytes.get(at..)?.split_at_checked(HEADER_BYTES)?;
    let (len, crc) = header.split_at(4);
    let len = usize::try_from(u32::from_le_bytes(len.try_into().ok()?)).ok()?;
    let payload = rest.get(..len)?;
    if crc != crc32fast::hash(payload).to_le_bytes() {
        return None;
    }
    Some((record::decode(payload).ok()?, at + HEADER_BYTES + len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoints;
    use crate::{Lsn, MemoryDisk};
    use voltree_model::Timestamp;

    const PATH: &str = "data/checkpoint";

    /// A checkpoint of many devices, of which the first is covered up to `applied`.
    fn checkpoint(before: &Checkpoint, applied: u64) -> Checkpoint {
        let mut after = before.clone();
        let mut device = DeviceCheckpoint::new(Timestamp::from_millis(0));
        device.applied = Lsn(applied);
        after.devices.insert(DeviceId::new("first").unwrap(), Arc::new(device));
        after
    }

    fn many() -> Checkpoint {
        let device = Arc::new(DeviceCheckpoint::new(Timestamp::from_millis(0)));
        let devices = (0..1_000).map(|n| (DeviceId::new(format!("d{n}")).unwrap(), Arc::clone(&device)));
        Checkpoint { devices: devices.collect(), ..Checkpoint::default() }
    }

    fn first(disk: &MemoryDisk) -> u64 {
        let current = Checkpoints::load(disk, Path::new(PATH)).unwrap().current.unwrap();
        assert_eq!(current.devices.len(), 1_001);
        current.last_applied().0
    }

    #[test]
    fn only_what_changed_is_written_and_a_cut_keeps_all_of_it() {
        let (disk, path) = (MemoryDisk::default(), Path::new(PATH));
        let mut changes = Changes::without_checkpoint();
        let mut current = checkpoint(&many(), 1);
        assert!(changes.save(&disk, path, &Checkpoint::default(), &current).unwrap());
        let whole = disk.len(path).unwrap();
        for applied in 2..=20 {
            let next = checkpoint(&current, applied);
            assert!(!changes.save(&disk, path, &current, &next).unwrap());
            current = next;
            disk.power_cut(|| false);
            assert_eq!(first(&disk), applied);
            changes.file = None;
        }
        assert!(disk.len(&beside(path)).unwrap() * 10 < whole);
    }

    #[test]
    fn the_file_is_written_anew_once_there_is_as_much_of_changes() {
        let (disk, path) = (MemoryDisk::default(), Path::new(PATH));
        let mut changes = Changes::without_checkpoint();
        let mut current = checkpoint(&many(), 1);
        let mut anew = 0;
        for applied in 2..=2_000 {
            let next = checkpoint(&current, applied);
            anew += u32::from(changes.save(&disk, path, &current, &next).unwrap());
            current = next;
        }
        assert!((2..20).contains(&anew), "{anew}");
        assert_eq!(first(&disk), 2_000);
    }

    #[test]
    fn a_damaged_change_costs_only_what_the_journal_still_has() {
        let (disk, path) = (MemoryDisk::default(), Path::new(PATH));
        let mut changes = Changes::without_checkpoint();
        let mut current = checkpoint(&many(), 1);
        changes.save(&disk, path, &Checkpoint::default(), &current).unwrap();
        for applied in 2..=4 {
            let next = checkpoint(&current, applied);
            changes.save(&disk, path, &current, &next).unwrap();
            current = next;
        }
        let len = usize::try_from(disk.len(&beside(path)).unwrap()).unwrap();
        disk.flip(&beside(path), len - 1).unwrap();
        assert_eq!(first(&disk), 3);
        // Nothing is added behind it.
        let mut changes = Checkpoints::load(&disk, path).unwrap().changes;
        assert!(changes.save(&disk, path, &current, &checkpoint(&current, 9)).unwrap());
        assert_eq!(first(&disk), 9);
    }

    #[test]
    fn a_change_that_could_not_be_synced_gets_none_behind_it() {
        let (disk, path) = (MemoryDisk::default(), Path::new(PATH));
        let mut changes = Changes::without_checkpoint();
        let current = checkpoint(&many(), 1);
        changes.save(&disk, path, &Checkpoint::default(), &current).unwrap();
        disk.fail_syncs(1);
        changes.save(&disk, path, &current, &checkpoint(&current, 2)).unwrap_err();
        assert!(changes.save(&disk, path, &current, &checkpoint(&current, 3)).unwrap());
        disk.power_cut(|| false);
        assert_eq!(first(&disk), 3);
    }
}
