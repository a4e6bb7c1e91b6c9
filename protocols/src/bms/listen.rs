//! A cycle with a device that speaks by itself on a CAN bus: nothing is asked, what passes by is collected.
//!
//! Links hand frames of any bus over as SLCAN text, so that this, the flight recorder and a replay see the same bytes
//! whatever the adapter was. A cycle ends when its [`Listener`] has heard enough, or at its last moment.

use std::time::Duration;

use serde_json::Value;
use voltree_model::PackReading;

use super::framing::StreamDecoder;
use crate::can::CanFrame;
use crate::can::slcan::SlcanFraming;
use crate::codec::{BadMemory, PollCycle, PollError, recall};

/// What a vendor's broadcasts add.
pub trait Listener {
    /// What is listened for, in messages.
    const NAME: &'static str;
    /// How long without anything makes a cycle fail.
    const PATIENCE: Duration;
    /// The longest cycle.
    const LONGEST: Duration;

    /// Starts a cycle.
    fn begin(&mut self);

    /// Takes a frame of the bus, whoever sent it.
    fn take(&mut self, frame: &CanFrame);

    /// Whether enough for a reading was heard in this cycle, `elapsed` after its beginning.
    fn is_enough(&self, elapsed: Duration) -> bool;

    /// Whether a reading can be made at all.
    fn has_reading(&self) -> bool;

    /// Makes the reading.
    fn reading(&mut self) -> PackReading;

    /// Counts frames that were its own and not understood.
    fn refused(&self) -> u64;

    /// What stays from one cycle to the next.
    fn memory(&self) -> Value {
        Value::Null
    }

    /// Takes back what [`Listener::memory`] gave out.
    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        recall(memory)
    }
}

/// A cycle may be over without another frame, by the time alone.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Listening {
        since: Duration,
        /// When to look whether it is over.
        look: Duration,
    },
    Done,
}

/// Listens to one device, cycle after cycle.
#[derive(Debug, Clone)]
pub struct Listening<L> {
    listener: L,
    decoder: StreamDecoder<SlcanFraming>,
    phase: Phase,
    bytes: u64,
}

impl<L: Listener> Listening<L> {
    /// Has heard nothing yet.
    pub fn new(listener: L) -> Self {
        Self { listener, decoder: StreamDecoder::new(SlcanFraming), phase: Phase::Idle, bytes: 0 }
    }

    /// Ends the cycle if it is over.
    fn settle(&mut self, now: Duration) {
        let Phase::Listening { since, look } = self.phase else { return };
        let elapsed = now.saturating_sub(since);
        let last = if self.listener.has_reading() { L::LONGEST } else { L::PATIENCE };
        if elapsed >= last || self.listener.is_enough(elapsed) {
            self.phase = Phase::Done;
        } else if now >= look {
            self.phase = Phase::Listening { since, look: now.saturating_add(LOOK) };
        }
    }
}

impl<L: Listener> PollCycle for Listening<L> {
    fn begin(&mut self, now: Duration) {
        self.listener.begin();
        self.decoder.reset();
        self.bytes = 0;
        self.phase = Phase::Listening { since: now, look: now.saturating_add(LOOK) };
    }

    fn next_request(&mut self, _now: Duration) -> Option<Vec<u8>> {
        None
    }

    fn handle_input(&mut self, bytes: &[u8], now: Duration) {
        if matches!(self.phase, Phase::Listening { .. }) {
            self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            self.decoder.push(bytes);
            while let Some(frame) = self.decoder.next_frame() {
                self.listener.take(&frame);
            }
        }
        self.settle(now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Listening { look, .. } => Some(look),
            Phase::Idle | Phase::Done => None,
        }
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.settle(now);
    }

    fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    fn finish(&mut self) -> Result<PackReading, PollError> {
        if !self.is_done() {
            return Err(PollError::Unfinished);
        }
        self.phase = Phase::Idle;
        match self.bytes {
            _ if self.listener.has_reading() => Ok(self.listener.reading()),
            0 => Err(PollError::NoAnswer { question: L::NAME, attempts: 1 }),
            bytes => Err(PollError::Garbled { question: L::NAME, attempts: 1, bytes }),
        }
    }

    fn bad_frames(&self) -> u64 {
        self.decoder.stats().bad_frames() + self.listener.refused()
    }

    fn memory(&self) -> Value {
        self.listener.memory()
    }

    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        self.listener.remember(memory)
    }
}
