//! What the node makes of messages that do not follow the contract: the mappings it was given, and who was seen under
//! them, so that a command of the contract finds its way back into a device's own words.
//!
//! It belongs to the node and outlives every client. What is announced and who was seen are records of the journal, so
//! that entities and commands are there right after a restart: not everybody has announcements retained, and the broker
//! that retains them may be away.

mod remembered;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use serde_json::Value;
use voltree_model::{DeviceId, Timestamp, Unit};
use voltree_protocols::mapping::{
    Announced, AnnouncedEntity, AnnouncementError, Captures, CommandError, Discovery, Mapping, Meaning,
    Sparkplug, Spoken,
};
use voltree_protocols::mqtt::Filter;

use self::remembered::Memory;
use crate::registry::{Entity, EntityKind, EntitySource, EntityState};

/// How many devices can be commanded; more can be heard.
const MOST_SUBJECTS: usize = 20_000;
/// How many requests wait for the clients of outside brokers.
const MOST_REQUESTS: usize = 100;

/// Everything that reads messages which do not follow the contract.
#[derive(Debug, Default)]
pub struct Conventions {
    mappings: Vec<Mapping>,
    /// By which mapping a device was seen, and what its topic said.
    subjects: RwLock<BTreeMap<DeviceId, (usize, Captures)>>,
    /// What announced itself to Home Assistant, if that is read.
    discovery: Option<Mutex<Discovery>>,
    /// What speaks Sparkplug B, if that is heard.
    sparkplug: Option<Mutex<Sparkplug>>,
    /// What edge nodes were asked last, for the brokers that they may be behind.
    requests: Mutex<Requests>,
    /// Counts changes of what is announced.
    announcements: AtomicU64,
    memory: Memory,
}

/// What was asked last, numbered.
#[derive(Debug, Default)]
struct Requests {
    last: u64,
    kept: VecDeque<(u64, Request)>,
}

/// A topic and a payload.
pub(super) type Request = (String, Vec<u8>);

/// A message that was understood.
#[derive(Debug)]
pub(super) struct Understood {
    pub(super) meaning: Meaning,
    /// How long its devices may be silent.
    pub(super) offline_after: Duration,
    /// Devices that nothing announces any more.
    pub(super) gone: Vec<DeviceId>,
    /// What its sender is asked for.
    pub(super) request: Option<Request>,
}

/// What is known of a device besides what it told.
#[derive(Debug)]
pub(crate) struct Described {
    /// Where its values are known from.
    pub(crate) source: EntitySource,
    /// The commands that its mapping has.
    pub(crate) actions: Vec<String>,
    /// What it announced.
    pub(crate) announced: Vec<Entity>,
}

/// A command of the contract, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Order {
    command_id: Option<String>,
    action: String,
    #[serde(default)]
    params: Value,
    expires_at: Option<String>,
}

/// What becomes of a command for a device that is mapped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ordered {
    /// What the device is told, in its own words.
    pub(super) told: Option<(String, Vec<u8>)>,
    /// What whoever gave the order is told: the contract's acknowledgement.
    pub(super) answer: Vec<u8>,
}

impl Conventions {
    /// Reads messages by these mappings; of two that know a topic the first counts.
    pub fn new(mappings: Vec<Mapping>) -> Self {
        Self { mappings, ..Self::default() }
    }

    /// Reads announcements to Home Assistant under this prefix too.
    pub fn with_discovery(mut self, prefix: &str) -> Self {
        self.discovery = Some(Mutex::new(Discovery::new(prefix)));
        self
    }

    /// Hears Sparkplug B too.
    pub fn with_sparkplug(mut self) -> Self {
        self.sparkplug = Some(Mutex::default());
        self
    }

    /// The filter that hears announcements, if they are read.
    pub(super) fn announcement_filter(&self) -> Option<Filter> {
        self.discovery.as_ref()?.lock().announcements().ok()
    }

    /// Changes whenever other topics are announced.
    pub(super) fn announced(&self) -> u64 {
        self.announcements.load(Ordering::Acquire)
    }

    /// The topics that announced devices speak on.
    pub(super) fn announced_topics(&self) -> BTreeSet<String> {
        let discovery = self.discovery.as_ref().map(|discovery| discovery.lock());
        discovery.map(|discovery| discovery.topics().map(str::to_owned).collect()).unwrap_or_default()
    }

    /// Reads a message; nothing if no convention knows its topic.
    pub(super) fn read(&self, topic: &str, payload: &[u8], now: Timestamp) -> Option<Understood> {
        let mapped = self.mappings.iter().enumerate().find_map(|(index, mapping)| {
            let meaning = mapping.read(topic, payload)?;
            if mapping.has_commands() {
                self.remember(index, mapping, topic);
            }
            Some(Understood {
                meaning,
                offline_after: mapping.offline_after(),
                gone: Vec::new(),
                request: None,
            })
        });
        mapped
            .or_else(|| self.read_announced(topic, payload))
            .or_else(|| self.read_sparkplug(topic, payload, now))
    }

    fn read_sparkplug(&self, topic: &str, payload: &[u8], now: Timestamp) -> Option<Understood> {
        let Spoken { meaning, request } = self.sparkplug.as_ref()?.lock().read(topic, payload, now)?;
        if let Some(request) = &request {
            tracing::info!(topic, "an edge node is asked for its birth");
            let mut requests = self.requests.lock();
            requests.last += 1;
            let number = requests.last;
            requests.kept.push_back((number, request.clone()));
            if requests.kept.len() > MOST_REQUESTS {
                requests.kept.pop_front();
            }
        }
        Some(Understood { meaning, offline_after: Mapping::OFFLINE_AFTER, gone: Vec::new(), request })
    }

    /// What was asked after this number, and the number to ask with next.
    pub(super) fn requests_after(&self, number: u64) -> (u64, Vec<Request>) {
        let requests = self.requests.lock();
        if requests.last == number {
            return (number, Vec::new());
        }
        let fresh = requests.kept.iter().filter(|(other, _)| *other > number);
        (requests.last, fresh.map(|(_, request)| request.clone()).collect())
    }

    /// An announcement, or a message of a device that announced itself.
    fn read_announced(&self, topic: &str, payload: &[u8]) -> Option<Understood> {
        let mut discovery = self.discovery.as_ref()?.lock();
        let offline_after = Mapping::OFFLINE_AFTER;
        if let Some(meaning) = discovery.read(topic, payload) {
            return Some(Understood { meaning, offline_after, gone: Vec::new(), request: None });
        }
        if !discovery.is_announcement(topic) {
            // Home Assistant's own word of its start and end, and whatever else it keeps there.
            return discovery.is_below_prefix(topic).then(|| Understood {
                meaning: Meaning::default(),
                offline_after,
                gone: Vec::new(),
                request: None,
            });
        }
        let announced = discovery.announce(topic, payload);
        // Under the lock, so that the journal has changes of a topic in order.
        self.memory.keep(topic, discovery.holds(topic).then_some(payload));
        drop(discovery);
        self.announcements.fetch_add(1, Ordering::AcqRel);
        let gone = note(topic, announced);
        Some(Understood { meaning: Meaning::default(), offline_after, gone, request: None })
    }

    /// Knows who speaks on a topic before anything is said there again.
    pub(super) fn recognise(&self, topic: &str) {
        let mut commanded = self.mappings.iter().enumerate().filter(|(_, mapping)| mapping.has_commands());
        if let Some((index, mapping)) = commanded.find(|(_, mapping)| mapping.subject(topic).is_some()) {
            self.remember(index, mapping, topic);
        }
    }

    fn remember(&self, index: usize, mapping: &Mapping, topic: &str) {
        let Some((device, captures)) = mapping.subject(topic) else { return };
        if self.subjects.read().contains_key(&device) {
            return;
        }
        let mut subjects = self.subjects.write();
        if subjects.len() < MOST_SUBJECTS {
            subjects.insert(device, (index, captures));
            self.memory.keep(topic, Some(b""));
        }
    }

    /// What is known of a device from its mapping or its announcements.
    pub(super) fn describe(&self, device: &DeviceId) -> Described {
        if let Some((index, _)) = self.subjects.read().get(device) {
            let actions = self.mappings.get(*index).into_iter().flat_map(Mapping::actions);
            let actions = actions.map(str::to_owned).collect();
            return Described { source: EntitySource::Mapping, actions, announced: Vec::new() };
        }
        let discovery = self.discovery.as_ref().map(|discovery| discovery.lock());
        let announced = discovery.map(|discovery| discovery.entities(device)).unwrap_or_default();
        let source = if announced.is_empty() { EntitySource::Native } else { EntitySource::Discovery };
        Described { source, actions: Vec::new(), announced: announced.into_iter().map(entity).collect() }
    }

    /// A command in the device's own words; nothing if the device has none that are known.
    pub(super) fn say(
        &self,
        device: &DeviceId,
        action: &str,
        params: &Value,
    ) -> Option<Result<Request, CommandError>> {
        if let Some((index, captures)) = self.subjects.read().get(device).cloned() {
            return Some(self.mappings.get(index)?.command(&captures, action, params));
        }
        self.discovery.as_ref()?.lock().command(device, action, params)
    }

    /// Puts a command of the contract into the device's own words; nothing if the device is none of ours.
    pub(super) fn order(&self, device: &DeviceId, payload: &[u8], now: Timestamp) -> Option<Ordered> {
        let is_ours = self.subjects.read().contains_key(device)
            || self.discovery.as_ref().is_some_and(|discovery| discovery.lock().knows(device));
        if !is_ours {
            return None;
        }
        let order: Order = match serde_json::from_slice(payload) {
            Ok(order) => order,
            Err(error) => return Some(Ordered::failed(None, &format!("it is no command: {error}"))),
        };
        let expires = order.expires_at.as_deref().and_then(|text| Timestamp::parse_rfc3339(text).ok());
        if expires.is_some_and(|expires| expires < now) {
            return Some(Ordered::failed(order.command_id, "it expired before it came"));
        }
        Some(match self.say(device, &order.action, &order.params)? {
            Ok(told) => Ordered::told(order.command_id, told),
            Err(error) => Ordered::failed(order.command_id, &error.to_string()),
        })
    }
}

/// An announced entity that has told nothing yet, as far as is known here.
fn entity(announced: AnnouncedEntity) -> Entity {
    let AnnouncedEntity { key, name, component, unit, takes_commands: writable } = announced;
    let kind = match (component.as_str(), writable) {
        ("button" | "scene", _) => EntityKind::Button,
        ("switch" | "light" | "fan" | "lock" | "siren" | "humidifier", true) => EntityKind::Switch,
        ("switch" | "light" | "fan" | "lock" | "binary_sensor" | "humidifier", _) => EntityKind::Binary,
        ("number", true) => EntityKind::Number,
        ("select" | "cover" | "valve", true) => EntityKind::Select,
        ("text" | "select", _) => EntityKind::Text,
        _ => EntityKind::Sensor,
    };
    let (unit, source) = (unit.and_then(|unit| Unit::new(&unit).ok()), EntitySource::Discovery);
    Entity { key, name, unit, kind, source, writable, state: EntityState::Discovered, reason: None }
}

impl Ordered {
    fn told(command_id: Option<String>, told: (String, Vec<u8>)) -> Self {
        let answer = serde_json::json!({ "command_id": command_id, "status": "acknowledged" });
        Self { told: Some(told), answer: answer.to_string().into_bytes() }
    }

    fn failed(command_id: Option<String>, error: &str) -> Self {
        let answer = serde_json::json!({ "command_id": command_id, "status": "failed", "error": error });
        Self { told: None, answer: answer.to_string().into_bytes() }
    }
}

/// Says what an announcement changed; answers who is gone.
fn note(topic: &str, announced: Result<Announced, AnnouncementError>) -> Vec<DeviceId> {
    match announced {
        Ok(Announced { added, removed, unread }) => {
            for (device, name) in added {
                tracing::info!(event = "device.announced", %device, name, "announced itself to Home Assistant");
            }
            for (entity, why) in unread {
                tracing::warn!(topic, entity, why, "an announced entity can't be read");
            }
            removed
        }
        Err(error @ (AnnouncementError::Json(_) | AnnouncementError::TooMany)) => {
            tracing::warn!(topic, %error, "an announcement can't be taken in");
            Vec::new()
        }
        Err(AnnouncementError::Own | AnnouncementError::NotAnAnnouncement) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conventions() -> Conventions {
        Conventions::new(vec![Mapping::preset("tasmota", &BTreeMap::new()).unwrap()])
    }

    #[test]
    fn a_device_that_was_seen_can_be_commanded_and_an_unknown_one_cannot() {
        let conventions = conventions();
        let (lamp, now) = (DeviceId::new("lamp").unwrap(), Timestamp::from_millis(0));
        let order = |payload: &str| conventions.order(&lamp, payload.as_bytes(), now);
        let on = r#"{"command_id":"7","action":"set_power","params":{"on":true}}"#;
        assert_eq!(order(on), None);
        assert!(conventions.read("tele/lamp/LWT", b"Online", now).is_some());
        let ordered = order(on).unwrap();
        assert_eq!(ordered.told, Some(("cmnd/lamp/POWER".to_owned(), b"ON".to_vec())));
        let expired = r#"{"action":"set_power","params":{"on":true},"expires_at":"1969-01-01T00:00:00Z"}"#;
        for bad in ["", "{}", expired, r#"{"action":"explode"}"#] {
            let ordered = order(bad).unwrap();
            assert_eq!(ordered.told, None, "{bad}");
            assert!(String::from_utf8(ordered.answer).unwrap().contains("failed"), "{bad}");
        }
    }

    #[test]
    fn a_topic_of_no_convention_is_not_understood() {
        assert!(conventions().read("anything/else", b"1", Timestamp::from_millis(0)).is_none());
    }
}
