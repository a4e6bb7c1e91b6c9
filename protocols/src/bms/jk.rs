//! JK (Jikong) boards, in the two protocols that most of them speak.
//!
//! `uart` is the "4E 57" protocol of the wired port (115200 8N1): one question, one answer of tagged values (`tags`).
//! `jk02` is the Bluetooth protocol: 300-byte records that a board streams once asked (`cells`, `info`); two
//! generations differ in where values stand, told apart by the firmware version. `poll` holds both conversations.
//! Boards with float cells (JK04, firmware 3 and 8) are not understood and are never guessed at.

mod alarms;
mod cells;
mod info;
mod jk02;
mod pack;
mod poll;
mod tags;
mod uart;
mod wire;

pub use cells::{CellInfo, CellInfoWriter, Generation, PackValues};
pub use info::DeviceInfo;
pub use jk02::{Jk02Frame, Jk02Framing, RECORD_BYTES, Record, command_frame};
pub use poll::{Jk02Dialect, Jk02Poll, JkPoll, UartDialect};
pub use tags::{Status, Tag, Tags};
pub use uart::{UartFrame, UartFraming, read_all_request, write_request};
pub use wire::decode_wire;

/// The speed of the wired port.
pub const BAUD: u32 = 115_200;

/// Registers and record types of the Bluetooth protocol.
pub mod register {
    /// Streams cell records.
    pub const CELL_INFO: u8 = 0x96;
    /// Sends the device record.
    pub const DEVICE_INFO: u8 = 0x97;
    /// The charge switch, 1 or 0.
    pub const CHARGE: u8 = 0x1D;
    /// The discharge switch, 1 or 0.
    pub const DISCHARGE: u8 = 0x1E;
    /// The balancer, 1 or 0.
    pub const BALANCER: u8 = 0x1F;
    /// The board's "ready" after a device record.
    pub const READY: u8 = 0xC8;
}

/// What a record of the Bluetooth protocol holds.
pub mod record_type {
    /// Limits and capacities.
    pub const SETTINGS: u8 = 1;
    /// Cells and the pack.
    pub const CELLS: u8 = 2;
    /// Names, versions, uptime.
    pub const DEVICE: u8 = 3;
    /// Past events.
    pub const LOGBOOK: u8 = 5;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_bytes_that_other_clients_send() {
        assert_eq!(hex::encode(read_all_request().to_bytes()), "4e5700130000000006030000000000006800000129");
        assert_eq!(
            hex::encode(command_frame(register::CELL_INFO, &[])),
            "aa5590eb96000000000000000000000000000010"
        );
        assert_eq!(
            hex::encode(command_frame(register::CHARGE, &1u32.to_le_bytes())),
            "aa5590eb1d04010000000000000000000000009c"
        );
    }
}
