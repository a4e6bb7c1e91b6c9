//! Ids: `18 command receiver sender`, boards from 0x01, hosts at a few addresses far above them.

use crate::bms::daly_uart::{Board, Frame, HOST_ADDRESS};
use crate::can::{CanFrame, CanId};

const PRIORITY: u8 = 0x18;
/// Beside the wired host: a phone at 0x80, a tracker at 0x20.
const HOSTS: [u8; 3] = [HOST_ADDRESS, 0x80, 0x20];

/// A frame of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DalyCanFrame {
    /// A host asks a board.
    Request {
        /// Who is asked.
        board: u8,
        /// What is asked.
        command: u8,
        /// What stands in the data, zeros mostly.
        data: [u8; 8],
    },
    /// A board answers; the address is the board's, as on the UART.
    Answer(Frame),
}

/// Takes a frame of the bus; `None` for everybody else's, and for hosts that talk to each other.
pub fn from_can(can: &CanFrame) -> Option<DalyCanFrame> {
    let CanId::Extended(id) = can.id() else { return None };
    let [PRIORITY, command, receiver, sender] = id.to_be_bytes() else { return None };
    let data = <[u8; 8]>::try_from(can.data()).ok()?;
    match (HOSTS.contains(&receiver), HOSTS.contains(&sender)) {
        (true, false) => Some(DalyCanFrame::Answer(Frame { address: sender, command, data })),
        (false, true) => Some(DalyCanFrame::Request { board: receiver, command, data }),
        (true, true) | (false, false) => None,
    }
}

/// Builds the question for a command. Boards on this bus keep their number, unlike on the UART.
pub fn read_request(board: Board, command: u8) -> Option<CanFrame> {
    frame(command, board.number(), HOST_ADDRESS, [0; 8])
}

/// Builds a board's answer to the wired host, for simulated devices.
pub fn answer(frame_of_uart: Frame) -> Option<CanFrame> {
    frame(frame_of_uart.command, HOST_ADDRESS, frame_of_uart.address, frame_of_uart.data)
}

fn frame(command: u8, receiver: u8, sender: u8, data: [u8; 8]) -> Option<CanFrame> {
    let id = u32::from_be_bytes([PRIORITY, command, receiver, sender]);
    CanFrame::new(CanId::new(id, true)?, &data)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_have_the_ids_that_other_clients_send() {
        let request = read_request(Board::FIRST, 0x90).unwrap();
        assert_eq!(request.to_string(), "18900140#0000000000000000");
        assert_eq!(from_can(&request), Some(DalyCanFrame::Request { board: 1, command: 0x90, data: [0; 8] }));
    }

    #[test]
    fn frames_of_others_are_none_of_ours() {
        let of = |id, extended, data: &[u8]| {
            from_can(&CanFrame::new(CanId::new(id, extended).unwrap(), data).unwrap())
        };
        assert_eq!(of(0x100, false, &[0; 8]), None);
        assert_eq!(of(0x1890_4001, true, &[0; 7]), None, "data is always eight bytes");
        assert_eq!(of(0x1690_4001, true, &[0; 8]), None, "another priority");
        assert_eq!(of(0x1890_4080, true, &[0; 8]), None, "two hosts");
        assert_eq!(of(0x1890_0102, true, &[0; 8]), None, "two boards");
    }

    proptest! {
        #[test]
        fn an_answer_survives_its_frame(address in 1u8..0x20, command: u8, data: [u8; 8]) {
            let of_uart = Frame { address, command, data };
            prop_assert_eq!(from_can(&answer(of_uart).unwrap()), Some(DalyCanFrame::Answer(of_uart)));
        }

        #[test]
        fn any_frame_is_ours_or_not(id in 0u32..1 << 29, extended: bool, data in proptest::collection::vec(any::<u8>(), 0..=8)) {
            let id = CanId::new(if extended { id } else { id % (1 << 11) }, extended).unwrap();
            let ours = from_can(&CanFrame::new(id, &data).unwrap()).is_some();
            prop_assert!(!ours || extended && data.len() == 8);
        }
    }
}
