use std::sync::Arc;

use voltree_model::{Metric, Origin, Reading, RejectReason};

use super::*;

fn device() -> DeviceId {
    DeviceId::new("pack").unwrap()
}

fn name(text: &str) -> MetricName {
    MetricName::new(text).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn reading(sequence: u64, millis: i64, values: &[(&str, f64)]) -> Entry {
    let metrics =
        values.iter().map(|(n, value)| Metric { name: name(n), value: *value, unit: None }).collect();
    let attributes = vec![(name("state"), format!("at {millis}"))];
    let reading = Reading { device: device(), at: at(millis), metrics, attributes, left_out: Vec::new() };
    Entry::Reading { origin: Origin { epoch: 0, sequence }, reading: reading.into() }
}

fn rejected(owner: Option<DeviceId>, millis: i64) -> Entry {
    let (reason, detail) = (RejectReason::BadValue, String::new());
    Entry::Rejected { device: owner, origin: None, at: at(millis), reason, detail }
}

fn head(entries: &[Entry]) -> Head {
    let mut head = Head::new(BTreeMap::new(), None);
    (1..).map(Lsn).zip(entries).for_each(|(lsn, entry)| head.apply(lsn, entry));
    head
}

/// What the store would answer if it stored everything.
fn sealed_as_stored(job: SealJob) -> Sealed {
    match job.0 {
        Job::Device(DeviceJob { device, readings, mut state, asked_at }) => {
            state.ledger.stored += u64::try_from(readings.len()).unwrap();
            Sealed(Outcome::Device { device, checkpoint: Arc::new(state), asked_at })
        }
        Job::Node(state) => Sealed(Outcome::Node(state)),
    }
}

#[test]
fn an_entry_folds_once() {
    let mut head = head(&[reading(1, 1_000, &[("v", 1.0)])]);
    head.apply(Lsn(1), &reading(1, 1_000, &[("v", 1.0)]));
    assert_eq!(head.ledger(&device()).pending, 1);
    assert_eq!(head.device(&device()).unwrap().readings, 1);
}

#[test]
fn a_late_value_does_not_replace_the_latest() {
    let head = head(&[reading(1, 2_000, &[("v", 2.0)]), reading(2, 1_000, &[("v", 1.0), ("w", 1.0)])]);
    assert_eq!(head.latest(&device(), &name("v")).unwrap().at, at(2_000));
    assert_eq!(head.latest(&device(), &name("w")).unwrap().at, at(1_000));
    let summary = head.device(&device()).unwrap();
    assert_eq!(summary.last_seen, Some(at(2_000)));
    assert_eq!(summary.attributes[&name("state")], "at 2000");
}

#[test]
fn of_open_readings_of_one_moment_the_higher_origin_is_shown() {
    let head = head(&[
        reading(1, 1_000, &[("v", 1.0), ("w", 1.0)]),
        reading(2, 1_000, &[("v", 2.0)]),
        reading(3, 2_000, &[("v", 3.0)]),
    ]);
    let values = |metric| -> Vec<f64> {
        head.open_points(&device(), &name(metric), at(0), at(2_000)).iter().map(|point| point.value).collect()
    };
    assert_eq!((values("v"), values("w")), (vec![2.0], vec![1.0]), "the end of the range is outside");
    assert!(head.open_points(&device(), &name("v"), at(5), at(5)).is_empty());
}

#[test]
fn a_seal_covers_what_the_job_carried_and_nothing_that_came_later() {
    let mut head = head(&[reading(1, 1_000, &[("v", 1.0)]), rejected(Some(device()), 1_500)]);
    let job = head.seal_job(&device(), at(2_000)).unwrap();
    head.apply(Lsn(3), &reading(2, 1_000, &[("v", 2.0)]));
    head.apply(Lsn(4), &rejected(Some(device()), 2_500));
    let outcome = sealed_as_stored(job);
    head.sealed(outcome.clone());
    head.sealed(outcome);
    let ledger = head.ledger(&device());
    assert_eq!((ledger.stored, ledger.pending, ledger.rejected_total()), (1, 1, 2));
    assert_eq!(head.open_points(&device(), &name("v"), at(0), at(9_999)).len(), 1);
    assert_eq!(head.seal_job(&device(), at(3_000)).unwrap().readings(), 1);
}

#[test]
fn a_seal_that_is_ahead_of_the_head_is_taken_over() {
    let mut ahead = head(&[reading(1, 1_000, &[("v", 1.0)]), reading(2, 2_000, &[("v", 2.0)])]);
    let mut behind = head(&[reading(1, 1_000, &[("v", 1.0)])]);
    let outcome = sealed_as_stored(ahead.seal_job(&device(), at(3_000)).unwrap());
    behind.sealed(outcome.clone());
    behind.apply(Lsn(2), &reading(2, 2_000, &[("v", 2.0)]));
    ahead.sealed(outcome);
    assert_eq!(behind.ledger(&device()), ahead.ledger(&device()));
    assert_eq!((behind.ledger(&device()).stored, behind.ledger(&device()).pending), (2, 0));
}

#[test]
fn sealing_is_due_at_rest_or_when_the_oldest_is_old_or_when_there_is_much() {
    let few = head(&[reading(1, 1_000, &[("v", 1.0)]), reading(2, 500_000, &[("v", 1.0)])]);
    assert!(few.seal_due(at(500_000), false).is_empty());
    assert!(few.seal_due(at(600_999), false).is_empty());
    assert_eq!(few.seal_due(at(601_000), false), [device()]);
    assert_eq!(few.seal_due(at(500_000), true), [device()]);
    let many: Vec<_> = (1..=4_096).map(|n| reading(n, i64::try_from(n).unwrap(), &[("v", 1.0)])).collect();
    assert!(head(many.get(1..).unwrap()).seal_due(at(0), false).is_empty());
    assert_eq!(head(&many).seal_due(at(0), false), [device()]);
}

fn reading_of(device: u64, sequence: u64) -> Entry {
    let mut entry = reading(sequence, 1, &[("v", 1.0)]);
    if let Entry::Reading { reading, .. } = &mut entry {
        Arc::make_mut(reading).device = DeviceId::new(format!("pack-{device}")).unwrap();
    }
    entry
}

#[test]
fn a_crowd_of_open_readings_is_sealed_where_most_of_them_are() {
    let mut head = Head::new(BTreeMap::new(), None);
    let devices = 40;
    head.apply(Lsn(1), &reading_of(devices, 1));
    for n in 2..MOST_OPEN_READINGS {
        // The first has twice as many as any other.
        head.apply(Lsn(n), &reading_of((n % (devices + 1)) % devices, n));
    }
    assert!(head.seal_due(at(2), false).is_empty(), "not yet a crowd, nor old, nor much of one device");
    head.apply(Lsn(MOST_OPEN_READINGS), &reading_of(1, MOST_OPEN_READINGS));
    let due = head.seal_due(at(2), false);
    assert!(due.contains(&DeviceId::new("pack-0").unwrap()) && due.len() < 6, "{due:?}");
    let freed: u64 = due.iter().map(|device| head.ledger(device).pending).sum();
    assert!(freed >= MOST_OPEN_READINGS / u64::from(SEALED_SHARE), "{freed}");
}

#[test]
fn devices_that_began_together_come_to_be_sealed_apart() {
    let mut head = Head::new(BTreeMap::new(), None);
    let (devices, mut turns) = (40, Vec::new());
    for n in 1..=4 * MOST_OPEN_READINGS {
        head.apply(Lsn(n), &reading_of(n % devices, n));
        if n % devices == 0 {
            let jobs = head.seal_jobs(at(2), false);
            turns.extend((!jobs.is_empty()).then_some((n, jobs.len())));
            jobs.into_iter().for_each(|job| head.sealed(sealed_as_stored(job)));
            assert!(head.ledgers().values().map(|ledger| ledger.pending).sum::<u64>() < MOST_OPEN_READINGS);
        }
    }
    assert!(turns.iter().all(|(_, devices)| *devices <= 7), "{turns:?}");
    let last: Vec<u64> = turns.iter().rev().take(8).map(|(n, _)| *n).collect();
    assert!(last.is_sorted_by(|later, before| later - before > MOST_OPEN_READINGS / 10), "{turns:?}");
}

#[test]
fn stragglers_of_a_sealed_hour_wait_for_their_turn() {
    let mut head = head(&[reading(1, 0, &[("v", 1.0)])]);
    let now = at(10_000_000);
    let [job] = <[SealJob; 1]>::try_from(head.seal_jobs(now, false)).unwrap();
    head.sealed(sealed_as_stored(job));
    assert!(head.seal_jobs(now, true).is_empty(), "nothing is left");
    head.apply(Lsn(2), &reading(2, 1, &[("v", 1.0)]));
    assert!(head.seal_due(at(10_059_999), false).is_empty());
    assert_eq!(head.seal_due(at(10_060_000), false), [device()]);
}

#[test]
fn what_only_changes_the_ledger_is_sealed_too() {
    let mut head = Head::new(BTreeMap::new(), Some(NodeCheckpoint::default()));
    head.apply(Lsn(1), &rejected(Some(device()), 0));
    head.apply(Lsn(2), &rejected(None, 0));
    let owners: Vec<_> = head.seal_jobs(at(0), true).iter().map(|job| job.device().cloned()).collect();
    assert_eq!(owners, [Some(device()), None]);
    for job in head.seal_jobs(at(0), true) {
        head.sealed(sealed_as_stored(job));
    }
    assert!(head.seal_jobs(at(0), true).is_empty());
    assert_eq!((head.ledger(&device()).rejected_total(), head.node_ledger().rejected_total()), (1, 1));
}
