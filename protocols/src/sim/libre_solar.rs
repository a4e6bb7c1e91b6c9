//! Simulated Libre Solar boards: one that answers ThingSet text on a serial line, one that reports on CAN.
//!
//! Both tell the same values. The chip behind them has sixteen channels; those without a cell read zero.

use std::time::Duration;

use ciborium::Value as Cbor;
use serde_json::{Value, json};

use super::can::{CanReply, CanSide};
use super::device::{DeviceSide, HasPack, Reply};
use super::pack::SimPack;
use super::quantity::Complaints;
use crate::bms::framing::StreamDecoder;
use crate::bms::libre_solar::{PacketFraming, TextBody, TextFraming, Verb, to_line, to_packet};
use crate::can::{CanFrame, CanId};

const CHANNELS: usize = 16;
/// Bits of the error word: overvoltage, undervoltage, imbalance, hot, cold.
const ERROR_BITS: [u32; 5] = [1, 0, 11, 7, 6];

/// The board's values by number and name.
fn values(pack: &SimPack) -> Vec<(u64, &'static str, Value)> {
    let mut cells: Vec<f64> = pack.cell_volts().iter().map(|volts| thousandths(*volts)).collect();
    cells.resize(CHANNELS.max(cells.len()), 0.0);
    let celsius: Vec<f64> = pack.celsius().iter().map(|celsius| (celsius * 10.0).round() / 10.0).collect();
    let balancing = pack.balancing().iter().enumerate().take(32);
    let balancing = balancing.fold(0u32, |bits, (cell, bled)| bits | u32::from(*bled) << cell);
    let (charge, discharge) = pack.switches_closed();
    vec![
        (0x71, "rPackVoltage_V", json!(thousandths(pack.volts()))),
        (0x73, "rPackCurrent_A", json!(thousandths(pack.amps()))),
        (0x74, "rCellTemps_degC", json!(celsius)),
        (0x7C, "rSOC_pct", json!((pack.board_soc_percent() * 10.0).round() / 10.0)),
        (0x7E, "rErrorFlags", json!(Complaints::of(pack).bits(ERROR_BITS))),
        (0x7F, "rBmsState", json!(u8::from(charge) | u8::from(discharge) << 1)),
        (0x80, "rCellVoltages_V", json!(cells)),
        (0x84, "rBalancingStatus", json!(balancing)),
    ]
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A board on a serial line.
#[derive(Debug, Clone)]
pub struct LibreSolarSim {
    /// The pack behind the board; may be changed at any time.
    pub pack: SimPack,
    decoder: StreamDecoder<TextFraming>,
}

impl LibreSolarSim {
    /// Puts a board in front of a pack.
    pub fn new(pack: SimPack) -> Self {
        Self { pack, decoder: StreamDecoder::default() }
    }

    fn answer(&self, verb: Verb, path: &str) -> (String, bool) {
        match (verb, path) {
            (Verb::Get, "Meas") => {
                let object: serde_json::Map<_, _> =
                    values(&self.pack).into_iter().map(|(_, name, value)| (name.to_owned(), value)).collect();
                (format!(":85 {}", Value::Object(object)), true)
            }
            (Verb::Get, _) => (":A4".to_owned(), false),
            (Verb::Update | Verb::Execute | Verb::Create | Verb::Delete | Verb::Desire, _) => {
                (":A3".to_owned(), false)
            }
        }
    }
}

impl DeviceSide for LibreSolarSim {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        self.pack.advance_to(now);
        self.decoder.push(bytes);
        let mut replies = Vec::new();
        while let Some(frame) = self.decoder.next_frame() {
            let TextBody::Request { verb, path, .. } = frame.body else { continue };
            let (answer, measures) = self.answer(verb, &path);
            let frames = vec![to_line(&answer)];
            replies.push(Reply { frames, measures, ends_cycle: measures, ..Reply::default() });
        }
        replies
    }
}

/// Such a board with its radio: the same lines, in packets.
#[derive(Debug, Clone)]
pub struct LibreSolarAirSim {
    board: LibreSolarSim,
    packets: StreamDecoder<PacketFraming>,
}

impl LibreSolarAirSim {
    /// Puts a board in front of a pack.
    pub fn new(pack: SimPack) -> Self {
        Self { board: LibreSolarSim::new(pack), packets: StreamDecoder::default() }
    }
}

impl DeviceSide for LibreSolarAirSim {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        self.packets.push(bytes);
        let mut replies = Vec::new();
        while let Some(mut message) = self.packets.next_frame() {
            message.extend(b"\r\n");
            replies.extend(self.board.handle_input(&message, now));
        }
        for frame in replies.iter_mut().flat_map(|reply| &mut reply.frames) {
            *frame = to_packet(frame.trim_ascii_end());
        }
        replies
    }
}

/// A board on a bus.
#[derive(Debug, Clone)]
pub struct LibreSolarCanSim {
    /// The pack behind the board; may be changed at any time.
    pub pack: SimPack,
    node: u8,
    next: Duration,
    report: u8,
}

const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A report, of the subset `mLive`.
const LIVE: [u8; 3] = [0x1F, 0x18, 0x31];
/// Priority 5, a report in pieces.
const REPORT_ID: u32 = 0x1500_0000;

impl LibreSolarCanSim {
    /// Puts a board with this address in front of a pack.
    pub const fn new(pack: SimPack, node: u8) -> Self {
        Self { pack, node, next: Duration::ZERO, report: 0 }
    }

    fn message(&self) -> Vec<u8> {
        let values = values(&self.pack).into_iter().map(|(id, _, value)| (Cbor::from(id), cbor(&value)));
        let mut bytes = LIVE.to_vec();
        // Writing to memory can't fail.
        ciborium::into_writer(&Cbor::Map(values.collect()), &mut bytes).ok();
        bytes
    }

    fn pieces(&self, message: &[u8]) -> Vec<CanFrame> {
        let last = message.chunks(8).count() - 1;
        let piece = |(index, chunk): (usize, &[u8])| {
            let part = match index {
                0 => 0,
                index if index == last => 2,
                _ => 1,
            };
            let sequence = u32::try_from(index % 16).unwrap_or_default();
            let report = u32::from(self.report % 4);
            let id = REPORT_ID | report << 14 | part << 12 | sequence << 8 | u32::from(self.node);
            let mut data = [0; 8];
            data[..chunk.len()].copy_from_slice(chunk);
            CanFrame::new(CanId::new(id, true)?, &data)
        };
        message.chunks(8).enumerate().filter_map(piece).collect()
    }
}

/// Numbers as the board sends them: whole ones as they are, others as float32.
fn cbor(value: &Value) -> Cbor {
    if let Some(values) = value.as_array() {
        return Cbor::Array(values.iter().map(cbor).collect());
    }
    match (value.as_u64(), value.as_f64()) {
        (Some(whole), _) => Cbor::from(whole),
        (None, Some(float)) => Cbor::Float(f64::from(single(float))),
        (None, None) => Cbor::Null,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the board's own numbers are single")]
const fn single(value: f64) -> f32 {
    value as f32
}

impl CanSide for LibreSolarCanSim {
    fn next_broadcast(&self) -> Option<Duration> {
        Some(self.next)
    }

    fn broadcast(&mut self, now: Duration) -> CanReply {
        self.pack.advance_to(now);
        let frames = self.pieces(&self.message());
        self.report = self.report.wrapping_add(1);
        self.next = (self.next + REPORT_EVERY).max(now);
        CanReply { frames, ends_cycle: true, measures: true }
    }
}

impl HasPack for LibreSolarSim {
    fn pack_mut(&mut self) -> &mut SimPack {
        &mut self.pack
    }
}

impl HasPack for LibreSolarCanSim {
    fn pack_mut(&mut self) -> &mut SimPack {
        &mut self.pack
    }
}
