//! A simulated device of a Modbus line behind a server on the network: the same device, in TCP frames.

use std::time::Duration;

use super::device::{DeviceSide, HasPack, Reply};
use super::pack::SimPack;
use crate::bms::framing::StreamDecoder;
use crate::bms::modbus::{TcpQuestions, tcp_frame};

/// Puts a server in front of a device that speaks RTU.
#[derive(Debug, Clone)]
pub struct ModbusTcpSide<D> {
    device: D,
    questions: StreamDecoder<TcpQuestions>,
}

impl<D: DeviceSide> ModbusTcpSide<D> {
    /// Puts a server in front of it.
    pub fn new(device: D) -> Self {
        Self { device, questions: StreamDecoder::new(TcpQuestions) }
    }
}

impl<D: DeviceSide> DeviceSide for ModbusTcpSide<D> {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        self.questions.push(bytes);
        let mut replies = Vec::new();
        while let Some((transaction, rtu)) = self.questions.next_frame() {
            for mut reply in self.device.handle_input(&rtu, now) {
                reply.frames = reply.frames.iter().filter_map(|rtu| tcp_frame(transaction, rtu)).collect();
                replies.push(reply);
            }
        }
        replies
    }
}

impl<D: HasPack> HasPack for ModbusTcpSide<D> {
    fn pack_mut(&mut self) -> &mut SimPack {
        self.device.pack_mut()
    }
}
