//! Parquet as voltree export writes it: a row a value.

use std::fs::File;

use anyhow::{Context as _, bail};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::{Row, RowAccessor as _};
use voltree_model::{DeviceId, Metric, MetricName, Reading, Timestamp, Unit};

use super::file::Grouped;
use crate::export::LONG;

/// Whether a file that begins like this is Parquet.
pub(super) fn is_beginning(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PAR1")
}

/// Rows of one device and time that follow each other are one reading.
pub(super) fn rows(file: File, take: &mut dyn FnMut(Reading) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let reader = SerializedFileReader::new(file).context("it is no whole Parquet file")?;
    let schema = reader.metadata().file_metadata().schema().clone();
    let columns: Vec<_> = schema.get_fields().iter().map(|column| column.name().to_owned()).collect();
    if columns != LONG {
        bail!("the columns must be {}, and are {}", LONG.join(", "), columns.join(", "));
    }
    let mut open = Grouped::new(take);
    for (number, row) in (1_u64..).zip(reader.get_row_iter(None)?) {
        let (device, at, metric) = value(&row?).with_context(|| format!("row {number}"))?;
        open.add(device, at, metric)?;
    }
    open.finish()
}

fn value(row: &Row) -> anyhow::Result<(DeviceId, Timestamp, Metric)> {
    let at = row.get_timestamp_millis(0).context("the time must be in milliseconds")?;
    let value = row.get_double(3)?;
    if !value.is_finite() {
        bail!("{value} is no finite number");
    }
    // An empty cell is no text.
    let unit = row.get_string(4).ok().map(Unit::new).transpose()?;
    let metric = Metric { name: MetricName::new(row.get_string(2)?)?, value, unit };
    Ok((DeviceId::new(row.get_string(1)?)?, Timestamp::from_millis(at), metric))
}
