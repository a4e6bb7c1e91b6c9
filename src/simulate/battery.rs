//! Simulated batteries: packs with physics behind boards of every kind, on one line, bus or network port.
//!
//! It serves whoever opens the wire and believes nobody: what it prints is what the packs hold and what left whole.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use parking_lot::Mutex;
use serde_json::json;
use voltree_protocols::sim::{FaultRates, HasPack, LinePace, PackConfig, Profile, SimHandle, SimPack};
use voltree_runtime::clock;

use super::kinds::{Kind, Side};
use super::report;
use super::wire::{self, WireOptions};
use crate::cli::say;
use crate::node;

/// Packs that their devices share with whoever tells of them.
pub(super) type Packs = Vec<Arc<Mutex<dyn HasPack + Send>>>;

/// What kind of pack, on which wire, and what is wrong with it.
#[derive(Debug, Args)]
pub(super) struct BatteryOptions {
    #[command(flatten)]
    wire: WireOptions,
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
    /// The pace of the line in bits per second [default: what such boards come with].
    #[arg(long, value_name = "BAUD", value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    baud: Option<u32>,
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

/// Simulates a battery of this kind until Ctrl-C.
pub(super) fn run(options: &BatteryOptions, kind: &Kind) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("starting the async runtime")?.block_on(serve(options, kind))
}

async fn serve(options: &BatteryOptions, kind: &Kind) -> anyhow::Result<()> {
    let stopped = node::stop_signal()?;
    let (packs, side) = kind.make(options.wire.is_bus(), |number| options.pack(number))?;
    let baud = options.baud.unwrap_or(match side {
        Side::Can(_) => USB_BAUD,
        Side::Bytes(_) | Side::Modbus(_) => kind.usual_baud(),
    });
    let pace = LinePace { baud, ..LinePace::default() };
    let (sim, link) = wire::serve(&options.wire, side, pace, options.flaky, options.seed).await?;
    say(&welcome(options, kind, packs.len(), baud, &sim));
    tokio::select! {
        () = stopped => {}
        () = tell(options, &packs, &sim) => {}
        () = live(&packs, &sim) => {}
    }
    say(&status(options, &packs, &sim));
    drop(link);
    sim.stop().await.context("serving the wire")
}

/// The pace of an adapter on USB.
const USB_BAUD: u32 = 2_000_000;

impl BatteryOptions {
    /// Packs on one line differ, as they do in life.
    fn pack(&self, number: u8) -> SimPack {
        let since_midnight = u64::try_from(clock::now_ms()).unwrap_or_default();
        SimPack::new(PackConfig {
            cells: self.cells,
            sensors: self.sensors,
            capacity_ah: self.capacity_ah,
            start_soc_percent: self.start_soc,
            ambient_celsius: self.ambient,
            profile: self.profile,
            starts_at: Duration::from_millis(since_midnight),
            speed: self.speed,
            seed: self.seed.wrapping_add(u64::from(number) - 1),
        })
    }
}

fn welcome(options: &BatteryOptions, kind: &Kind, boards: usize, baud: u32, sim: &SimHandle) -> String {
    let place = options.wire.place(sim);
    if options.json {
        return json!({ "port": place, "device": sim.path(), "boards": boards }).to_string();
    }
    format!(
        "simulating {boards} {kind} board(s) on {place} at {baud} baud: {} cells, {} Ah, profile {}, {} times the clock's speed; Ctrl-C ends it",
        options.cells, options.capacity_ah, options.profile, options.speed,
    )
}

/// Lets the packs live on while nobody asks, so that whoever asks after an hour need not wait for that hour.
async fn live(packs: &Packs, sim: &SimHandle) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        packs.iter().for_each(|pack| pack.lock().pack_mut().advance_to(sim.elapsed()));
    }
}

/// Prints the status for ever.
async fn tell(options: &BatteryOptions, packs: &Packs, sim: &SimHandle) {
    if options.status_every <= 0.0 {
        return std::future::pending().await;
    }
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(options.status_every.max(0.05)));
    ticks.tick().await;
    loop {
        ticks.tick().await;
        say(&status(options, packs, sim));
    }
}

/// Lets the packs live on to this moment, and shows what they hold and what the line carried.
fn status(options: &BatteryOptions, packs: &Packs, sim: &SimHandle) -> String {
    let mut boards: Vec<_> = packs.iter().map(|pack| pack.lock()).collect();
    let packs: Vec<&SimPack> = boards
        .iter_mut()
        .map(|board| {
            let pack = board.pack_mut();
            pack.advance_to(sim.elapsed());
            &*pack
        })
        .collect();
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
