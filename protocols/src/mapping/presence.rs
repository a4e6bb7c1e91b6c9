//! Who is there: a topic that says so in a word, bare or somewhere in JSON.

use serde_json::Value as Json;
use voltree_model::DeviceId;

use super::draft::device_id;
use super::path::JsonPath;
use super::pattern::{Captures, Template, TopicPattern};

/// One topic that tells of presence.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PresenceRule {
    pub(super) topic: TopicPattern,
    pub(super) device: Template,
    pub(super) path: Option<JsonPath>,
    pub(super) online: String,
    pub(super) offline: String,
}

impl PresenceRule {
    /// Whose presence a message tells of, and which; nothing if it is another word.
    pub(super) fn read(&self, captures: &Captures, payload: &[u8]) -> Option<(DeviceId, bool)> {
        let device = device_id(&self.device.fill(captures)?).ok()?;
        let word = word(payload, self.path.as_ref())?;
        let online = word == self.online;
        (online || word == self.offline).then_some((device, online))
    }
}

/// A word at a place in JSON, or the bare payload: some devices send either, by their version.
pub(super) fn word(payload: &[u8], path: Option<&JsonPath>) -> Option<String> {
    let bare = str::from_utf8(payload).ok()?.trim();
    let Some(path) = path else { return Some(bare.to_owned()) };
    match serde_json::from_str::<Json>(bare) {
        Ok(document @ (Json::Object(_) | Json::Array(_))) => {
            let value = path.find(&document)?;
            Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        }
        Ok(Json::String(text)) => Some(text),
        Ok(Json::Null | Json::Bool(_) | Json::Number(_)) | Err(_) => Some(bare.to_owned()),
    }
}
