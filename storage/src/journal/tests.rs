use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};

use voltree_model::{Metric, MetricName, Reading, RejectReason, Timestamp};

use super::*;
use crate::MemoryDisk;

const DIR: &str = "data/journal";
const PATIENCE: Duration = Duration::from_secs(60);

type Answer = Receiver<Result<Lsn, AppendError>>;

/// A slot whose writer runs until this is dropped.
struct Running {
    slot: Arc<JournalSlot>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Running {
    fn start(slot: &Arc<JournalSlot>) -> Self {
        let (slot, stop) = (Arc::clone(slot), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (slot, stop) = (Arc::clone(&slot), Arc::clone(&stop));
            move || slot.run(&stop)
        });
        Self { slot, stop, thread: Some(thread) }
    }

    fn stop(mut self) -> Result<(), Error> {
        self.end().unwrap()
    }

    fn end(&mut self) -> Option<Result<(), Error>> {
        self.stop.store(true, Ordering::Release);
        self.slot.wake();
        Some(self.thread.take()?.join().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn options() -> JournalOptions {
    JournalOptions { sync_interval: Duration::ZERO, keep_bytes: 0, ..JournalOptions::default() }
}

fn open(disk: &MemoryDisk, options: JournalOptions) -> Result<Arc<JournalSlot>, Error> {
    JournalSlot::open(Arc::new(disk.clone()), Path::new(DIR), options, Arc::default())
}

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

fn reading(name: &str, sequence: u64) -> Entry {
    let name_of = |text: &str| MetricName::new(text).unwrap();
    let metrics = vec![Metric { name: name_of("soc_percent"), value: 50.0, unit: None }].into();
    let at = Timestamp::from_millis(i64::try_from(sequence).unwrap() * 1_000);
    let reading = Reading { device: device(name), at, metrics, attributes: Vec::new(), left_out: Vec::new() };
    Entry::Reading { origin: Origin { epoch: 0, sequence }, reading: reading.into() }
}

fn append(slot: &JournalSlot, entries: Vec<Entry>) -> Answer {
    let (sender, answer) = mpsc::channel();
    slot.append(entries, Box::new(move |result| sender.send(result).unwrap_or_default()));
    answer
}

fn write(slot: &JournalSlot, entries: Vec<Entry>) -> Lsn {
    append(slot, entries).recv_timeout(PATIENCE).unwrap().unwrap()
}

fn fail_to_write(slot: &JournalSlot, entries: Vec<Entry>) -> AppendError {
    append(slot, entries).recv_timeout(PATIENCE).unwrap().unwrap_err()
}

/// Writes each entry as a group of its own.
fn write_each(slot: &Arc<JournalSlot>, entries: impl IntoIterator<Item = Entry>) {
    let running = Running::start(slot);
    for entry in entries {
        write(slot, vec![entry]);
    }
    running.stop().unwrap();
}

fn all(slot: &JournalSlot) -> Vec<(Lsn, Entry)> {
    let mut entries: Vec<(Lsn, Entry)> = Vec::new();
    loop {
        let from = entries.last().map_or(Lsn(0), |(lsn, _)| *lsn);
        let more = slot.read(from, 7).unwrap();
        if more.is_empty() {
            return entries;
        }
        entries.extend(more.into_iter().map(|(lsn, entry)| (lsn, Entry::clone(&entry))));
    }
}

fn numbered(entries: impl IntoIterator<Item = Entry>) -> Vec<(Lsn, Entry)> {
    (1..).map(Lsn).zip(entries).collect()
}

fn last_segment(disk: &MemoryDisk) -> PathBuf {
    let names = disk.list(Path::new(DIR)).unwrap();
    Path::new(DIR).join(names.iter().rfind(|name| segment::first_lsn(name).is_some()).unwrap())
}

#[test]
fn what_was_acknowledged_is_there_after_a_power_cut() {
    let disk = MemoryDisk::default();
    let entries: Vec<_> = (1..=50).map(|n| reading("a", n)).collect();
    write_each(&open(&disk, options()).unwrap(), entries.clone());
    disk.power_cut(|| false);
    let slot = open(&disk, options()).unwrap();
    assert_eq!(all(&slot), numbered(entries));
    assert_eq!(slot.last_origin(&device("a")), Some(Origin { epoch: 0, sequence: 50 }));
    assert_eq!((slot.first(), slot.committed()), (Lsn(1), Lsn(50)));
}

#[test]
fn a_torn_end_is_cut_off_wherever_it_was_torn() {
    let disk = MemoryDisk::default();
    let entries: Vec<_> = (1..=3).map(|n| reading("a", n)).collect();
    write_each(&open(&disk, options()).unwrap(), entries.get(..2).unwrap().to_vec());
    let path = last_segment(&disk);
    let two = disk.read(&path).unwrap().len();
    write_each(&open(&disk, options()).unwrap(), entries.get(2..).unwrap().to_vec());
    let whole = disk.read(&path).unwrap();
    for cut in two..whole.len() {
        let disk = MemoryDisk::default();
        let mut file = disk.create(&path).unwrap();
        file.append(whole.get(..cut).unwrap()).unwrap();
        let slot = open(&disk, options()).unwrap();
        assert_eq!(slot.stats().torn_bytes, u64::try_from(cut - two).unwrap());
        assert_eq!(all(&slot), numbered(entries.get(..2).unwrap().to_vec()), "cut at {cut}");
        write_each(&slot, [reading("a", 3)]);
        assert_eq!(all(&open(&disk, options()).unwrap()), numbered(entries.clone()), "cut at {cut}");
    }
}

#[test]
fn a_group_torn_by_a_power_cut_never_takes_an_acknowledged_entry_along() {
    for seed in 0..200_u64 {
        let disk = MemoryDisk::default();
        let slot = open(&disk, options()).unwrap();
        write_each(&slot, (1..=5).map(|n| reading("a", n)));
        disk.fail_syncs(1);
        let running = Running::start(&slot);
        let group: Vec<_> = (6..=40).map(|n| reading("a", n)).collect();
        assert!(matches!(fail_to_write(&slot, group), AppendError::Writer(_)));
        drop(running);
        // The group is on the disk in a random half of its sectors, and nothing repairs it before the restart.
        let mut file = disk.open_append(&last_segment(&disk)).unwrap();
        file.append(&[0; 700]).unwrap();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        disk.power_cut(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 63 == 0
        });
        let found = all(&open(&disk, options()).unwrap());
        assert_eq!(found.get(..5).unwrap(), numbered((1..=5).map(|n| reading("a", n))));
    }
}

#[test]
fn a_flipped_byte_before_the_last_group_is_refused_with_file_and_offset() {
    let disk = MemoryDisk::default();
    write_each(&open(&disk, options()).unwrap(), (1..=5).map(|n| reading("a", n)));
    let path = last_segment(&disk);
    let bytes = disk.read(&path).unwrap();
    let after = |offset: usize| segment::record_at(&bytes, offset).unwrap().end;
    let offset = after(after(segment::HEADER_BYTES));
    for byte in offset..after(offset) {
        disk.flip(&path, byte).unwrap();
        let error = open(&disk, options()).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(error.contains(&format!("at byte {offset}")), "{error}");
        disk.flip(&path, byte).unwrap();
    }
    open(&disk, options()).unwrap();
}

#[test]
fn an_entry_that_is_offered_again_is_written_once() {
    let disk = MemoryDisk::default();
    let slot = open(&disk, options()).unwrap();
    write_each(&slot, [reading("a", 1), reading("a", 1), reading("b", 1)]);
    let slot = open(&disk, options()).unwrap();
    let running = Running::start(&slot);
    assert_eq!(write(&slot, vec![reading("a", 1), reading("a", 2), reading("a", 2)]), Lsn(3));
    running.stop().unwrap();
    assert_eq!(all(&slot), numbered([reading("a", 1), reading("b", 1), reading("a", 2)]));
}

#[test]
fn origins_that_only_the_checkpoint_knows_count_as_written() {
    let disk = MemoryDisk::default();
    let origins = BTreeMap::from([(device("a"), Origin { epoch: 0, sequence: 7 })]);
    let positions = Arc::new(Positions::new(origins, None, Arc::default()));
    let slot = JournalSlot::open(Arc::new(disk), Path::new(DIR), options(), positions).unwrap();
    write_each(&slot, [reading("a", 7), reading("a", 8)]);
    assert_eq!(all(&slot), numbered([reading("a", 8)]));
}

#[test]
fn entries_without_origin_are_written_as_often_as_offered() {
    let rejected = Entry::Rejected {
        device: None,
        origin: None,
        at: Timestamp::from_millis(1),
        reason: RejectReason::BadTopic,
        detail: "nobody's".to_owned(),
    };
    let slot = open(&MemoryDisk::default(), options()).unwrap();
    write_each(&slot, [rejected.clone(), rejected.clone()]);
    assert_eq!(all(&slot), numbered([rejected.clone(), rejected]));
}

#[test]
fn everything_that_waits_is_made_durable_by_one_sync() {
    let disk = MemoryDisk::default();
    let slot = open(&disk, options()).unwrap();
    let answers: Vec<_> = (1..=100).map(|n| append(&slot, vec![reading("a", n)])).collect();
    let running = Running::start(&slot);
    for answer in answers {
        answer.recv_timeout(PATIENCE).unwrap().unwrap();
    }
    running.stop().unwrap();
    assert_eq!(slot.stats().syncs, 1);
}

#[test]
fn syncs_keep_their_distance_and_the_first_after_a_quiet_time_comes_at_once() {
    let slow = JournalOptions { sync_interval: PATIENCE * 6, sync_deadline: PATIENCE * 6, ..options() };
    let slot = open(&MemoryDisk::default(), slow).unwrap();
    let running = Running::start(&slot);
    assert_eq!(write(&slot, vec![reading("a", 1)]), Lsn(1), "a lone entry waits for nothing");
    let answers: Vec<_> = (2..=20).map(|n| append(&slot, vec![reading("a", n)])).collect();
    let mut bound = 10_000;
    while slot.stats().queued > 0 && bound > 0 {
        thread::yield_now();
        bound -= 1;
    }
    assert_eq!(slot.stats().syncs, 1, "the next sync is not due for a minute");
    running.stop().unwrap();
    let answered = answers.iter().filter(|answer| answer.try_recv().is_ok()).count();
    assert!(slot.stats().syncs <= 2 && answered + slot.stats().queued == 19, "a stop ends the group at hand");
}

#[test]
fn the_deadline_goes_before_the_interval() {
    let options = JournalOptions { sync_interval: PATIENCE * 6, sync_deadline: Duration::ZERO, ..options() };
    let slot = open(&MemoryDisk::default(), options).unwrap();
    write_each(&slot, (1..=3).map(|n| reading("a", n)));
    assert_eq!(slot.stats().syncs, 3);
}

#[test]
fn a_failed_sync_acknowledges_nothing_and_the_retry_is_durable() {
    let disk = MemoryDisk::default();
    let slot = open(&disk, options()).unwrap();
    write_each(&slot, [reading("a", 1)]);
    disk.fail_syncs(1);
    let running = Running::start(&slot);
    let refused = fail_to_write(&slot, vec![reading("a", 2), reading("b", 1)]);
    assert!(matches!(refused, AppendError::Writer(_)));
    assert!(running.stop().is_err());
    assert_eq!((slot.committed(), slot.last_origin(&device("b"))), (Lsn(1), None));

    write_each(&slot, [reading("a", 2), reading("b", 1)]);
    disk.power_cut(|| false);
    let slot = open(&disk, options()).unwrap();
    assert_eq!(all(&slot), numbered([reading("a", 1), reading("a", 2), reading("b", 1)]));
}

#[test]
fn a_failed_write_is_cut_off() {
    let disk = MemoryDisk::default();
    let slot = open(&disk, options()).unwrap();
    write_each(&slot, [reading("a", 1)]);
    for n in 2..=4 {
        disk.fail_writes(1);
        let running = Running::start(&slot);
        fail_to_write(&slot, vec![reading("a", n)]);
        assert!(running.stop().is_err());
        write_each(&slot, [reading("a", n)]);
    }
    assert_eq!(slot.stats().failures, 3);
    let expected = numbered((1..=4).map(|n| reading("a", n)));
    assert_eq!(all(&slot), expected);
    assert_eq!(all(&open(&disk, options()).unwrap()), expected);
}

#[test]
fn a_segment_that_could_not_be_begun_is_begun_by_the_next_writer() {
    let small = JournalOptions { segment_bytes: 400, ..options() };
    let disk = MemoryDisk::default();
    let slot = open(&disk, small).unwrap();
    let mut failed = 0;
    let mut answers = Vec::new();
    for n in 1..=40 {
        answers.push(append(&slot, vec![reading("a", n)]));
        // Any sync may fail, also one of a segment's header.
        disk.fail_syncs(u32::from(n % 3 == 0));
        let running = Running::start(&slot);
        let answer = answers.pop().unwrap().recv_timeout(Duration::from_millis(200));
        let ended = running.stop().is_err();
        failed += u32::from(ended);
        disk.fail_syncs(0);
        if !matches!(answer, Ok(Ok(_))) {
            write_each(&slot, [reading("a", n)]);
        }
    }
    assert!(failed >= 13, "{failed}");
    let expected = numbered((1..=40).map(|n| reading("a", n)));
    assert_eq!(all(&slot), expected);
    disk.power_cut(|| false);
    assert_eq!(all(&open(&disk, small).unwrap()), expected);
}

#[test]
fn readable_bytes_that_no_sync_covered_are_made_durable_before_they_are_trusted() {
    let disk = MemoryDisk::default();
    let slot = open(&disk, options()).unwrap();
    write_each(&slot, [reading("a", 1)]);
    disk.fail_syncs(1);
    let running = Running::start(&slot);
    fail_to_write(&slot, vec![reading("a", 2)]);
    drop(running);
    // The process is killed here: the cache still has the entry, the disk never will by itself.
    let slot = open(&disk, options()).unwrap();
    assert_eq!(slot.committed(), Lsn(2));
    write_each(&slot, [reading("a", 2)]);
    disk.power_cut(|| false);
    assert_eq!(all(&open(&disk, options()).unwrap()), numbered([reading("a", 1), reading("a", 2)]));
}

#[test]
fn a_second_writer_waits_for_the_first_to_leave() {
    let slot = open(&MemoryDisk::default(), options()).unwrap();
    let first = Running::start(&slot);
    write(&slot, vec![reading("a", 1)]);
    let second = Running::start(&slot);
    write(&slot, vec![reading("a", 2)]);
    first.stop().unwrap();
    write(&slot, vec![reading("a", 3)]);
    second.stop().unwrap();
    assert_eq!(slot.committed(), Lsn(3));
}

#[test]
fn appends_wait_while_nobody_writes() {
    let slot = open(&MemoryDisk::default(), options()).unwrap();
    let answer = append(&slot, vec![reading("a", 1)]);
    Running::start(&slot).stop().unwrap();
    assert!(answer.try_recv().is_err() || slot.committed() == Lsn(1));
    let running = Running::start(&slot);
    write(&slot, vec![reading("a", 1)]);
    running.stop().unwrap();
    assert_eq!(slot.committed(), Lsn(1));
}

#[test]
fn listeners_hear_of_a_commit_after_readers_can_see_it() {
    let slot = open(&MemoryDisk::default(), options()).unwrap();
    let (sender, heard) = mpsc::channel();
    let reader = Arc::downgrade(&slot);
    slot.on_commit(Box::new(move |lsn| {
        let seen = reader.upgrade().map_or(0, |slot| all(&slot).len());
        sender.send((lsn, seen)).unwrap_or_default();
    }));
    write_each(&slot, [reading("a", 1), reading("a", 1), reading("a", 2)]);
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [(Lsn(1), 1), (Lsn(2), 2)], "a repetition is no news");
}

#[test]
fn segments_follow_each_other_and_are_read_pruned_and_reopened() {
    let small = JournalOptions { segment_bytes: 400, tail_entries: 3, ..options() };
    let disk = MemoryDisk::default();
    let slot = open(&disk, small).unwrap();
    let entries: Vec<_> = (1..=40).map(|n| reading("a", n)).collect();
    write_each(&slot, entries.clone());
    let segments = disk.list(Path::new(DIR)).unwrap().len();
    assert!(segments > 5, "{segments}");
    assert_eq!(all(&slot), numbered(entries.clone()));
    assert_eq!(all(&open(&disk, small).unwrap()), numbered(entries.clone()));
    let mut inspected = Vec::new();
    read_journal(&disk, Path::new(DIR), Lsn(10), |lsn, entry| inspected.push((lsn, entry))).unwrap();
    assert_eq!(inspected, numbered(entries.clone()).split_off(10));

    slot.prune(Lsn(20)).unwrap();
    let first = slot.first();
    assert!(first > Lsn(10) && first <= Lsn(21), "{first}");
    let kept = numbered(entries).split_off(usize::try_from(first.0 - 1).unwrap());
    assert_eq!(all(&slot), kept);
    slot.prune(Lsn(40)).unwrap();
    assert_eq!(disk.list(Path::new(DIR)).unwrap().len(), 2, "the current segment and the one before it stay");
}

#[test]
fn a_missing_segment_is_noticed() {
    let small = JournalOptions { segment_bytes: 400, ..options() };
    let disk = MemoryDisk::default();
    write_each(&open(&disk, small).unwrap(), (1..=40).map(|n| reading("a", n)));
    let names = disk.list(Path::new(DIR)).unwrap();
    disk.remove(&Path::new(DIR).join(names.get(2).unwrap())).unwrap();
    let error = open(&disk, small).unwrap_err();
    assert!(
        matches!(&error, Error::MissingSegment { path, .. } if path.ends_with(names.get(3).unwrap())),
        "{error}"
    );
}

#[test]
fn a_pruned_journal_without_its_checkpoint_is_refused() {
    let small = JournalOptions { segment_bytes: 400, ..options() };
    let disk = MemoryDisk::default();
    let slot = open(&disk, small).unwrap();
    write_each(&slot, (1..=40).map(|n| reading("a", n)));
    slot.prune(Lsn(20)).unwrap();
    assert!(matches!(open(&disk, small), Err(Error::CheckpointMissing { .. })));
    let positions = |covered| Arc::new(Positions::new(BTreeMap::new(), Some(Lsn(covered)), Arc::default()));
    let open = |covered| JournalSlot::open(Arc::new(disk.clone()), Path::new(DIR), small, positions(covered));
    open(40).unwrap();
    assert!(matches!(open(41), Err(Error::JournalBehind { .. })));
}

#[test]
fn a_reader_at_the_front_reads_files_while_the_writer_goes_on() {
    let options = JournalOptions { segment_bytes: 4_000, tail_entries: 5, ..options() };
    let temp = tempfile::tempdir().unwrap();
    let slot = JournalSlot::open(Arc::new(crate::RealDisk), temp.path(), options, Arc::default()).unwrap();
    let running = Running::start(&slot);
    let reader = thread::spawn({
        let slot = Arc::clone(&slot);
        move || {
            let mut seen = Vec::new();
            while seen.len() < 300 {
                let from = seen.last().map_or(Lsn(0), |(lsn, _)| *lsn);
                seen.extend(slot.read(from, 11).unwrap());
            }
            seen
        }
    });
    for n in 1..=300 {
        write(&slot, vec![reading("a", n)]);
    }
    let seen = reader.join().unwrap();
    running.stop().unwrap();
    let seen: Vec<_> = seen.into_iter().map(|(lsn, entry)| (lsn, Entry::clone(&entry))).collect();
    assert_eq!(seen, numbered((1..=300).map(|n| reading("a", n))));
}

#[test]
fn a_full_disk_holds_everything_back_until_there_is_space_again() {
    let disk = MemoryDisk::default();
    let slot = open(&disk, options()).unwrap();
    let running = Running::start(&slot);
    disk.set_free_space(Some(1_000));
    let (sender, answer) = mpsc::channel();
    slot.append(vec![reading("a", 1)], Box::new(move |result| sender.send(result).unwrap()));
    let deadline = crate::clock::monotonic() + PATIENCE;
    while !slot.stats().disk_full {
        assert!(crate::clock::monotonic() < deadline, "the writer never noticed");
        thread::yield_now();
    }
    assert!(answer.try_recv().is_err() && slot.committed() == Lsn(0));
    assert_eq!((slot.stats().queued, slot.stats().failures), (1, 0));
    disk.set_free_space(None);
    assert_eq!(answer.recv_timeout(PATIENCE).unwrap().unwrap(), Lsn(1));
    assert!(!slot.stats().disk_full);
    running.stop().unwrap();
}

#[test]
fn a_writer_that_waits_for_space_still_stops() {
    let disk = MemoryDisk::default();
    let slot = open(&disk, options()).unwrap();
    disk.set_free_space(Some(0));
    let running = Running::start(&slot);
    slot.append(vec![reading("a", 1)], Box::new(drop));
    running.stop().unwrap();
    assert_eq!(slot.stats().queued, 1, "it is the next writer's");
}

#[test]
fn entries_of_others_are_passed_over_in_memory_and_on_disk() {
    let disk = MemoryDisk::default();
    let slot = open(&disk, options()).unwrap();
    let running = Running::start(&slot);
    let (sender, answer) = mpsc::channel();
    let entries = (1..=20).flat_map(|n| [reading("a", n), reading("b", n)]).collect();
    slot.append(entries, Box::new(move |result| sender.send(result).unwrap()));
    answer.recv_timeout(PATIENCE).unwrap().unwrap();
    running.stop().unwrap();
    for slot in [slot, open(&disk, options()).unwrap()] {
        let is_b = |owner: Option<&DeviceId>| owner == Some(&device("b"));
        let (last, entries) = slot.read_of(Lsn(2), 10, is_b).unwrap();
        let numbers: Vec<_> = entries.iter().map(|(lsn, _)| lsn.0).collect();
        assert_eq!((last, numbers), (Lsn(12), vec![4, 6, 8, 10, 12]));
        assert_eq!(slot.read_of(Lsn(40), 10, is_b).unwrap(), (Lsn(40), vec![]));
    }
}

#[test]
fn names_that_stand_further_up_in_a_segment_are_found_from_anywhere() {
    let disk = MemoryDisk::default();
    let options = JournalOptions { tail_entries: 1, ..options() };
    let slot = open(&disk, options).unwrap();
    let count = 2_000;
    write_each(&slot, (1..=count).map(|n| reading("a", n)));
    let last = usize::try_from(count).unwrap();
    for from in [0, last / 2, last - 3] {
        let read = slot.read(Lsn(u64::try_from(from).unwrap()), 2).unwrap();
        let (lsn, entry) = &read[0];
        assert_eq!((lsn.0, entry), (u64::try_from(from + 1).unwrap(), &reading("a", lsn.0)));
    }
    let bytes = disk.read(&last_segment(&disk)).unwrap();
    let name = b"soc_percent";
    assert_eq!(bytes.windows(name.len()).filter(|window| window == name).count(), 1);
    drop(slot);
    let slot = open(&disk, options).unwrap();
    write_each(&slot, (count + 1..=count + 3).map(|n| reading("a", n)));
    assert_eq!(all(&slot).len(), last + 3);
}

#[test]
fn as_much_is_kept_as_was_asked_for() {
    let disk = MemoryDisk::default();
    let small = JournalOptions { segment_bytes: 400, keep_bytes: 2_000, ..options() };
    let slot = open(&disk, small).unwrap();
    let running = Running::start(&slot);
    for n in 1..=100 {
        let (sender, answer) = mpsc::channel();
        slot.append(vec![reading("a", n)], Box::new(move |result| sender.send(result).unwrap()));
        answer.recv_timeout(PATIENCE).unwrap().unwrap();
    }
    slot.prune(Lsn(100)).unwrap();
    running.stop().unwrap();
    let names = disk.list(Path::new(DIR)).unwrap();
    let bytes: usize = names.iter().map(|name| disk.read(&Path::new(DIR).join(name)).unwrap().len()).sum();
    assert!((2_000..3_000).contains(&bytes), "{bytes} bytes");
}
