//! Questions about stretches of time: answered from the coarsest rollups that fit, and from frames and open readings
//! where none do.
//!
//! Whatever the source, the same samples give the same bits: a day is always folded from hours, an hour from minutes,
//! and only the source of each differs. A stretch that any open reading falls into is never read from a rollup, as that
//! may be older than the reading.

mod chart;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use voltree_model::{DeviceId, MetricName, Timestamp};

use super::Store;
use super::finish::in_order;
use super::rollups::Level;
use crate::bucket::{Day, Hour};
use crate::rollup::{DAY_MS, HOUR_MS, MINUTE_MS, Moment, Patience, Rollup, minutes_of};
use crate::{Error, Frame, SeriesPoint, merge_series};
use walk::Walk;

pub use walk::{Interval, Intervals};

/// The most intervals that one answer has.
const MAX_INTERVALS: usize = 100_000;
/// A line between two samples is never longer: three times the longest period that an hour shows.
const LONGEST_LINE_MS: i64 = 3 * HOUR_MS;

/// Lets whoever asked call a question off; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Calls the question off; it ends with an error before it looks at the next part.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Fails once the question was called off.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::Acquire) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// The edges of intervals of one width, aligned to 1970-01-01T00:00:00Z, from `from` to `to`; the first and the last
/// interval are cut there.
pub fn aligned_edges(from: Timestamp, to: Timestamp, width_ms: i64) -> Result<Vec<Timestamp>, Error> {
    let (from, to, width) = (from.as_millis(), to.as_millis(), width_ms.max(1));
    if from >= to {
        return Ok(Vec::new());
    }
    let first = from.saturating_sub(from.rem_euclid(width)).saturating_add(width);
    let inner = i128::from(to) - i128::from(first);
    if inner.div_euclid(i128::from(width)) >= i128::try_from(MAX_INTERVALS).unwrap_or(i128::MAX) {
        return Err(Error::TooMuch { what: "intervals", most: MAX_INTERVALS });
    }
    let mut edges = vec![Timestamp::from_millis(from)];
    let mut edge = first;
    while edge < to {
        edges.push(Timestamp::from_millis(edge));
        edge = edge.saturating_add(width);
    }
    edges.push(Timestamp::from_millis(to));
    Ok(edges)
}

impl Store {
    /// What the samples of a series come to between each two neighbouring edges, which ascend.
    ///
    /// `open` are the readings of the series that no seal covers yet, all of them, and taken from the head before this
    /// is asked: then nothing is missed that moves from there into a bucket meanwhile.
    pub fn intervals(
        &self,
        device: &DeviceId,
        metric: &MetricName,
        edges: &[Timestamp],
        open: Vec<SeriesPoint>,
        cancel: &Cancel,
    ) -> Result<Intervals, Error> {
        if edges.len() > MAX_INTERVALS + 1 {
            return Err(Error::TooMuch { what: "intervals", most: MAX_INTERVALS });
        }
        let edges: Vec<i64> = edges.iter().map(|edge| edge.as_millis()).collect();
        let (Some(from), Some(to)) = (edges.first().copied(), edges.last().copied()) else {
            return Ok(Intervals::default());
        };
        let mut source = Source::new(self, device, metric, open, cancel);
        let mut walk = Walk::new(&edges);
        let before = Hour::of(Timestamp::from_millis(from.saturating_sub(LONGEST_LINE_MS))).0;
        source.visit(before, from, &mut |rollup| walk.outside(rollup))?;
        for (index, pair) in edges.windows(2).enumerate() {
            let [start, end] = pair else { continue };
            source.visit(*start, *end, &mut |rollup| walk.inside(index, rollup))?;
        }
        let after =
            Hour::of(Timestamp::from_millis(to.saturating_add(LONGEST_LINE_MS))).0.saturating_add(HOUR_MS);
        source.visit(to, after, &mut |rollup| walk.outside(rollup))?;
        Ok(walk.finish())
    }

    /// The samples of some series of a device in the order of time; `from` is inside, `to` is not.
    ///
    /// `open` has for each series the readings that no seal covers yet, taken from the head before this is asked. More
    /// than `most` samples in all are an error, as a part of an answer would look like the whole.
    pub fn samples(
        &self,
        device: &DeviceId,
        series: &[(MetricName, Vec<SeriesPoint>)],
        (from, to): (Timestamp, Timestamp),
        most: usize,
        cancel: &Cancel,
    ) -> Result<Vec<Vec<Moment>>, Error> {
        let mut answers: Vec<Vec<Moment>> = series.iter().map(|_| Vec::new()).collect();
        if from >= to {
            return Ok(answers);
        }
        let (first, last) = (Hour::of(from), Hour::of(Timestamp::from_millis(to.as_millis() - 1)));
        for day in self.raw.days(first, last) {
            let bucket = self.raw.open(day)?;
            for (key, bytes) in bucket.parts(device, first, last)? {
                cancel.check()?;
                let read = Frame::open(&bytes).and_then(|frame| {
                    let mut columns = series.iter().zip(&mut answers);
                    columns.try_for_each(|((metric, _), points)| frame.values(metric, points))
                });
                if let Err(error) = read {
                    let hour = crate::bucket::parse_key(&key).map_or(first, |(hour, _)| hour);
                    self.report(&bucket, device, hour, &error);
                }
                if answers.iter().map(Vec::len).sum::<usize>()
                    > most.saturating_add(2 * crate::frame::MAX_ROWS)
                {
                    return Err(Error::TooMuch { what: "samples", most });
                }
            }
        }
        let wanted = from.as_millis()..to.as_millis();
        for ((metric, open), points) in series.iter().zip(&mut answers) {
            in_order(points);
            points.retain(|point| wanted.contains(&point.at));
            if !open.is_empty() {
                *points = self.with_open(device, metric, std::mem::take(points), open, (from, to))?;
            }
        }
        match answers.iter().map(Vec::len).sum::<usize>() > most {
            true => Err(Error::TooMuch { what: "samples", most }),
            false => Ok(answers),
        }
    }

    /// Merges open readings into sealed samples. Only where both have the same time it matters whose origin is higher.
    fn with_open(
        &self,
        device: &DeviceId,
        metric: &MetricName,
        sealed: Vec<Moment>,
        open: &[SeriesPoint],
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Vec<Moment>, Error> {
        let open: Vec<_> = open.iter().filter(|point| from <= point.at && point.at < to).collect();
        let (Some(first), Some(last)) = (open.first(), open.last()) else { return Ok(sealed) };
        let (start, end) = (first.at.as_millis(), last.at.as_millis());
        let begin = sealed.partition_point(|point| point.at < start);
        let after = sealed.partition_point(|point| point.at <= end);
        let between = self.points(device, metric, first.at, Timestamp::from_millis(end + 1), usize::MAX)?;
        let merged = merge_series(between, open.into_iter().cloned().collect());
        let mut points = sealed.get(..begin).unwrap_or_default().to_vec();
        points.extend(merged.iter().map(|point| Moment { at: point.at.as_millis(), value: point.value }));
        points.extend_from_slice(sealed.get(after..).unwrap_or_default());
        Ok(points)
    }
}

/// Where the pieces of an answer come from: rollups, frames, open readings.
struct Source<'a> {
    store: &'a Store,
    device: &'a DeviceId,
    metric: &'a MetricName,
    open: BTreeMap<Hour, Vec<SeriesPoint>>,
    open_days: BTreeSet<Day>,
    cancel: &'a Cancel,
    days: Kept<Hour, Option<Vec<Rollup>>>,
    hours: Kept<Day, Option<Vec<Rollup>>>,
    minutes: Kept<Hour, Vec<Rollup>>,
    samples: Kept<Hour, (Vec<Moment>, Patience)>,
}

/// The last thing that was looked up.
struct Kept<K, V>(Option<(K, V)>);

impl<K: PartialEq + Copy, V> Kept<K, V> {
    fn get(&self, key: K) -> Option<&V> {
        self.0.as_ref().filter(|(kept, _)| *kept == key).map(|(_, value)| value)
    }
}

impl<'a> Source<'a> {
    fn new(
        store: &'a Store,
        device: &'a DeviceId,
        metric: &'a MetricName,
        points: Vec<SeriesPoint>,
        cancel: &'a Cancel,
    ) -> Self {
        let mut open: BTreeMap<Hour, Vec<SeriesPoint>> = BTreeMap::new();
        for point in points {
            open.entry(Hour::of(point.at)).or_default().push(point);
        }
        let open_days = open.keys().map(|hour| hour.day()).collect();
        let (days, hours, minutes, samples) = (Kept(None), Kept(None), Kept(None), Kept(None));
        Self { store, device, metric, open, open_days, cancel, days, hours, minutes, samples }
    }

    /// Hands the pieces from `start` to `end` over, as large as they can be.
    fn visit(&mut self, start: i64, end: i64, each: &mut impl FnMut(Rollup)) -> Result<(), Error> {
        let fits = |at: i64, size: i64| at.rem_euclid(size) == 0 && at.saturating_add(size) <= end;
        let mut at = start;
        while at < end {
            self.cancel.check()?;
            if at.rem_euclid(DAY_MS) == 0 || at == start {
                at = self.skip(at).min(end);
            }
            let hour = Hour::of(Timestamp::from_millis(at));
            let next = if at == end {
                end
            } else if fits(at, DAY_MS) {
                self.day(hour.day())?.into_iter().for_each(&mut *each);
                at + DAY_MS
            } else if fits(at, HOUR_MS) {
                self.hour(hour)?.into_iter().for_each(&mut *each);
                at + HOUR_MS
            } else if fits(at, MINUTE_MS) {
                let next = hour.end().as_millis().min(end - end.rem_euclid(MINUTE_MS));
                let minutes = self.minutes(hour)?;
                minutes.iter().filter(|m| (at..next).contains(&m.first.at)).cloned().for_each(&mut *each);
                next
            } else {
                let next = end.min(at.saturating_sub(at.rem_euclid(MINUTE_MS)).saturating_add(MINUTE_MS));
                let (samples, patience) = self.samples(hour)?;
                let begin = samples.partition_point(|sample| sample.at < at);
                let end = samples.partition_point(|sample| sample.at < next);
                let part = samples.get(begin..end).unwrap_or_default();
                Rollup::of_samples(part, patience).into_iter().for_each(&mut *each);
                next
            };
            at = next;
        }
        Ok(())
    }

    /// The first moment from `at` on that there may be anything of.
    fn skip(&self, at: i64) -> i64 {
        let today = Day::of(Timestamp::from_millis(at));
        let levels = Level::ALL.iter().filter_map(|level| self.store.rollups.level(*level).next_day(today));
        let known =
            levels.chain(self.store.raw.next_day(today)).chain(self.open_days.range(today..).next().copied());
        known.min().map_or(i64::MAX, |day| day.first_hour().0.max(at))
    }

    fn day(&mut self, day: Day) -> Result<Option<Rollup>, Error> {
        if !self.open_days.contains(&day) {
            let block = Level::Days.block_of(day.first_hour());
            if self.days.get(block).is_none() {
                self.days = Kept(Some((block, self.stored(Level::Days, block)?)));
            }
            let range = day.first_hour().0..day.end().as_millis();
            let known = self.days.get(block).and_then(Option::as_ref);
            if let Some(rollup) = known.and_then(|days| days.iter().find(|day| range.contains(&day.first.at)))
            {
                return Ok(Some(rollup.clone()));
            }
        }
        let mut whole: Option<Rollup> = None;
        for hour in day.hours() {
            let Some(hour) = self.hour(hour)? else { continue };
            match &mut whole {
                Some(whole) => whole.append(hour),
                None => whole = Some(hour),
            }
        }
        Ok(whole)
    }

    fn hour(&mut self, hour: Hour) -> Result<Option<Rollup>, Error> {
        if !self.open.contains_key(&hour) {
            let day = hour.day();
            if self.hours.get(day).is_none() {
                self.hours = Kept(Some((day, self.stored(Level::Hours, day.first_hour())?)));
            }
            if let Some(hours) = self.hours.get(day).and_then(Option::as_ref) {
                let range = hour.0..hour.end().as_millis();
                return Ok(hours.iter().find(|rollup| range.contains(&rollup.first.at)).cloned());
            }
        }
        Ok(Rollup::fold(self.minutes(hour)?.iter().cloned()))
    }

    fn minutes(&mut self, hour: Hour) -> Result<&[Rollup], Error> {
        if self.minutes.get(hour).is_none() {
            let stored =
                if self.open.contains_key(&hour) { None } else { self.stored(Level::Minutes, hour)? };
            let minutes = match stored {
                Some(minutes) => minutes,
                None => minutes_of(self.samples(hour)?.0),
            };
            self.minutes = Kept(Some((hour, minutes)));
        }
        Ok(self.minutes.get(hour).map(Vec::as_slice).unwrap_or_default())
    }

    fn samples(&mut self, hour: Hour) -> Result<(&[Moment], Patience), Error> {
        if self.samples.get(hour).is_none() {
            let open = self.open.get(&hour).cloned().unwrap_or_default();
            let series = [(self.metric.clone(), open)];
            let range = (hour.start(), hour.end());
            let samples = self.store.samples(self.device, &series, range, usize::MAX, self.cancel)?;
            let samples = samples.into_iter().next().unwrap_or_default();
            let patience = Patience::of_hour(&samples);
            self.samples = Kept(Some((hour, (samples, patience))));
        }
        let kept = self.samples.get(hour);
        Ok(kept.map_or((&[], Patience::both(0)), |(samples, patience)| (samples.as_slice(), *patience)))
    }

    fn stored(&self, level: Level, hour: Hour) -> Result<Option<Vec<Rollup>>, Error> {
        self.cancel.check()?;
        self.store.rollups.series(level, self.device, hour, self.metric)
    }
}
