//! Daly over Bluetooth: three dialects on one radio. Registers at unit D2, registers at unit 81 (answers 51), and the
//! A5 frames of the UART.
//!
//! `frame` finds all three in a stream, `registers` gives a block of registers its place and its values, `pack` decides
//! what is believed, `wire` shows frames as sent. An answer names no register: without its question a block is known
//! by its length only, so [`Block::guess`] must never be used where the question is at hand.

mod frame;
mod order;
mod pack;
mod poll;
mod registers;
mod wire;

pub use frame::{BleFrame, BleFraming, RegisterFrame};
pub use order::{RegisterOrder, RegisterOrderDialect};
pub use pack::{reading, reading_p81};
pub use poll::{RegisterConfig, RegisterPoll, RegisterPollDialect};
pub use registers::{Block, RegisterDialect};
pub use wire::decode_wire;
