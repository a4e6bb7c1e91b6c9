//! A simulated Daly board: hears A5 requests and answers them from a pack, as real boards do.
//!
//! Frames of long answers are numbered from 1, slots past the last cell hold leftovers, and there is no way to say no.
//! It answers only its own address. A cycle counts as complete when faults (0x98) were answered after the pack (0x90),
//! so that a repeated last request is not counted twice.

use std::time::Duration;

use super::device::{DeviceSide, HasPack, Reply};
use super::pack::SimPack;
use super::protection::Protection;
use crate::bms::daly_uart::{
    Answer, BalanceAnswer, Board, CELLS_PER_FRAME, CellExtremesAnswer, CellsAnswer, CurrentSign,
    FaultsAnswer, Frame, FrameDecoder, PackAnswer, SENSORS_PER_FRAME, StatusAnswer, SwitchesAnswer,
    TemperatureExtremesAnswer, TemperaturesAnswer, command,
};

/// What stands in slots past the last cell or sensor.
const LEFTOVER_MV: u16 = 0x0FAB;
const LEFTOVER_TEMPERATURE: u8 = 0x2A;

/// What the board warns of besides its protections: cells this far apart in mV, and a state of charge below this.
const IMBALANCE_MV: (u16, u16) = (300, 500);
const LOW_SOC_PERCENT: f64 = 10.0;
const NOMINAL_CELL_MV: u32 = 3_700;
/// The code for NMC.
const CHEMISTRY: u8 = 1;

/// A board and its pack.
#[derive(Debug, Clone)]
pub struct DalySim {
    /// The pack behind the board; may be changed at any time.
    pub pack: SimPack,
    board: Board,
    sign: CurrentSign,
    decoder: FrameDecoder,
    life: u8,
    pack_was_asked: bool,
}

impl DalySim {
    /// Puts a board in front of a pack. `sign` says which way its current counts; `Auto` counts as `Normal`.
    pub fn new(pack: SimPack, board: Board, sign: CurrentSign) -> Self {
        Self { pack, board, sign, decoder: FrameDecoder::default(), life: 0, pack_was_asked: false }
    }

    fn reply(&mut self, request: &Frame) -> Reply {
        let frames =
            self.answers(request).iter().map(|answer| answer.encode(self.board.number())).collect::<Vec<_>>();
        let ends_cycle = request.command == command::FAULTS && self.pack_was_asked;
        match request.command {
            command::PACK => self.pack_was_asked = true,
            command::FAULTS => self.pack_was_asked = false,
            _ => {}
        }
        Reply {
            frames: frames.into_iter().map(|frame| frame.to_bytes().to_vec()).collect(),
            ends_cycle,
            measures: request.command == command::PACK,
            ..Reply::default()
        }
    }

    fn answers(&mut self, request: &Frame) -> Vec<Answer> {
        let other = |data| vec![Answer::Other { command: request.command, data }];
        match request.command {
            command::PACK => vec![Answer::Pack(self.pack_answer())],
            command::CELL_EXTREMES => vec![Answer::CellExtremes(self.cell_extremes())],
            command::TEMPERATURE_EXTREMES => vec![Answer::TemperatureExtremes(self.temperature_extremes())],
            command::SWITCHES => vec![Answer::Switches(self.switches())],
            command::STATUS => vec![Answer::Status(self.status())],
            command::CELLS => self.cells(),
            command::TEMPERATURES => self.temperatures(),
            command::BALANCE => vec![Answer::Balance(self.balance())],
            command::FAULTS => vec![Answer::Faults(self.faults())],
            command::RATED => other(two_words(milli(self.pack.capacity_ah()), NOMINAL_CELL_MV)),
            command::BOARDS => other([1, self.cell_count(), 0, 0, self.sensor_count(), 0, 0, 0]),
            command::TOTALS => {
                let totals = self.pack.totals();
                other(two_words(whole(totals.charged_ah), whole(totals.discharged_ah)))
            }
            command::BATTERY_TYPE => other([CHEMISTRY, 0, 25, 6, 1, 0x1C, 0x20, 0]),
            command::FIRMWARE => other(*b"VOLTREE1"),
            command::SET_CHARGE => {
                self.pack.set_charge_closed(request.data[0] == 1);
                other(request.data)
            }
            command::SET_DISCHARGE => {
                self.pack.set_discharge_closed(request.data[0] == 1);
                other(request.data)
            }
            _ => Vec::new(),
        }
    }

    fn pack_answer(&self) -> PackAnswer {
        let amps = self.pack.measured_amps();
        let amps = if self.sign == CurrentSign::Inverted { -amps } else { amps };
        PackAnswer {
            voltage_raw: to_u16(self.pack.volts() * 10.0),
            gather_voltage_raw: 0,
            current_raw: to_u16(amps * 10.0 + f64::from(PackAnswer::ZERO_CURRENT_RAW)),
            soc_raw: to_u16(self.pack.board_soc_percent() * 10.0),
        }
    }

    fn cell_extremes(&self) -> CellExtremesAnswer {
        let (mut max, mut min) = ((0, 0), (u16::MAX, 0));
        for (number, mv) in (1u8..).zip(self.millivolts()) {
            max = if mv > max.0 { (mv, number) } else { max };
            min = if mv < min.0 { (mv, number) } else { min };
        }
        CellExtremesAnswer { max_mv: max.0, max_cell: max.1, min_mv: min.0, min_cell: min.1 }
    }

    fn temperature_extremes(&self) -> TemperatureExtremesAnswer {
        let (mut max, mut min) = ((0, 0), (u8::MAX, 0));
        for (number, raw) in (1u8..).zip(self.raw_temperatures()) {
            max = if raw > max.0 { (raw, number) } else { max };
            min = if raw < min.0 { (raw, number) } else { min };
        }
        TemperatureExtremesAnswer { max_raw: max.0, max_sensor: max.1, min_raw: min.0, min_sensor: min.1 }
    }

    fn switches(&mut self) -> SwitchesAnswer {
        self.life = self.life.wrapping_add(1);
        let (charge_closed, discharge_closed) = self.pack.switches_closed();
        let state_raw = match self.pack.amps() {
            _ if self.pack.is_idle() => 0,
            amps if amps > 0.0 => 1,
            _ => 2,
        };
        let remaining_mah = milli(self.pack.board_remaining_ah());
        SwitchesAnswer { state_raw, charge_closed, discharge_closed, life: self.life, remaining_mah }
    }

    fn status(&self) -> StatusAnswer {
        StatusAnswer {
            cells: self.cell_count(),
            sensors: self.sensor_count(),
            charger: self.pack.amps() > 0.0,
            load: self.pack.amps() < 0.0,
            dio_bits: 2,
            cycles: to_u16(self.pack.cycles().floor()),
            byte7: self.life,
        }
    }

    fn cells(&self) -> Vec<Answer> {
        let millivolts = self.millivolts();
        let frame = |(number, cells): (u8, &[u16])| {
            let mut slots = [LEFTOVER_MV; 3];
            slots[..cells.len()].copy_from_slice(cells);
            Answer::Cells(CellsAnswer { number, millivolts: slots })
        };
        (1..).zip(millivolts.chunks(usize::from(CELLS_PER_FRAME))).map(frame).collect()
    }

    fn temperatures(&self) -> Vec<Answer> {
        let raw = self.raw_temperatures();
        let frame = |(number, sensors): (u8, &[u8])| {
            let mut slots = [LEFTOVER_TEMPERATURE; 7];
            slots[..sensors.len()].copy_from_slice(sensors);
            Answer::Temperatures(TemperaturesAnswer { number, raw: slots })
        };
        (1..).zip(raw.chunks(usize::from(SENSORS_PER_FRAME))).map(frame).collect()
    }

    fn balance(&self) -> BalanceAnswer {
        let mut bits = [0; 6];
        for (cell, _) in self.pack.balancing().iter().enumerate().filter(|(_, bleeds)| **bleeds) {
            bits[cell / 8] |= 1 << (cell % 8);
        }
        BalanceAnswer { bits }
    }

    fn faults(&self) -> FaultsAnswer {
        let mut bits = [0; 7];
        for (protection, warns, tripped) in self.pack.protections() {
            let (byte, shift) = fault_place(protection);
            bits[byte] |= levels(warns, tripped) << shift;
        }
        let extremes = self.cell_extremes();
        let difference = extremes.max_mv.saturating_sub(extremes.min_mv);
        bits[2] |= levels(self.pack.board_soc_percent() <= LOW_SOC_PERCENT, false) << 6;
        bits[3] |= levels(difference >= IMBALANCE_MV.0, difference >= IMBALANCE_MV.1);
        FaultsAnswer { bits, code: 0 }
    }

    fn millivolts(&self) -> Vec<u16> {
        self.pack.cell_volts().into_iter().map(|volts| to_u16(volts * 1000.0)).collect()
    }

    fn raw_temperatures(&self) -> Vec<u8> {
        // 0 and 255 would mean that the sensor is missing.
        let raw = |celsius: f64| u8::try_from(to_u16(celsius + 40.0)).unwrap_or(u8::MAX).clamp(1, 254);
        self.pack.celsius().into_iter().map(raw).collect()
    }

    fn cell_count(&self) -> u8 {
        u8::try_from(self.pack.cell_volts().len()).unwrap_or(u8::MAX)
    }

    fn sensor_count(&self) -> u8 {
        u8::try_from(self.pack.celsius().len()).unwrap_or(u8::MAX)
    }
}

impl HasPack for DalySim {
    fn pack_mut(&mut self) -> &mut SimPack {
        &mut self.pack
    }
}

impl DeviceSide for DalySim {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        self.pack.advance_to(now);
        self.decoder.push(bytes);
        let mut replies = Vec::new();
        while let Some(request) = self.decoder.next_frame() {
            // An address of another kind of host is answered too: tools of the vendor's own use several.
            let ours = request.address == self.board.request_address() || request.address == 0x80;
            replies.push(if ours { self.reply(&request) } else { Reply::default() });
        }
        replies
    }
}

/// The byte of answer 0x98 that tells of a protection, and where its two bits begin.
const fn fault_place(protection: Protection) -> (usize, u8) {
    match protection {
        Protection::CellOvervoltage => (0, 0),
        Protection::CellUndervoltage => (0, 2),
        Protection::ChargeOvertemperature => (1, 0),
        Protection::ChargeUndertemperature => (1, 2),
        Protection::DischargeOvertemperature => (1, 4),
        Protection::DischargeUndertemperature => (1, 6),
        Protection::ChargeOvercurrent => (2, 0),
        Protection::DischargeOvercurrent => (2, 2),
    }
}

fn levels(warning: bool, fault: bool) -> u8 {
    u8::from(warning) | u8::from(fault) << 1
}

fn two_words(first: u32, second: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_be_bytes(), second.to_be_bytes());
    [a, b, c, d, e, f, g, h]
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded and clamped to the type's range"
)]
fn to_u16(value: f64) -> u16 {
    value.round().clamp(0.0, f64::from(u16::MAX)) as u16
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded and clamped to the type's range"
)]
fn whole(value: f64) -> u32 {
    value.round().clamp(0.0, f64::from(u32::MAX)) as u32
}

fn milli(value: f64) -> u32 {
    whole(value * 1000.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bms::daly_uart::{Filler, read_request, switch_request};
    use crate::sim::{PackConfig, Profile};

    fn sim() -> DalySim {
        let pack = SimPack::new(PackConfig { profile: Profile::Rest, ..PackConfig::default() });
        DalySim::new(pack, Board::FIRST, CurrentSign::Normal)
    }

    fn ask(sim: &mut DalySim, board: u8, command: u8) -> Vec<Reply> {
        let request = read_request(Board::new(board).unwrap(), command, Filler::Zeros);
        sim.handle_input(&request.to_bytes(), Duration::ZERO)
    }

    #[test]
    fn fourteen_cells_take_five_frames_numbered_from_one() {
        let replies = ask(&mut sim(), 1, command::CELLS);
        let numbers: Vec<u8> = replies[0].frames.iter().map(|frame| frame[4]).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_request_to_another_board_stays_unanswered() {
        assert_eq!(ask(&mut sim(), 2, command::PACK), [Reply::default()]);
    }

    #[test]
    fn a_repeated_last_request_ends_one_cycle_only() {
        let mut sim = sim();
        let mut ended = 0;
        for command in [command::FAULTS, command::PACK, command::FAULTS, command::FAULTS, command::PACK] {
            ended += ask(&mut sim, 1, command).iter().filter(|reply| reply.ends_cycle).count();
        }
        assert_eq!(ended, 1);
    }

    #[test]
    fn a_switch_is_echoed_and_seen_in_the_state() {
        let mut sim = sim();
        let off = switch_request(Board::FIRST, command::SET_CHARGE, false);
        let replies = sim.handle_input(&off.to_bytes(), Duration::ZERO);
        assert_eq!(replies[0].frames[0][4], 0);
        assert_eq!(sim.pack.switches_closed(), (false, true));
    }

    #[test]
    fn a_protection_shows_as_its_two_bits_and_in_the_switches() {
        let mut sim = sim();
        sim.pack.set_temperature(1, 70.0);
        sim.pack.advance_to(Duration::from_secs(1));
        assert_eq!(sim.faults().bits[1], 0b0001_0001, "both levels that warn, before the delay is over");
        sim.pack.advance_to(Duration::from_secs(6));
        assert_eq!(sim.faults().bits[1], 0b0011_0011);
        let switches = sim.switches();
        assert_eq!((switches.charge_closed, switches.discharge_closed), (false, false));
    }

    #[test]
    fn cells_that_are_bled_show_in_the_balance_bits() {
        let mut sim = sim();
        (1..=14).for_each(|cell| sim.pack.set_cell_soc(cell, 90.0));
        sim.pack.set_cell_soc(9, 95.0);
        sim.pack.set_current(0.0);
        sim.pack.advance_to(Duration::from_secs(2));
        assert_eq!(sim.balance().cells(), [9]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived_and_never_answered_twice(bytes: Vec<u8>) {
            let mut sim = sim();
            let replies = sim.handle_input(&bytes, Duration::from_secs(5));
            prop_assert!(replies.len() <= bytes.len() / 13);
        }

        #[test]
        fn any_command_is_survived(command: u8, data: [u8; 8], address in prop_oneof![Just(0x40u8), any::<u8>()]) {
            let frame = Frame { address, command, data };
            let replies = sim().handle_input(&frame.to_bytes(), Duration::ZERO);
            prop_assert_eq!(replies.len(), 1);
            for bytes in &replies[0].frames {
                prop_assert_eq!(Frame::parse(bytes).unwrap().command, command);
            }
        }
    }
}
