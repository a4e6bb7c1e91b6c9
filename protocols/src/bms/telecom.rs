//! The ASCII protocol of telecom batteries on RS485, in the two dialects that home batteries speak: Seplos (and the PACE
//! boards it is made from) and Pylontech.
//!
//! Both send `~`, everything in hexadecimal letters, a checksum and a carriage return (`frame`). They differ in how a
//! pack's values are scaled and ordered (`analog`) and in what they tell of alarms (`alarms`). A frame does not say which
//! of the two it is: whoever configures a battery does.

use serde::{Deserialize, Serialize};

mod alarms;
mod analog;
mod frame;
mod pack;
mod poll;
mod wire;

pub use alarms::{ALARM_EVENTS, Alarms, Limit, Status};
pub use analog::{Analog, SeplosAnalog};
pub use frame::{TelecomFrame, TelecomFraming};
pub use poll::{TelecomConfig, TelecomDialect, TelecomPoll};
pub use wire::{decode_pylontech, decode_seplos};

/// Who made the battery, which decides how its values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Maker {
    /// Seplos boards of the second generation, and PACE.
    Seplos,
    /// Pylontech US series.
    Pylontech,
}

impl Maker {
    /// The address of the only, or first, pack.
    pub const fn first_address(self) -> u8 {
        match self {
            Self::Seplos => 0,
            Self::Pylontech => 2,
        }
    }

    /// The speed that most packs come with.
    pub const fn default_baud(self) -> u32 {
        match self {
            Self::Seplos => 19_200,
            Self::Pylontech => 115_200,
        }
    }
}

/// What is asked.
pub mod command {
    /// Cells, temperatures, current, charge.
    pub const ANALOG: u8 = 0x42;
    /// Alarms and states.
    pub const ALARMS: u8 = 0x44;
    /// The protocol's version.
    pub const VERSION: u8 = 0x4F;
    /// Who made it.
    pub const MAKER: u8 = 0x51;
}

/// Builds a request for one pack. Both makers want the pack's number once more as the only information.
pub fn read_request(address: u8, command: u8) -> TelecomFrame {
    TelecomFrame { version: 0x20, address, device: frame::BATTERY, command, info: vec![address] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_bytes_that_other_clients_send() {
        assert_eq!(read_request(0, command::ANALOG).to_bytes(), b"~20004642E00200FD37\r");
    }
}
