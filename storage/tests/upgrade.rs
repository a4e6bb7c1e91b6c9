//! Data directories that earlier versions wrote: each still opens, says what it said then, and goes on.

#![expect(clippy::unwrap_used, reason = "helpers fail as tests do")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, Metric, MetricName, Origin, Reading, Timestamp, Unit};
use voltree_storage::{
    Cancel, DataDir, Entry, Head, Intervals, JournalOptions, JournalSlot, Lsn, RealDisk, Record, RecordKind,
    Store, aligned_edges,
};

/// Two hours before 2026-11-21, where the history of `pack-01` begins.
const BEGIN: i64 = 1_795_212_000_000;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

struct Node {
    store: Arc<Store>,
    journal: Arc<JournalSlot>,
    head: Head,
    _data: DataDir,
}

fn open(path: &Path) -> Node {
    let data = DataDir::open(path).unwrap();
    let store = Store::open(&data, Arc::new(RealDisk)).unwrap();
    let journal =
        JournalSlot::open(Arc::new(RealDisk), &data.journal(), JournalOptions::default(), store.positions())
            .unwrap();
    let (devices, node) = store.checkpoints();
    let mut head = Head::new(devices, Some(node));
    fold(&journal, store.replay_from(), &mut head);
    Node { store, journal, head, _data: data }
}

fn fold(journal: &JournalSlot, mut from: Lsn, head: &mut Head) {
    loop {
        let entries = journal.read(from, 1_000).unwrap();
        let Some((last, _)) = entries.last() else { break };
        from = *last;
        entries.iter().for_each(|(lsn, entry)| head.apply(*lsn, entry));
    }
}

fn pack() -> DeviceId {
    DeviceId::new("pack-01").unwrap()
}

fn values(store: &Store, device: &DeviceId, metric: &str) -> Vec<(i64, f64)> {
    let (from, to) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
    let points = store.points(device, &MetricName::new(metric).unwrap(), from, to, usize::MAX).unwrap();
    points.iter().map(|point| (point.at.as_millis(), point.value)).collect()
}

#[test]
fn a_directory_of_0_1_0_opens_and_goes_on() {
    let temp = tempfile::tempdir().unwrap();
    copy(Path::new("tests/fixtures/data-0.1.0"), temp.path());
    let mut node = open(temp.path());
    let ledger = node.head.ledger(&pack());
    assert_eq!((ledger.stored, ledger.duplicate, ledger.rejected_total(), ledger.pending), (300, 1, 1, 98));
    let odd = DeviceId::new("weird-02").unwrap();
    assert_eq!(values(&node.store, &odd, "y"), [(-5, f64::MAX)]);
    assert_eq!(values(&node.store, &odd, "x")[0].1.to_bits(), (-0.0_f64).to_bits());
    // What the old version wrote and what this one writes stand side by side in one hour.
    for outcome in node.store.seal(node.head.seal_jobs(Timestamp::from_millis(BEGIN), true)).unwrap() {
        node.head.sealed(outcome);
    }
    let ledger = node.head.ledger(&pack());
    assert_eq!((ledger.stored, ledger.pending), (398, 0));
    let sequences = (1..=300_i64).chain(303..=400);
    let expected = sequences.map(|n| {
        let tenths = i32::try_from(520 + n % 10).unwrap();
        (BEGIN + n * 30_000, if n == 1 { 60.0 } else { f64::from(tenths) / 10.0 })
    });
    let found = values(&node.store, &pack(), "pack_voltage");
    assert!(found.iter().zip(expected.clone()).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-9));
    assert_eq!(found.len(), expected.count());
    assert_eq!(node.journal.last_origin(&pack()).unwrap().sequence, 400);
    assert!(node.store.take_events().is_empty());
}

/// What frames and blocks of rollups begin with, and the version of each that was written just before those of today.
const SECOND_FRAMES: &[u8] = b"VTFR\x02";
const FIRST_ROLLUPS: &[u8] = b"VTRU\x01";
const FIXTURE: &str = "tests/fixtures/data-frames-2-rollups-1";
/// Forty hours after the beginning, when it was written.
const WRITTEN_AT: i64 = BEGIN + 40 * 3_600_000;

/// The readings that the directory was written with, one a minute. Every eleventh of the first 1,600 came after its
/// successors, with a number that was behind, and is not in it; the last twenty were not sealed.
fn reading_of_pack_02(n: u64) -> Entry {
    let wave = |n: u64| (f64::from(u32::try_from(n).unwrap()) / 40.0).sin();
    let metric = |text: &str, value, unit: Option<&str>| Metric {
        name: MetricName::new(text).unwrap(),
        value,
        unit: unit.map(|unit| Unit::new(unit).unwrap()),
    };
    let mut metrics = vec![
        metric("pack_voltage", (520.0 + (wave(n) * 10.0).round()) / 10.0, Some("V")),
        metric("current", (wave(n + 20) * 300.0).round() / 10.0, Some("A")),
        metric("noise", wave(n * 7) * 1e-3, None),
        metric("constant", 25.0, Some("°C")),
        metric("counter", f64::from_bits(n * 3), None),
    ];
    if n.is_multiple_of(7) {
        metrics.push(metric("sparse", if n.is_multiple_of(2) { -0.0 } else { f64::INFINITY }, None));
    }
    let at = Timestamp::from_millis(BEGIN + i64::try_from(n * 60_000 + n % 5).unwrap());
    let (metrics, attributes, left_out) = (metrics.into(), Vec::new(), Vec::new());
    let reading = Reading { device: pack_02(), at, metrics, attributes, left_out };
    Entry::Reading { origin: Origin { epoch: 0, sequence: n }, reading: reading.into() }
}

fn pack_02() -> DeviceId {
    DeviceId::new("pack-02").unwrap()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
    number: u64,
}

impl Record for Note {
    const KIND: RecordKind = RecordKind::Device;
    const VERSION: u8 = 1;
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// In how many places of a directory's files something stands.
fn count_in_files(dir: &Path, what: &[u8]) -> usize {
    let contents = files(dir).into_iter().map(|path| std::fs::read(path).unwrap());
    contents.map(|bytes| bytes.windows(what.len()).filter(|window| *window == what).count()).sum()
}

/// What hours and days of a metric come to.
fn summed(store: &Store, metric: &str) -> [Intervals; 2] {
    let (from, to) = (Timestamp::from_millis(BEGIN), Timestamp::from_millis(BEGIN + 26 * 3_600_000));
    [3_600_000, 86_400_000].map(|width| {
        let edges = aligned_edges(from, to, width).unwrap();
        let metric = MetricName::new(metric).unwrap();
        store.intervals(&pack_02(), &metric, &edges, Vec::new(), &Cancel::default()).unwrap()
    })
}

fn bits(values: Vec<(i64, f64)>) -> Vec<(i64, u64)> {
    values.into_iter().map(|(at, value)| (at, value.to_bits())).collect()
}

/// Seals all that is open, and finishes hours and days that are over.
fn seal(node: &mut Node) {
    let now = Timestamp::from_millis(WRITTEN_AT);
    for outcome in node.store.seal(node.head.seal_jobs(now, true)).unwrap() {
        node.head.sealed(outcome);
    }
    while node.store.maintain(now, 100).unwrap() {}
}

#[test]
fn frames_of_version_2_and_rollups_of_version_1_say_what_they_said() {
    let fixture = Path::new(FIXTURE);
    assert!(
        count_in_files(&fixture.join("buckets/raw"), SECOND_FRAMES) > 20,
        "it has frames of that version"
    );
    for level in ["rollup-1m", "rollup-1h", "rollup-1d"] {
        assert!(count_in_files(&fixture.join("buckets").join(level), FIRST_ROLLUPS) > 0, "{level}");
    }
    let temp = tempfile::tempdir().unwrap();
    copy(fixture, temp.path());
    let mut old = open(temp.path());
    let ledger = old.head.ledger(&pack_02());
    assert_eq!((ledger.stored, ledger.duplicate, ledger.pending), (1_455, 0, 20));

    // The same readings, written by this version.
    let today = tempfile::tempdir().unwrap();
    let mut new = open(today.path());
    let journal = Arc::clone(&new.journal);
    let readings = (1..=1_600_u64).filter(|n| !n.is_multiple_of(11)).map(reading_of_pack_02).collect();
    journal.commit_alone(readings, Duration::from_secs(60)).unwrap();
    fold(&journal, new.store.replay_from(), &mut new.head);
    seal(&mut new);
    for metric in ["pack_voltage", "current", "noise", "constant", "counter", "sparse"] {
        let (was, is) = (values(&old.store, &pack_02(), metric), values(&new.store, &pack_02(), metric));
        assert!(was.len() >= 200, "{metric}");
        assert_eq!(bits(was), bits(is), "{metric}");
        if metric != "sparse" {
            assert_eq!(summed(&old.store, metric), summed(&new.store, metric), "{metric}");
        }
    }
    // It goes on: what was open is sealed beside the old frames, and their hours are merged and summed anew.
    seal(&mut old);
    assert_eq!(values(&old.store, &pack_02(), "current").len(), 1_475);
    assert!(old.store.take_events().is_empty());
}

#[test]
fn records_of_an_earlier_version_are_there() {
    let temp = tempfile::tempdir().unwrap();
    copy(Path::new(FIXTURE), temp.path());
    let node = open(temp.path());
    let records = node.journal.records().all::<Note>().unwrap();
    let many = |n: u64| (format!("many-{:02}", n % 4), Note { text: "y".repeat(190), number: n });
    let kept = ("kept".to_owned(), Note { text: "pass 1".to_owned(), number: 7 });
    let expected: BTreeMap<_, _> = (1_396..1_400).map(many).chain([kept]).collect();
    assert_eq!(records, expected);
}
