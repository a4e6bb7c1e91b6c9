//! A byte that changes in any file of a bucket: it is noticed, named, and made good from the journal; the days beside it
//! answer all the while.

use super::*;

/// As many numbers that can't be packed as sled needs to be given any.
const METRICS: u32 = 24;
const ROWS_AN_HOUR: u64 = 150;
/// How many bytes of each file are turned, one at a time. `VOLTREE_FLIPPED_BYTES` asks for more.
const PLACES: usize = 8;
const DAY: i64 = 86_400_000;
const BUCKET: &str = "buckets/raw/1970-01-02";
/// How a tail ends that was closed: length, checksum, and a count of nothing.
const MARK_BYTES: usize = 12;

fn noisy(sequence: u64) -> Entry {
    let metric = |n: u32| {
        let mixed = (sequence * 31 + u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = f64::from_bits((mixed >> 12) | 0x3ff0_0000_0000_0000);
        let name = if n == 0 { voltage() } else { MetricName::new(format!("noise_{n}")).unwrap() };
        Metric { name, value, unit: None }
    };
    let step = 3_600_000 / i64::try_from(ROWS_AN_HOUR).unwrap();
    let at = Timestamp::from_millis(DAY + i64::try_from(sequence).unwrap() * step);
    let metrics = (0..METRICS).map(metric).collect();
    let reading = Reading { device: device(), at, metrics, attributes: Vec::new(), left_out: Vec::new() };
    Entry::Reading { origin: Origin { epoch: 0, sequence }, reading: reading.into() }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What is asked of the store: every value of a metric with its time, if it answers.
fn answer(node: &Node) -> Result<Vec<(i64, u64)>, voltree_storage::Error> {
    let (from, to) = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
    let points = node.store.points(&device(), &voltage(), from, to, usize::MAX)?;
    Ok(points.iter().map(|point| (point.at.as_millis(), point.value.to_bits())).collect())
}

fn is_of_other_days(at: i64) -> bool {
    !(DAY..2 * DAY).contains(&at)
}

/// What a node does by itself: it asks, and rebuilds what is damaged.
fn heal(node: &Node) {
    for day in node.store.damaged_days() {
        let entries = node.journal.read(Lsn(0), 100_000).unwrap();
        node.store.rebuild(day, &entries, SEALED_AT).unwrap();
        node.store.rebuilt(day).unwrap();
    }
}

#[derive(Debug, PartialEq)]
enum Flipped {
    Harmless,
    Noticed,
}

/// Turns a byte in a copy of a node that was closed, and lets it heal: what makes a difference must be told by name.
fn flip(whole: &Path, name: &Path, at: usize, before: &[(i64, u64)]) -> Flipped {
    let temp = tempfile::tempdir().unwrap();
    copy(whole, temp.path());
    let damaged = temp.path().join(name);
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[at] ^= 0x55;
    std::fs::write(&damaged, bytes).unwrap();

    let what = format!("byte {at} of {}", name.display());
    let node = Node::open(temp.path());
    let first = answer(&node);
    let others = |answer: &[(i64, u64)]| answer.iter().filter(|(at, _)| is_of_other_days(*at)).count();
    if let Ok(first) = &first {
        assert_eq!(others(first), others(before), "{what}");
    }
    heal(&node);
    let events = node.store.take_events();
    let healed = answer(&node).unwrap();
    if healed != before {
        let in_values = name.ends_with("values");
        let (healed, before) = (healed.len(), before.len());
        assert!(in_values && !events.is_empty(), "{what}: {healed} of {before}, {events:?}");
    }
    let is_harmless = first.is_ok_and(|first| first == before);
    assert!(is_harmless || !events.is_empty(), "{what} is told by name");
    if is_harmless { Flipped::Harmless } else { Flipped::Noticed }
}

/// A node with readings of a little more than a day, sealed; what it answers.
fn sealed(path: &Path, sequences: impl Iterator<Item = u64>) -> (Node, Vec<(i64, u64)>) {
    let mut node = Node::open(path);
    node.writing(|node| node.append(sequences.map(noisy).collect()));
    node.catch_up();
    node.seal();
    let answers = answer(&node).unwrap();
    (node, answers)
}

/// The last record of a tail is what a torn write looks like too: it must not be taken for one.
#[test]
fn a_flipped_byte_in_the_last_record_of_a_tail_is_named_and_made_good() {
    let whole = tempfile::tempdir().unwrap();
    // Never closed: what is flipped and opened are copies of what a kill would leave.
    let (_node, before) = sealed(whole.path(), (1..=30 * ROWS_AN_HOUR).step_by(90));
    let name = Path::new(BUCKET).join("tail");
    let size = usize::try_from(std::fs::metadata(whole.path().join(&name)).unwrap().len()).unwrap();
    let last_bytes = (size - 40..size).chain((0..size - 40).step_by(size / 12));
    let flipped: Vec<_> = last_bytes.map(|at| flip(whole.path(), &name, at, &before)).collect();
    let harmless = flipped.iter().filter(|flipped| **flipped == Flipped::Harmless).count();
    assert_eq!(harmless, MARK_BYTES, "only the mark at its end says nothing");
}

#[test]
fn a_flipped_byte_in_any_file_of_a_bucket_is_named_and_made_good() {
    let places = std::env::var("VOLTREE_FLIPPED_BYTES");
    let places = places.map_or(PLACES, |places| places.parse().expect("a number of bytes"));
    let whole = tempfile::tempdir().unwrap();
    // The rest of its hours lies in the days beside it.
    let (node, before) = sealed(whole.path(), 1..=30 * ROWS_AN_HOUR);
    drop(node);
    assert_eq!(before.len(), 4_500);

    let mut noticed = BTreeMap::<String, usize>::new();
    for file in files(&whole.path().join(BUCKET)) {
        let size = usize::try_from(std::fs::metadata(&file).unwrap().len()).unwrap();
        let name = file.strip_prefix(whole.path()).unwrap();
        let made_a_difference = (0..places.min(size))
            .filter(|place| flip(whole.path(), name, size * place / places, &before) == Flipped::Noticed)
            .count();
        noticed.insert(name.display().to_string(), made_a_difference);
    }
    println!("bytes that made a difference, by file: {noticed:?}");
    assert!(noticed.values().sum::<usize>() > places, "{noticed:?}");
}
