//! The conversation in registers, which newer boards speak on RS485 as well as over Bluetooth.
//!
//! Unit D2 has everything in one block, unit 81 in two; which of them a board speaks is found out by asking both, or set.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use voltree_model::PackReading;

use super::frame::{BleFrame, BleFraming, RegisterFrame, UNIT_D2, UNIT_P81_ANSWER, UNIT_P81_ASKED};
use super::pack::{self, reading, reading_p81};
use super::registers::{Block, RegisterDialect};
use crate::bms::daly_uart::{CurrentSign, SignMemory};
use crate::bms::dialogue::{Ask, Dialect, Dialogue, Heard, Timing};
use crate::bms::framing::{FrameStats, StreamDecoder};
use crate::bms::modbus::exception_text;
use crate::codec::{BadMemory, learned, recall};

/// Polls one board.
pub type RegisterPoll = Dialogue<RegisterPollDialect>;

/// How to talk to a board.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterConfig {
    /// Which registers it has; found out where this is none.
    pub dialect: Option<RegisterDialect>,
    /// How to read its current.
    pub current_sign: CurrentSign,
}

/// A block of registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterQuestion {
    /// Everything of dialect D2.
    D2,
    /// Cells and pack of dialect P81.
    P81Cells,
    /// The status of dialect P81.
    P81Status,
}

impl RegisterQuestion {
    const fn place(self) -> (RegisterDialect, u8, u8, u16, u16) {
        match self {
            Self::D2 => (RegisterDialect::D2, UNIT_D2, UNIT_D2, 0, 0x3E),
            Self::P81Cells => (RegisterDialect::P81, UNIT_P81_ASKED, UNIT_P81_ANSWER, 0, 0x40),
            Self::P81Status => (RegisterDialect::P81, UNIT_P81_ASKED, UNIT_P81_ANSWER, 0x41, 0x3E),
        }
    }
}

/// The protocol.
#[derive(Debug, Clone)]
pub struct RegisterPollDialect {
    config: RegisterConfig,
    decoder: StreamDecoder<BleFraming>,
    plan: VecDeque<RegisterQuestion>,
    /// Which registers the board was found to have.
    found: Option<RegisterDialect>,
    blocks: [Option<Block>; 2],
    /// The last cycle came to a reading.
    read: bool,
    sign: SignMemory,
}

impl RegisterPollDialect {
    /// Knows nothing of the board yet.
    pub fn new(config: RegisterConfig) -> Self {
        Self {
            config,
            decoder: StreamDecoder::new(BleFraming),
            plan: VecDeque::new(),
            found: config.dialect,
            blocks: [None, None],
            read: false,
            sign: SignMemory::default(),
        }
    }

    /// Which registers the board is known to have.
    pub const fn found(&self) -> Option<RegisterDialect> {
        self.found
    }

    /// The first question of a dialect, without which there is no reading.
    fn first_questions(&self) -> VecDeque<RegisterQuestion> {
        match self.found {
            Some(RegisterDialect::D2) => [RegisterQuestion::D2].into(),
            Some(RegisterDialect::P81) => [RegisterQuestion::P81Cells, RegisterQuestion::P81Status].into(),
            None => [RegisterQuestion::D2, RegisterQuestion::P81Cells].into(),
        }
    }

    fn take(&mut self, question: RegisterQuestion, block: Block) -> Heard {
        let is_new = self.found.is_none();
        self.found = Some(block.dialect);
        match question {
            RegisterQuestion::P81Status => self.blocks[1] = Some(block),
            RegisterQuestion::D2 => {
                self.blocks[0] = Some(block);
                self.plan.clear();
            }
            RegisterQuestion::P81Cells => {
                self.blocks[0] = Some(block);
                if is_new {
                    self.plan = [RegisterQuestion::P81Status].into();
                }
            }
        }
        Heard::Answer
    }

    fn sign(&self) -> CurrentSign {
        match self.config.current_sign {
            CurrentSign::Auto => self.sign.learned().unwrap_or(CurrentSign::Auto),
            fixed @ (CurrentSign::Normal | CurrentSign::Inverted) => fixed,
        }
    }
}

impl Dialect for RegisterPollDialect {
    type Question = RegisterQuestion;

    fn timing(&self) -> Timing {
        Timing { gap: std::time::Duration::from_millis(100), ..Timing::SERIAL }
    }

    fn begin(&mut self) {
        self.blocks = [None, None];
        if !std::mem::take(&mut self.read) {
            self.found = self.config.dialect;
        }
        self.plan = self.first_questions();
    }

    fn next_question(&mut self) -> Option<RegisterQuestion> {
        self.plan.pop_front()
    }

    fn describe(&self, question: RegisterQuestion) -> Ask {
        match question {
            RegisterQuestion::D2 => Ask { name: "its registers", essential: self.plan.is_empty() },
            RegisterQuestion::P81Cells => Ask { name: "its cell registers", essential: true },
            RegisterQuestion::P81Status => Ask { name: "its status registers", essential: false },
        }
    }

    fn request(&mut self, question: RegisterQuestion) -> Vec<u8> {
        let (_, unit, _, first, count) = question.place();
        RegisterFrame::Read { unit, first, count }.to_bytes()
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

    fn next_heard(&mut self, question: RegisterQuestion) -> Option<Heard> {
        let (dialect, _, answering, first, count) = question.place();
        let BleFrame::Register(frame) = self.decoder.next_frame()? else { return Some(Heard::Stray) };
        Some(match frame {
            RegisterFrame::Registers { unit, values }
                if unit == answering && values.len() == usize::from(count) =>
            {
                self.take(question, Block { dialect, first, values })
            }
            RegisterFrame::Refused { unit, code, .. } if unit == answering => {
                Heard::Refused(exception_text(code))
            }
            RegisterFrame::Registers { .. }
            | RegisterFrame::Refused { .. }
            | RegisterFrame::Read { .. }
            | RegisterFrame::Write { .. } => Heard::Stray,
        })
    }

    fn give_up(&mut self, _question: RegisterQuestion) {}

    fn reading(&mut self) -> PackReading {
        let [Some(first), status] = self.blocks.each_ref().map(Option::as_ref) else {
            return PackReading::default();
        };
        let empty = Block { dialect: first.dialect, first: 0x41, values: Vec::new() };
        let status = status.unwrap_or(&empty);
        let (amps, state) = match first.dialect {
            RegisterDialect::D2 => (first.amps(0x29), pack::state(first, 0x2F)),
            RegisterDialect::P81 => (first.amps(0x39), pack::state(status, 0x48)),
        };
        if let Some(amps) = amps {
            self.sign.observe(amps, state);
        }
        self.read = true;
        match first.dialect {
            RegisterDialect::D2 => reading(first, self.sign()),
            RegisterDialect::P81 => reading_p81(first, status, self.sign()),
        }
    }

    fn frame_stats(&self) -> FrameStats {
        self.decoder.stats()
    }

    fn memory(&self) -> Value {
        learned(&(self.found, self.read, self.sign))
    }

    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        (self.found, self.read, self.sign) = recall(memory)?;
        Ok(())
    }
}
