//! What waits for an outside broker: in memory to be sent, and as records in the journal, so that neither the end of the
//! node nor that broker's absence loses it.
//!
//! A message leaves only when the outside broker has acknowledged it. It is bounded in number and in bytes: past that the
//! oldest goes, counted and told. A change is offered to the journal while the queue is locked, so the journal has them in
//! order; and before the message's own readings, so that these are never there without it. Messages of QoS 0 are not kept,
//! and don't wait for a broker that is away. One that makes the broker hang up again and again is set aside.

mod aside;
mod suspicion;

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use rumqttc::QoS;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use voltree_model::Timestamp;
use voltree_storage::{Entry, JournalSlot, Record, RecordChange, RecordKind};

pub use self::aside::SetAsideMessage;
pub(super) use self::suspicion::Sent;
use self::suspicion::Suspicion;
use super::bridge::{Bridge, Echoes};
use super::broker::{KeptSaid, Said};
use crate::{intake, metrics};

/// How many bytes the messages that wait may have together.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Resolves when a message is on disk; false if that can't be promised.
pub(crate) type Kept = Pin<Box<dyn Future<Output = bool> + Send + Sync>>;

/// A message for an outside broker, under the name that it has here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// What its publisher said in properties of 5.0.
    pub(super) said: Option<Arc<Said>>,
}

/// What of it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct KeptOutgoing {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    said: Option<KeptSaid>,
}

impl Record for KeptOutgoing {
    const KIND: RecordKind = RecordKind::Outgoing;
    const VERSION: u8 = 1;
}

/// The messages for one outside broker.
#[derive(Debug)]
pub(super) struct Outbox {
    broker: String,
    bridge: Bridge,
    journal: Arc<JournalSlot>,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    connected: AtomicBool,
    echoes: Mutex<Echoes>,
    suspicion: Mutex<Suspicion>,
    /// Topics whose retained messages made the broker hang up.
    shunned: Mutex<BTreeSet<Arc<str>>>,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    /// In the order of their numbers.
    messages: VecDeque<(u64, Outgoing)>,
    bytes: usize,
    /// How many had to go since there was room last.
    dropped: u64,
}

impl Outgoing {
    fn is_kept(&self) -> bool {
        self.qos != QoS::AtMostOnce
    }

    fn size(&self) -> usize {
        self.topic.len() + self.payload.len()
    }

    fn kept(&self) -> KeptOutgoing {
        KeptOutgoing {
            topic: self.topic.to_string(),
            payload: self.payload.to_vec(),
            qos: self.qos as u8,
            retain: self.retain,
            said: self.said.as_ref().map(|said| said.kept()),
        }
    }
}

impl From<KeptOutgoing> for Outgoing {
    fn from(kept: KeptOutgoing) -> Self {
        Self {
            topic: kept.topic.into(),
            payload: kept.payload.into(),
            qos: rumqttc::qos(kept.qos).unwrap_or(QoS::AtLeastOnce),
            retain: kept.retain,
            said: kept.said.map(|said| Arc::new(Said::from(said))),
        }
    }
}

impl Waiting {
    fn push(&mut self, number: u64, message: Outgoing) {
        self.bytes += message.size();
        self.messages.push_back((number, message));
        metrics::mqtt_forward_waiting(1.0);
    }

    fn pop(&mut self) -> Option<(u64, Outgoing)> {
        let (number, message) = self.messages.pop_front()?;
        self.left(&message);
        Some((number, message))
    }

    fn remove(&mut self, number: u64) -> Option<Outgoing> {
        let index = self.messages.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let (_, message) = self.messages.remove(index)?;
        self.left(&message);
        Some(message)
    }

    fn left(&mut self, message: &Outgoing) {
        self.bytes -= message.size();
        metrics::mqtt_forward_waiting(-1.0);
    }
}

impl Outbox {
    /// What the journal has for this broker.
    pub(super) fn open(
        broker: &str,
        bridge: Bridge,
        journal: Arc<JournalSlot>,
    ) -> Result<Self, voltree_storage::Error> {
        let own = format!("{broker}/");
        let mut waiting = Waiting::default();
        for (key, kept) in journal.records().all::<KeptOutgoing>()? {
            if let Some(number) = key.strip_prefix(&own).and_then(|number| number.parse().ok()) {
                waiting.last = number;
                waiting.push(number, kept.into());
            }
        }
        Ok(Self {
            broker: broker.to_owned(),
            bridge,
            journal,
            waiting: Mutex::new(waiting),
            arrived: Notify::new(),
            connected: AtomicBool::new(false),
            echoes: Mutex::default(),
            suspicion: Mutex::default(),
            shunned: Mutex::default(),
        })
    }

    pub(super) fn broker(&self) -> &str {
        &self.broker
    }

    pub(super) fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// Takes a message in, if there is anything to be done with it.
    pub(super) fn offer(&self, message: Outgoing, now: Timestamp) -> Option<Kept> {
        if !message.is_kept() && !self.connected.load(Ordering::Acquire) {
            return None;
        }
        let mut waiting = self.waiting.lock();
        waiting.last += 1;
        let number = waiting.last;
        let mut changes = Vec::new();
        if message.is_kept() {
            match RecordChange::entry(&self.key(number), Some(&message.kept()), now) {
                Ok(entry) => changes.push(entry),
                // No second try would make it smaller. Its sender is not told that it is kept, as it is not.
                Err(error) => {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::error!(event = "mqtt.forward.not_kept", broker = self.broker, error);
                    return Some(Box::pin(std::future::ready(false)));
                }
            }
        }
        self.make_room(&mut waiting, message.size(), &mut changes, now);
        waiting.push(number, message);
        let committed = (!changes.is_empty()).then(|| intake::submit(&self.journal, changes));
        drop(waiting);
        self.arrived.notify_one();
        Some(match committed {
            Some(committed) => Box::pin(async move { matches!(committed.await, Ok(Ok(_))) }),
            None => Box::pin(std::future::ready(true)),
        })
    }

    /// Lets the oldest go until there is room for another message.
    fn make_room(&self, waiting: &mut Waiting, bytes: usize, changes: &mut Vec<Entry>, now: Timestamp) {
        while waiting.messages.len() >= self.bridge.most_waiting || waiting.bytes + bytes > MOST_BYTES {
            let Some((number, message)) = waiting.pop() else { return };
            if message.is_kept() {
                changes.extend(self.removal(number, now));
            }
            if waiting.dropped == 0 {
                let (messages, bytes) = (waiting.messages.len() + 1, waiting.bytes + message.size());
                tracing::warn!(
                    event = "mqtt.forward.overflow",
                    broker = self.broker,
                    messages,
                    bytes,
                    "too much waits for an outside broker: the oldest messages are dropped"
                );
            }
            waiting.dropped += 1;
            metrics::mqtt_forward_dropped("overflow");
        }
    }

    /// The oldest message after this number.
    pub(super) fn after(&self, number: u64) -> Option<(u64, Outgoing)> {
        let waiting = self.waiting.lock();
        let index = waiting.messages.partition_point(|(other, _)| *other <= number);
        waiting.messages.get(index).cloned()
    }

    /// Forgets a message that the broker has, or that it can't be given.
    pub(super) fn done(&self, number: u64, now: Timestamp) {
        let mut waiting = self.waiting.lock();
        let Some(message) = waiting.remove(number) else { return };
        if message.is_kept() {
            let change = self.removal(number, now).into_iter().collect();
            // If that is not committed, the message goes once more after the next start.
            self.journal.append(change, Box::new(|_| ()));
        }
        if waiting.dropped > 0 && waiting.messages.len() <= self.bridge.most_waiting / 2 {
            let dropped = std::mem::take(&mut waiting.dropped);
            tracing::warn!(
                event = "mqtt.forward.room",
                broker = self.broker,
                dropped,
                "there is room again for what an outside broker is to get; so many messages were dropped"
            );
        }
    }

    /// Whether the broker is there.
    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Release);
    }

    /// Resolves when there may be another message.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Remembers a message that may come back from there, under the name that it has there.
    pub(super) fn sent(&self, topic: &str, payload: &[u8], now: Instant) {
        self.echoes.lock().sent(topic, payload, now);
    }

    /// Whether a message that came from there is one of ours.
    pub(super) fn came_back(&self, topic: &str, payload: &[u8], now: Instant) -> bool {
        self.echoes.lock().came_back(topic, payload, now)
    }

    fn removal(&self, number: u64, now: Timestamp) -> Option<Entry> {
        // Taking a record away always fits.
        RecordChange::entry::<KeptOutgoing>(&self.key(number), None, now).ok()
    }

    /// Keys are in the order of their numbers.
    fn key(&self, number: u64) -> String {
        format!("{}/{number:020}", self.broker)
    }
}

#[cfg(test)]
mod tests;
