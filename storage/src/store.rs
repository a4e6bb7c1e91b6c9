//! The store: the sealed rows of all devices in their time buckets, and the checkpoint that says how far they go.
//!
//! A seal writes rows first and the checkpoint last. If it is cut short in between, the same rows come again and
//! change nothing, because each row knows which readings it counts. Readers are not held up by a seal: they see a part
//! before or after it was replaced.

mod compact;
mod finish;
mod parts;
mod query;
mod rebuild;
mod retain;
mod rollups;
mod times;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};
use voltree_model::{DeviceId, MetricName, Timestamp};

use crate::bucket::{Bucket, Buckets, Day, Hour, parse_key};
use crate::checkpoint::{self, Changes, Checkpoint, Checkpoints, Coverage, DeviceCheckpoint, NodeCheckpoint};
use crate::head::{DeviceJob, OpenReading, SealJobKind, SealedKind};
use crate::retention::Kind;
use crate::{
    AgeLimits, BucketEvent, DataDir, Disk, Engine, Error, Frame, Lsn, Positions, Records, SealJob, Sealed,
    SeriesPoint, SledEngine, records,
};
use finish::Unfinished;
use parts::HourParts;
use rollups::Rollups;

pub use compact::{Compacted, Rewrite};
pub use query::{Cancel, Interval, Intervals, aligned_edges};
pub(crate) use retain::{AgedOut, read_aged_out};
pub use retain::{DiskUse, NearlyFull};
pub use rollups::Level;

/// A sync after this many device-hours, as what is not synced yet should stay small.
const SYNC_EVERY_HOURS: usize = 128;
/// With less space than this nothing is written into buckets: their engine does not survive a full disk. The journal
/// stops long before, so that this much is there for what it holds.
const MIN_FREE_BYTES: u64 = 32 * 1024 * 1024;
/// How many buckets of frames stay open.
const MAX_OPEN: usize = 8;

/// The store of one node.
#[derive(Debug)]
pub struct Store {
    disk: Arc<dyn Disk>,
    checkpoint_path: PathBuf,
    records_path: PathBuf,
    buckets_path: PathBuf,
    /// Where it is written up to which day all rollups are there.
    finished_path: PathBuf,
    raw: Buckets,
    rollups: Rollups,
    unfinished: Mutex<Unfinished>,
    ages: Arc<AgeLimits>,
    /// Where it is written how many readings aged out.
    aged_out_path: PathBuf,
    aged_out: Mutex<AgedOut>,
    /// Where it is written which devices are kept for ever.
    kept_path: PathBuf,
    kept: Mutex<BTreeSet<DeviceId>>,
    /// For which of the limits a bucket was looked through last.
    trimmed: Mutex<BTreeMap<(Kind, Day), i64>>,
    positions: Arc<Positions>,
    saved: RwLock<Saved>,
    /// One seal at a time, as each adds to the changes of the checkpoint.
    sealing: Mutex<Changes>,
}

#[derive(Debug)]
struct Saved {
    current: Arc<Checkpoint>,
    /// What the file covers without the changes beside it.
    file: Option<Coverage>,
    /// What that covers which would replace a damaged file; the journal is kept for it.
    older: Option<Coverage>,
}

/// How the readings of a job turned out.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    stored: u64,
    duplicate: u64,
}

/// The readings of one device that fall into one hour, and which job they belong to.
type HourWork<'a> = (usize, &'a DeviceId, Vec<&'a OpenReading>);

impl Store {
    /// Opens the store of a data directory, with its buckets in sled.
    pub fn open(data: &DataDir, disk: Arc<dyn Disk>) -> Result<Arc<Self>, Error> {
        Self::open_with(data, disk, Arc::new(SledEngine))
    }

    /// Opens the store of a data directory with buckets of another engine.
    pub fn open_with(
        data: &DataDir,
        disk: Arc<dyn Disk>,
        engine: Arc<dyn Engine>,
    ) -> Result<Arc<Self>, Error> {
        let checkpoint_path = data.checkpoint();
        let Checkpoints { current, file, changes, older } =
            Checkpoints::load(disk.as_ref(), &checkpoint_path)?;
        checkpoint::set_damaged_aside(disk.as_ref(), &checkpoint_path)?;
        let covered = current.as_ref().map(Checkpoint::last_applied);
        let current = current.unwrap_or_default();
        let (buckets, quarantine) = (data.buckets(), data.quarantine());
        let records_path = data.path(records::SNAPSHOT);
        let records = Records::load(disk.as_ref(), &records_path)?;
        let store = Self {
            rollups: Rollups::open(&buckets, &quarantine, &engine)?,
            raw: Buckets::new(&buckets.join("raw"), &quarantine, engine, 1, MAX_OPEN)?,
            finished_path: data.path("rolled-up"),
            unfinished: Mutex::default(),
            ages: Arc::default(),
            aged_out_path: data.path(retain::AGED_OUT),
            aged_out: Mutex::default(),
            kept_path: data.path(retain::KEPT),
            kept: Mutex::default(),
            trimmed: Mutex::default(),
            positions: Arc::new(Positions::new(current.last_origins(), covered, Arc::new(records))),
            saved: RwLock::new(Saved {
                current: Arc::new(current),
                file: file.as_ref().map(Checkpoint::coverage),
                older: older.as_ref().map(Checkpoint::coverage),
            }),
            sealing: Mutex::new(changes),
            buckets_path: data.buckets(),
            checkpoint_path,
            records_path,
            disk,
        };
        let unfinished = Unfinished::load(&store)?;
        *store.unfinished.lock() = unfinished;
        store.load_aged_out()?;
        store.load_kept()?;
        Ok(Arc::new(store))
    }

    /// While this is held nothing is sealed, merged or removed.
    pub(crate) fn sealing_lock(&self) -> MutexGuard<'_, Changes> {
        self.sealing.lock()
    }

    /// The directory's name and the buckets of a level; `None` is the frames.
    pub(crate) fn buckets_of(&self, level: Option<Level>) -> (&'static str, &Buckets) {
        match level {
            None => ("raw", &self.raw),
            Some(level) => (level.directory(), self.rollups.level(level)),
        }
    }

    /// The data directory.
    pub(crate) fn data_root(&self) -> &Path {
        self.checkpoint_path.parent().unwrap_or(Path::new("."))
    }

    /// What is too old to be taken in, to be shared with the doors.
    pub fn age_limits(&self) -> Arc<AgeLimits> {
        Arc::clone(&self.ages)
    }

    /// Where every device stands, to be shared with the journal when it is opened.
    pub fn positions(&self) -> Arc<Positions> {
        Arc::clone(&self.positions)
    }

    /// What the last checkpoint says of every device, and of the node itself.
    pub fn checkpoints(&self) -> (BTreeMap<DeviceId, Arc<DeviceCheckpoint>>, NodeCheckpoint) {
        let current = Arc::clone(&self.saved.read().current);
        (current.devices.clone(), current.node.clone())
    }

    /// The entry after which a head that begins with [`Self::checkpoints`] must read the journal.
    pub fn replay_from(&self) -> Lsn {
        let current = Arc::clone(&self.saved.read().current);
        self.positions.floor(|owner| current.covered(owner))
    }

    /// The entry up to which neither the checkpoint nor the one before it needs the journal, nor a damaged bucket that
    /// waits to be put together again.
    pub fn prune_lsn(&self) -> Lsn {
        if !self.raw.replaced().is_empty() {
            return Lsn(0);
        }
        let older = |older: &Coverage| self.positions.floor(|owner| older.of(owner));
        let older = self.saved.read().older.as_ref().map_or(Lsn(0), older);
        older.min(self.replay_from()).min(self.positions.records().floor(self.positions.committed()))
    }

    /// Takes a snapshot of the records if enough of them changed, or the journal is held back by them.
    pub fn save_records(&self) -> Result<(), Error> {
        let committed = self.positions.committed();
        self.positions.records().save_if_due(self.disk.as_ref(), &self.records_path, committed)
    }

    /// What happened to buckets since the last call.
    pub fn take_events(&self) -> Vec<BucketEvent> {
        let mut events = self.raw.take_events();
        for level in Level::ALL {
            events.extend(self.rollups.level(level).take_events());
        }
        events
    }

    /// Makes the rows of all jobs durable, then the checkpoint, then answers, one outcome a job.
    ///
    /// A job that is behind the checkpoint is answered with the checkpoint. After an error nothing is counted, and the
    /// same jobs may come again.
    pub fn seal(&self, jobs: Vec<SealJob>) -> Result<Vec<Sealed>, Error> {
        let mut changes = self.sealing.lock();
        self.check_space()?;
        let before = Arc::clone(&self.saved.read().current);
        let tallies = self.seal_rows(&jobs, &before)?;
        let mut after = Checkpoint::clone(&before);
        let mut outcomes = Vec::with_capacity(jobs.len());
        for (job, tally) in jobs.into_iter().zip(tallies) {
            outcomes.push(after.take_over(job, tally));
        }
        if !after.is_like(&before) {
            let anew = changes.save(self.disk.as_ref(), &self.checkpoint_path, &before, &after)?;
            let mut saved = self.saved.write();
            saved.current = Arc::new(after);
            if anew {
                let file = saved.current.coverage();
                saved.older = saved.file.replace(file);
            }
        }
        Ok(outcomes)
    }

    /// Fails while there is too little space to write into buckets.
    fn check_space(&self) -> Result<(), Error> {
        let free_bytes = self.disk.free_space(&self.buckets_path).unwrap_or(u64::MAX);
        if free_bytes >= MIN_FREE_BYTES {
            return Ok(());
        }
        Err(Error::DiskFull { dir: self.buckets_path.clone(), free_bytes })
    }

    fn seal_rows(&self, jobs: &[SealJob], before: &Checkpoint) -> Result<Vec<Tally>, Error> {
        let mut tallies = vec![Tally::default(); jobs.len()];
        let mut touched = BTreeSet::new();
        let now = jobs.iter().filter_map(SealJob::asked_at).max().unwrap_or(Timestamp::from_millis(0));
        let mut bucket: Option<(Bucket, usize)> = None;
        for (hour, work) in by_hour(jobs, before) {
            if let Some((done, _)) = bucket.take_if(|(bucket, _)| bucket.day != hour.day()) {
                done.sync()?;
            }
            let (bucket, unsynced) = match &mut bucket {
                Some(open) => open,
                None => bucket.insert((self.raw.open(hour.day())?, 0)),
            };
            for (job, device, readings) in work {
                if let Some(tally) = tallies.get_mut(job) {
                    let due = self.is_due(device, hour, now)?;
                    self.seal_hour(bucket, device, hour, &readings, due, tally)?;
                }
                touched.insert((hour, device.clone()));
                *unsynced += 1;
                if *unsynced == SYNC_EVERY_HOURS {
                    bucket.sync()?;
                    *unsynced = 0;
                }
            }
        }
        bucket.map_or(Ok(()), |(bucket, _)| bucket.sync())?;
        self.finish(touched, now)?;
        Ok(tallies)
    }

    fn seal_hour(
        &self,
        bucket: &Bucket,
        device: &DeviceId,
        hour: Hour,
        readings: &[&OpenReading],
        is_over: bool,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let stored = bucket.parts(device, hour, hour)?;
        let mut parts = HourParts::new(stored, |why| self.report(bucket, device, hour, &why));
        let stored = parts.absorb_all(readings);
        tally.stored += stored;
        tally.duplicate += u64::try_from(readings.len()).unwrap_or(u64::MAX).saturating_sub(stored);
        if is_over {
            parts.merge_all();
        } else {
            parts.merge_tail();
        }
        let changes = parts.into_changes(device, hour)?;
        bucket.write(changes.parts, changes.gone)
    }

    /// The sealed points of a series, oldest first, at most `limit`; `from` is inside, `to` is not.
    ///
    /// A damaged frame is reported and passed over.
    pub fn points(
        &self,
        device: &DeviceId,
        metric: &MetricName,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<SeriesPoint>, Error> {
        let mut points = Vec::new();
        if from >= to {
            return Ok(points);
        }
        let (first, last) = (Hour::of(from), Hour::of(Timestamp::from_millis(to.as_millis() - 1)));
        for day in self.raw.days(first, last) {
            let bucket = self.raw.open(day)?;
            let mut of_day = Vec::new();
            for (key, bytes) in bucket.parts(device, first, last)? {
                match Frame::open(&bytes).and_then(|frame| frame.series(metric)) {
                    Ok(series) => of_day.extend(series),
                    Err(error) => {
                        let hour = parse_key(&key).map_or(first, |(hour, _)| hour);
                        self.report(&bucket, device, hour, &error);
                    }
                }
            }
            of_day.retain(|point| from <= point.at && point.at < to);
            // Parts of one hour may overlap.
            of_day.sort_by_key(|point: &SeriesPoint| point.at);
            points.extend(of_day);
            if points.len() >= limit {
                break;
            }
        }
        points.truncate(limit);
        Ok(points)
    }

    fn report(&self, bucket: &Bucket, device: &DeviceId, hour: Hour, why: &Error) {
        let (device, hour, why) = (device.clone(), hour.start(), why.to_string());
        self.raw.report(BucketEvent::CorruptFrame { day: bucket.day.name(), device, hour, why });
    }
}

/// All readings that the checkpoint does not cover, hour by hour and so bucket by bucket.
fn by_hour<'a>(jobs: &'a [SealJob], before: &Checkpoint) -> BTreeMap<Hour, Vec<HourWork<'a>>> {
    let mut hours: BTreeMap<Hour, BTreeMap<usize, (&DeviceId, Vec<&OpenReading>)>> = BTreeMap::new();
    for (index, job) in jobs.iter().enumerate() {
        let SealJobKind::Device(DeviceJob { device, readings, .. }) = &job.0 else { continue };
        let covered = before.covered(Some(device)).unwrap_or_default();
        for reading in readings.iter().filter(|reading| reading.lsn > covered) {
            let work = hours.entry(Hour::of(reading.at)).or_default();
            work.entry(index).or_insert_with(|| (device, Vec::new())).1.push(reading);
        }
    }
    let in_order = |(index, (device, mut readings)): (usize, (&'a DeviceId, Vec<&'a OpenReading>))| {
        readings.sort_by_key(|reading| reading.lsn);
        (index, device, readings)
    };
    hours.into_iter().map(|(hour, work)| (hour, work.into_iter().map(in_order).collect())).collect()
}

impl Checkpoint {
    /// Takes over what a job says, unless it is behind.
    fn take_over(&mut self, job: SealJob, tally: Tally) -> Sealed {
        match job.0 {
            SealJobKind::Device(DeviceJob { device, mut state, asked_at, .. }) => {
                let known = self.devices.get(&device);
                if let Some(known) = known.filter(|known| known.applied >= state.applied) {
                    let checkpoint = Arc::clone(known);
                    return Sealed(SealedKind::Device { device, checkpoint, asked_at });
                }
                let ledger = known.map(|known| (known.ledger.stored, known.ledger.duplicate));
                let (stored, duplicate) = ledger.unwrap_or_default();
                state.ledger.stored = stored + tally.stored;
                state.ledger.duplicate = duplicate + tally.duplicate;
                let checkpoint = Arc::new(state);
                self.devices.insert(device.clone(), Arc::clone(&checkpoint));
                Sealed(SealedKind::Device { device, checkpoint, asked_at })
            }
            SealJobKind::Node(state) => {
                if state.applied > self.node.applied {
                    self.node = state;
                }
                Sealed(SealedKind::Node(self.node.clone()))
            }
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<_>, &Arc<_>)| Arc::ptr_eq(a, b);
        self.node == other.node
            && self.devices.len() == other.devices.len()
            && self.devices.values().zip(other.devices.values()).all(same)
    }
}

#[cfg(test)]
mod tests;
