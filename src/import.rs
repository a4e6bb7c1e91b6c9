//! `voltree import`: files into a running node, through the same door as line protocol, with the times they have.
//!
//! The file is read twice: first to find mistakes in it and what the node would refuse as too old, so that nothing is sent
//! before somebody has decided what is to become of that; then to send it, batch by batch, each acknowledged when it is
//! on the node's disk.

mod columns;
mod file;
mod send;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use voltree_model::{DeviceId, Reading, Timestamp};

use self::file::{Opened, Source};
use self::send::{Batcher, Node};
use crate::cli::say;
use crate::login::LoginOptions;
use crate::replay::ColumnOptions;
use crate::storage::Progress;

/// What to import, and where to.
#[derive(Debug, Clone, Args)]
pub(crate) struct ImportOptions {
    /// What voltree export wrote, InfluxDB line protocol, or a recorded battery (CSV with a header line, as for voltree
    /// replay).
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where the node serves HTTP.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    to: String,
    /// How the file is to be read [default: what its first line looks like].
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    columns: ColumnOptions,
    #[command(flatten)]
    login: LoginOptions,
    /// Keep everything of the file's devices for ever, so that the node does not refuse what is old.
    #[arg(long, value_name = "keep")]
    retention: Option<Retention>,
    /// Move all times alike: "end-now" so that the last one is now, or by so many milliseconds.
    #[arg(long, value_name = "end-now|MS", allow_hyphen_values = true)]
    shift: Option<Shift>,
    /// Pass over so many readings, to go on with an import that was stopped.
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip_readings: u64,
}

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// InfluxDB line protocol, times in nanoseconds.
    Line,
    /// CSV as voltree export writes it with csv-long.
    CsvLong,
    /// CSV as voltree export writes it with csv-wide.
    CsvWide,
    /// Parquet as voltree export writes it.
    Parquet,
    /// A recorded battery: CSV with a header line, a column a series.
    Recording,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Retention {
    /// Keep the file's devices for ever.
    Keep,
}

#[derive(Debug, Clone, Copy)]
enum Shift {
    EndNow,
    By(i64),
}

impl std::str::FromStr for Shift {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "end-now" => Ok(Self::EndNow),
            _ => text
                .parse()
                .map(Self::By)
                .map_err(|_| "expected end-now or a number of milliseconds".to_owned()),
        }
    }
}

/// What a file holds.
#[derive(Debug, Default)]
struct Survey {
    readings: u64,
    last: Option<Timestamp>,
    /// The times of each device, to be held against what the node keeps.
    devices: BTreeMap<DeviceId, Vec<i64>>,
}

/// Imports.
pub(crate) fn run(options: &ImportOptions) -> anyhow::Result<()> {
    let mut progress = Progress::new()?;
    let source = Opened::open(&options.file, options.format, &options.columns)?;
    let survey = survey(&source, &mut progress)?;
    let login = options.login.read()?;
    let runtime = tokio::runtime::Runtime::new().context("starting the async runtime")?;
    let node = Node::new(&options.to, login)?;
    let shift_ms = match (options.shift, survey.last) {
        (None, _) | (_, None) => 0,
        (Some(Shift::By(ms)), _) => ms,
        (Some(Shift::EndNow), Some(last)) => voltree_actors::now().as_millis() - last.as_millis(),
    };
    runtime.block_on(prepare(options, &survey, &node, shift_ms))?;
    let mut batcher = Batcher::new(&runtime, &node, progress.stopping());
    let mut passed = 0;
    let sent = source.each(&mut |reading| {
        passed += 1;
        if passed <= options.skip_readings {
            return Ok(());
        }
        let done = batcher.committed() + options.skip_readings;
        let words = || format!("{done} of {} readings are on the node's disk", survey.readings);
        if progress.step(words) == ControlFlow::Break(()) {
            bail!("stopped");
        }
        batcher.add(&shifted(reading, shift_ms))
    });
    let sent = sent.and_then(|()| batcher.flush());
    let committed = batcher.committed() + options.skip_readings;
    sent.with_context(|| {
        let again = if shift_ms == 0 { String::new() } else { format!(" --shift {shift_ms}") };
        format!(
            "{committed} of {} readings are on the node's disk; the same command with --skip-readings {committed}{again} goes \
             on from there",
            survey.readings
        )
    })?;
    say(&format!(
        "{} readings of {} device(s) imported",
        survey.readings - options.skip_readings.min(survey.readings),
        survey.devices.len()
    ));
    Ok(())
}

fn survey(source: &Opened, progress: &mut Progress) -> anyhow::Result<Survey> {
    let mut survey = Survey::default();
    source.each(&mut |reading| {
        if progress.step(|| format!("{} readings looked at", survey.readings)) == ControlFlow::Break(()) {
            bail!("stopped before anything was sent");
        }
        survey.readings += 1;
        survey.last = survey.last.max(Some(reading.at));
        match survey.devices.get_mut(&reading.device) {
            Some(times) => times.push(reading.at.as_millis()),
            None => drop(survey.devices.insert(reading.device.clone(), vec![reading.at.as_millis()])),
        }
        Ok(())
    })?;
    if survey.readings == 0 {
        bail!("the file holds no readings");
    }
    Ok(survey)
}

/// Stops if the node would refuse anything as too old, unless it is told to keep it.
async fn prepare(options: &ImportOptions, survey: &Survey, node: &Node, shift_ms: i64) -> anyhow::Result<()> {
    let mut refused = Vec::new();
    for (device, times) in &survey.devices {
        let Some(oldest) = node.oldest_kept(device).await? else { continue };
        let old = times.iter().filter(|at| at.saturating_add(shift_ms) < oldest.as_millis()).count();
        if old > 0 && options.retention.is_some() {
            node.keep_for_ever(device).await?;
        } else if old > 0 {
            refused.push(format!("  {device}: {old} of {} readings, those before {oldest}", times.len()));
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    bail!(
        "the node keeps readings for a time, and would refuse as too old:\n{}\nNothing was sent. Either let the node keep \
         everything of these devices for ever (--retention keep), or move all times so that the last one is now (--shift \
         end-now).",
        refused.join("\n")
    )
}

fn shifted(mut reading: Reading, by_ms: i64) -> Reading {
    reading.at = Timestamp::from_millis(reading.at.as_millis().saturating_add(by_ms));
    reading
}
