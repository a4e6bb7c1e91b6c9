//! What retention takes away, what it leaves, and that the ledger can be explained afterwards.

use std::collections::BTreeMap;

use super::*;
use crate::{Cancel, KeepDays, Retention, aligned_edges};

const DAY: i64 = 86_400_000;

fn keep(raw: u32) -> KeepDays {
    KeepDays { raw, minutes: 40, hours: 200, days: 9_000 }
}

/// Fills a machine with a reading of each device every two hours of the first `days` days.
fn filled(machine: &Machine, days: i64) -> Vec<Entry> {
    let entries: Vec<_> = (0..days * 12)
        .flat_map(|n| {
            let sequence = u64::try_from(n + 1).unwrap();
            let value = if n % 2 == 0 { 4.5 } else { -1.5 };
            ["a", "b", "long"].map(|owner| reading(owner, sequence, n * DAY / 12 + 1_000, &[("v", value)]))
        })
        .collect();
    let store = machine.open();
    let mut head = head(&store, &entries);
    for outcome in store.seal(head.seal_jobs(at(days * DAY), true)).unwrap() {
        head.sealed(outcome);
    }
    while store.maintain(at((days + 1) * DAY), 1_000).unwrap() {}
    drop(store);
    entries
}

fn by_day(store: &Store, owner: &str, days: i64) -> String {
    let edges = aligned_edges(at(0), at(days * DAY), DAY).unwrap();
    let found = store.intervals(&device(owner), &name("v"), &edges, Vec::new(), &Cancel::default()).unwrap();
    format!("{found:?}")
}

fn stored_less_aged_out(store: &Store, owner: &str) -> usize {
    let (devices, _) = store.checkpoints();
    let aged = store.aged_out().get(&device(owner)).copied().unwrap_or_default();
    usize::try_from(devices[&device(owner)].ledger.stored - aged).unwrap()
}

on_every_engine! {
    readings_go_by_the_day_and_rollups_stay,
    what_comes_too_late_is_refused_at_the_door_and_harms_no_rollup_behind_it,
    the_oldest_readings_go_first_when_there_is_too_much_and_that_is_told,
}

fn readings_go_by_the_day_and_rollups_stay(machine: &Machine) {
    filled(machine, 20);
    let store = machine.open();
    let before = by_day(&store, "a", 20);
    let devices = BTreeMap::from([(device("long"), keep(15)), (device("b"), keep(3))]);
    store.set_retention(Retention { default: keep(10), devices, max_bytes: None });
    store.retain(at(20 * DAY)).unwrap();
    for (owner, days) in [("a", 10), ("b", 3), ("long", 15)] {
        let left = values(&store, owner, "v");
        assert_eq!(left.first().unwrap().0, (20 - days) * DAY + 1_000, "{owner}");
        assert_eq!(left.len(), usize::try_from(days * 12).unwrap());
        assert_eq!(stored_less_aged_out(&store, owner), left.len());
    }
    assert_eq!(store.raw.all().len(), 15, "days that nobody keeps are gone whole");
    assert_eq!(by_day(&store, "a", 20), before);
    drop(store);
    let store = machine.open();
    assert_eq!(stored_less_aged_out(&store, "b"), 36);
    assert_eq!(by_day(&store, "a", 20), before);
}

fn what_comes_too_late_is_refused_at_the_door_and_harms_no_rollup_behind_it(machine: &Machine) {
    let mut entries = filled(machine, 20);
    let store = machine.open();
    let before = by_day(&store, "a", 20);
    store.set_retention(Retention { default: keep(10), ..Retention::default() });
    store.retain(at(20 * DAY)).unwrap();
    assert!(store.age_limits().refuses(&device("a"), at(2 * DAY), at(20 * DAY)));
    assert!(!store.age_limits().refuses(&device("a"), at(12 * DAY), at(20 * DAY)));
    // One that was accepted before its day was removed.
    entries.push(reading("a", 1_000, 2 * DAY + 5, &[("v", 100.0)]));
    let mut head = head(&store, &entries);
    for outcome in store.seal(head.seal_jobs(at(20 * DAY), true)).unwrap() {
        head.sealed(outcome);
    }
    assert_eq!(by_day(&store, "a", 20), before);
    store.retain(at(20 * DAY)).unwrap();
    assert_eq!(stored_less_aged_out(&store, "a"), values(&store, "a", "v").len());
    assert_eq!(values(&store, "a", "v").len(), 120);
}

fn the_oldest_readings_go_first_when_there_is_too_much_and_that_is_told(machine: &Machine) {
    filled(machine, 20);
    let store = machine.open();
    let before = by_day(&store, "a", 20);
    let used = store.disk_use().unwrap();
    let third = used.raw_bytes / 3;
    store.set_retention(Retention { max_bytes: Some(used.total() - third), ..Retention::default() });
    store.retain(at(20 * DAY)).unwrap();
    let now = store.disk_use().unwrap();
    assert!(now.total() <= used.total() - third && now.raw_bytes > used.raw_bytes / 2, "{now:?} of {used:?}");
    assert!(values(&store, "a", "v").first().unwrap().0 > 5 * DAY);
    assert_eq!(stored_less_aged_out(&store, "a"), values(&store, "a", "v").len());
    assert_eq!(by_day(&store, "a", 20), before);
    let events = store.take_events();
    assert!(matches!(events.first(), Some(BucketEvent::NearlyFull { .. })), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, BucketEvent::RemovedForSpace { .. })));
}

#[test]
fn a_removal_that_is_cut_short_at_any_write_is_counted_once() {
    for fails in 0..6 {
        let machine = Machine::new();
        filled(&machine, 4);
        let store = machine.open();
        let devices = BTreeMap::from([(device("long"), keep(30))]);
        let retention = Retention { default: keep(1), devices, max_bytes: None };
        store.set_retention(retention.clone());
        // The sync after so many good ones fails, then the power does.
        machine.disk.fail_sync_after(fails);
        let result = store.retain(at(4 * DAY));
        machine.disk.fail_syncs(0);
        drop(store);
        machine.disk.power_cut(|| false);
        machine.engine.power_cut(|| false);
        let store = machine.open();
        store.set_retention(retention);
        store.retain(at(4 * DAY)).unwrap();
        for owner in ["a", "long"] {
            let left = values(&store, owner, "v").len();
            assert_eq!(stored_less_aged_out(&store, owner), left, "{owner} after {fails}: {result:?}");
        }
        assert_eq!((values(&store, "a", "v").len(), values(&store, "long", "v").len()), (12, 48));
    }
}
