/// Each test on each engine.
macro_rules! on_every_engine {
    ($($test:ident),* $(,)?) => {
        mod on_memory {
            $(#[test] fn $test() { super::$test(&super::Machine::new()); })*
        }
        mod on_sled {
            $(#[test] fn $test() { super::$test(&super::Machine::with(crate::SledEngine)); })*
        }
        mod on_redb {
            $(#[test] fn $test() { super::$test(&super::Machine::with(crate::RedbEngine)); })*
        }
    };
}

mod model;
mod query;
mod retain;

use std::ops::Deref;

use tempfile::TempDir;
use voltree_model::{Metric, Origin, Reading, RejectReason};

use super::*;
use crate::{Engine, Entry, Head, MemoryDisk, MemoryEngine};

/// What outlives a power cut: the disk and the buckets, both in memory.
struct Machine {
    temp: TempDir,
    disk: MemoryDisk,
    engine: MemoryEngine,
    /// What buckets are kept in instead of that; no power cut reaches it.
    other_engine: Option<Arc<dyn Engine>>,
}

struct Node {
    store: Arc<Store>,
    _data: DataDir,
}

impl Deref for Node {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Machine {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        Self { temp, disk: MemoryDisk::default(), engine: MemoryEngine::default(), other_engine: None }
    }

    fn with(engine: impl Engine + 'static) -> Self {
        Self { other_engine: Some(Arc::new(engine)), ..Self::new() }
    }

    fn open(&self) -> Node {
        let data = DataDir::open(self.temp.path()).unwrap();
        let engine = self.other_engine.clone().unwrap_or_else(|| Arc::new(self.engine.clone()));
        let store = Store::open_with(&data, Arc::new(self.disk.clone()), engine).unwrap();
        Node { store, _data: data }
    }
}

on_every_engine! {
    sealed_rows_are_read_back_by_range_and_limit,
    later_readings_of_a_sealed_moment_are_merged_and_counted,
    a_seal_whose_checkpoint_failed_is_counted_right_the_next_time,
    a_job_that_is_behind_is_answered_with_the_checkpoint,
    more_rows_than_a_part_takes_go_to_the_next_and_stay_one_series,
    the_journal_is_kept_for_the_checkpoint_before_the_last,
    a_damaged_frame_is_reported_and_the_rest_still_answers,
    rejections_need_no_bucket,
}

fn device(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

fn name(text: &str) -> MetricName {
    MetricName::new(text).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn reading(owner: &str, sequence: u64, millis: i64, values: &[(&str, f64)]) -> Entry {
    let metrics =
        values.iter().map(|(n, value)| Metric { name: name(n), value: *value, unit: None }).collect();
    let (device, at) = (device(owner), at(millis));
    let reading = Reading { device, at, metrics, attributes: Vec::new(), left_out: Vec::new() };
    Entry::Reading { origin: Origin { epoch: 0, sequence }, reading: reading.into() }
}

/// A head as the store's checkpoint left it, then fed all entries.
fn head(store: &Store, entries: &[Entry]) -> Head {
    let (devices, node) = store.checkpoints();
    let mut head = Head::new(devices, Some(node));
    (1..).map(Lsn).zip(entries).for_each(|(lsn, entry)| head.apply(lsn, entry));
    head
}

fn seal_all(store: &Store, head: &mut Head) {
    for outcome in store.seal(head.seal_jobs(at(0), true)).unwrap() {
        head.sealed(outcome);
    }
}

fn values(store: &Store, owner: &str, metric: &str) -> Vec<(i64, f64)> {
    let points = store.points(&device(owner), &name(metric), at(i64::MIN), at(i64::MAX), usize::MAX).unwrap();
    points.iter().map(|point| (point.at.as_millis(), point.value)).collect()
}

fn counts(head: &Head, owner: &str) -> (u64, u64, u64) {
    let ledger = head.ledger(&device(owner));
    (ledger.stored, ledger.duplicate, ledger.pending)
}

fn sealed_rows_are_read_back_by_range_and_limit(machine: &Machine) {
    let store = machine.open();
    let hour = 3_600_000;
    let times = [-1, 0, 1, hour - 1, hour, 24 * hour - 1, 24 * hour, 30 * 24 * hour];
    let entries: Vec<_> =
        (1..).zip(times).map(|(n, millis)| reading("a", n, millis, &[("v", 1.0), ("w", 2.0)])).collect();
    seal_all(&store, &mut head(&store, &entries));
    let times_between = |from, to, limit| -> Vec<i64> {
        let points = store.points(&device("a"), &name("v"), at(from), at(to), limit).unwrap();
        points.iter().map(|point| point.at.as_millis()).collect()
    };
    assert_eq!(times_between(i64::MIN, i64::MAX, usize::MAX), times);
    assert_eq!(times_between(0, 24 * hour, usize::MAX), [0, 1, hour - 1, hour, 24 * hour - 1]);
    assert_eq!(times_between(0, 24 * hour, 2), [0, 1]);
    assert!(times_between(5, 5, 9).is_empty());
    assert!(values(&store, "b", "v").is_empty() && values(&store, "a", "x").is_empty());
}

fn later_readings_of_a_sealed_moment_are_merged_and_counted(machine: &Machine) {
    let store = machine.open();
    let mut entries = vec![reading("a", 1, 1_000, &[("v", 1.0)])];
    seal_all(&store, &mut head(&store, &entries));
    entries.push(reading("a", 2, 1_000, &[("v", 2.0)]));
    entries.push(reading("a", 3, 1_000, &[("w", 3.0)]));
    entries.push(reading("a", 4, 2_000, &[("v", 4.0)]));
    let mut head = head(&store, &entries);
    assert_eq!(counts(&head, "a"), (1, 0, 3));
    seal_all(&store, &mut head);
    assert_eq!(counts(&head, "a"), (3, 1, 0));
    assert_eq!(values(&store, "a", "v"), [(1_000, 2.0), (2_000, 4.0)]);
    assert_eq!(values(&store, "a", "w"), [(1_000, 3.0)]);
}

fn a_seal_whose_checkpoint_failed_is_counted_right_the_next_time(machine: &Machine) {
    let store = machine.open();
    let mut entries = vec![reading("a", 1, 1_000, &[("v", 1.0)])];
    seal_all(&store, &mut head(&store, &entries));
    entries.push(reading("a", 2, 1_000, &[("v", 2.0)]));
    entries.push(reading("a", 3, 1_000, &[("w", 3.0)]));
    entries.push(reading("a", 4, 2_000, &[("v", 4.0)]));
    let jobs = head(&store, &entries).seal_jobs(at(0), true);
    machine.disk.fail_writes(1);
    assert!(store.seal(jobs).is_err());
    drop(store);
    let store = machine.open();
    // One more of the same moment came before the seal is tried again.
    entries.push(reading("a", 5, 1_000, &[("v", 5.0)]));
    let mut head = head(&store, &entries);
    assert_eq!(counts(&head, "a"), (1, 0, 4));
    seal_all(&store, &mut head);
    assert_eq!(counts(&head, "a"), (3, 2, 0));
    assert_eq!(values(&store, "a", "v"), [(1_000, 5.0), (2_000, 4.0)]);
}

fn a_job_that_is_behind_is_answered_with_the_checkpoint(machine: &Machine) {
    let store = machine.open();
    let entries: Vec<_> = (1..=3).map(|n| reading("a", n, 1_000, &[("v", 1.0)])).collect();
    let mut zombie = head(&store, entries.get(..2).unwrap());
    let stale = zombie.seal_jobs(at(0), true);
    let mut current = head(&store, &entries);
    seal_all(&store, &mut current);
    let saves = machine.disk.syncs();
    for outcome in store.seal(stale).unwrap() {
        zombie.sealed(outcome);
    }
    assert_eq!(machine.disk.syncs(), saves, "nothing was saved");
    assert_eq!((counts(&zombie, "a"), counts(&current, "a")), ((1, 2, 0), (1, 2, 0)));
}

#[test]
fn jobs_that_overlap_are_counted_once_in_either_order() {
    for reversed in [false, true] {
        let machine = Machine::new();
        let store = machine.open();
        let entries: Vec<_> =
            (1..=4).map(|n| reading("a", n, i64::try_from(n / 2).unwrap(), &[("v", 1.0)])).collect();
        let mut jobs = [2, 4].map(|n| head(&store, entries.get(..n).unwrap()).seal_jobs(at(0), true));
        if reversed {
            jobs.reverse();
        }
        let mut head = head(&store, &entries);
        for jobs in jobs {
            for outcome in store.seal(jobs).unwrap() {
                head.sealed(outcome);
            }
        }
        assert_eq!(counts(&head, "a"), (3, 1, 0));
    }
}

fn more_rows_than_a_part_takes_go_to_the_next_and_stay_one_series(machine: &Machine) {
    let store = machine.open();
    let noise = |n: u64| {
        let mixed = (n ^ n << 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        f64::from_bits(0x3ff0_0000_0000_0000 | (mixed ^ mixed >> 32) >> 12)
    };
    let mut entries: Vec<_> = (1..=5_000)
        .map(|n| {
            let values: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|name| (name, noise(n))).to_vec();
            reading("a", n, i64::try_from(n).unwrap() * 2, &values)
        })
        .collect();
    seal_all(&store, &mut head(&store, &entries));
    let bucket = store.raw.open(Hour::of(at(0)).day()).unwrap();
    let parts = bucket.parts(&device("a"), Hour::of(at(0)), Hour::of(at(0))).unwrap();
    assert!(parts.len() > 2 && parts.iter().all(|(_, bytes)| bytes.len() <= 128 * 1024));
    // Late ones in between, and one that was there already.
    entries.extend(
        (5_001..=5_010).map(|n| reading("a", n, i64::try_from(n - 5_000).unwrap() * 700 + 1, &[("a", 0.5)])),
    );
    entries.push(reading("a", 5_011, 4_000, &[("a", 0.25)]));
    let mut head = head(&store, &entries);
    seal_all(&store, &mut head);
    assert_eq!(counts(&head, "a"), (5_010, 1, 0));
    let values = values(&store, "a", "a");
    assert_eq!(values.len(), 5_010);
    assert!(values.is_sorted_by(|a, b| a.0 < b.0));
    assert!(values.contains(&(4_000, 0.25)));
}

fn the_journal_is_kept_for_the_checkpoint_before_the_last(machine: &Machine) {
    let store = machine.open();
    // So many that the checkpoint's file is written anew more than once.
    let entries: Vec<_> = (1..=600).map(|n| reading("a", n, 1_000, &[("v", 1.0)])).collect();
    let commit = |n: usize| store.positions.commit([(Lsn(u64::try_from(n).unwrap()), &entries[n - 1])]);
    let mut pruned = Lsn(0);
    for n in 1..=600 {
        commit(n);
        assert_eq!(store.replay_from(), Lsn(u64::try_from(n).unwrap() - 1));
        seal_all(&store, &mut head(&store, entries.get(..n).unwrap()));
        assert_eq!(store.replay_from(), Lsn(u64::try_from(n).unwrap()));
        assert!(store.prune_lsn() >= pruned && store.prune_lsn() < store.replay_from());
        pruned = store.prune_lsn();
    }
    assert!(pruned > Lsn(0), "the journal is not kept for ever");
    drop(store);
    for name in ["checkpoint", "checkpoint.changes"] {
        machine.disk.flip(&machine.temp.path().join(name), 20).unwrap();
    }
    let (devices, _) = machine.open().checkpoints();
    assert!(devices[&device("a")].applied >= pruned, "what is left needs nothing that was removed");
}

fn a_damaged_frame_is_reported_and_the_rest_still_answers(machine: &Machine) {
    let store = machine.open();
    let hour = Hour::of(at(0));
    let mut entries = vec![reading("a", 1, 1_000, &[("v", 1.0)]), reading("a", 2, 7_200_000, &[("v", 2.0)])];
    seal_all(&store, &mut head(&store, &entries));
    let bucket = store.raw.open(hour.day()).unwrap();
    let mut parts = bucket.parts(&device("a"), hour, hour).unwrap();
    *parts[0].1.last_mut().unwrap() ^= 1;
    bucket.write(parts.clone(), vec![]).unwrap();
    assert_eq!(values(&store, "a", "v"), [(7_200_000, 2.0)]);
    entries.push(reading("a", 3, 1_000, &[("v", 3.0)]));
    seal_all(&store, &mut head(&store, &entries));
    assert_eq!(values(&store, "a", "v"), [(1_000, 3.0), (7_200_000, 2.0)]);
    let events = store.take_events();
    assert!(matches!(events.as_slice(), [BucketEvent::CorruptFrame { .. }]), "{events:?}");
    assert!(bucket.parts(&device("a"), hour, hour).unwrap().contains(&parts[0]), "it is left for a repair");
}

fn rejections_need_no_bucket(machine: &Machine) {
    let store = machine.open();
    let rejected = |device: Option<&str>| Entry::Rejected {
        device: device.map(self::device),
        origin: None,
        at: at(5),
        reason: RejectReason::BadPayload,
        detail: String::new(),
    };
    let mut first = head(&store, &[rejected(Some("a")), rejected(None)]);
    seal_all(&store, &mut first);
    assert!(store.raw.days(Hour::of(at(0)), Hour::of(at(0))).is_empty());
    drop(store);
    let again = head(&machine.open(), &[]);
    assert_eq!(again.ledger(&device("a")).rejected[&RejectReason::BadPayload], 1);
    assert_eq!(again.node_ledger().rejected[&RejectReason::BadPayload], 1);
}
