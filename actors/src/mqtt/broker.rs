//! What all MQTT sessions of a node share: who is connected, and who wants to hear what.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use rumqttc::QoS;
use tokio::sync::mpsc;
use voltree_protocols::mqtt::Filter;
use voltree_storage::JournalSlot;

use crate::metrics;
use crate::registry::Registry;

/// How many messages may wait for one subscriber; what does not fit is counted as undelivered.
const OUTBOX: usize = 1_000;

/// A message on its way to a subscriber.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
}

#[derive(Debug)]
struct Member {
    session: u64,
    filters: Vec<(Filter, QoS)>,
    outbox: mpsc::Sender<Delivery>,
}

/// The node's half of the broker.
#[derive(Debug)]
pub struct Broker {
    pub(super) registry: Arc<Registry>,
    pub(super) journal: Arc<JournalSlot>,
    members: RwLock<HashMap<String, Member>>,
    sessions: AtomicU64,
}

impl Broker {
    /// A broker without sessions.
    pub fn new(registry: Arc<Registry>, journal: Arc<JournalSlot>) -> Self {
        Self { registry, journal, members: RwLock::default(), sessions: AtomicU64::new(0) }
    }

    /// A number that no other session of this node has.
    pub(super) fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Lets a client in. A client of the same id that was in before finds its outbox closed: it was taken over.
    pub(super) fn join(&self, client_id: &str, session: u64) -> mpsc::Receiver<Delivery> {
        let (outbox, inbox) = mpsc::channel(OUTBOX);
        let member = Member { session, filters: Vec::new(), outbox };
        self.members.write().insert(client_id.to_owned(), member);
        inbox
    }

    /// Lets a client go, unless another session took it over.
    pub(super) fn leave(&self, client_id: &str, session: u64) {
        let mut members = self.members.write();
        if members.get(client_id).is_some_and(|member| member.session == session) {
            members.remove(client_id);
        }
    }

    pub(super) fn subscribe(&self, client_id: &str, session: u64, added: Vec<(Filter, QoS)>) {
        self.with_filters(client_id, session, |filters| {
            filters.retain(|(known, _)| added.iter().all(|(new, _)| new != known));
            filters.extend(added);
        });
    }

    pub(super) fn unsubscribe(&self, client_id: &str, session: u64, removed: &[Filter]) {
        self.with_filters(client_id, session, |filters| {
            filters.retain(|(known, _)| !removed.contains(known))
        });
    }

    /// Puts a message into the outbox of everyone who subscribed to its topic, once each, at the highest QoS granted.
    pub(super) fn route(&self, topic: &str, payload: &Bytes, qos: QoS) {
        for member in self.members.read().values() {
            let granted =
                member.filters.iter().filter(|(filter, _)| filter.matches(topic)).map(|(_, qos)| *qos);
            let Some(granted) = granted.max_by_key(|qos| *qos as u8) else { continue };
            let qos = if (granted as u8) < (qos as u8) { granted } else { qos };
            let delivery = Delivery { topic: Arc::from(topic), payload: payload.clone(), qos };
            if member.outbox.try_send(delivery).is_err() {
                metrics::mqtt_undelivered();
            }
        }
    }

    fn with_filters(&self, client_id: &str, session: u64, change: impl FnOnce(&mut Vec<(Filter, QoS)>)) {
        if let Some(member) = self.members.write().get_mut(client_id).filter(|m| m.session == session) {
            change(&mut member.filters);
        }
    }
}
