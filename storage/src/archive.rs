//! Everything a data directory holds, row by row, day by day, for whoever takes it elsewhere: sealed rows and those that
//! are still open put together, each moment once.
//!
//! For a directory that no node has. Nothing is written; what can't be read is named and passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use voltree_model::{DeviceId, Metric, MetricName, Timestamp, Unit};

use crate::bucket::Day;
use crate::error::FileContext;
use crate::inspect::{Damage, in_order};
use crate::{DataDir, Engine, Error, Frame, Head, Kv, Row, SledEngine, read_head};

/// The rows of a day of a device, by time.
pub type Rows = BTreeMap<Timestamp, Row>;

/// A data directory as a thing to read from.
#[derive(Debug)]
pub struct Archive {
    root: PathBuf,
    engine: Arc<dyn Engine>,
    head: Head,
}

/// One of its days, with its bucket open.
#[derive(Debug)]
pub struct ArchivedDay<'a> {
    archive: &'a Archive,
    day: Day,
    bucket: Option<Arc<dyn Kv>>,
    damages: Vec<Damage>,
}

impl Archive {
    /// Opens a directory that this process holds.
    pub fn open(data: &DataDir) -> Result<Self, Error> {
        let (root, head) = (data.buckets().join("raw"), read_head(data)?);
        Ok(Self { root, engine: Arc::new(SledEngine), head })
    }

    /// All devices that ever had an entry.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceId> {
        self.head.devices()
    }

    /// Every series that a device ever had, with the unit of its newest value.
    pub fn series(&self, device: &DeviceId) -> BTreeMap<MetricName, Option<Unit>> {
        let latest = self.head.device(device).map(|known| known.latest).unwrap_or_default();
        latest.into_iter().map(|(name, latest)| (name, latest.unit)).collect()
    }

    /// The newest texts of a device, if it has any, and when it was heard last.
    pub fn attributes(&self, device: &DeviceId) -> Option<(Timestamp, BTreeMap<MetricName, String>)> {
        let known = self.head.device(device)?;
        known.last_seen.map(|at| (at, known.attributes)).filter(|(_, texts)| !texts.is_empty())
    }

    /// When the days begin that have rows, ascending.
    pub fn days(&self) -> Result<Vec<Timestamp>, Error> {
        let names = in_order(self.engine.as_ref(), &self.root)?;
        let mut days: BTreeSet<Day> = names.iter().filter_map(|name| Day::of_name(name)).collect();
        for device in self.head.devices() {
            days.extend(
                self.head.open_times(device).into_iter().map(|at| Day::of(Timestamp::from_millis(at))),
            );
        }
        Ok(days.into_iter().map(|day| day.first_hour().start()).collect())
    }

    /// Opens the day that a moment belongs to. A bucket that can't be opened is named, and what is open is still there.
    pub fn day(&self, at: Timestamp) -> Result<ArchivedDay<'_>, Error> {
        let day = Day::of(at);
        let mut opened = ArchivedDay { archive: self, day, bucket: None, damages: Vec::new() };
        if self.engine.list(&self.root).file("list", &self.root)?.contains(&day.name()) {
            let path = self.root.join(day.name());
            match self.engine.open(&path) {
                Ok(kv) => opened.bucket = Some(kv),
                Err(error) => {
                    opened.damages.push(Damage { what: path.display().to_string(), why: error.to_string() })
                }
            }
        }
        Ok(opened)
    }
}

impl ArchivedDay<'_> {
    /// All rows of a device.
    pub fn rows(&mut self, device: &DeviceId) -> Rows {
        let mut rows = Rows::new();
        // A zero byte, which no id contains, ends the device's part of a key.
        let key = |end: u8| [device.as_str().as_bytes(), &[end]].concat();
        let stored = self.bucket.as_ref().map(|bucket| bucket.scan(key(0)..key(1)));
        let mut damaged = |why: String| {
            let what = format!("what {device} has in bucket {}", self.day.name());
            self.damages.push(Damage { what, why });
        };
        match stored.transpose() {
            Ok(parts) => {
                for (_, bytes) in parts.unwrap_or_default() {
                    match Frame::open(&bytes).and_then(|frame| frame.rows()) {
                        Ok(part) => part.into_iter().for_each(|(at, row)| add(&mut rows, at, row)),
                        Err(error) => damaged(error.to_string()),
                    }
                }
            }
            Err(error) => damaged(error.to_string()),
        }
        let (from, to) = (self.day.first_hour().start(), self.day.end());
        for (at, row) in self.archive.head.open_rows(device, from, to) {
            add(&mut rows, at, row);
        }
        rows
    }

    /// What could not be read so far.
    pub fn damages(&self) -> &[Damage] {
        &self.damages
    }
}

/// Until parts are merged a moment may have rows in two of them; of two values the one with the higher origin stays.
fn add(rows: &mut Rows, at: Timestamp, row: Row) {
    let Some(known) = rows.get_mut(&at) else {
        rows.insert(at, row);
        return;
    };
    let metrics = row
        .samples
        .into_iter()
        .map(|sample| Metric { name: sample.name, value: sample.value, unit: sample.unit })
        .collect();
    known.absorb(row.origin, &metrics);
}
