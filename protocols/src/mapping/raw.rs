//! A mapping as it is written in TOML, checked into one that can be used. All mistakes are reported together, each with
//! its key.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;

use super::clock::{TimeFormat, TimeSource};
use super::command::{Allowed, CommandRule};
use super::convert::{ByteType, Conversion, TakenFor};
use super::path::JsonPath;
use super::pattern::{PatternError, Template, TopicPattern};
use super::presence::PresenceRule;
use super::rule::{Field, Format, Leaves, MessageRule, Place};
use super::{Mapping, MappingError};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMapping {
    name: String,
    #[serde(default)]
    about: String,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    device: Option<String>,
    offline_after_s: Option<u64>,
    #[serde(default)]
    ignore: Vec<String>,
    #[serde(default)]
    message: Vec<RawMessage>,
    #[serde(default)]
    availability: Vec<RawAvailability>,
    #[serde(default)]
    command: Vec<RawCommand>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMessage {
    topic: String,
    #[serde(default)]
    format: RawFormat,
    device: Option<String>,
    #[serde(default)]
    capture: BTreeMap<String, String>,
    each: Option<String>,
    timestamp: Option<RawTime>,
    #[serde(default)]
    metrics: Vec<RawField>,
    leaves: Option<RawLeaves>,
    #[serde(default)]
    optional: bool,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawFormat {
    #[default]
    Json,
    Text,
    Hex,
    Bytes,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTime {
    path: String,
    #[serde(default)]
    format: TimeFormat,
    #[serde(default)]
    utc_offset_minutes: i32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawField {
    name: String,
    path: Option<String>,
    at: Option<usize>,
    r#type: Option<ByteType>,
    unit: Option<String>,
    scale: Option<f64>,
    offset: Option<f64>,
    #[serde(default)]
    r#as: TakenFor,
    #[serde(default)]
    r#enum: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLeaves {
    #[serde(default)]
    under: String,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    skip: Vec<String>,
    #[serde(default)]
    units: BTreeMap<String, String>,
    #[serde(default)]
    r#enum: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAvailability {
    topic: String,
    device: Option<String>,
    path: Option<String>,
    #[serde(default = "online")]
    online: String,
    #[serde(default = "offline")]
    offline: String,
}

fn online() -> String {
    "online".to_owned()
}

fn offline() -> String {
    "offline".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCommand {
    action: String,
    topic: String,
    payload: Json,
    #[serde(default)]
    values: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    params: BTreeMap<String, Allowed>,
}

/// Collects mistakes, with the key that each belongs to.
#[derive(Default)]
struct Check {
    mistakes: Vec<String>,
    variables: BTreeMap<String, String>,
}

impl Check {
    fn mistake(&mut self, key: &str, what: impl ToString) {
        self.mistakes.push(format!("{key}: {}", what.to_string()));
    }

    fn good<T, E: ToString>(&mut self, key: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(key, error);
                None
            }
        }
    }

    /// Puts in the mapping's own variables, written `${name}`.
    fn expand(&mut self, key: &str, text: &str) -> String {
        let mut expanded = text.to_owned();
        for (name, value) in &self.variables {
            expanded = expanded.replace(&format!("${{{name}}}"), value);
        }
        if expanded.contains("${") {
            let known: Vec<_> = self.variables.keys().map(String::as_str).collect();
            let known = known.join(", ");
            self.mistake(key, format!("{expanded:?} asks for a variable that is none of: {known}"));
        }
        expanded
    }

    fn topic(&mut self, key: &str, text: &str) -> Option<TopicPattern> {
        let text = self.expand(key, text);
        self.good(key, TopicPattern::parse(&text))
    }

    fn template(&mut self, key: &str, text: &str, known: &[&str]) -> Option<Template> {
        let text = self.expand(key, text);
        let parsed: Result<_, PatternError> = Template::parse(&text).and_then(|template| {
            template.check(known.iter().copied())?;
            Ok(template)
        });
        self.good(key, parsed)
    }

    fn path(&mut self, key: &str, text: &str) -> Option<JsonPath> {
        self.good(key, JsonPath::parse(text))
    }

    fn unit(&mut self, key: &str, unit: Option<&str>) {
        if let Some(Err(error)) = unit.map(voltree_model::Unit::new) {
            self.mistake(key, error);
        }
    }
}

impl RawMapping {
    /// Checks it, with some variables set otherwise.
    pub(super) fn check(self, set: &BTreeMap<String, String>) -> Result<Mapping, MappingError> {
        let mut check = Check { mistakes: Vec::new(), variables: self.variables };
        for (name, value) in set {
            match check.variables.get_mut(name) {
                Some(variable) => value.clone_into(variable),
                None => {
                    let known: Vec<_> = check.variables.keys().map(String::as_str).collect();
                    let what = format!("is no variable of {}; it has: {}", self.name, known.join(", "));
                    check.mistake(&format!("set.{name}"), what);
                }
            }
        }
        let device = self.device.unwrap_or_else(|| "{device}".to_owned());
        let offline_after = self.offline_after_s.map_or(Mapping::OFFLINE_AFTER, Duration::from_secs);
        if !(Duration::from_secs(10)..=Duration::from_hours(24 * 366)).contains(&offline_after) {
            check.mistake("offline_after_s", "must lie between 10 s and a year");
        }
        if self.message.is_empty() {
            check.mistake("message", "is missing: at least one [[message]] must say what is read");
        }
        let ignore = self.ignore.iter().filter_map(|topic| check.topic("ignore", topic)).collect();
        let messages = (0..).zip(self.message);
        let messages = messages
            .filter_map(|(n, raw)| message(raw, &format!("message[{n}]"), &device, &mut check))
            .collect();
        let presence = (0..).zip(self.availability);
        let presence = presence
            .filter_map(|(n, raw)| availability(raw, &format!("availability[{n}]"), &device, &mut check))
            .collect();
        let commands = (0..).zip(self.command);
        let commands =
            commands.filter_map(|(n, raw)| command(raw, &format!("command[{n}]"), &mut check)).collect();
        if !check.mistakes.is_empty() {
            return Err(MappingError::Mistakes { name: self.name, mistakes: check.mistakes });
        }
        Ok(Mapping {
            name: self.name,
            about: self.about,
            offline_after,
            ignore,
            messages,
            presence,
            commands,
        })
    }
}

fn message(raw: RawMessage, key: &str, device: &str, check: &mut Check) -> Option<MessageRule> {
    let at = |part: &str| format!("{key}.{part}");
    let is_json = matches!(raw.format, RawFormat::Json);
    if !is_json
        && (raw.each.is_some() || raw.timestamp.is_some() || raw.leaves.is_some() || !raw.capture.is_empty())
    {
        check.mistake(key, "each, timestamp, leaves and capture need format = \"json\"");
    }
    if raw.metrics.is_empty() && raw.leaves.is_none() {
        check.mistake(key, "metrics is missing: say what to read, or take [leaves]");
    }
    let topic = check.topic(&at("topic"), &raw.topic);
    let mut capture = Vec::new();
    for (name, path) in &raw.capture {
        let path = check.path(&at(&format!("capture.{name}")), path);
        capture.extend(path.map(|path| (name.clone(), path)));
    }
    let each = raw.each.as_deref().and_then(|path| check.path(&at("each"), path));
    let mut known: Vec<&str> = topic.iter().flat_map(TopicPattern::names).collect();
    known.extend(raw.capture.keys().map(String::as_str));
    if raw.each.is_some() {
        known.extend(["index", "key"]);
    }
    let device = check.template(&at("device"), raw.device.as_deref().unwrap_or(device), &known);
    let time = raw.timestamp.and_then(|time| {
        let path = check.path(&at("timestamp.path"), &time.path)?;
        Some(TimeSource { path, format: time.format, utc_offset_minutes: time.utc_offset_minutes })
    });
    let fields = (0..).zip(raw.metrics);
    let fields = fields
        .filter_map(|(n, raw_field)| {
            field(raw_field, raw.format, &at(&format!("metrics[{n}]")), &known, check)
        })
        .collect();
    let leaves = raw.leaves.and_then(|leaves| leaves_of(leaves, &at("leaves"), &known, check));
    let format = match raw.format {
        RawFormat::Json => Format::Json,
        RawFormat::Text => Format::Text,
        RawFormat::Hex => Format::Hex,
        RawFormat::Bytes => Format::Bytes,
    };
    let (topic, device) = (topic?, device?);
    Some(MessageRule { topic, format, device, capture, each, time, fields, leaves, optional: raw.optional })
}

fn field(raw: RawField, format: RawFormat, key: &str, known: &[&str], check: &mut Check) -> Option<Field> {
    let name = check.template(&format!("{key}.name"), &raw.name, known);
    check.unit(&format!("{key}.unit"), raw.unit.as_deref());
    let place = match (format, raw.path, raw.at, raw.r#type) {
        (RawFormat::Json, Some(path), None, None) => {
            check.path(&format!("{key}.path"), &path).map(Place::Path)
        }
        (RawFormat::Text, None, None, None) => JsonPath::parse("").ok().map(Place::Path),
        (RawFormat::Hex | RawFormat::Bytes, None, at, Some(kind)) => {
            Some(Place::Bytes { at: at.unwrap_or(0), kind })
        }
        (RawFormat::Json, ..) => {
            check.mistake(key, "a metric of a JSON message has a path, and neither at nor type");
            None
        }
        (RawFormat::Text, ..) => {
            check.mistake(key, "a payload of plain text is one value: neither path, at nor type");
            None
        }
        (RawFormat::Hex | RawFormat::Bytes, ..) => {
            check.mistake(key, "a metric among bytes has a type such as u16be, and no path");
            None
        }
    };
    let factors = [raw.scale, raw.offset].into_iter().flatten();
    if factors.into_iter().any(|factor| !factor.is_finite()) || raw.scale == Some(0.0) {
        check.mistake(key, "scale and offset must be finite, and scale not 0");
    }
    let conversion = Conversion {
        taken_for: raw.r#as,
        scale: raw.scale.unwrap_or(1.0),
        offset: raw.offset.unwrap_or(0.0),
        values: raw.r#enum,
    };
    Some(Field { name: name?, place: place?, unit: raw.unit, conversion })
}

fn leaves_of(raw: RawLeaves, key: &str, known: &[&str], check: &mut Check) -> Option<Leaves> {
    for (name, unit) in &raw.units {
        check.unit(&format!("{key}.units.{name}"), Some(unit));
    }
    let under = check.path(&format!("{key}.under"), &raw.under);
    let prefix = check.template(&format!("{key}.prefix"), &raw.prefix, known);
    let (skip, units, values) = (raw.skip.into_iter().collect(), raw.units, raw.r#enum);
    Some(Leaves { under: under?, prefix: prefix?, skip, units, values })
}

fn availability(raw: RawAvailability, key: &str, device: &str, check: &mut Check) -> Option<PresenceRule> {
    let topic = check.topic(&format!("{key}.topic"), &raw.topic);
    let known: Vec<&str> = topic.iter().flat_map(TopicPattern::names).collect();
    let device = check.template(&format!("{key}.device"), raw.device.as_deref().unwrap_or(device), &known);
    let path = raw.path.as_deref().map(|path| check.path(&format!("{key}.path"), path));
    if raw.online == raw.offline {
        check.mistake(key, "online and offline are the same word");
    }
    let path = path.flatten();
    Some(PresenceRule { topic: topic?, device: device?, path, online: raw.online, offline: raw.offline })
}

fn command(raw: RawCommand, key: &str, check: &mut Check) -> Option<CommandRule> {
    let text = check.expand(&format!("{key}.topic"), &raw.topic);
    let topic = check.good(&format!("{key}.topic"), Template::parse(&text));
    let payload = check.good(&format!("{key}.payload"), super::command::payload(&raw.payload));
    for (name, _) in raw.params.iter().filter(|(_, allowed)| !allowed.is_sound()) {
        check.mistake(&format!("{key}.params.{name}"), "allows nothing at all");
    }
    let RawCommand { action, values, params, .. } = raw;
    Some(CommandRule { action, topic: topic?, payload: payload?, values, params })
}
