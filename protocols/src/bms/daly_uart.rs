//! Daly's classic "A5" protocol over UART or RS485: 9600 8N1, 13-byte frames both ways, the host asks.
//!
//! `frame` finds frames in a stream, `answer` gives their bytes names, `assembly` joins answers that span several
//! frames, `poll` holds the conversation, `pack` decides what is believed, `wire` shows a frame as it was sent.
//! Bytes that an answer does not define repeat the answer before it, so nothing here may require them to be zero.

mod answer;
mod assembly;
mod faults;
mod frame;
mod order;
mod pack;
mod poll;
mod settings;
mod wire;

use serde::{Deserialize, Serialize};

pub use answer::{
    Answer, BalanceAnswer, CellExtremesAnswer, CellsAnswer, FaultsAnswer, PackAnswer, StatusAnswer,
    SwitchesAnswer, TemperatureExtremesAnswer, TemperaturesAnswer,
};
pub use assembly::Assembly;
pub use faults::{FAULT_BITS, FaultBit, Severity};
pub use frame::{A5Framing, FRAME_BYTES, Frame, FrameDecoder, LENGTH_BYTE, START};
pub use order::{DalyOrder, DalyOrderDialect};
pub(super) use order::{SOC_SLACK, tenths};
pub use pack::{CurrentSign, SignMemory, sign_of_current};
pub use poll::{DalyConfig, DalyPoll, Filler, PollStats};
pub use wire::decode_wire;

/// The most cells a board can have.
pub const MAX_CELLS: u8 = 48;
/// The most temperature sensors a board can have.
pub const MAX_SENSORS: u8 = 21;
/// Cell voltages in one 0x95 frame.
pub const CELLS_PER_FRAME: u8 = 3;
/// Temperatures in one 0x96 frame.
pub const SENSORS_PER_FRAME: u8 = 7;

/// The data ids ("commands") of requests and their answers.
pub mod command {
    /// Restarts the board.
    pub const RESTART: u8 = 0x00;
    /// Sets state of charge and clock.
    pub const SET_SOC: u8 = 0x21;
    /// Rated capacity and cell voltage.
    pub const RATED: u8 = 0x50;
    /// Boards, and cells and sensors of each.
    pub const BOARDS: u8 = 0x51;
    /// Charge that went in and out so far.
    pub const TOTALS: u8 = 0x52;
    /// Chemistry, production date, sleep time.
    pub const BATTERY_TYPE: u8 = 0x53;
    /// Firmware index, text.
    pub const FIRMWARE: u8 = 0x54;
    /// Pack voltage, current and state of charge.
    pub const PACK: u8 = 0x90;
    /// Highest and lowest cell.
    pub const CELL_EXTREMES: u8 = 0x91;
    /// Highest and lowest temperature.
    pub const TEMPERATURE_EXTREMES: u8 = 0x92;
    /// State, switches and remaining capacity.
    pub const SWITCHES: u8 = 0x93;
    /// Counts of cells, sensors and cycles.
    pub const STATUS: u8 = 0x94;
    /// Cell voltages, several frames.
    pub const CELLS: u8 = 0x95;
    /// Temperatures, several frames.
    pub const TEMPERATURES: u8 = 0x96;
    /// Which cells are being balanced.
    pub const BALANCE: u8 = 0x97;
    /// Alarm bits.
    pub const FAULTS: u8 = 0x98;
    /// What woke the board.
    pub const WAKE_UP: u8 = 0xD8;
    /// Opens or closes the discharge switch.
    pub const SET_DISCHARGE: u8 = 0xD9;
    /// Opens or closes the charge switch.
    pub const SET_CHARGE: u8 = 0xDA;

    /// Names a command for messages.
    pub const fn name(command: u8) -> &'static str {
        match command {
            PACK => "0x90 (pack)",
            CELL_EXTREMES => "0x91 (cell extremes)",
            TEMPERATURE_EXTREMES => "0x92 (temperature extremes)",
            SWITCHES => "0x93 (switches)",
            STATUS => "0x94 (status)",
            CELLS => "0x95 (cell voltages)",
            TEMPERATURES => "0x96 (temperatures)",
            BALANCE => "0x97 (balancing)",
            FAULTS => "0x98 (faults)",
            _ => "another command",
        }
    }
}

/// One board of up to 31 on a line, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Board(u8);

/// A board number that no board has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("board {number} is not one of 1 to 31")]
pub struct InvalidBoard {
    number: u8,
}

impl TryFrom<u8> for Board {
    type Error = InvalidBoard;

    fn try_from(number: u8) -> Result<Self, InvalidBoard> {
        Self::new(number)
    }
}

impl From<Board> for u8 {
    fn from(board: Board) -> Self {
        board.number()
    }
}

impl Board {
    /// The only board of most lines.
    pub const FIRST: Self = Self(1);

    /// Checks the number. Past 31 a board's answers could be taken for requests.
    pub fn new(number: u8) -> Result<Self, InvalidBoard> {
        if (1..=31).contains(&number) { Ok(Self(number)) } else { Err(InvalidBoard { number }) }
    }

    /// The number, which is also the address in the board's answers.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The address that requests to this board carry.
    pub const fn request_address(self) -> u8 {
        HOST_ADDRESS + (self.0 - 1)
    }
}

/// The address in requests of a wired host to the first board.
pub const HOST_ADDRESS: u8 = 0x40;

/// Builds a read request; `filler` stands in all eight data bytes.
pub fn read_request(board: Board, command: u8, filler: Filler) -> Frame {
    Frame { address: board.request_address(), command, data: [filler.byte(); 8] }
}

/// Builds the request that opens or closes the charge (0xDA) or discharge (0xD9) switch. The board has no way to
/// refuse: whoever sends this must read 0x93 afterwards and believe only that.
pub fn switch_request(board: Board, command: u8, closed: bool) -> Frame {
    Frame { address: board.request_address(), command, data: [u8::from(closed), 0, 0, 0, 0, 0, 0, 0] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_bytes_that_other_clients_send() {
        let read = read_request(Board::FIRST, command::PACK, Filler::Zeros);
        assert_eq!(hex::encode(read.to_bytes()), "a540900800000000000000007d");
        let read = read_request(Board::FIRST, command::STATUS, Filler::Aa);
        assert_eq!(hex::encode(read.to_bytes()), "a5409408aaaaaaaaaaaaaaaad1");
        let on = switch_request(Board::FIRST, command::SET_DISCHARGE, true);
        assert_eq!(hex::encode(on.to_bytes()), "a540d9080100000000000000c7");
    }

    #[test]
    fn a_second_board_is_asked_at_the_next_address() {
        assert_eq!(Board::new(2).unwrap().request_address(), 0x41);
        assert!(Board::new(0).is_err() && Board::new(32).is_err());
    }
}
