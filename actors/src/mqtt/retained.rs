//! Retained messages: the last one of each topic that was published to stay, for those who subscribe later. Pure.
//!
//! Bounded in number and in bytes, so that no client can fill the node's memory; what does not fit is refused, never
//! pushed in at another's cost.

use std::collections::BTreeMap;

use bytes::Bytes;
use rumqttc::QoS;
use serde::{Deserialize, Serialize};
use voltree_model::Timestamp;
use voltree_protocols::mqtt::Filter;
use voltree_storage::{Entry, Record, RecordChange, RecordKind};

use super::broker::Delivery;

/// How many topics may have one.
const MOST: usize = 20_000;
/// How many bytes their payloads may have together.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The node's retained messages.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Kept")]
pub(super) struct Retained {
    messages: BTreeMap<String, Message>,
    /// What the payloads have together.
    #[serde(skip)]
    bytes: usize,
}

/// What of it earlier versions had in a file.
#[derive(Deserialize)]
struct Kept {
    messages: BTreeMap<String, Message>,
}

impl From<Kept> for Retained {
    fn from(Kept { messages }: Kept) -> Self {
        Self::of(messages)
    }
}

impl Record for Message {
    const KIND: RecordKind = RecordKind::RetainedMessage;
    const VERSION: u8 = 1;
}

impl Retained {
    /// The messages of these topics.
    pub(super) fn of(messages: BTreeMap<String, Message>) -> Self {
        let bytes = messages.values().map(|message| message.payload.len()).sum();
        Self { messages, bytes }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Message {
    payload: Vec<u8>,
    qos: u8,
}

/// There is no room for another retained message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Retained {
    /// Keeps a message as the topic's last one; an empty one takes the last one away (MQTT 3.1.1, 3.3.1.3).
    pub(super) fn keep(&mut self, topic: &str, payload: &[u8], qos: QoS) -> Result<(), NoRoom> {
        let before = self.messages.get(topic).map(|message| message.payload.len());
        let bytes = self.bytes - before.unwrap_or_default() + payload.len();
        if payload.is_empty() {
            self.messages.remove(topic);
        } else if bytes > MOST_BYTES || (before.is_none() && self.messages.len() >= MOST) {
            return Err(NoRoom);
        } else {
            self.messages.insert(topic.to_owned(), Message { payload: payload.to_vec(), qos: qos as u8 });
        }
        self.bytes = bytes;
        Ok(())
    }

    /// What a new subscription gets at once.
    pub(super) fn matching<'a>(&'a self, filter: &'a Filter, granted: QoS) -> impl Iterator<Item = Delivery> {
        let matching = self.messages.iter().filter(|(topic, _)| filter.matches(topic));
        matching.map(move |(topic, message)| Delivery {
            topic: topic.as_str().into(),
            payload: Bytes::copy_from_slice(&message.payload),
            qos: rumqttc::qos(message.qos.min(granted as u8)).unwrap_or(QoS::AtMostOnce),
            retain: true,
            said: None,
        })
    }

    /// The change of the topic's record that brings it level.
    pub(super) fn entry(&self, topic: &str, now: Timestamp) -> Result<Entry, voltree_storage::Error> {
        RecordChange::entry(topic, self.messages.get(topic), now)
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        self.messages.keys().map(String::as_str)
    }

    pub(super) fn count(&self) -> usize {
        self.messages.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(retained: &Retained, filter: &str) -> Vec<(String, u8)> {
        let filter = Filter::parse(filter).unwrap();
        retained.matching(&filter, QoS::AtLeastOnce).map(|d| (d.topic.to_string(), d.qos as u8)).collect()
    }

    #[test]
    fn the_last_message_of_each_topic_stays_until_an_empty_one_comes() {
        let mut retained = Retained::default();
        retained.keep("a/1", b"old", QoS::AtMostOnce).unwrap();
        retained.keep("a/1", b"new", QoS::ExactlyOnce).unwrap();
        retained.keep("a/2", b"x", QoS::AtMostOnce).unwrap();
        assert_eq!(matching(&retained, "a/+"), [("a/1".to_owned(), 1), ("a/2".to_owned(), 0)]);
        retained.keep("a/1", b"", QoS::AtMostOnce).unwrap();
        assert_eq!(matching(&retained, "#"), [("a/2".to_owned(), 0)]);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_leaves_the_rest_as_it_was() {
        let mut retained = Retained::default();
        let large = vec![0; MOST_BYTES - 1];
        retained.keep("large", &large, QoS::AtMostOnce).unwrap();
        retained.keep("small", b"x", QoS::AtMostOnce).unwrap();
        assert_eq!(retained.keep("small", b"xy", QoS::AtMostOnce), Err(NoRoom));
        assert_eq!(retained.keep("more", b"x", QoS::AtMostOnce), Err(NoRoom));
        assert_eq!((retained.count(), retained.bytes), (2, MOST_BYTES));
    }
}
