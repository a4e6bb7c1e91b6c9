//! Switches and the state of charge of a board: sent once, then read back until the board's own state shows it.
//!
//! The board has no way to refuse a switch but to stay as it is; only a state of charge is answered with yes or no.

use std::time::Duration;

use voltree_model::{Percent, Timestamp};

use super::{
    Answer, Board, Filler, Frame, FrameDecoder, PackAnswer, SwitchesAnswer, command, read_request,
    switch_request,
};
use crate::bms::order::{Order, OrderCycle, OrderError};

const GAP: Duration = Duration::from_millis(20);
const ANSWER: Duration = Duration::from_millis(500);
/// What a board needs to act, before it is asked and between questions.
const ACT: Duration = Duration::from_millis(300);
const READ_BACKS: u32 = 4;
/// Tenths of a percent: a board counts on while it is asked.
const SOC_SLACK: u16 = 10;

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The order leaves then.
    Sending { at: Duration },
    /// The echo is waited for.
    Sent { until: Duration },
    /// The board is asked for its state then.
    Resting { until: Duration },
    /// Its state is waited for.
    Asking { until: Duration },
    /// It is over.
    Done,
}

/// One order to one board.
#[derive(Debug)]
pub struct DalyOrder {
    board: Board,
    order: Order,
    /// When it was given, for the clock that is set with the state of charge.
    given: Timestamp,
    decoder: FrameDecoder,
    phase: Phase,
    asked: u32,
    /// The board answered a question for its state, and the state was another one.
    seen_otherwise: bool,
    outcome: Option<Result<(), OrderError>>,
}

impl DalyOrder {
    /// Has not sent anything yet.
    pub fn new(board: Board, order: Order, given: Timestamp) -> Self {
        Self {
            board,
            order,
            given,
            decoder: FrameDecoder::default(),
            phase: Phase::Sending { at: GAP },
            asked: 0,
            seen_otherwise: false,
            outcome: None,
        }
    }

    fn end(&mut self, outcome: Result<(), OrderError>) {
        self.phase = Phase::Done;
        self.outcome = Some(outcome);
    }

    /// Asks again, or gives up.
    fn ask_again(&mut self, now: Duration) {
        if self.asked < READ_BACKS {
            self.phase = Phase::Resting { until: now.saturating_add(ACT) };
        } else if self.seen_otherwise {
            self.end(Err(OrderError::NotTaken("a protection may hold the switch open")));
        } else {
            self.end(Err(OrderError::Unknown));
        }
    }

    fn frame(&self) -> Frame {
        match self.order {
            Order::SwitchCharge(closed) => switch_request(self.board, command::SET_CHARGE, closed),
            Order::SwitchDischarge(closed) => switch_request(self.board, command::SET_DISCHARGE, closed),
            Order::SetSoc(soc) => set_soc_request(self.board, soc, self.given),
        }
    }

    const fn question(&self) -> u8 {
        match self.order {
            Order::SwitchCharge(_) | Order::SwitchDischarge(_) => command::SWITCHES,
            Order::SetSoc(_) => command::PACK,
        }
    }

    fn handle_frame(&mut self, frame: &Frame, now: Duration) {
        if !frame.is_answer() || frame.address != self.board.number() {
            return;
        }
        match self.phase {
            Phase::Sent { .. } if frame.command == self.frame().command => {
                let is_soc = matches!(self.order, Order::SetSoc(_));
                if is_soc && frame.data[0] != 1 {
                    return self.end(Err(OrderError::Refused("it does not take this state of charge")));
                }
                self.phase = Phase::Resting { until: now.saturating_add(ACT) };
            }
            Phase::Asking { .. } if frame.command == self.question() => self.compare(frame, now),
            Phase::Sending { .. }
            | Phase::Sent { .. }
            | Phase::Resting { .. }
            | Phase::Asking { .. }
            | Phase::Done => {}
        }
    }

    fn compare(&mut self, frame: &Frame, now: Duration) {
        if shows(self.order, &Answer::decode(frame)) {
            return self.end(Ok(()));
        }
        self.seen_otherwise = true;
        self.ask_again(now);
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
fn tenths(soc: Percent) -> u16 {
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

impl OrderCycle for DalyOrder {
    fn next_request(&mut self, now: Duration) -> Option<Vec<u8>> {
        let until = now.saturating_add(ANSWER);
        match self.phase {
            Phase::Sending { at } if now >= at => {
                self.phase = Phase::Sent { until };
                Some(self.frame().to_bytes().to_vec())
            }
            Phase::Resting { until: rested } if now >= rested => {
                self.asked += 1;
                self.decoder.reset();
                self.phase = Phase::Asking { until };
                Some(read_request(self.board, self.question(), Filler::Zeros).to_bytes().to_vec())
            }
            Phase::Sending { .. }
            | Phase::Sent { .. }
            | Phase::Resting { .. }
            | Phase::Asking { .. }
            | Phase::Done => None,
        }
    }

    fn handle_input(&mut self, bytes: &[u8], now: Duration) {
        self.decoder.push(bytes);
        while let Some(frame) = self.decoder.next_frame() {
            self.handle_frame(&frame, now);
        }
        self.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Sending { at: until }
            | Phase::Sent { until }
            | Phase::Resting { until }
            | Phase::Asking { until } => Some(until),
            Phase::Done => None,
        }
    }

    fn handle_timeout(&mut self, now: Duration) {
        match self.phase {
            // Without an echo the order may have been taken all the same: the state tells.
            Phase::Sent { until } if now >= until => {
                self.phase = Phase::Resting { until: now.saturating_add(ACT) };
            }
            Phase::Asking { until } if now >= until => self.ask_again(now),
            Phase::Sending { .. }
            | Phase::Sent { .. }
            | Phase::Resting { .. }
            | Phase::Asking { .. }
            | Phase::Done => {}
        }
    }

    fn outcome(&self) -> Option<Result<(), OrderError>> {
        self.outcome.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIVEN: Timestamp = Timestamp::from_millis(1_774_000_000_000);

    #[test]
    fn a_state_of_charge_goes_with_the_date() {
        let frame = set_soc_request(Board::FIRST, Percent(80.5), GIVEN);
        // 2026-03-20T09:46:40Z
        assert_eq!(frame.data, [26, 3, 20, 9, 46, 40, 0x03, 0x25]);
        assert_eq!((frame.address, frame.command), (0x40, 0x21));
    }

    proptest! {
        /// Whatever a board sends, the order leaves once and the conversation ends.
        #[test]
        fn an_order_is_sent_once_and_ends(inputs: Vec<(u16, Vec<u8>)>) {
            let mut order = DalyOrder::new(Board::FIRST, Order::SwitchCharge(false), GIVEN);
            let (mut now, mut sent) = (Duration::ZERO, 0);
            let mut inputs = inputs.into_iter();
            for _ in 0..200 {
                if order.outcome().is_some() {
                    break;
                }
                if let Some(request) = order.next_request(now) {
                    sent += usize::from(request[2] == command::SET_CHARGE);
                    continue;
                }
                match inputs.next() {
                    Some((ms, bytes)) => {
                        now += Duration::from_millis(u64::from(ms % 50));
                        order.handle_input(&bytes, now);
                    }
                    None => {
                        now = now.max(order.poll_timeout().unwrap());
                        order.handle_timeout(now);
                    }
                }
            }
            prop_assert_eq!(sent, 1);
            prop_assert!(order.outcome().is_some());
        }
    }
}
