//! Switches and the state of charge of a board: sent once, then read back until the board's own state shows it.
//!
//! The board has no way to refuse a switch but to stay as it is; only a state of charge is answered with yes or no.

use voltree_model::{Percent, Timestamp};

use super::{
    Answer, Board, Filler, Frame, FrameDecoder, PackAnswer, SwitchesAnswer, command, read_request,
    switch_request,
};
use crate::bms::order::{Order, OrderDialect, ReadBack, Said};

/// Tenths of a percent: a board counts on while it is asked.
pub(in crate::bms) const SOC_SLACK: u16 = 10;

/// The conversation about an order to one board.
pub type DalyOrder = ReadBack<DalyOrderDialect>;

/// One order to one board.
#[derive(Debug)]
pub struct DalyOrderDialect {
    board: Board,
    order: Order,
    /// When it was given, for the clock that is set with the state of charge.
    given: Timestamp,
    decoder: FrameDecoder,
}

impl DalyOrderDialect {
    /// Has not sent anything yet.
    pub fn new(board: Board, order: Order, given: Timestamp) -> Self {
        Self { board, order, given, decoder: FrameDecoder::default() }
    }

    fn frame(&self) -> Frame {
        match self.order {
            Order::SwitchCharge(closed) => switch_request(self.board, command::SET_CHARGE, closed),
            Order::SwitchDischarge(closed) => switch_request(self.board, command::SET_DISCHARGE, closed),
            Order::SetSoc(soc) => set_soc_request(self.board, soc, self.given),
        }
    }

    const fn asked(&self) -> u8 {
        match self.order {
            Order::SwitchCharge(_) | Order::SwitchDischarge(_) => command::SWITCHES,
            Order::SetSoc(_) => command::PACK,
        }
    }

    fn judge(&self, frame: &Frame) -> Said {
        if !frame.is_answer() || frame.address != self.board.number() {
            return Said::Other;
        }
        if frame.command == self.asked() {
            return Said::Shows(shows(self.order, &Answer::decode(frame)));
        }
        match self.order {
            _ if frame.command != self.frame().command => Said::Other,
            Order::SetSoc(_) if frame.data[0] != 1 => Said::Refused("it does not take this state of charge"),
            Order::SetSoc(_) | Order::SwitchCharge(_) | Order::SwitchDischarge(_) => Said::Taken,
        }
    }
}

impl OrderDialect for DalyOrderDialect {
    fn order(&mut self) -> Vec<u8> {
        self.frame().to_bytes().to_vec()
    }

    fn question(&mut self) -> Vec<u8> {
        read_request(self.board, self.asked(), Filler::Zeros).to_bytes().to_vec()
    }

    fn forget_input(&mut self) {
        self.decoder.reset();
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    fn next_said(&mut self) -> Option<Said> {
        let frame = self.decoder.next_frame()?;
        Some(self.judge(&frame))
    }
}

/// Whether a board's state is what was ordered.
fn shows(order: Order, answer: &Answer) -> bool {
    if let Answer::Switches(SwitchesAnswer { charge_closed, discharge_closed, .. }) = answer {
        return match order {
            Order::SwitchCharge(closed) => *charge_closed == closed,
            Order::SwitchDischarge(closed) => *discharge_closed == closed,
            Order::SetSoc(_) => false,
        };
    }
    match (order, answer) {
        (Order::SetSoc(soc), Answer::Pack(PackAnswer { soc_raw, .. })) => {
            soc_raw.abs_diff(tenths(soc)) <= SOC_SLACK
        }
        _ => false,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
pub(in crate::bms) fn tenths(soc: Percent) -> u16 {
    (soc.0 * 10.0).round().clamp(0.0, 1000.0) as u16
}

/// Builds the request that sets the state of charge, and the board's clock with it (UTC).
fn set_soc_request(board: Board, soc: Percent, given: Timestamp) -> Frame {
    let text = given.to_string();
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    let pair = |at: usize| digits.get(at..at + 2).map_or(0, |pair| pair[0] * 10 + pair[1]);
    let [high, low] = tenths(soc).to_be_bytes();
    let data = [pair(2), pair(4), pair(6), pair(8), pair(10), pair(12), high, low];
    Frame { address: board.request_address(), command: command::SET_SOC, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: Timestamp = Timestamp::from_millis(1_774_000_000_000);

    #[test]
    fn a_state_of_charge_goes_with_the_date() {
        let frame = set_soc_request(Board::FIRST, Percent(80.5), GIVEN);
        // 2026-03-20T09:46:40Z
        assert_eq!(frame.data, [26, 3, 20, 9, 46, 40, 0x03, 0x25]);
        assert_eq!((frame.address, frame.command), (0x40, 0x21));
    }
}
