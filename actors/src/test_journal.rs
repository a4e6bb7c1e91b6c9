//! A journal for tests, on a disk in memory whose power can be cut, with a writer where one is wanted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use voltree_storage::{JournalOptions, JournalSlot, MemoryDisk, Positions};

/// How long a commit may take on a slow machine.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// The disk of a journal.
#[derive(Debug, Default)]
pub(crate) struct TestJournal {
    disk: MemoryDisk,
}

impl TestJournal {
    /// Opens what is on the disk.
    pub(crate) fn open(&self) -> Arc<JournalSlot> {
        let (disk, positions) = (Arc::new(self.disk.clone()), Arc::new(Positions::default()));
        JournalSlot::open(disk, Path::new("journal"), JournalOptions::default(), positions).unwrap()
    }

    /// Lets a sync fail after so many that succeed.
    pub(crate) fn fail_sync_after(&self, syncs: u32) {
        self.disk.fail_sync_after(syncs);
    }

    /// Loses everything that was not synced.
    pub(crate) fn power_cut(&self) {
        self.disk.power_cut(|| false);
    }
}

/// Does something while the journal is written.
pub(crate) fn writing<T>(journal: &JournalSlot, act: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| journal.run(&stop));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        stop.store(true, Ordering::Release);
        journal.wake();
        writer.join().unwrap().unwrap();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
