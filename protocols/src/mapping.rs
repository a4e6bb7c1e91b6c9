//! Mapped devices: what messages that do not follow the contract mean, said by a declaration and never by a script.
//!
//! A [`Mapping`] is written in TOML: topics with named captures, where values stand, their units, scales and words, who
//! is there, and how a command is said. Presets for common devices come along. Everything here is pure: a topic and a
//! payload go in, a [`Meaning`] comes out. It must never panic, whatever a stranger publishes.

mod capture;
mod clock;
mod command;
mod convert;
mod discovery;
mod draft;
mod path;
mod pattern;
mod presence;
mod presets;
mod raw;
mod rule;
mod sparkplug;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;
use voltree_model::DeviceId;

use crate::mqtt::Filter;
use command::CommandRule;
use presence::PresenceRule;
use raw::RawMapping;
use rule::MessageRule;

pub use capture::{Captured, captured};
pub use command::CommandError;
pub use discovery::{Announced, AnnouncedEntity, AnnouncementError, Discovery};
pub use draft::{Draft, Meaning, Turned, Value, device_id};
pub use path::{JsonPath, PathError};
pub use pattern::{Captures, PatternError, Template, TopicPattern};
pub use presets::{PRESETS, Preset};
pub use sparkplug::{Sparkplug, Spoken};
pub use template::{TemplateError, ValueTemplate};

/// Why a text is no mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// It is no TOML, or has a key that no mapping has.
    #[error("{0}")]
    Syntax(String),
    /// Everything that is wrong with it, by key.
    #[error("the mapping {name:?} has mistakes:\n  {}", mistakes.join("\n  "))]
    Mistakes {
        /// What it calls itself.
        name: String,
        /// Each with its key.
        mistakes: Vec<String>,
    },
    /// There is no such preset.
    #[error("{name:?} is no preset; there are: {}", presets::names())]
    UnknownPreset {
        /// What was asked for.
        name: String,
    },
}

/// A declaration of what some devices' messages mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    name: String,
    about: String,
    offline_after: Duration,
    ignore: Vec<TopicPattern>,
    messages: Vec<MessageRule>,
    presence: Vec<PresenceRule>,
    commands: Vec<CommandRule>,
}

impl Mapping {
    /// How long its devices may be silent, unless it says otherwise: many report every few minutes.
    pub const OFFLINE_AFTER: Duration = Duration::from_hours(1);

    /// Reads a mapping.
    pub fn from_toml(text: &str) -> Result<Self, MappingError> {
        Self::with_variables(text, &BTreeMap::new())
    }

    /// Reads a mapping, with some of its variables set otherwise.
    pub fn with_variables(text: &str, set: &BTreeMap<String, String>) -> Result<Self, MappingError> {
        let raw: RawMapping =
            toml::from_str(text).map_err(|error| MappingError::Syntax(error.to_string()))?;
        raw.check(set)
    }

    /// Reads a mapping that stands in a larger file.
    pub fn from_table(table: toml::Table) -> Result<Self, MappingError> {
        let raw: RawMapping =
            table.try_into().map_err(|error: toml::de::Error| MappingError::Syntax(error.to_string()))?;
        raw.check(&BTreeMap::new())
    }

    /// Takes one that comes along.
    pub fn preset(name: &str, set: &BTreeMap<String, String>) -> Result<Self, MappingError> {
        let preset =
            Preset::named(name).ok_or_else(|| MappingError::UnknownPreset { name: name.to_owned() })?;
        Self::with_variables(preset.toml, set)
    }

    /// What it calls itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// How long its devices may be silent before they count as offline.
    pub fn offline_after(&self) -> Duration {
        self.offline_after
    }

    /// Every filter that must be heard for it.
    pub fn filters(&self) -> impl Iterator<Item = &Filter> {
        let messages = self.messages.iter().map(|rule| rule.topic.filter());
        messages.chain(self.presence.iter().map(|rule| rule.topic.filter()))
    }

    /// What a message means; nothing if its topic is none of this mapping's.
    pub fn read(&self, topic: &str, payload: &[u8]) -> Option<Meaning> {
        if self.ignore.iter().any(|pattern| pattern.captures(topic).is_some()) {
            return Some(Meaning::default());
        }
        let mut meaning = Meaning::default();
        let mut known = false;
        for rule in &self.presence {
            if let Some(captures) = rule.topic.captures(topic) {
                known = true;
                meaning.presence.extend(rule.read(&captures, payload));
            }
        }
        if known {
            return Some(meaning);
        }
        let (rule, captures) =
            self.messages.iter().find_map(|rule| Some((rule, rule.topic.captures(topic)?)))?;
        // An empty payload takes a retained message away and says nothing.
        if !payload.is_empty() {
            meaning.readings = rule.read(captures, payload);
        }
        Some(meaning)
    }

    /// The devices that a topic speaks of, with what its pattern caught: what is needed to command them later.
    pub fn subject(&self, topic: &str) -> Option<(DeviceId, Captures)> {
        let presence = self.presence.iter().map(|rule| (&rule.topic, &rule.device));
        let messages = self.messages.iter().map(|rule| (&rule.topic, &rule.device));
        presence.chain(messages).find_map(|(topic_of, device)| {
            let captures = topic_of.captures(topic)?;
            Some((device_id(&device.fill(&captures)?).ok()?, captures))
        })
    }

    /// The commands that can be said in its devices' words.
    pub fn actions(&self) -> impl Iterator<Item = &str> {
        self.commands.iter().map(|rule| rule.action.as_str())
    }

    /// Whether any command can be said in its devices' words.
    pub fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// A command in the device's own words: where to publish what.
    pub fn command(
        &self,
        captures: &Captures,
        action: &str,
        params: &Json,
    ) -> Result<(String, Vec<u8>), CommandError> {
        let Some(rule) = self.commands.iter().find(|rule| rule.action == action) else {
            let known: Vec<_> = self.commands.iter().map(|rule| rule.action.as_str()).collect();
            return Err(CommandError::UnknownAction { action: action.to_owned(), known: known.join(", ") });
        };
        rule.write(captures, params)
    }
}

#[cfg(test)]
mod tests;
