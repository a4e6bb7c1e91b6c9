//! `voltree bench storage`: what the store costs and how fast it answers, on the readings of a simulated fleet.
//!
//! Everything is done as a node does it, in one process: readings are committed to the journal with real syncs, folded,
//! sealed every ten minutes of theirs, and their hours and days are finished as they end. The generator is not timed.

mod dump;
mod measure;
mod mini_node;
mod socket;
mod week;
mod workload;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use self::measure::Figure;
use crate::cli::say;

/// How the store is measured.
#[derive(Debug, Args)]
pub(crate) struct StorageBench {
    #[command(subcommand)]
    command: Option<StorageCommand>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Measure little data: for a look, not for a claim.
    #[arg(long)]
    quick: bool,
    /// Measure only this; may be given again.
    #[arg(long, value_name = "PART")]
    only: Vec<measure::Part>,
    /// Measure VictoriaMetrics and InfluxDB beside it, those of them that are installed.
    #[arg(long)]
    peers: bool,
    /// How many devices.
    #[arg(long, value_name = "N")]
    devices: Option<u32>,
    /// Keep the data here instead of in a directory that is removed afterwards.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum StorageCommand {
    /// Print the readings for another program: as line protocol, as a row a reading, or as a row a sample.
    Dump {
        /// The form.
        form: dump::Form,
        /// How many devices.
        devices: u32,
        /// How many seconds of each.
        seconds: u32,
    },
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// The fleet whose ingest and space are measured.
    devices: u32,
    /// For how long.
    hours: u32,
    /// The history of the one device that is queried.
    days: u32,
    /// The fleet whose restart is measured, with an hour in the journal.
    restart_devices: u32,
    /// How often the devices of a small site that is mostly at rest speak up.
    sparse_rounds: u32,
    /// How many seconds of the fleet are sent over a socket.
    socket_seconds: u32,
}

/// Measures or dumps.
pub(crate) fn run(options: &StorageBench) -> anyhow::Result<()> {
    if let Some(StorageCommand::Dump { form, devices, seconds }) = &options.command {
        return dump::run(*form, *devices, *seconds);
    }
    let sizes = match options.quick {
        true => Sizes {
            devices: options.devices.unwrap_or(5),
            hours: 4,
            days: 3,
            restart_devices: 10,
            sparse_rounds: 120,
            socket_seconds: 600,
        },
        false => Sizes {
            devices: options.devices.unwrap_or(100),
            hours: 24,
            days: 30,
            restart_devices: 100,
            sparse_rounds: 720,
            socket_seconds: 3_600,
        },
    };
    let place = measure::Place::new(options.data.as_deref())?;
    let figures = measure::all(&place, sizes, &options.only, options.peers)?;
    say(&if options.json { json(sizes, &figures) } else { table(&figures) });
    Ok(())
}

fn table(figures: &[Figure]) -> String {
    let head = format!("{:<58} {:>12}  {:<16} {:>8}", "figure", "value", "unit", "bar");
    let line = |figure: &Figure| {
        let bar = figure.bar.map_or_else(String::new, |bar| bar.to_string());
        let text = format!("{:<58} {:>12.3}  {:<16} {bar:>8}", figure.name, figure.value, figure.unit);
        text.trim_end().to_owned()
    };
    std::iter::once(head).chain(figures.iter().map(line)).collect::<Vec<_>>().join("\n")
}

fn json(sizes: Sizes, figures: &[Figure]) -> String {
    let figures: Vec<_> = figures
        .iter()
        .map(|figure| {
            let Figure { name, value, unit, bar } = figure;
            serde_json::json!({ "figure": name, "value": value, "unit": unit, "bar": bar })
        })
        .collect();
    let Sizes { devices, hours, days, restart_devices, .. } = sizes;
    let workload = serde_json::json!({
        "devices": devices, "hours": hours, "query_days": days, "restart_devices": restart_devices,
        "metrics": workload::METRICS, "hz": 1,
    });
    serde_json::json!({ "bench": "storage", "workload": workload, "figures": figures }).to_string()
}
