//! The journal: every entry of a node in one order, synced in groups. The source of truth behind which all else is a view.
//!
//! The slot outlives its writer: appends queue here while no writer runs, readers go on, and a writer that fails or is
//! stopped is followed by another, never joined by one. What was answered with `Ok` survives a power cut; what was not
//! may be offered again under its origin and is written once. A device's entries are offered in the order of their
//! origins, the next only after the last was answered. The queue has no limit of its own: each device's door has one.

mod catalog;
mod commit;
mod load;
mod peek;
mod queue;
mod reading;
mod recovery;
mod segment;
mod writer;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{fmt, io};

use parking_lot::{Mutex, RwLock};
use voltree_model::{DeviceId, Origin};

pub use queue::{AppendError, Done};

use crate::error::FileContext;
use crate::{Disk, Entry, Error, Lsn, Positions, Records};
use catalog::{Catalog, Found, Piece, TailLimits};
use queue::{Encoded, Queue};
use writer::Writer;

/// How often a writer that waits for its turn looks whether it is still wanted.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// How the journal is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    /// The least time between the beginnings of two syncs.
    pub sync_interval: Duration,
    /// The longest that an entry may wait for its sync to begin.
    pub sync_deadline: Duration,
    /// When a new segment is begun.
    pub segment_bytes: u64,
    /// How many of the newest entries stay in memory.
    pub tail_entries: usize,
    /// How large these may be, as encoded.
    pub tail_bytes: u64,
    /// How long they stay there: readers that are level are milliseconds behind.
    pub tail_age: Duration,
    /// Nothing is written while the disk has less free than this, so that there is room to seal and to recover.
    pub min_free_bytes: u64,
    /// So many bytes of the newest segments are kept though all is sealed, to rebuild a bucket from.
    pub keep_bytes: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            sync_interval: Duration::from_millis(10),
            sync_deadline: Duration::from_millis(50),
            segment_bytes: 64 * 1024 * 1024,
            tail_entries: 65_536,
            tail_bytes: 8 * 1024 * 1024,
            tail_age: Duration::from_secs(4),
            min_free_bytes: 64 * 1024 * 1024,
            keep_bytes: 256 * 1024 * 1024,
        }
    }
}

/// How the journal is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Entries that wait for the writer.
    pub queued: usize,
    /// Groups synced since the journal was opened.
    pub syncs: u64,
    /// Bytes synced since the journal was opened.
    pub bytes: u64,
    /// How long the last sync took.
    pub last_sync_duration: Duration,
    /// Groups that could not be made durable since the journal was opened.
    pub failures: u64,
    /// Bytes that were cut off the end when the journal was opened: a write that was never acknowledged.
    pub torn_bytes: u64,
    /// Whether the writer waits for space on the disk.
    pub disk_full: bool,
}

/// An entry and its place.
pub type Numbered = (Lsn, Entry);

type Listener = Box<dyn Fn(Lsn) + Send + Sync>;

/// The journal of one node.
pub struct JournalSlot {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: JournalOptions,
    positions: Arc<Positions>,
    queue: Queue,
    catalog: RwLock<Catalog>,
    committed: AtomicU64,
    busy: AtomicBool,
    writer: Mutex<Writer>,
    pruning: Mutex<()>,
    listeners: RwLock<Vec<Listener>>,
    stats: Mutex<JournalStats>,
}

impl fmt::Debug for JournalSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalSlot").field("dir", &self.dir).field("committed", &self.committed()).finish()
    }
}

impl JournalSlot {
    /// Opens the journal in `dir`, repairing what a power cut left and refusing what it can't have left.
    ///
    /// `positions` are the store's: the origins that its checkpoint knows go in, those of the journal come out.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: JournalOptions,
        positions: Arc<Positions>,
    ) -> Result<Arc<Self>, Error> {
        disk.create_dir_all(dir).file("create", dir)?;
        let JournalOptions { tail_entries: entries, tail_bytes: bytes, tail_age: age, .. } = options;
        let mut catalog = Catalog::new(TailLimits { entries, bytes, age });
        let torn_bytes = recovery::recover(disk.as_ref(), dir, &mut catalog, &positions)?;
        positions.check_journal(dir, catalog.first(), catalog.committed())?;
        if torn_bytes > 0 {
            tracing::warn!(
                event = "journal.torn_end",
                torn_bytes,
                "cut off a write that was never acknowledged"
            );
        }
        let committed = catalog.committed();
        Ok(Arc::new(Self {
            writer: Mutex::new(Writer::new(committed)),
            committed: AtomicU64::new(committed.0),
            catalog: RwLock::new(catalog),
            busy: AtomicBool::new(false),
            queue: Queue::default(),
            pruning: Mutex::default(),
            listeners: RwLock::default(),
            stats: Mutex::new(JournalStats { torn_bytes, ..JournalStats::default() }),
            dir: dir.to_owned(),
            disk,
            options,
            positions,
        }))
    }

    /// Queues entries; `done` is called once all of them are durable, with the last LSN they can have.
    ///
    /// Entries that were written before are not written again. If the writer fails, `done` is called with the error,
    /// or dropped if the writer panicked; the entries may then be offered again.
    pub fn append(&self, entries: Vec<Entry>, done: Done) {
        match Encoded::of(entries) {
            Ok(encoded) => self.queue.push(encoded, done),
            Err(error) => done(Err(error)),
        }
    }

    /// Writes what is queued until `stop` is set; blocks, so it wants a thread of its own.
    ///
    /// Waits for a former writer to leave. An error means that the group at hand was not made durable; its senders
    /// have been told, and the next call goes on behind the last durable entry.
    pub fn run(&self, stop: &AtomicBool) -> Result<(), Error> {
        let mut writer = loop {
            if let Some(writer) = self.writer.try_lock_for(STOP_CHECK) {
                break writer;
            }
            if stop.load(Ordering::Acquire) {
                return Ok(());
            }
        };
        writer.run(self, stop)
    }

    /// Lets a waiting writer look at its stop flag at once.
    pub fn wake(&self) {
        self.queue.wake();
    }

    /// Whether so much is appended that it gathers for longer before each sync: senders that can had better send more at
    /// once.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// The last durable entry.
    pub fn committed(&self) -> Lsn {
        Lsn(self.committed.load(Ordering::Acquire))
    }

    /// Calls `listener` on the writer's thread after each commit; it must be quick.
    pub fn on_commit(&self, listener: Listener) {
        self.listeners.write().push(listener);
    }

    /// The last committed origin of a device.
    pub fn last_origin(&self, device: &DeviceId) -> Option<Origin> {
        self.positions.last_origin(device)
    }

    /// The records as of the last committed entry.
    pub fn records(&self) -> Arc<Records> {
        Arc::clone(self.positions.records())
    }

    /// The last committed origin of every device that ever had one.
    pub fn last_origins(&self) -> BTreeMap<DeviceId, Origin> {
        self.positions.last_origins()
    }

    /// The oldest entry that is kept; the next one to come if there is none.
    pub fn first(&self) -> Lsn {
        self.catalog.read().first()
    }

    /// How the journal is doing.
    pub fn stats(&self) -> JournalStats {
        JournalStats { queued: self.queue.len(), ..*self.stats.lock() }
    }

    /// The first committed entries after `from`, at most `max`; none if there are none yet.
    ///
    /// Fewer than `max` do not mean that there are no more. Entries that were pruned are passed over.
    pub fn read(&self, from: Lsn, max: usize) -> Result<Vec<Numbered>, Error> {
        Ok(self.read_of(from, max, |_| true)?.1)
    }

    /// Like [`Self::read`], but only entries whose owner is wanted; also says which entry was looked at last.
    pub fn read_of(
        &self,
        from: Lsn,
        max: usize,
        wanted: impl Fn(Option<&DeviceId>) -> bool,
    ) -> Result<(Lsn, Vec<Numbered>), Error> {
        loop {
            let found = self.catalog.read().find(from, max, &wanted);
            match found {
                Found::Level => return Ok((from, Vec::new())),
                Found::InMemory(entries, last) => return Ok((last, entries)),
                Found::OnDisk(piece) => match self.read_piece(&piece, from, max, &wanted) {
                    // Pruned between the look and the read: look again.
                    Err(Error::File { source, .. })
                        if source.kind() == io::ErrorKind::NotFound
                            && !self.catalog.read().has(&piece.path) => {}
                    result => return result,
                },
            }
        }
    }

    fn read_piece(
        &self,
        piece: &Piece,
        from: Lsn,
        max: usize,
        wanted: impl Fn(Option<&DeviceId>) -> bool,
    ) -> Result<(Lsn, Vec<Numbered>), Error> {
        let Piece { path, offset, len } = piece;
        let len = usize::try_from(*len).unwrap_or(usize::MAX);
        let bytes = self.disk.read_at(path, *offset, len).file("read", path)?;
        let mut entries = Vec::new();
        let (mut last, mut seen) = (from, 0);
        let piece = recovery::Bytes { disk: self.disk.as_ref(), path, offset: *offset, bytes: &bytes };
        recovery::decode_piece(piece, wanted, |lsn, entry| {
            if lsn > from {
                (last, seen) = (lsn, seen + 1);
                entries.extend(entry.map(|entry| (lsn, entry)));
            }
            if seen < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok((last, entries))
    }

    /// Removes the oldest segments, as far as all their entries are at or below `below`.
    ///
    /// The segment that is being written and the one before it stay, and as many more as are to be kept anyway.
    pub fn prune(&self, below: Lsn) -> Result<(), Error> {
        let _one_at_a_time = self.pruning.lock();
        loop {
            let path = self
                .catalog
                .read()
                .prunable(below, self.options.keep_bytes)
                .map(|segment| segment.path.clone());
            let Some(path) = path else { return Ok(()) };
            self.disk.remove(&path).file("remove", &path)?;
            // One after the other, so that no cut of the power leaves a gap.
            self.disk.sync_dir(&self.dir).file("sync", &self.dir)?;
            self.catalog.write().remove_first_segment();
        }
    }
}

/// Hands every entry after `from` of the journal in `dir` to `each`, for inspection; changes nothing.
pub fn read_journal(
    disk: &dyn Disk,
    dir: &Path,
    from: Lsn,
    each: impl FnMut(Lsn, Entry),
) -> Result<(), Error> {
    recovery::scan_all(disk, dir, from, each)
}

#[cfg(test)]
mod tests;
