//! What is done to an hour and a day once they are over: parts become one, and rollups are computed.
//!
//! Done in the seal that finds them over, or later by [`Store::maintain`]. Never left undone for rows that change under
//! a rollup which stands already: that seal computes it anew before it says that it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use voltree_model::{DeviceId, MetricName, Timestamp};

use super::Store;
use super::parts::HourParts;
use super::rollups::{Level, with_day};
use crate::bucket::{Bucket, Day, Hour, parse_device, parse_key};
use crate::frame::Table;
use crate::rollup::block::BySeries;
use crate::rollup::{Moment, Patience, Rollup, minutes_of, minutes_with};
use crate::{Error, Frame, snapshot};

/// How long after its end an hour is thought to be complete: clocks differ, and links are slow.
const GRACE: Duration = Duration::from_secs(120);

/// Stretches that have frames and are not over, or whose rollups are not written yet.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    hours: BTreeSet<(Hour, DeviceId)>,
    days: BTreeSet<(Day, DeviceId)>,
    /// Days of which it is not known what they lack: those that were there when the store was opened.
    unknown: BTreeSet<Day>,
    /// Days that were finished since: their buckets still hold what was written over.
    loose: BTreeSet<Day>,
    /// All days up to here have their rollups, as the file says.
    saved_through: Option<Day>,
}

/// Syncs each bucket once, when the next one is taken up.
#[derive(Default)]
struct Unsynced(Option<Bucket>);

impl Unsynced {
    fn put(&mut self, bucket: Bucket) -> Result<(), Error> {
        let same = self.0.as_ref().is_some_and(|last| last.is(&bucket));
        match self.0.replace(bucket) {
            Some(last) if !same => last.sync(),
            Some(_) | None => Ok(()),
        }
    }

    fn sync(self) -> Result<(), Error> {
        self.0.map_or(Ok(()), |bucket| bucket.sync())
    }
}

impl Unfinished {
    /// Reads from the file beside the checkpoint which days need not be looked at.
    pub(super) fn load(store: &Store) -> Result<Self, Error> {
        let saved: Option<i64> = snapshot::load(store.disk.as_ref(), &store.finished_path)?;
        let saved_through = saved.map(Day);
        let days =
            store.raw.all().into_iter().filter(|day| saved_through.is_none_or(|through| *day > through));
        Ok(Self { unknown: days.collect(), saved_through, ..Self::default() })
    }
}

impl Store {
    /// Whether the hour is over, or stands in rollups already.
    pub(super) fn is_due(&self, device: &DeviceId, hour: Hour, now: Timestamp) -> Result<bool, Error> {
        if is_over(hour.end(), now) {
            return Ok(true);
        }
        Ok(self.rollups.has(Level::Minutes, device, hour)? || self.day_stands(device, hour)?)
    }

    /// Whether rollups of a day may be missing.
    pub(super) fn has_unfinished(&self, day: Day) -> bool {
        let unfinished = self.unfinished.lock();
        let of_day = |(other, _): &(Day, DeviceId)| *other == day;
        unfinished.unknown.contains(&day)
            || unfinished.days.iter().any(of_day)
            || unfinished.hours.iter().any(|(hour, _)| hour.day() == day)
    }

    fn day_stands(&self, device: &DeviceId, hour: Hour) -> Result<bool, Error> {
        self.rollups.has(Level::Hours, device, hour)
    }

    /// Writes the rollups of hours whose frames changed, as far as they are due; keeps the others in mind.
    pub(super) fn finish(&self, touched: BTreeSet<(Hour, DeviceId)>, now: Timestamp) -> Result<(), Error> {
        let mut days = BTreeSet::new();
        let mut unsynced = Unsynced::default();
        for (hour, device) in touched {
            // What is left of its frames is not what its rollups were computed from.
            if self.ages.refuses(&device, hour.start(), now) {
                continue;
            }
            if !self.is_due(&device, hour, now)? {
                let mut unfinished = self.unfinished.lock();
                unfinished.days.insert((hour.day(), device.clone()));
                unfinished.hours.insert((hour, device));
                continue;
            }
            let minutes = self.minutes_of_frames(&device, hour)?;
            unsynced.put(self.rollups.write(Level::Minutes, &device, hour, &minutes)?)?;
            days.insert((hour.day(), device));
        }
        unsynced.sync()?;
        self.finish_days(days, now)
    }

    /// Writes the rollups of hours that were put together again, where there are none: those that stand may come from
    /// more than the journal still had.
    pub(super) fn finish_rebuilt(
        &self,
        touched: BTreeSet<(Hour, DeviceId)>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut missing = BTreeSet::new();
        for (hour, device) in touched {
            if !self.rollups.has(Level::Minutes, &device, hour)? {
                missing.insert((hour, device));
            }
        }
        self.finish(missing, now)
    }

    fn finish_days(&self, days: BTreeSet<(Day, DeviceId)>, now: Timestamp) -> Result<(), Error> {
        let (mut hours, mut blocks) = (Unsynced::default(), Unsynced::default());
        for (day, device) in days {
            if is_over(day.end(), now) || self.day_stands(&device, day.first_hour())? {
                let (hour, block) = self.finish_day(&device, day)?;
                hours.put(hour)?;
                blocks.put(block)?;
            } else {
                self.unfinished.lock().days.insert((day, device));
            }
        }
        hours.sync()?;
        blocks.sync()
    }

    fn finish_day(&self, device: &DeviceId, day: Day) -> Result<(Bucket, Bucket), Error> {
        let mut hours = BySeries::new();
        for hour in day.hours() {
            let minutes = match self.rollups.all(Level::Minutes, device, hour)? {
                Some(minutes) => minutes,
                None => self.minutes_of_frames(device, hour)?,
            };
            for (name, minutes) in minutes {
                hours.entry(name).or_default().extend(Rollup::fold(minutes));
            }
        }
        let fold = |(name, hours): (&MetricName, &Vec<Rollup>)| {
            (name.clone(), Rollup::fold(hours.iter().cloned()).into_iter().collect())
        };
        let of_day: BySeries = hours.iter().map(fold).collect();
        let hours = self.rollups.write(Level::Hours, device, day.first_hour(), &hours)?;
        let days = self.rollups.all(Level::Days, device, day.first_hour())?.unwrap_or_default();
        let days = with_day(days, day, &of_day);
        Ok((hours, self.rollups.write(Level::Days, device, day.first_hour(), &days)?))
    }

    /// The minutes of all series of an hour, from its frames.
    fn minutes_of_frames(&self, device: &DeviceId, hour: Hour) -> Result<BySeries, Error> {
        let mut points: BTreeMap<MetricName, Vec<Moment>> = BTreeMap::new();
        let Some(bucket) = self.raw.find(hour.day())? else { return Ok(BySeries::new()) };
        for (_, bytes) in bucket.parts(device, hour, hour)? {
            let read = Frame::open(&bytes).and_then(|frame| frame.all_values(&mut points));
            if let Err(error) = read {
                self.report(&bucket, device, hour, &error);
            }
        }
        let minutes = points.into_iter().map(|(name, mut points)| {
            in_order(&mut points);
            (name, minutes_of(&points))
        });
        Ok(minutes.filter(|(_, minutes)| !minutes.is_empty()).collect())
    }

    /// Catches up with hours and days that are over, at most about `budget` device-hours; says whether more are left.
    ///
    /// To be called now and then, also when nothing is sealed. A reader never waits for it, a seal may.
    pub fn maintain(&self, now: Timestamp, budget: usize) -> Result<bool, Error> {
        let _one_at_a_time = self.sealing.lock();
        self.check_space()?;
        self.look_into_one_day()?;
        let hours: BTreeSet<_> = {
            let unfinished = self.unfinished.lock();
            unfinished
                .hours
                .iter()
                .filter(|(hour, _)| is_over(hour.end(), now))
                .take(budget)
                .cloned()
                .collect()
        };
        let full = hours.len() == budget;
        let rolled_up = self.merge_parts(&hours, now)?;
        self.finish(hours.difference(&rolled_up).cloned().collect(), now)?;
        self.finish_days(rolled_up.into_iter().map(|(hour, device)| (hour.day(), device)).collect(), now)?;
        let mut unfinished = self.unfinished.lock();
        unfinished.hours.retain(|hour| !hours.contains(hour));
        if full {
            return Ok(true);
        }
        let days =
            unfinished.days.iter().filter(|(day, _)| is_over(day.end(), now)).take(budget.div_ceil(24));
        let days: BTreeSet<_> = days.cloned().collect();
        drop(unfinished);
        self.finish_days(days.clone(), now)?;
        let mut unfinished = self.unfinished.lock();
        unfinished.days.retain(|day| !days.contains(day));
        unfinished.loose.extend(days.iter().map(|(day, _)| *day));
        let left = !days.is_empty() || !unfinished.unknown.is_empty();
        drop(unfinished);
        if left {
            return Ok(true);
        }
        self.save_finished()?;
        self.compact_one_day()
    }

    /// Makes one part of the parts of each hour, and its rollups while its rows are at hand; says of which.
    fn merge_parts(
        &self,
        hours: &BTreeSet<(Hour, DeviceId)>,
        now: Timestamp,
    ) -> Result<BTreeSet<(Hour, DeviceId)>, Error> {
        let (mut frames, mut rollups) = (Unsynced::default(), Unsynced::default());
        let mut rolled_up = BTreeSet::new();
        for (hour, device) in hours {
            let Some(bucket) = self.raw.find(hour.day())? else { continue };
            let stored = bucket.parts(device, *hour, *hour)?;
            let mut parts = HourParts::new(stored, |why| self.report(&bucket, device, *hour, &why));
            parts.merge_all();
            let is_wanted = !self.ages.refuses(device, hour.start(), now);
            if let Some(table) = parts.only_table().filter(|_| is_wanted) {
                let minutes = minutes_of_table(table);
                rollups.put(self.rollups.write(Level::Minutes, device, *hour, &minutes)?)?;
                rolled_up.insert((*hour, device.clone()));
            }
            let changes = parts.into_changes(device, *hour)?;
            if !changes.parts.is_empty() {
                bucket.write(changes.parts, changes.gone)?;
                frames.put(bucket)?;
            }
        }
        frames.sync()?;
        rollups.sync()?;
        Ok(rolled_up)
    }

    /// Copies the buckets of a day that is finished, which leaves behind what was written over; says whether another
    /// waits for that.
    fn compact_one_day(&self) -> Result<bool, Error> {
        let Some(day) = self.unfinished.lock().loose.first().copied() else { return Ok(false) };
        if self.raw.has(day) && !self.raw.keep_only(day, |_| true)? {
            // Somebody reads it: another time.
            return Ok(false);
        }
        let minutes = self.rollups.level(Level::Minutes);
        if minutes.has(day) && !minutes.keep_only(day, |_| true)? {
            return Ok(false);
        }
        let mut unfinished = self.unfinished.lock();
        unfinished.loose.remove(&day);
        Ok(!unfinished.loose.is_empty())
    }

    /// Finds out what a day lacks that was there before the store was opened.
    fn look_into_one_day(&self) -> Result<(), Error> {
        let Some(day) = self.unfinished.lock().unknown.first().copied() else { return Ok(()) };
        let mut devices = BTreeSet::new();
        if let Some(bucket) = self.raw.find(day)? {
            for key in bucket.all_keys()? {
                let (Some((hour, _)), Some(device)) = (parse_key(&key), parse_device(&key)) else { continue };
                if !self.rollups.has(Level::Minutes, &device, hour)? {
                    self.unfinished.lock().hours.insert((hour, device.clone()));
                }
                devices.insert(device);
            }
        }
        for device in devices {
            if !self.rollups.has(Level::Hours, &device, day.first_hour())? {
                self.unfinished.lock().days.insert((day, device));
            }
        }
        self.unfinished.lock().unknown.remove(&day);
        Ok(())
    }

    /// Remembers up to which day nothing is left to do, so that the next start need not look.
    fn save_finished(&self) -> Result<(), Error> {
        let last = self.raw.all().last().copied();
        let mut unfinished = self.unfinished.lock();
        let hours = unfinished.hours.first().map(|(hour, _)| hour.day());
        let days = unfinished.days.first().map(|(day, _)| *day);
        let open = hours.into_iter().chain(days).min();
        let through = open.map(|day| Day(day.0.saturating_sub(1))).or(last);
        let Some(through) =
            through.filter(|through| unfinished.saved_through.is_none_or(|saved| *through > saved))
        else {
            return Ok(());
        };
        snapshot::write_beside(self.disk.as_ref(), &self.finished_path, &through.0)?;
        snapshot::put_in_place(self.disk.as_ref(), &self.finished_path)?;
        unfinished.saved_through = Some(through);
        Ok(())
    }
}

/// The minutes of all series of an hour.
fn minutes_of_table(table: &Table) -> BySeries {
    let mut all = BySeries::new();
    let mut shared = None;
    table.each_series(|name, points, is_every_row| {
        // Series that are in every row have their times in common.
        let patience = match is_every_row {
            true => *shared.get_or_insert_with(|| Patience::of_hour(points)),
            false => Patience::of_hour(points),
        };
        let minutes = minutes_with(points, patience);
        if !minutes.is_empty() {
            all.insert(name.clone(), minutes);
        }
    });
    all
}

fn is_over(end: Timestamp, now: Timestamp) -> bool {
    end.plus(GRACE) <= now
}

/// Puts samples that come part by part in the order of time; parts may overlap.
pub(super) fn in_order(points: &mut Vec<Moment>) {
    if !points.is_sorted_by(|a, b| a.at < b.at) {
        points.sort_by_key(|point| point.at);
        points.dedup_by_key(|point| point.at);
    }
}
