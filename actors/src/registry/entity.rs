//! What a device is made of: one record per value that it tells or takes, wherever that is known from, and how the value
//! stands by an operator's word.
//!
//! What a device has is known from what it told and what announced it; only an operator's words on it are kept, as records
//! of the journal. A disabled entity's values are left out of readings and counted, one by one.

use std::sync::Arc;

use voltree_model::{MetricRejection, Reading, RejectReason, Timestamp, Unit};

use super::standing::{Standing, Word};
use super::{DeviceEntry, LifecycleError, Registry};
use crate::intake::Inbound;

/// What sort of value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntityKind {
    /// A number that is measured.
    Sensor,
    /// Something that is either on or off, and only told.
    Binary,
    /// Something that can be switched on and off.
    Switch,
    /// A number that can be set.
    Number,
    /// One of a few words that can be set.
    Select,
    /// A text.
    Text,
    /// Something that can be pressed and tells nothing.
    Button,
}

/// Where it is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntitySource {
    /// The device tells it in the contract's own words.
    Native,
    /// A mapping reads it from the device's messages.
    Mapping,
    /// The device announced it.
    Discovery,
    /// The driver of the battery reads it.
    Driver,
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntityState {
    /// It was announced and has told nothing yet.
    Discovered,
    /// What it tells is stored.
    Enabled,
    /// What it tells is left out and counted.
    Disabled,
    /// An operator removed it, and it has told nothing since.
    Removed,
}

/// One value that a device tells or takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// Names it within its device; the name of its series, if it has one.
    pub key: String,
    /// What it is called.
    pub name: String,
    /// Its unit.
    pub unit: Option<Unit>,
    /// What sort of value it is.
    pub kind: EntityKind,
    /// Where it is known from.
    pub source: EntitySource,
    /// Whether a command can set it.
    pub writable: bool,
    /// How it stands.
    pub state: EntityState,
    /// Why an operator disabled or removed it.
    pub reason: Option<String>,
}

impl Entity {
    /// The same entity as it stands by an operator's word.
    pub(crate) fn standing(self, standing: Option<&Standing>) -> Self {
        let state = match standing.map(|standing| standing.word) {
            Some(Word::Disabled) => EntityState::Disabled,
            Some(Word::Removed) => EntityState::Removed,
            None => self.state,
        };
        Self { state, reason: standing.map(|standing| standing.reason.clone()), ..self }
    }
}

impl Registry {
    /// What an operator said of a device's entity; `None` takes it back. Blocks until the journal has it.
    pub fn set_entity(
        &self,
        entry: &DeviceEntry,
        key: &str,
        word: Option<Word>,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), LifecycleError> {
        let standing = word.map(|word| Standing { word, reason: reason.to_owned(), since: now });
        self.standings.set((entry.id.clone(), Some(key.to_owned())), standing)?;
        tracing::info!(event = "entity.changed", device = %entry.id, entity = key, ?word, reason, "by an operator");
        Ok(())
    }
}

impl DeviceEntry {
    /// What operators said of its entities, by key.
    pub(crate) fn entity_standings(&self) -> std::collections::BTreeMap<String, Standing> {
        self.standings.of_entities(&self.id)
    }

    /// What the device's door is told of a reading: without what belongs to disabled entities, and that it is rejected if
    /// nothing else is left.
    pub(crate) fn inbound(&self, reading: Reading, now: Timestamp) -> Inbound {
        match self.sift(reading) {
            Ok(reading) => Inbound::Reading(Arc::new(reading)),
            Err(detail) => Inbound::Rejected { at: now, reason: RejectReason::Disabled, detail },
        }
    }

    /// Leaves out what belongs to disabled entities. Answers what is wrong if nothing else is left. One that was removed
    /// and tells something is there again.
    fn sift(&self, mut reading: Reading) -> Result<Reading, String> {
        let standings = self.standings.of_entities(&self.id);
        if standings.is_empty() {
            return Ok(reading);
        }
        let before = reading.metrics.len() + reading.attributes.len();
        let told = |key: &str| {
            reading.metrics.iter().any(|metric| metric.name.as_str() == key)
                || reading.attributes.iter().any(|(name, _)| name.as_str() == key)
        };
        for (key, standing) in standings.into_iter().filter(|(key, _)| told(key)).collect::<Vec<_>>() {
            match standing.word {
                Word::Disabled => leave_out(&mut reading, &key),
                Word::Removed => self.standings.forget((self.id.clone(), Some(key))).unwrap_or_else(|error| {
                    tracing::warn!(device = %self.id, %error, "that an entity was removed can't be taken back");
                }),
            }
        }
        match before {
            1.. if reading.metrics.is_empty() && reading.attributes.is_empty() => {
                Err("everything in it belongs to disabled entities".to_owned())
            }
            _ => Ok(reading),
        }
    }
}

fn leave_out(reading: &mut Reading, key: &str) {
    reading.metrics.retain(|metric| metric.name.as_str() != key);
    reading.attributes.retain(|(name, _)| name.as_str() != key);
    reading.left_out.push(MetricRejection { name: key.to_owned(), reason: RejectReason::Disabled });
}
