//! foxBMS 2 on CAN: 11-bit ids, 500 kbit/s, broadcast by itself; the only thing a host sends is the wish for a state.
//!
//! `messages` is the table of what stands where, in the two layouts that releases have had, `signal` reads and writes
//! one value of it, `pack` collects frames and decides what is believed. Ids and layouts can be edited in a foxBMS
//! project: `dbc` reads the places from its DBC file, and `edited` collects from there.

mod dbc;
mod edited;
mod listen;
mod messages;
mod pack;
mod signal;
mod string_state;
mod wire;

pub use dbc::{DbcTable, DbcTableError};
pub use edited::{EditedListener, EditedListening};
pub use listen::{FoxbmsListener, FoxbmsListening};
pub use messages::{Dialect, Message, message};
pub use pack::{FoxbmsConfig, FoxbmsPack};
pub use signal::{Shown, Signal};
pub use wire::{decode_can, mode_request};

/// What a host may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Contactors open.
    Standby,
    /// Contactors closed; also called normal.
    Discharge,
    /// Contactors closed for a charger.
    Charge,
}
