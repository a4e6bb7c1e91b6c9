//! A bad line and a moody board, on demand: wraps a device and spoils a share of its answers in seven ways.
//!
//! Seeded, so that a failing run can be played again. It touches only what the device says, never what it hears, and
//! notes on each reply what was done to it, so that the witness in [`SimStats`](super::SimStats) knows which answers
//! were good.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::device::{DeviceSide, Reply};
use crate::bms::daly_uart::Frame;

const DELAY_MS: std::ops::RangeInclusive<u64> = 50..=300;
const SILENCE: Duration = Duration::from_secs(3);
const MOST_GARBAGE_BYTES: usize = 24;

/// What can happen to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It never leaves.
    Drop,
    /// It leaves 50 to 300 ms late.
    Delay,
    /// It carries the address of another board.
    WrongBoard,
    /// One bit of one of its frames is flipped.
    Corrupt,
    /// It ends in the middle of a frame.
    Cut,
    /// Up to 24 random bytes stand before one of its frames.
    Garbage,
    /// The board says nothing for three seconds.
    Silence,
}

impl Fault {
    /// All of them, in the order in which they befall an answer: its maker first, then the line.
    pub const ALL: [Self; 7] =
        [Self::Drop, Self::Delay, Self::WrongBoard, Self::Corrupt, Self::Cut, Self::Garbage, Self::Silence];

    /// Tells whether an answer is lost by it; a late one, and one behind garbage, can still be read.
    pub const fn spoils(self) -> bool {
        match self {
            Self::Delay | Self::Garbage => false,
            Self::Drop | Self::Corrupt | Self::Cut | Self::WrongBoard | Self::Silence => true,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drop => "drop",
            Self::Delay => "delay",
            Self::Corrupt => "corrupt",
            Self::Cut => "cut",
            Self::Garbage => "garbage",
            Self::WrongBoard => "wrong-board",
            Self::Silence => "silence",
        })
    }
}

/// What share of the answers each fault befalls; written as `drop=0.05,corrupt=0.02`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FaultRates {
    shares: [f64; 7],
}

impl FaultRates {
    /// The share of answers that a fault befalls, 0 to 1.
    pub fn share(&self, fault: Fault) -> f64 {
        self.shares[fault.index()]
    }
}

/// Fault rates that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFaultRates {
    /// There is no fault of this name.
    #[error("{name:?} is no fault; there are {}", names())]
    UnknownFault {
        /// The name.
        name: String,
    },
    /// A share is missing or none.
    #[error("{text:?} says no share from 0 to 1; write it as in drop=0.05")]
    BadShare {
        /// The part of the text.
        text: String,
    },
}

fn names() -> String {
    Fault::ALL.map(|fault| fault.to_string()).join(", ")
}

impl FromStr for FaultRates {
    type Err = BadFaultRates;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rates = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, share) = part.split_once('=').unwrap_or((part, ""));
            let fault = Fault::ALL.into_iter().find(|fault| fault.to_string() == name.trim());
            let fault = fault.ok_or_else(|| BadFaultRates::UnknownFault { name: name.trim().to_owned() })?;
            let share = share.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share));
            rates.shares[fault.index()] =
                share.ok_or_else(|| BadFaultRates::BadShare { text: part.to_owned() })?;
        }
        Ok(rates)
    }
}

/// A device behind a bad line.
#[derive(Debug, Clone)]
pub struct Flaky<D> {
    device: D,
    rates: FaultRates,
    silent_until: Duration,
    random: fastrand::Rng,
}

impl<D: DeviceSide> Flaky<D> {
    /// Puts the faults on the line; the seed decides which answers they befall.
    pub fn new(device: D, rates: FaultRates, seed: u64) -> Self {
        Self { device, rates, silent_until: Duration::ZERO, random: fastrand::Rng::with_seed(seed) }
    }

    fn spoil(&mut self, reply: &mut Reply, now: Duration) {
        for fault in Fault::ALL {
            let befallen = self.random.f64() < self.rates.share(fault);
            if fault == Fault::Silence && befallen && now >= self.silent_until {
                self.silent_until = now + SILENCE;
            }
            if fault == Fault::Silence && now < self.silent_until || fault != Fault::Silence && befallen {
                self.befall(reply, fault);
                reply.faults.push(fault);
            }
        }
    }

    fn befall(&mut self, reply: &mut Reply, fault: Fault) {
        let frame = self.random.usize(..reply.frames.len().max(1));
        match fault {
            Fault::Drop | Fault::Silence => reply.frames.clear(),
            Fault::Delay => reply.delay = Duration::from_millis(self.random.u64(DELAY_MS)),
            Fault::Corrupt => {
                if let Some(bytes) = reply.frames.get_mut(frame).filter(|bytes| !bytes.is_empty()) {
                    let at = self.random.usize(..bytes.len());
                    bytes[at] ^= 1 << self.random.u8(..8);
                }
            }
            Fault::Cut => {
                reply.frames.truncate(frame + 1);
                if let Some(last) = reply.frames.last_mut() {
                    last.truncate(self.random.usize(..last.len().max(1)));
                }
            }
            Fault::Garbage => {
                let bytes: Vec<u8> =
                    (0..self.random.usize(1..=MOST_GARBAGE_BYTES)).map(|_| self.random.u8(..)).collect();
                if let Some(frame) = reply.frames.get_mut(frame) {
                    frame.splice(0..0, bytes);
                }
            }
            Fault::WrongBoard => reply.frames.iter_mut().for_each(readdress),
        }
    }
}

/// Sends a good frame from the next address; what is none stays what it is.
fn readdress(bytes: &mut Vec<u8>) {
    if let Ok(frame) = Frame::parse(bytes) {
        *bytes = Frame { address: frame.address.wrapping_add(1), ..frame }.to_bytes().to_vec();
    }
}

impl<D: DeviceSide> DeviceSide for Flaky<D> {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        let replies = self.device.handle_input(bytes, now);
        self.spoil_all(replies, now)
    }

    fn greeting(&mut self) -> Vec<u8> {
        self.device.greeting()
    }

    fn next_broadcast(&self) -> Option<Duration> {
        self.device.next_broadcast()
    }

    fn broadcast(&mut self, now: Duration) -> Vec<Reply> {
        let replies = self.device.broadcast(now);
        self.spoil_all(replies, now)
    }
}

impl<D: DeviceSide> Flaky<D> {
    fn spoil_all(&mut self, mut replies: Vec<Reply>, now: Duration) -> Vec<Reply> {
        for reply in replies.iter_mut().filter(|reply| !reply.frames.is_empty()) {
            self.spoil(reply, now);
        }
        replies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bms::daly_uart::command;

    const GOOD: Frame = Frame { address: 1, command: command::PACK, data: [1, 2, 3, 4, 5, 6, 7, 8] };

    struct Parrot;

    impl DeviceSide for Parrot {
        fn handle_input(&mut self, _bytes: &[u8], _now: Duration) -> Vec<Reply> {
            vec![Reply { frames: vec![GOOD.to_bytes().to_vec(); 3], measures: true, ..Reply::default() }]
        }
    }

    fn replies(rates: &str, count: u64) -> Vec<Reply> {
        let mut flaky = Flaky::new(Parrot, rates.parse().unwrap(), 5);
        (0..count).map(|second| flaky.handle_input(&[], Duration::from_secs(second)).remove(0)).collect()
    }

    fn all_of(fault: Fault) -> Vec<Reply> {
        replies(&format!("{fault}=1"), 200)
    }

    #[test]
    fn each_fault_does_what_it_is_called() {
        let whole = GOOD.to_bytes().to_vec();
        assert!(all_of(Fault::Drop).iter().all(|reply| reply.frames.is_empty()));
        assert!(all_of(Fault::Silence).iter().all(|reply| reply.frames.is_empty()));
        assert!(all_of(Fault::Delay).iter().all(|reply| (50..=300).contains(&reply.delay.as_millis())));
        for reply in all_of(Fault::Corrupt) {
            let flipped = reply.frames.iter().flatten().zip(whole.iter().cycle());
            assert_eq!(flipped.map(|(a, b)| (a ^ b).count_ones()).sum::<u32>(), 1);
            assert!(reply.frames.iter().any(|frame| Frame::parse(frame).is_err()));
        }
        for reply in all_of(Fault::Cut) {
            assert!(reply.frames.concat().len() < 3 * whole.len());
            assert!(
                !reply.frames.concat().len().is_multiple_of(13) || reply.frames.last().unwrap().is_empty()
            );
        }
        for reply in all_of(Fault::Garbage) {
            assert!(reply.frames.iter().all(|frame| frame.ends_with(&whole)));
            assert!((1..=24).contains(&(reply.frames.concat().len() - 3 * whole.len())));
        }
        for reply in all_of(Fault::WrongBoard) {
            assert!(
                reply.frames.iter().all(|frame| Frame::parse(frame).unwrap() == Frame { address: 2, ..GOOD })
            );
        }
    }

    #[test]
    fn a_share_is_a_share_and_every_fault_is_noted() {
        let replies = replies("drop=0.25", 4_000);
        let dropped = replies.iter().filter(|reply| reply.frames.is_empty()).count();
        assert!((850..1150).contains(&dropped), "{dropped}");
        assert!(replies.iter().all(|reply| reply.frames.is_empty() == (reply.faults == [Fault::Drop])));
    }

    /// A fault that is noted as spoiling must have spoilt, whatever else befell the answer.
    #[test]
    fn faults_that_meet_do_not_undo_each_other() {
        for reply in replies("wrong-board=1,garbage=1,delay=1", 100) {
            assert_eq!(reply.faults, [Fault::Delay, Fault::WrongBoard, Fault::Garbage]);
            let tail = |frame: &Vec<u8>| Frame::parse(&frame[frame.len() - 13..]).unwrap().address;
            assert!(reply.frames.iter().all(|frame| tail(frame) == 2), "{reply:?}");
        }
    }

    #[test]
    fn silence_lasts_three_seconds() {
        let replies = replies("silence=0.05", 400);
        let runs: Vec<usize> = replies
            .chunk_by(|a, b| a.frames.is_empty() == b.frames.is_empty())
            .filter(|run| run[0].frames.is_empty())
            .map(<[_]>::len)
            .collect();
        assert!(!runs.is_empty() && runs.iter().all(|seconds| seconds.is_multiple_of(3)), "{runs:?}");
    }

    #[test]
    fn no_rates_leave_every_answer_alone() {
        assert!(replies("", 50).iter().all(|reply| reply.faults.is_empty() && reply.frames.len() == 3));
    }

    #[test]
    fn rates_are_read_or_refused_with_what_is_wrong() {
        let rates: FaultRates = "drop=0.05, wrong-board=1".parse().unwrap();
        assert!(
            (rates.share(Fault::Drop) - 0.05).abs() < 1e-12
                && (rates.share(Fault::WrongBoard) - 1.0).abs() < 1e-12
        );
        let error = |text: &str| text.parse::<FaultRates>().unwrap_err().to_string();
        assert_eq!(
            error("drpo=0.1"),
            "\"drpo\" is no fault; there are drop, delay, wrong-board, corrupt, cut, garbage, silence"
        );
        assert_eq!(error("drop=5"), "\"drop=5\" says no share from 0 to 1; write it as in drop=0.05");
        assert!(error("drop").contains("share") && error("cut=NaN").contains("share"));
    }
}
