//! Rollups: what the samples of a minute, an hour or a day come to, each level folded from the one below.
//!
//! A rollup is a function of the samples inside its own stretch and of nothing else, so late data changes that stretch
//! and those above it, and the same samples give the same bits whenever and wherever they are computed. Never added to:
//! whoever has one sample more computes anew. What lies between the last sample of one stretch and the first of the
//! next belongs to whatever is folded over both.

pub(crate) mod block;

use crate::integral::Integral;

pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const HOUR_MS: i64 = 60 * MINUTE_MS;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;
/// No silence that is shorter counts as a gap.
const LEAST_GAP_MS: i64 = 60_000;
/// How many of its usual periods a series may be silent before it counts as a gap.
const PERIODS_TO_A_GAP: i64 = 3;

/// One sample of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// When, in UTC milliseconds.
    pub at: i64,
    /// The value.
    pub value: f64,
}

/// A silence that is not integrated over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// The last sample before it, in UTC milliseconds.
    pub from: i64,
    /// The first sample after it, in UTC milliseconds.
    pub to: i64,
}

/// How long a series may be silent, at the beginning and at the end of a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
}

/// What the samples of a stretch of time come to; there is at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollup {
    /// How many samples.
    pub count: u64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their sum.
    pub sum: f64,
    /// The first.
    pub first: Moment,
    /// The last.
    pub last: Moment,
    /// The area under the lines between its first and its last sample, gaps left out.
    pub integral: Integral,
    /// The gaps between its first and its last sample.
    pub gaps: Vec<Gap>,
    pub(crate) patience: Patience,
}

impl Patience {
    /// That of a series which usually reports as often as in this hour: three times the median period, and a minute at
    /// the least. A series with fewer than two samples in an hour has the minute.
    pub(crate) fn of_hour(points: &[Moment]) -> Self {
        let mut periods: Vec<i64> = points
            .windows(2)
            .map(|pair| pair.last().map_or(0, |b| b.at) - pair.first().map_or(0, |a| a.at))
            .collect();
        let middle = periods.len() / 2;
        let period = if periods.is_empty() { 0 } else { *periods.select_nth_unstable(middle).1 };
        Self::both(period.saturating_mul(PERIODS_TO_A_GAP).max(LEAST_GAP_MS))
    }

    pub(crate) fn both(ms: i64) -> Self {
        Self { first_ms: ms, last_ms: ms }
    }
}

impl Rollup {
    /// Sums samples up; they are of one minute at most, in the order of time. Values that are no numbers count nowhere.
    pub(crate) fn of_samples(points: &[Moment], patience: Patience) -> Option<Self> {
        let mut samples = points.iter().copied().filter(|point| point.value.is_finite());
        let first = samples.next()?;
        let mut rollup = Self::of_sample(first, patience);
        for point in samples {
            rollup.count += 1;
            rollup.min = rollup.min.min(point.value);
            rollup.max = rollup.max.max(point.value);
            rollup.sum += point.value;
            rollup.integral.add(Integral::of(rollup.last, point));
            rollup.last = point;
        }
        rollup.tidy();
        Some(rollup)
    }

    fn of_sample(point: Moment, patience: Patience) -> Self {
        let Moment { value, .. } = point;
        let (first, last) = (point, point);
        let (integral, gaps) = (Integral::default(), Vec::new());
        Self { count: 1, min: value, max: value, sum: value, first, last, integral, gaps, patience }
    }

    /// Folds stretches in the order of time into the one that holds them all.
    pub(crate) fn fold(parts: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut parts = parts.into_iter();
        let mut whole = parts.next()?;
        parts.for_each(|part| whole.append(part));
        Some(whole)
    }

    /// Takes a later stretch in, and the line that leads there.
    pub(crate) fn append(&mut self, later: Self) {
        match self.gap_before(&later) {
            Some(gap) => self.gaps.push(gap),
            None => self.integral.add(Integral::of(self.last, later.first)),
        }
        self.integral.add(later.integral);
        self.gaps.extend(later.gaps);
        self.count += later.count;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.sum += later.sum;
        self.last = later.last;
        self.patience.last_ms = later.patience.last_ms;
    }

    /// The silence until a later stretch, if it is too long to be integrated over.
    pub(crate) fn gap_before(&self, later: &Self) -> Option<Gap> {
        let patience = self.patience.last_ms.max(later.patience.first_ms);
        let gap = Gap { from: self.last.at, to: later.first.at };
        (gap.to - gap.from > patience).then_some(gap)
    }

    /// Cuts what is noise of the arithmetic: twelve digits of the largest possible sum are kept. So a minute of decimals
    /// sums up to a decimal again, which is stored in a fraction of the space.
    fn tidy(&mut self) {
        #[expect(clippy::cast_precision_loss, reason = "a minute has fewer than 2^53 samples")]
        let count = self.count.max(60) as f64;
        let scale = self.min.abs().max(self.max.abs()) * count;
        self.sum = to_twelve_digits(self.sum, scale);
        self.integral.positive = to_twelve_digits(self.integral.positive, scale);
        self.integral.negative = to_twelve_digits(self.integral.negative, scale);
    }

    /// The mean of its samples.
    pub fn mean(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "nobody waits for 2^53 samples")]
        let count = self.count as f64;
        // The sum may have lost its last digits, or may be too large for a float; a mean lies between its samples.
        (self.sum / count).clamp(self.min, self.max)
    }
}

fn to_twelve_digits(value: f64, scale: f64) -> f64 {
    let mut power = 1.0;
    let mut digits = 0;
    while power < scale && digits < 12 {
        power *= 10.0;
        digits += 1;
    }
    let factor = 10_f64.powi(12 - digits);
    let rounded = (value * factor).round() / factor;
    // Beyond twelve digits before the point there is nothing to cut.
    if digits == 12 || !rounded.is_finite() { value } else { rounded }
}

/// The minutes of an hour that have samples; the samples are in the order of time, each time once.
pub(crate) fn minutes_of(points: &[Moment]) -> Vec<Rollup> {
    minutes_with(points, Patience::of_hour(points))
}

/// The same, for whoever knows the patience of the hour.
pub(crate) fn minutes_with(points: &[Moment], patience: Patience) -> Vec<Rollup> {
    let minutes = points.chunk_by(|a, b| a.at.div_euclid(MINUTE_MS) == b.at.div_euclid(MINUTE_MS));
    minutes.filter_map(|minute| Rollup::of_samples(minute, patience)).collect()
}

#[cfg(test)]
mod tests;
