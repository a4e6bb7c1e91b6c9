//! The conversation: the analog values, then the alarms.
//!
//! Several packs share a line and answer to their addresses; an answer of another pack is none of ours.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use voltree_model::PackReading;

use super::frame::{BATTERY, TelecomFrame, TelecomFraming};
use super::{Alarms, Analog, Maker, command, pack, read_request};
use crate::bms::dialogue::{Ask, Dialect, Dialogue, Heard, Timing};
use crate::bms::framing::{FrameStats, StreamDecoder};

/// Polls a pack.
pub type TelecomPoll = Dialogue<TelecomDialect>;

/// How to talk to a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelecomConfig {
    /// Who made it.
    pub maker: Maker,
    /// Its address on the line.
    pub address: u8,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TelecomQuestion {
    /// 0x42.
    Analog,
    /// 0x44.
    Alarms,
}

/// The protocol.
#[derive(Debug, Clone)]
pub struct TelecomDialect {
    config: TelecomConfig,
    decoder: StreamDecoder<TelecomFraming>,
    plan: VecDeque<TelecomQuestion>,
    analog: Option<Analog>,
    alarms: Option<Alarms>,
}

impl TelecomDialect {
    /// Knows nothing of the pack yet.
    pub fn new(config: TelecomConfig) -> Self {
        Self { config, decoder: StreamDecoder::default(), plan: VecDeque::new(), analog: None, alarms: None }
    }

    fn take(&mut self, question: TelecomQuestion, frame: &TelecomFrame) -> Heard {
        let maker = self.config.maker;
        // What a half-duplex adapter hands back of our own request carries a command where an answer has a return code.
        if frame.address != self.config.address || frame.device != BATTERY || is_command(frame.command) {
            return Heard::Stray;
        }
        if frame.command != 0 {
            return Heard::Refused(refusal(frame.command));
        }
        let read = match question {
            TelecomQuestion::Analog => {
                self.analog = Analog::decode(&frame.info, maker).filter(|analog| !analog.cells.is_empty());
                self.analog.is_some()
            }
            TelecomQuestion::Alarms => {
                let counts = self.analog.as_ref().map(|a| (a.cells.len(), a.temperatures_raw.len()));
                let (cells, sensors) = counts.unwrap_or_default();
                self.alarms =
                    Alarms::decode(&frame.info, maker).filter(|alarms| alarms.suits(cells, sensors));
                // Something else that comes late, perhaps; ours may still follow.
                if self.alarms.is_none() {
                    return Heard::Stray;
                }
                true
            }
        };
        if read { Heard::Answer } else { Heard::Implausible }
    }
}

const fn is_command(code: u8) -> bool {
    matches!(code, command::ANALOG | command::ALARMS | command::VERSION | command::MAKER)
}

const fn refusal(code: u8) -> &'static str {
    match code {
        1 => "it does not speak this version of the protocol",
        2 => "it found a wrong checksum",
        3 => "it found a wrong checksum of the length",
        4 => "it does not know the command",
        5 => "it found the command's format wrong",
        6 => "it found the data invalid",
        _ => "it gave a return code that is not known",
    }
}

impl Dialect for TelecomDialect {
    type Question = TelecomQuestion;

    fn timing(&self) -> Timing {
        Timing::SERIAL
    }

    fn begin(&mut self) {
        self.plan = [TelecomQuestion::Analog, TelecomQuestion::Alarms].into();
        (self.analog, self.alarms) = (None, None);
    }

    fn next_question(&mut self) -> Option<TelecomQuestion> {
        self.plan.pop_front()
    }

    fn describe(&self, question: TelecomQuestion) -> Ask {
        match question {
            TelecomQuestion::Analog => Ask { name: "0x42 (analog values)", essential: true },
            TelecomQuestion::Alarms => Ask { name: "0x44 (alarms)", essential: false },
        }
    }

    fn request(&mut self, question: TelecomQuestion) -> Vec<u8> {
        let command = match question {
            TelecomQuestion::Analog => command::ANALOG,
            TelecomQuestion::Alarms => command::ALARMS,
        };
        read_request(self.config.address, command).to_bytes()
    }

    fn forget_input(&mut self) {
        self.decoder.reset();
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    fn end_of_input(&mut self) {
        self.decoder.end();
    }

    fn next_heard(&mut self, question: TelecomQuestion) -> Option<Heard> {
        let frame = self.decoder.next_frame()?;
        Some(self.take(question, &frame))
    }

    fn give_up(&mut self, _question: TelecomQuestion) {
        self.alarms = None;
    }

    fn reading(&mut self) -> PackReading {
        let alarms = self.alarms.take();
        let analog = self.analog.take();
        analog.map(|analog| pack::reading(self.config.maker, &analog, alarms.as_ref())).unwrap_or_default()
    }

    fn frame_stats(&self) -> FrameStats {
        self.decoder.stats()
    }
}
