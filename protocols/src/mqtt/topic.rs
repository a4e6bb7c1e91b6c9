//! Topics and topic filters: which device a topic speaks of, and which filters match it (MQTT 3.1.1, section 4.7).
//!
//! Topics arrive from strangers, so nothing here indexes into a text by bytes: a topic that begins with "é" is
//! an ordinary topic. Permission is not decided here; [`Filter::covers`] only compares what two filters can match.

use std::fmt;

use voltree_model::{DeviceId, InvalidId};

/// The longest text that MQTT's two-byte length prefix can carry.
const MAX_TOPIC_BYTES: usize = 65_535;

/// Why a text is no usable topic or filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Topics and filters have at least one character.
    #[error("a topic may not be empty")]
    Empty,
    /// More bytes than MQTT can carry.
    #[error("a topic may have 65535 bytes, this has {bytes}")]
    TooLong {
        /// What was given.
        bytes: usize,
    },
    /// NUL is forbidden in every MQTT text.
    #[error("a topic may not contain a NUL character")]
    Nul,
    /// A message can't be published to a pattern.
    #[error("a message can't be published to a topic with the wildcard {found:?}")]
    Wildcard {
        /// The first wildcard.
        found: char,
    },
    /// `#` not alone at the end, or `+` not alone in its level.
    #[error("the wildcard {found:?} must fill its level, and '#' must come last")]
    MisplacedWildcard {
        /// The offending wildcard.
        found: char,
    },
    /// `$share/` without a group, with a wildcard in it, or without a filter behind it.
    #[error("a shared subscription is $share/GROUP/FILTER, with a group that has no wildcard")]
    BadShare,
    /// A good topic that the device contract doesn't know.
    #[error("not a topic of the device contract")]
    NotADeviceTopic,
    /// The right shape around something that is no device id.
    #[error("the topic's second level is no device id")]
    BadDeviceId(#[source] InvalidId),
}

/// A topic of the device contract, `devices/{device_id}/…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DeviceTopic {
    /// Measurements, from the device.
    Telemetry(DeviceId),
    /// Presence, from the device or as its last will.
    Status(DeviceId),
    /// Commands, to the device.
    Commands(DeviceId),
    /// Answers to commands, from the device.
    CommandAck(DeviceId),
    /// The device's retained configuration, to the device.
    Config(DeviceId),
}

impl DeviceTopic {
    /// Reads a topic and says which of the contract's it is.
    pub fn parse(topic: &str) -> Result<Self, TopicError> {
        publish_topic_valid(topic)?;
        let mut levels = topic.split('/');
        let (Some("devices"), Some(id), Some(subject)) = (levels.next(), levels.next(), levels.next()) else {
            return Err(TopicError::NotADeviceTopic);
        };
        let kind: fn(DeviceId) -> Self = match (subject, levels.next(), levels.next()) {
            ("telemetry", None, _) => Self::Telemetry,
            ("status", None, _) => Self::Status,
            ("commands", None, _) => Self::Commands,
            ("commands", Some("ack"), None) => Self::CommandAck,
            ("config", None, _) => Self::Config,
            _ => return Err(TopicError::NotADeviceTopic),
        };
        DeviceId::new(id).map(kind).map_err(TopicError::BadDeviceId)
    }

    /// The device that the topic speaks of.
    pub fn device(&self) -> &DeviceId {
        match self {
            Self::Telemetry(id)
            | Self::Status(id)
            | Self::Commands(id)
            | Self::CommandAck(id)
            | Self::Config(id) => id,
        }
    }
}

/// The topic as it stands on the wire.
impl fmt::Display for DeviceTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = match self {
            Self::Telemetry(_) => "telemetry",
            Self::Status(_) => "status",
            Self::Commands(_) => "commands",
            Self::CommandAck(_) => "commands/ack",
            Self::Config(_) => "config",
        };
        write!(f, "devices/{}/{subject}", self.device())
    }
}

/// Checks that a message can be published to this topic.
pub fn publish_topic_valid(topic: &str) -> Result<(), TopicError> {
    check_text(topic)?;
    match topic.chars().find(|c| matches!(c, '+' | '#')) {
        Some(found) => Err(TopicError::Wildcard { found }),
        None => Ok(()),
    }
}

/// What a shared subscription's filter begins with (MQTT 5.0, 4.8.2; offered to 3.1.1 clients too).
const SHARE: &str = "$share/";

/// A valid topic filter, or a shared subscription to one: `$share/GROUP/FILTER`. What it matches and covers
/// is the filter's business alone; the group only says who takes turns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(String);

impl Filter {
    /// Checks the text and takes it over.
    pub fn parse(text: impl Into<String>) -> Result<Self, TopicError> {
        let text = text.into();
        check_text(&text)?;
        let mut levels = unshared(&text)?.split('/').peekable();
        while let Some(level) = levels.next() {
            let wildcard = level.chars().find(|c| matches!(c, '+' | '#'));
            match wildcard {
                Some('#') if level == "#" && levels.peek().is_none() => {}
                Some('+') if level == "+" => {}
                Some(found) => return Err(TopicError::MisplacedWildcard { found }),
                None => {}
            }
        }
        Ok(Self(text))
    }

    /// Borrows the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The group whose members take turns, if this is a shared subscription.
    pub fn group(&self) -> Option<&str> {
        self.0.strip_prefix(SHARE)?.split('/').next()
    }

    /// The filter behind the group, or itself.
    #[must_use]
    pub fn plain(&self) -> Self {
        Self(self.pattern().to_owned())
    }

    /// The levels of what it matches by.
    pub(super) fn levels(&self) -> impl Iterator<Item = &str> {
        self.pattern().split('/')
    }

    /// What it matches by.
    fn pattern(&self) -> &str {
        // The constructor let no other text in.
        unshared(&self.0).unwrap_or_default()
    }

    /// Whether a message published to `topic` is meant for this filter.
    pub fn matches(&self, topic: &str) -> bool {
        if self.hides(topic) {
            return false;
        }
        let mut topic_levels = topic.split('/');
        for level in self.pattern().split('/') {
            match (level, topic_levels.next()) {
                // `sport/#` speaks of `sport` too, so `#` matches even where the topic has ended.
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(given)) if wanted == given => {}
                (_, _) => return false,
            }
        }
        topic_levels.next().is_none()
    }

    /// Whether every topic that `other` can match is matched by this filter too: what a permission needs to know. Sharing
    /// a subscription needs the same right as having it alone.
    pub fn covers(&self, other: &Self) -> bool {
        let other = other.pattern();
        if self.hides(other) {
            return false;
        }
        let mut other_levels = other.split('/');
        for level in self.pattern().split('/') {
            match (level, other_levels.next()) {
                ("#", _) => return true,
                ("+", Some(given)) if given != "#" => {}
                (wanted, Some(given)) if wanted == given => {}
                (_, _) => return false,
            }
        }
        other_levels.next().is_none()
    }

    /// Topics that begin with `$` belong to the broker and are not for filters that begin with a wildcard.
    fn hides(&self, topic: &str) -> bool {
        topic.starts_with('$') && self.pattern().starts_with(['+', '#'])
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The filter behind `$share/GROUP/`, or the whole text of one that is not shared.
fn unshared(text: &str) -> Result<&str, TopicError> {
    let Some(shared) = text.strip_prefix(SHARE) else { return Ok(text) };
    match shared.split_once('/') {
        Some((group, filter)) if !group.is_empty() && !filter.is_empty() && !group.contains(['+', '#']) => {
            Ok(filter)
        }
        Some(_) | None => Err(TopicError::BadShare),
    }
}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > MAX_TOPIC_BYTES {
        return Err(TopicError::TooLong { bytes: text.len() });
    }
    if text.contains('\0') {
        return Err(TopicError::Nul);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
