//! An announcement as it is published: both of its forms, its abbreviations, and the topic that `~` stands for.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use voltree_model::Unit;

use super::{Availability, Control, Entity, Mode, word};
use crate::mapping::draft::device_id;
use crate::mapping::template::{TemplateError, ValueTemplate};
use crate::mqtt::publish_topic_valid;

/// What announces itself by this name is a Voltree.
const OWN_ORIGIN: &str = "voltree";
/// Components that have no state that could be kept.
const STATELESS: [&str; 10] =
    ["button", "scene", "tag", "device_automation", "camera", "image", "notify", "event", "update", "siren"];

/// Why an announcement can't be taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnouncementError {
    /// The topic is none of announcements.
    #[error("the topic is none of announcements")]
    NotAnAnnouncement,
    /// It is no JSON object.
    #[error("the announcement is no JSON object: {0}")]
    Json(String),
    /// A Voltree announced it.
    #[error("a Voltree announced it")]
    Own,
    /// There are too many.
    #[error("too many entities are announced")]
    TooMany,
}

/// What a topic of announcements says: `prefix/component[/node]/object/config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    component: &'a str,
    node: Option<&'a str>,
    object: &'a str,
}

/// An announcement that was read.
#[derive(Debug, Default)]
pub(super) struct Announcement {
    pub(super) entities: Vec<Entity>,
    pub(super) unread: Vec<(String, String)>,
}

/// Abbreviations of the keys that matter here.
const ABBREVIATIONS: [(&str, &str); 38] = [
    ("avty", "availability"),
    ("avty_t", "availability_topic"),
    ("avty_mode", "availability_mode"),
    ("avty_tpl", "availability_template"),
    ("cmps", "components"),
    ("cmd_t", "command_topic"),
    ("cmd_tpl", "command_template"),
    ("cns", "connections"),
    ("dev", "device"),
    ("dev_cla", "device_class"),
    ("ids", "identifiers"),
    ("mf", "manufacturer"),
    ("mdl", "model"),
    ("o", "origin"),
    ("obj_id", "object_id"),
    ("ops", "options"),
    ("off_dly", "off_delay"),
    ("p", "platform"),
    ("pl_avail", "payload_available"),
    ("pl_cls", "payload_close"),
    ("pl_not_avail", "payload_not_available"),
    ("pl_lock", "payload_lock"),
    ("pl_off", "payload_off"),
    ("pl_on", "payload_on"),
    ("pl_open", "payload_open"),
    ("pl_prs", "payload_press"),
    ("pl_stop", "payload_stop"),
    ("pl_unlk", "payload_unlock"),
    ("stat_cla", "state_class"),
    ("stat_off", "state_off"),
    ("stat_on", "state_on"),
    ("stat_t", "state_topic"),
    ("stat_tpl", "state_template"),
    ("stat_val_tpl", "state_value_template"),
    ("t", "topic"),
    ("uniq_id", "unique_id"),
    ("unit_of_meas", "unit_of_measurement"),
    ("val_tpl", "value_template"),
];

type Object = Map<String, Json>;

impl<'a> Place<'a> {
    /// Reads a topic.
    pub(super) fn of(prefix: &str, topic: &'a str) -> Option<Self> {
        let rest = topic.strip_prefix(prefix)?.strip_prefix('/')?.strip_suffix("/config")?;
        let levels: Vec<&str> = rest.split('/').collect();
        match levels.as_slice() {
            [component, object] => Some(Self { component, node: None, object }),
            [component, node, object] => Some(Self { component, node: Some(node), object }),
            _ => None,
        }
    }

    /// Reads what was published there.
    pub(super) fn read(self, payload: &[u8]) -> Result<Announcement, AnnouncementError> {
        let object: Object =
            serde_json::from_slice(payload).map_err(|error| AnnouncementError::Json(error.to_string()))?;
        let object = expanded(object);
        let origin = object.get("origin").and_then(|origin| origin.get("name")).and_then(Json::as_str);
        if origin.is_some_and(|name| name.to_lowercase().starts_with(OWN_ORIGIN)) {
            return Err(AnnouncementError::Own);
        }
        let mut announcement = Announcement::default();
        match object.get("components") {
            Some(Json::Object(components)) if self.component == "device" => {
                for (key, component) in components {
                    // One that says its platform alone is one that was removed.
                    let Some(component) = component.as_object().filter(|said| said.len() > 1) else {
                        continue;
                    };
                    let component = with_shared(expanded(component.clone()), &object);
                    let platform = text(&component, "platform").unwrap_or_default();
                    self.add(&component, &platform, key, &mut announcement);
                }
            }
            _ => self.add(&object, self.component, self.object, &mut announcement),
        }
        Ok(announcement)
    }

    fn add(self, object: &Object, component: &str, key: &str, announcement: &mut Announcement) {
        if STATELESS.contains(&component) && Control::of(object, component).is_none() {
            return;
        }
        match self.entity(object, component, key) {
            Ok(Some(entity)) => announcement.entities.push(entity),
            Ok(None) => {}
            Err(why) => announcement.unread.push((key.to_owned(), why)),
        }
    }

    fn entity(self, object: &Object, component: &str, key: &str) -> Result<Option<Entity>, String> {
        let control = Control::of(object, component);
        // One that only takes commands, such as a button, speaks on no topic.
        let topic = text(object, "state_topic").filter(|_| !STATELESS.contains(&component));
        if topic.is_none() && control.is_none() {
            return Ok(None);
        }
        let topic = topic.unwrap_or_default();
        if !topic.is_empty() {
            publish_topic_valid(&topic).map_err(|error| format!("state_topic: {error}"))?;
        }
        let (identity, device_name) = self.device(object);
        let device = device_id(&identity).map_err(|error| format!("device: {error}"))?;
        let unit = text(object, "unit_of_measurement").filter(|unit| Unit::new(unit).is_ok());
        Ok(Some(Entity {
            device,
            device_name,
            component: component.to_owned(),
            name: text(object, "name").unwrap_or_else(|| key.to_owned()),
            metric: key.to_owned(),
            topic,
            template: state_template(object, component)?,
            unit,
            words: words(object, component),
            availability: availability(object)?,
            mode: mode(object),
            control,
        }))
    }

    /// What identifies the device, and what it is called. An entity without a device is one of its own.
    fn device(self, object: &Object) -> (String, String) {
        let device = object.get("device").and_then(Json::as_object).cloned().map(expanded);
        let own = self.node.unwrap_or(self.object).to_owned();
        let Some(device) = device else { return (own.clone(), own) };
        let identity = match device.get("identifiers") {
            Some(Json::Array(identifiers)) => identifiers.first().map(word),
            Some(one) => Some(word(one)),
            None => None,
        };
        let connection = || device.get("connections")?.get(0)?.get(1).map(word);
        let identity = identity.or_else(connection).filter(|identity| !identity.is_empty()).unwrap_or(own);
        let name = text(&device, "name").unwrap_or_else(|| identity.clone());
        (identity, name)
    }
}

/// Spells abbreviations out and puts the base topic in.
fn expanded(object: Object) -> Object {
    let full = |key: String| {
        let known = ABBREVIATIONS.iter().find(|(short, _)| *short == key);
        known.map_or(key, |(_, full)| (*full).to_owned())
    };
    let mut object: Object = object.into_iter().map(|(key, value)| (full(key), value)).collect();
    let base = object.remove("~").as_ref().and_then(Json::as_str).map(str::to_owned);
    for key in ["device", "origin"] {
        if let Some(Json::Object(inner)) = object.get_mut(key) {
            *inner = expanded(std::mem::take(inner));
        }
    }
    if let Some(Json::Array(sources)) = object.get_mut("availability") {
        for source in sources.iter_mut() {
            if let Json::Object(source) = source {
                *source = expanded(std::mem::take(source));
                if let Some(base) = &base {
                    put_base(source, base);
                }
            }
        }
    }
    if let Some(base) = base {
        put_base(&mut object, &base);
    }
    object
}

fn put_base(object: &mut Object, base: &str) {
    for (_, value) in object.iter_mut().filter(|(key, _)| key.ends_with("topic")) {
        let Some(topic) = value.as_str() else { continue };
        let put = match (topic.strip_prefix('~'), topic.strip_suffix('~')) {
            (Some(rest), _) => format!("{base}{rest}"),
            (None, Some(rest)) => format!("{rest}{base}"),
            (None, None) => continue,
        };
        *value = Json::String(put);
    }
}

/// What a component does not say itself is said for all of them.
fn with_shared(mut component: Object, shared: &Object) -> Object {
    for key in [
        "device",
        "availability",
        "availability_topic",
        "availability_mode",
        "availability_template",
        "payload_available",
        "payload_not_available",
        "state_topic",
    ] {
        let is_presence = key.starts_with("availability");
        let says_presence = component.keys().any(|key| key.starts_with("availability"));
        if let Some(value) = shared.get(key)
            && !component.contains_key(key)
            && !(is_presence && says_presence && key != "availability_mode")
        {
            component.insert(key.to_owned(), value.clone());
        }
    }
    component
}

fn text(object: &Object, key: &str) -> Option<String> {
    object.get(key).and_then(Json::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn template(object: &Object, key: &str) -> Result<Option<ValueTemplate>, String> {
    let parse =
        |text: String| ValueTemplate::parse(&text).map_err(|error: TemplateError| format!("{key}: {error}"));
    text(object, key).map(parse).transpose()
}

/// Where the state stands. A light that speaks JSON has it under `state`.
fn state_template(object: &Object, component: &str) -> Result<Option<ValueTemplate>, String> {
    for key in ["value_template", "state_value_template", "state_template"] {
        if let Some(template) = template(object, key)? {
            return Ok(Some(template));
        }
    }
    let is_json = component == "light" && text(object, "schema").as_deref() == Some("json");
    let state = is_json.then(|| ValueTemplate::parse("{{ value_json.state }}").ok());
    Ok(state.flatten())
}

/// The words of what is either on or off.
fn words(object: &Object, component: &str) -> BTreeMap<String, f64> {
    let (on, off) = match component {
        "binary_sensor" | "switch" | "light" | "fan" | "humidifier" => {
            (("payload_on", "ON"), ("payload_off", "OFF"))
        }
        "lock" => (("state_locked", "LOCKED"), ("state_unlocked", "UNLOCKED")),
        _ => return BTreeMap::new(),
    };
    let said = |(key, usual): (&str, &str)| {
        let state_key = key.replace("payload_", "state_");
        let said = object.get(&state_key).or_else(|| object.get(key));
        said.map_or_else(|| usual.to_owned(), word)
    };
    [(said(off), 0.0), (said(on), 1.0)].into()
}

fn mode(object: &Object) -> Mode {
    match text(object, "availability_mode").as_deref() {
        Some("all") => Mode::All,
        Some("any") => Mode::Any,
        _ => Mode::Latest,
    }
}

fn availability(object: &Object) -> Result<Vec<Availability>, String> {
    let said =
        |object: &Object, key: &str, usual: &str| object.get(key).map_or_else(|| usual.to_owned(), word);
    let mut sources = Vec::new();
    if let Some(topic) = text(object, "availability_topic") {
        sources.push(Availability {
            topic,
            template: template(object, "availability_template")?,
            online: said(object, "payload_available", "online"),
            offline: said(object, "payload_not_available", "offline"),
        });
    }
    let listed = match object.get("availability") {
        Some(Json::Array(listed)) => listed.iter().filter_map(Json::as_object).collect(),
        Some(Json::Object(one)) => vec![one],
        _ => Vec::new(),
    };
    for source in listed {
        let Some(topic) = text(source, "topic") else { continue };
        sources.push(Availability {
            topic,
            template: template(source, "value_template")?,
            online: said(source, "payload_available", "online"),
            offline: said(source, "payload_not_available", "offline"),
        });
    }
    sources.retain(|source| publish_topic_valid(&source.topic).is_ok());
    Ok(sources)
}
