//! Listening to a Libre Solar board on CAN: its report once a second, or its values one by one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use voltree_model::PackReading;

use super::bus::{BusMessage, ThingsetBus};
use super::{Measured, Message};
use crate::bms::listen::{Listener, Listening};
use crate::can::CanFrame;

/// Listens to one board.
pub type ThingsetListening = Listening<ThingsetListener>;

/// How long values that come one by one are collected.
const ITEMS: Duration = Duration::from_millis(1100);

/// Which board.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThingsetCanConfig {
    /// Its node address on the bus; any board's values count where this is none.
    pub node: Option<u8>,
}

/// One board on a bus.
#[derive(Debug, Clone)]
pub struct ThingsetListener {
    config: ThingsetCanConfig,
    bus: ThingsetBus,
    measured: Option<Measured>,
    /// A whole report was heard, and not values one by one.
    reported: bool,
    refused: u64,
}

impl ThingsetListener {
    /// Has heard nothing yet.
    pub fn new(config: ThingsetCanConfig) -> Self {
        Self { config, bus: ThingsetBus::default(), measured: None, reported: false, refused: 0 }
    }

    fn is_ours(&self, source: u8) -> bool {
        self.config.node.is_none_or(|node| node == source)
    }

    fn update(&mut self, newer: Measured) {
        match &mut self.measured {
            Some(measured) => measured.update(newer),
            None => self.measured = Some(newer),
        }
    }
}

impl Listener for ThingsetListener {
    const NAME: &'static str = "the board's report";
    const PATIENCE: Duration = Duration::from_millis(2500);
    const LONGEST: Duration = ITEMS;

    fn begin(&mut self) {
        // A report that is under way may end in this cycle.
        (self.measured, self.reported) = (None, false);
    }

    fn take(&mut self, frame: &CanFrame) {
        match self.bus.take(frame) {
            BusMessage::Whole(source, _, Ok(Message::Report { payload, .. })) if self.is_ours(source) => {
                if let Some(measured) = Measured::from_payload(&payload) {
                    self.update(measured);
                    self.reported = true;
                }
            }
            BusMessage::Item(source, id, Ok(value)) if self.is_ours(source) => {
                let mut measured = self.measured.take().unwrap_or_default();
                let known = measured.take(u64::from(id), value);
                if known || self.reported {
                    self.measured = Some(measured);
                }
            }
            BusMessage::Whole(source, _, Err(_)) | BusMessage::Item(source, _, Err(_)) => {
                self.refused += u64::from(self.is_ours(source));
            }
            BusMessage::Refused(_) => self.refused += 1,
            BusMessage::Whole(..) | BusMessage::Item(..) | BusMessage::Nothing => {}
        }
    }

    fn is_enough(&self, _elapsed: Duration) -> bool {
        self.reported
    }

    fn has_reading(&self) -> bool {
        self.measured.is_some()
    }

    fn reading(&mut self) -> PackReading {
        self.measured.take().unwrap_or_default().reading()
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}
