//! The parts of one device-hour while readings are merged into them.
//!
//! A moment has its row in exactly one part. Parts are decoded only when a reading's moment may lie in them, and only
//! those that changed are written again, all of an hour in one batch.

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

/// The parts of one device-hour.
pub(super) struct HourParts<R> {
    parts: Vec<Part>,
    next_number: u16,
    report: R,
}

struct Part {
    number: u16,
    rows: Rows,
    full: bool,
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
            let mut full = bytes.len() > MAX_BYTES;
            let rows = match FrameSpan::peek(&bytes) {
                Ok(span) => {
                    full |= span.rows >= MAX_ROWS;
                    Rows::Encoded { span, bytes }
                }
                Err(error) => {
                    report(error);
                    Rows::Unreadable
                }
            };
            parts.push(Part { number, rows, full, changed: false });
        }
        let next_number = parts.last().map_or(0, |part| part.number.saturating_add(1));
        Self { parts, next_number, report }
    }

    /// Takes in a reading: into the row of its moment, or into a row of its own.
    pub(super) fn absorb(&mut self, reading: &OpenReading) -> Absorbed {
        let OpenReading { at, origin, metrics, .. } = reading;
        for part in &mut self.parts {
            let Some(rows) = part.rows_around(*at, &mut self.report) else { continue };
            let Some(row) = rows.get_mut(at) else { continue };
            let absorbed = row.absorb(*origin, metrics);
            part.changed = true;
            return absorbed;
        }
        let part = self.last_with_room();
        part.changed = true;
        if let Rows::Decoded(rows) = &mut part.rows {
            rows.insert(*at, Row::new(*origin, metrics));
            part.full = rows.len() >= MAX_ROWS;
        }
        Absorbed::Stored
    }

    fn last_with_room(&mut self) -> &mut Part {
        let room =
            self.parts.last_mut().is_some_and(|last| !last.full && last.decode(&mut self.report).is_some());
        if !room {
            self.push(BTreeMap::new());
        }
        self.parts.last_mut().expect("one was pushed if there was none")
    }

    fn push(&mut self, rows: BTreeMap<Timestamp, Row>) {
        let rows = Rows::Decoded(rows);
        self.parts.push(Part { number: self.next_number, rows, full: false, changed: true });
        self.next_number = self.next_number.saturating_add(1);
    }

    /// The parts that changed, as they are to be stored.
    pub(super) fn into_changed(mut self, device: &DeviceId, hour: Hour) -> Result<Vec<Pair>, Error> {
        let mut pairs = Vec::new();
        while let Some(part) = self.parts.pop() {
            let Rows::Decoded(mut rows) = part.rows else { continue };
            if !part.changed {
                continue;
            }
            let bytes = Frame::encode(&rows)?;
            if bytes.len() > MAX_BYTES
                && let Some(middle) = rows.keys().nth(rows.len() / 2).copied().filter(|_| rows.len() > 1)
            {
                let upper = rows.split_off(&middle);
                self.parts.push(Part {
                    number: part.number,
                    rows: Rows::Decoded(rows),
                    full: true,
                    changed: true,
                });
                self.push(upper);
                continue;
            }
            pairs.push((key(device, hour, part.number), bytes));
        }
        Ok(pairs)
    }
}

impl Part {
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
