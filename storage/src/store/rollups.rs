//! The stored rollups: minutes in a block per device and hour, hours per device and day, days per device and 32 days.
//!
//! A block is written when its stretch is over and again whenever late data touches it, always from the level below and
//! never from its former self. One that is missing or damaged is no loss: whoever asks goes one level down. So nothing
//! here needs a transaction with the frames; it is only never left standing when the frames below it changed.

use std::path::Path;
use std::sync::Arc;

use voltree_model::{DeviceId, MetricName};

use crate::bucket::{Bucket, Buckets, Day, Hour, key};
use crate::error::Error;
use crate::rollup::Rollup;
use crate::rollup::block::{self, Block, BySeries};
use crate::{BucketEvent, Engine};

/// How many days share a block of days.
pub(crate) const DAYS_PER_BLOCK: i64 = 32;
/// How many days share a bucket of hours.
const HOURS_SPAN_DAYS: i64 = 32;
/// How many days share a bucket of days.
const DAYS_SPAN_DAYS: i64 = 512;
/// How many buckets of each level stay open.
const MAX_OPEN: usize = 3;

/// A level of rollups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// One minute.
    Minutes,
    /// One hour.
    Hours,
    /// One day, in UTC.
    Days,
}

impl Level {
    /// From the finest to the coarsest.
    pub const ALL: [Self; 3] = [Self::Minutes, Self::Hours, Self::Days];

    pub(crate) const fn directory(self) -> &'static str {
        match self {
            Self::Minutes => "rollup-1m",
            Self::Hours => "rollup-1h",
            Self::Days => "rollup-1d",
        }
    }

    const fn span_days(self) -> i64 {
        match self {
            Self::Minutes => 1,
            Self::Hours => HOURS_SPAN_DAYS,
            Self::Days => DAYS_SPAN_DAYS,
        }
    }

    /// Where the block begins that holds an hour.
    pub(crate) fn block_of(self, hour: Hour) -> Hour {
        match self {
            Self::Minutes => hour,
            Self::Hours => hour.day().first_hour(),
            Self::Days => hour.day().begin_of(DAYS_PER_BLOCK).first_hour(),
        }
    }
}

/// The buckets of all levels.
#[derive(Debug)]
pub(crate) struct Rollups([Buckets; 3]);

impl Rollups {
    pub(crate) fn open(root: &Path, quarantine: &Path, engine: &Arc<dyn Engine>) -> Result<Self, Error> {
        let open = |level: Level| {
            let (root, engine) = (root.join(level.directory()), Arc::clone(engine));
            Buckets::new(&root, &quarantine.join(level.directory()), engine, level.span_days(), MAX_OPEN)
        };
        Ok(Self([open(Level::Minutes)?, open(Level::Hours)?, open(Level::Days)?]))
    }

    pub(crate) fn level(&self, level: Level) -> &Buckets {
        let [minutes, hours, days] = &self.0;
        match level {
            Level::Minutes => minutes,
            Level::Hours => hours,
            Level::Days => days,
        }
    }

    /// One series of the block that holds an hour; `None` if there is no such block that can be read.
    pub(crate) fn series(
        &self,
        level: Level,
        device: &DeviceId,
        hour: Hour,
        metric: &MetricName,
    ) -> Result<Option<Vec<Rollup>>, Error> {
        let Some((bucket, bytes)) = self.bytes(level, device, hour)? else { return Ok(None) };
        let read = Block::open(&bytes).and_then(|block| block.series(metric));
        Ok(self.readable(level, &bucket, device, hour, read))
    }

    /// All series of the block that holds an hour; `None` if there is no such block that can be read.
    pub(crate) fn all(&self, level: Level, device: &DeviceId, hour: Hour) -> Result<Option<BySeries>, Error> {
        let Some((bucket, bytes)) = self.bytes(level, device, hour)? else { return Ok(None) };
        let read = Block::open(&bytes).and_then(|block| block.all());
        Ok(self.readable(level, &bucket, device, hour, read))
    }

    /// Whether there is a block that holds an hour.
    pub(crate) fn has(&self, level: Level, device: &DeviceId, hour: Hour) -> Result<bool, Error> {
        Ok(self.bytes(level, device, hour)?.is_some())
    }

    /// Writes the block that holds an hour; it is durable once the bucket that is returned is synced.
    pub(crate) fn write(
        &self,
        level: Level,
        device: &DeviceId,
        hour: Hour,
        series: &BySeries,
    ) -> Result<Bucket, Error> {
        let bytes = block::encode(series)?;
        let bucket = self.level(level).open(hour.day())?;
        bucket.write(vec![(key(device, level.block_of(hour), 0), bytes)], Vec::new())?;
        Ok(bucket)
    }

    fn bytes(&self, level: Level, device: &DeviceId, hour: Hour) -> Result<Option<(Bucket, Vec<u8>)>, Error> {
        let Some(bucket) = self.level(level).find(hour.day())? else { return Ok(None) };
        let bytes = bucket.part(device, level.block_of(hour), 0)?;
        Ok(bytes.map(|bytes| (bucket, bytes)))
    }

    fn readable<T>(
        &self,
        level: Level,
        bucket: &Bucket,
        device: &DeviceId,
        hour: Hour,
        read: Result<T, Error>,
    ) -> Option<T> {
        let why = match read {
            Ok(read) => return Some(read),
            Err(error) => error.to_string(),
        };
        let (device, hour) = (device.clone(), level.block_of(hour).start());
        self.level(level).report(BucketEvent::CorruptRollup { day: bucket.day.name(), device, hour, why });
        None
    }
}

/// The days of a block with those of one day replaced.
pub(crate) fn with_day(mut days: BySeries, day: Day, of_day: &BySeries) -> BySeries {
    let range = day.first_hour().start().as_millis()..day.end().as_millis();
    for rollups in days.values_mut() {
        rollups.retain(|rollup| !range.contains(&rollup.first.at));
    }
    for (name, rollups) in of_day {
        let known = days.entry(name.clone()).or_default();
        known.extend(rollups.iter().cloned());
        known.sort_by_key(|rollup| rollup.first.at);
    }
    days.retain(|_, rollups| !rollups.is_empty());
    days
}
