//! `voltree export`: what a data directory holds, as line protocol, CSV or Parquet, day by day and device by device, with its node
//! running or not.
//!
//! A file is written beside its place and moved there when it is whole; what was begun can be resumed at the day it had
//! come to, and is then the same, byte for byte.

mod columns;
mod copied;
mod partial;
mod sheet;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, MetricName, Timestamp};
use voltree_storage::{Archive, Sample};

use self::partial::Partial;
use self::sheet::Sheet;
pub(crate) use self::sheet::{LONG, WIDE};
use crate::storage::Progress;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What to export, and where to.
#[derive(Debug, Clone, Args)]
pub(crate) struct ExportOptions {
    /// The data directory. Its node may be running: then it copies itself first, and goes on meanwhile.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where that node serves HTTP.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    node: String,
    /// How to write it.
    #[arg(long, value_enum, default_value_t = Format::Line)]
    format: Format,
    /// Export this device only. May be given several times.
    #[arg(long, value_name = "ID")]
    device: Vec<String>,
    /// Export this series only. May be given several times.
    #[arg(long, value_name = "NAME")]
    series: Vec<String>,
    /// Leave out what is earlier, as in 2026-01-15T10:30:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Leave out what is at this time or later.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Write to this file instead of to standard output.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Go on with an export to this file that was stopped.
    #[arg(long, requires = "out")]
    resume: bool,
}

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Format {
    /// InfluxDB line protocol, times in nanoseconds: voltree,device=ID,unit=V SERIES=VALUE TIME.
    Line,
    /// CSV, a row a value: time, device, metric, value, unit.
    CsvLong,
    /// CSV, a row a moment of a device, a column a series.
    CsvWide,
    /// Parquet, a row a value: time, device, metric, value, unit.
    Parquet,
}

/// What is to be exported; an export is resumed only with the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Selection {
    format: Format,
    devices: Vec<DeviceId>,
    series: Vec<MetricName>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
struct Exported {
    values: u64,
    texts: u64,
    left_out: u64,
    damages: Vec<String>,
    stopped: bool,
}

/// Takes what is exported: rows of one device after the other, day by day.
trait Sink {
    /// Takes a row; says how many of its values the form can't say.
    fn row(&mut self, device: &DeviceId, at: Timestamp, samples: &[&Sample]) -> anyhow::Result<u64>;

    /// Takes the texts of a device, as of its last row.
    fn texts(
        &mut self,
        device: &DeviceId,
        at: Timestamp,
        texts: &BTreeMap<MetricName, String>,
    ) -> anyhow::Result<()>;

    /// A day is whole.
    fn end_of_day(&mut self, day: Timestamp) -> anyhow::Result<()>;
}

/// A form that is text; each day goes to `write` as a whole.
struct Text<'a> {
    sheet: &'a Sheet,
    bytes: String,
    write: &'a mut dyn FnMut(&[u8], Timestamp) -> anyhow::Result<()>,
}

impl Sink for Text<'_> {
    fn row(&mut self, device: &DeviceId, at: Timestamp, samples: &[&Sample]) -> anyhow::Result<u64> {
        self.sheet.push(&mut self.bytes, device, at, samples)
    }

    fn texts(
        &mut self,
        device: &DeviceId,
        at: Timestamp,
        texts: &BTreeMap<MetricName, String>,
    ) -> anyhow::Result<()> {
        sheet::push_texts(&mut self.bytes, device, at, texts)
    }

    fn end_of_day(&mut self, day: Timestamp) -> anyhow::Result<()> {
        (self.write)(self.bytes.as_bytes(), day)?;
        self.bytes.clear();
        Ok(())
    }
}

/// Exports.
pub(crate) fn run(options: &ExportOptions) -> anyhow::Result<()> {
    let mut progress = Progress::new()?;
    let held = copied::hold(options, &mut progress)?;
    let archive = Archive::open(&held.data)?;
    let selection = Selection::of(options, &archive)?;
    let exported = match (&options.out, options.format) {
        (out, Format::Parquet) => {
            if options.resume {
                bail!("a Parquet file says at its end what is in it, so none can be resumed; export it anew");
            }
            columns::export(out.as_deref(), &archive, &selection, &mut progress)?
        }
        (Some(file), Format::Line | Format::CsvLong | Format::CsvWide) => {
            to_file(file, options.resume, &archive, &selection, &mut progress)?
        }
        (None, Format::Line | Format::CsvLong | Format::CsvWide) => {
            to_stdout(&archive, &selection, &mut progress)?
        }
    };
    report(&exported, options)
}

fn to_stdout(archive: &Archive, selection: &Selection, progress: &mut Progress) -> anyhow::Result<Exported> {
    let sheet = Sheet::new(selection, archive)?;
    let mut out = io::BufWriter::with_capacity(1 << 20, io::stdout().lock());
    out.write_all(sheet.header()?.as_bytes()).context("writing to standard output")?;
    let write = &mut |bytes: &[u8], _| out.write_all(bytes).context("writing to standard output");
    let mut text = Text { sheet: &sheet, bytes: String::new(), write };
    let exported = days(archive, selection, None, progress, &mut text)?;
    out.flush().context("writing to standard output")?;
    Ok(exported)
}

fn report(exported: &Exported, options: &ExportOptions) -> anyhow::Result<()> {
    // Standard output may be the export itself.
    let mut told = io::stderr();
    if exported.left_out > 0 {
        let count = exported.left_out;
        writeln!(
            told,
            "{count} values are no finite numbers, which line protocol can't say; they were left out"
        )
        .ok();
    }
    exported.damages.iter().for_each(|damage| drop(writeln!(told, "{damage}")));
    if exported.stopped {
        match &options.out {
            _ if options.format == Format::Parquet => bail!("stopped; nothing was exported"),
            Some(file) => bail!("stopped; the same command with --resume goes on with {}", file.display()),
            None => bail!("stopped; what was written ends with a whole line, but not with the last"),
        }
    }
    let texts = if exported.texts > 0 { format!(" and {} texts", exported.texts) } else { String::new() };
    writeln!(told, "{} values{texts} exported", exported.values).ok();
    if !exported.damages.is_empty() {
        bail!("{} thing(s) could not be read; everything else was exported", exported.damages.len());
    }
    Ok(())
}

fn to_file(
    file: &Path,
    resume: bool,
    archive: &Archive,
    selection: &Selection,
    progress: &mut Progress,
) -> anyhow::Result<Exported> {
    let sheet = Sheet::new(selection, archive)?;
    let mut partial = match resume {
        true => Partial::resume(file, selection)?,
        false => Partial::begin(file, selection, &sheet.header()?)?,
    };
    let after = partial.done_through();
    let write = &mut |bytes: &[u8], day| partial.add(bytes, day);
    let mut text = Text { sheet: &sheet, bytes: String::new(), write };
    let exported = days(archive, selection, after, progress, &mut text)?;
    if !exported.stopped {
        partial.finish()?;
    }
    Ok(exported)
}

/// Hands everything to `sink`, in the order of time.
fn days(
    archive: &Archive,
    selection: &Selection,
    after: Option<Timestamp>,
    progress: &mut Progress,
    sink: &mut dyn Sink,
) -> anyhow::Result<Exported> {
    let mut exported = Exported::default();
    let days: Vec<_> = archive.days()?.into_iter().filter(|day| selection.touches(*day)).collect();
    for (index, day) in days.iter().enumerate().filter(|(_, day)| after.is_none_or(|after| **day > after)) {
        let mut opened = archive.day(*day)?;
        for device in &selection.devices {
            if progress.step(|| format!("{device}, day {} of {}", index + 1, days.len()))
                == ControlFlow::Break(())
            {
                exported.stopped = true;
                return Ok(exported);
            }
            for (at, row) in opened.rows(device) {
                let samples: Vec<&Sample> =
                    row.samples.iter().filter(|sample| selection.wants(sample)).collect();
                if selection.covers(at) && !samples.is_empty() {
                    exported.left_out += sink.row(device, at, &samples)?;
                    exported.values += u64::try_from(samples.len()).unwrap_or(u64::MAX);
                }
            }
            if let Some((at, texts)) = archive.attributes(device).filter(|(at, _)| selection.says(*at, *day))
            {
                sink.texts(device, at, &texts)?;
                exported.texts += u64::try_from(texts.len()).unwrap_or(u64::MAX);
            }
        }
        let damages = opened.damages().iter().map(|damage| format!("{}: {}", damage.what, damage.why));
        exported.damages.extend(damages);
        sink.end_of_day(*day)?;
    }
    Ok(exported)
}

impl Selection {
    fn of(options: &ExportOptions, archive: &Archive) -> anyhow::Result<Self> {
        let known: Vec<DeviceId> = archive.devices().cloned().collect();
        let mut devices = Vec::new();
        for id in &options.device {
            match known.iter().find(|known| known.as_str() == id) {
                Some(device) => devices.push(device.clone()),
                None => bail!("--device {id}: {} has nothing of this device", options.data.display()),
            }
        }
        devices.sort();
        let time = |text: &Option<String>| text.as_deref().map(Timestamp::parse_rfc3339).transpose();
        Ok(Self {
            format: options.format,
            devices: if devices.is_empty() { known } else { devices },
            series: options
                .series
                .iter()
                .map(MetricName::new)
                .collect::<Result<_, _>>()
                .context("--series")?,
            from: time(&options.from).context("--from")?,
            to: time(&options.to).context("--to")?,
        })
    }

    fn wants(&self, sample: &Sample) -> bool {
        self.series.is_empty() || self.series.contains(&sample.name)
    }

    fn covers(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to)
    }

    /// Whether the texts of a device that was heard last at `at` stand in the day that begins at `day`.
    fn says(&self, at: Timestamp, day: Timestamp) -> bool {
        let is_whole = self.format == Format::Line && self.series.is_empty();
        is_whole && self.covers(at) && day <= at && at < day.plus(DAY)
    }

    /// Whether anything of the day that begins then can be covered.
    fn touches(&self, day: Timestamp) -> bool {
        self.from.is_none_or(|from| from < day.plus(DAY)) && self.to.is_none_or(|to| day < to)
    }
}
