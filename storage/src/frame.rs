//! A frame: up to a few thousand rows of one device in one hour, as columns: one of times, one of origins, one a series.
//!
//! Values are bit-exact. A checksum covers the frame, and bytes that pass it are still not trusted: decoding never
//! panics, and never allocates more than the row count allows.

pub(crate) mod column;
mod table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use voltree_model::{MetricName, Origin, Timestamp, Unit};

use crate::rollup::Moment;
use crate::{Error, Row, SeriesPoint, record};
use column::{Reader, presence};
use table::Column;

pub(crate) use column::Packing;
pub(crate) use table::Table;

const MAGIC: &[u8; 4] = b"VTFR";
/// The version that is written.
const VERSION: u8 = 3;
/// Has no packed columns. Still read, and as good.
const SECOND_VERSION: u8 = 2;
/// All columns are pco's floats or integers, without a codec of their own. Still read.
const FIRST_VERSION: u8 = 1;
/// Magic, version, rows, first and last time.
const HEADER_BYTES: usize = 4 + 1 + 4 + 8 + 8;
const CHECKSUM_BYTES: usize = 4;
/// More rows than any writer puts into a frame.
pub(crate) const MAX_ROWS: usize = 65_536;

/// What a frame's header says, which is enough to know whether to open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSpan {
    /// How many rows it has.
    pub rows: usize,
    /// The time of its first row.
    pub first: Timestamp,
    /// The time of its last row.
    pub last: Timestamp,
}

/// Everything about the columns but their values.
#[derive(Debug, Serialize, Deserialize)]
struct Directory {
    series: Vec<SeriesHead>,
    /// Rows with another set of stored readings than the one that `origin` names.
    stored: Vec<(u32, Vec<Origin>)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SeriesHead {
    name: MetricName,
    unit: Option<Unit>,
    /// How many rows have a value.
    present: u32,
}

/// A frame whose checksum was found good, ready to be read by column.
#[derive(Debug)]
pub struct Frame<'a> {
    version: u8,
    span: FrameSpan,
    directory: Directory,
    times: Vec<i64>,
    /// Decompressed only when asked for: most readers want values alone.
    origins: Reader<'a>,
    values: Reader<'a>,
}

impl FrameSpan {
    /// Reads the header alone, without checking the rest.
    pub fn peek(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(corrupt("it does not begin like a frame"));
        }
        if !matches!(reader.u8()?, FIRST_VERSION | SECOND_VERSION | VERSION) {
            return Err(corrupt("its version is not known here"));
        }
        let rows = usize::try_from(reader.u32()?).map_err(|_| corrupt("it has too many rows"))?;
        if rows == 0 || rows > MAX_ROWS {
            return Err(corrupt("its number of rows can't be"));
        }
        let (first, last) = (Timestamp::from_millis(reader.i64()?), Timestamp::from_millis(reader.i64()?));
        Ok(Self { rows, first, last })
    }

    /// Whether a moment lies within.
    pub fn covers(&self, at: Timestamp) -> bool {
        self.first <= at && at <= self.last
    }
}

impl<'a> Frame<'a> {
    /// Encodes rows; there must be at least one.
    pub fn encode(rows: &BTreeMap<Timestamp, Row>) -> Result<Vec<u8>, Error> {
        Self::encode_table(&Table::of_rows(rows), Packing::Tight)
    }

    /// Encodes a table; it must have at least one row.
    pub(crate) fn encode_table(table: &Table, packing: Packing) -> Result<Vec<u8>, Error> {
        let Some((first, last)) = table.span() else {
            return Err(Error::Compress { why: "there are no rows".to_owned() });
        };
        let count = u32::try_from(table.len()).ok().filter(|_| table.len() <= MAX_ROWS);
        let count =
            count.ok_or_else(|| Error::Compress { why: format!("{} rows are too many", table.len()) })?;
        let mut bytes = [MAGIC.as_slice(), &[VERSION], &count.to_le_bytes()].concat();
        bytes.extend_from_slice(&first.to_le_bytes());
        bytes.extend_from_slice(&last.to_le_bytes());

        let directory = record::encode(&Directory::of(table))
            .map_err(|source| Error::Encode { what: "a frame's directory", source })?;
        column::push(&mut bytes, &directory);
        let epochs = table.origins.iter().map(|origin| i64::from(origin.epoch));
        let sequences = table.origins.iter().map(|origin| origin.sequence.cast_signed());
        column::push_integers(&mut bytes, &table.times, packing)?;
        column::push_integers(&mut bytes, &epochs.collect::<Vec<_>>(), packing)?;
        column::push_integers(&mut bytes, &sequences.collect::<Vec<_>>(), packing)?;
        for Column { rows, values, .. } in &table.columns {
            if values.len() < table.len() {
                let bits = match rows {
                    Some(rows) => presence(rows.iter().copied(), table.len()),
                    None => presence(0..values.len(), table.len()),
                };
                column::push(&mut bytes, &bits);
            }
            column::push_floats(&mut bytes, values, packing)?;
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        Ok(bytes)
    }

    /// Checks a frame and reads what all its columns share.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        let split = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(corrupt("it is too short"))?;
        let (body, checksum) = bytes.split_at(split);
        if checksum != crc32fast::hash(body).to_le_bytes() {
            return Err(corrupt("its checksum does not match"));
        }
        let span = FrameSpan::peek(body)?;
        let mut reader = Reader::new(body.get(HEADER_BYTES..).unwrap_or_default());
        let directory: Directory =
            record::decode(reader.block()?).map_err(|_| corrupt("its directory can't be decoded"))?;
        let version = body.get(MAGIC.len()).copied().unwrap_or(VERSION);
        let times = match version {
            FIRST_VERSION => reader.numbers(span.rows)?,
            _ => reader.integers(span.rows)?,
        };
        if !times.is_sorted_by(|a, b| a < b) {
            return Err(corrupt("its times do not ascend"));
        }
        let origins = reader;
        reader.block()?;
        reader.block()?;
        Ok(Self { version, span, directory, times, origins, values: reader })
    }

    /// How many readings count as stored in it.
    pub fn stored(&self) -> u64 {
        let unusual: usize = self.directory.stored.iter().map(|(_, stored)| stored.len()).sum();
        let usual = self.span.rows.saturating_sub(self.directory.stored.len());
        u64::try_from(usual + unusual).unwrap_or(u64::MAX)
    }

    /// How many values it has.
    pub(crate) fn samples(&self) -> u64 {
        self.directory.series.iter().map(|series| u64::from(series.present)).sum()
    }

    /// Whether it would be smaller if it were written now.
    pub(crate) fn is_old(&self) -> bool {
        self.version == FIRST_VERSION
    }

    fn origins(&self) -> Result<Vec<Origin>, Error> {
        let mut reader = self.origins;
        if self.version == FIRST_VERSION {
            let epochs = reader.numbers::<u32>(self.span.rows)?;
            let origins = epochs.into_iter().zip(reader.numbers::<u64>(self.span.rows)?);
            return Ok(origins.map(|(epoch, sequence)| Origin { epoch, sequence }).collect());
        }
        let epochs = reader.integers(self.span.rows)?;
        let origins = epochs.into_iter().zip(reader.integers(self.span.rows)?);
        let origin = |(epoch, sequence): (i64, i64)| {
            let epoch = u32::try_from(epoch).map_err(|_| corrupt("it has an impossible origin"))?;
            Ok(Origin { epoch, sequence: sequence.cast_unsigned() })
        };
        origins.map(origin).collect()
    }

    /// When its rows are of, in UTC milliseconds, ascending.
    pub(crate) fn times(&self) -> &[i64] {
        &self.times
    }

    /// All rows.
    pub fn rows(&self) -> Result<BTreeMap<Timestamp, Row>, Error> {
        self.table().map(Table::into_rows)
    }

    /// All rows, as columns.
    pub(crate) fn table(&self) -> Result<Table, Error> {
        let mut stored = BTreeMap::new();
        for (index, of_row) in &self.directory.stored {
            let row = usize::try_from(*index).ok().filter(|index| *index < self.span.rows);
            stored.insert(row.ok_or(corrupt("its directory names a row that is not there"))?, of_row.clone());
        }
        let mut reader = self.values;
        let mut columns = Vec::new();
        for head in &self.directory.series {
            columns.push(self.column(&mut reader, head)?);
        }
        Ok(Table { times: self.times.clone(), origins: self.origins()?, stored, columns })
    }

    /// One series, in the order of time; only its own columns are decompressed.
    pub fn series(&self, metric: &MetricName) -> Result<Vec<SeriesPoint>, Error> {
        let mut points = Vec::new();
        let origins = self.origins()?;
        let mut reader = self.values;
        for head in &self.directory.series {
            if head.name != *metric {
                self.skip(&mut reader, head)?;
                continue;
            }
            for (index, value) in self.column(&mut reader, head)?.cells() {
                let (Some(at), Some(origin)) = (self.times.get(index), origins.get(index)) else {
                    return Err(corrupt("it has a value for no row"));
                };
                let at = Timestamp::from_millis(*at);
                points.push(SeriesPoint { at, value, unit: head.unit.clone(), origin: *origin });
            }
        }
        // A series whose unit changed has two columns.
        points.sort_by_key(|point| point.at);
        Ok(points)
    }

    /// Appends the values of one series in the order of time, without units and origins.
    pub(crate) fn values(&self, metric: &MetricName, points: &mut Vec<Moment>) -> Result<(), Error> {
        let before = points.len();
        let mut columns = 0;
        let mut reader = self.values;
        for head in &self.directory.series {
            if head.name != *metric {
                self.skip(&mut reader, head)?;
                continue;
            }
            columns += 1;
            self.push_moments(&mut reader, head, points)?;
        }
        if columns > 1 {
            points.get_mut(before..).unwrap_or_default().sort_by_key(|point| point.at);
        }
        Ok(())
    }

    /// Appends the values of every series, those of each column in the order of time.
    pub(crate) fn all_values(&self, points: &mut BTreeMap<MetricName, Vec<Moment>>) -> Result<(), Error> {
        let mut reader = self.values;
        for head in &self.directory.series {
            self.push_moments(&mut reader, head, points.entry(head.name.clone()).or_default())?;
        }
        Ok(())
    }

    fn push_moments(
        &self,
        reader: &mut Reader<'a>,
        head: &SeriesHead,
        points: &mut Vec<Moment>,
    ) -> Result<(), Error> {
        let column = self.column(reader, head)?;
        let moment = |(row, value): (usize, f64)| Some(Moment { at: *self.times.get(row)?, value });
        points.extend(column.cells().filter_map(moment));
        Ok(())
    }

    fn column(&self, reader: &mut Reader<'a>, head: &SeriesHead) -> Result<Column, Error> {
        let present = usize::try_from(head.present).ok().filter(|present| *present <= self.span.rows);
        let present = present.ok_or(corrupt("a series has more values than there are rows"))?;
        let rows = match present < self.span.rows {
            true => Some(column::present_rows(reader.block()?, self.span.rows)),
            false => None,
        };
        if rows.as_ref().is_some_and(|rows| rows.len() != present) {
            return Err(corrupt("a series has another length than its directory says"));
        }
        let values = match self.version {
            FIRST_VERSION => reader.numbers(present)?,
            _ => reader.floats(present)?,
        };
        Ok(Column { name: head.name.clone(), unit: head.unit.clone(), rows, values })
    }

    fn skip(&self, reader: &mut Reader<'a>, head: &SeriesHead) -> Result<(), Error> {
        if usize::try_from(head.present).is_ok_and(|present| present < self.span.rows) {
            reader.block()?;
        }
        reader.block()?;
        Ok(())
    }
}

impl Directory {
    fn of(table: &Table) -> Self {
        let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let head = |column: &Column| SeriesHead {
            name: column.name.clone(),
            unit: column.unit.clone(),
            present: short(column.values.len()),
        };
        Self {
            series: table.columns.iter().map(head).collect(),
            stored: table.stored.iter().map(|(index, stored)| (short(*index), stored.clone())).collect(),
        }
    }
}

pub(crate) fn corrupt(why: &'static str) -> Error {
    Error::CorruptFrame { why }
}

#[cfg(test)]
mod tests;
