//! ThingSet on CAN: what the 29 bits of an id mean, and the messages that its frames make together.
//!
//! This listens. Transfers that never end cost a bounded amount: the oldest goes when there are too many.

use std::collections::BTreeMap;

use super::binary::{Message, MessageError, parse_message, parse_value};
use super::isotp::{IsotpFrame, Transfer};
use crate::can::{CanFrame, CanId};
use serde_json::Value;

/// Transfers at the same time, of requests and of reports each.
const MAX_TRANSFERS: usize = 32;
const MAX_REPORT_BYTES: usize = 4096;

/// What an id says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BusId {
    /// Requests and answers, by ISO-TP.
    Channel {
        /// The bus and the node that it is for.
        target: (u8, u8),
        /// The bus and the node that it is from.
        source: (u8, u8),
    },
    /// A piece of a report.
    Report {
        /// From whom.
        source: u8,
        /// Tells reports under way apart.
        message: u8,
        /// Which piece.
        part: Part,
        /// Runs from 0 to 15.
        sequence: u8,
    },
    /// A report of one value.
    Item {
        /// Which.
        id: u16,
        /// From whom.
        source: u8,
    },
    /// Nodes that settle their addresses.
    Network {
        /// Which address it is about.
        target: u8,
        /// From whom.
        source: u8,
    },
}

/// Which piece of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Its beginning.
    First,
    /// More of it.
    Consecutive,
    /// Its end.
    Last,
    /// All of it.
    Single,
}

impl BusId {
    /// Reads an id; ids of 11 bits are not ThingSet's.
    pub fn parse(id: CanId) -> Option<Self> {
        let CanId::Extended(id) = id else { return None };
        let [top, high, low, source] = id.to_be_bytes();
        Some(match top & 3 {
            0 => Self::Channel { target: (high >> 4, low), source: (high & 0x0F, source) },
            1 => {
                Self::Report { source, message: low >> 6, part: Part::of(low >> 4 & 3), sequence: low & 0x0F }
            }
            2 => Self::Item { id: u16::from_be_bytes([high, low]), source },
            _ => Self::Network { target: low, source },
        })
    }
}

impl Part {
    const fn of(bits: u8) -> Self {
        match bits {
            0 => Self::First,
            1 => Self::Consecutive,
            2 => Self::Last,
            _ => Self::Single,
        }
    }
}

/// What a frame completed.
#[derive(Debug, Clone, PartialEq)]
pub enum BusMessage {
    /// A whole message and the address that it is from.
    Whole(u8, Vec<u8>, Result<Message, MessageError>),
    /// One value, its number and the address that it is from.
    Item(u8, u16, Result<Value, MessageError>),
    /// Nothing yet, or nothing that carries values.
    Nothing,
    /// A frame that fits nowhere, with the reason.
    Refused(&'static str),
}

/// Puts messages together.
#[derive(Debug, Clone, Default)]
pub struct ThingsetBus {
    transfers: BTreeMap<BusId, (u64, Transfer)>,
    reports: BTreeMap<(u8, u8), (u64, u8, Vec<u8>)>,
    frames: u64,
}

impl ThingsetBus {
    /// Takes one frame.
    pub fn take(&mut self, frame: &CanFrame) -> BusMessage {
        self.frames += 1;
        let Some(id) = BusId::parse(frame.id()) else {
            return BusMessage::Refused("ThingSet has ids of 29 bits, this one has 11");
        };
        match id {
            BusId::Channel { source: (_, source), .. } => self.channel(id, source, frame.data()),
            BusId::Report { source, message, part, sequence } => {
                self.report((source, message), part, sequence, frame.data())
            }
            BusId::Item { id, source } => BusMessage::Item(source, id, parse_value(frame.data())),
            BusId::Network { .. } => BusMessage::Nothing,
        }
    }

    fn channel(&mut self, id: BusId, source: u8, data: &[u8]) -> BusMessage {
        match IsotpFrame::parse(data) {
            None => BusMessage::Refused("it is no ISO-TP frame"),
            Some(IsotpFrame::Single(message)) => whole(source, message),
            Some(IsotpFrame::First(length, head)) => {
                if self.transfers.len() >= MAX_TRANSFERS {
                    forget_oldest(&mut self.transfers, |(since, _)| *since);
                }
                self.transfers.insert(id, (self.frames, Transfer::begin(length, head)));
                BusMessage::Nothing
            }
            Some(IsotpFrame::FlowControl(_)) => BusMessage::Nothing,
            Some(IsotpFrame::Consecutive(number, data)) => {
                let Some((_, transfer)) = self.transfers.get_mut(&id) else {
                    return BusMessage::Refused("the beginning of its message was not heard");
                };
                match transfer.take(number, &data) {
                    Ok(None) => BusMessage::Nothing,
                    Ok(Some(message)) => {
                        self.transfers.remove(&id);
                        whole(source, message)
                    }
                    Err(()) => {
                        self.transfers.remove(&id);
                        BusMessage::Refused("a frame of its message is missing")
                    }
                }
            }
        }
    }

    fn report(&mut self, key: (u8, u8), part: Part, sequence: u8, data: &[u8]) -> BusMessage {
        match part {
            Part::Single => return whole(key.0, data.to_vec()),
            Part::First => {
                if self.reports.len() >= MAX_TRANSFERS {
                    forget_oldest(&mut self.reports, |(since, ..)| *since);
                }
                self.reports.insert(key, (self.frames, next(sequence), data.to_vec()));
                return BusMessage::Nothing;
            }
            Part::Consecutive | Part::Last => {}
        }
        let Some((since, expected, mut bytes)) = self.reports.remove(&key) else {
            return BusMessage::Refused("the beginning of its report was not heard");
        };
        bytes.extend_from_slice(data);
        if expected != sequence || bytes.len() > MAX_REPORT_BYTES {
            return BusMessage::Refused("a frame of its report is missing");
        }
        if part == Part::Last {
            return whole(key.0, bytes);
        }
        self.reports.insert(key, (since, next(sequence), bytes));
        BusMessage::Nothing
    }
}

const fn next(sequence: u8) -> u8 {
    (sequence + 1) % 16
}

fn whole(source: u8, bytes: Vec<u8>) -> BusMessage {
    let message = parse_message(&bytes);
    BusMessage::Whole(source, bytes, message)
}

fn forget_oldest<K: Ord + Copy, V>(map: &mut BTreeMap<K, V>, since: impl Fn(&V) -> u64) {
    let oldest = map.iter().min_by_key(|(_, value)| since(value)).map(|(key, _)| *key);
    if let Some(oldest) = oldest {
        map.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::isotp::segment;
    use super::*;

    const MEAS: &str = "1f07a21871fa41d27ae1187cfa428ecccd";

    fn frame(id: u32, data: &[u8]) -> CanFrame {
        CanFrame::new(CanId::Extended(id), data).unwrap()
    }

    /// The frames of a report, the last one filled up.
    fn report(message: u32, bytes: &[u8]) -> Vec<CanFrame> {
        let count = bytes.chunks(8).count();
        let cut = |(index, chunk): (usize, &[u8])| {
            let part = if index == 0 {
                0
            } else if index + 1 == count {
                2
            } else {
                1
            };
            let mut data = [0; 8];
            data[..chunk.len()].copy_from_slice(chunk);
            frame(0x1500_000A | message << 14 | part << 12 | u32::try_from(index % 16).unwrap() << 8, &data)
        };
        bytes.chunks(8).enumerate().map(cut).collect()
    }

    fn messages(frames: &[CanFrame]) -> Vec<BusMessage> {
        let mut bus = ThingsetBus::default();
        let all = frames.iter().map(|frame| bus.take(frame));
        all.filter(|message| *message != BusMessage::Nothing).collect()
    }

    #[test]
    fn reports_that_cross_each_other_are_both_put_together() {
        let bytes = hex::decode(MEAS).unwrap();
        let (first, second) = (report(1, &bytes), report(2, &bytes));
        let crossed: Vec<_> = first.into_iter().zip(second).flat_map(|(a, b)| [a, b]).collect();
        let found = messages(&crossed);
        assert_eq!(found.len(), 2);
        assert!(
            found.iter().all(|m| matches!(m, BusMessage::Whole(10, _, Ok(Message::Report { .. })))),
            "{found:?}"
        );
    }

    #[test]
    fn a_report_with_a_gap_is_refused_and_the_next_one_is_heard() {
        let bytes = hex::decode(MEAS).unwrap();
        let mut frames = report(0, &bytes);
        frames.remove(1);
        frames.extend(report(0, &bytes));
        let found = messages(&frames);
        assert_eq!(found[0], BusMessage::Refused("a frame of its report is missing"));
        assert!(matches!(found[1], BusMessage::Whole(10, _, Ok(_))));
    }

    #[test]
    fn transfers_that_never_end_are_forgotten() {
        let mut bus = ThingsetBus::default();
        for source in 0..1000 {
            bus.take(&frame(0x1800_0000 | source, &[0x10, 20, 1, 2, 3, 4, 5, 6]));
            bus.take(&frame(0x1500_0000 | source, &[0; 8]));
        }
        assert_eq!((bus.transfers.len(), bus.reports.len()), (MAX_TRANSFERS, MAX_TRANSFERS));
    }

    proptest! {
        #[test]
        fn an_answer_in_pieces_is_put_together(size in 1u8..200) {
            let mut bytes = vec![0x85, 0xF6, 0x58, size];
            bytes.extend(std::iter::repeat_n(7, size.into()));
            let frames: Vec<_> = segment(&bytes).unwrap().iter().map(|data| frame(0x1800_010A, data)).collect();
            let found = messages(&frames);
            prop_assert!(matches!(&found[..], [BusMessage::Whole(10, whole, Ok(_))] if *whole == bytes), "{:?}", found);
        }

        #[test]
        fn no_frames_break_the_bus(frames in proptest::collection::vec((0u32..1 << 29, any::<[u8; 8]>(), 0usize..=8), 0..60)) {
            let mut bus = ThingsetBus::default();
            for (id, data, length) in frames {
                bus.take(&frame(id & 0x1F0F_FF03, &data[..length]));
            }
            prop_assert!(bus.reports.len() <= MAX_TRANSFERS);
        }
    }
}
