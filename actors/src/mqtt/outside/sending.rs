//! One connection's way out: what of the outbox is under way to the outside broker, and what it still gets of what is
//! retained here.
//!
//! A message leaves the outbox when the broker's PUBACK for it comes, never before; a connection that is lost takes only
//! the knowledge of what was under way with it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rumqttc::QoS;
use voltree_protocols::mqtt::{Filter, PublishProperties};
use voltree_runtime::clock;

use super::wire::{Client, NoRoom, Sending, Welcome};
use super::{OutsideBroker, Protocol};
use crate::metrics;
use crate::mqtt::Broker;
use crate::mqtt::bridge;
use crate::mqtt::broker::Delivery;
use crate::mqtt::outbox::{Outbox, Outgoing, Sent};

/// How many publishes may be under way to the broker, if it does not say fewer.
const WINDOW: usize = 100;
/// What a packet has besides topic, payload and what is said in texts, at most.
const OVERHEAD_BYTES: usize = 64;

/// The way out.
pub(super) struct Way {
    outbox: Arc<Outbox>,
    node: String,
    protocol: Protocol,
    /// What may come back.
    heard_there: Vec<Filter>,
    window: usize,
    largest: Option<usize>,
    /// The number of the last message that was taken from the outbox.
    taken: u64,
    /// Handed to the client, which has not given them a packet id yet.
    handed: VecDeque<Sent>,
    /// With packet id.
    under_way: HashMap<u16, Sent>,
    /// Whether a message of QoS 0 went out that the broker may still be at.
    unacknowledged: bool,
    /// Topics whose retained messages the broker is still to be given.
    retained: VecDeque<String>,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.outbox.set_connected(false);
    }
}

impl Way {
    pub(super) fn new(outside: &OutsideBroker, broker: &Broker, outbox: Arc<Outbox>) -> Self {
        Self {
            outbox,
            node: broker.node().to_owned(),
            protocol: outside.protocol,
            heard_there: outside
                .wanted()
                .iter()
                .filter_map(|wanted| Some(Filter::parse(wanted.path.as_str()).ok()?.plain()))
                .collect(),
            window: 0,
            largest: None,
            taken: 0,
            handed: VecDeque::new(),
            under_way: HashMap::new(),
            unacknowledged: false,
            retained: VecDeque::new(),
        }
    }

    /// Begins to send. A broker that does not know us gets what is retained, like any new subscriber of ours.
    pub(super) fn open(&mut self, welcome: Welcome, first: bool, broker: &Broker) {
        let receive_maximum = welcome.receive_maximum.map_or(WINDOW, usize::from);
        // One fewer than it takes: rumqttc writes nothing at all, acknowledgements neither, while its window is full.
        self.window = WINDOW.min(receive_maximum.saturating_sub(1)).max(1);
        self.largest = welcome.largest;
        if first || !welcome.session_present {
            self.retained = broker.retained_for(&self.outbox);
        }
        self.outbox.set_connected(true);
    }

    /// Resolves when there may be more to send.
    pub(super) async fn has_more(&self) {
        if self.has_room() {
            self.outbox.arrived().await;
        } else {
            std::future::pending().await
        }
    }

    /// Whether one more may be under way.
    pub(super) fn has_room(&self) -> bool {
        let window = if self.outbox.is_careful() { 1 } else { self.window };
        self.handed.len() + self.under_way.len() < window
    }

    /// Hands what waits to the client, as far as it may be under way.
    pub(super) fn send(&mut self, client: &Client, broker: &Broker) -> Result<(), NoRoom> {
        while self.has_room() {
            if let Some((number, message)) = self.outbox.after(self.taken) {
                self.taken = number;
                self.send_one(client, Sent::Kept(number), message)?;
            } else if let Some(topic) = self.retained.pop_front() {
                let Some(message) = retained(broker, &topic).filter(|_| !self.outbox.shuns(&topic)) else {
                    continue;
                };
                self.send_one(client, Sent::Retained(Arc::clone(&message.topic)), message)?;
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    fn send_one(&mut self, client: &Client, sent: Sent, message: Outgoing) -> Result<(), NoRoom> {
        let now = crate::now();
        let said =
            message.said.as_ref().map_or_else(|| Some(PublishProperties::default()), |s| s.at(now, &[]));
        let Some(properties) = said else {
            self.drop_one(&sent, &message.topic, "expired");
            return Ok(());
        };
        let properties = bridge::passed_on(properties, &self.node);
        let topic = self.outbox.bridge().there(&message.topic);
        if self.largest.is_some_and(|most| size(&topic, &message, &properties) > most) {
            self.drop_one(&sent, &message.topic, "too_large");
            return Ok(());
        }
        if self.protocol == Protocol::V3 && self.heard_there.iter().any(|filter| filter.matches(&topic)) {
            self.outbox.sent(&topic, &message.payload, clock::monotonic().into_std());
        }
        // There is no use in QoS 2 to a broker that may be sent the same again after a crash.
        let qos = if message.qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let Outgoing { payload, retain, .. } = message;
        client.publish(Sending { topic, payload, qos, retain, properties })?;
        match qos {
            QoS::AtMostOnce => {
                self.unacknowledged = true;
                self.done(&sent);
            }
            QoS::AtLeastOnce | QoS::ExactlyOnce => self.handed.push_back(sent),
        }
        Ok(())
    }

    /// Sends a message of QoS 1 that does not wait in the outbox; its acknowledgement is nobody's.
    pub(super) fn send_beside(&mut self, client: &Client, sending: Sending) -> Result<(), NoRoom> {
        client.publish(sending)?;
        self.handed.push_back(Sent::Beside);
        Ok(())
    }

    fn drop_one(&self, sent: &Sent, topic: &str, reason: &'static str) {
        metrics::mqtt_forward_dropped(reason);
        tracing::warn!(
            event = "mqtt.forward.dropped",
            broker = self.outbox.broker(),
            topic,
            reason,
            "a message does not go to an outside broker"
        );
        self.done(sent);
    }

    /// A message that waited waits no longer.
    fn done(&self, sent: &Sent) {
        if let Sent::Kept(number) = sent {
            self.outbox.done(*number, crate::now());
        }
    }

    /// The broker hung up. A message that it had not acknowledged may be why, unless another one may be that nobody
    /// acknowledges.
    pub(super) fn hung_up(&self, broker: &Broker, cause: &str) {
        let mut under_way: Vec<_> = self.under_way.values().chain(&self.handed).cloned().collect();
        let was_written = self.handed.is_empty() && !self.unacknowledged;
        if !was_written {
            under_way.push(Sent::Beside);
        }
        self.outbox.hung_up(&under_way, cause, |topic| retained(broker, topic), crate::now());
    }

    /// The client gave the oldest message that it was handed this packet id.
    pub(super) fn sent(&mut self, pkid: u16) {
        if let Some(sent) = self.handed.pop_front() {
            self.under_way.insert(pkid, sent);
        }
    }

    /// The broker has a message, or says that it will not have it.
    pub(super) fn acknowledged(&mut self, pkid: u16, refused: Option<&str>) {
        let Some(sent) = self.under_way.remove(&pkid) else { return };
        self.unacknowledged = false;
        self.outbox.got_through(&sent);
        if let Some(why) = refused {
            metrics::mqtt_forward_dropped("refused");
            let broker = self.outbox.broker();
            tracing::warn!(
                event = "mqtt.forward.refused",
                broker,
                why,
                "an outside broker refuses a message"
            );
        } else {
            metrics::mqtt_forwarded();
        }
        self.done(&sent);
    }
}

/// What is retained here on a topic, as it goes to the broker.
fn retained(broker: &Broker, topic: &str) -> Option<Outgoing> {
    let Delivery { topic, payload, qos, said, .. } = broker.retained_message(topic)?;
    Some(Outgoing { topic, payload, qos, retain: true, said })
}

/// How large a packet gets, or a little more.
fn size(topic: &str, message: &Outgoing, said: &PublishProperties) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let user: usize = said.user_properties.iter().map(|(name, value)| name.len() + value.len() + 5).sum();
    let correlation = said.correlation_data.as_ref().map_or(0, bytes::Bytes::len);
    let texts = text(&said.content_type) + text(&said.response_topic);
    topic.len() + message.payload.len() + user + correlation + texts + OVERHEAD_BYTES
}
