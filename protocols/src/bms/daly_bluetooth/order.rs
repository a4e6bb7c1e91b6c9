//! Switches and the state of charge of a board with registers: written once, then the board's state is read back.

use super::frame::{BleFrame, BleFraming, RegisterFrame, UNIT_D2, UNIT_P81_ANSWER, UNIT_P81_ASKED};
use super::registers::{Block, RegisterDialect};
use crate::bms::daly_uart::{SOC_SLACK, tenths};
use crate::bms::framing::StreamDecoder;
use crate::bms::modbus::exception_text;
use crate::bms::order::{Order, OrderDialect, ReadBack, Said};

/// The conversation about an order to a board.
pub type RegisterOrder = ReadBack<RegisterOrderDialect>;

/// One order to one board.
#[derive(Debug)]
pub struct RegisterOrderDialect {
    dialect: RegisterDialect,
    order: Order,
    decoder: StreamDecoder<BleFraming>,
}

impl RegisterOrderDialect {
    /// Has not sent anything yet.
    pub fn new(dialect: RegisterDialect, order: Order) -> Self {
        Self { dialect, order, decoder: StreamDecoder::new(BleFraming) }
    }

    /// Where it is written, and where the state shows it.
    const fn places(&self) -> (u16, u16) {
        match (self.dialect, self.order) {
            (RegisterDialect::D2, Order::SwitchCharge(_)) => (0xA5, 0x35),
            (RegisterDialect::D2, Order::SwitchDischarge(_)) => (0xA6, 0x36),
            (RegisterDialect::D2, Order::SetSoc(_)) => (0xA7, 0x2A),
            (RegisterDialect::P81, Order::SwitchCharge(_)) => (0x125, 0x52),
            (RegisterDialect::P81, Order::SwitchDischarge(_)) => (0x126, 0x53),
            (RegisterDialect::P81, Order::SetSoc(_)) => (0x127, 0x3A),
        }
    }

    const fn units(&self) -> (u8, u8) {
        match self.dialect {
            RegisterDialect::D2 => (UNIT_D2, UNIT_D2),
            RegisterDialect::P81 => (UNIT_P81_ASKED, UNIT_P81_ANSWER),
        }
    }

    fn written(&self) -> u16 {
        match self.order {
            Order::SwitchCharge(closed) | Order::SwitchDischarge(closed) => u16::from(closed),
            Order::SetSoc(soc) => tenths(soc),
        }
    }

    /// The stretch of registers that a poll reads, too: boards are known to answer it.
    const fn stretch(&self) -> (u16, u16) {
        match (self.dialect, self.order) {
            (RegisterDialect::D2, _) => (0, 0x3E),
            (RegisterDialect::P81, Order::SetSoc(_)) => (0, 0x40),
            (RegisterDialect::P81, Order::SwitchCharge(_) | Order::SwitchDischarge(_)) => (0x41, 0x3E),
        }
    }

    fn shows(&self, values: Vec<u16>) -> Said {
        let (first, count) = self.stretch();
        if values.len() != usize::from(count) {
            return Said::Other;
        }
        let block = Block { dialect: self.dialect, first, values };
        block.at(self.places().1).map_or(Said::Other, |value| match self.order {
            Order::SwitchCharge(closed) | Order::SwitchDischarge(closed) => {
                Said::Shows((value != 0) == closed)
            }
            Order::SetSoc(soc) => Said::Shows(value.abs_diff(tenths(soc)) <= SOC_SLACK),
        })
    }
}

impl OrderDialect for RegisterOrderDialect {
    fn order(&mut self) -> Vec<u8> {
        let ((unit, _), (register, _)) = (self.units(), self.places());
        RegisterFrame::Write { unit, register, value: self.written() }.to_bytes()
    }

    fn question(&mut self) -> Vec<u8> {
        let ((unit, _), (first, count)) = (self.units(), self.stretch());
        RegisterFrame::Read { unit, first, count }.to_bytes()
    }

    fn forget_input(&mut self) {
        self.decoder.reset();
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    fn next_said(&mut self) -> Option<Said> {
        let BleFrame::Register(frame) = self.decoder.next_frame()? else { return Some(Said::Other) };
        let (_, answering) = self.units();
        Some(match frame {
            RegisterFrame::Registers { unit, values } if unit == answering => self.shows(values),
            RegisterFrame::Write { unit, register, .. }
                if unit == answering && register == self.places().0 =>
            {
                Said::Taken
            }
            RegisterFrame::Refused { unit, function: 6, code } if unit == answering => {
                Said::Refused(exception_text(code))
            }
            RegisterFrame::Registers { .. }
            | RegisterFrame::Write { .. }
            | RegisterFrame::Refused { .. }
            | RegisterFrame::Read { .. } => Said::Other,
        })
    }
}
