//! A simulated JBD board: reads, switches, and where it has one the secret.
//!
//! It may be put to sleep: the first request then only wakes it, as on real boards. A cycle counts as complete when the
//! cells were answered after the basic information.

use std::time::Duration;

use super::device::{DeviceSide, HasPack, Reply};
use super::pack::SimPack;
use super::quantity::{Complaints, count, millivolts, to_i16, to_u8, to_u16};
use crate::bms::framing::StreamDecoder;
use crate::bms::jbd::{
    Answer, BasicInfo, Request, RequestFraming, Secret, SecretAnswer, register, secret_request,
};

/// Bits of the protection word: overvoltage, undervoltage, imbalance (which it has not), hot, cold.
const PROTECTION_BITS: [u32; 5] = [0, 1, 0, 6, 7];
/// 2026-01-15, as the board packs it.
const MADE: u16 = 26 << 9 | 1 << 5 | 15;
const OK: u8 = 0x00;
const ERROR: u8 = 0x80;

/// A board and its pack.
#[derive(Debug, Clone)]
pub struct JbdSim {
    /// The pack behind the board; may be changed at any time.
    pub pack: SimPack,
    decoder: StreamDecoder<RequestFraming>,
    asleep: bool,
    secret: Option<Secret>,
    admitted: bool,
    basic_was_asked: bool,
}

impl JbdSim {
    /// Puts a board in front of a pack.
    pub fn new(pack: SimPack) -> Self {
        Self {
            pack,
            decoder: StreamDecoder::default(),
            asleep: false,
            secret: None,
            admitted: false,
            basic_was_asked: false,
        }
    }

    /// Puts the board to sleep.
    #[must_use]
    pub fn asleep(mut self) -> Self {
        self.asleep = true;
        self
    }

    /// Makes the board want a secret before anything else.
    #[must_use]
    pub fn with_secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    fn reply(&mut self, request: &Request) -> Reply {
        if std::mem::take(&mut self.asleep) || (self.secret.is_some() && !self.admitted) {
            return Reply::default();
        }
        let data = match (request.write, request.register, request.data.as_slice()) {
            (false, register::BASIC, _) => Some(self.basic().encode()),
            (false, register::CELLS, _) => {
                Some(millivolts(&self.pack).iter().flat_map(|mv| mv.to_be_bytes()).collect())
            }
            (false, register::MODEL, _) => Some(b"VOLTREE-SP16S".to_vec()),
            (false, register::ERROR_COUNTS, _) => Some(vec![0; 22]),
            (true, register::SWITCHES, [_, open]) => {
                self.pack.set_charge_closed(open & 1 == 0);
                self.pack.set_discharge_closed(open & 2 == 0);
                Some(Vec::new())
            }
            _ => None,
        };
        let ends_cycle = request.register == register::CELLS && self.basic_was_asked;
        match request.register {
            register::BASIC => self.basic_was_asked = true,
            register::CELLS => self.basic_was_asked = false,
            _ => {}
        }
        let status = if data.is_some() { OK } else { ERROR };
        let answer = Answer { register: request.register, status, data: data.unwrap_or_default() };
        let measures = request.register == register::BASIC;
        Reply { frames: vec![answer.to_bytes()], ends_cycle, measures, ..Reply::default() }
    }

    fn basic(&self) -> BasicInfo {
        let pack = &self.pack;
        let (charge, discharge) = pack.switches_closed();
        let complaints = Complaints { imbalance: false, ..Complaints::of(pack) };
        // Beyond 327 A or 655 Ah the board counts in coarser steps and says so.
        let coarse = pack.capacity_ah() > 655.0 || pack.amps().abs() > 327.0;
        let per_unit = if coarse { 10.0 } else { 100.0 };
        BasicInfo {
            voltage_raw: to_u16(pack.volts() * 100.0),
            current_raw: to_i16(pack.amps() * per_unit),
            remaining_raw: to_u16(pack.board_remaining_ah() * per_unit),
            nominal_raw: to_u16(pack.capacity_ah() * per_unit),
            cycles: to_u16(pack.cycles().floor()),
            date_raw: MADE,
            balance: [0, 0],
            protection: u16::try_from(complaints.bits(PROTECTION_BITS)).unwrap_or_default(),
            version: 0x10,
            soc: to_u8(pack.board_soc_percent()),
            switches: u8::from(charge) | u8::from(discharge) << 1,
            cells: count(pack.cell_volts().len()),
            temperatures_raw: pack.celsius().iter().map(|c| to_u16(c * 10.0 + 2731.0)).collect(),
            extra: if coarse { vec![0x80] } else { Vec::new() },
        }
    }
}

impl HasPack for JbdSim {
    fn pack_mut(&mut self) -> &mut SimPack {
        &mut self.pack
    }
}

impl DeviceSide for JbdSim {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        self.pack.advance_to(now);
        if let Some(secret) = self.secret
            && bytes.starts_with(&[0xFF, 0xAA])
        {
            self.admitted = bytes == secret_request(&secret.0);
            let answer = SecretAnswer { accepted: self.admitted };
            return vec![Reply { frames: vec![answer.to_bytes().to_vec()], ..Reply::default() }];
        }
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
    use crate::bms::framing::{Found, Framing};
    use crate::bms::jbd::{AnswerFraming, read_request, switch_request};
    use crate::sim::PackConfig;

    fn sim() -> JbdSim {
        JbdSim::new(SimPack::new(PackConfig::default()))
    }

    #[test]
    fn a_switch_that_is_opened_is_seen_in_the_state() {
        let mut sim = sim();
        let replies = sim.handle_input(&switch_request(false, true).to_bytes(), Duration::ZERO);
        assert_eq!(replies[0].frames.len(), 1);
        assert_eq!(sim.pack.switches_closed(), (false, true));
        assert_eq!(sim.basic().switches, 2);
    }

    #[test]
    fn an_unknown_register_is_answered_with_an_error() {
        let replies = sim().handle_input(&read_request(0x77).to_bytes(), Duration::ZERO);
        let Found::Frame(answer, _) = AnswerFraming.find(&replies[0].frames[0]) else { panic!() };
        assert_eq!(answer.status, ERROR);
    }

    #[test]
    fn a_large_pack_is_told_in_coarser_steps() {
        let pack = SimPack::new(PackConfig { capacity_ah: 1000.0, ..PackConfig::default() });
        let basic = JbdSim::new(pack).basic();
        assert!((basic.nominal_ah() - 1000.0).abs() < 0.06, "{basic:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            prop_assert!(sim().handle_input(&bytes, Duration::ZERO).len() <= bytes.len() / 7 + 1);
        }
    }
}
