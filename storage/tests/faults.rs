//! What the machine may do to a store: refuse to write, offer a file for a directory, turn its clock back, and hand in
//! readings long after their time. Each is told by name, and none takes anything along that was there.
//!
//! `VOLTREE_LATE_POINTS` asks for more late readings than a usual run has time for.

#![expect(clippy::unwrap_used, reason = "helpers fail as tests do")]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use voltree_model::{DeviceId, Metric, MetricName, Origin, Reading, Timestamp};
use voltree_storage::{
    DataDir, Disk, DiskFile, Entry, Head, JournalOptions, JournalSlot, Lsn, MemoryDisk, Positions, RealDisk,
    Store,
};

const PATIENCE: Duration = Duration::from_secs(60);
const LATE_POINTS: u32 = 20_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A disk whose file system may be read-only or out of bounds for a while.
#[derive(Debug, Clone, Default)]
struct Refusing {
    disk: MemoryDisk,
    with: Arc<Mutex<Option<io::ErrorKind>>>,
}

#[derive(Debug)]
struct RefusingFile {
    file: Box<dyn DiskFile>,
    with: Arc<Mutex<Option<io::ErrorKind>>>,
}

impl Refusing {
    fn check(&self) -> io::Result<()> {
        self.with.lock().map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn file(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(RefusingFile { file, with: Arc::clone(&self.with) })
    }
}

impl DiskFile for RefusingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match *self.with.lock() {
            Some(kind) => Err(kind.into()),
            None => self.file.append(bytes),
        }
    }
    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        self.file.reserve(bytes)
    }
    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Disk for Refusing {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.check()?;
        Ok(self.file(self.disk.create(path)?))
    }
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.check()?;
        Ok(self.file(self.disk.open_append(path)?))
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }
    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.disk.read_at(path, offset, len)
    }
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.check()?;
        self.disk.truncate(path, len)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        self.disk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_space(dir)
    }
}

fn device() -> DeviceId {
    DeviceId::new("pack-01").unwrap()
}

fn voltage() -> MetricName {
    MetricName::new("pack_voltage").unwrap()
}

fn reading(sequence: u64, at_ms: i64, value: f64) -> Entry {
    let metrics = vec![Metric { name: voltage(), value, unit: None }].into();
    let at = Timestamp::from_millis(at_ms);
    let reading = Reading { device: device(), at, metrics, attributes: Vec::new(), left_out: Vec::new() };
    Entry::Reading { origin: Origin { epoch: 0, sequence }, reading: reading.into() }
}

fn open_journal(disk: &Refusing) -> Result<Arc<JournalSlot>, voltree_storage::Error> {
    let positions = Arc::new(Positions::default());
    JournalSlot::open(Arc::new(disk.clone()), Path::new("journal"), JournalOptions::default(), positions)
}

/// Offers an entry while a writer runs; how the writer and the entry fared.
fn offer(journal: &JournalSlot, entry: Entry) -> (Result<(), String>, Result<Lsn, String>) {
    let stop = AtomicBool::new(false);
    let (sender, answer) = mpsc::channel();
    journal.append(vec![entry], Box::new(move |result| sender.send(result).unwrap_or_default()));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| journal.run(&stop));
        let answer = answer.recv_timeout(PATIENCE).unwrap();
        stop.store(true, Ordering::Release);
        journal.wake();
        let writer = writer.join().unwrap();
        (writer.map_err(|error| chain(&error)), answer.map_err(|error| chain(&error)))
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(|e| format!("{e}; ")).collect()
}

#[test]
fn a_disk_that_can_not_be_written_is_named_and_what_was_there_stays() {
    let kinds =
        [(io::ErrorKind::ReadOnlyFilesystem, "read-only"), (io::ErrorKind::PermissionDenied, "denied")];
    for (kind, word) in kinds {
        let disk = Refusing::default();
        let journal = open_journal(&disk).unwrap();
        assert_eq!(offer(&journal, reading(1, 1, 1.0)), (Ok(()), Ok(Lsn(1))));
        *disk.with.lock() = Some(kind);
        let (writer, answer) = offer(&journal, reading(2, 2, 2.0));
        let (writer, answer) = (writer.unwrap_err(), answer.unwrap_err());
        assert!(writer.contains("journal") && answer.contains(word), "{writer} {answer}");
        assert_eq!(journal.committed(), Lsn(1), "nothing is acknowledged that is not written");
        let refused = chain(&open_journal(&disk).unwrap_err());
        assert!(refused.contains("journal/") && refused.contains(word), "{refused}");
        *disk.with.lock() = None;
        assert_eq!(offer(&journal, reading(2, 2, 2.0)), (Ok(()), Ok(Lsn(2))));
        drop(journal);
        disk.disk.power_cut(|| false);
        assert_eq!(open_journal(&disk).unwrap().committed(), Lsn(2));
    }
}

#[test]
fn a_file_in_the_place_of_the_data_directory_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    std::fs::write(&path, "precious").unwrap();
    for refused in [DataDir::open(&path).unwrap_err(), DataDir::open(path.join("below")).unwrap_err()] {
        let said = refused.to_string();
        assert!(said.contains(&path.display().to_string()) && said.contains("directory"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

struct Node {
    store: Arc<Store>,
    head: Head,
    next: Lsn,
    _data: DataDir,
}

impl Node {
    fn open(path: &Path) -> Self {
        let data = DataDir::open(path).unwrap();
        let store = Store::open(&data, Arc::new(RealDisk)).unwrap();
        let (devices, node) = store.checkpoints();
        Self { head: Head::new(devices, Some(node)), store, next: Lsn(1), _data: data }
    }

    fn take(&mut self, entries: impl IntoIterator<Item = Entry>, now: Timestamp) {
        for entry in entries {
            self.head.apply(self.next, &entry);
            self.next = self.next.next();
        }
        for outcome in self.store.seal(self.head.seal_jobs(now, true)).unwrap() {
            self.head.sealed(outcome);
        }
    }

    fn points(&self) -> Vec<(i64, f64)> {
        let (from, to) = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
        let points = self.store.points(&device(), &voltage(), from, to, usize::MAX).unwrap();
        points.iter().map(|point| (point.at.as_millis(), point.value)).collect()
    }
}

#[test]
fn a_clock_that_goes_back_an_hour_costs_no_reading() {
    let temp = tempfile::tempdir().unwrap();
    let mut node = Node::open(temp.path());
    let begin = 20 * HOUR_MS;
    let at = |minute: i64| begin + minute * 60_000;
    let readings = |first: u64, from: i64, value| {
        (0..90).map(move |n| reading(first + n, at(from + i64::try_from(n).unwrap()), value))
    };
    node.take(readings(1, 0, 1.0), Timestamp::from_millis(at(90)));
    // The clock says an hour less: sixty minutes come a second time, half an hour is new.
    node.take(readings(91, 30, 2.0), Timestamp::from_millis(at(120)));
    let expected: Vec<_> = (0..120).map(|minute| (at(minute), if minute < 30 { 1.0 } else { 2.0 })).collect();
    assert_eq!(node.points(), expected, "the later of two readings of a moment counts");
    let ledger = node.head.ledger(&device());
    assert_eq!((ledger.stored, ledger.duplicate, ledger.received()), (120, 60, 180));
}

#[test]
fn readings_that_come_late_and_in_any_order_are_all_stored_in_their_place() {
    let count = std::env::var("VOLTREE_LATE_POINTS");
    let count: u32 = count.map_or(LATE_POINTS, |count| count.parse().unwrap());
    let temp = tempfile::tempdir().unwrap();
    let mut node = Node::open(temp.path());
    let now = Timestamp::from_millis(10 * DAY_MS);
    // Without a common factor every place is visited once, far from the one before.
    let step = 7_919_u64;
    assert_ne!(u64::from(count) % step, 0);
    let place = |n: u32| u32::try_from(u64::from(n) * step % u64::from(count)).unwrap();
    let at = |place: u32| i64::from(place) * 3 * DAY_MS / i64::from(count);
    let entry = |n: u32| reading(u64::from(n) + 1, at(place(n)), f64::from(place(n)));
    let batch = count.div_ceil(8);
    for first in (0..count).step_by(usize::try_from(batch).unwrap()) {
        node.take((first..(first + batch).min(count)).map(entry), now);
    }
    let ledger = node.head.ledger(&device());
    assert_eq!((ledger.stored, ledger.duplicate), (u64::from(count), 0));
    let expected: Vec<_> = (0..count).map(|place| (at(place), f64::from(place))).collect();
    assert!(node.points() == expected, "every reading is found in its place");
}
