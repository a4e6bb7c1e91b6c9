//! Green BMS (Green-bms/SmartBMS): lines of text at 9600 8N1, by wire or over a Bluetooth serial port.
//!
//! `line` finds the lines in a stream, `request` builds what a host says, `pack` decides what is believed. Everything
//! here is read from the unit's published firmware and was never held against a unit or a capture. The unit tells its
//! password to whoever selects its first page; this never keeps or shows it.

mod line;
mod pack;
mod request;
mod wire;

pub use line::{Cell, CellFlag, Line, LineFraming, Overview};
pub use pack::GreenPack;
pub use request::{Page, Request};
pub use wire::decode_wire;

/// The speed of the serial port, wired or behind the Bluetooth module.
pub const BAUD: u32 = 9600;

/// The parameters, numbered by their place in the unit's memory.
pub mod parameter {
    /// The password, which is never kept.
    pub const PASSWORD: u8 = 2;
    /// Capacity in Ah.
    pub const CAPACITY_AH: u8 = 12;
    /// How many cells there are.
    pub const CELL_COUNT: u8 = 14;
}
