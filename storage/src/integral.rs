//! The time-weighted integral of a series: straight lines between its samples, what lies above zero and what lies below
//! kept apart, because energy and charge in must not be set off against energy and charge out.
//!
//! Pure arithmetic on two samples at a time. What counts as a gap, and is never integrated, is decided elsewhere.

use crate::rollup::Moment;

/// An area in value seconds; both parts count for themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Integral {
    /// The area above zero.
    pub positive: f64,
    /// The area below zero; never positive itself.
    pub negative: f64,
    /// How much time it was taken over.
    pub covered_ms: i64,
}

impl Integral {
    /// The area under the line from one sample to a later one.
    pub(crate) fn of(from: Moment, to: Moment) -> Self {
        let covered_ms = to.at.saturating_sub(from.at);
        let seconds = seconds(covered_ms);
        if from.value * to.value < 0.0 {
            // The line crosses zero: two triangles.
            let before = seconds * (from.value / (from.value - to.value));
            let (first, second) = (from.value * before / 2.0, to.value * (seconds - before) / 2.0);
            return Self { positive: first.max(second), negative: first.min(second), covered_ms };
        }
        let area = (from.value / 2.0 + to.value / 2.0) * seconds;
        Self { positive: area.max(0.0), negative: area.min(0.0), covered_ms }
    }

    /// The area under the part of the line that lies from `start` to `end`.
    pub(crate) fn of_part(from: Moment, to: Moment, start: i64, end: i64) -> Self {
        let (start, end) = (start.max(from.at), end.min(to.at));
        if start >= end {
            return Self::default();
        }
        Self::of(on_line(from, to, start), on_line(from, to, end))
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.positive += other.positive;
        self.negative += other.negative;
        self.covered_ms = self.covered_ms.saturating_add(other.covered_ms);
    }
}

/// The point of a line at a time; the ends are exact.
fn on_line(from: Moment, to: Moment, at: i64) -> Moment {
    if at <= from.at {
        return from;
    }
    if at >= to.at {
        return to;
    }
    let share = seconds(at - from.at) / seconds(to.at - from.at);
    Moment { at, value: from.value * (1.0 - share) + to.value * share }
}

fn seconds(millis: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "gaps are cut long before 2^53 ms")]
    let millis = millis as f64;
    millis / 1_000.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(at: i64, value: f64) -> Moment {
        Moment { at, value }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
    }

    #[test]
    fn a_line_across_zero_is_split_where_it_crosses() {
        let area = Integral::of(moment(0, -10.0), moment(4_000, 30.0));
        assert_eq!(area, Integral { positive: 45.0, negative: -5.0, covered_ms: 4_000 });
        let down = Integral::of(moment(0, 30.0), moment(4_000, -10.0));
        assert_eq!(down, Integral { positive: 45.0, negative: -5.0, covered_ms: 4_000 });
    }

    #[test]
    fn a_part_of_a_line_is_interpolated() {
        let area = Integral::of_part(moment(0, 0.0), moment(10_000, 10.0), 4_000, 6_000);
        assert_eq!(area, Integral { positive: 10.0, negative: 0.0, covered_ms: 2_000 });
        assert_eq!(Integral::of_part(moment(0, 1.0), moment(1_000, 1.0), 2_000, 3_000), Integral::default());
    }

    proptest! {
        #[test]
        fn above_and_below_make_up_the_trapezoid(a in -1e6..1e6_f64, b in -1e6..1e6_f64, millis in 1..100_000_i64) {
            let area = Integral::of(moment(0, a), moment(millis, b));
            prop_assert!(area.positive >= 0.0 && area.negative <= 0.0);
            prop_assert!(close(area.positive + area.negative, (a + b) / 2.0 * seconds(millis)));
        }

        #[test]
        fn splitting_at_any_time_changes_no_sum(
            a in -1e6..1e6_f64, b in -1e6..1e6_f64, millis in 2..100_000_i64, at in any::<prop::sample::Index>(),
        ) {
            let (from, to) = (moment(5, a), moment(5 + millis, b));
            let at = 5 + i64::try_from(at.index(usize::try_from(millis).unwrap())).unwrap();
            let mut parts = Integral::of_part(from, to, 0, at);
            parts.add(Integral::of_part(from, to, at, i64::MAX));
            let whole = Integral::of(from, to);
            prop_assert_eq!(parts.covered_ms, whole.covered_ms);
            let tolerance = 1e-9 * (a.abs() + b.abs() + 1.0) * seconds(millis);
            prop_assert!((parts.positive - whole.positive).abs() <= tolerance);
            prop_assert!((parts.negative - whole.negative).abs() <= tolerance);
        }
    }
}
