//! The power fails while a process writes: nothing that it acknowledged is lost, and all of it opens again.
//!
//! The process writes through `shim.c`, which says what it dropped; a round in which it dropped nothing fails. The control
//! writes through the same shim deaf to every sync: then acknowledged readings must be missing, or the rounds prove nothing.
//! `VOLTREE_POWER_CUT_ROUNDS` asks for more of them.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use super::*;

const ROUNDS: u64 = 4;
/// How often the power fails in a round before all is counted.
const CUTS: u64 = 2;
/// So large that snapshots of the records are taken, too.
const RECORD_BYTES: usize = 2_000;
/// How large those are of which there are many kinds.
const SMALL_BYTES: usize = 200;
/// How many operations a process gets at most before its power fails.
const MOST_OPERATIONS: u64 = 900;

static BUILT: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let temp = tempfile::tempdir().unwrap();
    let library = temp.path().join("power_cut.so");
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg("tests/power_cut/shim.c");
    let compiled = compiler.args(["-ldl", "-lpthread"]).status().expect("a C compiler is there");
    assert!(compiled.success(), "the shim compiles");
    (temp, library)
});

/// The number of a batch's last reading: a record of each kind that a node keeps, which is written over; and of one kind
/// one that stays, and one that is taken away by the next.
macro_rules! kinds {
    ($($kind:ident),*) => {
        $(
            #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
            struct $kind(u64, Vec<u8>);

            impl Record for $kind {
                const KIND: RecordKind = RecordKind::$kind;
                const VERSION: u8 = 1;
            }
        )*

        /// Says the number in the one record of every kind.
        fn in_every_kind(last: u64) -> Vec<Entry> {
            vec![$(record("last", $kind(last, vec![7; SMALL_BYTES]))),*]
        }

        /// What the record of each kind says.
        fn of_every_kind(records: &voltree_storage::Records) -> Vec<u64> {
            vec![$(records.get::<$kind>("last").unwrap().map_or(0, |last| last.0)),*]
        }
    };
}

kinds!(
    Migration,
    RetainedMessage,
    Session,
    DeadLetter,
    Device,
    Alert,
    Event,
    Admission,
    Judgement,
    SessionMessage
);

fn record<T: Record>(key: &str, value: T) -> Entry {
    RecordChange::entry(key, Some(&value), Timestamp::from_millis(0)).unwrap()
}

/// The records of a batch.
fn records(last: u64, previous: u64) -> Vec<Entry> {
    let (fleeting, now) = (|n| format!("fleeting-{n:08}"), Timestamp::from_millis(0));
    let mut entries = in_every_kind(last);
    entries.extend([
        record(&format!("{last:08}"), RetainedMessage(last, vec![7; RECORD_BYTES])),
        record(&fleeting(last), Event(last, vec![7; SMALL_BYTES])),
        RecordChange::entry::<Event>(&fleeting(previous), None, now).unwrap(),
    ]);
    entries
}

/// What a process said before its power failed.
#[derive(Debug)]
struct Cut {
    acknowledged: u64,
    dropped: u64,
}

/// Writes to `data` until the power fails, in the round's own way.
fn cut(test: &str, temp: &Path, seed: u64, deaf: bool) -> Cut {
    let (data, graveyard) = (temp.join("data"), temp.join(format!("graveyard-{seed}")));
    std::fs::create_dir_all(&data).unwrap();
    std::fs::create_dir_all(&graveyard).unwrap();
    // A number that looks like none of its neighbours', so that every stage of a life is hit.
    let operations = 1 + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % MOST_OPERATIONS;
    let mut command = child_command(test, &data);
    command.env("LD_PRELOAD", &BUILT.1).env("POWERCUT_ROOT", &data).env("POWERCUT_GRAVEYARD", &graveyard);
    command.env("POWERCUT_AFTER", operations.to_string()).env("POWERCUT_SEED", seed.to_string());
    if deaf {
        command.env("POWERCUT_DEAF", "1");
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let said = std::thread::spawn(move || {
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        lines.filter_map(|line| line.rsplit_once("acknowledged ")?.1.parse().ok()).last()
    });
    let mut complaints = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    let (status, acknowledged) = (child.wait().unwrap(), said.join().unwrap());
    let dropped =
        complaints.rsplit_once("dropped=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    assert!(status.code() == Some(137) && dropped.is_some(), "seed {seed}: {status:?}, {complaints}");
    Cut { acknowledged: acknowledged.unwrap_or_default(), dropped: dropped.unwrap_or_default() }
}

/// Rebuilds what is damaged, as a node does when it finds it.
fn rebuild(node: &Node) {
    for day in node.store.damaged_days() {
        let mut after = Lsn(0);
        loop {
            let entries = node.journal.read(after, 1_000).unwrap();
            let Some((last, _)) = entries.last() else { break };
            after = *last;
            node.store.rebuild(day, &entries, SEALED_AT).unwrap();
        }
        node.store.rebuilt(day).unwrap();
    }
}

/// How many of the readings from 1 on are there after all that can be rebuilt was rebuilt, and what the records say.
fn count(data: &Path) -> (u64, u64) {
    let mut node = Node::open(data);
    let all = node.journal.records();
    let lasts = of_every_kind(&all);
    let records = all.all::<RetainedMessage>().unwrap();
    let mut numbered: Vec<_> = records.iter().filter(|(key, _)| *key != "last").collect();
    numbered.sort();
    assert!(numbered.iter().all(|(key, last)| key.parse() == Ok(last.0)));
    let last = lasts.iter().copied().min().unwrap_or(0);
    // A batch that was cut short leaves its own, and never takes away the one before.
    let fleeting = all.count::<Event>().saturating_sub(1) as u64;
    assert!(fleeting <= 2 + CUTS, "{fleeting} are there of which only the last should be");
    // A batch that nobody was told of may be there in part.
    assert!(
        numbered.last().is_none_or(|(_, other)| other.0 <= lasts[1]),
        "{lasts:?} and {:?}",
        numbered.last()
    );
    node.stored_times();
    rebuild(&node);
    node.seal();
    let ledger = node.head.ledger(&device());
    let there: BTreeSet<_> = node.stored_times().into_iter().collect();
    let missing: Vec<_> = (1..=ledger.stored).filter(|n| !there.contains(&millis(*n))).collect();
    let events = node.store.take_events();
    let ends = (missing.first(), missing.last());
    assert!(missing.is_empty(), "{} of {ledger:?} are missing, {ends:?}; {events:?}", missing.len());
    assert_eq!(there.len() as u64 + ledger.pending, ledger.stored);
    (ledger.stored, last)
}

/// Batches of readings under load, sealed now and then, each said to be acknowledged once it is.
fn write_until_cut(path: &Path) -> ! {
    let mut node = Node::open(path);
    let first = node.journal.last_origin(&device()).map_or(1, |origin| origin.sequence + 1);
    node.writing(|node| {
        let (mut next, mut before) = (first, first - 1);
        loop {
            let batch = 1 + next % 13;
            let mut entries: Vec<_> = (next..next + batch).map(reading).collect();
            next += batch;
            entries.extend(records(next - 1, std::mem::replace(&mut before, next - 1)));
            node.append(entries);
            node.store.save_records().unwrap();
            println!("acknowledged {}", next - 1);
            node.catch_up();
            if next.is_multiple_of(5) {
                node.seal();
            }
        }
    })
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    if let Some(path) = std::env::var_os(CHILD) {
        write_until_cut(Path::new(&path));
    }
    let rounds = std::env::var("VOLTREE_POWER_CUT_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    let (mut dropped, mut acknowledged) = (0, 0);
    for round in 0..rounds {
        let temp = tempfile::tempdir().unwrap();
        let mut promised = 0;
        for seed in round * CUTS + 1..=(round + 1) * CUTS {
            let cut =
                cut("power_cut::a_power_cut_loses_nothing_that_was_acknowledged", temp.path(), seed, false);
            assert!(cut.dropped > 0, "seed {seed}: a cut that drops nothing proves nothing");
            promised = promised.max(cut.acknowledged);
            dropped += cut.dropped;
        }
        let (readings, records) = count(&temp.path().join("data"));
        let there = readings.min(records);
        assert!(there >= promised, "round {round}: {readings} and {records}, {promised} were acknowledged");
        acknowledged += promised;
    }
    println!("{rounds} rounds, {dropped} sectors and names dropped, {acknowledged} readings acknowledged");
    assert!(acknowledged > 0);
}

#[test]
fn without_syncs_a_power_cut_does_lose_what_was_acknowledged() {
    if let Some(path) = std::env::var_os(CHILD) {
        write_until_cut(Path::new(&path));
    }
    let lost = (1..=6_u64).any(|seed| {
        let temp = tempfile::tempdir().unwrap();
        let test = "power_cut::without_syncs_a_power_cut_does_lose_what_was_acknowledged";
        let cut = cut(test, temp.path(), seed, true);
        let there = std::panic::catch_unwind(|| count(&temp.path().join("data")));
        // What does not even open is lost too.
        there.map_or(true, |(readings, _)| readings < cut.acknowledged)
    });
    assert!(lost, "the rounds could not notice a loss");
}
