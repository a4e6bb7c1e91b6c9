//! Files as readings, in the order of the file. The first mistake ends it, named by its line.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use voltree_model::{DeviceId, Metric, MetricName, Reading, Timestamp, Unit};
use voltree_protocols::influx::{KnownNames, LineError, Lines, Mapping, Precision};

use super::{Format, columns};
use crate::export::{LONG, WIDE};
use crate::replay::{self, ColumnOptions};

/// The longest line of line protocol, with the ends of line in its quoted texts.
const LONGEST_LINE: usize = 16 * 1024 * 1024;

/// Whatever readings come from.
pub(super) trait Source {
    /// Hands every reading to `take`, until that fails.
    fn each(&self, take: &mut dyn FnMut(Reading) -> anyhow::Result<()>) -> anyhow::Result<()>;
}

/// A file whose form is known.
#[derive(Debug)]
pub(super) struct Opened {
    path: PathBuf,
    format: Format,
    columns: ColumnOptions,
}

impl Opened {
    pub(super) fn open(path: &Path, format: Option<Format>, columns: &ColumnOptions) -> anyhow::Result<Self> {
        let format = match format {
            Some(format) => format,
            None => guess(path)?,
        };
        // Times stay what they are; moving them is for the import to do.
        Ok(Self { path: path.to_owned(), format, columns: columns.keeping_time() })
    }

    fn file(&self) -> anyhow::Result<BufReader<File>> {
        let file = File::open(&self.path).with_context(|| format!("opening {}", self.path.display()))?;
        Ok(BufReader::with_capacity(1 << 20, file))
    }
}

impl Source for Opened {
    fn each(&self, take: &mut dyn FnMut(Reading) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let name = || format!("reading {}", self.path.display());
        match self.format {
            Format::Line => lines(self.file()?, take),
            Format::CsvLong => long(self.file()?, take),
            Format::CsvWide => wide(self.file()?, take),
            Format::Parquet => columns::rows(self.file()?.into_inner(), take),
            Format::Recording => {
                let recording = replay::load(&self.path, &self.columns)?;
                recording.into_rows().into_iter().try_for_each(take)
            }
        }
        .with_context(name)
    }
}

/// What the first line with anything in it looks like.
fn guess(path: &Path) -> anyhow::Result<Format> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut reader = BufReader::new(file);
    if columns::is_beginning(reader.fill_buf().with_context(|| format!("reading {}", path.display()))?) {
        return Ok(Format::Parquet);
    }
    let mut line = String::new();
    while line.trim().is_empty() || line.starts_with('#') {
        line.clear();
        let read = reader.read_line(&mut line).with_context(|| format!("reading {}", path.display()))?;
        if read == 0 {
            bail!("{} is empty", path.display());
        }
    }
    if line.trim() == LONG.join(",") {
        return Ok(Format::CsvLong);
    }
    if line.trim() == WIDE.join(",") || line.starts_with(&format!("{},", WIDE.join(","))) {
        return Ok(Format::CsvWide);
    }
    let is_line = Lines::new(line.as_bytes()).next().is_some_and(|(_, line)| line.is_ok());
    Ok(if is_line { Format::Line } else { Format::Recording })
}

/// Line by line, as a file may be larger than memory. A text in quotes may hold ends of line.
fn lines(
    mut reader: BufReader<File>,
    take: &mut dyn FnMut(Reading) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mapping, now) = (Mapping::default(), voltree_actors::now());
    let (mut raw, mut number, mut names) = (Vec::new(), 0_u64, KnownNames::default());
    loop {
        let read = reader.read_until(b'\n', &mut raw)?;
        number += u64::from(read > 0);
        let line = Lines::new(&raw).next();
        let unfinished = matches!(line, Some((_, Err(LineError::OpenQuote))));
        if unfinished && read > 0 && raw.len() < LONGEST_LINE {
            continue;
        }
        if let Some((_, line)) = line {
            let line = line.with_context(|| format!("line {number}"))?;
            if line.time.is_none() {
                bail!("line {number} has no time, which an import needs");
            }
            let reading = mapping
                .device(&line)
                .and_then(|device| {
                    mapping.reading(&device, line, Precision::Nanoseconds, now, || now, &mut names)
                })
                .with_context(|| format!("line {number}"))?;
            if let Some(left_out) = reading.left_out.first() {
                bail!("line {number}: the field {:?} can't be kept: {}", left_out.name, left_out.reason);
            }
            take(reading)?;
        }
        if read == 0 {
            return Ok(());
        }
        raw.clear();
    }
}

/// Rows of one device and time that follow each other are one reading.
fn long(reader: BufReader<File>, take: &mut dyn FnMut(Reading) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut reader = csv::Reader::from_reader(reader);
    if reader.headers()? != &csv::StringRecord::from(LONG.to_vec()) {
        bail!("the header must be {}", LONG.join(","));
    }
    let mut open = Grouped::new(take);
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let (device, at, metric) = long_row(&record).with_context(|| format!("line {line}"))?;
        open.add(device, at, metric)?;
    }
    open.finish()
}

/// Values one by one, of which those of one device and time that follow each other are one reading.
pub(super) struct Grouped<'a> {
    open: Option<(DeviceId, Timestamp, Vec<Metric>)>,
    take: &'a mut dyn FnMut(Reading) -> anyhow::Result<()>,
}

impl<'a> Grouped<'a> {
    pub(super) fn new(take: &'a mut dyn FnMut(Reading) -> anyhow::Result<()>) -> Self {
        Self { open: None, take }
    }

    pub(super) fn add(&mut self, device: DeviceId, at: Timestamp, metric: Metric) -> anyhow::Result<()> {
        match &mut self.open {
            Some((of, then, metrics)) if *of == device && *then == at => {
                metrics.push(metric);
                Ok(())
            }
            _ => {
                let before = self.open.replace((device, at, vec![metric]));
                self.take_over(before)
            }
        }
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        let last = self.open.take();
        self.take_over(last)
    }

    fn take_over(&mut self, open: Option<(DeviceId, Timestamp, Vec<Metric>)>) -> anyhow::Result<()> {
        let Some((device, at, metrics)) = open else { return Ok(()) };
        let (metrics, attributes, left_out) = (metrics.into(), Vec::new(), Vec::new());
        (self.take)(Reading { device, at, metrics, attributes, left_out })
    }
}

fn long_row(record: &csv::StringRecord) -> anyhow::Result<(DeviceId, Timestamp, Metric)> {
    let cell = |index| record.get(index).unwrap_or_default();
    let name = MetricName::new(cell(2))?;
    let metric = Metric { name, value: number(cell(3))?, unit: unit(cell(4))? };
    Ok((DeviceId::new(cell(1))?, Timestamp::parse_rfc3339(cell(0))?, metric))
}

fn wide(reader: BufReader<File>, take: &mut dyn FnMut(Reading) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut reader = csv::Reader::from_reader(reader);
    let series = reader.headers()?.iter().skip(WIDE.len()).map(column).collect::<anyhow::Result<Vec<_>>>()?;
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        take(wide_row(&record, &series).with_context(|| format!("line {line}"))?)?;
    }
    Ok(())
}

/// `name` or `name [unit]`.
fn column(header: &str) -> anyhow::Result<(MetricName, Option<Unit>)> {
    let parts = header.strip_suffix(']').and_then(|rest| rest.rsplit_once(" ["));
    let (name, unit) = parts.map_or((header, None), |(name, unit)| (name, Some(unit)));
    let unit = unit.map(Unit::new).transpose();
    let named = MetricName::new(name).and_then(|name| Ok((name, unit?)));
    named.with_context(|| format!("the column {header:?}"))
}

fn wide_row(record: &csv::StringRecord, series: &[(MetricName, Option<Unit>)]) -> anyhow::Result<Reading> {
    let cell = |index| record.get(index).unwrap_or_default();
    let (at, device) = (Timestamp::parse_rfc3339(cell(0))?, DeviceId::new(cell(1))?);
    let mut metrics = Vec::new();
    for (cell, (name, unit)) in record.iter().skip(WIDE.len()).zip(series) {
        if !cell.is_empty() {
            metrics.push(Metric { name: name.clone(), value: number(cell)?, unit: unit.clone() });
        }
    }
    if metrics.is_empty() {
        bail!("the row has no values");
    }
    Ok(Reading { device, at, metrics: metrics.into(), attributes: Vec::new(), left_out: Vec::new() })
}

fn number(cell: &str) -> anyhow::Result<f64> {
    match cell.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) | Err(_) => bail!("{cell:?} is no finite number"),
    }
}

fn unit(cell: &str) -> anyhow::Result<Option<Unit>> {
    Ok(if cell.is_empty() { None } else { Some(Unit::new(cell)?) })
}
