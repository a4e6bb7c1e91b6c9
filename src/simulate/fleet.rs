//! `voltree simulate fleet`: as many packs as a node is to be measured with, on ptys and TCP ports, and the configuration
//! that reads them all.
//!
//! Boards of four makers in turn, each on a wire of its own, at the pace of 115200 baud.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use voltree_protocols::bms::daly_uart::{Board, CurrentSign};
use voltree_protocols::bms::telecom::Maker;
use voltree_protocols::sim::{
    DalySim, DeviceSide, JbdSim, JkSim, LinePace, PackConfig, PtySim, SimHandle, SimPack, TcpSim, TelecomSim,
};

use crate::cli::say;
use crate::node;

/// How many, where, and where to write their configuration.
#[derive(Debug, Args)]
pub(super) struct FleetOptions {
    /// How many packs.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    packs: u16,
    /// How many of them on ptys; the others listen on TCP ports.
    #[arg(long, value_name = "N", default_value_t = 0)]
    ptys: u16,
    /// The first TCP port; the others follow.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:20000")]
    listen: SocketAddr,
    /// Where to write the `[[device]]` sections.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    /// How often a node is to poll each.
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    poll_interval_ms: u32,
}

/// Simulates until Ctrl-C.
pub(super) fn run(options: &FleetOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("starting the async runtime")?;
    runtime.block_on(serve(options))
}

async fn serve(options: &FleetOptions) -> anyhow::Result<()> {
    let stopped = node::stop_signal()?;
    let mut sims = Vec::new();
    let mut sections = String::new();
    for number in 0..options.packs {
        let (kind, device) = board(number)?;
        let sim = open(options, number, device).await?;
        writeln!(
            sections,
            "[[device]]\nid = \"fleet-{number:04}\"\ntype = {kind:?}\nport = {:?}\npoll_interval_ms = {}\n{}",
            sim.path(),
            options.poll_interval_ms,
            if sim.path().starts_with("/dev") { "baud = 115200\n" } else { "" },
        )?;
        sims.push(sim);
    }
    std::fs::write(&options.config, sections)
        .with_context(|| format!("writing {}", options.config.display()))?;
    say(&format!("simulating {} packs; {} reads them", sims.len(), options.config.display()));
    stopped.await;
    let polls: u64 = sims.iter().map(|sim| sim.stats().cycles_completed()).sum();
    let silent = sims.iter().filter(|sim| sim.stats().cycles_completed() == 0).count();
    say(&format!("{polls} polls were answered; {silent} packs were never read"));
    Ok(())
}

async fn open(options: &FleetOptions, number: u16, device: Box<dyn DeviceSide>) -> anyhow::Result<SimHandle> {
    let pace = LinePace { baud: 115_200, turnaround: Duration::from_millis(2) };
    if number < options.ptys {
        return PtySim::spawn(device, pace).context("opening a pty");
    }
    let port = options.listen.port().checked_add(number - options.ptys).context("there are no more ports")?;
    let listen = SocketAddr::new(options.listen.ip(), port);
    let sim = TcpSim::spawn(device, pace, listen).await;
    sim.with_context(|| format!("listening on {listen}; is the port free?"))
}

fn board(number: u16) -> anyhow::Result<(&'static str, Box<dyn DeviceSide>)> {
    let pack = SimPack::new(PackConfig {
        cells: 8 + u8::try_from(number % 9)?,
        start_soc_percent: 30.0 + f64::from(number % 50),
        seed: u64::from(number),
        ..PackConfig::default()
    });
    Ok(match number % 4 {
        0 => ("daly_bms", Box::new(DalySim::new(pack, Board::FIRST, CurrentSign::Normal))),
        1 => ("jk_bms", Box::new(JkSim::new(pack))),
        2 => ("jbd_bms", Box::new(JbdSim::new(pack))),
        _ => ("seplos_bms", Box::new(TelecomSim::new(pack, Maker::Seplos, 0))),
    })
}
