//! Waiting for a commit on a thread that may block: for whoever answers an operator only once it is durable, and for what
//! is written before a node's actors run, or after they have ended.
//!
//! Nobody waits for ever: a full disk holds the writer up until there is space. What was not confirmed in time may still
//! be written later, which the error says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::JournalSlot;
use crate::{Entry, Error, Lsn};

/// Lets the writer go however the wait ends.
struct Stop<'a>(&'a AtomicBool, &'a JournalSlot);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        self.1.wake();
    }
}

impl JournalSlot {
    /// Appends entries and returns once they are durable, or after so long with an error; blocks. Another thread writes.
    pub fn commit(&self, entries: Vec<Entry>, within: Duration) -> Result<Lsn, Error> {
        let (sender, answer) = mpsc::channel();
        // Whoever waited may have given up; the entries are written all the same.
        self.append(entries, Box::new(move |result| drop(sender.send(result))));
        match answer.recv_timeout(within) {
            Ok(result) => result.map_err(Error::NotTaken),
            Err(RecvTimeoutError::Timeout) => Err(Error::NotConfirmed { seconds: within.as_secs() }),
            Err(RecvTimeoutError::Disconnected) => Err(Error::WriterGone),
        }
    }

    /// The same while nobody writes, which is done here and now.
    pub fn commit_alone(&self, entries: Vec<Entry>, within: Duration) -> Result<Lsn, Error> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _stop = Stop(&stop, self);
            // The writer's own error is what the answer tells.
            let writer = std::thread::Builder::new().name("journal".to_owned());
            let spawned = writer.spawn_scoped(scope, || drop(self.run(&stop)));
            spawned.map_err(|source| Error::File {
                doing: "start a writer for",
                path: self.dir.clone(),
                source,
            })?;
            self.commit(entries, within)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use voltree_model::{RejectReason, Timestamp};

    use super::*;
    use crate::{JournalOptions, MemoryDisk, Positions};

    const BOUND: Duration = Duration::from_secs(30);

    fn entry() -> Entry {
        Entry::Rejected {
            device: None,
            origin: None,
            at: Timestamp::from_millis(0),
            reason: RejectReason::Busy,
            detail: String::new(),
        }
    }

    fn open(disk: &MemoryDisk) -> Arc<JournalSlot> {
        let positions = Arc::new(Positions::default());
        let options = JournalOptions::default();
        JournalSlot::open(Arc::new(disk.clone()), Path::new("journal"), options, positions).unwrap()
    }

    #[test]
    fn what_is_committed_without_a_writer_survives_a_power_cut_and_leaves_no_writer() {
        let disk = MemoryDisk::default();
        let slot = open(&disk);
        assert_eq!(slot.commit_alone(vec![entry()], BOUND).unwrap(), Lsn(1));
        assert_eq!(slot.commit_alone(vec![entry(), entry()], BOUND).unwrap(), Lsn(3));
        assert!(matches!(
            slot.commit(vec![entry()], Duration::from_millis(1)),
            Err(Error::NotConfirmed { .. })
        ));
        drop(slot);
        disk.power_cut(|| false);
        assert_eq!(open(&disk).committed(), Lsn(3));
    }

    #[test]
    fn a_writer_that_fails_is_told() {
        let disk = MemoryDisk::default();
        let slot = open(&disk);
        // The first sync is that of the segment which is begun.
        disk.fail_sync_after(1);
        let error = slot.commit_alone(vec![entry()], BOUND).unwrap_err();
        assert!(matches!(error, Error::NotTaken(_)), "{error}");
    }
}
