//! Libre Solar boards: ThingSet as text on a serial line, as CBOR on CAN and either over Bluetooth LE.
//!
//! `text` finds lines and checks their CRC where they have one, `binary` reads CBOR messages, `bus` puts what CAN cut
//! into pieces together again, `ble` undoes the escapes of Bluetooth. All of them end in `measured`, which knows the
//! board's own values and decides what is believed. Nothing is written by itself: a board takes any writer at its word.

mod binary;
mod ble;
mod bus;
mod isotp;
mod listen;
mod measured;
mod poll;
mod text;
mod wire;

pub use binary::{Endpoint, Message, MessageError, parse_message};
pub use ble::{PacketFraming, to_packet};
pub use bus::{BusId, BusMessage, ThingsetBus};
pub use isotp::{IsotpFrame, segment};
pub use listen::{ThingsetCanConfig, ThingsetListener, ThingsetListening};
pub use measured::Measured;
pub use poll::{ThingsetDialect, ThingsetPoll};
pub use text::{TextBody, TextFrame, TextFraming, Verb, to_line};
pub use wire::{decode_can, decode_wire};

/// The speed of the serial port.
pub const BAUD: u32 = 115_200;
