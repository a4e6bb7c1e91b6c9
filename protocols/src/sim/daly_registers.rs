//! A simulated Daly board that speaks in registers, of either table.
//!
//! Any stretch of its table may be read. Switches and the state of charge may be written and are confirmed by an echo; any
//! other register is refused.

use std::time::Duration;

use super::device::{DeviceSide, HasPack, Reply};
use super::pack::SimPack;
use super::quantity::{Complaints, count, millivolts, to_u16};
use crate::bms::daly_bluetooth::{BleFrame, BleFraming, RegisterDialect, RegisterFrame};
use crate::bms::daly_uart::CurrentSign;
use crate::bms::framing::StreamDecoder;

const REGISTERS: u16 = 0x80;
const ABSENT: u16 = 0x00FF;
const ILLEGAL_ADDRESS: u8 = 2;
/// Bits of the first fault words: overvoltage, undervoltage, imbalance, hot, cold.
const FAULT_BITS: [u32; 5] = [0, 2, 24, 12, 14];

/// A board and its pack.
#[derive(Debug, Clone)]
pub struct DalyRegistersSim {
    /// The pack behind the board; may be changed at any time.
    pub pack: SimPack,
    dialect: RegisterDialect,
    sign: CurrentSign,
    decoder: StreamDecoder<BleFraming>,
}

impl DalyRegistersSim {
    /// Puts a board in front of a pack. `sign` says which way its current counts; `Auto` counts as `Normal`.
    pub fn new(pack: SimPack, dialect: RegisterDialect, sign: CurrentSign) -> Self {
        Self { pack, dialect, sign, decoder: StreamDecoder::new(BleFraming) }
    }

    const fn units(&self) -> (u8, u8) {
        match self.dialect {
            RegisterDialect::D2 => (0xD2, 0xD2),
            RegisterDialect::P81 => (0x81, 0x51),
        }
    }

    fn reply(&mut self, frame: &RegisterFrame) -> Option<Reply> {
        let (asked, unit) = self.units();
        let mut reply = Reply::default();
        let answer = match *frame {
            RegisterFrame::Read { unit: to, first, count } if to == asked => {
                reply.measures = first == 0;
                reply.ends_cycle = self.dialect == RegisterDialect::D2 || first > 0;
                self.read(unit, first, count)
            }
            RegisterFrame::Write { unit: to, register, value } if to == asked => {
                self.write(unit, register, value)
            }
            RegisterFrame::Read { .. }
            | RegisterFrame::Write { .. }
            | RegisterFrame::Registers { .. }
            | RegisterFrame::Refused { .. } => return None,
        };
        reply.frames = vec![answer.to_bytes()];
        Some(reply)
    }

    fn read(&self, unit: u8, first: u16, count: u16) -> RegisterFrame {
        let registers = self.registers();
        let place = usize::from(first)..usize::from(first) + usize::from(count);
        match registers.get(place).filter(|values| !values.is_empty()) {
            Some(values) => RegisterFrame::Registers { unit, values: values.to_vec() },
            None => RegisterFrame::Refused { unit, function: 3, code: ILLEGAL_ADDRESS },
        }
    }

    fn write(&mut self, unit: u8, register: u16, value: u16) -> RegisterFrame {
        match (self.dialect, register) {
            (RegisterDialect::D2, 0xA5) | (RegisterDialect::P81, 0x125) => {
                self.pack.set_charge_closed(value == 1);
            }
            (RegisterDialect::D2, 0xA6) | (RegisterDialect::P81, 0x126) => {
                self.pack.set_discharge_closed(value == 1);
            }
            (RegisterDialect::D2, 0xA7) | (RegisterDialect::P81, 0x127) if value <= 1000 => {
                self.pack.set_board_soc(f64::from(value) / 10.0);
            }
            _ => return RegisterFrame::Refused { unit, function: 6, code: ILLEGAL_ADDRESS },
        }
        RegisterFrame::Write { unit, register, value }
    }

    fn registers(&self) -> Vec<u16> {
        let mut registers = vec![0; usize::from(REGISTERS)];
        let cells = millivolts(&self.pack);
        registers.iter_mut().zip(&cells).for_each(|(register, cell)| *register = *cell);
        match self.dialect {
            RegisterDialect::D2 => self.d2(&mut registers),
            RegisterDialect::P81 => self.p81(&mut registers),
        }
        registers
    }

    fn state(&self) -> u16 {
        match self.pack.amps() {
            _ if self.pack.is_idle() => 0,
            amps if amps > 0.0 => 1,
            _ => 2,
        }
    }

    /// Voltage, current and state of charge, which follow each other in both tables, and the sensors.
    fn pack_values(&self, registers: &mut [u16], sensors: usize, voltage: usize) {
        let amps = if self.sign == CurrentSign::Inverted { -self.pack.amps() } else { self.pack.amps() };
        registers[voltage] = to_u16(self.pack.volts() * 10.0);
        registers[voltage + 1] = to_u16(amps * 10.0 + 30_000.0);
        registers[voltage + 2] = to_u16(self.pack.board_soc_percent() * 10.0);
        let places = &mut registers[sensors..sensors + 8];
        places.fill(ABSENT);
        let celsius = self.pack.celsius();
        places.iter_mut().zip(celsius).for_each(|(place, celsius)| *place = to_u16(celsius + 40.0));
    }

    fn d2(&self, registers: &mut [u16]) {
        self.pack_values(registers, 0x20, 0x28);
        let (charge, discharge) = self.pack.switches_closed();
        let cells = millivolts(&self.pack);
        if let (Some(most), Some(least)) = (cells.iter().max(), cells.iter().min()) {
            (registers[0x2B], registers[0x2C], registers[0x38]) = (*most, *least, most - least);
        }
        registers[0x2F] = self.state();
        registers[0x30] = to_u16(self.pack.board_remaining_ah() * 10.0);
        registers[0x31] = u16::from(count(self.pack.cell_volts().len()));
        registers[0x32] = u16::from(count(self.pack.celsius().len()).min(8));
        registers[0x33] = to_u16(self.pack.cycles().floor());
        registers[0x34] = u16::from(self.pack.balancing().contains(&true));
        registers[0x35] = u16::from(charge);
        registers[0x36] = u16::from(discharge);
        let [a, b, c, d] = Complaints::of(&self.pack).bits(FAULT_BITS).to_le_bytes();
        registers[0x3A] = u16::from_le_bytes([a, b]);
        registers[0x3B] = u16::from_le_bytes([c, d]);
        for (cell, _) in self.pack.balancing().iter().enumerate().filter(|(cell, bled)| **bled && *cell < 32)
        {
            registers[0x3E + cell / 16] |= 1 << (cell % 16);
        }
    }

    fn p81(&self, registers: &mut [u16]) {
        self.pack_values(registers, 0x30, 0x38);
        let (charge, discharge) = self.pack.switches_closed();
        registers[0x3C] = u16::from(count(self.pack.cell_volts().len()));
        registers[0x3D] = u16::from(count(self.pack.celsius().len()).min(8));
        registers[0x48] = self.state();
        registers[0x4B] = to_u16(self.pack.board_remaining_ah() * 10.0);
        registers[0x4C] = to_u16(self.pack.cycles().floor());
        registers[0x4D] = u16::from(self.pack.balancing().contains(&true));
        registers[0x52] = u16::from(charge);
        registers[0x53] = u16::from(discharge);
        registers[0x6D] = u16::from(Complaints::of(&self.pack) != Complaints::default());
    }
}

impl DeviceSide for DalyRegistersSim {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        self.pack.advance_to(now);
        self.decoder.push(bytes);
        let mut replies = Vec::new();
        while let Some(frame) = self.decoder.next_frame() {
            match frame {
                BleFrame::Register(frame) => replies.extend(self.reply(&frame)),
                BleFrame::A5(_) => {}
            }
        }
        replies
    }
}

impl HasPack for DalyRegistersSim {
    fn pack_mut(&mut self) -> &mut SimPack {
        &mut self.pack
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sim::PackConfig;

    fn sim(dialect: RegisterDialect) -> DalyRegistersSim {
        DalyRegistersSim::new(SimPack::new(PackConfig::default()), dialect, CurrentSign::Normal)
    }

    #[test]
    fn a_switch_that_is_written_is_confirmed_and_anything_else_refused() {
        let mut sim = sim(RegisterDialect::D2);
        let write = |register, value| RegisterFrame::Write { unit: 0xD2, register, value }.to_bytes();
        let replies = sim.handle_input(&write(0xA5, 0), Duration::ZERO);
        assert_eq!(replies[0].frames, [write(0xA5, 0)]);
        assert_eq!(sim.pack.switches_closed(), (false, true));
        let refused = RegisterFrame::Refused { unit: 0xD2, function: 6, code: 2 }.to_bytes();
        assert_eq!(sim.handle_input(&write(0xF1, 1), Duration::ZERO)[0].frames, [refused]);
    }

    proptest! {
        #[test]
        fn any_stretch_is_read_or_refused(first: u16, count: u16, p81: bool) {
            let (dialect, unit) = if p81 { (RegisterDialect::P81, 0x81) } else { (RegisterDialect::D2, 0xD2) };
            let read = RegisterFrame::Read { unit, first: first % 0x100, count }.to_bytes();
            prop_assert_eq!(sim(dialect).handle_input(&read, Duration::ZERO).len(), 1);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            prop_assert!(sim(RegisterDialect::D2).handle_input(&bytes, Duration::ZERO).len() <= bytes.len() / 8);
        }
    }
}
