//! A stretch of a board's registers and where the values of both dialects stand in it.
//!
//! A register that the stretch doesn't cover is absent, never zero. Nothing is judged here.

use serde::{Deserialize, Serialize};

use super::frame::{UNIT_D2, UNIT_P81_ANSWER, UNIT_P81_ASKED};
use crate::bms::daly_uart::FaultsAnswer;

/// Which table of registers a board has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegisterDialect {
    /// Unit D2, the older boards.
    D2,
    /// Unit 81, answered by 51, the newer boards.
    P81,
}

/// Registers that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Whose table they are of.
    pub dialect: RegisterDialect,
    /// The first one.
    pub first: u16,
    /// Their values.
    pub values: Vec<u16>,
}

impl RegisterDialect {
    /// The dialect that a unit speaks, asked or answering.
    pub const fn of_unit(unit: u8) -> Option<Self> {
        match unit {
            UNIT_D2 => Some(Self::D2),
            UNIT_P81_ASKED | UNIT_P81_ANSWER => Some(Self::P81),
            _ => None,
        }
    }
}

impl Block {
    /// Places an answer whose question is not known: clients ask for the same few stretches, each of another length.
    pub fn guess(dialect: RegisterDialect, values: Vec<u16>) -> Option<Self> {
        let first = match (dialect, values.len()) {
            (RegisterDialect::D2, 1) => 0xCF,
            (RegisterDialect::D2, 9) => 0x3E,
            (RegisterDialect::D2, 32) => 0xA9,
            (RegisterDialect::D2, 41) => 0x80,
            (RegisterDialect::D2, 62..=125) | (RegisterDialect::P81, 64) => 0,
            (RegisterDialect::P81, 62) => 0x41,
            (RegisterDialect::P81, 10) => 0xA4,
            (RegisterDialect::P81, 74) => 0x178,
            _ => return None,
        };
        Some(Self { dialect, first, values })
    }

    /// A register's value.
    pub fn at(&self, register: u16) -> Option<u16> {
        self.values.get(usize::from(register.checked_sub(self.first)?)).copied()
    }

    pub(super) fn on(&self, register: u16) -> Option<bool> {
        self.at(register).map(|value| value != 0)
    }

    /// A value in tenths.
    pub(super) fn tenths(&self, register: u16) -> Option<f64> {
        self.at(register).map(|value| f64::from(value) / 10.0)
    }

    pub(super) fn thousandths(&self, register: u16) -> Option<f64> {
        self.at(register).map(|value| f64::from(value) / 1000.0)
    }

    /// A current: tenths of an ampere above −3000 A.
    pub(super) fn amps(&self, register: u16) -> Option<f64> {
        self.at(register).map(|raw| f64::from(i32::from(raw) - 30_000) / 10.0)
    }

    /// A balance current: milliamperes above −30 A.
    pub(super) fn balance_amps(&self, register: u16) -> Option<f64> {
        self.at(register).map(|raw| f64::from(i32::from(raw) - 30_000) / 1000.0)
    }

    /// A temperature; the inner `None` is the board's mark for a sensor that is not fitted.
    pub(super) fn celsius(&self, register: u16) -> Option<Option<i32>> {
        self.at(register).map(|raw| match raw {
            0x00FF | 0xFFFF => None,
            raw => Some(i32::from(raw) - 40),
        })
    }

    /// The first `count` registers of a row that has `most`.
    pub(super) fn row(&self, first: u16, count: u16, most: u16) -> Vec<u16> {
        (first..first + count.min(most)).map_while(|register| self.at(register)).collect()
    }

    /// Both bytes of each register, up to the first zero, as far as they can be printed.
    pub(super) fn text(&self, first: u16, count: u16) -> Option<String> {
        self.at(first)?;
        let bytes = self.row(first, count, count).into_iter().flat_map(u16::to_be_bytes);
        let text: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
        Some(crate::bms::fields::printable(&text))
    }

    /// The fault words of dialect D2 in the order of the UART's fault bytes, and the reserved byte behind them.
    pub(super) fn faults(&self) -> Option<(FaultsAnswer, u8)> {
        let word = |register| self.at(register).map(u16::to_be_bytes);
        let [b1, b0] = word(0x3A)?;
        let [b3, b2] = word(0x3B)?;
        let [b5, b4] = word(0x3C)?;
        let [reserved, b6] = word(0x3D)?;
        Some((FaultsAnswer { bits: [b0, b1, b2, b3, b4, b5, b6], code: 0 }, reserved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_outside_of_the_block_is_absent() {
        let block = Block { dialect: RegisterDialect::D2, first: 0x3E, values: vec![7, 8] };
        assert_eq!(
            [block.at(0x3D), block.at(0x3E), block.at(0x3F), block.at(0x40)],
            [None, Some(7), Some(8), None]
        );
        assert_eq!(block.faults(), None);
    }

    #[test]
    fn a_length_that_no_client_asks_for_has_no_place() {
        assert_eq!(Block::guess(RegisterDialect::D2, vec![0; 5]), None);
        assert_eq!(Block::guess(RegisterDialect::P81, vec![0; 62]).map(|block| block.first), Some(0x41));
    }
}
