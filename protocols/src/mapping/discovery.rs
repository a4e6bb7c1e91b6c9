//! Devices that announce themselves to Home Assistant (MQTT discovery) and so to Voltree: which topics say what of whom,
//! until the announcement is taken back.
//!
//! An announcement is kept under the topic that it came on; an empty one there takes it away. What a Voltree announced is
//! left alone: it would come back as its own device. Bounded, because anyone who may publish may announce.

mod config;
mod control;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use voltree_model::{DeviceId, RejectReason};

use super::command::CommandError;
use super::convert::{TakenFor, plain};
use super::draft::{Draft, Meaning, Value};
use super::template::ValueTemplate;
use crate::mqtt::Filter;

pub use config::AnnouncementError;
use control::Control;

/// How many entities are kept.
const MOST_ENTITIES: usize = 20_000;

/// How an entity's presence follows from several topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    All,
    Any,
    Latest,
}

/// A topic that says whether an entity is there.
#[derive(Debug, Clone, PartialEq)]
struct Availability {
    topic: String,
    template: Option<ValueTemplate>,
    online: String,
    offline: String,
}

/// One value of a device.
#[derive(Debug, Clone, PartialEq)]
struct Entity {
    device: DeviceId,
    device_name: String,
    component: String,
    /// What it is called, if it says so.
    name: String,
    metric: String,
    topic: String,
    template: Option<ValueTemplate>,
    unit: Option<String>,
    /// What words mean.
    words: BTreeMap<String, f64>,
    availability: Vec<Availability>,
    mode: Mode,
    /// How it is told what to do, if it can be.
    control: Option<Control>,
}

/// Everything that is announced.
#[derive(Debug)]
pub struct Discovery {
    prefix: String,
    /// By the topic of the announcement.
    announced: BTreeMap<String, Vec<Entity>>,
    /// By the topics that its entities speak on, the announcements.
    speakers: BTreeMap<String, BTreeSet<String>>,
    /// The metrics of each device, and the announcement of each.
    devices: BTreeMap<DeviceId, BTreeMap<String, String>>,
    entities: usize,
    /// What each topic of availability said last, by topic and words.
    present: BTreeMap<String, bool>,
}

/// An entity as it was announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncedEntity {
    /// Names it within its device, and its series.
    pub key: String,
    /// What it is called.
    pub name: String,
    /// What Home Assistant makes of it: sensor, switch, …
    pub component: String,
    /// Its unit.
    pub unit: Option<String>,
    /// Whether it takes commands.
    pub takes_commands: bool,
}

/// What an announcement changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Announced {
    /// Devices that were not announced before, with their names.
    pub added: Vec<(DeviceId, String)>,
    /// Devices that nothing announces any more.
    pub removed: Vec<DeviceId>,
    /// Entities that can't be read, and why.
    pub unread: Vec<(String, String)>,
}

impl Discovery {
    /// Nothing is announced yet; announcements begin with `prefix`, usually `homeassistant`.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            announced: BTreeMap::new(),
            speakers: BTreeMap::new(),
            devices: BTreeMap::new(),
            entities: 0,
            present: BTreeMap::new(),
        }
    }

    /// The filter that hears every announcement.
    pub fn announcements(&self) -> Result<Filter, crate::mqtt::TopicError> {
        Filter::parse(format!("{}/#", self.prefix))
    }

    /// Whether a topic is one of announcements.
    pub fn is_announcement(&self, topic: &str) -> bool {
        config::Place::of(&self.prefix, topic).is_some()
    }

    /// Whether a topic lies where announcements are.
    pub fn is_below_prefix(&self, topic: &str) -> bool {
        topic.strip_prefix(self.prefix.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The topics that must be heard for what is announced now.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.speakers.keys().map(String::as_str)
    }

    /// How many entities are announced.
    pub fn count(&self) -> usize {
        self.entities
    }

    /// Whether anything is announced under this topic.
    pub fn holds(&self, topic: &str) -> bool {
        self.announced.contains_key(topic)
    }

    /// Takes an announcement in; an empty one takes the last one of its topic back.
    pub fn announce(&mut self, topic: &str, payload: &[u8]) -> Result<Announced, AnnouncementError> {
        let place = config::Place::of(&self.prefix, topic).ok_or(AnnouncementError::NotAnAnnouncement)?;
        let read = if payload.is_empty() { config::Announcement::default() } else { place.read(payload)? };
        let before = self.take_back(topic);
        if self.entities + read.entities.len() > MOST_ENTITIES {
            return Err(AnnouncementError::TooMany);
        }
        let fresh =
            |entity: &&Entity| !self.devices.contains_key(&entity.device) && !before.contains(&entity.device);
        let added: BTreeMap<_, _> = read
            .entities
            .iter()
            .filter(fresh)
            .map(|entity| (entity.device.clone(), entity.device_name.clone()))
            .collect();
        self.keep(topic, read.entities);
        let removed = before.into_iter().filter(|device| !self.devices.contains_key(device)).collect();
        Ok(Announced { added: added.into_iter().collect(), removed, unread: read.unread })
    }

    /// Forgets an announcement; answers the devices that it spoke of.
    fn take_back(&mut self, announcement: &str) -> BTreeSet<DeviceId> {
        let entities = self.announced.remove(announcement).unwrap_or_default();
        self.entities -= entities.len();
        for entity in &entities {
            if let Some(metrics) = self.devices.get_mut(&entity.device) {
                metrics.remove(&entity.metric);
                if metrics.is_empty() {
                    self.devices.remove(&entity.device);
                }
            }
        }
        for topic in entities.iter().flat_map(Entity::topics) {
            let Some(speakers) = self.speakers.get_mut(topic) else { continue };
            speakers.remove(announcement);
            if speakers.is_empty() {
                self.speakers.remove(topic);
                self.present.retain(|key, _| key.split('\0').next() != Some(topic));
            }
        }
        entities.into_iter().map(|entity| entity.device).collect()
    }

    fn keep(&mut self, announcement: &str, mut entities: Vec<Entity>) {
        for entity in &mut entities {
            let metrics = self.devices.entry(entity.device.clone()).or_default();
            if metrics.contains_key(&entity.metric) {
                entity.metric = format!("{}.{}", entity.component, entity.metric);
            }
            metrics.insert(entity.metric.clone(), announcement.to_owned());
        }
        self.entities += entities.len();
        for topic in entities.iter().flat_map(Entity::topics) {
            self.speakers.entry(topic.to_owned()).or_default().insert(announcement.to_owned());
        }
        if !entities.is_empty() {
            self.announced.insert(announcement.to_owned(), entities);
        }
    }

    /// What a message on a device's own topic means; nothing if no announcement speaks of the topic.
    pub fn read(&mut self, topic: &str, payload: &[u8]) -> Option<Meaning> {
        let announcements = self.speakers.get(topic)?;
        let Ok(text) = str::from_utf8(payload) else {
            return Some(Meaning::default());
        };
        let (text, json) = (text.trim(), serde_json::from_slice::<Json>(payload).ok());
        let entities: Vec<&Entity> = announcements
            .iter()
            .filter_map(|announcement| self.announced.get(announcement))
            .flatten()
            .collect();
        let mut drafts: BTreeMap<DeviceId, Draft> = BTreeMap::new();
        let mut touched = BTreeSet::new();
        for entity in entities {
            if entity.topic == topic && !payload.is_empty() {
                let draft = drafts
                    .entry(entity.device.clone())
                    .or_insert_with(|| Draft::new(entity.device.clone(), entity.device_name.clone(), None));
                entity.put(text, json.as_ref(), draft);
            }
            for availability in entity.availability.iter().filter(|availability| availability.topic == topic)
            {
                if let Some(online) = availability.read(text, json.as_ref()) {
                    self.present.insert(availability.key(), online);
                    // Of several topics the latest counts: the others say nothing until they speak again.
                    if entity.mode == Mode::Latest {
                        for other in
                            entity.availability.iter().filter(|other| other.key() != availability.key())
                        {
                            self.present.remove(&other.key());
                        }
                    }
                    touched.insert(entity.device.clone());
                }
            }
        }
        let readings = drafts.into_values().filter(|draft| !draft.is_empty()).map(Ok).collect();
        let presence = touched.into_iter().filter_map(|device| self.presence(&device).map(|is| (device, is)));
        Some(Meaning { readings, presence: presence.collect() })
    }

    /// Whether a device announced itself.
    pub fn knows(&self, device: &DeviceId) -> bool {
        self.devices.contains_key(device)
    }

    /// A command in the words of the entity that it names: where to publish what; nothing if the device is not announced.
    /// The action is `set` with `entity` and `value`, or `press` with `entity`.
    pub fn command(
        &self,
        device: &DeviceId,
        action: &str,
        params: &Json,
    ) -> Option<Result<(String, Vec<u8>), CommandError>> {
        self.knows(device).then(|| {
            if !matches!(action, "set" | "press") {
                let known = "set {\"entity\", \"value\"}, press {\"entity\"}".to_owned();
                return Err(CommandError::UnknownAction { action: action.to_owned(), known });
            }
            let name = params.get("entity").and_then(Json::as_str).unwrap_or_default();
            let controls = || self.entities_of(device).filter_map(|e| Some((e, e.control.as_ref()?)));
            let Some((_, control)) = controls().find(|(entity, _)| entity.metric == name) else {
                let known: Vec<_> = controls().map(|(entity, _)| entity.metric.as_str()).collect();
                let expected = match known.is_empty() {
                    true => "one that takes commands, and this device has none".to_owned(),
                    false => format!("one of {}", known.join(", ")),
                };
                return Err(CommandError::Unfit { name: "entity", expected });
            };
            control.write(action, params.get("value"))
        })
    }

    /// What a device announced, each entity with what it is.
    pub fn entities(&self, device: &DeviceId) -> Vec<AnnouncedEntity> {
        let entity = |entity: &Entity| AnnouncedEntity {
            key: entity.metric.clone(),
            name: entity.name.clone(),
            component: entity.component.clone(),
            unit: entity.unit.clone(),
            takes_commands: entity.control.is_some(),
        };
        self.entities_of(device).map(entity).collect()
    }

    fn entities_of(&self, device: &DeviceId) -> impl Iterator<Item = &Entity> {
        let announcements: BTreeSet<&String> =
            self.devices.get(device).into_iter().flat_map(BTreeMap::values).collect();
        let entities = announcements.into_iter().filter_map(|topic| self.announced.get(topic)).flatten();
        entities.filter(move |entity| entity.device == *device)
    }

    /// A device is there as long as any of its entities is.
    fn presence(&self, device: &DeviceId) -> Option<bool> {
        let entities = self.entities_of(device);
        let states: Vec<bool> = entities.filter_map(|entity| entity.presence(&self.present)).collect();
        (!states.is_empty()).then(|| states.contains(&true))
    }
}

impl Entity {
    fn topics(&self) -> impl Iterator<Item = &str> {
        let state = (!self.topic.is_empty()).then_some(self.topic.as_str());
        state.into_iter().chain(self.availability.iter().map(|availability| availability.topic.as_str()))
    }

    fn put(&self, text: &str, json: Option<&Json>, draft: &mut Draft) {
        let value = match &self.template {
            None => Json::String(text.to_owned()),
            // A payload that lacks what the template asks for speaks of something else.
            Some(template) => match template.render(text, json) {
                Some(value) => value,
                None => return,
            },
        };
        let word = word(&value);
        if matches!(word.as_str(), "" | "null" | "None" | "none" | "unknown" | "unavailable") {
            return;
        }
        let value = match self.words.get(&word) {
            Some(number) => Ok(Value::Number(*number)),
            None if !self.words.is_empty() => Err(RejectReason::BadValue),
            None => match plain(&word, TakenFor::Auto) {
                Json::Number(number) => number.as_f64().map(Value::Number).ok_or(RejectReason::BadValue),
                Json::String(text) if self.unit.is_none() => Ok(Value::Text(text)),
                Json::String(_) | Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => {
                    Err(RejectReason::BadValue)
                }
            },
        };
        draft.put(&self.metric, self.unit.as_deref(), value);
    }

    fn presence(&self, present: &BTreeMap<String, bool>) -> Option<bool> {
        let known: Vec<bool> = self
            .availability
            .iter()
            .filter_map(|availability| present.get(&availability.key()).copied())
            .collect();
        match self.mode {
            _ if known.is_empty() => None,
            Mode::All => Some(!known.contains(&false)),
            Mode::Any | Mode::Latest => Some(known.contains(&true)),
        }
    }
}

impl Availability {
    /// Two that read the same topic by other words are two.
    fn key(&self) -> String {
        format!("{}\0{}\0{}", self.topic, self.online, self.offline)
    }

    fn read(&self, text: &str, json: Option<&Json>) -> Option<bool> {
        let word = match &self.template {
            None => text.to_owned(),
            Some(template) => word(&template.render(text, json)?),
        };
        let online = word == self.online;
        (online || word == self.offline).then_some(online)
    }
}

/// A value as the word that configurations compare with; Jinja writes True where JSON writes true.
fn word(value: &Json) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.as_str() {
        "True" => "true".to_owned(),
        "False" => "false".to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests;
