//! Data directories that earlier versions wrote: each still opens, says what it said then, and goes on.

#![expect(clippy::unwrap_used, reason = "helpers fail as tests do")]

use std::path::Path;
use std::sync::Arc;

use voltree_model::{DeviceId, MetricName, Timestamp};
use voltree_storage::{DataDir, Head, JournalOptions, JournalSlot, RealDisk, Store};

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
    for (lsn, entry) in journal.read(store.replay_from(), 10_000).unwrap() {
        head.apply(lsn, &entry);
    }
    Node { store, journal, head, _data: data }
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
