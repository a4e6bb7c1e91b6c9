//! The fleet of a chaos run: simulated packs on real ptys and publishers on real sockets, each with books of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use voltree_model::{DeviceId, Timestamp};
use voltree_protocols::bms::Driver;
use voltree_protocols::bms::daly_uart::{Board, CurrentSign, DalyConfig};
use voltree_protocols::link::LinkAddress;
use voltree_protocols::sim::{self, DalySim, LinePace, PtySim, SimHandle, SimPack};
use voltree_runtime::clock;

use super::publisher::{self, Books, Device};
use crate::config::PackConfig;

/// How often the probe crosses the limit that alerts.
const PROBE_PERIOD: Duration = Duration::from_millis(1_000);
/// The device whose readings raise alerts on purpose.
pub(super) const PROBE: &str = "alert-probe";

/// What a fleet consists of.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FleetPlan {
    /// Simulated Daly packs on ptys.
    pub(super) packs: u16,
    /// How often each is polled.
    pub(super) poll_interval_ms: u64,
    /// Devices that publish over MQTT, besides the one that probes the alerts.
    pub(super) publishers: u16,
    /// How many readings each of them publishes a second.
    pub(super) publish_per_second: u32,
}

/// The packs, which must be there before the node is.
pub(super) struct Packs {
    pub(super) configs: Vec<PackConfig>,
    pub(super) lines: Vec<(DeviceId, SimHandle)>,
}

impl Packs {
    pub(super) fn start(plan: &FleetPlan) -> anyhow::Result<Self> {
        let mut packs = Self { configs: Vec::new(), lines: Vec::new() };
        for number in 1..=plan.packs {
            let character = sim::PackConfig { seed: u64::from(number), ..sim::PackConfig::default() };
            let board = DalySim::new(SimPack::new(character), Board::FIRST, CurrentSign::Normal);
            let line = PtySim::spawn(board, LinePace::default())
                .with_context(|| format!("opening a pty for simulated pack {number}"))?;
            let id = DeviceId::new(format!("pack-{number:02}"))?;
            packs.configs.push(PackConfig {
                name: format!("Pack {number}"),
                id: id.clone(),
                labels: BTreeMap::new(),
                address: LinkAddress::Serial { path: line.path().to_owned(), baud: 9600 },
                poll_interval: Duration::from_millis(plan.poll_interval_ms),
                driver: Driver::Daly(DalyConfig::default()),
                invert_current: false,
            });
            packs.lines.push((id, line));
        }
        Ok(packs)
    }
}

/// The publishers and the probe.
pub(super) struct Publishers {
    pub(super) books: Vec<(DeviceId, Arc<Mutex<Books>>)>,
    /// When each reading of the probe that must raise an alert was sent, by the time it bears.
    pub(super) probes: Arc<Mutex<BTreeMap<Timestamp, tokio::time::Instant>>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Publishers {
    pub(super) fn start(plan: &FleetPlan, broker: SocketAddr) -> anyhow::Result<Self> {
        let stop = watch::Sender::new(false);
        let mut this = Self { books: Vec::new(), probes: Arc::default(), stop, tasks: JoinSet::new() };
        let period = Duration::from_secs(1) / plan.publish_per_second.max(1);
        for number in 1..=plan.publishers {
            let id = DeviceId::new(format!("sensor-{number:02}"))?;
            this.add(id, broker, period, |number| vec![("number", f64_of(number))], Box::new(|_, _| {}));
        }
        let probes = Arc::clone(&this.probes);
        let on_sent = move |at, number| {
            if is_hot(number) {
                probes.lock().insert(at, clock::monotonic());
            }
        };
        let temperature = |number| vec![("temperature_1", if is_hot(number) { 95.0 } else { 20.0 })];
        this.add(DeviceId::new(PROBE)?, broker, PROBE_PERIOD, temperature, Box::new(on_sent));
        Ok(this)
    }

    fn add(
        &mut self,
        id: DeviceId,
        broker: SocketAddr,
        period: Duration,
        measure: publisher::Measure,
        on_sent: Box<dyn Fn(Timestamp, u64) + Send + Sync>,
    ) {
        let books = Arc::new(Mutex::new(Books::default()));
        self.books.push((id.clone(), Arc::clone(&books)));
        let device = Device { id, period, measure, books, on_sent };
        self.tasks.spawn(publisher::run(device, broker, self.stop.subscribe()));
    }

    /// Stops measuring, and waits until everything that was measured is acknowledged, within a bound.
    pub(super) async fn settle(&mut self, within: Duration) -> bool {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(within, all).await.is_ok()
    }
}

/// Every other reading of the probe is hot: each of these is an alert of its own.
fn is_hot(number: u64) -> bool {
    number.is_multiple_of(2)
}

#[expect(clippy::cast_precision_loss, reason = "no run counts to 2^53")]
fn f64_of(number: u64) -> f64 {
    number as f64
}
