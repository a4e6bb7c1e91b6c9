//! What one topic's messages say: where their values stand, what they are called, and whose they are.
//!
//! A value that is missing is simply not there, because devices send what changed; a message of which nothing is left
//! is turned away, unless its rule calls it optional.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use voltree_model::{DeviceId, RejectReason, Timestamp};

use super::clock::TimeSource;
use super::convert::{ByteType, Conversion, TakenFor, plain};
use super::draft::{Draft, Turned, Value, device_id};
use super::path::JsonPath;
use super::pattern::{Captures, Template, TopicPattern};
use crate::mqtt::MAX_METRICS;

/// How deep leaves are looked for.
const DEEPEST: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Text,
    Hex,
    Bytes,
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    Path(JsonPath),
    Bytes { at: usize, kind: ByteType },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) name: Template,
    pub(super) place: Place,
    pub(super) unit: Option<String>,
    pub(super) conversion: Conversion,
}

/// Every value below a place, named by its path.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Leaves {
    pub(super) under: JsonPath,
    pub(super) prefix: Template,
    pub(super) skip: BTreeSet<String>,
    pub(super) units: BTreeMap<String, String>,
    pub(super) values: BTreeMap<String, f64>,
}

/// One topic's messages.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MessageRule {
    pub(super) topic: TopicPattern,
    pub(super) format: Format,
    pub(super) device: Template,
    pub(super) capture: Vec<(String, JsonPath)>,
    pub(super) each: Option<JsonPath>,
    pub(super) time: Option<TimeSource>,
    pub(super) fields: Vec<Field>,
    pub(super) leaves: Option<Leaves>,
    pub(super) optional: bool,
}

/// A payload, as far as its format goes.
enum Content {
    Json(Json),
    Bytes(Vec<u8>),
}

impl MessageRule {
    /// What a message on this rule's topic says.
    pub(super) fn read(&self, captures: Captures, payload: &[u8]) -> Vec<Result<Draft, Turned>> {
        let content = match self.content(payload) {
            Ok(content) => content,
            Err(detail) => return vec![Err(self.turned(&captures, RejectReason::BadPayload, &detail))],
        };
        let parts = match (&content, &self.each) {
            (Content::Json(document), Some(each)) => match items(each, document) {
                Some(items) => items,
                None if self.optional => return Vec::new(),
                None => {
                    let detail = format!("there is no list at {}", each.as_str());
                    return vec![Err(self.turned(&captures, RejectReason::BadPayload, &detail))];
                }
            },
            _ => vec![None],
        };
        let mut readings: Vec<Result<Draft, Turned>> = Vec::new();
        for item in parts {
            match self.part(captures.clone(), &content, item) {
                Ok(draft) if draft.is_empty() && self.optional => {}
                // A list of one device's values at one time is one reading.
                Ok(draft) => match readings.iter_mut().rev().find(|known| same(known, &draft)) {
                    Some(Ok(known)) => known.absorb(draft),
                    Some(Err(_)) | None => readings.push(Ok(draft)),
                },
                Err(turned) => readings.push(Err(turned)),
            }
        }
        readings
    }

    fn content(&self, payload: &[u8]) -> Result<Content, String> {
        let text = || str::from_utf8(payload).map(str::trim).map_err(|error| error.to_string());
        Ok(match self.format {
            Format::Json => {
                Content::Json(serde_json::from_slice(payload).map_err(|error| error.to_string())?)
            }
            Format::Text => Content::Json(Json::String(text()?.to_owned())),
            Format::Hex => {
                let digits: String = text()?.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
                Content::Bytes(hex::decode(digits).map_err(|error| error.to_string())?)
            }
            Format::Bytes => Content::Bytes(payload.to_vec()),
        })
    }

    fn part(&self, mut captures: Captures, content: &Content, item: Item<'_>) -> Result<Draft, Turned> {
        let document = match (&item, content) {
            (Some((_, _, item)), _) => Some(*item),
            (None, Content::Json(document)) => Some(document),
            (None, Content::Bytes(_)) => None,
        };
        if let Some((key, index, _)) = item {
            captures.extend([("key".to_owned(), key), ("index".to_owned(), index.to_string())]);
        }
        self.capture(&mut captures, document);
        let (device, name) = self.whose(&captures)?;
        let at = self.time(&device, document)?;
        let mut draft = Draft::new(device, name, at);
        for field in &self.fields {
            self.put(field, &captures, content, document, &mut draft);
        }
        if let (Some(leaves), Some(document)) = (&self.leaves, document)
            && let Some(top) = leaves.under.find(document)
            && let Some(prefix) = leaves.prefix.fill(&captures)
        {
            leaves.put_all(top, &prefix, DEEPEST, &mut draft);
        }
        Ok(draft)
    }

    fn capture(&self, captures: &mut Captures, document: Option<&Json>) {
        for (name, path) in &self.capture {
            let text = match document.and_then(|document| path.find(document)) {
                Some(Json::String(text)) => text.clone(),
                Some(Json::Number(number)) => number.to_string(),
                Some(Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_)) | None => continue,
            };
            captures.insert(name.clone(), text);
        }
    }

    fn whose(&self, captures: &Captures) -> Result<(DeviceId, String), Turned> {
        let nobody = |detail: &str| Turned::new(None, RejectReason::BadPayload, detail);
        let name = self.device.fill(captures).ok_or_else(|| nobody("it does not say whose it is"))?;
        let device = device_id(&name).map_err(|error| nobody(&error.to_string()))?;
        Ok((device, name))
    }

    fn time(&self, device: &DeviceId, document: Option<&Json>) -> Result<Option<Timestamp>, Turned> {
        let (Some(source), Some(document)) = (&self.time, document) else { return Ok(None) };
        let bad = |detail: String| Turned::new(Some(device.clone()), RejectReason::BadTimestamp, &detail);
        source.read(document).map_err(|error| bad(error.to_string()))
    }

    fn put(
        &self,
        field: &Field,
        captures: &Captures,
        content: &Content,
        document: Option<&Json>,
        draft: &mut Draft,
    ) {
        let Some(name) = field.name.fill(captures) else { return };
        let value = match (&field.place, content, document) {
            (Place::Bytes { at, kind }, Content::Bytes(bytes), _) => {
                let number = kind.read(bytes, *at).and_then(serde_json::Number::from_f64);
                number.map_or(Err(RejectReason::BadValue), |n| field.conversion.apply(&Json::Number(n)))
            }
            (Place::Path(path), _, Some(document)) => match path.find(document) {
                None => return,
                Some(Json::String(text)) if self.format == Format::Text => {
                    field.conversion.apply(&self.plain(text, &field.conversion))
                }
                Some(value) => field.conversion.apply(value),
            },
            (Place::Bytes { .. } | Place::Path(_), _, _) => return,
        };
        draft.put(&name, field.unit.as_deref(), value);
    }

    /// Words of the enumeration stay texts, even where one of them is a number.
    fn plain(&self, text: &str, conversion: &Conversion) -> Json {
        let is_word = conversion.values.contains_key(text);
        plain(text, if is_word { TakenFor::Text } else { conversion.taken_for })
    }

    fn turned(&self, captures: &Captures, reason: RejectReason, detail: &str) -> Turned {
        Turned::new(self.whose(captures).ok().map(|(device, _)| device), reason, detail)
    }
}

impl Leaves {
    fn put_all(&self, value: &Json, path: &str, depth: usize, draft: &mut Draft) {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let skipped = |key: &str, path: &str| self.skip.contains(key) || self.skip.contains(path);
        match value {
            Json::Object(entries) if depth > 0 => {
                for (key, value) in entries.iter().take(MAX_METRICS + 1) {
                    let path = below(key);
                    if !skipped(key, &path) {
                        self.put_all(value, &path, depth - 1, draft);
                    }
                }
            }
            Json::Array(items) if depth > 0 => {
                for (index, value) in items.iter().take(MAX_METRICS + 1).enumerate() {
                    self.put_all(value, &below(&index.to_string()), depth - 1, draft);
                }
            }
            Json::Null | Json::Object(_) | Json::Array(_) => {}
            Json::String(_) | Json::Number(_) | Json::Bool(_) => self.put(value, path, draft),
        }
    }

    /// Here a word that is not in the enumeration is a text, because the enumeration is not this value's own.
    fn put(&self, value: &Json, path: &str, draft: &mut Draft) {
        let last = path.rsplit('.').next().unwrap_or(path);
        let unit = self.units.get(path).or_else(|| self.units.get(last));
        let known = value.as_str().and_then(|text| self.values.get(text));
        let value = match known {
            Some(number) => Ok(Value::Number(*number)),
            None => Conversion::default().apply(value),
        };
        draft.put(path, unit.map(String::as_str), value);
    }
}

fn same(known: &Result<Draft, Turned>, draft: &Draft) -> bool {
    known.as_ref().is_ok_and(|known| known.device == draft.device && known.at == draft.at)
}

/// One entry of a list: its key, its place, and itself; none where the message is no list.
type Item<'a> = Option<(String, usize, &'a Json)>;

fn items<'a>(each: &JsonPath, document: &'a Json) -> Option<Vec<Item<'a>>> {
    match each.find(document)? {
        Json::Array(items) => {
            Some(items.iter().enumerate().map(|(n, item)| Some((n.to_string(), n, item))).collect())
        }
        Json::Object(entries) => {
            let entries = entries.iter().enumerate();
            Some(entries.map(|(n, (key, item))| Some((key.clone(), n, item))).collect())
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
    }
}
