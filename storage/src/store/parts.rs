//! The parts of one device-hour while readings are merged into them.
//!
//! A moment has its row in exactly one part. Parts are decoded only when a reading's moment may lie in them, and only
//! those that changed are written again, all of an hour in one batch. New rows become a part of their own, however few
//! they are, so that a device which says little does not have its hour written again for each word. Parts of about one
//! size are merged when there are eight of them, so a row is rewritten a few times only; at the end of the hour all are.

use std::collections::BTreeMap;

use voltree_model::{DeviceId, Timestamp};

use crate::bucket::{Hour, key, parse_key};
use crate::head::OpenReading;
use crate::kv::Pair;
use crate::{Absorbed, Error, Frame, FrameSpan, Row};

/// The most rows a part takes.
const MAX_ROWS: usize = 4_096;
/// The size past which a part takes no more rows, or is split: large values are the engine's weak spot.
const MAX_BYTES: usize = 128 * 1024;

/// So many parts of about one size are merged; sizes are about one if this does not lie between them.
const MERGE_AT: usize = 8;

/// The parts of one device-hour.
pub(super) struct HourParts<R> {
    parts: Vec<Part>,
    next_number: u16,
    /// The place of the part that takes new rows.
    fresh: Option<usize>,
    /// Parts whose rows went into others.
    gone: Vec<u16>,
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
        Self { parts, next_number, fresh: None, gone: Vec::new(), report }
    }

    /// Takes in a reading: into the row of its moment, or into a row of its own.
    pub(super) fn absorb(&mut self, reading: &OpenReading) -> Absorbed {
        let OpenReading { at, origin, .. } = reading;
        let metrics = &reading.metrics();
        for part in &mut self.parts {
            let Some(rows) = part.rows_around(*at, &mut self.report) else { continue };
            let Some(row) = rows.get_mut(at) else { continue };
            let absorbed = row.absorb(*origin, metrics);
            part.changed = true;
            return absorbed;
        }
        let part = self.with_room();
        if let Rows::Decoded(rows) = &mut part.rows {
            rows.insert(*at, Row::new(*origin, metrics));
        }
        Absorbed::Stored
    }

    fn with_room(&mut self) -> &mut Part {
        let fresh =
            self.fresh.filter(|index| self.parts.get(*index).is_some_and(|part| part.len() < MAX_ROWS));
        let index = fresh.unwrap_or(self.parts.len());
        if fresh.is_none() {
            self.push(BTreeMap::new());
            self.fresh = Some(index);
        }
        &mut self.parts[index]
    }

    fn push(&mut self, rows: BTreeMap<Timestamp, Row>) {
        let rows = Rows::Decoded(rows);
        self.parts.push(Part { number: self.next_number, rows, changed: true });
        self.next_number = self.next_number.saturating_add(1);
    }

    /// Merges the newest parts as long as there are many of about one size.
    pub(super) fn merge_tail(&mut self) {
        while let Some(most) = self.parts.last().map(|part| part.len().saturating_mul(MERGE_AT)) {
            let small =
                self.parts.iter().rev().take_while(|part| part.is_readable() && part.len() < most).count();
            if small < MERGE_AT || most > MAX_ROWS {
                break;
            }
            self.merge(self.parts.len() - small);
        }
    }

    /// Merges all parts into as few as can be.
    pub(super) fn merge_all(&mut self) {
        if self.parts.iter().filter(|part| part.is_readable() && part.len() < MAX_ROWS).count() > 1 {
            self.merge(0);
        }
    }

    /// Merges the parts from a place on, as far as they can be read, into the first of them.
    fn merge(&mut self, from: usize) {
        let mut rows = BTreeMap::new();
        let mut numbers = Vec::new();
        let mut kept = Vec::new();
        for mut part in self.parts.split_off(from) {
            match part.decode(&mut self.report) {
                Some(more) => {
                    rows.append(more);
                    numbers.push(part.number);
                }
                None => kept.push(part),
            }
        }
        let mut numbers = numbers.into_iter();
        while let Some(at) = rows.keys().nth(MAX_ROWS).copied() {
            let rest = rows.split_off(&at);
            self.push_merged(&mut numbers, std::mem::replace(&mut rows, rest));
        }
        self.push_merged(&mut numbers, rows);
        self.gone.extend(numbers);
        self.parts.extend(kept);
        self.parts.sort_by_key(|part| part.number);
        self.fresh = None;
    }

    fn push_merged(&mut self, numbers: &mut impl Iterator<Item = u16>, rows: BTreeMap<Timestamp, Row>) {
        match numbers.next() {
            Some(number) => self.parts.push(Part { number, rows: Rows::Decoded(rows), changed: true }),
            None => self.push(rows),
        }
    }

    /// The parts that changed, as they are to be stored.
    pub(super) fn into_changes(mut self, device: &DeviceId, hour: Hour) -> Result<Changes, Error> {
        let mut changes = Changes::default();
        while let Some(part) = self.parts.pop() {
            let Rows::Decoded(mut rows) = part.rows else { continue };
            if !part.changed || rows.is_empty() {
                continue;
            }
            let bytes = Frame::encode(&rows)?;
            if bytes.len() > MAX_BYTES
                && let Some(middle) = rows.keys().nth(rows.len() / 2).copied().filter(|_| rows.len() > 1)
            {
                let upper = rows.split_off(&middle);
                self.parts.push(Part { number: part.number, rows: Rows::Decoded(rows), changed: true });
                self.push(upper);
                continue;
            }
            changes.parts.push((key(device, hour, part.number), bytes));
        }
        changes.gone = self.gone.into_iter().map(|number| key(device, hour, number)).collect();
        Ok(changes)
    }
}

impl Part {
    fn len(&self) -> usize {
        match &self.rows {
            Rows::Encoded { span, .. } => span.rows,
            Rows::Decoded(rows) => rows.len(),
            Rows::Unreadable => 0,
        }
    }

    fn is_readable(&self) -> bool {
        !matches!(self.rows, Rows::Unreadable)
    }

    /// The part's rows, if the moment may be among them.
    fn rows_around(
        &mut self,
        at: Timestamp,
        report: &mut impl FnMut(Error),
    ) -> Option<&mut BTreeMap<Timestamp, Row>> {
        match &self.rows {
            Rows::Encoded { span, .. } if !span.covers(at) => None,
            Rows::Encoded { .. } | Rows::Decoded(_) | Rows::Unreadable => self.decode(report),
        }
    }

    fn decode(&mut self, report: &mut impl FnMut(Error)) -> Option<&mut BTreeMap<Timestamp, Row>> {
        if let Rows::Encoded { bytes, .. } = &self.rows {
            self.rows = match Frame::open(bytes).and_then(|frame| frame.rows()) {
                Ok(rows) => Rows::Decoded(rows),
                Err(error) => {
                    report(error);
                    Rows::Unreadable
                }
            };
        }
        match &mut self.rows {
            Rows::Decoded(rows) => Some(rows),
            Rows::Encoded { .. } | Rows::Unreadable => None,
        }
    }
}
