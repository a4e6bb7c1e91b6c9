use std::fs;

use proptest::prelude::*;

use super::*;
use crate::{RedbEngine, SledEngine};

const MAX_OPEN: usize = 8;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn device() -> DeviceId {
    DeviceId::new("pack-1").unwrap()
}

/// The engines that keep files, and the file that each keeps.
fn engines() -> [(Arc<dyn Engine>, &'static str); 2] {
    [(Arc::new(SledEngine), "db"), (Arc::new(RedbEngine), "redb")]
}

fn buckets(root: &Path, engine: &Arc<dyn Engine>) -> Buckets {
    fs::create_dir_all(root.join("quarantine")).unwrap();
    Buckets::new(&root.join("raw"), &root.join("quarantine"), Arc::clone(engine), 1, MAX_OPEN).unwrap()
}

#[test]
fn a_day_is_named_as_a_calendar_would_and_reads_back() {
    for (millis, name) in [(0, "1970-01-01"), (-1, "1969-12-31"), (1_795_219_200_000, "2026-11-21")] {
        let day = Day::of(Timestamp::from_millis(millis));
        assert_eq!(day.name(), name);
        assert_eq!(Day::of_name(name), Some(day));
    }
    let beyond = Day::of(Timestamp::from_millis(i64::MAX));
    assert_eq!(Day::of_name(&beyond.name()), Some(beyond));
}

#[test]
fn a_bucket_survives_reopening_and_is_known_again() {
    for (engine, _) in engines() {
        let temp = tempfile::tempdir().unwrap();
        let hour = Hour::of(at("2026-11-21T10:30:00Z"));
        let pair = (key(&device(), hour, 0), b"frame".to_vec());
        {
            let buckets = buckets(temp.path(), &engine);
            let bucket = buckets.open(hour.day()).unwrap();
            bucket.write(vec![pair.clone()], vec![]).unwrap();
            bucket.sync().unwrap();
        }
        let buckets = buckets(temp.path(), &engine);
        assert_eq!(buckets.days(hour, hour), [hour.day()]);
        assert_eq!(buckets.open(hour.day()).unwrap().parts(&device(), hour, hour).unwrap(), [pair]);
        assert!(buckets.take_events().is_empty());
    }
}

#[test]
fn more_buckets_than_may_be_open_can_be_used_in_turn_and_at_once() {
    for (engine, _) in engines() {
        let temp = tempfile::tempdir().unwrap();
        let buckets = buckets(temp.path(), &engine);
        let days: Vec<_> = (0..12).map(Day).collect();
        let held: Vec<_> = days.iter().map(|day| buckets.open(*day).unwrap()).collect();
        assert_eq!(buckets.state.lock().recent.len(), MAX_OPEN);
        for day in &days {
            buckets.open(*day).unwrap().sync().unwrap();
        }
        drop(held);
        for day in &days {
            buckets.open(*day).unwrap().sync().unwrap();
        }
    }
}

#[test]
fn a_damaged_bucket_is_set_aside_and_replaced() {
    for (engine, file) in engines() {
        let temp = tempfile::tempdir().unwrap();
        let hour = Hour::of(at("2026-11-21T10:30:00Z"));
        {
            let buckets = buckets(temp.path(), &engine);
            let bucket = buckets.open(hour.day()).unwrap();
            bucket
                .write((0..200).map(|part| (key(&device(), hour, part), vec![7; 9_000])).collect(), vec![])
                .unwrap();
            bucket.sync().unwrap();
        }
        let db = temp.path().join("raw/2026-11-21").join(file);
        let mut bytes = fs::read(&db).unwrap();
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        fs::write(&db, bytes).unwrap();
        let buckets = buckets(temp.path(), &engine);
        let bucket = buckets.open(hour.day()).unwrap();
        assert!(bucket.parts(&device(), hour, hour).unwrap().is_empty());
        let events = buckets.take_events();
        let [BucketEvent::Quarantined { moved_to, .. }] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(*moved_to, temp.path().join("quarantine/2026-11-21-1"));
        assert!(moved_to.join(file).exists());
    }
}

proptest! {
    #[test]
    fn keys_sort_by_time_and_read_back(a in any::<i64>(), b in any::<i64>(), part in any::<u16>()) {
        let (a, b) = (Hour::of(Timestamp::from_millis(a)), Hour::of(Timestamp::from_millis(b)));
        prop_assert_eq!(key(&device(), a, part).cmp(&key(&device(), b, part)), a.cmp(&b));
        prop_assert_eq!(parse_key(&key(&device(), a, part)), Some((a, part)));
        if a <= b {
            prop_assert!(keys(&device(), a, b).contains(&key(&device(), b, part)));
        }
    }
}
