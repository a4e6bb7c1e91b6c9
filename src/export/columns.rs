//! An export as Parquet: a row a value, in row groups that fit in memory, for whatever reads columns.
//!
//! A Parquet file says at its end what is in it, so one that was not finished is nothing: it is written beside its place,
//! moved there when it is whole, and taken away if it does not come to that.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use voltree_model::{DeviceId, MetricName, Timestamp, Unit};
use voltree_storage::{Archive, Sample};

use super::partial::beside;
use super::{Exported, Selection, Sink, days};
use crate::storage::Progress;

/// The same columns as those of the long form of CSV.
const SCHEMA: &str = "message voltree {
    required int64 time (TIMESTAMP(MILLIS, true));
    required binary device (STRING);
    required binary metric (STRING);
    required double value;
    optional binary unit (STRING);
}";
/// How many rows a group has: they are held in memory until it is written.
const GROUP_ROWS: usize = 1 << 20;

/// A file on its way.
struct Columns<W: Write + Send> {
    file: SerializedFileWriter<W>,
    times: Vec<i64>,
    devices: Vec<ByteArray>,
    metrics: Vec<ByteArray>,
    values: Vec<f64>,
    units: Vec<ByteArray>,
    /// Which rows have a unit.
    has_unit: Vec<i16>,
    /// Every name once, as rows share them.
    names: BTreeMap<String, ByteArray>,
}

/// Exports to the file, or to standard output.
pub(super) fn export(
    file: Option<&Path>,
    archive: &Archive,
    selection: &Selection,
    progress: &mut Progress,
) -> anyhow::Result<Exported> {
    let Some(place) = file else {
        return write(io::stdout(), archive, selection, progress).map(|(exported, _)| exported);
    };
    let partial = beside(place, ".partial");
    let created = File::create(&partial).with_context(|| format!("creating {}", partial.display()))?;
    let written = write(created, archive, selection, progress).and_then(|(exported, file)| {
        let in_place = || file.sync_all().and_then(|()| fs::rename(&partial, place));
        if !exported.stopped {
            in_place().with_context(|| format!("writing {}", place.display()))?;
        }
        Ok(exported)
    });
    // What is in its place is not here any more.
    fs::remove_file(&partial).ok();
    written
}

fn write<W: Write + Send>(
    out: W,
    archive: &Archive,
    selection: &Selection,
    progress: &mut Progress,
) -> anyhow::Result<(Exported, W)> {
    let mut columns = Columns::new(out)?;
    let exported = days(archive, selection, None, progress, &mut columns)?;
    columns.group()?;
    Ok((exported, columns.file.into_inner()?))
}

impl<W: Write + Send> Columns<W> {
    fn new(out: W) -> anyhow::Result<Self> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        Ok(Self {
            file: SerializedFileWriter::new(out, schema, Arc::new(properties))?,
            times: Vec::new(),
            devices: Vec::new(),
            metrics: Vec::new(),
            values: Vec::new(),
            units: Vec::new(),
            has_unit: Vec::new(),
            names: BTreeMap::new(),
        })
    }

    fn name(&mut self, name: &str) -> ByteArray {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let bytes = ByteArray::from(name);
        self.names.insert(name.to_owned(), bytes.clone());
        bytes
    }

    /// Writes what waits as a group of its own.
    fn group(&mut self) -> anyhow::Result<()> {
        if self.times.is_empty() {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        column::<Int64Type, W>(&mut group, &self.times, None)?;
        column::<ByteArrayType, W>(&mut group, &self.devices, None)?;
        column::<ByteArrayType, W>(&mut group, &self.metrics, None)?;
        column::<DoubleType, W>(&mut group, &self.values, None)?;
        column::<ByteArrayType, W>(&mut group, &self.units, Some(&self.has_unit))?;
        group.close()?;
        self.times.clear();
        self.devices.clear();
        self.metrics.clear();
        self.values.clear();
        self.units.clear();
        self.has_unit.clear();
        Ok(())
    }
}

fn column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    present: Option<&[i16]>,
) -> anyhow::Result<()> {
    let mut column = group.next_column()?.context("a column of the schema is missing")?;
    column.typed::<T>().write_batch(values, present, None)?;
    column.close()?;
    Ok(())
}

impl<W: Write + Send> Sink for Columns<W> {
    fn row(&mut self, device: &DeviceId, at: Timestamp, samples: &[&Sample]) -> anyhow::Result<u64> {
        let device = self.name(device.as_str());
        for sample in samples {
            self.times.push(at.as_millis());
            self.devices.push(device.clone());
            let metric = self.name(sample.name.as_str());
            self.metrics.push(metric);
            self.values.push(sample.value);
            self.has_unit.push(i16::from(sample.unit.is_some()));
            if let Some(unit) = sample.unit.as_ref().map(Unit::as_str) {
                let unit = self.name(unit);
                self.units.push(unit);
            }
        }
        if self.times.len() >= GROUP_ROWS {
            self.group()?;
        }
        Ok(0)
    }

    fn texts(&mut self, _: &DeviceId, _: Timestamp, _: &BTreeMap<MetricName, String>) -> anyhow::Result<()> {
        Ok(())
    }

    fn end_of_day(&mut self, _: Timestamp) -> anyhow::Result<()> {
        Ok(())
    }
}
