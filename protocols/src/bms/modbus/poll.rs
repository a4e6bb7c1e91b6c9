//! The conversation with a device that is described by a table: its blocks of registers, one after the other, over RTU.
//!
//! A block that the device refuses ends the cycle with its reason: the table is the owner's, and can be put right.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use voltree_model::PackReading;

use super::{MapRow, ReadRegisters, Registers, RegistersAnswer, RtuAnswers, Table, exception_text, map};
use crate::bms::dialogue::{Ask, Dialect, Dialogue, Heard, Timing};
use crate::bms::framing::{FrameStats, StreamDecoder};

/// Polls a device.
pub type MapPoll = Dialogue<MapDialect>;

/// How to talk to a device and what its registers mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapConfig {
    /// Which device on the line.
    pub unit: u8,
    /// Which table of registers.
    pub table: Table,
    /// What stands where.
    pub rows: Vec<MapRow>,
}

/// The protocol.
#[derive(Debug, Clone)]
pub struct MapDialect {
    config: MapConfig,
    decoder: StreamDecoder<RtuAnswers>,
    plan: VecDeque<ReadRegisters>,
    registers: Registers,
}

impl MapDialect {
    /// Knows nothing of the device yet.
    pub fn new(config: MapConfig) -> Self {
        let decoder = StreamDecoder::default();
        Self { config, decoder, plan: VecDeque::new(), registers: Registers::default() }
    }
}

impl Dialect for MapDialect {
    type Question = ReadRegisters;

    fn timing(&self) -> Timing {
        Timing::SERIAL
    }

    fn begin(&mut self) {
        self.plan = map::questions(self.config.unit, self.config.table, &self.config.rows).into();
        self.registers = Registers::default();
    }

    fn next_question(&mut self) -> Option<ReadRegisters> {
        self.plan.pop_front()
    }

    fn describe(&self, _question: ReadRegisters) -> Ask {
        Ask { name: "a block of registers", essential: true }
    }

    fn request(&mut self, question: ReadRegisters) -> Vec<u8> {
        self.decoder.framing_mut().asked = Some(question);
        question.to_rtu()
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

    fn next_heard(&mut self, question: ReadRegisters) -> Option<Heard> {
        Some(match self.decoder.next_frame()? {
            RegistersAnswer::Registers(values) => {
                self.registers.put(question.first, &values);
                Heard::Answer
            }
            RegistersAnswer::Exception(code) => Heard::Refused(exception_text(code)),
        })
    }

    fn give_up(&mut self, _question: ReadRegisters) {}

    fn reading(&mut self) -> PackReading {
        map::reading(&self.config.rows, &self.registers)
    }

    fn frame_stats(&self) -> FrameStats {
        self.decoder.stats()
    }
}
