//! Modbus RTU and TCP: questions for holding and input registers, and their answers.
//!
//! An answer says neither where it begins nor what it answers, so the framing is told what was asked and finds exactly
//! that, or an exception to it. `map` makes a battery of any device by a table of registers; `pylontech_rt` is one such
//! table that comes from a maker.

use serde::{Deserialize, Serialize};

mod gateway;
mod map;
mod poll;
mod pylontech_rt;
mod rtu;
mod tcp;

pub use gateway::{NotModbus, TcpQuestions, TcpTranslator, tcp_frame};
pub use map::{Encoding, MapField, MapRow, Registers, WordOrder};
pub use poll::{MapConfig, MapDialect, MapPoll};
pub use pylontech_rt::show_pylontech_rt;
pub use rtu::{RtuAnswers, RtuRequests, parse_request as parse_rtu_request, show_rtu};
pub use tcp::TcpAnswers;

/// The most registers that one question may ask for.
pub const MAX_REGISTERS: u16 = 125;

/// Which registers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Table {
    /// Function 3.
    Holding,
    /// Function 4.
    Input,
}

impl Table {
    /// The function code.
    pub const fn function(self) -> u8 {
        match self {
            Self::Holding => 3,
            Self::Input => 4,
        }
    }
}

/// A question for registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRegisters {
    /// Which device on the line.
    pub unit: u8,
    /// Which table.
    pub table: Table,
    /// The first register, counted from 0 as on the wire.
    pub first: u16,
    /// How many, 1 to 125.
    pub count: u16,
}

impl ReadRegisters {
    fn pdu(self) -> [u8; 5] {
        let ([f0, f1], [c0, c1]) = (self.first.to_be_bytes(), self.count.to_be_bytes());
        [self.table.function(), f0, f1, c0, c1]
    }

    fn answer_bytes(self) -> usize {
        usize::from(self.count) * 2
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistersAnswer {
    /// The registers.
    Registers(Vec<u16>),
    /// The device refuses; the code says why.
    Exception(u8),
}

/// Says in words why a device refuses.
pub const fn exception_text(code: u8) -> &'static str {
    match code {
        1 => "it does not know the function",
        2 => "it does not have the register",
        3 => "it found a value illegal",
        4 => "it failed",
        5 => "it needs more time",
        6 => "it is busy",
        0x0A => "the gateway has no path to it",
        0x0B => "it did not answer the gateway",
        _ => "it gave an exception code that is not known",
    }
}

/// Reads the part of an answer behind unit and function.
fn answer_of(function: u8, asked: ReadRegisters, body: &[u8]) -> Option<RegistersAnswer> {
    if function == asked.table.function() | 0x80 {
        return body.first().map(|code| RegistersAnswer::Exception(*code));
    }
    let (pairs, _) = body.get(1..)?.as_chunks();
    Some(RegistersAnswer::Registers(pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect()))
}
