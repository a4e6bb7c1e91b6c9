//! A simulated pack that speaks the telecom ASCII protocol, as Seplos or as Pylontech makes them.
//!
//! It answers its own address only; several may share a line. A cycle counts as complete when alarms were answered
//! after the analog values.

use std::time::Duration;

use super::device::{DeviceSide, HasPack, Reply};
use super::pack::SimPack;
use super::quantity::{Complaints, millivolts, to_i16, to_u16, to_u32};
use crate::bms::framing::StreamDecoder;
use crate::bms::telecom::{
    Alarms, Analog, Limit, Maker, SeplosAnalog, Status, TelecomFrame, TelecomFraming, command,
};

/// The return code for a command that is not known.
const UNKNOWN_COMMAND: u8 = 4;

/// A pack that answers an address.
#[derive(Debug, Clone)]
pub struct TelecomSim {
    /// The pack; may be changed at any time.
    pub pack: SimPack,
    maker: Maker,
    address: u8,
    decoder: StreamDecoder<TelecomFraming>,
    analog_was_asked: bool,
}

impl TelecomSim {
    /// Gives a pack a maker and an address.
    pub fn new(pack: SimPack, maker: Maker, address: u8) -> Self {
        Self { pack, maker, address, decoder: StreamDecoder::default(), analog_was_asked: false }
    }

    fn reply(&mut self, request: &TelecomFrame) -> Reply {
        if request.address != self.address {
            return Reply::default();
        }
        let info = match request.command {
            command::ANALOG => Some(self.analog().encode(self.maker)),
            command::ALARMS => Some(self.alarms().encode(self.maker)),
            command::MAKER => Some(b"VOLTREE".to_vec()),
            command::VERSION => Some(Vec::new()),
            _ => None,
        };
        let ends_cycle = request.command == command::ALARMS && self.analog_was_asked;
        match request.command {
            command::ANALOG => self.analog_was_asked = true,
            command::ALARMS => self.analog_was_asked = false,
            _ => {}
        }
        let code = if info.is_some() { 0 } else { UNKNOWN_COMMAND };
        let answer = TelecomFrame { command: code, info: info.unwrap_or_default(), ..request.clone() };
        let measures = request.command == command::ANALOG;
        Reply { frames: vec![answer.to_bytes()], ends_cycle, measures, ..Reply::default() }
    }

    fn analog(&self) -> Analog {
        let pack = &self.pack;
        let (volts, amps, amp_hours) = match self.maker {
            Maker::Seplos => (100.0, 100.0, 100.0),
            Maker::Pylontech => (1000.0, 10.0, 1000.0),
        };
        let seplos = SeplosAnalog {
            soc_raw: to_u16(pack.board_soc_percent() * 10.0),
            rated_raw: to_u16(pack.capacity_ah() * 100.0),
            soh_raw: Some(1000),
            port_voltage_raw: Some(to_u16(pack.volts() * 100.0)),
        };
        Analog {
            pack: self.address,
            cells: millivolts(pack),
            temperatures_raw: pack.celsius().iter().map(|c| to_u16(c * 10.0 + 2731.0)).collect(),
            current_raw: to_i16(pack.amps() * amps),
            voltage_raw: to_u16(pack.volts() * volts),
            remaining_raw: to_u32(pack.board_remaining_ah() * amp_hours),
            full_raw: to_u32(pack.capacity_ah() * amp_hours),
            cycles: to_u16(pack.cycles().floor()),
            seplos: (self.maker == Maker::Seplos).then_some(seplos),
            rest: Vec::new(),
        }
    }

    fn alarms(&self) -> Alarms {
        let pack = &self.pack;
        let complaints = Complaints::of(pack);
        let (charge, discharge) = pack.switches_closed();
        let event = u8::from(complaints.overvoltage) << 1 | u8::from(complaints.undervoltage) << 3;
        let state = match pack.amps() {
            _ if pack.is_idle() => 0b1_0000,
            amps if amps > 0.0 => 0b10,
            _ => 0b01,
        };
        let hot = if complaints.hot { Limit::High } else { Limit::Normal };
        Alarms {
            pack: self.address,
            cells: vec![Limit::Normal; pack.cell_volts().len()],
            temperatures: vec![hot; pack.celsius().len()],
            events: [0, event, 0, 0, 0, 0],
            status: (self.maker == Maker::Seplos).then_some(Status {
                switches: u8::from(discharge) | u8::from(charge) << 1,
                balance: 0,
                state,
            }),
            ..Alarms::default()
        }
    }
}

impl HasPack for TelecomSim {
    fn pack_mut(&mut self) -> &mut SimPack {
        &mut self.pack
    }
}

impl DeviceSide for TelecomSim {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bms::telecom::read_request;
    use crate::sim::PackConfig;

    fn ask(address: u8, command: u8) -> Vec<Reply> {
        let mut sim = TelecomSim::new(SimPack::new(PackConfig::default()), Maker::Seplos, 3);
        sim.handle_input(&read_request(address, command).to_bytes(), Duration::ZERO)
    }

    #[test]
    fn only_its_own_address_is_answered() {
        assert_eq!(ask(2, command::ANALOG), [Reply::default()]);
        assert_eq!(ask(3, command::ANALOG)[0].frames.len(), 1);
    }

    #[test]
    fn an_unknown_command_is_refused() {
        let frame = &ask(3, 0x77)[0].frames[0];
        assert_eq!(&frame[..9], b"~20034604");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let mut sim = TelecomSim::new(SimPack::new(PackConfig::default()), Maker::Pylontech, 2);
            prop_assert!(sim.handle_input(&bytes, Duration::ZERO).len() <= bytes.len() / 18);
        }
    }
}
