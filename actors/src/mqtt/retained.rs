//! Retained messages: the last one of each topic that was published to stay, for those who subscribe later. Pure.
//!
//! Bounded in number and in bytes, so that no client can fill the node's memory; what does not fit is refused, never
//! pushed in at another's cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rumqttc::QoS;
use serde::{Deserialize, Serialize};
use voltree_model::Timestamp;
use voltree_protocols::mqtt::{Filter, Granted};
use voltree_storage::{Entry, Record, RecordChange, RecordError, RecordKind, decode_value};

use super::broker::{Delivery, KeptSaid, Said};

/// How many topics may have one.
const MOST: usize = 20_000;
/// How many bytes their payloads may have together.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The node's retained messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Retained {
    messages: BTreeMap<String, Message>,
    /// What the payloads have together.
    bytes: usize,
}

/// What of it earlier versions had in a file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct OldRetained {
    messages: BTreeMap<String, MessageV1>,
}

impl From<OldRetained> for Retained {
    fn from(OldRetained { messages }: OldRetained) -> Self {
        Self::of(messages.into_iter().map(|(topic, message)| (topic, message.into())).collect())
    }
}

impl Record for Message {
    const KIND: RecordKind = RecordKind::RetainedMessage;
    const VERSION: u8 = 2;

    fn migrate(version: u8, bytes: &[u8]) -> Result<Self, RecordError> {
        match version {
            1 => Ok(decode_value::<MessageV1>(bytes)?.into()),
            found => Err(RecordError::UnknownVersion { found }),
        }
    }
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
    said: Option<KeptSaid>,
}

/// A message before properties were kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct MessageV1 {
    payload: Vec<u8>,
    qos: u8,
}

impl From<MessageV1> for Message {
    fn from(MessageV1 { payload, qos }: MessageV1) -> Self {
        Self { payload, qos, said: None }
    }
}

impl Message {
    fn said(&self) -> Option<Said> {
        self.said.clone().map(Said::from)
    }
}

/// There is no room for another retained message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Retained {
    /// Keeps a message as the topic's last one; an empty one takes the last one away (MQTT 3.1.1, 3.3.1.3).
    pub(super) fn keep(&mut self, topic: &str, payload: &[u8], qos: QoS) -> Result<(), NoRoom> {
        self.keep_said(topic, payload, qos, None)
    }

    /// The same with what its publisher said of it.
    pub(super) fn keep_said(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        said: Option<&Said>,
    ) -> Result<(), NoRoom> {
        let before = self.messages.get(topic).map(|message| message.payload.len());
        let bytes = self.bytes - before.unwrap_or_default() + payload.len();
        if payload.is_empty() {
            self.messages.remove(topic);
        } else if bytes > MOST_BYTES || (before.is_none() && self.messages.len() >= MOST) {
            return Err(NoRoom);
        } else {
            let message = Message { payload: payload.to_vec(), qos: qos as u8, said: said.map(Said::kept) };
            self.messages.insert(topic.to_owned(), message);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// What a new subscription gets at once.
    pub(super) fn matching<'a>(
        &'a self,
        filter: &'a Filter,
        granted: Granted,
        now: Timestamp,
    ) -> impl Iterator<Item = Delivery> {
        let matching = self.messages.iter().filter(|(topic, _)| filter.matches(topic));
        let said = matching.map(|(topic, message)| (topic, message, message.said()));
        let fresh = said.filter(move |(_, _, said)| said.as_ref().is_none_or(|said| !said.has_expired(now)));
        fresh.map(move |(topic, message, said)| Delivery {
            topic: topic.as_str().into(),
            payload: Bytes::copy_from_slice(&message.payload),
            qos: rumqttc::qos(message.qos.min(granted.qos as u8)).unwrap_or(QoS::AtMostOnce),
            retain: true,
            ids: granted.id.into_iter().collect(),
            said: said.map(Arc::new),
            record: None,
        })
    }

    /// The message of a topic, as it would be owed to a new subscriber.
    pub(super) fn get(&self, topic: &str, now: Timestamp) -> Option<Delivery> {
        let message = self.messages.get(topic)?;
        let said = message.said().filter(|said| !said.has_expired(now));
        if message.said.is_some() && said.is_none() {
            return None;
        }
        Some(Delivery {
            topic: topic.into(),
            payload: Bytes::copy_from_slice(&message.payload),
            qos: rumqttc::qos(message.qos).unwrap_or(QoS::AtMostOnce),
            retain: true,
            ids: Vec::new(),
            said: said.map(Arc::new),
            record: None,
        })
    }

    /// The topics of messages that have expired.
    pub(super) fn expired(&self, now: Timestamp) -> Vec<String> {
        let expired = self.messages.iter().filter(|(_, message)| {
            message.said.is_some() && message.said().is_some_and(|said| said.has_expired(now))
        });
        expired.map(|(topic, _)| topic.clone()).collect()
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
impl<'a> FromIterator<(&'a str, &'a [u8])> for Retained {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a [u8])>>(messages: T) -> Self {
        let mut retained = Self::default();
        messages
            .into_iter()
            .for_each(|(topic, payload)| retained.keep(topic, payload, QoS::AtLeastOnce).unwrap());
        retained
    }
}

#[cfg(test)]
impl OldRetained {
    /// What an earlier version would have kept of these.
    pub(super) fn of(retained: &Retained) -> Self {
        let old = |message: &Message| MessageV1 { payload: message.payload.clone(), qos: message.qos };
        Self {
            messages: retained
                .messages
                .iter()
                .map(|(topic, message)| (topic.clone(), old(message)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(retained: &Retained, filter: &str) -> Vec<(String, u8)> {
        let filter = Filter::parse(filter).unwrap();
        retained
            .matching(&filter, QoS::AtLeastOnce.into(), crate::now())
            .map(|d| (d.topic.to_string(), d.qos as u8))
            .collect()
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

    #[test]
    fn a_message_that_expired_is_owed_to_nobody_and_one_of_an_earlier_version_has_no_properties() {
        let mut retained = Retained::default();
        let now = Timestamp::from_millis(0);
        let properties = voltree_protocols::mqtt::PublishProperties {
            message_expiry_interval: Some(10),
            content_type: Some("t".to_owned()),
            ..Default::default()
        };
        retained.keep_said("a", b"x", QoS::AtMostOnce, Some(&Said::of(properties, now))).unwrap();
        let all = Filter::parse("#").unwrap();
        let at = |seconds: i64| {
            let now = Timestamp::from_millis(seconds * 1_000);
            let found: Vec<_> = retained.matching(&all, QoS::AtMostOnce.into(), now).collect();
            (
                found.len(),
                found.into_iter().find_map(|d| d.said?.at(now, &[])?.content_type),
                retained.expired(now),
            )
        };
        assert_eq!(at(9), (1, Some("t".to_owned()), vec![]));
        assert_eq!(at(10), (0, None, vec!["a".to_owned()]));
        let old = OldRetained { messages: [("a".to_owned(), MessageV1 { payload: vec![1], qos: 1 })].into() };
        assert!(Retained::from(old).messages["a"].said.is_none());
    }
}
