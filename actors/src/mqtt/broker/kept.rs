//! How the sessions that clients want to come back to are kept: a record of each, and one of each message that waits. Both
//! are disk formats.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::QoS;
use serde::{Deserialize, Serialize};
use voltree_model::Timestamp;
use voltree_protocols::mqtt::{Filter, Granted, OpenDelivery, PublishProperties};
use voltree_storage::{Error, Record, RecordKind, Records};

use super::queue::Recorded;
use super::{Delivery, KeptSaid, Member, Said};

/// The record of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptSession {
    /// For how long it outlives a connection; `None` for as long as there is room.
    pub(super) expiry_ms: Option<u64>,
    /// When it ends, if its client is away.
    pub(super) until_ms: Option<i64>,
    pub(super) filters: Vec<KeptFilter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptFilter {
    pub(super) text: String,
    pub(super) qos: u8,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) id: Option<u32>,
}

/// The record of a message that waits for a client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeptDelivery {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) ids: Vec<u32>,
    pub(super) said: Option<KeptSaid>,
}

impl Record for KeptSession {
    const KIND: RecordKind = RecordKind::Session;
    const VERSION: u8 = 1;
}

impl Record for KeptDelivery {
    const KIND: RecordKind = RecordKind::SessionMessage;
    const VERSION: u8 = 1;
}

/// The sessions that the records tell of, and the clients of messages whose session is none of them.
pub(super) fn sessions(
    records: &Records,
    now: Timestamp,
) -> Result<(HashMap<String, Member>, BTreeSet<String>), Error> {
    let sessions = records.all::<KeptSession>()?.into_iter();
    let mut members: HashMap<_, _> =
        sessions.map(|(client_id, session)| (client_id, session.member(now))).collect();
    let (mut numbers, mut strays) = (BTreeMap::<String, BTreeSet<u64>>::new(), BTreeSet::new());
    for (key, message) in records.all::<KeptDelivery>()? {
        let Some((client_id, number)) = Recorded::parse(&key) else { continue };
        let Some(member) = members.get_mut(client_id) else {
            strays.insert(client_id.to_owned());
            continue;
        };
        member.left.waiting.push_back(Delivery { record: Some(number), ..message.delivery() });
        numbers.entry(client_id.to_owned()).or_default().insert(number);
    }
    for (client_id, numbers) in numbers {
        if let Some(member) = members.get_mut(&client_id) {
            member.recorded = Recorded::of(numbers);
        }
    }
    Ok((members, strays))
}

impl KeptSession {
    pub(super) fn of(member: &Member) -> Self {
        Self {
            expiry_ms: member.expiry.and_then(|expiry| u64::try_from(expiry.as_millis()).ok()),
            until_ms: member.until.map(Timestamp::as_millis),
            filters: member
                .filters
                .iter()
                .map(|(filter, granted)| KeptFilter::of(filter, *granted))
                .collect(),
        }
    }

    /// Its client is away: a session that had one when the node ended lasts from now on for as long as it was to.
    fn member(self, now: Timestamp) -> Member {
        let expiry = self.expiry_ms.map(Duration::from_millis);
        let until = self.until_ms.map(Timestamp::from_millis);
        let filters = self.filters.iter().cloned().filter_map(KeptFilter::granted).collect();
        Member {
            lasting: true,
            expiry,
            until: until.or_else(|| expiry.map(|expiry| now.plus(expiry))),
            filters,
            written: Some(Box::new(self)),
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
    pub(super) fn of(delivery: &Delivery) -> Self {
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
    pub(super) fn of_open(open: &OpenDelivery) -> Option<Self> {
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
            record: None,
        }
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
        let back = |member: &Member| KeptSession::of(member).member(now);
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
}
