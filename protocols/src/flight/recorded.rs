//! A conversation that is written down while it is led: every call first to the recorder, then to the codec, so that
//! the call on which a codec panics is the last one recorded.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use voltree_model::{PackReading, Timestamp};

use super::{Call, End, Pen, nanos};
use crate::codec::{BadMemory, PollCycle, PollError};

/// A poll cycle with a recorder at its side.
pub struct Recorded<'a> {
    cycle: &'a mut (dyn PollCycle + Send),
    pen: &'a Pen,
    at: Timestamp,
}

impl fmt::Debug for Recorded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded").field("at", &self.at).finish_non_exhaustive()
    }
}

impl<'a> Recorded<'a> {
    /// Records the next cycle, which begins now.
    pub fn new(cycle: &'a mut (dyn PollCycle + Send), pen: &'a Pen, at: Timestamp) -> Self {
        Self { cycle, pen, at }
    }
}

impl PollCycle for Recorded<'_> {
    fn begin(&mut self, now: Duration) {
        self.pen.begin(self.at, self.cycle.memory());
        self.pen.call(Call::Began { at_ns: nanos(now) });
        self.cycle.begin(now);
    }

    fn next_request(&mut self, now: Duration) -> Option<Vec<u8>> {
        let request = self.cycle.next_request(now)?;
        self.pen.asked(now, &request);
        Some(request)
    }

    fn handle_input(&mut self, bytes: &[u8], now: Duration) {
        self.pen.heard(now, bytes);
        self.cycle.handle_input(bytes, now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.cycle.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.pen.call(Call::Woken { at_ns: nanos(now) });
        self.cycle.handle_timeout(now);
    }

    fn is_done(&self) -> bool {
        self.cycle.is_done()
    }

    fn finish(&mut self) -> Result<PackReading, PollError> {
        let result = self.cycle.finish();
        self.pen.end(match &result {
            Ok(reading) => End::Reading(Box::new(reading.clone())),
            Err(error) => End::Failed(error.to_string()),
        });
        result
    }

    fn bad_frames(&self) -> u64 {
        self.cycle.bad_frames()
    }

    fn memory(&self) -> Value {
        self.cycle.memory()
    }

    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        self.cycle.remember(memory)
    }
}
