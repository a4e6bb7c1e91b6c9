//! The charge and discharge switch: one register opens both, so the other switch must be known before one is ordered.
//!
//! The other switch is ordered open only if somebody had locked one and it is open: a switch that a protection opened must
//! not stay open by our order once the protection is over.

use std::time::Duration;

use super::frame::AnswerFraming;
use super::{BasicInfo, JbdConfig, read_request, register, secret_request, switch_request};
use crate::bms::framing::StreamDecoder;
use crate::bms::order::{OrderDialect, ReadBack, Said};

/// The conversation about an order to a board.
pub type JbdOrder = ReadBack<JbdOrderDialect>;

/// The protection bit that says that somebody opened a switch.
const SOFTWARE_LOCK: u16 = 1 << 12;

/// Which switch is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// That of charging.
    Charge,
    /// That of discharging.
    Discharge,
}

/// One order to one board.
#[derive(Debug)]
pub struct JbdOrderDialect {
    config: JbdConfig,
    switch: Switch,
    closed: bool,
    decoder: StreamDecoder<AnswerFraming>,
    /// What the other switch is to be.
    other_closed: bool,
    secret_given: bool,
}

impl JbdOrderDialect {
    /// Has not sent anything yet.
    pub fn new(config: JbdConfig, switch: Switch, closed: bool) -> Self {
        let decoder = StreamDecoder::default();
        Self { config, switch, closed, decoder, other_closed: true, secret_given: false }
    }

    fn look(&mut self, basic: &BasicInfo) -> Said {
        let (charge, discharge) = (basic.switches & 1 != 0, basic.switches & 2 != 0);
        let (ordered, other) = match self.switch {
            Switch::Charge => (charge, discharge),
            Switch::Discharge => (discharge, charge),
        };
        self.other_closed = other || basic.protection & SOFTWARE_LOCK == 0;
        Said::Shows(ordered == self.closed)
    }
}

impl OrderDialect for JbdOrderDialect {
    fn patience(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn looks_first(&self) -> bool {
        true
    }

    fn order(&mut self) -> Vec<u8> {
        match self.switch {
            Switch::Charge => switch_request(self.closed, self.other_closed),
            Switch::Discharge => switch_request(self.other_closed, self.closed),
        }
        .to_bytes()
    }

    fn question(&mut self) -> Vec<u8> {
        match self.config.secret {
            Some(secret) if !self.secret_given => {
                self.secret_given = true;
                secret_request(&secret.0)
            }
            Some(_) | None => read_request(register::BASIC).to_bytes(),
        }
    }

    fn forget_input(&mut self) {
        self.decoder.reset();
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    fn next_said(&mut self) -> Option<Said> {
        let answer = self.decoder.next_frame()?;
        Some(match (answer.register, answer.status) {
            (register::SWITCHES, 0) => Said::Taken,
            (register::SWITCHES, _) => Said::Refused("the board answered the order with an error"),
            (register::BASIC, 0) => {
                BasicInfo::decode(&answer.data).map_or(Said::Other, |basic| self.look(&basic))
            }
            _ => Said::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_after(switches: u8, protection: u16) -> Vec<u8> {
        let mut dialect = JbdOrderDialect::new(JbdConfig::default(), Switch::Discharge, false);
        dialect.look(&BasicInfo { switches, protection, ..BasicInfo::default() });
        dialect.order()
    }

    #[test]
    fn the_other_switch_stays_as_somebody_wanted_it() {
        assert_eq!(order_after(0b11, 0), switch_request(true, false).to_bytes());
        assert_eq!(order_after(0b10, SOFTWARE_LOCK), switch_request(false, false).to_bytes());
        let opened_by_a_protection = order_after(0b10, 1);
        assert_eq!(opened_by_a_protection, switch_request(true, false).to_bytes());
    }
}
