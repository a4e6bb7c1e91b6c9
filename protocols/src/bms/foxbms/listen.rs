//! Listening to foxBMS: a cycle lasts as long as the slowest message takes to come round, and longer while a round of
//! cells is under way.

use std::time::Duration;

use serde_json::Value;
use voltree_model::PackReading;

use super::pack::{FoxbmsConfig, FoxbmsPack};
use crate::bms::listen::{Listener, Listening};
use crate::can::CanFrame;
use crate::codec::{BadMemory, learned, recall};

/// Listens to one pack.
pub type FoxbmsListening = Listening<FoxbmsListener>;

/// The estimates come once a second.
const SHORTEST: Duration = Duration::from_millis(1100);

/// One pack on a bus.
#[derive(Debug, Clone)]
pub struct FoxbmsListener {
    pack: FoxbmsPack,
}

impl FoxbmsListener {
    /// Has heard nothing yet.
    pub fn new(config: FoxbmsConfig) -> Self {
        Self { pack: FoxbmsPack::new(config) }
    }
}

impl Listener for FoxbmsListener {
    const NAME: &'static str = "foxBMS' pack values";
    const PATIENCE: Duration = Duration::from_millis(2500);
    /// The DBC file's worst case is 5.4 s for 216 cells.
    const LONGEST: Duration = Duration::from_secs(6);

    fn begin(&mut self) {
        self.pack.begin();
    }

    fn take(&mut self, frame: &CanFrame) {
        self.pack.take(frame);
    }

    fn is_enough(&self, elapsed: Duration) -> bool {
        elapsed >= SHORTEST && self.pack.has_values() && !self.pack.awaits_round()
    }

    fn has_reading(&self) -> bool {
        self.pack.has_values()
    }

    fn reading(&mut self) -> PackReading {
        self.pack.reading()
    }

    fn refused(&self) -> u64 {
        self.pack.refused()
    }

    fn memory(&self) -> Value {
        learned(&self.pack.kept())
    }

    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        self.pack.keep(recall(memory)?);
        Ok(())
    }
}
