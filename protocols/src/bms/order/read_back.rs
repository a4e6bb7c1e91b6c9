//! The conversation about an order, whatever the vendor: sent once, then the device is asked until its state shows it.
//!
//! An [`OrderDialect`] brings the bytes and says what answers mean; [`ReadBack`] paces them. Whatever a device sends or
//! doesn't, the order leaves at most once, and the conversation ends.

use std::time::Duration;

use super::{OrderCycle, OrderError};

const GAP: Duration = Duration::from_millis(20);
/// What a board needs to act, before it is asked and between questions.
const ACT: Duration = Duration::from_millis(300);
/// How often the device is asked before the order, where its state must be known first: one may only wake it, and one
/// may carry its secret.
const LOOKS: u32 = 4;
const READ_BACKS: u32 = 4;

/// What a device said while an order is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It has the order, which confirms nothing.
    Taken,
    /// It refuses the order.
    Refused(&'static str),
    /// Its state; whether that is what was ordered.
    Shows(bool),
    /// Something else.
    Other,
}

/// What a vendor's protocol adds to the conversation about an order.
pub trait OrderDialect {
    /// How long an answer is waited for.
    fn patience(&self) -> Duration {
        Duration::from_millis(500)
    }

    /// Whether the device's state must be known before the order can be put into bytes.
    fn looks_first(&self) -> bool {
        false
    }

    /// The order in bytes.
    fn order(&mut self) -> Vec<u8>;

    /// The question for the state in which the order shows.
    fn question(&mut self) -> Vec<u8>;

    /// Forgets a half-received answer.
    fn forget_input(&mut self);

    /// Takes what arrived.
    fn hear(&mut self, bytes: &[u8]);

    /// Looks at the next frame of what arrived; `None` when there is none.
    fn next_said(&mut self) -> Option<Said>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The device is asked for its state then, before the order.
    Waking { at: Duration },
    /// Its state before the order is waited for.
    Looking { until: Duration },
    /// The order leaves then.
    Sending { at: Duration },
    /// The echo is waited for.
    Sent { until: Duration },
    /// The device is asked for its state then.
    Resting { until: Duration },
    /// Its state is waited for.
    Asking { until: Duration },
    /// It is over.
    Done,
}

/// One order to one device.
#[derive(Debug)]
pub struct ReadBack<D> {
    dialect: D,
    phase: Phase,
    looked: u32,
    asked: u32,
    sent: bool,
    /// The device answered a question for its state, and the state was another one.
    seen_otherwise: bool,
    outcome: Option<Result<(), OrderError>>,
}

impl<D: OrderDialect> ReadBack<D> {
    /// Has not sent anything yet.
    pub fn new(dialect: D) -> Self {
        let at = GAP;
        let phase = if dialect.looks_first() { Phase::Waking { at } } else { Phase::Sending { at } };
        Self { dialect, phase, looked: 0, asked: 0, sent: false, seen_otherwise: false, outcome: None }
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

    fn look_again(&mut self, now: Duration) {
        if self.looked < LOOKS {
            self.phase = Phase::Waking { at: now.saturating_add(GAP) };
        } else {
            self.end(Err(OrderError::Silent));
        }
    }

    fn handle_said(&mut self, said: Said, now: Duration) {
        match (self.phase, said) {
            (Phase::Looking { .. }, Said::Shows(_)) => {
                self.phase = Phase::Sending { at: now.saturating_add(ACT) };
            }
            (Phase::Sent { .. }, Said::Taken) => {
                self.phase = Phase::Resting { until: now.saturating_add(ACT) };
            }
            (Phase::Sent { .. }, Said::Refused(why)) => self.end(Err(OrderError::Refused(why))),
            (Phase::Asking { .. }, Said::Shows(true)) => self.end(Ok(())),
            (Phase::Asking { .. }, Said::Shows(false)) => {
                self.seen_otherwise = true;
                self.ask_again(now);
            }
            (
                Phase::Waking { .. }
                | Phase::Looking { .. }
                | Phase::Sending { .. }
                | Phase::Sent { .. }
                | Phase::Resting { .. }
                | Phase::Asking { .. }
                | Phase::Done,
                Said::Taken | Said::Refused(_) | Said::Shows(_) | Said::Other,
            ) => {}
        }
    }
}

impl<D: OrderDialect> OrderCycle for ReadBack<D> {
    fn next_request(&mut self, now: Duration) -> Option<Vec<u8>> {
        let until = now.saturating_add(self.dialect.patience());
        match self.phase {
            Phase::Sending { at } if now >= at => {
                self.phase = Phase::Sent { until };
                self.sent = true;
                self.dialect.forget_input();
                Some(self.dialect.order())
            }
            Phase::Waking { at } if now >= at => {
                self.looked += 1;
                self.phase = Phase::Looking { until };
                self.dialect.forget_input();
                Some(self.dialect.question())
            }
            Phase::Resting { until: rested } if now >= rested => {
                self.asked += 1;
                self.phase = Phase::Asking { until };
                self.dialect.forget_input();
                Some(self.dialect.question())
            }
            Phase::Waking { .. }
            | Phase::Looking { .. }
            | Phase::Sending { .. }
            | Phase::Sent { .. }
            | Phase::Resting { .. }
            | Phase::Asking { .. }
            | Phase::Done => None,
        }
    }

    fn handle_input(&mut self, bytes: &[u8], now: Duration) {
        self.dialect.hear(bytes);
        while let Some(said) = self.dialect.next_said() {
            self.handle_said(said, now);
        }
        self.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Waking { at: until }
            | Phase::Looking { until }
            | Phase::Sending { at: until }
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
            Phase::Looking { until } if now >= until => self.look_again(now),
            Phase::Asking { until } if now >= until => self.ask_again(now),
            Phase::Waking { .. }
            | Phase::Looking { .. }
            | Phase::Sending { .. }
            | Phase::Sent { .. }
            | Phase::Resting { .. }
            | Phase::Asking { .. }
            | Phase::Done => {}
        }
    }

    fn is_sent(&self) -> bool {
        self.sent
    }

    fn outcome(&self) -> Option<Result<(), OrderError>> {
        self.outcome.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORDER: u8 = 0;
    const QUESTION: u8 = 1;

    /// Every byte says something.
    #[derive(Default)]
    struct Bytes {
        heard: Vec<u8>,
        looks_first: bool,
    }

    impl OrderDialect for Bytes {
        fn looks_first(&self) -> bool {
            self.looks_first
        }

        fn order(&mut self) -> Vec<u8> {
            vec![ORDER]
        }

        fn question(&mut self) -> Vec<u8> {
            vec![QUESTION]
        }

        fn forget_input(&mut self) {
            self.heard.clear();
        }

        fn hear(&mut self, bytes: &[u8]) {
            self.heard.extend(bytes.iter().rev());
        }

        fn next_said(&mut self) -> Option<Said> {
            Some(match self.heard.pop()? {
                0 => Said::Taken,
                1 => Said::Shows(false),
                2 => Said::Shows(true),
                3 => Said::Refused("no"),
                _ => Said::Other,
            })
        }
    }

    /// Plays a device that says these bytes to one request after another; what was requested, and what came of it.
    fn play(looks_first: bool, answers: &[&[u8]]) -> (Vec<u8>, Result<(), OrderError>) {
        let mut cycle = ReadBack::new(Bytes { looks_first, ..Bytes::default() });
        let (mut now, mut requests) = (Duration::ZERO, Vec::new());
        let mut answers = answers.iter();
        loop {
            if let Some(outcome) = cycle.outcome() {
                return (requests, outcome);
            }
            if let Some(request) = cycle.next_request(now) {
                requests.extend(request);
                let answer = answers.next().copied().unwrap_or_default();
                cycle.handle_input(answer, now);
            } else {
                now = cycle.poll_timeout().unwrap();
                cycle.handle_timeout(now);
            }
        }
    }

    #[test]
    fn what_counts_is_the_state_after_the_order() {
        let (o, q) = (ORDER, QUESTION);
        assert_eq!(play(false, &[&[0], &[2]]), (vec![o, q], Ok(())));
        assert_eq!(play(false, &[&[2], &[1], &[2]]), (vec![o, q, q], Ok(())));
        assert_eq!(play(false, &[&[3]]), (vec![o], Err(OrderError::Refused("no"))));
        assert_eq!(play(false, &[]), (vec![o, q, q, q, q], Err(OrderError::Unknown)));
        let stays = play(false, &[&[0], &[1], &[1], &[1], &[1]]);
        assert!(matches!(stays.1, Err(OrderError::NotTaken(_))), "{stays:?}");
    }

    #[test]
    fn an_order_that_needs_the_state_does_not_leave_without_it() {
        let (o, q) = (ORDER, QUESTION);
        assert_eq!(play(true, &[&[], &[1], &[0], &[2]]), (vec![q, q, o, q], Ok(())));
        assert_eq!(play(true, &[]), (vec![q; 4], Err(OrderError::Silent)));
    }

    proptest! {
        /// Whatever a device sends, the order leaves once at most and the conversation ends.
        #[test]
        fn an_order_is_sent_once_and_ends(looks_first: bool, answers: Vec<Vec<u8>>) {
            let answers: Vec<&[u8]> = answers.iter().map(Vec::as_slice).collect();
            let (requests, outcome) = play(looks_first, &answers);
            let sent = requests.iter().filter(|request| **request == ORDER).count();
            prop_assert_eq!(sent, usize::from(outcome != Err(OrderError::Silent)));
        }
    }
}
