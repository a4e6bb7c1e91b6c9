//! From a message to its subscribers: everyone who subscribed hears it once, of each group that shares a subscription one.
//!
//! For clients that are away it waits in their session, if it is of QoS 1 or 2. It never waits for a subscriber: one
//! whose outbox is full loses the message, counted, and a group's turn goes to the next member instead.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rumqttc::QoS;
use voltree_protocols::mqtt::{Recipient, Subscriber};

use super::members::{Handed, Members};
use super::{Broker, Delivery, OUTBOX, Said};
use crate::metrics;

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

impl Broker {
    /// Hands a message to everyone who subscribed to its topic, once each, at the highest QoS granted, and to one member
    /// of each group that shares a subscription to it; says whether there was anyone.
    pub(in crate::mqtt) fn route(
        &self,
        topic: &str,
        payload: &Bytes,
        qos: QoS,
        routing: Routing<'_>,
    ) -> bool {
        let mut away = Vec::new();
        let members = self.members.read();
        let recipients = members.subscriptions().matching(topic, routing.publisher);
        if recipients.own.is_empty() && recipients.groups.is_empty() {
            return false;
        }
        let Routing { retain, said, .. } = routing;
        let message = Delivery {
            topic: Arc::from(topic),
            payload: payload.clone(),
            qos,
            retain: false,
            ids: Vec::new(),
            said,
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
        if !away.is_empty() {
            self.lay_by(away);
        }
        true
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

    fn lay_by(&self, deliveries: Vec<(String, Delivery)>) {
        let mut members = self.members.write();
        for (client_id, delivery) in deliveries {
            let Some(member) = members.get_mut(&client_id) else { continue };
            // It may have come back in between.
            let fits = match &member.outbox {
                Some(outbox) => outbox.try_send(delivery).is_ok(),
                None if member.left.waiting.len() < OUTBOX => {
                    member.left.waiting.push_back(delivery);
                    true
                }
                None => false,
            };
            if !fits {
                metrics::mqtt_undelivered();
            }
        }
        drop(members);
        self.changed();
    }
}

/// The message with no higher a QoS than was granted.
fn at_most(message: &Delivery, granted: QoS) -> Delivery {
    let qos = if (granted as u8) < (message.qos as u8) { granted } else { message.qos };
    Delivery { qos, ..message.clone() }
}
