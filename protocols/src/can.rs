//! Frames of a CAN bus and how people write them down. No bus is opened here.

mod candump;
mod frame;
pub mod slcan;
pub mod socketcand;

pub use candump::{CandumpError, parse_candump};
pub use frame::{CanFrame, CanId};
