//! Topic aliases of MQTT 5.0: numbers by which a client names topics that it has named in full before.
//!
//! They last as long as the connection. A number beyond what CONNACK announced, or one that stands for nothing yet, ends it.

use std::collections::BTreeMap;

use super::reason::CloseReason;

/// The largest number that a client may use.
pub const TOPIC_ALIAS_MAXIMUM: u16 = 64;

#[derive(Debug, Default)]
pub(super) struct Aliases(BTreeMap<u16, String>);

impl Aliases {
    /// The topic that a publish means; one named in full is known by its number from now on.
    pub(super) fn resolve(&mut self, alias: u16, topic: String) -> Result<String, CloseReason> {
        if alias == 0 || alias > TOPIC_ALIAS_MAXIMUM {
            return Err(CloseReason::TopicAlias);
        }
        if topic.is_empty() {
            return self.0.get(&alias).cloned().ok_or(CloseReason::UnexpectedPacket);
        }
        self.0.insert(alias, topic.clone());
        Ok(topic)
    }
}
