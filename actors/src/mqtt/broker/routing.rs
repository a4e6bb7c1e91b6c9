//! From a message to its subscribers: everyone who subscribed hears it once, of each group that shares a subscription one.
//!
//! For clients that are away it waits in their session, if it is of QoS 1 or 2. It never waits for a subscriber: one
//! whose outbox is full loses the message, counted, and a group's turn goes to the next member instead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rumqttc::QoS;

use super::{Broker, Delivery, Member, OUTBOX, Said};
use crate::metrics;

/// A member of a group, and the QoS it was granted.
type Taker<'a> = (&'a str, &'a Member, QoS);

/// What became of an attempt to hand a message over.
enum Handed {
    Taken,
    Full,
    /// Its client is away; the message may wait for it.
    Away(Delivery),
}

impl Broker {
    /// Hands a message to everyone who subscribed to its topic, once each, at the highest QoS granted, and to one member
    /// of each group that shares a subscription to it.
    pub(in crate::mqtt) fn route(&self, topic: &str, payload: &Bytes, qos: QoS, said: Option<Arc<Said>>) {
        let message =
            Delivery { topic: Arc::from(topic), payload: payload.clone(), qos, retain: false, said };
        let mut away = Vec::new();
        let mut groups: BTreeMap<&str, Vec<Taker<'_>>> = BTreeMap::new();
        let members = self.members.read();
        for (client_id, member) in members.iter() {
            let mut granted: Option<QoS> = None;
            for (filter, qos) in member.filters.iter().filter(|(filter, _)| filter.matches(topic)) {
                if filter.group().is_some() {
                    groups.entry(filter.as_str()).or_default().push((client_id, member, *qos));
                } else if granted.is_none_or(|known| (known as u8) < (*qos as u8)) {
                    granted = Some(*qos);
                }
            }
            let Some(granted) = granted else { continue };
            match hand_over(member, &message, granted) {
                Handed::Taken => {}
                Handed::Full => metrics::mqtt_undelivered(),
                Handed::Away(delivery) if delivery.qos == QoS::AtMostOnce => {}
                Handed::Away(delivery) => away.push((client_id.clone(), delivery)),
            }
        }
        for takers in groups.into_values() {
            away.extend(self.hand_to_one(takers, &message));
        }
        drop(members);
        if !away.is_empty() {
            self.lay_by(away);
        }
    }

    /// Hands a message to whose turn it is: to a connected member with room if there is one, else to one that is away.
    fn hand_to_one(&self, mut takers: Vec<Taker<'_>>, message: &Delivery) -> Option<(String, Delivery)> {
        takers.sort_unstable_by_key(|(client_id, ..)| *client_id);
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) % takers.len();
        takers.rotate_left(turn);
        let mut away = None;
        let mut full = false;
        for (client_id, member, granted) in takers {
            match hand_over(member, message, granted) {
                Handed::Taken => return None,
                Handed::Full => full = true,
                Handed::Away(delivery) if delivery.qos == QoS::AtMostOnce => {}
                Handed::Away(delivery) => {
                    away.get_or_insert_with(|| (client_id.to_owned(), delivery));
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

fn hand_over(member: &Member, message: &Delivery, granted: QoS) -> Handed {
    let qos = if (granted as u8) < (message.qos as u8) { granted } else { message.qos };
    let delivery = Delivery { qos, ..message.clone() };
    match &member.outbox {
        Some(outbox) => outbox.try_send(delivery).map_or(Handed::Full, |()| Handed::Taken),
        None => Handed::Away(delivery),
    }
}
