#![expect(clippy::float_cmp, reason = "sums of such values are exact, and a minimum is one of its values")]

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn moment(at: i64, value: f64) -> Moment {
    Moment { at, value }
}

fn hour_of(points: &[Moment]) -> Option<Rollup> {
    Rollup::fold(minutes_of(points))
}

fn close(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + scale)
}

/// An hour of a device that reports about every `period` seconds, with some reports missing.
fn hour() -> impl Strategy<Value = Vec<Moment>> {
    (1..400_i64, btree_map(0..3_600_i64, (-1_000..1_000_i32, 0..5_i64), 1..80)).prop_map(
        |(period, readings)| {
            let times = readings.into_iter().map(|(n, (value, jitter))| {
                ((n * period * 1_000 + jitter).rem_euclid(HOUR_MS), f64::from(value) / 10.0)
            });
            let by_time: std::collections::BTreeMap<_, _> = times.collect();
            by_time.into_iter().map(|(at, value)| moment(at, value)).collect()
        },
    )
}

#[test]
fn an_hour_says_what_its_samples_come_to() {
    let points = [moment(0, 10.0), moment(1_000, 20.0), moment(61_000, -20.0)];
    let hour = hour_of(&points).unwrap();
    assert_eq!((hour.count, hour.min, hour.max, hour.sum), (3, -20.0, 20.0, 10.0));
    assert_eq!((hour.first, hour.last), (points[0], points[2]));
    assert_eq!(hour.integral, Integral { positive: 15.0 + 300.0, negative: -300.0, covered_ms: 61_000 });
    assert!(hour.gaps.is_empty());
}

#[test]
fn a_silence_of_more_than_a_minute_and_three_periods_is_a_gap_and_adds_nothing() {
    let mut points: Vec<_> = (0..10).map(|n| moment(n * 1_000, 5.0)).collect();
    points.push(moment(9_000 + 60_000, 5.0));
    points.push(moment(69_000 + 60_001, 5.0));
    let hour = hour_of(&points).unwrap();
    assert_eq!(hour.gaps, [Gap { from: 69_000, to: 129_001 }]);
    assert_eq!((hour.integral.positive, hour.integral.covered_ms), (5.0 * 69.0, 69_000));
}

#[test]
fn a_slow_device_may_be_silent_for_three_of_its_periods() {
    let every_five_minutes = [0, 1, 2, 3, 6, 10].map(|n| moment(n * 300_000, 1.0));
    let hour = hour_of(&every_five_minutes).unwrap();
    assert_eq!(hour.gaps, [Gap { from: 1_800_000, to: 3_000_000 }]);
    assert_eq!(hour.integral.positive, 1_800.0);
}

#[test]
fn what_is_no_number_counts_nowhere() {
    let points = [moment(0, 1.0), moment(1, f64::NAN), moment(2, f64::INFINITY), moment(3, 3.0)];
    let hour = hour_of(&points).unwrap();
    assert_eq!((hour.count, hour.sum, hour.mean()), (2, 4.0, 2.0));
    assert!(hour_of(&[moment(0, f64::NAN)]).is_none());
}

#[test]
fn a_mean_lies_between_its_samples_even_if_their_sum_is_too_large() {
    let hour = hour_of(&[moment(0, f64::MAX), moment(1, f64::MAX)]).unwrap();
    assert_eq!(hour.mean(), f64::MAX);
}

proptest! {
    #[test]
    fn an_hour_is_what_its_samples_say_one_by_one(points in hour()) {
        let hour = hour_of(&points).unwrap();
        let values: Vec<f64> = points.iter().map(|point| point.value).collect();
        prop_assert_eq!(hour.count, u64::try_from(values.len()).unwrap());
        prop_assert_eq!(hour.min, values.iter().copied().fold(f64::INFINITY, f64::min));
        prop_assert_eq!(hour.max, values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        prop_assert!(close(hour.sum, values.iter().sum(), 1e5));
        let limit = Patience::of_hour(&points).last_ms;
        let mut expected = Integral::default();
        let mut gaps = Vec::new();
        for pair in points.windows(2) {
            if pair[1].at - pair[0].at > limit {
                gaps.push(Gap { from: pair[0].at, to: pair[1].at });
            } else {
                expected.add(Integral::of(pair[0], pair[1]));
            }
        }
        prop_assert_eq!(&hour.gaps, &gaps);
        prop_assert_eq!(hour.integral.covered_ms, expected.covered_ms);
        prop_assert!(close(hour.integral.positive, expected.positive, 1e5));
        prop_assert!(close(hour.integral.negative, expected.negative, 1e5));
    }

    #[test]
    fn folding_hours_one_by_one_or_in_groups_says_the_same(hours in vec(hour(), 1..6), at in any::<prop::sample::Index>()) {
        let hours: Vec<_> = (0..).zip(&hours).map(|(n, points)| {
            let shifted: Vec<_> = points.iter().map(|p| moment(p.at + n * HOUR_MS, p.value)).collect();
            hour_of(&shifted).unwrap()
        }).collect();
        let whole = Rollup::fold(hours.clone()).unwrap();
        let (left, right) = hours.split_at(at.index(hours.len()));
        let grouped = Rollup::fold([Rollup::fold(left.to_vec()), Rollup::fold(right.to_vec())].into_iter().flatten()).unwrap();
        prop_assert_eq!((whole.count, whole.min, whole.max), (grouped.count, grouped.min, grouped.max));
        prop_assert_eq!((whole.first, whole.last, &whole.gaps), (grouped.first, grouped.last, &grouped.gaps));
        prop_assert_eq!(whole.integral.covered_ms, grouped.integral.covered_ms);
        prop_assert!(close(whole.integral.positive, grouped.integral.positive, 1e6));
        prop_assert!(close(whole.sum, grouped.sum, 1e6));
    }
}
