use super::*;
use crate::MemoryDisk;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Limit {
    volts: f64,
    name: String,
}

impl Record for Limit {
    const KIND: RecordKind = RecordKind::Rule;
    const VERSION: u8 = 2;

    fn migrate(version: u8, bytes: &[u8]) -> Result<Self, RecordError> {
        match version {
            // Limits had no names then.
            1 => Ok(Self { volts: decode_value(bytes)?, name: String::new() }),
            version => Err(RecordError::UnknownVersion { found: version }),
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct OldLimit(f64);

impl Record for OldLimit {
    const KIND: RecordKind = RecordKind::Rule;
    const VERSION: u8 = 1;
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct NewLimit;

impl Record for NewLimit {
    const KIND: RecordKind = RecordKind::Rule;
    const VERSION: u8 = 3;
}

fn limit(volts: f64) -> Limit {
    Limit { volts, name: "high".to_owned() }
}

fn change<T: Record>(key: &str, value: Option<&T>) -> RecordChange {
    let entry = RecordChange::entry(key, value, Timestamp::from_millis(0)).unwrap();
    let Entry::Record { change, .. } = entry else { panic!("{entry:?}") };
    change
}

const PATH: &str = "data/records";

#[test]
fn the_last_change_of_a_key_counts() {
    let records = Records::default();
    records.apply(Lsn(1), &change("a", Some(&limit(1.0))));
    records.apply(Lsn(2), &change("b", Some(&limit(2.0))));
    records.apply(Lsn(5), &change("a", Some(&limit(3.0))));
    records.apply(Lsn(6), &change::<Limit>("b", None));
    records.apply(Lsn(5), &change("a", Some(&limit(9.0))));
    assert_eq!(records.all::<Limit>().unwrap(), BTreeMap::from([("a".to_owned(), limit(3.0))]));
    assert_eq!(records.get::<Limit>("b").unwrap(), None);
}

#[test]
fn what_an_older_version_wrote_is_migrated_and_what_a_newer_one_wrote_is_named() {
    let records = Records::default();
    records.apply(Lsn(1), &change("old", Some(&OldLimit(3.5))));
    assert_eq!(records.get::<Limit>("old").unwrap(), Some(Limit { volts: 3.5, name: String::new() }));
    records.apply(Lsn(2), &change("new", Some(&NewLimit)));
    let error = records.get::<Limit>("new").unwrap_err().to_string();
    assert!(error.contains("Rule") && error.contains("new"), "{error}");
}

#[test]
fn a_snapshot_and_what_came_since_make_the_whole() {
    let (disk, path) = (MemoryDisk::default(), Path::new(PATH));
    let records = Records::default();
    records.apply(Lsn(3), &change("a", Some(&limit(1.0))));
    records.save(&disk, path, Lsn(7)).unwrap();
    let again = Records::load(&disk, path).unwrap();
    assert_eq!(again.covered(), Lsn(7));
    again.apply(Lsn(3), &change("a", Some(&limit(9.0))));
    again.apply(Lsn(8), &change("b", Some(&limit(2.0))));
    let all: Vec<_> = again.all::<Limit>().unwrap().into_values().map(|limit| limit.volts).collect();
    assert_eq!(all, [1.0, 2.0]);
}

#[test]
fn the_journal_is_kept_for_as_long_as_the_older_snapshot_needs_it() {
    let (disk, path) = (MemoryDisk::default(), Path::new(PATH));
    let records = Records::default();
    assert_eq!(records.floor(Lsn(9)), Lsn(9), "without records nothing is held back");
    records.apply(Lsn(3), &change("a", Some(&limit(1.0))));
    assert_eq!(records.floor(Lsn(9)), Lsn(0));
    records.save(&disk, path, Lsn(9)).unwrap();
    assert_eq!(records.floor(Lsn(9)), Lsn(0), "there is no older one yet");
    records.save(&disk, path, Lsn(10)).unwrap();
    assert_eq!(records.floor(Lsn(20)), Lsn(20));
}

#[test]
fn much_that_is_new_or_a_journal_that_is_held_back_makes_a_snapshot_due() {
    let (disk, path) = (MemoryDisk::default(), Path::new(PATH));
    let records = Records::default();
    records.apply(Lsn(1), &change("a", Some(&limit(1.0))));
    records.save_if_due(&disk, path, Lsn(2)).unwrap();
    assert_eq!(records.covered(), Lsn(0));
    records.save_if_due(&disk, path, Lsn(SNAPSHOT_ENTRIES)).unwrap();
    records.save_if_due(&disk, path, Lsn(SNAPSHOT_ENTRIES + 1)).unwrap();
    assert_eq!(records.floor(Lsn(SNAPSHOT_ENTRIES + 2)), Lsn(SNAPSHOT_ENTRIES + 2));
    let large = Limit { volts: 0.0, name: "x".repeat(usize::try_from(SNAPSHOT_BYTES).unwrap()) };
    records.apply(Lsn(SNAPSHOT_ENTRIES + 5), &change("a", Some(&large)));
    records.save_if_due(&disk, path, Lsn(SNAPSHOT_ENTRIES + 6)).unwrap();
    assert_eq!(records.covered(), Lsn(SNAPSHOT_ENTRIES + 6));
}

#[test]
fn a_damaged_snapshot_falls_back_to_the_one_before() {
    let (disk, path) = (MemoryDisk::default(), Path::new(PATH));
    let records = Records::default();
    records.apply(Lsn(1), &change("a", Some(&limit(1.0))));
    records.save(&disk, path, Lsn(1)).unwrap();
    records.apply(Lsn(2), &change("a", Some(&limit(2.0))));
    records.save(&disk, path, Lsn(2)).unwrap();
    disk.flip(path, 30).unwrap();
    let again = Records::load(&disk, path).unwrap();
    assert_eq!(again.covered(), Lsn(1));
    again.apply(Lsn(2), &change("a", Some(&limit(2.0))));
    assert_eq!(again.get::<Limit>("a").unwrap(), Some(limit(2.0)));
    again.save(&disk, path, Lsn(3)).unwrap();
    disk.flip(path, 30).unwrap();
    disk.flip(&older(path), 30).unwrap();
    let error = Records::load(&disk, path).unwrap_err().to_string();
    assert!(error.contains(PATH) && error.contains("restore it"), "{error}");
}
