//! Daly over Bluetooth, whichever of its dialects a module speaks: registers (D2 and 81), or the frames of the UART from
//! one of two host addresses. One dialect is tried a cycle until one gives a reading; that one stays.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use voltree_model::{PackReading, Timestamp};

use super::daly_bluetooth::{
    RegisterConfig, RegisterOrder, RegisterOrderDialect, RegisterPoll, RegisterPollDialect,
};
use super::daly_uart::{Board, CurrentSign, DalyConfig, DalyOrder, DalyOrderDialect, DalyPoll};
use super::order::{Order, OrderCycle, OrderDialect, ReadBack, Said};
use crate::codec::{BadMemory, PollCycle, PollError, learned, recall};

/// The address from which most Bluetooth modules want to be asked; the others want the UART's.
const BLUETOOTH_HOST: u8 = 0x80;

/// A way to ask, in the order of trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Dialect {
    Registers,
    FramesFromBluetooth,
    FramesFromUart,
}

impl Dialect {
    const fn next(self) -> Self {
        match self {
            Self::Registers => Self::FramesFromBluetooth,
            Self::FramesFromBluetooth => Self::FramesFromUart,
            Self::FramesFromUart => Self::Registers,
        }
    }
}

/// Polls one board.
#[derive(Debug, Clone)]
pub struct DalyAirPoll {
    registers: RegisterPoll,
    frames: DalyPoll,
    dialect: Dialect,
    found: bool,
}

impl DalyAirPoll {
    /// Knows nothing of the board yet.
    pub fn new(current_sign: CurrentSign) -> Self {
        let registers = RegisterConfig { current_sign, ..RegisterConfig::default() };
        Self {
            registers: RegisterPoll::new(RegisterPollDialect::new(registers)),
            frames: DalyPoll::new(DalyConfig { current_sign, ..DalyConfig::default() }),
            dialect: Dialect::Registers,
            found: false,
        }
    }

    /// Starts the conversation about an order in the dialect that was found; none before.
    pub fn order(&self, order: Order, now: Timestamp) -> Option<Box<dyn OrderCycle + Send>> {
        if !self.found {
            return None;
        }
        let frames = DalyOrderDialect::new(Board::FIRST, order, now);
        Some(match self.dialect {
            Dialect::Registers => {
                let dialect = self.registers.dialect().found()?;
                Box::new(RegisterOrder::new(RegisterOrderDialect::new(dialect, order)))
            }
            Dialect::FramesFromUart => Box::new(DalyOrder::new(frames)),
            Dialect::FramesFromBluetooth => Box::new(ReadBack::new(FromBluetooth(frames))),
        })
    }

    fn asks(&self) -> &dyn PollCycle {
        match self.dialect {
            Dialect::Registers => &self.registers,
            Dialect::FramesFromBluetooth | Dialect::FramesFromUart => &self.frames,
        }
    }

    fn asks_mut(&mut self) -> &mut dyn PollCycle {
        match self.dialect {
            Dialect::Registers => &mut self.registers,
            Dialect::FramesFromBluetooth | Dialect::FramesFromUart => &mut self.frames,
        }
    }
}

/// An order in the frames of the UART, from the host that most modules want.
struct FromBluetooth(DalyOrderDialect);

impl OrderDialect for FromBluetooth {
    fn order(&mut self) -> Vec<u8> {
        from_bluetooth(self.0.order())
    }

    fn question(&mut self) -> Vec<u8> {
        from_bluetooth(self.0.question())
    }

    fn forget_input(&mut self) {
        self.0.forget_input();
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.0.hear(bytes);
    }

    fn next_said(&mut self) -> Option<Said> {
        self.0.next_said()
    }
}

/// The same frame from another host: its second byte, and the sum that ends it.
fn from_bluetooth(mut frame: Vec<u8>) -> Vec<u8> {
    if let [_, host, .., sum] = frame.as_mut_slice() {
        *sum = sum.wrapping_sub(*host).wrapping_add(BLUETOOTH_HOST);
        *host = BLUETOOTH_HOST;
    }
    frame
}

impl PollCycle for DalyAirPoll {
    fn begin(&mut self, now: Duration) {
        self.asks_mut().begin(now);
    }

    fn next_request(&mut self, now: Duration) -> Option<Vec<u8>> {
        let request = self.asks_mut().next_request(now)?;
        Some(if self.dialect == Dialect::FramesFromBluetooth { from_bluetooth(request) } else { request })
    }

    fn handle_input(&mut self, bytes: &[u8], now: Duration) {
        self.asks_mut().handle_input(bytes, now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.asks().poll_timeout()
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.asks_mut().handle_timeout(now);
    }

    fn is_done(&self) -> bool {
        self.asks().is_done()
    }

    fn finish(&mut self) -> Result<PackReading, PollError> {
        let finished = self.asks_mut().finish();
        match &finished {
            Ok(_) => self.found = true,
            Err(PollError::Unfinished) => {}
            Err(_) if self.found => {}
            Err(_) => self.dialect = self.dialect.next(),
        }
        finished
    }

    fn bad_frames(&self) -> u64 {
        self.registers.bad_frames() + self.frames.bad_frames()
    }

    fn memory(&self) -> Value {
        learned(&(self.dialect, self.found, self.registers.memory(), self.frames.memory()))
    }

    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        let (dialect, found, registers, frames): (Dialect, bool, Value, Value) = recall(memory)?;
        self.registers.remember(&registers)?;
        self.frames.remember(&frames)?;
        (self.dialect, self.found) = (dialect, found);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bms::daly_bluetooth::RegisterDialect;
    use crate::sim::{DalyRegistersSim, DalySim, DeviceSide, PackConfig, Reply, SimPack};

    /// Some modules answer the UART's host only.
    struct DeafToBluetoothHosts(DalySim);

    impl DeviceSide for DeafToBluetoothHosts {
        fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
            if bytes.get(1) == Some(&BLUETOOTH_HOST) { Vec::new() } else { self.0.handle_input(bytes, now) }
        }
    }

    /// Runs cycles against a board that answers at once, until one gives a reading.
    fn cycles_to_reading(mut board: impl DeviceSide) -> (u32, PackReading) {
        let mut poll = DalyAirPoll::new(CurrentSign::Auto);
        let mut now = Duration::ZERO;
        for cycle in 1..=4 {
            poll.begin(now);
            while !poll.is_done() {
                if let Some(request) = poll.next_request(now) {
                    for frame in board.handle_input(&request, now).into_iter().flat_map(|reply| reply.frames)
                    {
                        poll.handle_input(&frame, now);
                    }
                }
                now = now.max(poll.poll_timeout().unwrap_or(now)) + Duration::from_millis(1);
                poll.handle_timeout(now);
            }
            if let Ok(reading) = poll.finish() {
                return (cycle, reading);
            }
        }
        panic!("no reading in four cycles")
    }

    #[test]
    fn every_dialect_is_found_and_read() {
        let pack = || SimPack::new(PackConfig::default());
        for dialect in [RegisterDialect::D2, RegisterDialect::P81] {
            let (cycles, reading) =
                cycles_to_reading(DalyRegistersSim::new(pack(), dialect, CurrentSign::Normal));
            assert_eq!((cycles, reading.pack_voltage.is_some()), (1, true), "{dialect:?}");
        }
        let board = DalySim::new(pack(), Board::FIRST, CurrentSign::Normal);
        let (cycles, reading) = cycles_to_reading(board.clone());
        assert_eq!((cycles, reading.pack_voltage.is_some()), (2, true));
        let (cycles, reading) = cycles_to_reading(DeafToBluetoothHosts(board));
        assert_eq!((cycles, reading.pack_voltage.is_some()), (3, true));
    }

    #[test]
    fn a_frame_from_the_bluetooth_host_has_the_bytes_of_the_makers_app() {
        let uart = hex::decode("a5409508000000000000000082").unwrap();
        assert_eq!(hex::encode(from_bluetooth(uart)), "a58095080000000000000000c2");
    }
}
