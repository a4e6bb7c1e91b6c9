//! The measurements themselves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use rustix::time::{ClockId, clock_gettime};
use voltree_model::Timestamp;
use voltree_runtime::clock;
use voltree_storage::{Cancel, aligned_edges};

use super::Sizes;
use super::mini_node::MiniNode;
use super::workload::{BEGIN_MS, Battery, METRICS};
use super::{socket, week};
use crate::account::Account;
use crate::bench::peers::Peer;

/// How many seconds of each device are taken in at once.
pub(super) const STEP_S: u32 = 60;
pub(super) const HOUR_MS: i64 = 3_600_000;
/// How often a question is asked; its median counts.
const ASKED: usize = 15;
/// A small site that is mostly at rest.
const SPARSE_DEVICES: u32 = 20;
const SPARSE_PERIOD_S: u32 = 5;
const MIB: f64 = 1_048_576.0;
/// What ingest in process takes.
const INGEST: &str = "processor time of ingest";

/// One result.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    /// What the value should reach, or stay below.
    pub(super) bar: Option<f64>,
}

/// Where the data is; removed afterwards unless somebody chose the place.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    is_ours: bool,
}

impl Place {
    /// A chosen directory, or one of our own beside the system's temporary files.
    pub(super) fn new(chosen: Option<&Path>) -> anyhow::Result<Self> {
        let ours = || std::env::temp_dir().join(format!("voltree-bench-{}", std::process::id()));
        let place = Self { root: chosen.map_or_else(ours, Path::to_owned), is_ours: chosen.is_none() };
        std::fs::create_dir_all(&place.root).context("creating the directory of the measurement")?;
        Ok(place)
    }

    pub(super) fn fresh(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.root.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_ours {
            // What is left is only a nuisance.
            std::fs::remove_dir_all(&self.root).ok();
        }
    }
}

/// Wall and processor time of some pieces of work.
#[derive(Debug, Default, Clone, Copy)]
struct Spent {
    wall: Duration,
    processor: Duration,
}

impl Spent {
    fn time<T>(&mut self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let (wall, processor) = (clock::monotonic(), processor_time());
        let done = work();
        self.wall += wall.elapsed();
        self.processor += processor_time().saturating_sub(processor);
        done
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// Ingest, and what it takes on disk and in memory.
    Fleet,
    /// Questions about one device.
    History,
    /// Opening after a stop without order.
    Restart,
    /// What a small site that is mostly at rest writes.
    Sparse,
    /// Ingest as line protocol over a socket, by a node in a process of its own.
    Socket,
    /// Memory day by day through a week; only when asked for, as it takes long.
    Week,
}

/// All of it but the week, or only some parts, one after the other.
pub(super) fn all(place: &Place, sizes: Sizes, only: &[Part], peers: bool) -> anyhow::Result<Vec<Figure>> {
    let is_wanted = |part: Part| only.is_empty() || only.contains(&part);
    let mut figures = Vec::new();
    if is_wanted(Part::Fleet) {
        figures.extend(fleet(place, sizes)?);
    }
    if is_wanted(Part::History) {
        figures.extend(history(place, sizes)?);
    }
    if is_wanted(Part::Restart) {
        figures.extend(restart(place, sizes)?);
    }
    if is_wanted(Part::Sparse) {
        figures.push(sparse(place, sizes)?);
    }
    if is_wanted(Part::Socket) || peers {
        figures.extend(socket::measure(place, sizes, peers)?);
    }
    figures.extend(in_process_ratio(&figures));
    if only.contains(&Part::Week) {
        figures.extend(week::measure(place, sizes)?);
    }
    figures.push(figure("resident memory, peak of the whole run", memory("VmHWM")?, "MiB", Some(200.0)));
    Ok(figures)
}

/// What ingest in process takes of what VictoriaMetrics takes over a socket, if both were measured.
fn in_process_ratio(figures: &[Figure]) -> Option<Figure> {
    let value = |name: &str| figures.iter().find(|figure| figure.name == name).map(|figure| figure.value);
    let theirs = value(&socket::processor_time_of(Peer::VictoriaMetrics))?;
    let name = format!("ours in process, of {}'s", Peer::VictoriaMetrics.name());
    Some(figure(name, value(INGEST)? / theirs, "", Some(0.25)))
}

pub(super) fn figure(name: impl Into<String>, value: f64, unit: &'static str, bar: Option<f64>) -> Figure {
    Figure { name: name.into(), value, unit, bar }
}

/// Takes `seconds` of some batteries in, as fast as it goes.
fn feed(node: &mut MiniNode, batteries: &mut [Battery], seconds: u32) -> anyhow::Result<Spent> {
    let mut spent = Spent::default();
    let mut now = BEGIN_MS;
    for step in 0..seconds / STEP_S {
        let batch = |battery: &mut Battery| (0..STEP_S).map(|_| battery.entry()).collect();
        let batches = batteries.iter_mut().map(batch).collect();
        now = BEGIN_MS + i64::from((step + 1) * STEP_S) * 1_000;
        spent.time(|| {
            node.take_in(batches)?;
            node.seal(Timestamp::from_millis(now), false)?;
            node.store.maintain(Timestamp::from_millis(now), 64)?;
            Ok(())
        })?;
    }
    let end = Timestamp::from_millis(now + 2 * HOUR_MS);
    spent.time(|| {
        node.seal(end, true)?;
        while node.store.maintain(end, 256)? {}
        Ok(())
    })?;
    Ok(spent)
}

fn fleet(place: &Place, sizes: Sizes) -> anyhow::Result<Vec<Figure>> {
    let path = place.fresh("fleet")?;
    let mut node = MiniNode::open(&path)?;
    let mut batteries: Vec<_> = (0..sizes.devices).map(Battery::new).collect();
    let spent = feed(&mut node, &mut batteries, sizes.hours * 3_600)?;
    let samples = f64::from(sizes.devices) * f64::from(sizes.hours) * 3_600.0 * count(METRICS);
    let resident = memory("VmRSS")?;
    let used = node.store.disk_use()?;
    let journal = bytes_of(&path.join("journal"))?;
    let each = |bytes: u64| to_float(bytes) / samples;
    let of = format!("{} devices, {} h", sizes.devices, sizes.hours);
    Ok(vec![
        figure(
            format!("durable ingest per core ({of})"),
            samples / spent.processor.as_secs_f64() / 1e6,
            "M samples/s",
            Some(5.0),
        ),
        figure("durable ingest, wall", samples / spent.wall.as_secs_f64() / 1e6, "M samples/s", None),
        figure(INGEST, spent.processor.as_secs_f64() / samples * 1e6, "s/M samples", Some(0.2)),
        figure("frames on disk", each(used.raw_bytes), "bytes/sample", Some(0.4)),
        figure("rollups on disk", each(used.rollup_bytes), "bytes/sample", None),
        figure("frames and rollups on disk", each(used.total()), "bytes/sample", Some(0.6)),
        figure("journal kept", to_float(journal) / MIB, "MiB", None),
        figure("resident memory after ingest", resident, "MiB", Some(200.0)),
    ])
}

fn history(place: &Place, sizes: Sizes) -> anyhow::Result<Vec<Figure>> {
    let path = place.fresh("history")?;
    let mut node = MiniNode::open(&path)?;
    let mut battery = [Battery::new(0)];
    feed(&mut node, &mut battery, sizes.days * 86_400)?;
    drop(node);
    let node = MiniNode::open(&path)?;
    let [battery] = &battery;
    let current =
        battery.columns().find(|name| name.as_str() == "current").context("a battery has a current")?;
    let at = |hours: i64| Timestamp::from_millis(BEGIN_MS + hours * HOUR_MS);
    let days = i64::from(sizes.days);
    let middle = days / 2 * 24;
    let mut raw = || {
        let series = [(current.clone(), node.open_points(battery.id(), current))];
        let range = (at(middle), at(middle + 24));
        let answer = node.store.samples(battery.id(), &series, range, usize::MAX, &Cancel::default())?;
        Ok(answer.iter().map(Vec::len).sum())
    };
    let (raw_first, raw_usual, points) = asked(&mut raw)?;
    let mut hourly = || {
        let edges = aligned_edges(at(0), at(days * 24), HOUR_MS)?;
        let open = node.open_points(battery.id(), current);
        let answer = node.store.intervals(battery.id(), current, &edges, open, &Cancel::default())?;
        Ok(answer.intervals.len())
    };
    let (hourly_first, hourly_usual, hours) = asked(&mut hourly)?;
    let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
    Ok(vec![
        figure(format!("24 h of one series, raw ({points} points)"), millis(raw_usual), "ms", Some(3.0)),
        figure("the same, first time after opening", millis(raw_first), "ms", None),
        figure(
            format!("{days} d of one series by the hour ({hours} hours)"),
            millis(hourly_usual),
            "ms",
            Some(1.0),
        ),
        figure("the same, first time after opening", millis(hourly_first), "ms", None),
    ])
}

/// How long the first answer took, how long one takes usually, and how much is in it.
fn asked(
    question: &mut impl FnMut() -> anyhow::Result<usize>,
) -> anyhow::Result<(Duration, Duration, usize)> {
    let mut times = Vec::with_capacity(ASKED);
    let mut size = 0;
    for _ in 0..ASKED {
        let began = clock::monotonic();
        size = question()?;
        times.push(began.elapsed());
    }
    let first = times.first().copied().unwrap_or_default();
    times.sort_unstable();
    Ok((first, times.get(ASKED / 2).copied().unwrap_or_default(), size))
}

/// An hour in the journal of which the last ten minutes are not sealed, as after a kill.
fn restart(place: &Place, sizes: Sizes) -> anyhow::Result<Vec<Figure>> {
    let path = place.fresh("restart")?;
    let mut node = MiniNode::open(&path)?;
    let mut batteries: Vec<_> = (0..sizes.restart_devices).map(Battery::new).collect();
    for step in 0..60 {
        let batch = |battery: &mut Battery| (0..STEP_S).map(|_| battery.entry()).collect();
        node.take_in(batteries.iter_mut().map(batch).collect())?;
        if step < 50 {
            node.seal(Timestamp::from_millis(BEGIN_MS + i64::from(step + 1) * 60_000), false)?;
        }
    }
    drop(node);
    let journal = bytes_of(&path.join("journal"))?;
    let began = clock::monotonic();
    let node = MiniNode::open(&path)?;
    let ready = began.elapsed();
    let pending: u64 = node.head.ledgers().values().map(|ledger| ledger.pending).sum();
    let name = format!(
        "restart, {} devices, {:.0} MiB of journal, {pending} open",
        sizes.restart_devices,
        to_float(journal) / MIB
    );
    Ok(vec![figure(name, ready.as_secs_f64(), "s", Some(2.0))])
}

/// Devices that say little and, between their words, nothing: each time all of it is sealed at once.
fn sparse(place: &Place, sizes: Sizes) -> anyhow::Result<Figure> {
    let path = place.fresh("sparse")?;
    let mut node = MiniNode::open(&path)?;
    let mut batteries: Vec<_> = (0..SPARSE_DEVICES).map(Battery::new).collect();
    let before = written()?;
    for round in 0..sizes.sparse_rounds {
        // The generator counts seconds; the readings in between are those that nobody took.
        let batch = |battery: &mut Battery| {
            (0..SPARSE_PERIOD_S).map(|_| battery.entry()).last().into_iter().collect()
        };
        node.take_in(batteries.iter_mut().map(batch).collect())?;
        let now = BEGIN_MS + i64::from((round + 1) * SPARSE_PERIOD_S) * 1_000;
        node.seal(Timestamp::from_millis(now), true)?;
    }
    let bytes = written()?.saturating_sub(before);
    let hours = f64::from(sizes.sparse_rounds * SPARSE_PERIOD_S) / 3_600.0;
    let name = format!(
        "written for {SPARSE_DEVICES} devices, a reading every {SPARSE_PERIOD_S} s, sealed each time"
    );
    Ok(figure(name, to_float(bytes) / MIB / hours, "MiB/h", None))
}

/// What this process has caused to be written to disks.
fn written() -> anyhow::Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io").context("reading what this process has written")?;
    let bytes = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
    bytes.context("the system does not say how much this process has written")
}

/// A line of this process's account of its memory, in MiB.
pub(super) fn memory(line: &str) -> anyhow::Result<f64> {
    Ok(to_float(Account::Own.memory_kib(line)?) / 1_024.0)
}

fn bytes_of(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a disk fit well enough")]
fn to_float(number: u64) -> f64 {
    number as f64
}

pub(super) fn count(number: usize) -> f64 {
    to_float(u64::try_from(number).unwrap_or(u64::MAX))
}
