//! The shape of a polled device, whatever its vendor: a state machine that asks, listens and ends in one reading.
//!
//! A driver (see `link`) moves bytes and the time between a wire and a [`PollCycle`]. The cycle decides what to ask,
//! how long to wait, when to ask again and when to give up; it never does IO, never reads a clock, and must end after
//! a bounded time whatever the device sends.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use voltree_model::PackReading;

/// Why a poll cycle ended without a reading.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PollError {
    /// Not one byte came back.
    #[error("no answer to {question} after {attempts} attempts")]
    NoAnswer {
        /// What was asked.
        question: &'static str,
        /// How often.
        attempts: u32,
    },
    /// Bytes came back, but no answer to what was asked.
    #[error("no usable answer to {question} after {attempts} attempts, {bytes} other bytes received")]
    Garbled {
        /// What was asked.
        question: &'static str,
        /// How often.
        attempts: u32,
        /// Bytes that were heard over all attempts.
        bytes: u64,
    },
    /// Whole answers came back that can't be true, and nothing can be read without them.
    #[error("the answers to {question} can't be true, {attempts} attempts")]
    Implausible {
        /// What was asked.
        question: &'static str,
        /// How often.
        attempts: u32,
    },
    /// The device says no.
    #[error("the device refused {question}: {refusal}")]
    Refused {
        /// What was asked.
        question: &'static str,
        /// What it says.
        refusal: &'static str,
    },
    /// The cycle was asked for its result before it was done.
    #[error("the poll cycle is not done")]
    Unfinished,
}

/// One device's conversation, repeated once a poll. `now` is the time since any fixed origin, never running backwards
/// between `begin` and `finish`.
pub trait PollCycle {
    /// Starts a new cycle and forgets an unfinished one; what was learned about the device stays.
    fn begin(&mut self, now: Duration);

    /// Hands out the next request once its time has come; to ask too early changes nothing. Input that was waiting on the wire should be discarded first.
    fn next_request(&mut self, now: Duration) -> Option<Vec<u8>>;

    /// Takes what arrived.
    fn handle_input(&mut self, bytes: &[u8], now: Duration);

    /// Names the moment at which the cycle wants to be woken even if nothing arrives; `None` once it is done.
    fn poll_timeout(&self) -> Option<Duration>;

    /// Wakes the cycle; does nothing before its time.
    fn handle_timeout(&mut self, now: Duration);

    /// Tells whether the result is ready.
    fn is_done(&self) -> bool;

    /// Hands out the result of the cycle once.
    fn finish(&mut self) -> Result<PackReading, PollError>;

    /// Counts the frames so far that failed their checks.
    fn bad_frames(&self) -> u64;

    /// What was learned about the device and stays from one cycle to the next, so that a cycle can be repeated
    /// elsewhere. Only asked for between cycles.
    fn memory(&self) -> Value {
        Value::Null
    }

    /// Takes back what [`PollCycle::memory`] gave out.
    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        recall(memory)
    }
}

/// A memory that is not of the conversation that is to have it.
#[derive(Debug, thiserror::Error)]
#[error("what the conversation had learned can't be read")]
pub struct BadMemory(#[source] serde_json::Error);

/// Puts what was learned into a memory.
pub fn learned<T: Serialize>(learned: &T) -> Value {
    serde_json::to_value(learned).unwrap_or_default()
}

/// Reads a memory.
pub fn recall<T: DeserializeOwned>(memory: &Value) -> Result<T, BadMemory> {
    T::deserialize(memory).map_err(BadMemory)
}
