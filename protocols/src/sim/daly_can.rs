//! A simulated Daly board on CAN: the board of the UART in another envelope.

use std::time::Duration;

use super::can::{CanReply, CanSide};
use super::daly::DalySim;
use super::device::{DeviceSide as _, HasPack};
use super::pack::SimPack;
use crate::bms::daly_can::{DalyCanFrame, answer, from_can};
use crate::bms::daly_uart::{Board, CurrentSign, Frame};
use crate::can::CanFrame;

/// A board and its pack.
#[derive(Debug, Clone)]
pub struct DalyCanSim {
    uart: DalySim,
    board: Board,
}

impl DalyCanSim {
    /// Puts a board in front of a pack.
    pub fn new(pack: SimPack, board: Board, sign: CurrentSign) -> Self {
        Self { uart: DalySim::new(pack, board, sign), board }
    }
}

impl HasPack for DalyCanSim {
    fn pack_mut(&mut self) -> &mut SimPack {
        &mut self.uart.pack
    }
}

impl CanSide for DalyCanSim {
    fn hear(&mut self, frame: &CanFrame, now: Duration) -> Option<CanReply> {
        let DalyCanFrame::Request { board, command, data } = from_can(frame)? else { return None };
        if board != self.board.number() {
            return None;
        }
        let request = Frame { address: self.board.request_address(), command, data };
        let reply = self.uart.handle_input(&request.to_bytes(), now).pop()?;
        let frames = reply.frames.iter().filter_map(|bytes| answer(Frame::parse(bytes).ok()?)).collect();
        Some(CanReply { frames, ends_cycle: reply.ends_cycle, measures: reply.measures })
    }
}
