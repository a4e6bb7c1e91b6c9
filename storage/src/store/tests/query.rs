//! Questions as a reader asks them, against numbers that can be worked out by hand.

use super::*;
use crate::{Cancel, Moment, aligned_edges, local_day_edges};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A node with one reading a minute of a charge of 10 A by day and a discharge of 5 A by night, for three days, the last
/// ten minutes of it still open.
fn filled(machine: &Machine) -> (Node, Head) {
    let store = machine.open();
    let current = |minute: i64| if (minute / 60) % 24 < 12 { 10.0 } else { -5.0 };
    let entries: Vec<_> = (0..3 * 24 * 60)
        .map(|n| reading("a", u64::try_from(n + 1).unwrap(), n * 60_000, &[("i", current(n)), ("v", 52.0)]))
        .collect();
    let mut head = head(&store, entries.get(..entries.len() - 10).unwrap());
    for outcome in store.seal(head.seal_jobs(at(3 * DAY), true)).unwrap() {
        head.sealed(outcome);
    }
    while store.maintain(at(3 * DAY + HOUR), 100).unwrap() {}
    (1..).map(Lsn).zip(&entries).for_each(|(lsn, entry)| head.apply(lsn, entry));
    (store, head)
}

fn open(head: &Head) -> Vec<SeriesPoint> {
    head.open_points(&device("a"), &name("i"), at(i64::MIN), at(i64::MAX))
}

on_every_engine! {
    what_went_in_and_what_went_out_of_a_day_are_told_apart,
    the_times_of_readings_are_told_day_by_day_whatever_they_say,
    sealed_and_open_samples_of_many_series_are_one_answer,
    too_many_intervals_are_refused_and_a_question_can_be_called_off,
    ages_without_readings_cost_nothing,
    a_chart_has_as_many_points_as_it_has_room_for_and_shows_the_extremes,
    a_damaged_rollup_is_told_and_computed_anew,
}

fn what_went_in_and_what_went_out_of_a_day_are_told_apart(machine: &Machine) {
    let (store, head) = filled(machine);
    let ask = |edges: &[Timestamp]| {
        store.intervals(&device("a"), &name("i"), edges, open(&head), &Cancel::default()).unwrap()
    };
    let days = ask(&aligned_edges(at(0), at(3 * DAY), DAY).unwrap());
    assert!(days.gaps.is_empty());
    let [first, second, third] = days.intervals.as_slice() else { panic!("{days:?}") };
    assert_eq!(second.samples.as_ref().unwrap().count, 1_440);
    // Twelve hours at 10 A and at -5 A, but for a line of a minute across zero at noon and at midnight.
    let (charge, discharge) = (second.integral.positive / 3_600.0, second.integral.negative / 3_600.0);
    assert!((charge - 120.0).abs() < 0.2 && (discharge + 60.0).abs() < 0.1, "{charge} {discharge}");
    assert_eq!(second.integral.covered_ms, DAY);
    assert_eq!((first.start, third.end), (0, 3 * DAY));
    // Hour by hour it comes to the same.
    let hours = ask(&aligned_edges(at(DAY), at(2 * DAY), HOUR).unwrap());
    let sum: f64 = hours.intervals.iter().map(|hour| hour.integral.positive).sum();
    assert!((sum - second.integral.positive).abs() < 1e-6);
    // A local day of another length takes what is inside of it.
    let local = ask(&local_day_edges("XXX-3", at(0), at(2 * DAY)).unwrap());
    let counts: Vec<_> = local.intervals.iter().map(|day| day.samples.as_ref().unwrap().count).collect();
    assert_eq!(counts, [21 * 60, 24 * 60, 3 * 60]);
}

fn the_times_of_readings_are_told_day_by_day_whatever_they_say(machine: &Machine) {
    let (store, head) = filled(machine);
    let ask = |from, to| {
        let mut days: Vec<Vec<i64>> = Vec::new();
        let each = |times: &[i64]| days.push(times.to_vec());
        store.times(&device("a"), (at(from), at(to)), &Cancel::default(), each).unwrap();
        days
    };
    let every_minute = |range: std::ops::Range<i64>| range.map(|n| n * 60_000).collect::<Vec<_>>();
    let minutes_of_a_day = 24 * 60;
    let days = [0, 1, 2].map(|day| every_minute(day * minutes_of_a_day..(day + 1) * minutes_of_a_day));
    let sealed = ask(i64::MIN, i64::MAX);
    assert_eq!(sealed[..2], days[..2]);
    // The last ten minutes are open, and the head has them.
    assert_eq!([sealed[2].clone(), head.open_times(&device("a"))].concat(), days[2]);
    assert_eq!(ask(DAY - 60_000, DAY + 60_001), [vec![DAY - 60_000], vec![DAY, DAY + 60_000]]);
    assert!(ask(5, 5).is_empty());
    let stopped = Cancel::default();
    stopped.cancel();
    assert!(store.times(&device("a"), (at(0), at(DAY)), &stopped, |_| ()).is_err());
}

fn sealed_and_open_samples_of_many_series_are_one_answer(machine: &Machine) {
    let (store, head) = filled(machine);
    let series = [(name("i"), open(&head)), (name("v"), Vec::new()), (name("none"), Vec::new())];
    let range = (at(2 * DAY), at(4 * DAY));
    let cancel = Cancel::default();
    let answers = store.samples(&device("a"), &series, range, 10_000, &cancel).unwrap();
    let counts: Vec<_> = answers.iter().map(Vec::len).collect();
    assert_eq!(counts, [1_440, 1_430, 0]);
    assert_eq!(answers[0][0], Moment { at: 2 * DAY, value: 10.0 });
    let error = store.samples(&device("a"), &series, range, 2_000, &cancel).unwrap_err().to_string();
    assert!(error.contains("more than 2000 samples"), "{error}");
    cancel.cancel();
    assert!(matches!(store.samples(&device("a"), &series, range, 10_000, &cancel), Err(Error::Cancelled)));
}

fn too_many_intervals_are_refused_and_a_question_can_be_called_off(machine: &Machine) {
    let (store, _) = filled(machine);
    assert!(aligned_edges(at(0), at(i64::MAX), 60_000).unwrap_err().to_string().contains("intervals"));
    let edges = aligned_edges(at(0), at(DAY), HOUR).unwrap();
    let cancel = Cancel::default();
    cancel.cancel();
    let answer = store.intervals(&device("a"), &name("i"), &edges, Vec::new(), &cancel);
    assert!(matches!(answer, Err(Error::Cancelled)));
}

fn ages_without_readings_cost_nothing(machine: &Machine) {
    let (store, head) = filled(machine);
    let edges = [at(i64::MIN), at(DAY), at(i64::MAX)];
    let answer = store.intervals(&device("a"), &name("i"), &edges, open(&head), &Cancel::default()).unwrap();
    let counts: Vec<_> = answer.intervals.iter().map(|all| all.samples.as_ref().unwrap().count).collect();
    assert_eq!(counts, [1_440, 2 * 1_440]);
}

fn a_chart_has_as_many_points_as_it_has_room_for_and_shows_the_extremes(machine: &Machine) {
    let (store, head) = filled(machine);
    let (device, metric, cancel) = (device("a"), name("i"), Cancel::default());
    for range in [(at(0), at(3 * DAY)), (at(10 * HOUR), at(14 * HOUR))] {
        let chart = store.chart(&device, &metric, range, 50, open(&head), &cancel).unwrap();
        assert_eq!(chart.len(), 50);
        assert!(chart.iter().any(|point| point.value > 9.9) && chart.iter().any(|point| point.value < -4.9));
        let pixels = store.envelope(&device, &metric, range, 50, open(&head), &cancel).unwrap();
        assert!((40..=51).contains(&pixels.len()), "{}", pixels.len());
    }
    assert!(store.chart(&device, &metric, (at(0), at(DAY)), 1_000_000, Vec::new(), &cancel).is_err());
}

fn a_damaged_rollup_is_told_and_computed_anew(machine: &Machine) {
    let (store, head) = filled(machine);
    let edges = aligned_edges(at(0), at(3 * DAY), DAY).unwrap();
    let ask = || store.intervals(&device("a"), &name("i"), &edges, open(&head), &Cancel::default()).unwrap();
    let before = format!("{:?}", ask());
    for level in Level::ALL {
        let bucket = store.rollups.level(level).open(Hour::of(at(DAY)).day()).unwrap();
        for key in bucket.all_keys().unwrap() {
            let mut bytes = bucket.get(&key).unwrap().unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            bucket.write(vec![(key, bytes)], vec![]).unwrap();
        }
    }
    assert_eq!(format!("{:?}", ask()), before);
    assert!(store.take_events().iter().any(|event| matches!(event, BucketEvent::CorruptRollup { .. })));
}
