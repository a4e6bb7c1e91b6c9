//! The time buckets: one map per UTC day, opened when needed, a few at a time.
//!
//! A bucket that can't be opened because it is damaged is moved to the quarantine and a fresh one takes its place, so
//! that one bad day stops neither the other days nor the devices. That is reported, never done silently; nothing in
//! the quarantine is ever removed here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use voltree_model::{DeviceId, Timestamp};

use crate::error::FileContext;
use crate::kv::Pair;
use crate::{Engine, Error, Kv, KvError};

pub(crate) const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// How many buckets stay open.
const MAX_OPEN: usize = 8;
/// How many events are kept for whoever asks.
const MAX_EVENTS: usize = 1_000;

/// Something an operator should know of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketEvent {
    /// A damaged bucket was set aside and replaced by an empty one.
    Quarantined {
        /// Its day.
        day: String,
        /// Where it is now.
        moved_to: PathBuf,
        /// What its engine said.
        why: String,
    },
    /// A frame is damaged; its rows are missing from answers.
    CorruptFrame {
        /// Its day.
        day: String,
        /// Whose it is.
        device: DeviceId,
        /// The hour it belongs to.
        hour: Timestamp,
        /// What is wrong with it.
        why: String,
    },
}

/// A day since 1970-01-01, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(i64);

/// An hour, by its first millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hour(i64);

/// One open bucket.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    pub(crate) day: Day,
    path: PathBuf,
    kv: Arc<dyn Kv>,
}

/// All buckets of a node.
#[derive(Debug)]
pub(crate) struct Buckets {
    root: PathBuf,
    quarantine: PathBuf,
    engine: Box<dyn Engine>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: BTreeSet<Day>,
    /// The most recently used last.
    recent: VecDeque<(Day, Arc<dyn Kv>)>,
    /// Whoever still uses a bucket that is no longer recent keeps it open; it must not be opened twice.
    in_use: BTreeMap<Day, Weak<dyn Kv>>,
    events: VecDeque<BucketEvent>,
}

impl Day {
    fn of_name(name: &str) -> Option<Self> {
        if let Some(number) = name.strip_prefix("day") {
            return number.parse().ok().map(Self);
        }
        let midnight = Timestamp::parse_rfc3339(&format!("{name}T00:00:00Z")).ok()?;
        Some(Self(midnight.as_millis().div_euclid(DAY_MS)))
    }

    /// As in `2026-11-21`; a day that no calendar reaches has only its number.
    pub(crate) fn name(self) -> String {
        let midnight = Timestamp::from_millis(self.0.saturating_mul(DAY_MS)).to_string();
        match midnight.split_once('T') {
            Some((date, _)) => date.to_owned(),
            None => format!("day{}", self.0),
        }
    }

    fn of(at: Timestamp) -> Self {
        Self(at.as_millis().div_euclid(DAY_MS))
    }
}

impl Hour {
    pub(crate) fn of(at: Timestamp) -> Self {
        Self(at.as_millis().saturating_sub(at.as_millis().rem_euclid(HOUR_MS)))
    }

    pub(crate) fn start(self) -> Timestamp {
        Timestamp::from_millis(self.0)
    }

    pub(crate) fn day(self) -> Day {
        Day::of(self.start())
    }
}

/// The key of a part: the device, a zero byte that no id contains, the hour, the part's number.
pub(crate) fn key(device: &DeviceId, hour: Hour, part: u16) -> Vec<u8> {
    let mut key = prefix(device, hour);
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// Flipping the sign bit makes negative hours sort before positive ones.
fn prefix(device: &DeviceId, hour: Hour) -> Vec<u8> {
    let ordered = hour.0.cast_unsigned() ^ (1 << 63);
    [device.as_str().as_bytes(), &[0], &ordered.to_be_bytes()].concat()
}

/// The keys of all parts from one hour to another, both included.
fn keys(device: &DeviceId, first: Hour, last: Hour) -> Range<Vec<u8>> {
    let mut end = prefix(device, last);
    end.extend_from_slice(&[0xff, 0xff, 0xff]);
    prefix(device, first)..end
}

/// The hour and the part of a key.
pub(crate) fn parse_key(key: &[u8]) -> Option<(Hour, u16)> {
    let (rest, part) = key.split_last_chunk::<2>()?;
    let (_, hour) = rest.split_last_chunk::<8>()?;
    Some((Hour((u64::from_be_bytes(*hour) ^ (1 << 63)).cast_signed()), u16::from_be_bytes(*part)))
}

impl Bucket {
    /// The parts of a device from one hour to another, both included.
    pub(crate) fn parts(&self, device: &DeviceId, first: Hour, last: Hour) -> Result<Vec<Pair>, Error> {
        self.kv.scan(keys(device, first, last)).map_err(|source| self.error("read", source))
    }

    /// Inserts parts, all or none.
    pub(crate) fn insert(&self, parts: Vec<Pair>) -> Result<(), Error> {
        self.kv.insert(parts).map_err(|source| self.error("write", source))
    }

    /// Returns once everything inserted is on stable storage.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.kv.sync().map_err(|source| self.error("sync", source))
    }

    fn error(&self, doing: &'static str, source: KvError) -> Error {
        Error::Bucket { doing, path: self.path.clone(), source }
    }
}

impl Buckets {
    pub(crate) fn new(root: &Path, quarantine: &Path, engine: Box<dyn Engine>) -> Result<Self, Error> {
        let names = engine.list(root).file("list", root)?;
        let known = names.iter().filter_map(|name| Day::of_name(name)).collect();
        let state = Mutex::new(State { known, ..State::default() });
        Ok(Self { root: root.to_owned(), quarantine: quarantine.to_owned(), engine, state })
    }

    /// The days in a range that have a bucket, both ends included.
    pub(crate) fn days(&self, first: Hour, last: Hour) -> Vec<Day> {
        self.state.lock().known.range(first.day()..=last.day()).copied().collect()
    }

    /// The bucket of a day; it is created if there is none.
    pub(crate) fn open(&self, day: Day) -> Result<Bucket, Error> {
        let path = self.root.join(day.name());
        let mut state = self.state.lock();
        if let Some(kv) = state.in_use.get(&day).and_then(Weak::upgrade) {
            state.use_now(day, Arc::clone(&kv));
            return Ok(Bucket { day, path, kv });
        }
        let kv = match self.engine.open(&path) {
            Err(KvError::Damaged { why }) => {
                let event = self.set_aside(day, &path, why)?;
                state.report(event);
                self.engine.open(&path)
            }
            result => result,
        };
        let kv = kv.map_err(|source| Error::OpenBucket { path: path.clone(), source })?;
        state.known.insert(day);
        state.in_use.retain(|_, kv| kv.strong_count() > 0);
        state.in_use.insert(day, Arc::downgrade(&kv));
        state.use_now(day, Arc::clone(&kv));
        Ok(Bucket { day, path, kv })
    }

    /// Remembers and logs an event.
    pub(crate) fn report(&self, event: BucketEvent) {
        self.state.lock().report(event);
    }

    /// The events since the last call.
    pub(crate) fn take_events(&self) -> Vec<BucketEvent> {
        self.state.lock().events.drain(..).collect()
    }

    fn set_aside(&self, day: Day, path: &Path, why: String) -> Result<BucketEvent, Error> {
        let names = self.engine.list(&self.quarantine).file("list", &self.quarantine)?;
        let name = (1_u32..).map(|n| format!("{}-{n}", day.name())).find(|name| !names.contains(name));
        let moved_to = self.quarantine.join(name.unwrap_or_else(|| day.name()));
        self.engine.set_aside(path, &moved_to).file("set aside", path)?;
        Ok(BucketEvent::Quarantined { day: day.name(), moved_to, why })
    }
}

impl State {
    fn use_now(&mut self, day: Day, kv: Arc<dyn Kv>) {
        self.recent.retain(|(other, _)| *other != day);
        self.recent.push_back((day, kv));
        if self.recent.len() > MAX_OPEN {
            self.recent.pop_front();
        }
    }

    fn report(&mut self, event: BucketEvent) {
        if self.events.contains(&event) {
            return;
        }
        match &event {
            BucketEvent::Quarantined { day, moved_to, why } => {
                let moved_to = moved_to.display();
                tracing::error!(event = "bucket.quarantined", day, %moved_to, why);
            }
            BucketEvent::CorruptFrame { day, device, hour, why } => {
                tracing::error!(event = "bucket.corrupt_frame", day, %device, %hour, why);
            }
        }
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

#[cfg(test)]
mod tests;
