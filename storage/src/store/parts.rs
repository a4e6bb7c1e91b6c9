//! The parts of one device-hour while readings are merged into them.
//!
//! A moment has its row in exactly one part. Parts are decoded only when a reading's moment may lie in them, and only
//! those that changed are written again, all of an hour in one batch. New rows become a part of their own, however few
//! they are, so that a device which says little does not have its hour written again for each word. Parts of about one
//! size are merged when there are eight of them, so a row is rewritten a few times only; at the end of the hour all are.

use std::collections::BTreeMap;

use voltree_model::{DeviceId, Timestamp};

use crate::bucket::{Hour, key, parse_key};
use crate::frame::{Packing, Table};
use crate::head::OpenReading;
use crate::kv::Pair;
use crate::{Absorbed, Error, Frame, FrameSpan, Row};

/// The most rows a part takes.
const MAX_ROWS: usize = 4_096;
/// The size past which a part takes no more rows, or is split: large values are the engine's weak spot.
const MAX_BYTES: usize = 128 * 1024;

/// A part of fewer rows is about as small however it is packed.
const WORTH_PACKING: usize = 256;

/// So many parts of about one size are merged; sizes are about one if this does not lie between them.
const MERGE_AT: usize = 8;
/// Parts that come to more wait for the end of the hour: there are few of them, and then they are packed once.
const MERGED_EARLY: usize = MAX_ROWS / 4;

/// The parts of one device-hour.
pub(super) struct HourParts<R> {
    parts: Vec<Part>,
    next_number: u16,
    /// The place of the part that takes new rows.
    fresh: Option<usize>,
    /// Parts whose rows went into others.
    gone: Vec<u16>,
    packing: Packing,
    report: R,
}

/// What is to be written, all or none.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) parts: Vec<Pair>,
    pub(super) gone: Vec<Vec<u8>>,
}

struct Part {
    number: u16,
    rows: Rows,
    changed: bool,
}

enum Rows {
    Encoded {
        span: FrameSpan,
        bytes: Vec<u8>,
    },
    Columns(Table),
    /// Some of them met others of their moment.
    Decoded(BTreeMap<Timestamp, Row>),
    /// Damaged: left as it is, for whoever can repair it.
    Unreadable,
}

impl<R: FnMut(Error)> HourParts<R> {
    /// The parts as they are stored; `report` hears of those that are damaged.
    pub(super) fn new(stored: Vec<Pair>, mut report: R) -> Self {
        let mut parts = Vec::with_capacity(stored.len());
        for (key, bytes) in stored {
            let Some((_, number)) = parse_key(&key) else { continue };
            let rows = match FrameSpan::peek(&bytes) {
                Ok(span) => Rows::Encoded { span, bytes },
                Err(error) => {
                    report(error);
                    Rows::Unreadable
                }
            };
            parts.push(Part { number, rows, changed: false });
        }
        let next_number = parts.last().map_or(0, |part| part.number.saturating_add(1));
        Self { parts, next_number, fresh: None, gone: Vec::new(), packing: Packing::Quick, report }
    }

    /// Takes in readings, in the order of their arrival; says how many count as stored. The others are duplicates.
    pub(super) fn absorb_all(&mut self, readings: &[&OpenReading]) -> u64 {
        if self.are_news(readings) {
            for readings in readings.chunks(MAX_ROWS) {
                self.push(Rows::Columns(Table::of_readings(readings)));
            }
            return u64::try_from(readings.len()).unwrap_or(u64::MAX);
        }
        let stored = readings.iter().filter(|reading| self.absorb(reading) == Absorbed::Stored).count();
        u64::try_from(stored).unwrap_or(u64::MAX)
    }

    /// Whether the readings are in the order of time and come where there are no rows yet, as they mostly do.
    fn are_news(&self, readings: &[&OpenReading]) -> bool {
        let (Some(first), Some(last)) = (readings.first(), readings.last()) else { return false };
        let is_apart = |part: &Part| part.span().is_none_or(|(begin, end)| last.at < begin || end < first.at);
        readings.is_sorted_by(|a, b| a.at < b.at) && self.parts.iter().all(is_apart)
    }

    /// Takes in a reading: into the row of its moment, or into a row of its own.
    fn absorb(&mut self, reading: &OpenReading) -> Absorbed {
        let (at, origin, metrics) = (&reading.at, reading.origin(), &reading.metrics());
        for part in &mut self.parts {
            let Some(rows) = part.rows_around(*at, &mut self.report) else { continue };
            let Some(row) = rows.get_mut(at) else { continue };
            let absorbed = row.absorb(origin, metrics);
            part.changed = true;
            return absorbed;
        }
        let part = self.with_room();
        if let Rows::Decoded(rows) = &mut part.rows {
            rows.insert(*at, Row::new(origin, metrics));
        }
        Absorbed::Stored
    }

    fn with_room(&mut self) -> &mut Part {
        let fresh =
            self.fresh.filter(|index| self.parts.get(*index).is_some_and(|part| part.len() < MAX_ROWS));
        let index = fresh.unwrap_or(self.parts.len());
        if fresh.is_none() {
            self.push(Rows::Decoded(BTreeMap::new()));
            self.fresh = Some(index);
        }
        &mut self.parts[index]
    }

    fn push(&mut self, rows: Rows) {
        self.parts.push(Part { number: self.next_number, rows, changed: true });
        self.next_number = self.next_number.saturating_add(1);
    }

    /// Merges the newest parts as long as there are many of about one size.
    pub(super) fn merge_tail(&mut self) {
        while let Some(most) = self.parts.last().map(|part| part.len().saturating_mul(MERGE_AT)) {
            let small =
                self.parts.iter().rev().take_while(|part| part.is_readable() && part.len() < most).count();
            if small < MERGE_AT || most > MERGED_EARLY {
                break;
            }
            self.merge(self.parts.len() - small);
        }
    }

    /// Merges all parts into as few as can be: the hour is over.
    pub(super) fn merge_all(&mut self) {
        self.packing = Packing::Tight;
        let mut small = self.parts.iter().filter(|part| part.is_readable() && part.len() < MAX_ROWS);
        // A part of many rows that lies there alone is worth being packed again.
        if small.clone().count() > 1 || small.any(Part::is_worth_packing) {
            self.merge(0);
        }
    }

    /// Merges the parts from a place on, as far as they can be read, into the first of them.
    fn merge(&mut self, from: usize) {
        let mut tables = Vec::new();
        let mut numbers = Vec::new();
        let mut kept = Vec::new();
        for part in self.parts.split_off(from) {
            let number = part.number;
            match part.into_table(&mut self.report) {
                Ok(table) => {
                    tables.push(table);
                    numbers.push(number);
                }
                Err(part) => kept.push(part),
            }
        }
        let mut numbers = numbers.into_iter();
        let mut table = Table::join(tables);
        while table.len() > MAX_ROWS {
            let rest = table.split_off(MAX_ROWS);
            self.push_merged(&mut numbers, std::mem::replace(&mut table, rest));
        }
        self.push_merged(&mut numbers, table);
        self.gone.extend(numbers);
        self.parts.extend(kept);
        self.parts.sort_by_key(|part| part.number);
        self.fresh = None;
    }

    fn push_merged(&mut self, numbers: &mut impl Iterator<Item = u16>, table: Table) {
        let rows = Rows::Columns(table);
        match numbers.next() {
            Some(number) => self.parts.push(Part { number, rows, changed: true }),
            None => self.push(rows),
        }
    }

    /// All rows, if they are in one part that was just merged.
    pub(super) fn only_table(&self) -> Option<&Table> {
        match self.parts.as_slice() {
            [Part { rows: Rows::Columns(table), .. }] => Some(table),
            _ => None,
        }
    }

    /// The parts that changed, as they are to be stored.
    pub(super) fn into_changes(mut self, device: &DeviceId, hour: Hour) -> Result<Changes, Error> {
        let mut changes = Changes::default();
        while let Some(part) = self.parts.pop() {
            let Part { number, rows, changed } = part;
            let mut table = match rows {
                Rows::Decoded(rows) if changed => Table::of_rows(&rows),
                Rows::Columns(table) if changed => table,
                Rows::Decoded(_) | Rows::Columns(_) | Rows::Encoded { .. } | Rows::Unreadable => continue,
            };
            if table.len() == 0 {
                continue;
            }
            // One that is large is hardly ever merged with others.
            let packing = if table.len() < MAX_ROWS / 2 { self.packing } else { Packing::Tight };
            let bytes = Frame::encode_table(&table, packing)?;
            if bytes.len() > MAX_BYTES && table.len() > 1 {
                let upper = table.split_off(table.len() / 2);
                self.parts.push(Part { number, rows: Rows::Columns(table), changed: true });
                self.push(Rows::Columns(upper));
                continue;
            }
            changes.parts.push((key(device, hour, number), bytes));
        }
        changes.gone = self.gone.into_iter().map(|number| key(device, hour, number)).collect();
        Ok(changes)
    }
}

impl Part {
    fn len(&self) -> usize {
        match &self.rows {
            Rows::Encoded { span, .. } => span.rows,
            Rows::Columns(table) => table.len(),
            Rows::Decoded(rows) => rows.len(),
            Rows::Unreadable => 0,
        }
    }

    /// The first and the last moment of its rows.
    fn span(&self) -> Option<(Timestamp, Timestamp)> {
        match &self.rows {
            Rows::Encoded { span, .. } => Some((span.first, span.last)),
            Rows::Columns(table) => {
                table.span().map(|(a, b)| (Timestamp::from_millis(a), Timestamp::from_millis(b)))
            }
            Rows::Decoded(rows) => rows.keys().next().copied().zip(rows.keys().next_back().copied()),
            Rows::Unreadable => None,
        }
    }

    fn is_readable(&self) -> bool {
        !matches!(self.rows, Rows::Unreadable)
    }

    fn is_worth_packing(&self) -> bool {
        matches!(self.rows, Rows::Encoded { .. }) && (WORTH_PACKING..MAX_ROWS / 2).contains(&self.len())
    }

    /// The part's rows, if the moment may be among them.
    fn rows_around(
        &mut self,
        at: Timestamp,
        report: &mut impl FnMut(Error),
    ) -> Option<&mut BTreeMap<Timestamp, Row>> {
        let (first, last) = self.span()?;
        if at < first || last < at {
            return None;
        }
        self.decode(report)
    }

    fn decode(&mut self, report: &mut impl FnMut(Error)) -> Option<&mut BTreeMap<Timestamp, Row>> {
        match std::mem::replace(&mut self.rows, Rows::Unreadable) {
            Rows::Encoded { bytes, .. } => match Frame::open(&bytes).and_then(|frame| frame.rows()) {
                Ok(rows) => self.rows = Rows::Decoded(rows),
                Err(error) => report(error),
            },
            Rows::Columns(table) => self.rows = Rows::Decoded(table.into_rows()),
            rows @ (Rows::Decoded(_) | Rows::Unreadable) => self.rows = rows,
        }
        match &mut self.rows {
            Rows::Decoded(rows) => Some(rows),
            Rows::Encoded { .. } | Rows::Columns(_) | Rows::Unreadable => None,
        }
    }

    /// Its rows as columns; a part that can't be read is given back.
    fn into_table(self, report: &mut impl FnMut(Error)) -> Result<Table, Self> {
        let Self { number, rows, changed } = self;
        match rows {
            Rows::Columns(table) => return Ok(table),
            Rows::Decoded(rows) => return Ok(Table::of_rows(&rows)),
            Rows::Encoded { bytes, .. } => match Frame::open(&bytes).and_then(|frame| frame.table()) {
                Ok(table) => return Ok(table),
                Err(error) => report(error),
            },
            Rows::Unreadable => {}
        }
        Err(Self { number, rows: Rows::Unreadable, changed })
    }
}
