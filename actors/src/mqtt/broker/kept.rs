//! What of the broker is kept in a file: the sessions that clients want to come back to. Earlier versions had the
//! retained messages there, too.
//!
//! Saved whole by the keeper, soon after a change that somebody waits for and now and then for the rest.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::QoS;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use voltree_model::Timestamp;
use voltree_protocols::mqtt::{Filter, Granted, OpenDelivery, PublishProperties};

use super::{Broker, Delivery, KeptSaid, Left, Member, Said};
use crate::mqtt::keeper::KeeperMsg;
use crate::mqtt::retained::{OldRetained, Retained};

/// The content of the file that is written today.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Kept {
    sessions: Vec<KeptSession>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeptSession {
    client_id: String,
    /// For how long it outlives a connection; `None` for as long as there is room.
    expiry_ms: Option<u64>,
    /// When it ends, if its client was away.
    until_ms: Option<i64>,
    filters: Vec<KeptFilter>,
    waiting: Vec<KeptDelivery>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeptFilter {
    text: String,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    id: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeptDelivery {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    ids: Vec<u32>,
    said: Option<KeptSaid>,
}

/// The content of the file of earlier versions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct OldKept {
    retained: OldRetained,
    sessions: Vec<OldSession>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OldSession {
    client_id: String,
    filters: Vec<(String, u8)>,
    waiting: Vec<OldDelivery>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OldDelivery {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
}

impl From<OldSession> for KeptSession {
    fn from(old: OldSession) -> Self {
        let filter =
            |(text, qos)| KeptFilter { text, qos, no_local: false, retain_as_published: false, id: None };
        let delivery = |OldDelivery { topic, payload, qos, retain }| KeptDelivery {
            topic,
            payload,
            qos,
            retain,
            ids: Vec::new(),
            said: None,
        };
        Self {
            client_id: old.client_id,
            expiry_ms: None,
            until_ms: None,
            filters: old.filters.into_iter().map(filter).collect(),
            waiting: old.waiting.into_iter().map(delivery).collect(),
        }
    }
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

/// Reads the file, or that of an earlier version beside it, if there is one.
pub(super) fn load(
    file: &Path,
    now: Timestamp,
) -> Result<(Retained, HashMap<String, Member>), voltree_storage::Error> {
    let old: OldKept = voltree_storage::load_snapshot(file)?.unwrap_or_default();
    let sessions = match voltree_storage::load_snapshot::<Kept>(&sessions_file(file))? {
        Some(kept) => kept.sessions,
        None => old.sessions.into_iter().map(KeptSession::from).collect(),
    };
    let members = sessions.into_iter().map(|session| (session.client_id.clone(), session.member(now)));
    Ok((old.retained.into(), members.collect()))
}

/// Where the sessions are.
fn sessions_file(file: &Path) -> PathBuf {
    file.with_extension("sessions")
}

impl KeptSession {
    fn of(client_id: &str, member: &Member) -> Self {
        let open = member.left.open.iter().filter_map(KeptDelivery::of_open);
        Self {
            client_id: client_id.to_owned(),
            expiry_ms: member.expiry.and_then(|expiry| u64::try_from(expiry.as_millis()).ok()),
            until_ms: member.until.map(Timestamp::as_millis),
            filters: member
                .filters
                .iter()
                .map(|(filter, granted)| KeptFilter::of(filter, *granted))
                .collect(),
            waiting: open.chain(member.left.waiting.iter().map(KeptDelivery::of)).collect(),
        }
    }

    /// Its client is away: a session that had one when it was saved lasts from now on for as long as it was to.
    fn member(self, now: Timestamp) -> Member {
        let expiry = self.expiry_ms.map(Duration::from_millis);
        let until = self.until_ms.map(Timestamp::from_millis);
        let waiting = self.waiting.into_iter().map(KeptDelivery::delivery).collect();
        Member {
            lasting: true,
            expiry,
            until: until.or_else(|| expiry.map(|expiry| now.plus(expiry))),
            filters: self.filters.into_iter().filter_map(KeptFilter::granted).collect(),
            left: Left { waiting, ..Left::default() },
            ..Member::default()
        }
    }
}

impl KeptFilter {
    fn of(filter: &Filter, granted: Granted) -> Self {
        let Granted { qos, no_local, retain_as_published, id } = granted;
        Self { text: filter.as_str().to_owned(), qos: qos as u8, no_local, retain_as_published, id }
    }

    fn granted(self) -> Option<(Filter, Granted)> {
        let Self { text, qos, no_local, retain_as_published, id } = self;
        let qos = rumqttc::qos(qos).ok()?;
        Some((Filter::parse(text).ok()?, Granted { qos, no_local, retain_as_published, id }))
    }
}

impl KeptDelivery {
    fn of(delivery: &Delivery) -> Self {
        let (topic, payload) = (delivery.topic.to_string(), delivery.payload.to_vec());
        Self {
            topic,
            payload,
            qos: delivery.qos as u8,
            retain: delivery.retain,
            ids: delivery.ids.clone(),
            said: delivery.said.as_ref().map(|said| said.kept()),
        }
    }

    /// A delivery that was under way: whether it arrived is not known, so it is made once more.
    fn of_open(open: &OpenDelivery) -> Option<Self> {
        let OpenDelivery::Sent(publish, said) = open else { return None };
        let said = said.as_ref().map(|said| Said::of(PublishProperties::clone(said), crate::now()).kept());
        Some(Self {
            topic: publish.topic.clone(),
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            ids: Vec::new(),
            said,
        })
    }

    fn delivery(self) -> Delivery {
        Delivery {
            topic: self.topic.into(),
            payload: Bytes::from(self.payload),
            qos: rumqttc::qos(self.qos).unwrap_or(QoS::AtLeastOnce),
            retain: self.retain,
            ids: self.ids,
            said: self.said.map(|said| Arc::new(Said::from(said))),
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
        let saved = voltree_storage::save_snapshot(&sessions_file(&self.file), &self.kept());
        match &saved {
            Ok(()) => {
                self.changes.saved.send_replace(made);
                self.forget_old_file();
            }
            Err(_) => self.changed(),
        }
        saved
    }

    /// What an earlier version kept is in the journal and in the file of today by now.
    fn forget_old_file(&self) {
        if !self.recording.is_taking_over()
            && let Err(error) = std::fs::remove_file(&self.file)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(%error, file = %self.file.display(), "the file of an earlier version stays");
        }
    }

    fn kept(&self) -> Kept {
        let sessions = self.members.read();
        let sessions = sessions.all().filter(|(_, member)| member.lasting);
        Kept { sessions: sessions.map(|(client_id, member)| KeptSession::of(client_id, member)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_the_same_after_it_was_kept_and_ends_when_it_would_have() {
        let now = Timestamp::from_millis(10_000);
        let granted = Granted { no_local: true, id: Some(7), ..Granted::from(QoS::ExactlyOnce) };
        let filter = Filter::parse("a/#").unwrap();
        let away = Member {
            lasting: true,
            expiry: Some(Duration::from_secs(60)),
            until: Some(Timestamp::from_millis(50_000)),
            filters: vec![(filter.clone(), granted)],
            ..Member::default()
        };
        let back = |member: &Member| {
            let bytes = KeptSession::of("x", member);
            bytes.member(now)
        };
        assert_eq!((back(&away).until, back(&away).expiry), (away.until, away.expiry));
        assert_eq!(back(&away).filters, [(filter, granted)]);
        let connected = Member { until: None, ..away };
        assert_eq!(
            back(&connected).until,
            Some(Timestamp::from_millis(70_000)),
            "it was in when the node ended"
        );
        let for_ever = Member { expiry: None, ..connected };
        assert_eq!(back(&for_ever).until, None);
    }

    #[test]
    fn sessions_that_an_earlier_version_kept_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("broker");
        let delivery = OldDelivery { topic: "a".to_owned(), payload: vec![1], qos: 1, retain: false };
        let session = OldSession {
            client_id: "x".to_owned(),
            filters: vec![("a".to_owned(), 2)],
            waiting: vec![delivery],
        };
        let old = OldKept { retained: OldRetained::default(), sessions: vec![session] };
        voltree_storage::save_snapshot(&file, &old).unwrap();
        let (_, members) = load(&file, crate::now()).unwrap();
        let member = &members["x"];
        assert_eq!((member.filters.len(), member.left.waiting.len(), member.until), (1, 1, None));
        voltree_storage::save_snapshot(&sessions_file(&file), &Kept::default()).unwrap();
        assert!(load(&file, crate::now()).unwrap().1.is_empty(), "the file of today counts");
    }
}
