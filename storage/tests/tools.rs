//! What operators do to a data directory that no node has: look it over, make it small, bring it up to date. The
//! directory is one that version 0.1.0 wrote.

#![expect(clippy::unwrap_used, reason = "helpers fail as tests do")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use voltree_model::{DeviceId, Timestamp};
use voltree_storage::{
    DataDir, Depth, Error, Inspection, RealDisk, Rewrite, Store, inspect, read_ledgers, recount,
};

/// A day after the fixture's readings.
const NOW: Timestamp = Timestamp::from_millis(1_795_312_000_000);

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

fn fixture() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    copy(Path::new("tests/fixtures/data-0.1.0"), temp.path());
    temp
}

fn look(path: &Path) -> Inspection {
    let data = DataDir::open(path).unwrap();
    inspect(&data, Depth::Values, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn counted(path: &Path) -> BTreeMap<DeviceId, u64> {
    let data = DataDir::open(path).unwrap();
    let ids: Vec<_> = read_ledgers(&data).unwrap().into_keys().flatten().collect();
    recount(&data, &ids, &mut |_, _| {}).unwrap().stored
}

fn rewrite(path: &Path, what: Rewrite) -> voltree_storage::Compacted {
    let data = DataDir::open(path).unwrap();
    let store = Store::open(&data, Arc::new(RealDisk)).unwrap();
    store.rewrite(what, NOW, &mut |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn a_sound_directory_is_counted_and_nothing_is_damaged() {
    let temp = fixture();
    let found = look(temp.path());
    assert!(found.is_sound(), "{:?}", found.damages);
    assert!(found.journal.entries > 0 && found.journal.last >= found.journal.entries, "{:?}", found.journal);
    let raw = found.levels.first().unwrap().total();
    assert_eq!(raw.rows, counted(temp.path()).values().sum::<u64>());
    assert!(raw.samples >= raw.rows && raw.old_parts == raw.parts, "{raw:?}");
}

#[test]
fn old_frames_are_migrated_once_and_buckets_are_made_small_without_a_change_to_what_they_hold() {
    let temp = fixture();
    let before = counted(temp.path());
    let migrated = rewrite(temp.path(), Rewrite::OldFrames);
    assert!(migrated.migrated_frames > 0, "{migrated:?}");
    assert_eq!(rewrite(temp.path(), Rewrite::OldFrames).migrated_frames, 0);
    rewrite(temp.path(), Rewrite::Everything);
    let found = look(temp.path());
    assert!(found.is_sound(), "{:?}", found.damages);
    assert_eq!(found.levels.first().unwrap().total().old_parts, 0);
    assert!(
        found.levels.iter().skip(1).all(|level| level.total().parts > 0),
        "rollups that were due are there"
    );
    assert_eq!(counted(temp.path()), before);
}

#[test]
fn whoever_watches_can_end_it_between_two_buckets() {
    let temp = fixture();
    let data = DataDir::open(temp.path()).unwrap();
    let told = inspect(&data, Depth::Checksums, &mut |_| ControlFlow::Break(()));
    assert!(matches!(told, Err(Error::Cancelled)), "{told:?}");
    let store = Store::open(&data, Arc::new(RealDisk)).unwrap();
    let told = store.rewrite(Rewrite::Everything, NOW, &mut |_| ControlFlow::Break(()));
    assert!(matches!(told, Err(Error::Cancelled)), "{told:?}");
}

/// Flips a bit wherever the bytes say `mark`, some bytes further on: an engine may have written a frame twice.
fn flip(file: &Path, mark: &[u8], further: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    let marks = bytes.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark);
    for at in marks.map(|(at, _)| at).collect::<Vec<_>>() {
        bytes[at + further] ^= 4;
    }
    std::fs::write(file, bytes).unwrap();
}

fn holding(dir: &Path, mark: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, mark));
        } else if std::fs::read(&path).unwrap().windows(mark.len()).any(|window| window == mark) {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_flipped_byte_is_named_unless_the_engine_forgets_what_it_was_in_which_the_count_tells() {
    let cases: [(&str, &[u8], usize, &str); 3] = [
        ("journal", b"VOLTJRNL", 60, "the journal"),
        ("checkpoint", b"VOLTSNAP", 40, "checkpoint"),
        ("buckets/raw", b"VTFR", 40, "buckets/raw/"),
    ];
    for (place, mark, further, named) in cases {
        let temp = fixture();
        let place = temp.path().join(place);
        let files = if place.is_dir() { holding(&place, mark) } else { vec![place] };
        assert!(!files.is_empty(), "{named} has no {mark:?}");
        files.iter().for_each(|file| flip(file, mark, further));
        let found = look(temp.path());
        // Of a record at the end of its log that does not match, sled thinks that it was never finished.
        let forgotten = named == "buckets/raw/" && counted(temp.path()) != counted(fixture().path());
        let told = found.damages.iter().any(|damage| damage.what.contains(named));
        assert!(told || forgotten, "{named}: {:?}", found.damages);
    }
}
