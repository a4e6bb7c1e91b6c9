//! Several boards on one line: all hear everything, and the one that is meant answers.

use std::time::Duration;

use super::device::{DeviceSide, Reply};

/// Devices that share a wire.
#[derive(Debug, Clone)]
pub struct Bus<D> {
    devices: Vec<D>,
}

impl<D> Bus<D> {
    /// Puts devices on a wire. Where several would answer, the first does.
    pub fn new(devices: Vec<D>) -> Self {
        Self { devices }
    }
}

impl<D: DeviceSide> DeviceSide for Bus<D> {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        let mut heard: Vec<Reply> = Vec::new();
        for device in &mut self.devices {
            let replies = device.handle_input(bytes, now);
            heard.resize_with(heard.len().max(replies.len()), Reply::default);
            for (heard, reply) in heard.iter_mut().zip(replies) {
                if heard.frames.is_empty() {
                    *heard = reply;
                }
            }
        }
        heard
    }

    fn next_broadcast(&self) -> Option<Duration> {
        self.devices.iter().filter_map(DeviceSide::next_broadcast).min()
    }

    fn broadcast(&mut self, now: Duration) -> Vec<Reply> {
        let due =
            self.devices.iter_mut().filter(|device| device.next_broadcast().is_some_and(|at| at <= now));
        due.flat_map(|device| device.broadcast(now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bms::daly_uart::{Board, CurrentSign, Filler, command, read_request};
    use crate::sim::{DalySim, PackConfig, SimPack};

    #[test]
    fn each_board_answers_its_own_requests_and_a_request_counts_once() {
        let boards = [1, 2, 3].map(|number| Board::new(number).unwrap());
        let sim = |board| DalySim::new(SimPack::new(PackConfig::default()), board, CurrentSign::Normal);
        let mut bus = Bus::new(boards.map(sim).to_vec());
        let requests: Vec<u8> = boards
            .iter()
            .flat_map(|board| read_request(*board, command::PACK, Filler::Zeros).to_bytes())
            .collect();
        let replies = bus.handle_input(&requests, Duration::ZERO);
        assert_eq!(replies.iter().map(|reply| reply.frames[0][1]).collect::<Vec<_>>(), [1, 2, 3]);
        let stranger = read_request(Board::new(4).unwrap(), command::PACK, Filler::Zeros).to_bytes();
        assert_eq!(bus.handle_input(&stranger, Duration::ZERO), [Reply::default()]);
    }
}
