//! Deliveries to the client that it has not finished with: packet ids, the window, and the two halves of QoS 2.
//!
//! A delivery is kept until it is acknowledged, so that the next connection of the same session can repeat it under its
//! old packet id, as the standard asks (4.4). A packet id in use is never given out again.

use std::collections::VecDeque;

use bytes::Bytes;
use rumqttc::{Packet, PubRel, Publish, QoS};

use super::effect::Effect;
use crate::mqtt::codec::{PublishProperties, publish_size};
use crate::mqtt::topic::TopicError;

/// Why a message was not handed to the client now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDelivered {
    /// As many deliveries are under way as may be; try again after [`super::Effect::Delivered`].
    #[error("the client has not yet acknowledged earlier deliveries")]
    WindowFull,
    /// The client said that it takes no packet of this size.
    #[error("the message is larger than the client takes")]
    TooLarge,
    /// The client is not in yet, or no longer.
    #[error("the client is not connected")]
    NotConnected,
    /// Not a topic that a message can have.
    #[error("the message has no valid topic")]
    BadTopic(#[source] TopicError),
}

/// A delivery that the client has not finished with: what the next connection of its session goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenDelivery {
    /// Sent, and neither PUBACK nor PUBREC came.
    Sent(Publish, Option<Box<PublishProperties>>),
    /// PUBREC came for this packet id, PUBCOMP did not: only PUBREL may be repeated.
    Released(u16),
}

impl OpenDelivery {
    /// The packet id that it holds.
    pub fn pkid(&self) -> u16 {
        match self {
            Self::Sent(publish, _) => publish.pkid,
            Self::Released(pkid) => *pkid,
        }
    }

    /// Whether a client that takes no larger packets can be sent it.
    pub(super) fn fits(&self, max_packet: Option<usize>) -> bool {
        match (self, max_packet) {
            (Self::Sent(publish, said), Some(most)) => publish_size(publish, said.as_deref()) <= most,
            (Self::Sent(..) | Self::Released(_), _) => true,
        }
    }

    /// What repeats it.
    fn again(&self) -> Effect {
        match self {
            Self::Sent(publish, None) => Effect::Send(Packet::Publish(publish.clone())),
            Self::Sent(publish, Some(said)) => {
                Effect::Repeat { publish: publish.clone(), properties: said.clone() }
            }
            Self::Released(pkid) => Effect::Send(Packet::PubRel(PubRel::new(*pkid))),
        }
    }
}

#[derive(Debug)]
pub(super) struct Outgoing {
    max_in_flight: usize,
    last_pkid: u16,
    in_flight: VecDeque<OpenDelivery>,
}

impl Outgoing {
    pub(super) fn new(max_in_flight: u16) -> Self {
        Self { max_in_flight: usize::from(max_in_flight), last_pkid: 0, in_flight: VecDeque::new() }
    }

    /// Narrows the window to what the client can take.
    pub(super) fn narrow(&mut self, receive_maximum: u16) {
        self.max_in_flight = self.max_in_flight.min(usize::from(receive_maximum));
    }

    /// Takes over what an earlier connection left open and repeats it, publishes marked as repetitions.
    pub(super) fn resume(&mut self, open: Vec<OpenDelivery>) -> impl Iterator<Item = Effect> {
        for mut delivery in open {
            let pkid = delivery.pkid();
            if pkid == 0 || self.uses(pkid) {
                continue;
            }
            if let OpenDelivery::Sent(publish, _) = &mut delivery {
                publish.dup = true;
            }
            self.last_pkid = pkid;
            self.in_flight.push_back(delivery);
        }
        self.in_flight.iter().map(OpenDelivery::again)
    }

    /// Makes the publish, or nothing while the window is full.
    pub(super) fn deliver(
        &mut self,
        topic: &str,
        payload: Bytes,
        qos: QoS,
        retain: bool,
        properties: Option<&PublishProperties>,
    ) -> Option<Publish> {
        let mut publish = Publish::from_bytes(topic, qos, payload);
        publish.retain = retain;
        if qos == QoS::AtMostOnce {
            return Some(publish);
        }
        if self.in_flight.len() >= self.max_in_flight {
            return None;
        }
        publish.pkid = self.free_pkid();
        self.in_flight.push_back(OpenDelivery::Sent(publish.clone(), properties.cloned().map(Box::new)));
        Some(publish)
    }

    /// PUBACK ends a delivery of QoS 1; false if there was none of this id.
    pub(super) fn acknowledge(&mut self, pkid: u16) -> bool {
        self.end(|delivery| matches!(delivery, OpenDelivery::Sent(p, _) if p.pkid == pkid && p.qos == QoS::AtLeastOnce))
    }

    /// PUBREC: the client has the message, which is never sent again.
    pub(super) fn release(&mut self, pkid: u16) {
        let of_qos_2 = |delivery: &&mut OpenDelivery| matches!(delivery, OpenDelivery::Sent(p, _) if p.pkid == pkid && p.qos == QoS::ExactlyOnce);
        if let Some(delivery) = self.in_flight.iter_mut().find(of_qos_2) {
            *delivery = OpenDelivery::Released(pkid);
        }
    }

    /// PUBCOMP ends a delivery of QoS 2; false if there was none of this id that far.
    pub(super) fn complete(&mut self, pkid: u16) -> bool {
        self.end(|delivery| *delivery == OpenDelivery::Released(pkid))
    }

    pub(super) fn in_flight(&self) -> impl Iterator<Item = &OpenDelivery> {
        self.in_flight.iter()
    }

    fn end(&mut self, is_it: impl Fn(&OpenDelivery) -> bool) -> bool {
        let index = self.in_flight.iter().position(is_it);
        index.and_then(|index| self.in_flight.remove(index)).is_some()
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
        self.in_flight.iter().any(|delivery| delivery.pkid() == pkid)
    }
}
