//! What of the broker is kept in a file: the sessions that clients want to come back to. Earlier versions had the
//! retained messages there, too.
//!
//! Saved whole by the keeper, soon after a change that somebody waits for and now and then for the rest.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rumqttc::QoS;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use voltree_protocols::mqtt::Filter;

use super::{Broker, Delivery, Left, Member};
use crate::mqtt::keeper::KeeperMsg;
use crate::mqtt::retained::Retained;

/// The file's content.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::mqtt) struct Kept {
    retained: Retained,
    sessions: Vec<KeptSession>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeptSession {
    client_id: String,
    filters: Vec<(String, u8)>,
    waiting: Vec<KeptDelivery>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeptDelivery {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
}

/// How far changes are saved.
#[derive(Debug)]
pub(super) struct Changes {
    made: watch::Sender<u64>,
    saved: watch::Sender<u64>,
    /// Changes that nobody waits for.
    some: AtomicBool,
}

impl Default for Changes {
    fn default() -> Self {
        Self { made: watch::Sender::new(0), saved: watch::Sender::new(0), some: AtomicBool::new(false) }
    }
}

/// Reads the file, if there is one.
pub(super) fn load(file: &Path) -> Result<(Retained, HashMap<String, Member>), voltree_storage::Error> {
    let kept: Kept = voltree_storage::load_snapshot(file)?.unwrap_or_default();
    let members = kept.sessions.into_iter().map(|session| (session.client_id.clone(), session.member()));
    Ok((kept.retained, members.collect()))
}

impl KeptSession {
    fn of(client_id: &str, member: &Member) -> Self {
        Self {
            client_id: client_id.to_owned(),
            filters: member
                .filters
                .iter()
                .map(|(filter, qos)| (filter.as_str().to_owned(), *qos as u8))
                .collect(),
            waiting: member.left.waiting.iter().map(KeptDelivery::of).collect(),
        }
    }

    fn member(self) -> Member {
        let filters = self.filters.into_iter();
        let filters =
            filters.filter_map(|(text, qos)| Some((Filter::parse(text).ok()?, rumqttc::qos(qos).ok()?)));
        let waiting = self.waiting.into_iter().map(KeptDelivery::delivery).collect();
        Member {
            lasting: true,
            filters: filters.collect(),
            left: Left { waiting, ..Left::default() },
            ..Member::default()
        }
    }
}

impl KeptDelivery {
    fn of(delivery: &Delivery) -> Self {
        let (topic, payload) = (delivery.topic.to_string(), delivery.payload.to_vec());
        Self { topic, payload, qos: delivery.qos as u8, retain: delivery.retain }
    }

    fn delivery(self) -> Delivery {
        Delivery {
            topic: self.topic.into(),
            payload: Bytes::from(self.payload),
            qos: rumqttc::qos(self.qos).unwrap_or(QoS::AtLeastOnce),
            retain: self.retain,
            said: None,
        }
    }
}

impl Broker {
    /// Notes a change that is to be saved at once; the answer resolves when it is, false if the node stops before.
    pub(super) fn changed_now(&self) -> impl Future<Output = bool> + use<> {
        let mut number = 0;
        self.changes.made.send_modify(|made| {
            *made += 1;
            number = *made;
        });
        self.keeper.nudge(KeeperMsg::Wake);
        let mut saved = self.changes.saved.subscribe();
        async move { saved.wait_for(|saved| *saved >= number).await.is_ok() }
    }

    /// Notes a change that may be saved later.
    pub(super) fn changed(&self) {
        self.changes.some.store(true, Ordering::Release);
    }

    /// Whether there is something to save: for somebody who waits, or at all.
    pub(in crate::mqtt) fn to_save(&self, at_all: bool) -> bool {
        let waits = *self.changes.made.borrow() > *self.changes.saved.borrow();
        waits || (at_all && self.changes.some.load(Ordering::Acquire))
    }

    /// Saves everything; blocks.
    pub(in crate::mqtt) fn save(&self) -> Result<(), voltree_storage::Error> {
        let made = *self.changes.made.borrow();
        self.changes.some.store(false, Ordering::Release);
        let saved = voltree_storage::save_snapshot(&self.file, &self.kept());
        match &saved {
            Ok(()) => drop(self.changes.saved.send_replace(made)),
            Err(_) => self.changed(),
        }
        saved
    }

    fn kept(&self) -> Kept {
        let sessions = self.members.read();
        let sessions = sessions.all().filter(|(_, member)| member.lasting);
        let sessions = sessions.map(|(client_id, member)| KeptSession::of(client_id, member)).collect();
        // Retained messages are records; only what is not taken over yet stays here.
        let taking_over = self.recording.is_taking_over();
        let retained = if taking_over { self.retained.read().clone() } else { Retained::default() };
        Kept { retained, sessions }
    }
}
