//! `voltree simulate daly`: packs with physics behind Daly boards on one line.
//!
//! It serves whoever opens the port and believes nobody: what it prints is what the packs hold and what left whole.

mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use parking_lot::Mutex;
use serde_json::json;
use voltree_protocols::bms::daly_uart::{Board, CurrentSign};
use voltree_protocols::sim::{
    Bus, DalySim, FaultRates, Flaky, LinePace, PackConfig, Profile, PtySim, SimHandle, SimPack,
};
use voltree_runtime::clock;

use super::link::PtyLink;
use crate::cli::say;
use crate::node;

type Boards = Vec<Arc<Mutex<DalySim>>>;

/// What kind of pack, and what is wrong with its line.
#[derive(Debug, Args)]
pub(super) struct DalyOptions {
    /// Where to put the port: a link of this name is made and removed at the end.
    #[arg(long, value_name = "PATH")]
    pty: PathBuf,
    /// Cells in series; 14 of these (NMC) make a 48 V pack.
    #[arg(long, value_name = "N", default_value_t = 14, value_parser = clap::value_parser!(u8).range(1..=48))]
    cells: u8,
    /// Temperature sensors.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=21))]
    sensors: u8,
    /// Rated capacity in Ah.
    #[arg(long, value_name = "AH", default_value_t = 100.0, value_parser = |text: &str| number(text, 0.5, 4_000.0))]
    capacity_ah: f64,
    /// State of charge at the start, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 60.0, value_parser = |text: &str| number(text, 0.0, 100.0))]
    start_soc: f64,
    /// Air around the pack on the mean of a day, in °C.
    #[arg(long, value_name = "CELSIUS", default_value_t = 20.0, allow_negative_numbers = true, value_parser = |text: &str| number(text, -40.0, 80.0))]
    ambient: f64,
    /// What the pack is used for: house, solar, telecom, or rest. The time of day is this machine's, in UTC.
    #[arg(long, value_name = "PROFILE", default_value_t = Profile::House)]
    profile: Profile,
    /// How many times faster than the clock the pack lives and ages.
    #[arg(long, value_name = "TIMES", default_value_t = 1.0, value_parser = |text: &str| number(text, 0.01, 100_000.0))]
    speed: f64,
    /// Decides how cells differ, when clouds and mains failures come, and which answers faults befall.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// What goes wrong on the line, as shares of the answers: drop=0.05,corrupt=0.02. There are drop, delay (50 to 300 ms),
    /// corrupt (a bit flips), cut, garbage, wrong-board and silence (for 3 s) [default: nothing].
    #[arg(long, value_name = "FAULT=SHARE,…", default_value = "", hide_default_value = true)]
    flaky: FaultRates,
    /// Boards on the line, addressed from 1.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=31))]
    boards: u8,
    /// The pace of the line in bits per second.
    #[arg(long, value_name = "BAUD", default_value_t = 9600, value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    baud: u32,
    /// Print what was asked and answered, and the state of the packs, every so many seconds; 0 prints it only at the end.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = |text: &str| number(text, 0.0, 86_400.0))]
    status_every: f64,
    /// Print JSON lines, with every cell.
    #[arg(long)]
    json: bool,
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("not a number from {least} to {most}"))
}

pub(super) fn run(options: &DalyOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("starting the async runtime")?.block_on(serve(options))
}

async fn serve(options: &DalyOptions) -> anyhow::Result<()> {
    let stopped = node::stop_signal()?;
    let boards: Boards =
        (1..=options.boards).map(|number| board(options, number)).collect::<Result<_, _>>()?;
    let pace = LinePace { baud: options.baud, ..LinePace::default() };
    let device = Flaky::new(Bus::new(boards.clone()), options.flaky, options.seed);
    let sim = PtySim::spawn(device, pace).context("opening a pty")?;
    let link = PtyLink::create(&options.pty, sim.path())?;
    say(&welcome(options, &sim));
    tokio::select! {
        () = stopped => {}
        () = tell(options, &boards, &sim) => {}
        () = live(&boards, &sim) => {}
    }
    say(&status(options, &boards, &sim));
    drop(link);
    sim.stop().await.context("serving the pty")
}

/// Packs on one line differ, as they do in life.
fn board(options: &DalyOptions, number: u8) -> anyhow::Result<Arc<Mutex<DalySim>>> {
    let since_midnight = u64::try_from(clock::now_ms()).unwrap_or_default();
    let pack = SimPack::new(PackConfig {
        cells: options.cells,
        sensors: options.sensors,
        capacity_ah: options.capacity_ah,
        start_soc_percent: options.start_soc,
        ambient_celsius: options.ambient,
        profile: options.profile,
        starts_at: Duration::from_millis(since_midnight),
        speed: options.speed,
        seed: options.seed.wrapping_add(u64::from(number) - 1),
    });
    Ok(Arc::new(Mutex::new(DalySim::new(pack, Board::new(number)?, CurrentSign::Normal))))
}

fn welcome(options: &DalyOptions, sim: &SimHandle) -> String {
    if options.json {
        return json!({ "pty": options.pty, "device": sim.path(), "boards": options.boards }).to_string();
    }
    format!(
        "simulating {} Daly board(s) on {} ({}) at {} baud: {} cells, {} Ah, profile {}, {} times the clock's speed; Ctrl-C ends it",
        options.boards,
        options.pty.display(),
        sim.path().display(),
        options.baud,
        options.cells,
        options.capacity_ah,
        options.profile,
        options.speed,
    )
}

/// Lets the packs live on while nobody asks, so that whoever asks after an hour need not wait for that hour.
async fn live(boards: &Boards, sim: &SimHandle) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        boards.iter().for_each(|board| board.lock().pack.advance_to(sim.elapsed()));
    }
}

/// Prints the status for ever.
async fn tell(options: &DalyOptions, boards: &Boards, sim: &SimHandle) {
    if options.status_every <= 0.0 {
        return std::future::pending().await;
    }
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(options.status_every.max(0.05)));
    ticks.tick().await;
    loop {
        ticks.tick().await;
        say(&status(options, boards, sim));
    }
}

/// Lets the packs live on to this moment, and shows what they hold and what the line carried.
fn status(options: &DalyOptions, boards: &Boards, sim: &SimHandle) -> String {
    let mut boards: Vec<_> = boards.iter().map(|board| board.lock()).collect();
    boards.iter_mut().for_each(|board| board.pack.advance_to(sim.elapsed()));
    let packs: Vec<&SimPack> = boards.iter().map(|board| &board.pack).collect();
    let stats = sim.stats();
    if options.json { report::json(&stats, &packs) } else { report::text(&stats, &packs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_refused_with_their_range() {
        assert_eq!(number("5.5", 0.0, 10.0), Ok(5.5));
        for bad in ["-1", "11", "NaN", "many"] {
            assert_eq!(number(bad, 0.0, 10.0), Err("not a number from 0 to 10".to_owned()));
        }
    }
}
