//! Deliveries to the client that wait for its PUBACK: packet ids and the window.
//!
//! A delivery is kept until it is acknowledged, so that the next connection of the same session can repeat it under its
//! old packet id, as the standard asks (4.4). A packet id in use is never given out again.

use std::collections::VecDeque;

use bytes::Bytes;
use rumqttc::{Packet, Publish, QoS};

use super::at_most_qos_1;
use crate::mqtt::topic::TopicError;

/// Why a message was not handed to the client now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDelivered {
    /// As many deliveries are under way as may be; try again after [`super::Effect::Delivered`].
    #[error("the client has not yet acknowledged earlier deliveries")]
    WindowFull,
    /// The client is not in yet, or no longer.
    #[error("the client is not connected")]
    NotConnected,
    /// Not a topic that a message can have.
    #[error("the message has no valid topic")]
    BadTopic(#[source] TopicError),
}

#[derive(Debug)]
pub(super) struct Outgoing {
    max_in_flight: usize,
    last_pkid: u16,
    in_flight: VecDeque<Publish>,
}

impl Outgoing {
    pub(super) fn new(max_in_flight: u16) -> Self {
        Self { max_in_flight: usize::from(max_in_flight), last_pkid: 0, in_flight: VecDeque::new() }
    }

    /// Takes over what an earlier connection left open and repeats it, marked as a repetition.
    pub(super) fn resume(&mut self, unacknowledged: Vec<Publish>) -> impl Iterator<Item = Packet> {
        for mut publish in unacknowledged {
            if publish.pkid != 0 && !self.uses(publish.pkid) {
                publish.dup = true;
                publish.qos = QoS::AtLeastOnce;
                self.last_pkid = publish.pkid;
                self.in_flight.push_back(publish);
            }
        }
        self.in_flight.iter().cloned().map(Packet::Publish)
    }

    /// Makes the publish, or nothing while the window is full.
    pub(super) fn deliver(&mut self, topic: &str, payload: Bytes, qos: QoS, retain: bool) -> Option<Publish> {
        let mut publish = Publish::from_bytes(topic, at_most_qos_1(qos), payload);
        publish.retain = retain;
        if publish.qos == QoS::AtMostOnce {
            return Some(publish);
        }
        if self.in_flight.len() >= self.max_in_flight {
            return None;
        }
        publish.pkid = self.free_pkid();
        self.in_flight.push_back(publish.clone());
        Some(publish)
    }

    /// Frees the packet id; false if it was not in use.
    pub(super) fn acknowledge(&mut self, pkid: u16) -> bool {
        let index = self.in_flight.iter().position(|publish| publish.pkid == pkid);
        index.and_then(|index| self.in_flight.remove(index)).is_some()
    }

    pub(super) fn in_flight(&self) -> impl Iterator<Item = &Publish> {
        self.in_flight.iter()
    }

    /// The next id after the last one that is not in use. There is one: the window is smaller than the range of ids.
    fn free_pkid(&mut self) -> u16 {
        loop {
            self.last_pkid = self.last_pkid.checked_add(1).unwrap_or(1);
            if !self.uses(self.last_pkid) {
                return self.last_pkid;
            }
        }
    }

    fn uses(&self, pkid: u16) -> bool {
        self.in_flight.iter().any(|publish| publish.pkid == pkid)
    }
}
