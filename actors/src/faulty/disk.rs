//! A disk whose writes and syncs can be made to fail, for the journal. Everything else goes straight through.

use std::io;
use std::path::Path;
use std::sync::Arc;

use voltree_runtime::faults::Injected;
use voltree_runtime::{FaultKind, Faults};
use voltree_storage::{Disk, DiskFile};

use crate::fault_points::{JOURNAL_BEFORE_COMMIT, JOURNAL_FSYNC};

const TARGET: &str = "journal";

/// A disk with fault points around the files it opens.
#[derive(Debug)]
pub struct FaultyDisk {
    disk: Arc<dyn Disk>,
    faults: Faults,
}

impl FaultyDisk {
    /// Wraps a disk.
    pub fn new(disk: Arc<dyn Disk>, faults: Faults) -> Self {
        Self { disk, faults }
    }

    fn wrap(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FaultyFile { file, faults: self.faults.clone() })
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn DiskFile>,
    faults: Faults,
}

impl DiskFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.faults.pass_blocking(JOURNAL_BEFORE_COMMIT, TARGET).map_err(io_error)?;
        self.file.append(bytes)
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        self.file.reserve(bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.faults.pass_blocking(JOURNAL_FSYNC, TARGET).map_err(io_error)?;
        self.file.sync_data()
    }
}

fn io_error(injected: Injected) -> io::Error {
    let kind =
        if injected.kind == FaultKind::DiskFull { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
    io::Error::new(kind, injected)
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(path).map(|file| self.wrap(file))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open_append(path).map(|file| self.wrap(file))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.disk.read_at(path, offset, len)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.disk.truncate(path, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_space(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault_points::FAULT_POINTS;
    use voltree_runtime::Fault;
    use voltree_storage::{DataDir, Entry, JournalOptions, JournalSlot, RealDisk, Store};

    #[test]
    fn what_a_failing_disk_did_not_take_is_refused_and_taken_when_it_is_offered_again() {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::open(temp.path()).unwrap();
        let faults = Faults::new(FAULT_POINTS, 1);
        let store = Store::open(&data, Arc::new(RealDisk)).unwrap();
        let disk = Arc::new(FaultyDisk::new(Arc::new(RealDisk), faults.clone()));
        let slot = JournalSlot::open(disk, &data.journal(), JournalOptions::default(), store.positions());
        let slot = slot.unwrap();
        assert!(commit(&slot), "a healthy disk, and a segment to write to");
        let kinds = [(JOURNAL_BEFORE_COMMIT, FaultKind::DiskFull), (JOURNAL_FSYNC, FaultKind::FsyncError)];
        for (point, kind) in kinds {
            faults.inject(Fault { times: Some(1), ..Fault::new(point, kind) }).unwrap();
            assert!(!commit(&slot), "{kind:?}");
            assert!(commit(&slot), "{kind:?}");
        }
        assert_eq!(slot.committed().0, 3, "each was written once");
    }

    /// Offers one entry; whether it was made durable.
    fn commit(slot: &Arc<JournalSlot>) -> bool {
        let (sender, answer) = std::sync::mpsc::channel();
        let entry = Entry::Rejected {
            device: None,
            origin: None,
            at: voltree_model::Timestamp::from_millis(0),
            reason: voltree_model::RejectReason::Busy,
            detail: String::new(),
        };
        slot.append(vec![entry], Box::new(move |result| sender.send(result.is_ok()).unwrap()));
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let writer = std::thread::spawn({
            let (slot, stop) = (Arc::clone(slot), Arc::clone(&stop));
            move || slot.run(&stop)
        });
        let committed = answer.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
        stop.store(true, std::sync::atomic::Ordering::Release);
        slot.wake();
        assert_eq!(writer.join().unwrap().is_ok(), committed);
        committed
    }
}
