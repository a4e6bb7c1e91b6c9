//! Journal, head and store put together as a node does it, without its actors.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::Context as _;
use voltree_model::{DeviceId, MetricName, Timestamp};
use voltree_storage::{DataDir, Entry, Head, JournalOptions, JournalSlot, Lsn, RealDisk, SeriesPoint, Store};

/// How many entries are read from the journal at once.
const BATCH: usize = 1_024;

/// A node without actors.
#[derive(Debug)]
pub(super) struct MiniNode {
    pub(super) store: Arc<Store>,
    pub(super) journal: Arc<JournalSlot>,
    pub(super) head: Head,
    cursor: Lsn,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
    _data: DataDir,
}

impl MiniNode {
    /// Opens a directory and is level with its journal.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let data = DataDir::open(path)?;
        let disk = Arc::new(RealDisk);
        let store = Store::open(&data, disk.clone())?;
        let journal = JournalSlot::open(disk, &data.journal(), JournalOptions::default(), store.positions())?;
        let (devices, node) = store.checkpoints();
        let (head, cursor) = (Head::new(devices, Some(node)), store.replay_from());
        let stop = Arc::new(AtomicBool::new(false));
        let writer = std::thread::Builder::new().name("journal".to_owned()).spawn({
            let (journal, stop) = (Arc::clone(&journal), Arc::clone(&stop));
            // A writer that fails answers its senders, who then end the measurement.
            move || drop(journal.run(&stop))
        })?;
        let mut node = Self { store, journal, head, cursor, stop, writer: Some(writer), _data: data };
        node.catch_up()?;
        Ok(node)
    }

    /// Commits and folds entries; batches of one device follow each other.
    pub(super) fn take_in(&mut self, batches: Vec<Vec<Entry>>) -> anyhow::Result<()> {
        let (sender, answers) = mpsc::channel();
        let count = batches.len();
        for batch in batches {
            let sender = sender.clone();
            // Nobody listens any more once another batch has failed.
            self.journal.append(batch, Box::new(move |answer| drop(sender.send(answer))));
        }
        for _ in 0..count {
            answers.recv().context("the journal's writer went away")??;
        }
        self.catch_up()
    }

    fn catch_up(&mut self) -> anyhow::Result<()> {
        loop {
            let batch = self.journal.read(self.cursor, BATCH)?;
            let Some((last, _)) = batch.last() else { return Ok(()) };
            self.cursor = *last;
            batch.iter().for_each(|(lsn, entry)| self.head.apply(*lsn, entry));
        }
    }

    /// Seals what is due, or all of it.
    pub(super) fn seal(&mut self, now: Timestamp, all: bool) -> anyhow::Result<()> {
        let sealed = self.store.seal(self.head.seal_jobs(now, all))?;
        sealed.into_iter().for_each(|outcome| self.head.sealed(outcome));
        self.journal.prune(self.store.prune_lsn())?;
        Ok(())
    }

    /// What no seal covers yet.
    pub(super) fn open_points(&self, device: &DeviceId, metric: &MetricName) -> Vec<SeriesPoint> {
        let (from, to) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        self.head.open_points(device, metric, from, to)
    }
}

impl Drop for MiniNode {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.journal.wake();
        // One that panicked has said so.
        self.writer.take().map(JoinHandle::join);
    }
}
