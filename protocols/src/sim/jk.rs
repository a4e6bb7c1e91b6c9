//! Simulated JK boards: one on the wired port, one as a Bluetooth module would carry it.
//!
//! The wired one answers a read of everything and takes switches; the other sends its device record and a cell record
//! when asked. Over Bluetooth a real board goes on sending by itself, which whoever carries the bytes may imitate by
//! asking again.

use std::time::Duration;

use super::device::{DeviceSide, HasPack, Reply};
use super::pack::SimPack;
use super::quantity::{Complaints, count, millivolts, to_u8, to_u16, to_u32};
use crate::bms::framing::StreamDecoder;
use crate::bms::jk::{
    CellInfoWriter, DeviceInfo, Generation, Jk02Frame, Jk02Framing, PackValues, Record, Tag, Tags, UartFrame,
    UartFraming, command_frame, record_type, register,
};

const READ_ALL: u8 = 0x06;
const WRITE: u8 = 0x02;
const CHARGE_SWITCH: u8 = 0xAB;
const DISCHARGE_SWITCH: u8 = 0xAC;
/// Bits of the wired warning word: overvoltage, undervoltage, imbalance, hot, cold.
const UART_BITS: [u32; 5] = [10, 11, 7, 4, 9];
/// Bits of the Bluetooth error word, which has none for imbalance; hot and cold stand for charging.
const JK02_BITS: [u32; 5] = [4, 11, 0, 21, 9];

/// A board on its wired port.
#[derive(Debug, Clone)]
pub struct JkSim {
    /// The pack behind the board; may be changed at any time.
    pub pack: SimPack,
    decoder: StreamDecoder<UartFraming>,
}

impl JkSim {
    /// Puts a board in front of a pack.
    pub fn new(pack: SimPack) -> Self {
        Self { pack, decoder: StreamDecoder::default() }
    }

    fn reply(&mut self, request: &UartFrame) -> Reply {
        if request.is_answer() {
            return Reply::default();
        }
        let data = match (request.command, request.data.as_slice()) {
            (READ_ALL, _) => self.tags().encode(),
            (WRITE, [CHARGE_SWITCH, value]) => {
                self.pack.set_charge_closed(*value == 1);
                vec![CHARGE_SWITCH, *value]
            }
            (WRITE, [DISCHARGE_SWITCH, value]) => {
                self.pack.set_discharge_closed(*value == 1);
                vec![DISCHARGE_SWITCH, *value]
            }
            _ => return Reply::default(),
        };
        let answer = UartFrame { source: 0, frame_type: 1, data, ..request.clone() };
        let everything = request.command == READ_ALL;
        Reply {
            frames: vec![answer.to_bytes()],
            ends_cycle: everything,
            measures: everything,
            ..Reply::default()
        }
    }

    fn tags(&self) -> Tags {
        let pack = &self.pack;
        let (charge, discharge) = pack.switches_closed();
        let word = |tag: u8, value: u16| Tag { tag, value: value.to_be_bytes().to_vec() };
        let long = |tag: u8, value: u32| Tag { tag, value: value.to_be_bytes().to_vec() };
        let byte = |tag: u8, value: u8| Tag { tag, value: vec![value] };
        let cells = millivolts(pack);
        let mut cell_bytes = vec![count(cells.len() * 3)];
        for (number, mv) in (1u8..).zip(&cells) {
            let [high, low] = mv.to_be_bytes();
            cell_bytes.extend([number, high, low]);
        }
        let celsius = pack.celsius();
        let sensor = |index: usize| temperature(celsius.get(index).copied().unwrap_or(0.0));
        let hottest = celsius.iter().copied().fold(20.0, f64::max);
        let warnings = u16::try_from(Complaints::of(pack).bits(UART_BITS)).unwrap_or_default();
        let status = u16::from(charge) | u16::from(discharge) << 1;
        let tags = vec![
            Tag { tag: 0x79, value: cell_bytes },
            word(0x80, temperature(hottest)),
            word(0x81, sensor(0)),
            word(0x82, sensor(1)),
            word(0x83, to_u16(pack.volts() * 100.0)),
            word(0x84, current(pack.amps())),
            byte(0x85, to_u8(pack.board_soc_percent())),
            byte(0x86, count(celsius.len().min(2))),
            word(0x87, to_u16(pack.cycles().floor())),
            long(0x89, to_u32(pack.cycles() * pack.capacity_ah())),
            word(0x8A, u16::from(count(cells.len()))),
            word(0x8B, warnings),
            word(0x8C, status),
            long(0xAA, to_u32(pack.capacity_ah())),
            byte(CHARGE_SWITCH, u8::from(charge)),
            byte(DISCHARGE_SWITCH, u8::from(discharge)),
            Tag { tag: 0xB7, value: b"11.VT_S11.001__".to_vec() },
            byte(0xC0, 1),
        ];
        Tags { tags, rest: Vec::new() }
    }
}

/// Below zero a board counts from 100 upwards.
fn temperature(celsius: f64) -> u16 {
    if celsius.round() < 0.0 { to_u16(100.0 - celsius.round()) } else { to_u16(celsius) }
}

/// Hundredths of an ampere with a bit for charging.
fn current(amps: f64) -> u16 {
    let magnitude = to_u16(amps.abs() * 100.0).min(0x7FFF);
    if amps > 0.0 { magnitude | 0x8000 } else { magnitude }
}

impl HasPack for JkSim {
    fn pack_mut(&mut self) -> &mut SimPack {
        &mut self.pack
    }
}

impl DeviceSide for JkSim {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        self.pack.advance_to(now);
        self.decoder.push(bytes);
        let mut replies = Vec::new();
        while let Some(request) = self.decoder.next_frame() {
            replies.push(self.reply(&request));
        }
        replies
    }
}

/// A board as a Bluetooth module carries it.
#[derive(Debug, Clone)]
pub struct Jk02Sim {
    /// The pack behind the board; may be changed at any time.
    pub pack: SimPack,
    generation: Generation,
    decoder: StreamDecoder<Jk02Framing>,
    counter: u8,
    now: Duration,
}

impl Jk02Sim {
    /// Puts a board of a generation in front of a pack.
    pub fn new(pack: SimPack, generation: Generation) -> Self {
        Self { pack, generation, decoder: StreamDecoder::default(), counter: 0, now: Duration::ZERO }
    }

    fn reply(&mut self, register: u8, values: &[u8]) -> Reply {
        let on = values.first() == Some(&1);
        match register {
            register::DEVICE_INFO => {
                // In one breath, as newer boards do: a client that waits for either sees both.
                let ready = command_frame(register::READY, &[1]);
                let said = [self.device().bytes(), &ready, b"AT\r\n"].concat();
                Reply { frames: vec![said], ..Reply::default() }
            }
            register::CELL_INFO => Reply {
                frames: vec![self.cells().bytes().to_vec()],
                ends_cycle: true,
                measures: true,
                ..Reply::default()
            },
            register::CHARGE => {
                self.pack.set_charge_closed(on);
                Reply::default()
            }
            register::DISCHARGE => {
                self.pack.set_discharge_closed(on);
                Reply::default()
            }
            _ => Reply::default(),
        }
    }

    fn device(&self) -> Record {
        let version = match self.generation {
            Generation::Cells24 => "10.08",
            Generation::Cells32 => "15.38",
        };
        let info = DeviceInfo {
            vendor: "JK-VOLTREE".to_owned(),
            hardware_version: "1".to_owned(),
            software_version: version.to_owned(),
            device_name: "simulated".to_owned(),
            serial_number: "00000000001".to_owned(),
            uptime_s: u32::try_from(self.now.as_secs()).unwrap_or(u32::MAX),
            power_on_count: 1,
        };
        Record::build(record_type::DEVICE, self.counter, |bytes| info.fill(bytes))
    }

    fn cells(&mut self) -> Record {
        self.counter = self.counter.wrapping_add(1);
        let pack = &self.pack;
        let (charge_closed, discharge_closed) = pack.switches_closed();
        let sensors = if self.generation == Generation::Cells24 { 2 } else { 4 };
        let values = PackValues {
            volts: pack.volts(),
            amps: pack.amps(),
            mosfet_celsius: pack.celsius().iter().copied().fold(20.0, f64::max),
            celsius: pack.celsius().iter().copied().take(sensors).collect(),
            soc_percent: pack.board_soc_percent(),
            remaining_ah: pack.board_remaining_ah(),
            full_ah: pack.capacity_ah(),
            cycles: pack.cycles(),
            charge_closed,
            discharge_closed,
            uptime_s: self.now.as_secs_f64(),
            errors: Complaints { imbalance: false, ..Complaints::of(pack) }.bits(JK02_BITS),
        };
        Record::build(record_type::CELLS, self.counter, |bytes| {
            let mut writer = CellInfoWriter::new(bytes, self.generation);
            writer.cells(&millivolts(pack));
            writer.pack(&values);
        })
    }
}

impl DeviceSide for Jk02Sim {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        self.pack.advance_to(now);
        self.now = now;
        self.decoder.push(bytes);
        let mut replies = Vec::new();
        while let Some(frame) = self.decoder.next_frame() {
            replies.push(match frame {
                Jk02Frame::Command { register, values, .. } => self.reply(register, &values),
                Jk02Frame::Record(_) => Reply::default(),
            });
        }
        replies
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bms::jk::write_request;
    use crate::sim::PackConfig;

    #[test]
    fn a_switch_is_echoed_and_seen_in_the_state() {
        let mut sim = JkSim::new(SimPack::new(PackConfig::default()));
        let request = write_request(CHARGE_SWITCH, &[0]).to_bytes();
        let replies = sim.handle_input(&request, Duration::ZERO);
        assert_eq!(replies[0].frames.len(), 1);
        assert_eq!(sim.pack.switches_closed(), (false, true));
    }

    #[test]
    fn temperatures_and_currents_have_the_boards_own_signs() {
        assert_eq!((temperature(21.4), temperature(-3.0), temperature(-0.2)), (21, 103, 0));
        assert_eq!((current(4.53), current(-4.53), current(0.0)), (0x81C5, 0x01C5, 0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let pack = SimPack::new(PackConfig::default());
            prop_assert!(JkSim::new(pack.clone()).handle_input(&bytes, Duration::ZERO).len() <= bytes.len() / 20);
            let mut sim = Jk02Sim::new(pack, Generation::Cells32);
            prop_assert!(sim.handle_input(&bytes, Duration::ZERO).len() <= bytes.len() / 20);
        }
    }
}
