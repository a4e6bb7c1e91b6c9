//! The UART's conversation over CAN: the same questions and answers, translated frame by frame.
//!
//! Patience, attempts and what is believed are `daly_uart`'s; this only changes the envelope. Frames are SLCAN text, as
//! every link to a bus hands them over.

use std::time::Duration;

use serde_json::Value;
use voltree_model::PackReading;

use super::frame::{DalyCanFrame, from_can, read_request};
use crate::bms::daly_uart::{DalyConfig, DalyPoll, Frame};
use crate::bms::framing::StreamDecoder;
use crate::can::slcan::{SlcanFraming, to_slcan};
use crate::codec::{BadMemory, PollCycle, PollError};

/// Polls one board on a bus.
#[derive(Debug, Clone)]
pub struct DalyCanPoll {
    uart: DalyPoll,
    config: DalyConfig,
    decoder: StreamDecoder<SlcanFraming>,
}

impl DalyCanPoll {
    /// Knows nothing of the board yet.
    pub fn new(config: DalyConfig) -> Self {
        Self { uart: DalyPoll::new(config), config, decoder: StreamDecoder::new(SlcanFraming) }
    }
}

impl PollCycle for DalyCanPoll {
    fn begin(&mut self, now: Duration) {
        self.decoder.reset();
        self.uart.begin(now);
    }

    fn next_request(&mut self, now: Duration) -> Option<Vec<u8>> {
        let request = Frame::parse(&self.uart.next_request(now)?).ok()?;
        Some(to_slcan(&read_request(self.config.board, request.command)?))
    }

    fn handle_input(&mut self, bytes: &[u8], now: Duration) {
        self.decoder.push(bytes);
        while let Some(can) = self.decoder.next_frame() {
            match from_can(&can) {
                Some(DalyCanFrame::Answer(frame)) => self.uart.handle_input(&frame.to_bytes(), now),
                Some(DalyCanFrame::Request { .. }) | None => {}
            }
        }
        self.uart.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.uart.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.uart.handle_timeout(now);
    }

    fn is_done(&self) -> bool {
        self.uart.is_done()
    }

    fn finish(&mut self) -> Result<PackReading, PollError> {
        self.uart.finish()
    }

    fn bad_frames(&self) -> u64 {
        self.decoder.stats().bad_frames() + self.uart.bad_frames()
    }

    fn memory(&self) -> Value {
        self.uart.memory()
    }

    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        self.uart.remember(memory)
    }
}
