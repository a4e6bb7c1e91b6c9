//! Removing what is past its time: whole buckets where no device keeps them longer, and otherwise a copy without the
//! devices whose time is over takes the bucket's place.
//!
//! How many stored readings went is written down before they go, so that the ledger's `stored` can be explained
//! afterwards: so many are in frames, so many aged out. A cut in between is noticed at the next start.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, Timestamp};

use super::Store;
use super::rollups::Level;
use crate::bucket::{Bucket, Buckets, Day, parse_device};
use crate::retention::{KeepDays, Kind, Retention};
use crate::{BucketEvent, Error, Frame, snapshot};

/// A warning is given when so many percent of what the buckets may take are taken.
const WARN_PERCENT: u64 = 80;

/// The file in the data directory that remembers them.
pub(super) const AGED_OUT: &str = "aged-out";

/// The file in the data directory that names the devices that are kept for ever.
pub(super) const KEPT: &str = "kept";

/// What became of stored readings that are no longer there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AgedOut {
    /// How many of each device.
    readings: BTreeMap<DeviceId, u64>,
    /// The last day of which any were removed for all devices.
    removed_through: Option<i64>,
    /// What is being removed: not counted above as long as it may still be there.
    removing: Option<(i64, BTreeMap<DeviceId, u64>)>,
}

/// How much of the disk the buckets take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// Frames.
    pub raw_bytes: u64,
    /// Rollups of all levels.
    pub rollup_bytes: u64,
}

/// What a data directory remembers of readings that were removed.
pub(crate) fn read_aged_out(data: &crate::DataDir) -> Result<Option<AgedOut>, Error> {
    snapshot::load(&crate::RealDisk, &data.path(AGED_OUT))
}

impl AgedOut {
    /// How many of each device are gone for certain, and how many are gone if a removal that was cut short was not.
    pub(crate) fn by_device(self) -> BTreeMap<DeviceId, (u64, u64)> {
        let mut devices: BTreeMap<_, _> =
            self.readings.into_iter().map(|(id, gone)| (id, (gone, 0))).collect();
        for (device, perhaps) in self.removing.into_iter().flat_map(|(_, counts)| counts) {
            devices.entry(device).or_default().1 += perhaps;
        }
        devices
    }
}

impl DiskUse {
    /// Both.
    pub fn total(self) -> u64 {
        self.raw_bytes.saturating_add(self.rollup_bytes)
    }
}

/// What the buckets take, when it is nearly what they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NearlyFull {
    /// What they take.
    pub used_bytes: u64,
    /// What they may take.
    pub max_bytes: u64,
}

fn is_nearly_full(used: u64, most: u64) -> bool {
    used >= most / 100 * WARN_PERCENT
}

impl Store {
    /// Says how long what is kept, from now on.
    ///
    /// Devices that an operator said to keep for ever are, whatever this says of them.
    pub fn set_retention(&self, mut retention: Retention) {
        let kept = self.kept.lock();
        retention.devices.extend(kept.iter().map(|device| (device.clone(), KeepDays::FOREVER)));
        self.ages.set_retention(retention);
        self.trimmed.lock().clear();
    }

    /// Keeps everything of a device for ever, from now on and after every restart.
    pub fn keep_for_ever(&self, device: &DeviceId) -> Result<(), Error> {
        {
            let mut kept = self.kept.lock();
            let mut next = kept.clone();
            next.insert(device.clone());
            snapshot::write_beside(self.disk.as_ref(), &self.kept_path, &next)?;
            snapshot::put_in_place(self.disk.as_ref(), &self.kept_path)?;
            *kept = next;
        }
        self.set_retention(self.ages.retention());
        Ok(())
    }

    /// Reads which devices are kept for ever.
    pub(super) fn load_kept(&self) -> Result<(), Error> {
        let saved: Option<BTreeSet<DeviceId>> = snapshot::load(self.disk.as_ref(), &self.kept_path)?;
        *self.kept.lock() = saved.unwrap_or_default();
        self.set_retention(self.ages.retention());
        Ok(())
    }

    /// How many stored readings of each device have been removed since, because their time was over.
    ///
    /// The ledger goes on counting them as stored; what is left in frames is the difference.
    pub fn aged_out(&self) -> BTreeMap<DeviceId, u64> {
        self.aged_out.lock().readings.clone()
    }

    /// What the buckets take and may take, where that is nearly as much.
    pub fn nearly_full(&self) -> Result<Option<NearlyFull>, Error> {
        let Some(max_bytes) = self.ages.retention().max_bytes else { return Ok(None) };
        let used_bytes = self.disk_use()?.total();
        Ok(is_nearly_full(used_bytes, max_bytes).then_some(NearlyFull { used_bytes, max_bytes }))
    }

    /// How much of the disk the buckets take.
    pub fn disk_use(&self) -> Result<DiskUse, Error> {
        let sum = |buckets: &Buckets| Ok::<u64, Error>(buckets.sizes()?.iter().map(|(_, bytes)| bytes).sum());
        let mut rollup_bytes = 0_u64;
        for level in Level::ALL {
            rollup_bytes = rollup_bytes.saturating_add(sum(self.rollups.level(level))?);
        }
        Ok(DiskUse { raw_bytes: sum(&self.raw)?, rollup_bytes })
    }

    /// Reads what was removed, and finds out what became of a removal that was cut short.
    pub(super) fn load_aged_out(&self) -> Result<(), Error> {
        let saved: Option<AgedOut> = snapshot::load(self.disk.as_ref(), &self.aged_out_path)?;
        let mut aged = saved.unwrap_or_default();
        if let Some((day, counts)) = aged.removing.take() {
            let left = match self.raw.find(Day(day))? {
                Some(bucket) => devices_of(&bucket)?,
                None => BTreeSet::new(),
            };
            if counts.keys().all(|device| !left.contains(device)) {
                aged.count(&counts);
            }
        }
        if let Some(day) = aged.removed_through {
            self.ages.set_removed_through(Day(day));
        }
        *self.aged_out.lock() = aged;
        Ok(())
    }

    /// Removes what is past its time, and the oldest beyond the limit of size; closes what nobody uses. To be called now and
    /// then.
    pub fn retain(&self, now: Timestamp) -> Result<(), Error> {
        let _one_at_a_time = self.sealing.lock();
        for level in [None].into_iter().chain(Level::ALL.map(Some)) {
            self.buckets_of(level).1.close_idle(crate::clock::monotonic());
        }
        let retention = self.ages.retention();
        for day in self.raw.all() {
            // Its rollups come first; then nothing is lost but the single readings.
            if !self.has_unfinished(day) {
                self.retain_bucket(&retention, Kind::Raw, &self.raw, day, now)?;
            }
        }
        for level in Level::ALL {
            let buckets = self.rollups.level(level);
            for day in buckets.all() {
                self.retain_bucket(&retention, Kind::Rollup(level), buckets, day, now)?;
            }
        }
        retention.max_bytes.map_or(Ok(()), |most| self.keep_below(most))
    }

    fn retain_bucket(
        &self,
        retention: &Retention,
        kind: Kind,
        buckets: &Buckets,
        day: Day,
        now: Timestamp,
    ) -> Result<(), Error> {
        // A bucket of many days is as old as its last.
        let last = Day(day.0.saturating_add(buckets.span_days() - 1));
        if retention.is_past_for_all(kind, last, now) {
            return self.remove(kind, buckets, day).map(drop);
        }
        let limit = retention.past_limit(kind, last, now);
        if limit.is_none() || self.trimmed.lock().get(&(kind, day)).copied() == limit {
            return Ok(());
        }
        let past = |device: &DeviceId| retention.is_past(device, kind, last, now);
        if self.trim(kind, buckets, day, past)? {
            self.trimmed.lock().extend(limit.map(|limit| ((kind, day), limit)));
        }
        Ok(())
    }

    /// Removes a bucket, unless someone reads it.
    fn remove(&self, kind: Kind, buckets: &Buckets, day: Day) -> Result<bool, Error> {
        if kind != Kind::Raw {
            return buckets.remove(day);
        }
        let counts = count_stored(&self.raw.open(day)?, |_| true)?;
        self.begin_removing(day, counts, true)?;
        let removed = buckets.remove(day)?;
        self.end_removing(removed)?;
        Ok(removed)
    }

    /// Removes some devices from a bucket, unless someone reads it; true if there is nothing left to do.
    fn trim(
        &self,
        kind: Kind,
        buckets: &Buckets,
        day: Day,
        past: impl Fn(&DeviceId) -> bool,
    ) -> Result<bool, Error> {
        let bucket = buckets.open(day)?;
        let devices = devices_of(&bucket)?;
        if !devices.iter().any(&past) {
            return Ok(true);
        }
        if kind == Kind::Raw {
            let counts = count_stored(&bucket, &past)?;
            self.begin_removing(day, counts, false)?;
        }
        drop(bucket);
        let trimmed = buckets.keep_only(day, |key| parse_device(key).is_none_or(|device| !past(&device)))?;
        if kind == Kind::Raw {
            self.end_removing(trimmed)?;
        }
        Ok(trimmed)
    }

    fn begin_removing(&self, day: Day, counts: BTreeMap<DeviceId, u64>, whole: bool) -> Result<(), Error> {
        let mut aged = self.aged_out.lock();
        let mut next = AgedOut { removing: Some((day.0, counts)), ..aged.clone() };
        if whole {
            next.removed_through = next.removed_through.max(Some(day.0));
            self.ages.set_removed_through(day);
        }
        self.save_aged_out(&next)?;
        *aged = next;
        Ok(())
    }

    fn end_removing(&self, removed: bool) -> Result<(), Error> {
        let mut aged = self.aged_out.lock();
        let mut next = aged.clone();
        if let Some((_, counts)) = next.removing.take().filter(|_| removed) {
            next.count(&counts);
        }
        self.save_aged_out(&next)?;
        *aged = next;
        Ok(())
    }

    fn save_aged_out(&self, aged: &AgedOut) -> Result<(), Error> {
        snapshot::write_beside(self.disk.as_ref(), &self.aged_out_path, aged)?;
        snapshot::put_in_place(self.disk.as_ref(), &self.aged_out_path)
    }

    /// Removes the oldest readings, then the oldest minutes, until the buckets take no more than `most`. Today stays.
    fn keep_below(&self, most: u64) -> Result<(), Error> {
        let mut used = self.disk_use()?.total();
        if is_nearly_full(used, most) {
            self.raw.report_use(BucketEvent::NearlyFull { used_bytes: used, max_bytes: most });
        }
        let minutes = self.rollups.level(Level::Minutes);
        for (kind, buckets) in [(Kind::Raw, &self.raw), (Kind::Rollup(Level::Minutes), minutes)] {
            let mut sizes = buckets.sizes()?;
            sizes.pop();
            for (day, bytes) in sizes {
                if used <= most {
                    return Ok(());
                }
                if !(kind == Kind::Raw && self.has_unfinished(day)) && self.remove(kind, buckets, day)? {
                    used = used.saturating_sub(bytes);
                    self.raw.report(BucketEvent::RemovedForSpace { day: day.name(), bytes });
                }
            }
        }
        Ok(())
    }
}

impl AgedOut {
    fn count(&mut self, counts: &BTreeMap<DeviceId, u64>) {
        for (device, count) in counts {
            *self.readings.entry(device.clone()).or_default() += count;
        }
    }
}

fn devices_of(bucket: &Bucket) -> Result<BTreeSet<DeviceId>, Error> {
    Ok(bucket.all_keys()?.iter().filter_map(|key| parse_device(key)).collect())
}

/// How many stored readings the frames of some devices hold; what is damaged can't be counted.
fn count_stored(
    bucket: &Bucket,
    wanted: impl Fn(&DeviceId) -> bool,
) -> Result<BTreeMap<DeviceId, u64>, Error> {
    let mut counts: BTreeMap<DeviceId, u64> = BTreeMap::new();
    for key in bucket.all_keys()? {
        let Some(device) = parse_device(&key).filter(&wanted) else { continue };
        let Some(bytes) = bucket.get(&key)? else { continue };
        let stored = Frame::open(&bytes).map_or(0, |frame| frame.stored());
        *counts.entry(device).or_default() += stored;
    }
    Ok(counts)
}
