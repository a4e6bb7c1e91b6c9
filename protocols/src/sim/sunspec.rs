//! A simulated SunSpec battery on a Modbus line: the marker, a common model, models 802 and 803, and the end.
//!
//! Any register of it may be read, so that it also stands in for a device that is described by a table. A question beyond
//! its registers gets the exception that real devices give. A cycle counts as complete when the last register of model
//! 803 was read.

use std::time::Duration;

use super::device::{DeviceSide, HasPack, Reply};
use super::pack::SimPack;
use super::quantity::{Complaints, to_i16, to_u16, to_u32};
use crate::bms::daly_uart::CurrentSign;
use crate::bms::framing::StreamDecoder;
use crate::bms::modbus::{ReadRegisters, RegistersAnswer, RtuRequests, Table};
use crate::bms::sunspec::{BANK_MODEL, BATTERY_MODEL, END_MODEL, MARKER};

const COMMON_LENGTH: u16 = 66;
const BATTERY_LENGTH: u16 = 62;
/// The fixed part and one string.
const BANK_LENGTH: u16 = 26 + 32;
const ILLEGAL_ADDRESS: u8 = 2;
const NOT_U16: u16 = 0xFFFF;
const NOT_I16: u16 = 0x8000;
/// Bits of the event word: overvoltage, undervoltage, imbalance, hot, cold.
const EVENT_BITS: [u32; 5] = [9, 11, 17, 1, 3];
/// Scale factors: hundredths, tenths, thousandths.
const CENTI: u16 = 0xFFFE;
const DECI: u16 = 0xFFFF;
const MILLI: u16 = 0xFFFD;

/// A device and its pack.
#[derive(Debug, Clone)]
pub struct SunspecSim {
    /// The pack behind the device; may be changed at any time.
    pub pack: SimPack,
    base: u16,
    sign: CurrentSign,
    decoder: StreamDecoder<RtuRequests>,
}

impl SunspecSim {
    /// Puts a device in front of a pack, its registers from `base` on. `sign` says which way its current counts; `Auto`
    /// counts as `Normal`.
    pub fn new(pack: SimPack, unit: u8, base: u16, sign: CurrentSign) -> Self {
        Self { pack, base, sign, decoder: StreamDecoder::new(RtuRequests { unit }) }
    }

    /// Where model 802 begins.
    pub const fn battery_at(&self) -> u16 {
        self.base + 2 + 2 + COMMON_LENGTH
    }

    fn reply(&self, request: ReadRegisters) -> Reply {
        let registers = self.registers();
        let from = usize::from(request.first).checked_sub(usize::from(self.base));
        let wanted = from.and_then(|from| registers.get(from..from + usize::from(request.count)));
        let answer = match wanted.filter(|wanted| request.table == Table::Holding && !wanted.is_empty()) {
            Some(wanted) => RegistersAnswer::Registers(wanted.to_vec()),
            None => RegistersAnswer::Exception(ILLEGAL_ADDRESS),
        };
        let last_of_bank = registers.len() - 3;
        let ends_cycle = from.is_some_and(|from| from + usize::from(request.count) - 1 == last_of_bank);
        let frames = vec![request.answer_rtu(&answer)];
        Reply { frames, ends_cycle, measures: ends_cycle, ..Reply::default() }
    }

    fn registers(&self) -> Vec<u16> {
        let mut registers = MARKER.to_vec();
        registers.extend([1, COMMON_LENGTH]);
        registers.extend(std::iter::repeat_n(0, usize::from(COMMON_LENGTH)));
        registers.extend(self.battery());
        registers.extend(self.bank());
        registers.extend([END_MODEL, 0]);
        registers
    }

    fn amps(&self) -> f64 {
        if self.sign == CurrentSign::Inverted { -self.pack.amps() } else { self.pack.amps() }
    }

    fn battery(&self) -> Vec<u16> {
        let pack = &self.pack;
        let mut model = vec![NOT_U16; usize::from(BATTERY_LENGTH) + 2];
        let mut put = |at: usize, value: u16| model[at] = value;
        put(0, BATTERY_MODEL);
        put(1, BATTERY_LENGTH);
        put(2, to_u16(pack.capacity_ah() * 10.0));
        put(11, to_u16(pack.board_soc_percent() * 10.0));
        put(13, 1000);
        let [c0, c1] = halves(to_u32(pack.cycles().floor()));
        put(14, c0);
        put(15, c1);
        put(16, charge_state(pack));
        put(22, 3);
        let [e0, e1] = halves(Complaints::of(pack).bits(EVENT_BITS));
        put(26, e0);
        put(27, e1);
        (28..34).for_each(|at| put(at, 0));
        put(34, to_u16(pack.volts() * 100.0));
        let volts = pack.cell_volts();
        let cell = |volts: f64| to_u16(volts * 1000.0);
        put(37, cell(volts.iter().copied().fold(f64::MIN, f64::max)));
        put(40, cell(volts.iter().copied().fold(f64::MAX, f64::min)));
        put(44, signed(self.amps() * 10.0));
        put(47, NOT_I16);
        let factors =
            [DECI, NOT_I16, NOT_I16, NOT_I16, DECI, NOT_I16, DECI, CENTI, MILLI, DECI, NOT_I16, NOT_I16];
        (52..).zip(factors).for_each(|(at, factor)| put(at, factor));
        model
    }

    fn bank(&self) -> Vec<u16> {
        let pack = &self.pack;
        let mut model = vec![NOT_U16; usize::from(BANK_LENGTH) + 2];
        let mut put = |at: usize, value: u16| model[at] = value;
        put(0, BANK_MODEL);
        put(1, BANK_LENGTH);
        put(2, 1);
        put(3, 1);
        let celsius = pack.celsius();
        let extreme = |pick: fn(f64, f64) -> f64| celsius.iter().copied().reduce(pick);
        let tenths = |value: Option<f64>| value.map_or(NOT_I16, |celsius| signed(celsius * 10.0));
        put(4, tenths(extreme(f64::max)));
        put(7, tenths(extreme(f64::min)));
        put(21, 0);
        let factors = [MILLI, DECI, DECI, DECI, DECI, CENTI];
        (22..).zip(factors).for_each(|(at, factor)| put(at, factor));
        let string = 28;
        put(string + 4, to_u16(pack.board_soc_percent() * 10.0));
        put(string + 5, 1000);
        put(string + 6, signed(self.amps() * 10.0));
        put(string + 20, 0);
        put(string + 21, 0);
        model
    }
}

fn charge_state(pack: &SimPack) -> u16 {
    match pack.amps() {
        _ if pack.is_idle() => 6,
        amps if amps > 0.0 => 4,
        _ => 3,
    }
}

fn signed(value: f64) -> u16 {
    u16::from_be_bytes(to_i16(value).to_be_bytes())
}

fn halves(value: u32) -> [u16; 2] {
    let [a, b, c, d] = value.to_be_bytes();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

impl HasPack for SunspecSim {
    fn pack_mut(&mut self) -> &mut SimPack {
        &mut self.pack
    }
}

impl DeviceSide for SunspecSim {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        self.pack.advance_to(now);
        self.decoder.push(bytes);
        let mut replies = Vec::new();
        while let Some(request) = self.decoder.next_frame() {
            replies.push(self.reply(request));
        }
        replies
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sim::PackConfig;

    fn sim() -> SunspecSim {
        SunspecSim::new(SimPack::new(PackConfig::default()), 1, 40_000, CurrentSign::Normal)
    }

    #[test]
    fn a_register_that_is_not_there_gets_an_exception() {
        let request = ReadRegisters { unit: 1, table: Table::Holding, first: 0, count: 2 };
        let replies = sim().handle_input(&request.to_rtu(), Duration::ZERO);
        assert_eq!(replies[0].frames, [request.answer_rtu(&RegistersAnswer::Exception(2))]);
    }

    proptest! {
        #[test]
        fn any_question_is_survived(first: u16, count: u16, input: bool) {
            let table = if input { Table::Input } else { Table::Holding };
            let request = ReadRegisters { unit: 1, table, first, count };
            prop_assert_eq!(sim().handle_input(&request.to_rtu(), Duration::ZERO).len(), 1);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            prop_assert!(sim().handle_input(&bytes, Duration::ZERO).len() <= bytes.len() / 8);
        }
    }
}
