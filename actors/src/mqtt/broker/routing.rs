//! From a message to its subscribers: everyone who subscribed hears it once, of each group that shares a subscription one.
//!
//! For clients that are away it waits in their session, if it is of QoS 1 or 2, and its sender is told so only when that
//! is committed. It never waits for a subscriber: one
//! whose outbox is full loses the message, counted, and a group's turn goes to the next member instead.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rumqttc::QoS;
use voltree_protocols::mqtt::{Recipient, Subscriber};

use super::members::{Handed, Members};
use super::recorded::What;
use super::{Broker, Delivery, OUTBOX, Said, sessions};
use crate::metrics;
use crate::mqtt::bridge;
use crate::mqtt::outbox::{Kept, Outbox, Outgoing};

/// What of a message only matters on its way.
#[derive(Debug, Default)]
pub(in crate::mqtt) struct Routing<'a> {
    /// Which client published it, if one did.
    pub(in crate::mqtt) publisher: Option<&'a str>,
    /// Whether it was published to be retained.
    pub(in crate::mqtt) retain: bool,
    /// What its publisher said of it.
    pub(in crate::mqtt) said: Option<Arc<Said>>,
}

/// What became of a message.
#[derive(Default)]
pub(in crate::mqtt) struct Routed {
    /// Whether anyone subscribes to its topic, or it goes to an outside broker.
    pub(in crate::mqtt) heard: bool,
    /// What is still to be committed of it, for clients that are away and for outside brokers.
    pub(in crate::mqtt) kept: Vec<Kept>,
}

impl Broker {
    /// Hands a message to everyone who subscribed to its topic, once each, at the highest QoS granted, and to one member
    /// of each group that shares a subscription to it.
    pub(in crate::mqtt) fn route(
        &self,
        topic: &str,
        payload: &Bytes,
        qos: QoS,
        routing: Routing<'_>,
    ) -> Routed {
        let kept = self.forward(topic, payload, qos, &routing);
        let mut routed = self.hand_out(topic, payload, qos, routing);
        routed.heard |= !kept.is_empty();
        routed.kept.extend(kept);
        routed
    }

    /// Lays a message by for the outside brokers that are to get it: never for the one that it came from.
    fn forward(&self, topic: &str, payload: &Bytes, qos: QoS, routing: &Routing<'_>) -> Vec<Kept> {
        let came_from = |outbox: &Outbox| {
            routing.publisher.is_some_and(|publisher| publisher == bridge::publisher(outbox.broker()))
        };
        let takers = self.outboxes.iter().filter(|outbox| outbox.bridge().forwards(topic));
        let message = || Outgoing {
            topic: topic.into(),
            payload: payload.clone(),
            qos,
            retain: routing.retain,
            said: routing.said.clone(),
        };
        takers
            .filter(|outbox| !came_from(outbox))
            .filter_map(|outbox| outbox.offer(message(), crate::now()))
            .collect()
    }

    fn hand_out(&self, topic: &str, payload: &Bytes, qos: QoS, routing: Routing<'_>) -> Routed {
        let mut away = Vec::new();
        let members = self.members.read();
        let recipients = members.subscriptions().matching(topic, routing.publisher);
        if recipients.own.is_empty() && recipients.groups.is_empty() {
            return Routed::default();
        }
        let Routing { retain, said, .. } = routing;
        let message = Delivery {
            topic: Arc::from(topic),
            payload: payload.clone(),
            qos,
            retain: false,
            ids: Vec::new(),
            said,
            record: None,
        };
        for Recipient { client_id, qos, retain_as_published, ids } in recipients.own {
            let delivery = Delivery { retain: retain && retain_as_published, ids, ..at_most(&message, qos) };
            match members.hand(client_id, delivery) {
                Handed::Taken => {}
                Handed::NoRoom => metrics::mqtt_undelivered(),
                Handed::Away(waits) => away.extend(waits.map(|delivery| (client_id.to_owned(), delivery))),
            }
        }
        for group in recipients.groups {
            away.extend(self.hand_to_one(&members, group, &message, retain));
        }
        drop(members);
        let kept = if away.is_empty() { None } else { self.lay_by(away) };
        Routed { heard: true, kept: kept.into_iter().collect() }
    }

    /// Whether anybody subscribes to this topic, connected or away.
    pub(in crate::mqtt) fn is_heard(&self, topic: &str) -> bool {
        let members = self.members.read();
        let recipients = members.subscriptions().matching(topic, None);
        !recipients.own.is_empty() || !recipients.groups.is_empty()
    }

    /// Hands a message to whose turn it is: to a connected member with room if there is one, else to one that is away.
    fn hand_to_one(
        &self,
        members: &Members,
        group: &[Subscriber],
        message: &Delivery,
        retain: bool,
    ) -> Option<(String, Delivery)> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) % group.len().max(1);
        let (later, first) = group.split_at(turn.min(group.len()));
        let (mut away, mut full) = (None, false);
        for Subscriber { client_id, granted } in first.iter().chain(later) {
            let delivery = Delivery {
                retain: retain && granted.retain_as_published,
                ids: granted.id.into_iter().collect(),
                ..at_most(message, granted.qos)
            };
            match members.hand(client_id, delivery) {
                Handed::Taken => return None,
                Handed::NoRoom => full = true,
                Handed::Away(waits) => {
                    away = away.or_else(|| waits.map(|delivery| (client_id.to_string(), delivery)));
                }
            }
        }
        if full && away.is_none() {
            metrics::mqtt_undelivered();
        }
        away
    }

    fn lay_by(&self, deliveries: Vec<(String, Delivery)>) -> Option<Kept> {
        let mut members = self.members.write();
        let (mut what, mut entries) = (Vec::new(), Vec::new());
        for (client_id, mut delivery) in deliveries {
            let Some(member) = members.get_mut(&client_id) else { continue };
            // It may have come back in between.
            let fits = match &member.outbox {
                Some(outbox) => outbox.hand(delivery),
                None if member.left.waiting.len() < OUTBOX => {
                    if member.lasting {
                        let number = member.recorded.push_back();
                        entries.extend(sessions::laid_by(&client_id, number, &delivery));
                        delivery.record = Some(number);
                        what.push(What::Session(client_id));
                    }
                    member.left.waiting.push_back(delivery);
                    true
                }
                None => false,
            };
            if !fits {
                metrics::mqtt_undelivered();
            }
        }
        let laid_by = |entries| Box::pin(self.recording.offer(&self.journal, what, entries)) as Kept;
        (!entries.is_empty()).then(|| laid_by(entries))
    }
}

/// The message with no higher a QoS than was granted.
fn at_most(message: &Delivery, granted: QoS) -> Delivery {
    let qos = if (granted as u8) < (message.qos as u8) { granted } else { message.qos };
    Delivery { qos, ..message.clone() }
}
