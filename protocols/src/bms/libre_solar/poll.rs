//! The conversation on a serial line or over Bluetooth LE: one question, `?Meas`, whose answer holds everything.
//!
//! Reports that come unasked, logs and a shell share the line and are passed over.

use voltree_model::PackReading;

use super::Measured;
use super::ble::{PacketFraming, to_packet};
use super::text::{TextBody, TextFraming, to_line};
use crate::bms::dialogue::{Ask, Dialect, Dialogue, Heard, Timing};
use crate::bms::framing::{FrameStats, StreamDecoder};

/// Polls one board.
pub type ThingsetPoll = Dialogue<ThingsetDialect>;

/// The answer to a question for values.
const CONTENT: u8 = 0x85;

/// The only question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Everything;

/// The protocol.
#[derive(Debug, Clone, Default)]
pub struct ThingsetDialect {
    decoder: StreamDecoder<TextFraming>,
    /// What lines come in over Bluetooth LE.
    packets: Option<StreamDecoder<PacketFraming>>,
    asked: bool,
    measured: Option<Measured>,
}

impl ThingsetDialect {
    /// Speaks in the packets of Bluetooth LE.
    pub fn on_air() -> Self {
        Self { packets: Some(StreamDecoder::default()), ..Self::default() }
    }
}

const QUESTION: &str = "?Meas";

/// Why a board refuses, by its status.
const fn refusal(status: u8) -> &'static str {
    match status {
        0xA1 | 0xA3 => "it does not allow that",
        0xA4 => "it has no group Meas",
        0xAD => "its answer is too long for its buffers",
        0xC1 => "it does not implement that",
        _ => "it gave an error",
    }
}

impl Dialect for ThingsetDialect {
    type Question = Everything;

    fn timing(&self) -> Timing {
        Timing::SERIAL
    }

    fn begin(&mut self) {
        (self.asked, self.measured) = (false, None);
    }

    fn next_question(&mut self) -> Option<Everything> {
        (!std::mem::replace(&mut self.asked, true)).then_some(Everything)
    }

    fn describe(&self, _question: Everything) -> Ask {
        Ask { name: "its measurements", essential: true }
    }

    fn request(&mut self, _question: Everything) -> Vec<u8> {
        if self.packets.is_some() { to_packet(QUESTION.as_bytes()) } else { to_line(QUESTION) }
    }

    fn forget_input(&mut self) {
        self.decoder.reset();
        self.packets.iter_mut().for_each(StreamDecoder::reset);
    }

    fn hear(&mut self, bytes: &[u8]) {
        let Some(packets) = &mut self.packets else { return self.decoder.push(bytes) };
        packets.push(bytes);
        while let Some(message) = packets.next_frame() {
            self.decoder.push(&message);
            self.decoder.push(b"\r\n");
        }
    }

    fn end_of_input(&mut self) {
        self.decoder.end();
    }

    fn next_heard(&mut self, _question: Everything) -> Option<Heard> {
        Some(match self.decoder.next_frame()?.body {
            TextBody::Response { status: CONTENT, payload } => {
                self.measured = payload.as_ref().and_then(Measured::from_payload);
                if self.measured.is_some() { Heard::Answer } else { Heard::Implausible }
            }
            TextBody::Response { status, .. } => Heard::Refused(refusal(status)),
            TextBody::Request { .. } | TextBody::Report { .. } => Heard::Stray,
        })
    }

    fn give_up(&mut self, _question: Everything) {}

    fn reading(&mut self) -> PackReading {
        self.measured.take().unwrap_or_default().reading()
    }

    fn frame_stats(&self) -> FrameStats {
        self.decoder.stats()
    }
}
