//! `voltree demo`: a living fleet with nothing installed. Simulated Daly packs on real ptys at the real 9600 baud, and
//! MQTT devices that publish over TCP to the node's own listener; the node itself is the one that `voltree run` runs.

mod everything;
mod publisher;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use voltree_actors::registry::AdmissionRules;
use voltree_model::DeviceId;
use voltree_protocols::bms::Driver;
use voltree_protocols::bms::daly_uart::{Board, CurrentSign, DalyConfig};
use voltree_protocols::link::LinkAddress;
use voltree_protocols::sim::{self, DalySim, LinePace, Profile, PtySim, SimHandle, SimPack};
use voltree_runtime::clock;

use crate::cli::say;
use crate::config::{Config, PackConfig};
use crate::environment::Environment;
use crate::node::{self, Node};
use crate::replay::{self, ColumnOptions};

/// What the demo can be told.
#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// How many devices: two thirds are Daly packs on ptys, the rest publish over MQTT.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=200))]
    devices: u16,
    /// One battery of every kind in place of the Daly packs, on ptys, TCP ports, Modbus servers and CAN adapters.
    #[arg(long)]
    all: bool,
    /// Serve console, API, health and metrics here [default: 127.0.0.1:8000, or a free port if that is taken].
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Listen for MQTT here [default: 127.0.0.1:1883, or a free port if that is taken].
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<SocketAddr>,
    /// Keep the data here; it is found again at the next start.
    #[arg(long, value_name = "DIR", default_value = "voltree-demo-data")]
    data: PathBuf,
    /// Replay a recorded battery as one more device, moved so that it ends now; `voltree replay --help` says how its
    /// columns are understood.
    #[arg(long, value_name = "FILE.csv")]
    replay: Option<PathBuf>,
}

/// Runs the demo until Ctrl-C.
pub(crate) fn run(options: DemoOptions) -> anyhow::Result<()> {
    node::block_on(live(options))
}

async fn live(options: DemoOptions) -> anyhow::Result<()> {
    let environment = Environment::of_process();
    let defaults = Config::from_environment(&environment)?;
    let packs = (options.devices * 2).div_ceil(3);
    let batteries = if options.all {
        everything::batteries().await?
    } else {
        (1..=packs).map(battery).collect::<anyhow::Result<Vec<_>>>()?
    };
    let config = Config {
        node_id: "demo".to_owned(),
        site: Some("demo".to_owned()),
        data_dir: options.data,
        http_listen: options.http.unwrap_or_else(|| free_or(defaults.http_listen)),
        mqtt_listen: options.mqtt.unwrap_or_else(|| free_or(defaults.mqtt_listen)),
        // Recordings are played back faster than devices publish.
        mqtt_rate: None,
        packs: batteries.iter().map(|(config, _)| config.clone()).collect(),
        // Whoever tries something out against the demo is to see it at once.
        admission: AdmissionRules::default(),
        ..defaults
    };
    let recording = options.replay.map(|file| replay::load(&file, &ColumnOptions::default())).transpose()?;
    let node = Node::prepare(config, &environment)?;
    let mut publishers = publisher::start(options.devices - packs, node.mqtt());
    if let Some(recording) = recording {
        publisher::replay(&mut publishers, recording, node.mqtt());
    }
    say(&node.welcome());
    let batteries_are = if options.all { "batteries of every kind" } else { "Daly packs on ptys" };
    say(&format!(
        "  fleet    {batteries_are}: {}, MQTT devices: {}",
        batteries.len(),
        options.devices - packs
    ));
    let ran = node.run(node::stop_signal()?).await;
    drop(publishers);
    drop(batteries);
    ran
}

/// The usual address, or a free port on the same interface if somebody has it.
fn free_or(usual: SocketAddr) -> SocketAddr {
    match std::net::TcpListener::bind(usual) {
        Ok(_) => usual,
        Err(_) => SocketAddr::new(usual.ip(), 0),
    }
}

/// A simulated pack on a pty of its own, and how to reach it.
fn battery(number: u16) -> anyhow::Result<(PackConfig, SimHandle)> {
    let pack = SimPack::new(character(number));
    let board = DalySim::new(pack, Board::FIRST, CurrentSign::Normal);
    let handle = PtySim::spawn(board, LinePace::default())
        .with_context(|| format!("opening a pty for simulated pack {number}"))?;
    let id = DeviceId::new(format!("pack-{number:02}"))?;
    let config = PackConfig {
        name: format!("Pack {number}"),
        id,
        labels: std::collections::BTreeMap::new(),
        address: LinkAddress::Serial { path: handle.path().to_owned(), baud: 9600 },
        poll_interval: Duration::from_secs(1),
        driver: Driver::Daly(DalyConfig::default()),
        invert_current: false,
        allow_write: false,
    };
    Ok((config, handle))
}

/// Packs of a fleet differ: in age, in charge, in what they are used for, and in where they stand.
fn character(number: u16) -> sim::PackConfig {
    let spread = |step: u16, modulus: u16| f64::from(number * step % modulus);
    sim::PackConfig {
        cells: if number.is_multiple_of(4) { 7 } else { 14 },
        capacity_ah: [100.0, 280.0, 50.0][usize::from(number % 3)],
        start_soc_percent: 35.0 + spread(17, 58),
        ambient_celsius: 16.0 + spread(5, 14),
        profile: [Profile::House, Profile::Solar, Profile::Telecom][usize::from(number / 2 % 3)],
        starts_at: Duration::from_millis(u64::try_from(clock::now_ms()).unwrap_or_default()),
        seed: u64::from(number),
        ..sim::PackConfig::default()
    }
}
