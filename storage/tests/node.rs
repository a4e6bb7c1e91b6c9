//! Journal, head and store as a node uses them: on a real disk, with real processes that are really killed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers fail as tests do, and a child talks by its output"
)]

#[path = "damage/bytes.rs"]
mod damaged_bytes;
#[path = "power_cut/rounds.rs"]
mod power_cut;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, Ledger, Metric, MetricName, Origin, Reading, Timestamp, Unit};
use voltree_storage::{
    DataDir, Entry, Head, JournalOptions, JournalSlot, Lsn, RealDisk, Record, RecordChange, RecordKind,
    Store, read_ledgers,
};

const PATIENCE: Duration = Duration::from_secs(60);
const CHILD: &str = "VOLTREE_STORAGE_TEST_CHILD";
const SEALED_AT: Timestamp = Timestamp::from_millis(0);

struct Node {
    store: Arc<Store>,
    journal: Arc<JournalSlot>,
    head: Head,
    cursor: Lsn,
    _data: DataDir,
}

impl Node {
    fn open(path: &Path) -> Self {
        let data = DataDir::open(path).unwrap();
        let disk = Arc::new(RealDisk);
        let store = Store::open(&data, disk.clone()).unwrap();
        let options = JournalOptions {
            segment_bytes: 20_000,
            tail_entries: 100,
            keep_bytes: 64_000_000,
            ..JournalOptions::default()
        };
        let journal = JournalSlot::open(disk, &data.journal(), options, store.positions()).unwrap();
        let (devices, node) = store.checkpoints();
        let cursor = store.replay_from();
        let mut node = Self { head: Head::new(devices, Some(node)), store, journal, cursor, _data: data };
        node.catch_up();
        node
    }

    fn catch_up(&mut self) {
        loop {
            let batch = self.journal.read(self.cursor, 1_000).unwrap();
            let Some((last, _)) = batch.last() else { break };
            self.cursor = *last;
            batch.iter().for_each(|(lsn, entry)| self.head.apply(*lsn, entry));
        }
    }

    fn seal(&mut self) {
        for outcome in self.store.seal(self.head.seal_jobs(SEALED_AT, true)).unwrap() {
            self.head.sealed(outcome);
        }
        self.journal.prune(self.store.prune_lsn()).unwrap();
    }

    /// Runs a writer while `act` appends.
    fn writing<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let (journal, stop) = (Arc::clone(&self.journal), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| journal.run(&stop));
            let result = act(self);
            stop.store(true, Ordering::Release);
            journal.wake();
            writer.join().unwrap().unwrap();
            result
        })
    }

    fn append(&self, entries: Vec<Entry>) -> Lsn {
        let (sender, answer) = mpsc::channel();
        self.journal.append(entries, Box::new(move |result| sender.send(result).unwrap_or_default()));
        answer.recv_timeout(PATIENCE).unwrap().unwrap()
    }

    fn stored_times(&self) -> Vec<i64> {
        let (from, to) = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
        let points = self.store.points(&device(), &voltage(), from, to, usize::MAX).unwrap();
        points.iter().map(|point| point.at.as_millis()).collect()
    }
}

fn device() -> DeviceId {
    DeviceId::new("pack-01").unwrap()
}

fn voltage() -> MetricName {
    MetricName::new("pack_voltage").unwrap()
}

/// One reading every ten minutes, so that hours and days go by quickly.
fn millis(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap() * 600_000
}

fn reading(sequence: u64) -> Entry {
    let metrics = vec![Metric { name: voltage(), value: 52.5, unit: Some(Unit::new("V").unwrap()) }].into();
    let at = Timestamp::from_millis(millis(sequence));
    let reading = Reading { device: device(), at, metrics, attributes: Vec::new(), left_out: Vec::new() };
    Entry::Reading { origin: Origin { epoch: 0, sequence }, reading: reading.into() }
}

#[test]
fn readings_are_stored_and_found_again_after_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    let mut node = Node::open(temp.path());
    node.writing(|node| node.append((1..=500).map(reading).collect()));
    node.catch_up();
    assert_eq!(node.head.ledger(&device()).pending, 500);
    node.seal();
    drop(node);
    let node = Node::open(temp.path());
    let ledger = node.head.ledger(&device());
    assert_eq!((ledger.stored, ledger.pending), (500, 0));
    assert_eq!(node.stored_times(), (1..=500).map(millis).collect::<Vec<_>>());
    assert_eq!(node.journal.last_origin(&device()), Some(Origin { epoch: 0, sequence: 500 }));
    let from_outside = read_ledgers(&DataDir::read_only(temp.path()).unwrap()).unwrap();
    assert_eq!(from_outside, BTreeMap::from([(None, node.head.node_ledger()), (Some(device()), ledger)]));
}

#[test]
fn records_are_there_after_a_restart_without_a_snapshot_of_them() {
    let temp = tempfile::tempdir().unwrap();
    let note = |text: &str| Note(text.to_owned());
    let set = |key: &str, value: Option<&Note>| RecordChange::entry(key, value, SEALED_AT).unwrap();
    let mut node = Node::open(temp.path());
    let entries = vec![set("a", Some(&note("one"))), set("b", Some(&note("two"))), reading(1)];
    node.writing(|node| node.append(entries));
    node.writing(|node| node.append(vec![set("a", Some(&note("three"))), set("b", None)]));
    node.catch_up();
    node.seal();
    drop(node);
    let node = Node::open(temp.path());
    let all = node.journal.records().all::<Note>().unwrap();
    assert_eq!(all, BTreeMap::from([("a".to_owned(), note("three"))]));
    assert_eq!(node.head.node_ledger(), Ledger::default(), "records are not counted as readings");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note(String);

impl Record for Note {
    const KIND: RecordKind = RecordKind::Event;
    const VERSION: u8 = 1;
}

#[test]
fn a_damaged_bucket_is_filled_again_from_what_the_journal_still_has() {
    let temp = tempfile::tempdir().unwrap();
    let mut node = Node::open(temp.path());
    node.writing(|node| node.append((1..=500).map(reading).collect()));
    node.catch_up();
    node.seal();
    drop(node);
    let db = temp.path().join("buckets/raw/1970-01-02/db");
    let mut bytes = std::fs::read(&db).unwrap();
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
    std::fs::write(&db, bytes).unwrap();
    let node = Node::open(temp.path());
    assert_eq!(node.stored_times().len(), 500 - 144, "the other days keep serving");
    assert_eq!(node.store.damaged_days(), [Timestamp::from_millis(86_400_000)]);
    assert_eq!(node.store.prune_lsn(), Lsn(0), "the journal is still needed");
    drop(node);
    let mut node = Node::open(temp.path());
    let days = node.store.damaged_days();
    assert_eq!(days, [Timestamp::from_millis(86_400_000)], "a restart does not forget what is owed");
    let entries = node.journal.read(Lsn(0), 10_000).unwrap();
    assert_eq!(node.store.rebuild(days[0], &entries, SEALED_AT).unwrap(), 144);
    node.store.rebuilt(days[0]).unwrap();
    assert_eq!(node.stored_times(), (1..=500).map(millis).collect::<Vec<_>>());
    assert!(node.store.damaged_days().is_empty());
    node.seal();
    assert_eq!(node.head.ledger(&device()).stored, 500);
}

/// This same test in a process of its own, on the given data directory.
fn child_command(test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, path);
    command
}

fn child(test: &str, path: &Path) -> Child {
    child_command(test, path).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    if let Some(path) = std::env::var_os(CHILD) {
        write_until_killed(Path::new(&path));
    }
    let temp = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 1..=4_u64 {
        let mut child = child("a_killed_process_loses_nothing_that_it_acknowledged", temp.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // The first of these lines may follow the test harness's own words on the same line.
        let numbers = lines.filter_map(|line| line.rsplit_once("acknowledged ")?.1.parse::<u64>().ok());
        let enough = acknowledged + 60 * round;
        acknowledged = numbers.take_while(|number| *number <= enough).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut node = Node::open(temp.path());
    node.seal();
    let ledger = node.head.ledger(&device());
    assert!(ledger.stored >= acknowledged, "{ledger:?} but {acknowledged} were acknowledged");
    assert_eq!(
        (ledger.stored, ledger.received()),
        (node.head.device(&device()).unwrap().readings, ledger.stored)
    );
    assert_eq!(node.stored_times(), (1..=ledger.stored).map(millis).collect::<Vec<_>>());
}

fn write_until_killed(path: &Path) -> ! {
    let mut node = Node::open(path);
    let first = node.journal.last_origin(&device()).map_or(1, |origin| origin.sequence + 1);
    node.writing(|node| {
        for sequence in first.. {
            node.append(vec![reading(sequence)]);
            println!("acknowledged {sequence}");
            node.catch_up();
            if sequence % 7 == 0 {
                node.seal();
            }
        }
    });
    unreachable!("there are more numbers than time")
}

#[test]
fn another_process_can_not_open_the_same_data_directory() {
    if let Some(path) = std::env::var_os(CHILD) {
        let refused = DataDir::open(path).unwrap_err();
        println!("refused: {refused}");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let _held = DataDir::open(temp.path()).unwrap();
    let child = child("another_process_can_not_open_the_same_data_directory", temp.path());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&temp.path().display().to_string()), "{said}");
    assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
}
