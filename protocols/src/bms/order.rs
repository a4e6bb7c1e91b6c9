//! Orders to a battery: what may be switched or set, and how the conversation about it goes.
//!
//! An order is sent once and never repeated, because nobody knows what the first one did. What counts is what the device
//! says afterwards when it is asked for its state: an echo confirms nothing.

mod read_back;

use std::time::Duration;

use voltree_model::Percent;

pub use read_back::{OrderDialect, ReadBack, Said};

/// Something to change on a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Order {
    /// Close the charge switch, or open it.
    SwitchCharge(bool),
    /// Close the discharge switch, or open it.
    SwitchDischarge(bool),
    /// Tell the board its state of charge.
    SetSoc(Percent),
}

/// Why an order was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The device says no.
    #[error("the device refused: {0}")]
    Refused(&'static str),
    /// The device took the order and stayed as it was.
    #[error("the device took the order and did not change: {0}")]
    NotTaken(&'static str),
    /// The order was not sent, because the device did not tell its state before.
    #[error("the device does not answer, and the order was not sent")]
    Silent,
    /// The order left, and nobody could say what came of it.
    #[error("the order was sent and the device does not say what came of it")]
    Unknown,
}

/// The conversation about one order. `now` is the time since any fixed origin.
pub trait OrderCycle {
    /// Hands out what is to be sent, once its time has come.
    fn next_request(&mut self, now: Duration) -> Option<Vec<u8>>;

    /// Takes what arrived.
    fn handle_input(&mut self, bytes: &[u8], now: Duration);

    /// The moment at which it wants to be woken even if nothing arrives.
    fn poll_timeout(&self) -> Option<Duration>;

    /// Wakes it; does nothing before its time.
    fn handle_timeout(&mut self, now: Duration);

    /// Whether the order itself was handed out.
    fn is_sent(&self) -> bool;

    /// What came of it, once that is known.
    fn outcome(&self) -> Option<Result<(), OrderError>>;
}
