//! Puts the pieces of a series together, interval by interval, with the lines between them cut at the edges.
//!
//! Pure: it sees pieces in the order of time, those before and after the range included, because a line may lead into
//! the first interval and out of the last.

use crate::integral::Integral;
use crate::rollup::{Gap, Rollup};

/// What a series comes to in one interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    /// Where it begins, in UTC milliseconds.
    pub start: i64,
    /// Where it ends.
    pub end: i64,
    /// Its samples, if there are any.
    pub samples: Option<Rollup>,
    /// The area under the series from edge to edge, gaps left out; there may be one without samples.
    pub integral: Integral,
}

/// What a series comes to in some intervals.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Intervals {
    /// The intervals that have samples or an area, in the order of time.
    pub intervals: Vec<Interval>,
    /// The gaps between samples of the range and those next to it.
    pub gaps: Vec<Gap>,
}

/// The state of the walk.
pub(super) struct Walk<'a> {
    edges: &'a [i64],
    intervals: Vec<Interval>,
    gaps: Vec<Gap>,
    /// The last piece, and the interval it is in.
    last: Option<(Option<usize>, Rollup)>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(edges: &'a [i64]) -> Self {
        Self { edges, intervals: Vec::new(), gaps: Vec::new(), last: None }
    }

    /// Takes a piece that is in no interval.
    pub(super) fn outside(&mut self, rollup: Rollup) {
        self.take(None, rollup);
    }

    /// Takes a piece of an interval.
    pub(super) fn inside(&mut self, index: usize, rollup: Rollup) {
        self.take(Some(index), rollup);
    }

    fn take(&mut self, index: Option<usize>, rollup: Rollup) {
        match &mut self.last {
            Some((Some(last), whole)) if Some(*last) == index => return whole.append(rollup),
            Some((_, last)) => match last.gap_before(&rollup) {
                Some(gap) => self.note(gap),
                None => {
                    let (from, to) = (last.last, rollup.first);
                    self.cut_line(from, to);
                }
            },
            None => {}
        }
        self.close(Some((index, rollup)));
    }

    fn note(&mut self, gap: Gap) {
        let (Some(start), Some(end)) = (self.edges.first(), self.edges.last()) else { return };
        if gap.from < *end && gap.to > *start {
            self.gaps.push(gap);
        }
    }

    /// Gives each interval its part of the line between two pieces.
    fn cut_line(&mut self, from: crate::Moment, to: crate::Moment) {
        let first = self.edges.partition_point(|edge| *edge <= from.at).saturating_sub(1);
        for (index, pair) in self.edges.windows(2).enumerate().skip(first) {
            let [start, end] = pair else { continue };
            if *start >= to.at {
                break;
            }
            let part = Integral::of_part(from, to, *start, *end);
            if part.covered_ms > 0 {
                interval(&mut self.intervals, self.edges, index).integral.add(part);
            }
        }
    }

    /// Puts the last piece where it belongs and goes on to the next.
    fn close(&mut self, next: Option<(Option<usize>, Rollup)>) {
        let last = std::mem::replace(&mut self.last, next);
        let Some((Some(index), rollup)) = last else { return };
        rollup.gaps.iter().for_each(|gap| self.note(*gap));
        let interval = interval(&mut self.intervals, self.edges, index);
        interval.integral.add(rollup.integral);
        interval.samples = Some(rollup);
    }

    pub(super) fn finish(mut self) -> Intervals {
        self.close(None);
        self.intervals.sort_by_key(|interval| interval.start);
        self.gaps.sort_unstable();
        Intervals { intervals: self.intervals, gaps: self.gaps }
    }
}

/// The interval of an index, which is among the last ones or comes after them.
fn interval<'a>(intervals: &'a mut Vec<Interval>, edges: &[i64], index: usize) -> &'a mut Interval {
    let start = edges.get(index).copied().unwrap_or_default();
    let end = edges.get(index + 1).copied().unwrap_or_default();
    let found = intervals.iter().rposition(|interval| interval.start <= start);
    let place = match found {
        Some(place) if intervals.get(place).is_some_and(|interval| interval.start == start) => place,
        found => {
            let place = found.map_or(0, |place| place + 1);
            intervals.insert(place, Interval { start, end, samples: None, integral: Integral::default() });
            place
        }
    };
    &mut intervals[place]
}
