//! Journal, head and store together against a model that is a map: whatever is killed, lost or repeated, and wherever
//! the power is cut, the ledger balances and the values are those of the highest origins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::{JournalOptions, JournalSlot};

const DEVICES: [&str; 3] = ["a", "b", "c"];
const METRICS: [&str; 3] = ["u", "v", "w"];

#[derive(Debug, Clone)]
enum Step {
    Read {
        device: usize,
        millis: i64,
        metrics: Vec<usize>,
    },
    Reject {
        device: Option<usize>,
    },
    DeadLetter {
        device: usize,
    },
    /// The last entries are offered again, as by a sender that never heard the answer.
    Repeat {
        entries: usize,
    },
    Seal {
        devices: Vec<usize>,
        days: i64,
    },
    /// Hours and days that are over by then get their rollups.
    Maintain {
        days: i64,
        budget: usize,
    },
    /// The store seals, but the aggregator never hears of it.
    SealUnheard {
        devices: Vec<usize>,
    },
    /// The store's next sync fails: rows may be there, the checkpoint is not.
    SealFails,
    KillAggregator,
    Prune,
    Restart,
    /// The checkpoint file is found damaged at a restart, and the one before it has to do.
    DamageCheckpoint,
    PowerCut {
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let hour = 3_600_000_i64;
    let millis = prop_oneof![
        4 => (0..6_i64).prop_map(|n| n * 1_000),
        1 => (0..4_i64).prop_map(move |n| n * hour),
        1 => (-3..3_i64).prop_map(move |n| n * 24 * hour + 7),
    ];
    let devices = || vec(0..DEVICES.len(), 1..3);
    prop_oneof![
        12 => (0..DEVICES.len(), millis, vec(0..METRICS.len(), 0..4))
            .prop_map(|(device, millis, metrics)| Step::Read { device, millis, metrics }),
        1 => proptest::option::of(0..DEVICES.len()).prop_map(|device| Step::Reject { device }),
        1 => (0..DEVICES.len()).prop_map(|device| Step::DeadLetter { device }),
        1 => (1..4_usize).prop_map(|entries| Step::Repeat { entries }),
        3 => (devices(), -2..5_i64).prop_map(|(devices, days)| Step::Seal { devices, days }),
        2 => (-2..5_i64, 1..30_usize).prop_map(|(days, budget)| Step::Maintain { days, budget }),
        2 => devices().prop_map(|devices| Step::SealUnheard { devices }),
        1 => Just(Step::SealFails),
        2 => Just(Step::KillAggregator),
        1 => Just(Step::Prune),
        1 => Just(Step::Restart),
        1 => Just(Step::DamageCheckpoint),
        2 => any::<u64>().prop_map(|seed| Step::PowerCut { seed }),
    ]
}

/// A node, and beside it what it should know.
struct World {
    machine: Machine,
    running: Option<(Node, Arc<JournalSlot>)>,
    head: Head,
    entries: Vec<Entry>,
    sequences: BTreeMap<usize, u64>,
}

impl World {
    fn new() -> Self {
        let machine = Machine::new();
        let head = Head::new(BTreeMap::new(), None);
        let mut world =
            Self { machine, running: None, head, entries: Vec::new(), sequences: BTreeMap::new() };
        world.start();
        world
    }

    fn start(&mut self) {
        self.running = None;
        let store = self.machine.open();
        let options = JournalOptions {
            segment_bytes: 600,
            tail_entries: 4,
            keep_bytes: 0,
            sync_interval: Duration::ZERO,
            ..JournalOptions::default()
        };
        let disk = Arc::new(self.machine.disk.clone());
        let journal = JournalSlot::open(disk, Path::new("data/journal"), options, store.positions()).unwrap();
        self.running = Some((store, journal));
        self.replay();
    }

    fn store(&self) -> &Store {
        &self.running.as_ref().unwrap().0
    }

    fn journal(&self) -> &JournalSlot {
        &self.running.as_ref().unwrap().1
    }

    /// What a new aggregator does: checkpoint, then the journal.
    fn replay(&mut self) {
        let (devices, node) = self.store().checkpoints();
        self.head = Head::new(devices, Some(node));
        self.catch_up(self.store().replay_from());
    }

    fn catch_up(&mut self, mut from: Lsn) {
        loop {
            let batch = self.journal().read(from, 3).unwrap();
            let Some((last, _)) = batch.last() else { break };
            from = *last;
            batch.iter().for_each(|(lsn, entry)| self.head.apply(*lsn, entry));
        }
    }

    fn append(&mut self, entries: Vec<Entry>) {
        let from = self.journal().committed();
        let (sender, answer) = mpsc::channel();
        let done = Box::new(move |result| sender.send(result).unwrap_or_default());
        let stop = AtomicBool::new(false);
        let journal = self.journal();
        std::thread::scope(|scope| {
            scope.spawn(|| journal.run(&stop).unwrap());
            journal.append(entries, done);
            answer.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
            stop.store(true, std::sync::atomic::Ordering::Release);
            journal.wake();
        });
        self.catch_up(from);
    }

    fn origin(&mut self, device: usize) -> Origin {
        let sequence = self.sequences.entry(device).or_default();
        *sequence += 1;
        Origin { epoch: 0, sequence: *sequence }
    }

    fn add(&mut self, entry: Entry) {
        self.entries.push(entry.clone());
        self.append(vec![entry]);
    }

    fn jobs(&self, devices: &[usize], now: Timestamp) -> Vec<SealJob> {
        let devices: BTreeSet<_> = devices.iter().collect();
        devices.into_iter().filter_map(|device| self.head.seal_job(&id(*device), now)).collect()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Read { device, millis, metrics } => {
                let origin = self.origin(device);
                #[expect(clippy::cast_precision_loss, reason = "a test has few entries")]
                let value = if millis % 2_000 == 0 { -1.0 } else { 0.1 } * origin.sequence as f64;
                let values: Vec<_> = metrics.iter().map(|metric| (METRICS[*metric], value)).collect();
                self.add(reading(DEVICES[device], origin.sequence, millis, &values));
            }
            Step::Reject { device } => {
                let origin = device.map(|device| self.origin(device));
                let (reason, detail) = (RejectReason::BadValue, String::new());
                self.add(Entry::Rejected { device: device.map(id), origin, at: at(0), reason, detail });
            }
            Step::DeadLetter { device } => {
                let origin = self.origin(device);
                let cause = "it panicked".to_owned();
                self.add(Entry::DeadLettered { device: id(device), origin, at: at(0), cause });
            }
            Step::Repeat { entries } => {
                let again = self.entries.iter().rev().take(entries).rev();
                // What has no origin can't be told from a repetition, so nobody repeats it.
                let again = again.filter(|entry| entry.origin().is_some()).cloned().collect();
                self.append(again);
            }
            Step::Seal { devices, days } => {
                for outcome in self.store().seal(self.jobs(&devices, at_day(days))).unwrap() {
                    self.head.sealed(outcome);
                }
            }
            Step::Maintain { days, budget } => {
                self.store().maintain(at_day(days), budget).unwrap();
            }
            Step::SealUnheard { devices } => drop(self.store().seal(self.jobs(&devices, at_day(3))).unwrap()),
            Step::SealFails => {
                self.machine.disk.fail_syncs(1);
                self.store().seal(self.head.seal_jobs(at(0), true)).ok();
                self.machine.disk.fail_syncs(0);
            }
            Step::KillAggregator => self.replay(),
            Step::Prune => self.journal().prune(self.store().prune_lsn()).unwrap(),
            Step::Restart => self.start(),
            Step::DamageCheckpoint => {
                let path = self.store().checkpoint_path.clone();
                if self.store().saved.read().older.is_some() {
                    self.machine.disk.flip(&path, 30).unwrap();
                }
                self.start();
            }
            Step::PowerCut { seed } => {
                self.running = None;
                let mut state = seed;
                let mut keep = || {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    state >> 63 == 0
                };
                self.machine.disk.power_cut(&mut keep);
                self.machine.engine.power_cut(keep);
                self.start();
            }
        }
    }

    /// Every value that some reading gave, by the highest origin that gave it.
    fn expected(&self, device: usize, metric: &str) -> Vec<(i64, f64)> {
        let mut values = BTreeMap::new();
        for entry in &self.entries {
            if let Entry::Reading { reading, .. } = entry
                && reading.device == id(device)
                && let Some(found) = reading.metrics.iter().find(|found| found.name.as_str() == metric)
            {
                values.insert(reading.at.as_millis(), found.value);
            }
        }
        values.into_iter().collect()
    }

    /// Readings by whether they were the first of their moment or brought a series that was missing.
    fn expected_counts(&self, device: usize) -> (u64, u64) {
        let mut moments: BTreeMap<Timestamp, BTreeSet<&MetricName>> = BTreeMap::new();
        let mut counts = (0, 0);
        for entry in &self.entries {
            let Entry::Reading { reading, .. } = entry else { continue };
            if reading.device != id(device) {
                continue;
            }
            let is_first = !moments.contains_key(&reading.at);
            let known = moments.entry(reading.at).or_default();
            let before = known.len();
            known.extend(reading.metrics.iter().map(|metric| metric.name));
            if is_first || known.len() > before { counts.0 += 1 } else { counts.1 += 1 }
        }
        counts
    }

    /// Whatever of it is open, sealed or in rollups: the answers are those that the samples alone would give, bit by bit.
    fn check_intervals(&self) {
        let nothing_stored = Machine::new().open();
        for (device, metric) in (0..DEVICES.len()).zip(METRICS) {
            let (owner, metric) = (id(device), name(metric));
            let all = self.expected(device, metric.as_str()).into_iter();
            let all: Vec<_> = all.map(|(millis, value)| point(millis, value)).collect();
            let open = self.head.open_points(&owner, &metric, at(i64::MIN), at(i64::MAX));
            for (from, to, width) in RANGES {
                let edges = aligned_edges(at(from), at(to), width).unwrap();
                let ask = |store: &Store, open: &[SeriesPoint]| {
                    store.intervals(&owner, &metric, &edges, open.to_vec(), &Cancel::default()).unwrap()
                };
                assert_eq!(
                    format!("{:?}", ask(self.store(), &open)),
                    format!("{:?}", ask(&nothing_stored, &all))
                );
            }
        }
    }

    fn check_at_rest(&mut self) {
        for outcome in self.store().seal(self.head.seal_jobs(at(0), true)).unwrap() {
            self.head.sealed(outcome);
        }
        for (index, name) in DEVICES.into_iter().enumerate() {
            let ledger = self.head.ledger(&id(index));
            let appended = self.entries.iter().filter(|entry| entry.device() == Some(&id(index))).count();
            assert_eq!(ledger.received(), u64::try_from(appended).unwrap());
            assert_eq!(ledger.pending, 0);
            assert_eq!((ledger.stored, ledger.duplicate), self.expected_counts(index));
            for metric in METRICS {
                assert_eq!(values(self.store(), name, metric), self.expected(index, metric));
            }
        }
        let nobodys = self.entries.iter().filter(|entry| entry.device().is_none()).count();
        assert_eq!(self.head.node_ledger().received(), u64::try_from(nobodys).unwrap());
    }
}

/// In milliseconds: from, to, width.
const RANGES: [(i64, i64, i64); 4] = [
    (-4 * 86_400_000, 4 * 86_400_000, 86_400_000),
    (-86_400_000, 2 * 86_400_000 + 1_234, 3 * 3_600_000),
    (2_000, 10_900_000, 60_000),
    (-100_000, 3_601_500, 1_500_000),
];

fn at_day(days: i64) -> Timestamp {
    at(days * 86_400_000 + 300_000)
}

fn point(millis: i64, value: f64) -> SeriesPoint {
    SeriesPoint { at: at(millis), value, unit: None, origin: Origin { epoch: 0, sequence: 1 } }
}

fn id(index: usize) -> DeviceId {
    device(DEVICES[index])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn nothing_acknowledged_is_lost_or_counted_twice(steps in vec(step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.check_intervals();
        world.check_at_rest();
        world.check_intervals();
        world.start();
        world.check_at_rest();
        while world.store().maintain(at_day(30), 5).unwrap() {}
        world.check_intervals();
        world.check_at_rest();
    }
}
