//! The time buckets: one map per UTC day or per so many days, opened when needed, a few at a time.
//!
//! A bucket that is damaged, which shows when it is opened or only when it is read, is moved to the quarantine and a fresh
//! one takes its place, so that one bad day stops neither the other days nor the devices. That is reported, never done silently; nothing in
//! the quarantine is ever removed here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use voltree_model::{DeviceId, Timestamp};

use crate::error::FileContext;
use crate::kv::Pair;
use crate::rollup::{DAY_MS, HOUR_MS};
use crate::{Engine, Error, Kv, KvError};

/// The name of a bucket that is being removed ends so, until it is gone.
const REMOVED: &str = ".removed";
/// The name of a copy that takes its bucket's place ends so, until it does.
const KEPT: &str = ".kept";
/// The name of a damaged bucket ends so once all that could be was put into the one in its place.
const REBUILT: &str = ".rebuilt";
/// A bucket that nobody used for so long is closed, as each takes some megabytes of memory while it is open: longer than
/// the time between two seals of a small fleet.
const IDLE_AFTER: Duration = Duration::from_secs(15 * 60);
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
    /// The buckets take most of the space that they may; soon the oldest readings go.
    NearlyFull {
        /// What they take.
        used_bytes: u64,
        /// What they may take.
        max_bytes: u64,
    },
    /// A bucket was removed before its time, because the buckets took more space than they may.
    RemovedForSpace {
        /// Its first day.
        day: String,
        /// What it took.
        bytes: u64,
    },
    /// A block of rollups is damaged; it is computed anew for every answer until late data writes it again.
    CorruptRollup {
        /// The first day of its bucket.
        day: String,
        /// Whose it is.
        device: DeviceId,
        /// Where it begins.
        hour: Timestamp,
        /// What is wrong with it.
        why: String,
    },
}

/// A day since 1970-01-01, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(pub(crate) i64);

/// An hour, by its first millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hour(pub(crate) i64);

/// One open bucket.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    pub(crate) day: Day,
    path: PathBuf,
    kv: Arc<dyn Kv>,
    damage: Arc<Damage>,
}

/// Open buckets in which damage was found, with what was said of it.
type Damage = Mutex<BTreeMap<Day, String>>;

/// All buckets of one kind.
#[derive(Debug)]
pub(crate) struct Buckets {
    root: PathBuf,
    span_days: i64,
    max_open: usize,
    quarantine: PathBuf,
    engine: Arc<dyn Engine>,
    state: Mutex<State>,
    damage: Arc<Damage>,
}

#[derive(Debug, Default)]
struct State {
    known: BTreeSet<Day>,
    /// The most recently used last, with when that was.
    recent: VecDeque<(Day, Arc<dyn Kv>, Instant)>,
    /// Whoever still uses a bucket that is no longer recent keeps it open; it must not be opened twice.
    in_use: BTreeMap<Day, Weak<dyn Kv>>,
    events: VecDeque<BucketEvent>,
    /// Damaged buckets that were replaced by empty ones.
    replaced: BTreeSet<Day>,
}

impl Day {
    pub(crate) fn of_name(name: &str) -> Option<Self> {
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

    pub(crate) fn of(at: Timestamp) -> Self {
        Self(at.as_millis().div_euclid(DAY_MS))
    }

    /// The first of the days that share its bucket.
    pub(crate) fn begin_of(self, span_days: i64) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(span_days)))
    }

    pub(crate) fn first_hour(self) -> Hour {
        Hour(self.0.saturating_mul(DAY_MS))
    }

    pub(crate) fn hours(self) -> impl Iterator<Item = Hour> {
        (0..24).map(move |n| Hour(self.first_hour().0.saturating_add(n * HOUR_MS)))
    }

    /// The first moment after it.
    pub(crate) fn end(self) -> Timestamp {
        Timestamp::from_millis(self.first_hour().0.saturating_add(DAY_MS))
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

    /// The first moment after it.
    pub(crate) fn end(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_add(HOUR_MS))
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

/// Whose a key is.
pub(crate) fn parse_device(key: &[u8]) -> Option<DeviceId> {
    let id = key.split(|byte| *byte == 0).next()?;
    DeviceId::new(std::str::from_utf8(id).ok()?).ok()
}

impl Bucket {
    /// The parts of a device from one hour to another, both included.
    pub(crate) fn parts(&self, device: &DeviceId, first: Hour, last: Hour) -> Result<Vec<Pair>, Error> {
        self.kv.scan(keys(device, first, last)).map_err(|source| self.error("read", source))
    }

    /// The bytes of one part.
    pub(crate) fn part(&self, device: &DeviceId, hour: Hour, part: u16) -> Result<Option<Vec<u8>>, Error> {
        self.kv.get(&key(device, hour, part)).map_err(|source| self.error("read", source))
    }

    /// The keys of all parts of all devices.
    pub(crate) fn all_keys(&self) -> Result<Vec<Vec<u8>>, Error> {
        // No id begins with a byte this small or this large.
        self.kv.keys(vec![1]..vec![0xff]).map_err(|source| self.error("read", source))
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.kv.get(key).map_err(|source| self.error("read", source))
    }

    /// Inserts some parts and removes others, all or none.
    pub(crate) fn write(&self, parts: Vec<Pair>, gone: Vec<Vec<u8>>) -> Result<(), Error> {
        self.kv.write(parts, gone).map_err(|source| self.error("write", source))
    }

    /// Returns once everything inserted is on stable storage.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.kv.sync().map_err(|source| self.error("sync", source))
    }

    /// Whether both are the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.path == other.path
    }

    /// Damage is noted: whoever has the bucket open must let go of it before another can take its place.
    fn error(&self, doing: &'static str, source: KvError) -> Error {
        if let KvError::Damaged { why } = &source {
            self.damage.lock().entry(self.day).or_insert_with(|| why.clone());
        }
        Error::Bucket { doing, path: self.path.clone(), source }
    }
}

impl Buckets {
    /// The buckets below `root`, each of `span_days`; at most about `max_open` of them stay open.
    pub(crate) fn new(
        root: &Path,
        quarantine: &Path,
        engine: Arc<dyn Engine>,
        span_days: i64,
        max_open: usize,
    ) -> Result<Self, Error> {
        let names = engine.list(root).file("list", root)?;
        let names = clean_up(root, engine.as_ref(), names)?;
        let known = names.iter().filter_map(|name| Day::of_name(name)).collect();
        // What was set aside in an earlier life and not put together again since is still owed.
        let aside = engine.list(quarantine).file("list", quarantine)?;
        let replaced = aside.iter().filter_map(|name| set_aside_day(name)).collect();
        let state = Mutex::new(State { known, replaced, ..State::default() });
        let (root, quarantine) = (root.to_owned(), quarantine.to_owned());
        Ok(Self { root, span_days, max_open, quarantine, engine, state, damage: Arc::default() })
    }

    /// The buckets of a range of time, by their first days; both ends are included.
    pub(crate) fn days(&self, first: Hour, last: Hour) -> Vec<Day> {
        let first = first.day().begin_of(self.span_days);
        self.state.lock().known.range(first..=last.day()).copied().collect()
    }

    /// All buckets, by their first days.
    pub(crate) fn all(&self) -> Vec<Day> {
        self.state.lock().known.iter().copied().collect()
    }

    /// Whether there is a bucket that holds the day.
    pub(crate) fn has(&self, day: Day) -> bool {
        self.state.lock().known.contains(&day.begin_of(self.span_days))
    }

    /// The bucket that holds a day, if there is one.
    pub(crate) fn find(&self, day: Day) -> Result<Option<Bucket>, Error> {
        if self.has(day) { self.open(day).map(Some) } else { Ok(None) }
    }

    /// The first day from `day` on that a bucket may hold something of.
    pub(crate) fn next_day(&self, day: Day) -> Option<Day> {
        let state = self.state.lock();
        if state.known.contains(&day.begin_of(self.span_days)) {
            return Some(day);
        }
        state.known.range(day..).next().copied()
    }

    /// Their names, in the order of time.
    pub(crate) fn names(&self) -> Vec<String> {
        self.all().into_iter().map(Day::name).collect()
    }

    /// The directory of a bucket.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The bucket of this name, if there is one.
    pub(crate) fn find_named(&self, name: &str) -> Result<Option<Bucket>, Error> {
        Day::of_name(name).map_or(Ok(None), |day| self.find(day))
    }

    /// How many days a bucket holds.
    pub(crate) fn span_days(&self) -> i64 {
        self.span_days
    }

    /// How many bytes each bucket takes on disk.
    pub(crate) fn sizes(&self) -> Result<Vec<(Day, u64)>, Error> {
        let size = |day: Day| {
            let path = self.root.join(day.name());
            match self.engine.size(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((day, 0)),
                result => result.map(|bytes| (day, bytes)).file("measure", &path),
            }
        };
        self.all().into_iter().map(size).collect()
    }

    /// Removes a bucket and gives its space back; not while someone reads it, and then answers `false`.
    pub(crate) fn remove(&self, day: Day) -> Result<bool, Error> {
        let path = self.root.join(day.name());
        let gone = self.root.join(format!("{}{REMOVED}", day.name()));
        {
            let mut state = self.state.lock();
            state.recent.retain(|(other, ..)| *other != day);
            if state.in_use.get(&day).is_some_and(|kv| kv.strong_count() > 0) {
                return Ok(false);
            }
            state.in_use.remove(&day);
            self.engine.set_aside(&path, &gone).file("set aside", &path)?;
            state.known.remove(&day);
        }
        self.engine.remove(&gone).file("remove", &gone)?;
        Ok(true)
    }

    /// Puts a copy with some of its keys in the place of a bucket; not while someone reads it, and then answers `false`.
    pub(crate) fn keep_only(&self, day: Day, keep: impl Fn(&[u8]) -> bool) -> Result<bool, Error> {
        let path = self.root.join(day.name());
        let [kept, gone] = [KEPT, REMOVED].map(|suffix| self.root.join(format!("{}{suffix}", day.name())));
        let bucket = self.open(day)?;
        if self.engine.list(&self.root).file("list", &self.root)?.contains(&format!("{}{KEPT}", day.name())) {
            self.engine.remove(&kept).file("remove", &kept)?;
        }
        let kv =
            self.engine.open(&kept).map_err(|source| Error::OpenBucket { path: kept.clone(), source })?;
        let copy = Bucket { day, path: kept.clone(), kv, damage: Arc::default() };
        for key in bucket.all_keys()?.into_iter().filter(|key| keep(key)) {
            let value = bucket.get(&key)?;
            copy.write(value.map(|value| (key, value)).into_iter().collect(), Vec::new())?;
        }
        copy.sync()?;
        drop((bucket, copy));
        let mut state = self.state.lock();
        state.recent.retain(|(other, ..)| *other != day);
        if state.in_use.get(&day).is_some_and(|kv| kv.strong_count() > 0) {
            return Ok(false);
        }
        state.in_use.remove(&day);
        self.engine.set_aside(&path, &gone).file("set aside", &path)?;
        self.engine.set_aside(&kept, &path).file("put in place", &kept)?;
        drop(state);
        self.engine.remove(&gone).file("remove", &gone)?;
        Ok(true)
    }

    /// The bucket that holds a day; it is created if there is none.
    pub(crate) fn open(&self, day: Day) -> Result<Bucket, Error> {
        let day = day.begin_of(self.span_days);
        let path = self.root.join(day.name());
        let mut state = self.state.lock();
        self.let_go_of_damaged(&mut state, day)?;
        if let Some(kv) = state.in_use.get(&day).and_then(Weak::upgrade) {
            state.use_now(day, Arc::clone(&kv), self.max_open);
            return Ok(Bucket { day, path, kv, damage: Arc::clone(&self.damage) });
        }
        let kv = match self.engine.open(&path) {
            Err(KvError::Damaged { why }) => {
                self.replace(&mut state, day, why)?;
                self.engine.open(&path)
            }
            result => result,
        };
        let kv = kv.map_err(|source| Error::OpenBucket { path: path.clone(), source })?;
        state.known.insert(day);
        state.in_use.retain(|_, kv| kv.strong_count() > 0);
        state.in_use.insert(day, Arc::downgrade(&kv));
        state.use_now(day, Arc::clone(&kv), self.max_open);
        Ok(Bucket { day, path, kv, damage: Arc::clone(&self.damage) })
    }

    /// Closes those that nobody used for a while before `now`.
    pub(crate) fn close_idle(&self, now: Instant) {
        let is_idle = |last: &Instant| now.saturating_duration_since(*last) >= IDLE_AFTER;
        let mut state = self.state.lock();
        let idle = state.recent.partition_point(|(_, _, last)| is_idle(last));
        let idle: Vec<_> = state.recent.drain(..idle).collect();
        // It takes its time, which nobody should wait for.
        drop(state);
        drop(idle);
    }

    /// Sets a bucket aside in which damage was found since it is open, unless someone still uses it.
    fn let_go_of_damaged(&self, state: &mut State, day: Day) -> Result<(), Error> {
        let Some(why) = self.damage.lock().get(&day).cloned() else { return Ok(()) };
        state.recent.retain(|(other, ..)| *other != day);
        if state.in_use.get(&day).is_some_and(|kv| kv.strong_count() > 0) {
            let path = self.root.join(day.name());
            return Err(Error::OpenBucket { path, source: KvError::Damaged { why } });
        }
        state.in_use.remove(&day);
        self.replace(state, day, why)?;
        self.damage.lock().remove(&day);
        Ok(())
    }

    /// Sets a damaged bucket aside, which nobody has open.
    fn replace(&self, state: &mut State, day: Day, why: String) -> Result<(), Error> {
        let event = self.set_aside(day, &self.root.join(day.name()), why)?;
        state.report(event);
        state.replaced.insert(day);
        Ok(())
    }

    /// The damaged buckets that were replaced by empty ones, together with those that can be by now.
    pub(crate) fn replaced(&self) -> BTreeSet<Day> {
        let found: Vec<Day> = self.damage.lock().keys().copied().collect();
        for day in found {
            if let Err(error) = self.open(day) {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(event = "bucket.still_damaged", day = day.name(), error, "tried again later");
            }
        }
        self.state.lock().replaced.clone()
    }

    /// Says that as much as could be done was done for a bucket that was replaced.
    pub(crate) fn forget_replaced(&self, day: Day) -> Result<(), Error> {
        let mut state = self.state.lock();
        for name in self.engine.list(&self.quarantine).file("list", &self.quarantine)? {
            if set_aside_day(&name) == Some(day) {
                let path = self.quarantine.join(&name);
                let done = self.quarantine.join(format!("{name}{REBUILT}"));
                self.engine.set_aside(&path, &done).file("rename", &path)?;
            }
        }
        state.replaced.remove(&day);
        Ok(())
    }

    /// Where the damaged buckets are, rebuilt or not.
    pub(crate) fn set_aside_paths(&self) -> Result<Vec<PathBuf>, Error> {
        let mut names = self.engine.list(&self.quarantine).file("list", &self.quarantine)?;
        names.retain(|name| set_aside_day(name.strip_suffix(REBUILT).unwrap_or(name)).is_some());
        Ok(names.iter().map(|name| self.quarantine.join(name)).collect())
    }

    /// Remembers and logs an event.
    pub(crate) fn report(&self, event: BucketEvent) {
        self.state.lock().report(event);
    }

    /// The events since the last call.
    pub(crate) fn take_events(&self) -> Vec<BucketEvent> {
        self.state.lock().events.drain(..).collect()
    }

    /// Remembers and logs how full it is, once until it is asked for.
    pub(crate) fn report_use(&self, event: BucketEvent) {
        let mut state = self.state.lock();
        if !state.events.iter().any(|known| matches!(known, BucketEvent::NearlyFull { .. })) {
            state.report(event);
        }
    }

    fn set_aside(&self, day: Day, path: &Path, why: String) -> Result<BucketEvent, Error> {
        let names = self.engine.list(&self.quarantine).file("list", &self.quarantine)?;
        let is_free = |name: &String| !names.contains(name) && !names.contains(&format!("{name}{REBUILT}"));
        let name = (1_u32..).map(|n| format!("{}-{n}", day.name())).find(is_free);
        let moved_to = self.quarantine.join(name.unwrap_or_else(|| day.name()));
        self.engine.set_aside(path, &moved_to).file("set aside", path)?;
        Ok(BucketEvent::Quarantined { day: day.name(), moved_to, why })
    }
}

/// The day of a bucket that was set aside and not put together again since.
fn set_aside_day(name: &str) -> Option<Day> {
    let (day, number) = name.rsplit_once('-')?;
    number.parse::<u32>().ok()?;
    Day::of_name(day)
}

/// Finishes what a kill cut short: a copy takes its place if the bucket was out of the way already.
fn clean_up(root: &Path, engine: &dyn Engine, names: Vec<String>) -> Result<Vec<String>, Error> {
    let mut left = Vec::new();
    for name in &names {
        let path = root.join(name);
        match name.strip_suffix(KEPT) {
            Some(day) if names.iter().any(|other| other == day) => {
                engine.remove(&path).file("remove", &path)?;
            }
            Some(day) => {
                engine.set_aside(&path, &root.join(day)).file("put in place", &path)?;
                left.push(day.to_owned());
            }
            None if name.ends_with(REMOVED) => engine.remove(&path).file("remove", &path)?,
            None => left.push(name.clone()),
        }
    }
    Ok(left)
}

impl State {
    fn use_now(&mut self, day: Day, kv: Arc<dyn Kv>, max_open: usize) {
        self.recent.retain(|(other, ..)| *other != day);
        self.recent.push_back((day, kv, crate::clock::monotonic()));
        if self.recent.len() > max_open {
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
            BucketEvent::NearlyFull { used_bytes, max_bytes } => {
                tracing::warn!(event = "storage.nearly_full", used_bytes, max_bytes);
            }
            BucketEvent::RemovedForSpace { day, bytes } => {
                tracing::warn!(event = "storage.removed_for_space", day, bytes);
            }
            BucketEvent::CorruptRollup { day, device, hour, why } => {
                tracing::warn!(event = "bucket.corrupt_rollup", day, %device, %hour, why);
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
