use std::fs;

use proptest::prelude::*;

use super::*;
use crate::{MemoryEngine, RedbEngine, SledEngine};

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

/// An engine in whose maps damage shows only when they are read.
#[derive(Debug, Clone, Default)]
struct Rotten {
    engine: MemoryEngine,
    days: Arc<Mutex<BTreeSet<PathBuf>>>,
}

#[derive(Debug)]
struct RottenKv {
    kv: Arc<dyn Kv>,
    path: PathBuf,
    days: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl RottenKv {
    fn look(&self) -> Result<&Arc<dyn Kv>, KvError> {
        let is_rotten = self.days.lock().contains(&self.path);
        if is_rotten { Err(KvError::Damaged { why: "rot".to_owned() }) } else { Ok(&self.kv) }
    }
}

impl Kv for RottenKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.look()?.get(key)
    }

    fn scan(&self, keys: Range<Vec<u8>>) -> Result<Vec<Pair>, KvError> {
        self.look()?.scan(keys)
    }

    fn keys(&self, keys: Range<Vec<u8>>) -> Result<Vec<Vec<u8>>, KvError> {
        self.look()?.keys(keys)
    }

    fn write(&self, pairs: Vec<Pair>, gone: Vec<Vec<u8>>) -> Result<(), KvError> {
        self.kv.write(pairs, gone)
    }

    fn sync(&self) -> Result<(), KvError> {
        self.kv.sync()
    }
}

impl Engine for Rotten {
    fn open(&self, dir: &Path) -> Result<Arc<dyn Kv>, KvError> {
        let (kv, days) = (self.engine.open(dir)?, Arc::clone(&self.days));
        Ok(Arc::new(RottenKv { kv, path: dir.to_owned(), days }))
    }

    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        self.engine.list(dir)
    }

    fn remove(&self, dir: &Path) -> std::io::Result<()> {
        self.engine.remove(dir)
    }

    fn size(&self, dir: &Path) -> std::io::Result<u64> {
        self.engine.size(dir)
    }

    fn set_aside(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        // What is put in its place is sound.
        self.days.lock().remove(from);
        self.engine.set_aside(from, to)
    }
}

#[test]
fn damage_that_shows_only_when_a_bucket_is_read_sets_it_aside_once_nobody_has_it_open() {
    let rotten = Rotten::default();
    let buckets =
        Buckets::new(Path::new("raw"), Path::new("quarantine"), Arc::new(rotten.clone()), 1, MAX_OPEN)
            .unwrap();
    let [hour, next] = ["2026-11-21T10:00:00Z", "2026-11-22T10:00:00Z"].map(|text| Hour::of(at(text)));
    let held = [hour, next].map(|hour| {
        let bucket = buckets.open(hour.day()).unwrap();
        bucket.write(vec![(key(&device(), hour, 0), b"frame".to_vec())], vec![]).unwrap();
        bucket
    });
    rotten.days.lock().insert(PathBuf::from("raw/2026-11-21"));
    let parts = |hour: Hour| buckets.open(hour.day())?.parts(&device(), hour, hour);
    assert!(buckets.replaced().is_empty(), "nobody has looked");
    for _ in 0..2 {
        let told = format!("{:#?}", parts(hour).unwrap_err());
        assert!(told.contains("raw/2026-11-21") && told.contains("rot"), "{told}");
    }
    assert_eq!(parts(next).unwrap().len(), 1, "the others keep serving");
    assert!(buckets.replaced().is_empty() && buckets.take_events().is_empty(), "it is in use");
    drop(held);
    assert_eq!(buckets.replaced(), [hour.day()].into());
    assert!(parts(hour).unwrap().is_empty());
    assert_eq!(parts(next).unwrap().len(), 1);
    let events = buckets.take_events();
    let [BucketEvent::Quarantined { day, why, .. }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((day.as_str(), why.as_str()), ("2026-11-21", "rot"));
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

#[test]
fn a_bucket_that_nobody_uses_is_closed_and_opened_again_when_needed() {
    for (engine, _) in engines() {
        let temp = tempfile::tempdir().unwrap();
        let buckets = buckets(temp.path(), &engine);
        let hour = Day(1).first_hour();
        let pair = (key(&device(), hour, 0), b"frame".to_vec());
        let bucket = buckets.open(Day(1)).unwrap();
        bucket.write(vec![pair.clone()], vec![]).unwrap();
        bucket.sync().unwrap();
        drop(bucket);
        let held = buckets.open(Day(2)).unwrap();
        buckets.close_idle(crate::clock::monotonic());
        assert_eq!(buckets.state.lock().recent.len(), 2, "somebody just used them");
        buckets.close_idle(crate::clock::monotonic() + IDLE_AFTER);
        assert!(buckets.state.lock().recent.is_empty());
        assert_eq!(buckets.state.lock().in_use.values().filter(|kv| kv.strong_count() > 0).count(), 1);
        assert_eq!(buckets.open(Day(1)).unwrap().parts(&device(), hour, hour).unwrap(), [pair]);
        drop(held);
    }
}
