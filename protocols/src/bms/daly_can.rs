//! Daly over CAN: the UART's commands and answers without their envelope, at 250 kbit/s with ids of 29 bits.
//!
//! The id carries what the UART's header does: priority, command, receiver, sender. Bytes and meaning of the data are
//! the UART's, so `daly_uart` reads them and nothing of it is repeated here; only ids are. Frames get lost on this bus,
//! and whole sets of cells must be waited for, never filled up.

mod frame;
mod poll;
mod wire;

pub use frame::{DalyCanFrame, answer, from_can, read_request};
pub use poll::DalyCanPoll;
pub use wire::decode_can;
