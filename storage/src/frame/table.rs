//! Rows as columns: what a frame holds, before it is encoded or after it was decoded.
//!
//! Readings become a table and tables are put together without a row ever being made, as a row has a name for every value.
//! Only readings that meet others of their moment go through rows. No column is ever longer than the table has rows.

use std::collections::BTreeMap;

use voltree_model::{MetricName, Origin, Timestamp, Unit};

use crate::head::OpenReading;
use crate::rollup::Moment;
use crate::{Row, Sample};

/// So many readings are taken apart at once: what they hold stays in the processor's nearest memory.
const ROWS_AT_ONCE: usize = 64;

/// Some rows of one device, as columns; their times ascend.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Table {
    pub(super) times: Vec<i64>,
    pub(super) origins: Vec<Origin>,
    /// Rows with another set of stored readings than the one that their origin names.
    pub(super) stored: BTreeMap<usize, Vec<Origin>>,
    pub(super) columns: Vec<Column>,
}

/// The values of one series in one unit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) name: MetricName,
    pub(super) unit: Option<Unit>,
    /// The rows that have a value, ascending; without it they are the first ones.
    pub(super) rows: Option<Vec<usize>>,
    pub(super) values: Vec<f64>,
}

impl Table {
    /// The rows of readings whose times ascend; of two values of one name in a reading the later counts.
    pub(crate) fn of_readings(readings: &[&OpenReading]) -> Self {
        let mut table = Self {
            times: readings.iter().map(|reading| reading.at.as_millis()).collect(),
            origins: readings.iter().map(|reading| reading.origin()).collect(),
            ..Self::default()
        };
        let (mut row, mut values) = (0, Vec::new());
        for alike in readings.chunk_by(|a, b| a.series() == b.series()) {
            let Some(first) = alike.first() else { continue };
            let places = table.places(first, readings.len() - row);
            for some in alike.chunks(ROWS_AT_ONCE) {
                values.clear();
                some.iter().for_each(|reading| reading.push_values(&mut values));
                for (index, place) in &places {
                    let Some(column) = table.columns.get_mut(*place) else { continue };
                    let of_column = values.iter().skip(*index).step_by(first.series().len().max(1));
                    (row..).zip(of_column).for_each(|(row, value)| column.push(row, *value));
                }
                row += some.len();
            }
        }
        table
    }

    /// The same as rows.
    pub(crate) fn of_rows(rows: &BTreeMap<Timestamp, Row>) -> Self {
        let unusual = rows.values().enumerate().filter(|(_, row)| row.stored != [row.origin]);
        let mut table = Self {
            times: rows.keys().map(|at| at.as_millis()).collect(),
            origins: rows.values().map(|row| row.origin).collect(),
            stored: unusual.map(|(index, row)| (index, row.stored.clone())).collect(),
            columns: Vec::new(),
        };
        for (index, row) in rows.values().enumerate() {
            // Rows are mostly alike, so a sample's column is mostly the one after the last sample's.
            let mut next = 0;
            for sample in &row.samples {
                let column = table.find_column(next, &sample.name, sample.unit.as_ref());
                next = column + 1;
                if let Some(column) = table.columns.get_mut(column) {
                    column.push(index, sample.value);
                }
            }
        }
        table
    }

    /// The same as rows, which take many times the room.
    pub(crate) fn into_rows(mut self) -> BTreeMap<Timestamp, Row> {
        let stored = |index: usize, origin: Origin, unusual: &mut BTreeMap<usize, Vec<Origin>>| {
            unusual.remove(&index).unwrap_or_else(|| vec![origin])
        };
        let mut rows: Vec<Row> = Vec::with_capacity(self.times.len());
        for (index, origin) in self.origins.iter().enumerate() {
            let stored = stored(index, *origin, &mut self.stored);
            rows.push(Row { origin: *origin, stored, samples: Vec::with_capacity(self.columns.len()) });
        }
        for column in &self.columns {
            for (row, value) in column.cells() {
                let Some(row) = rows.get_mut(row) else { continue };
                row.samples.push(Sample { name: column.name.clone(), value, unit: column.unit.clone() });
            }
        }
        for row in &mut rows {
            row.samples.sort_by(|a, b| a.name.cmp(&b.name));
            row.samples.dedup_by(|a, b| a.name == b.name);
        }
        self.times.into_iter().map(Timestamp::from_millis).zip(rows).collect()
    }

    /// How many rows it has.
    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    /// The times of its first and its last row, in UTC milliseconds.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        self.times.first().copied().zip(self.times.last().copied())
    }

    /// Puts all rows of some tables into one, which is in the order of time however they lie. No moment is in two.
    pub(crate) fn join(mut tables: Vec<Self>) -> Self {
        tables.retain(|table| table.len() > 0);
        tables.sort_by_key(Self::span);
        let apart = |pair: &[Self]| match pair {
            [a, b] => a.span().map(|(_, last)| last) < b.span().map(|(first, _)| first),
            _ => true,
        };
        if !tables.windows(2).all(apart) {
            let mut rows = BTreeMap::new();
            tables.into_iter().for_each(|table| rows.append(&mut table.into_rows()));
            return Self::of_rows(&rows);
        }
        let mut tables = tables.into_iter();
        let mut all = tables.next().unwrap_or_default();
        tables.for_each(|table| all.append(table));
        all
    }

    /// Hands the samples of each series to `each`, in the order of time, and whether every row has one.
    pub(crate) fn each_series(&self, mut each: impl FnMut(&MetricName, &[Moment], bool)) {
        let mut by_name: BTreeMap<&MetricName, Vec<&Column>> = BTreeMap::new();
        for column in &self.columns {
            by_name.entry(&column.name).or_default().push(column);
        }
        let mut points = Vec::with_capacity(self.len());
        for (name, columns) in by_name {
            points.clear();
            for column in &columns {
                let moment = |(row, value): (usize, f64)| Some(Moment { at: *self.times.get(row)?, value });
                points.extend(column.cells().filter_map(moment));
            }
            // A series whose unit changed has two columns.
            if columns.len() > 1 {
                points.sort_by_key(|point| point.at);
                points.dedup_by_key(|point| point.at);
            }
            each(name, &points, points.len() == self.len());
        }
    }

    /// Adds rows that are all later.
    fn append(&mut self, later: Self) {
        let before = self.len();
        self.times.extend(later.times);
        self.origins.extend(later.origins);
        self.stored.extend(later.stored.into_iter().map(|(row, stored)| (before + row, stored)));
        for (index, column) in later.columns.into_iter().enumerate() {
            let known = self.find_column(index, &column.name, column.unit.as_ref());
            if let Some(known) = self.columns.get_mut(known) {
                known.append(before, column);
            }
        }
    }

    /// Takes away all rows from one on.
    pub(crate) fn split_off(&mut self, from: usize) -> Self {
        let stored = self.stored.split_off(&from);
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            columns.push(column.split_off(from));
        }
        self.columns.retain(|column| !column.values.is_empty());
        columns.retain(|column| !column.values.is_empty());
        Self {
            times: self.times.split_off(from),
            origins: self.origins.split_off(from),
            stored: stored.into_iter().map(|(row, stored)| (row - from, stored)).collect(),
            columns,
        }
    }

    /// Where the values of a reading lie that count, and the columns that they belong to, with room for so many more.
    fn places(&mut self, reading: &OpenReading, more: usize) -> Vec<(usize, usize)> {
        let mut places = Vec::with_capacity(reading.series().len());
        for (index, name, unit) in in_order(reading) {
            let place = self.find_column(places.len(), name, unit);
            if let Some(column) = self.columns.get_mut(place) {
                column.values.reserve(more);
            }
            places.push((index, place));
        }
        places
    }

    /// The column of a series, which is made if there is none; `likely` is where it may be.
    fn find_column(&mut self, likely: usize, name: &MetricName, unit: Option<&Unit>) -> usize {
        let wanted = |column: &Column| column.name == *name && column.unit.as_ref() == unit;
        let mut places = (likely..self.columns.len()).chain(0..likely.min(self.columns.len()));
        if let Some(known) = places.find(|index| self.columns.get(*index).is_some_and(wanted)) {
            return known;
        }
        let (name, unit) = (name.clone(), unit.cloned());
        self.columns.push(Column { name, unit, rows: None, values: Vec::new() });
        self.columns.len() - 1
    }
}

/// Where the values of a reading lie that count, with their names in order.
fn in_order(reading: &OpenReading) -> Vec<(usize, &MetricName, Option<&Unit>)> {
    let series = reading.series().iter().enumerate().rev();
    let mut series: Vec<_> = series.map(|(index, (name, unit))| (index, name, unit.as_ref())).collect();
    series.sort_by_key(|(_, name, _)| *name);
    series.dedup_by(|(_, earlier, _), (_, kept, _)| earlier == kept);
    series
}

impl Column {
    fn push(&mut self, row: usize, value: f64) {
        match &mut self.rows {
            None if self.values.len() == row => {}
            None => self.rows = Some((0..self.values.len()).chain([row]).collect()),
            Some(rows) => rows.push(row),
        }
        self.values.push(value);
    }

    fn append(&mut self, before: usize, later: Self) {
        if self.values.len() == before && self.rows.is_none() && later.rows.is_none() {
            self.values.extend(later.values);
            return;
        }
        let rows = self.rows.get_or_insert_with(|| (0..self.values.len()).collect());
        match later.rows {
            Some(more) => rows.extend(more.into_iter().map(|row| before + row)),
            None => rows.extend(before..before + later.values.len()),
        }
        self.values.extend(later.values);
    }

    fn split_off(&mut self, from: usize) -> Self {
        let at = match &self.rows {
            Some(rows) => rows.partition_point(|row| *row < from),
            None => from.min(self.values.len()),
        };
        let rows = self.rows.as_mut().map(|rows| rows.split_off(at));
        let rows = rows.map(|rows| rows.into_iter().map(|row| row - from).collect());
        let values = self.values.split_off(at);
        Self { name: self.name.clone(), unit: self.unit.clone(), rows, values }
    }

    /// Its rows and values.
    pub(super) fn cells(&self) -> impl Iterator<Item = (usize, f64)> {
        let row = |place: usize| self.rows.as_ref().map_or(Some(place), |rows| rows.get(place).copied());
        self.values.iter().enumerate().filter_map(move |(place, value)| Some((row(place)?, *value)))
    }
}
