//! Last wills: of clients that are in, of clients that went without a word, and of those that an earlier life of the node
//! left behind.
//!
//! A will may wait for its client to come back (MQTT 5.0, 3.1.3.2.2): one that continues its session takes the will back,
//! one that begins anew ends the session and so makes it due at once. A client that lost its connection because the node
//! ended is given time to come back after the next start (3.1.2.5 allows to wait so long): if it does, its will means
//! nothing, and if not, the will is published. Each will is a record of the journal from its CONNECT until it is
//! published, taken back or void, so that even a kill -9 forgets none.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rumqttc::LastWill;
use serde::{Deserialize, Serialize};
use voltree_model::Timestamp;
use voltree_protocols::mqtt::{PublishProperties, WillTerms};
use voltree_storage::{Entry, Error, Record, RecordChange, RecordKind, Records};

use super::{KeptSaid, Said};

/// How long clients that were in when the node ended have to come back.
const USUAL_PATIENCE: Duration = Duration::from_secs(30);

/// A client's last will.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::mqtt) struct Will {
    number: u64,
    pub(in crate::mqtt) client_id: String,
    pub(in crate::mqtt) message: LastWill,
    pub(in crate::mqtt) properties: Option<Box<PublishProperties>>,
    delay: Duration,
    /// When it is due, once its client has gone.
    due: Option<Timestamp>,
    /// Whether it was the node that went and not the client.
    is_ours: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Wills {
    known: Mutex<Known>,
    /// How long clients have to come back after the node was away.
    patience: Duration,
}

#[derive(Debug, Default)]
struct Known {
    last: u64,
    /// Of clients that are in, by their connections.
    alive: HashMap<u64, Will>,
    /// Of clients that went, by when they are due.
    waiting: BTreeMap<(Timestamp, u64), Will>,
    /// Which of those belong to whom.
    of_client: HashMap<String, Vec<(Timestamp, u64)>>,
    /// Those of an earlier life, until clients can come back.
    left_behind: Vec<Will>,
}

/// What is to be kept of a change.
pub(super) type Changed = (u64, Option<Entry>);

/// The record of a will. This is a disk format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptWill {
    client_id: String,
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    said: Option<KeptSaid>,
    expires_after_s: Option<u32>,
    delay_ms: u64,
    due_ms: Option<i64>,
}

impl Record for KeptWill {
    const KIND: RecordKind = RecordKind::Will;
    const VERSION: u8 = 1;
}

impl Will {
    fn kept(&self) -> KeptWill {
        let said = self.properties.as_deref().map(|said| {
            // It expires so long after it is published, and not after it was given.
            let said = PublishProperties { message_expiry_interval: None, ..said.clone() };
            Said::of(said, Timestamp::from_millis(0)).kept()
        });
        KeptWill {
            client_id: self.client_id.clone(),
            topic: self.message.topic.clone(),
            payload: self.message.message.to_vec(),
            qos: self.message.qos as u8,
            retain: self.message.retain,
            said,
            expires_after_s: self.properties.as_ref().and_then(|said| said.message_expiry_interval),
            delay_ms: u64::try_from(self.delay.as_millis()).unwrap_or(u64::MAX),
            due_ms: self.due.map(Timestamp::as_millis),
        }
    }

    fn entry(&self) -> Option<Entry> {
        let entry = RecordChange::entry(&key(self.number), Some(&self.kept()), crate::now());
        entry.inspect_err(super::recorded::not_kept).ok()
    }
}

impl KeptWill {
    fn will(self, number: u64) -> Will {
        let said = self.said.map(Said::from).and_then(|said| said.at(Timestamp::from_millis(0), &[]));
        let message_expiry_interval = self.expires_after_s;
        let properties = said.map(|said| Box::new(PublishProperties { message_expiry_interval, ..said }));
        Will {
            number,
            client_id: self.client_id,
            message: LastWill {
                topic: self.topic,
                message: Bytes::from(self.payload),
                qos: rumqttc::qos(self.qos).unwrap_or(rumqttc::QoS::AtLeastOnce),
                retain: self.retain,
            },
            properties,
            delay: Duration::from_millis(self.delay_ms),
            due: self.due_ms.map(Timestamp::from_millis),
            is_ours: true,
        }
    }
}

/// Keys are in the order of their numbers.
fn key(number: u64) -> String {
    format!("{number:020}")
}

fn gone(number: u64) -> Changed {
    // Taking a record away always fits.
    (number, RecordChange::entry::<KeptWill>(&key(number), None, crate::now()).ok())
}

impl Default for Wills {
    fn default() -> Self {
        Self { known: Mutex::default(), patience: USUAL_PATIENCE }
    }
}

impl Wills {
    /// Those that earlier lives of the node left behind.
    pub(super) fn open(records: &Records) -> Result<Self, Error> {
        let numbered = records.all::<KeptWill>()?.into_iter();
        let left_behind: Vec<_> =
            numbered.filter_map(|(key, kept)| Some(kept.will(key.parse().ok()?))).collect();
        let last = left_behind.last().map_or(0, |will| will.number);
        let known = Known { last, left_behind, ..Known::default() };
        Ok(Self { known: Mutex::new(known), ..Self::default() })
    }

    pub(super) fn be_patient(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Clients can come back from now on: those whose wills were left behind have some time for that.
    pub(super) fn begin(&self, now: Timestamp) -> usize {
        let mut known = self.known.lock();
        let left_behind = std::mem::take(&mut known.left_behind);
        let count = left_behind.len();
        for will in left_behind {
            // Whether the client was in until the end or had gone before, nobody could come back meanwhile.
            let due = will.due.unwrap_or_else(|| now.plus(will.delay)).max(now.plus(self.patience));
            known.wait(Will { due: Some(due), ..will });
        }
        count
    }

    /// A client came in and left a will with us. One whose name the node made up comes back under another name, so it is
    /// none here and known again by the topic of its will.
    pub(super) fn entrust(
        &self,
        (client_id, connection): (&str, u64),
        message: LastWill,
        terms: WillTerms,
    ) -> Vec<Changed> {
        let mut known = self.known.lock();
        let mut changed = Vec::new();
        if client_id.is_empty() {
            changed = known.take_back(&message.topic);
        }
        known.last += 1;
        let number = known.last;
        let (client_id, WillTerms { delay, properties }) = (client_id.to_owned(), terms);
        let will = Will { number, client_id, message, properties, delay, due: None, is_ours: false };
        changed.push((number, will.entry()));
        known.alive.insert(connection, will);
        changed
    }

    /// The client went without a word, or `is_ours`: the node ends, or a part of it.
    pub(super) fn client_went(&self, connection: u64, is_ours: bool, now: Timestamp) -> Option<Changed> {
        let mut known = self.known.lock();
        let will = known.alive.remove(&connection)?;
        let wait = if is_ours { will.delay.max(self.patience) } else { will.delay };
        let will = Will { due: Some(now.plus(wait)), is_ours, ..will };
        // One that is due at once is as well kept as it is.
        let changed = (!will.delay.is_zero()).then(|| (will.number, will.entry()));
        known.wait(will);
        changed
    }

    /// The client said goodbye, or is back on another connection.
    pub(super) fn is_void(&self, connection: u64) -> Option<Changed> {
        self.known.lock().alive.remove(&connection).map(|will| gone(will.number))
    }

    /// The client came back: its will is taken back if its session goes on, or if it was the node that went, and due if
    /// not.
    pub(super) fn client_is_back(
        &self,
        client_id: &str,
        session_present: bool,
        now: Timestamp,
    ) -> Vec<Changed> {
        let mut known = self.known.lock();
        let its_own = known.of_client.remove(client_id).unwrap_or_default();
        let wills: Vec<_> = its_own.iter().filter_map(|place| known.waiting.remove(place)).collect();
        let mut changed = Vec::new();
        for will in wills {
            // What is due already has only not been published yet.
            let is_due = will.due.is_some_and(|due| due <= now);
            if will.is_ours || (session_present && !is_due) {
                changed.push(gone(will.number));
            } else {
                known.wait(Will { due: Some(Timestamp::from_millis(i64::MIN)), ..will });
            }
        }
        changed
    }

    /// The first one that is due, which stays until it is said to be published.
    pub(super) fn due(&self, now: Timestamp) -> Option<Will> {
        let known = self.known.lock();
        let first = known.waiting.first_key_value();
        first.filter(|((due, _), _)| *due <= now).map(|(_, will)| will.clone())
    }

    pub(super) fn published(&self, will: &Will) -> Changed {
        self.known.lock().forget(will);
        gone(will.number)
    }

    /// How long until the next one is due.
    pub(super) fn next(&self, now: Timestamp) -> Option<Duration> {
        self.known.lock().waiting.first_key_value().map(|((due, _), _)| due.since(now))
    }

    /// What the journal is to have of one, whose change it did not take.
    pub(super) fn again(&self, number: u64) -> Changed {
        let known = self.known.lock();
        let mut all = known.alive.values().chain(known.waiting.values()).chain(&known.left_behind);
        all.find(|will| will.number == number).map_or_else(|| gone(number), |will| (number, will.entry()))
    }
}

impl Known {
    fn wait(&mut self, will: Will) {
        let place = (will.due.unwrap_or(Timestamp::from_millis(i64::MIN)), will.number);
        self.of_client.entry(will.client_id.clone()).or_default().push(place);
        self.waiting.insert(place, will);
    }

    /// Takes back the will of a client without a name of its own that lost its connection because the node ended.
    fn take_back(&mut self, topic: &str) -> Vec<Changed> {
        let nameless = self.of_client.get("").into_iter().flatten();
        let wills = nameless.filter_map(|place| self.waiting.get(place));
        let same = |will: &&Will| will.is_ours && will.message.topic == topic;
        let back: Vec<_> = wills.filter(same).cloned().collect();
        for will in &back {
            self.forget(will);
        }
        back.into_iter().map(|will| gone(will.number)).collect()
    }

    fn forget(&mut self, will: &Will) {
        let Some(places) = self.of_client.get_mut(&will.client_id) else { return };
        let found = places.iter().position(|(_, number)| *number == will.number);
        let place = found.map(|index| places.swap_remove(index));
        if places.is_empty() {
            self.of_client.remove(&will.client_id);
        }
        place.and_then(|place| self.waiting.remove(&place));
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::QoS;

    use super::*;
    use crate::test_journal::{BOUND, TestJournal};

    const DELAY: Duration = Duration::from_secs(60);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn message() -> LastWill {
        LastWill::new("devices/a/status", "gone", QoS::AtLeastOnce, true)
    }

    fn terms(delay: Duration) -> WillTerms {
        let user_properties = vec![("why".to_owned(), "lost".to_owned())];
        let said = PublishProperties {
            message_expiry_interval: Some(9),
            user_properties,
            ..PublishProperties::default()
        };
        WillTerms { delay, properties: Some(Box::new(said)) }
    }

    /// The will of a client that went at 100 s.
    fn wills_of(client_id: &str) -> Wills {
        let wills = Wills::default();
        wills.entrust((client_id, 1), message(), terms(DELAY));
        wills.client_went(1, false, at(100)).unwrap();
        wills
    }

    fn due(wills: &Wills, now: Timestamp) -> Option<String> {
        wills.due(now).map(|will| will.client_id)
    }

    #[test]
    fn a_will_that_waits_is_due_after_its_delay() {
        let wills = wills_of("a");
        assert_eq!((due(&wills, at(159)), wills.next(at(150))), (None, Some(Duration::from_secs(10))));
        let will = wills.due(at(160)).unwrap();
        assert_eq!(will.client_id, "a");
        wills.published(&will);
        assert_eq!((wills.due(at(160)), wills.next(at(160))), (None, None));
    }

    #[test]
    fn a_client_that_continues_its_session_takes_its_will_back_and_one_that_begins_anew_makes_it_due() {
        let (kept, taken_back, begun_anew) = (wills_of("a"), wills_of("a"), wills_of("a"));
        kept.client_is_back("b", true, at(101));
        taken_back.client_is_back("a", true, at(101));
        begun_anew.client_is_back("a", false, at(101));
        assert!(kept.next(at(101)).is_some() && taken_back.next(at(101)).is_none());
        assert_eq!(due(&begun_anew, at(101)).as_deref(), Some("a"));
        let late = wills_of("a");
        late.client_is_back("a", true, at(160));
        assert_eq!(due(&late, at(160)).as_deref(), Some("a"), "it was due before its client came");
    }

    #[test]
    fn a_client_that_says_goodbye_or_was_never_trusted_leaves_no_will() {
        let wills = Wills::default();
        wills.entrust(("a", 1), message(), terms(Duration::ZERO));
        assert!(wills.is_void(1).is_some() && wills.is_void(1).is_none());
        assert!(wills.client_went(1, false, at(0)).is_none() && wills.next(at(0)).is_none());
    }

    /// The clients a and b are in, c went 10 s before the end and its will was to wait for 60 s.
    #[test]
    fn wills_outlive_the_node_and_their_clients_have_time_to_come_back() {
        let disk = TestJournal::default();
        let journal = disk.open();
        let mut wills = Wills::open(&journal.records()).unwrap();
        let clients = [("a", Duration::ZERO), ("b", Duration::ZERO), ("c", DELAY), ("d", Duration::ZERO)];
        let mut changes: Vec<_> = clients
            .into_iter()
            .zip(1..)
            .flat_map(|((client_id, delay), connection)| {
                wills.entrust((client_id, connection), message(), terms(delay))
            })
            .collect();
        changes.extend(wills.client_went(3, false, at(90)));
        changes.extend(wills.is_void(4));
        let entries = changes.into_iter().filter_map(|(_, entry)| entry).collect();
        journal.commit_alone(entries, BOUND).unwrap();
        drop(journal);
        disk.power_cut();

        let journal = disk.open();
        wills = Wills::open(&journal.records()).unwrap();
        wills.be_patient(Duration::from_secs(20));
        assert_eq!(wills.due(at(1_000)), None, "nobody can come back before the node listens");
        assert_eq!(wills.begin(at(100)), 3);
        assert_eq!(wills.client_is_back("b", false, at(101)).len(), 1, "its session was none");
        assert_eq!((due(&wills, at(119)), due(&wills, at(120))), (None, Some("a".to_owned())));
        let first = wills.due(at(120)).unwrap();
        assert_eq!((&first.message, &first.properties), (&message(), &terms(DELAY).properties));
        let (number, entry) = wills.published(&first);
        assert_eq!((number, wills.again(number)), (1, (number, entry)), "it is as gone as it was");
        assert_eq!((due(&wills, at(149)), due(&wills, at(150))), (None, Some("c".to_owned())));
        let (number, _) = wills.entrust(("e", 1), message(), terms(DELAY)).remove(0);
        assert_eq!(number, 4, "a number is never used twice at once");
    }

    #[test]
    fn a_node_that_ends_gives_its_clients_time_first() {
        let wills = Wills::default();
        wills.entrust(("a", 1), message(), terms(Duration::ZERO));
        assert!(wills.client_went(1, true, at(0)).is_none(), "the record says it all");
        assert_eq!((due(&wills, at(29)), due(&wills, at(30))), (None, Some("a".to_owned())));
        wills.client_is_back("a", false, at(31));
        assert_eq!(wills.next(at(31)), None);
    }

    #[test]
    fn a_client_without_a_name_of_its_own_is_known_again_by_the_topic_of_its_will() {
        let wills = Wills::default();
        let other = || LastWill::new("devices/b/status", "gone", QoS::AtLeastOnce, true);
        wills.entrust(("", 1), message(), terms(Duration::ZERO));
        wills.entrust(("", 2), other(), terms(Duration::ZERO));
        wills.client_went(1, true, at(0));
        wills.client_went(2, true, at(0));
        assert_eq!(wills.entrust(("", 3), message(), terms(Duration::ZERO)).len(), 2, "one came, one went");
        assert_eq!(wills.due(at(30)).map(|will| will.message), Some(other()));
    }
}
