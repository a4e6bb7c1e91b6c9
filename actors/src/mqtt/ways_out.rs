//! The ways to devices behind brokers of others: through which brokers each was heard, and the clients that can publish
//! there.
//!
//! It belongs to the node. Where a device was heard is a record of the journal, so that a command finds it after a restart
//! too. A client that is connected holds the receiving end of a way; a way whose client went is forgotten with the next
//! message. Must never keep a message for later: whoever sends learns at once that nobody took it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use voltree_model::{DeviceId, Timestamp};
use voltree_storage::{Error, JournalSlot, Record, RecordChange, RecordKind};

use super::mapped::Request;

/// How many devices can be commanded there; more can be heard.
const MOST_DEVICES: usize = 20_000;
/// How many messages may wait for a client's next turn.
const BACKLOG: usize = 100;
/// A device that speaks through one broker is looked for no longer behind another that was silent of it for this long.
const MOVED_AFTER: Duration = Duration::from_secs(600);
/// A device that speaks here is looked for no longer behind a broker that was silent of it for this long.
const CAME_HOME_AFTER: Duration = Duration::from_secs(60);

/// The ways out of a node.
#[derive(Debug)]
pub(super) struct WaysOut {
    journal: Arc<JournalSlot>,
    /// With the broker that each is connected to.
    clients: Mutex<Vec<(String, mpsc::Sender<Request>)>>,
    behind: Mutex<BTreeMap<DeviceId, Behind>>,
    /// Whose records the journal did not take.
    unsaved: Arc<Mutex<BTreeSet<DeviceId>>>,
}

/// Through which brokers a device was heard, and when last. This is a disk format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Behind(BTreeMap<String, Timestamp>);

impl Record for Behind {
    const KIND: RecordKind = RecordKind::WayOut;
    const VERSION: u8 = 1;
}

impl Behind {
    fn last(&self) -> Option<Timestamp> {
        self.0.values().max().copied()
    }

    /// Notes where it was heard; says whether that is news.
    fn note(&mut self, house: &str, now: Timestamp) -> bool {
        let known = self.0.len();
        let is_new = match self.0.get_mut(house) {
            Some(at) => {
                *at = now;
                false
            }
            None => self.0.insert(house.to_owned(), now).is_none(),
        };
        if self.0.len() > 1 {
            self.0.retain(|_, at| now.since(*at) < MOVED_AFTER);
        }
        is_new || self.0.len() != known
    }
}

impl WaysOut {
    /// Knows again what earlier lives of the node knew. Blocks, while the journal has no writer.
    pub(super) fn of(journal: Arc<JournalSlot>) -> Result<Self, Error> {
        let all = journal.records().all::<Behind>()?.into_iter();
        let behind = all.filter_map(|(id, behind)| Some((DeviceId::new(&id).ok()?, behind))).collect();
        Ok(Self { journal, clients: Mutex::default(), behind: Mutex::new(behind), unsaved: Arc::default() })
    }

    /// Looks for no device behind brokers that the configuration does not name any more.
    pub(super) fn keep_to(&self, houses: &[&str]) {
        let mut behind = self.behind.lock();
        behind.values_mut().for_each(|known| known.0.retain(|house, _| houses.contains(&house.as_str())));
    }

    /// A new way, for a client that is connected to this broker.
    pub(super) fn open(&self, house: &str) -> mpsc::Receiver<Request> {
        let (client, messages) = mpsc::channel(BACKLOG);
        self.clients.lock().push((house.to_owned(), client));
        messages
    }

    /// Notes that a device was heard through this broker of others.
    pub(super) fn note(&self, device: &DeviceId, house: &str, now: Timestamp) {
        let mut behind = self.behind.lock();
        let room = behind.len() < MOST_DEVICES;
        let news = match behind.get_mut(device) {
            Some(known) => known.note(house, now).then(|| known.clone()),
            None if room => {
                let mut new = Behind::default();
                new.note(house, now);
                behind.insert(device.clone(), new.clone());
                Some(new)
            }
            None => None,
        };
        // Offered under the lock, so that the journal has them in order.
        if let Some(news) = news {
            self.offer(device, Some(&news));
        }
    }

    /// Through which brokers the device was heard, if its last message, which came then, came through one of them.
    pub(super) fn lead_to(&self, device: &DeviceId, last_arrival: Option<Timestamp>) -> Option<Vec<String>> {
        let behind = self.behind.lock();
        let known = behind.get(device)?;
        let heard = known.last()?;
        last_arrival.is_none_or(|last| last <= heard).then(|| known.0.keys().cloned().collect())
    }

    /// Whether the client of any of these brokers can take a message now.
    pub(super) fn are_open(&self, houses: &[String]) -> bool {
        let clients = self.clients.lock();
        clients.iter().any(|(house, client)| houses.contains(house) && !client.is_closed())
    }

    /// Hands a message to the clients of these brokers. Answers whether one took it.
    pub(super) fn send(&self, houses: &[String], message: &Request) -> bool {
        let mut clients = self.clients.lock();
        clients.retain(|(_, client)| !client.is_closed());
        let there = clients.iter().filter(|(house, _)| houses.contains(house));
        let took = there.filter(|(_, client)| client.try_send(message.clone()).is_ok());
        took.count() > 0
    }

    /// Forgets devices that speak here by now, and offers again what the journal did not take.
    pub(super) fn tidy(&self, last_arrival: impl Fn(&DeviceId) -> Option<Timestamp>) {
        let mut behind = self.behind.lock();
        let came_home = |(device, behind): &(&DeviceId, &Behind)| {
            let heard = behind.last();
            heard.zip(last_arrival(device)).is_some_and(|(heard, last)| last.since(heard) >= CAME_HOME_AFTER)
        };
        let home: Vec<_> = behind.iter().filter(came_home).map(|(device, _)| device.clone()).collect();
        for device in home {
            behind.remove(&device);
            self.offer(&device, None);
        }
        // Not to be held meanwhile: an offer that fails at once wants it.
        let unsaved = std::mem::take(&mut *self.unsaved.lock());
        unsaved.iter().for_each(|device| self.offer(device, behind.get(device)));
    }

    fn offer(&self, device: &DeviceId, behind: Option<&Behind>) {
        let entry = RecordChange::entry(device.as_str(), behind, crate::now());
        let entry = entry.inspect_err(|error| {
            let error: &(dyn std::error::Error + 'static) = error;
            tracing::error!(event = "mqtt.way_out.not_kept", %device, error);
        });
        let (unsaved, device) = (Arc::clone(&self.unsaved), device.clone());
        let done = move |result: Result<_, _>| {
            if result.is_err() {
                unsaved.lock().insert(device);
            }
        };
        if let Ok(entry) = entry {
            self.journal.append(vec![entry], Box::new(done));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_journal::{BOUND, TestJournal};

    fn lamp() -> DeviceId {
        DeviceId::new("lamp").unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn ways() -> WaysOut {
        WaysOut::of(TestJournal::default().open()).unwrap()
    }

    fn houses(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_message_goes_to_the_brokers_that_are_meant_and_waits_for_none() {
        let (ways, message) = (ways(), ("a/b".to_owned(), b"1".to_vec()));
        let (one, both) = (houses(&["one"]), houses(&["one", "two"]));
        assert!(!ways.send(&one, &message) && !ways.are_open(&one));
        let (mut of_one, of_two, mut of_three) = (ways.open("one"), ways.open("two"), ways.open("three"));
        drop(of_two);
        assert!(ways.are_open(&both) && ways.send(&both, &message));
        assert_eq!(of_one.try_recv().unwrap(), message);
        assert!(of_three.try_recv().is_err(), "nobody heard it there");
        drop(of_one);
        assert!(!ways.send(&both, &message) && !ways.are_open(&both));
    }

    #[test]
    fn a_device_that_was_heard_here_since_is_not_looked_for_outside() {
        let ways = ways();
        assert_eq!(ways.lead_to(&lamp(), None), None);
        ways.note(&lamp(), "one", at(5));
        assert_eq!(ways.lead_to(&lamp(), Some(at(5))), Some(houses(&["one"])));
        assert_eq!(ways.lead_to(&lamp(), Some(at(6))), None);
        ways.note(&lamp(), "two", at(7));
        assert_eq!(ways.lead_to(&lamp(), Some(at(7))), Some(houses(&["one", "two"])));
        // It is silent in the one for so long that it moved to the other.
        ways.note(&lamp(), "two", at(606));
        assert_eq!(ways.lead_to(&lamp(), None), Some(houses(&["two"])));
    }

    #[test]
    fn where_a_device_was_heard_outlives_the_node_until_it_comes_home() {
        let disk = TestJournal::default();
        let journal = disk.open();
        let ways = WaysOut::of(Arc::clone(&journal)).unwrap();
        (0..100).for_each(|second| ways.note(&lamp(), "one", at(second)));
        journal.commit_alone(Vec::new(), BOUND).unwrap();
        assert_eq!(journal.committed().0, 1, "only what is news is written");
        disk.power_cut();
        let journal = disk.open();
        let ways = WaysOut::of(Arc::clone(&journal)).unwrap();
        assert_eq!(ways.lead_to(&lamp(), None), Some(houses(&["one"])));
        ways.keep_to(&["one", "two"]);
        ways.tidy(|_| Some(at(59)));
        assert!(ways.lead_to(&lamp(), None).is_some());
        ways.tidy(|_| Some(at(60)));
        assert_eq!(ways.lead_to(&lamp(), None), None);
        journal.commit_alone(Vec::new(), BOUND).unwrap();
        disk.power_cut();
        assert_eq!(WaysOut::of(disk.open()).unwrap().lead_to(&lamp(), None), None);
    }

    #[test]
    fn a_broker_that_nobody_names_any_more_is_no_way() {
        let ways = ways();
        ways.note(&lamp(), "one", at(5));
        ways.note(&lamp(), "two", at(5));
        ways.keep_to(&["two"]);
        assert_eq!(ways.lead_to(&lamp(), None), Some(houses(&["two"])));
        ways.keep_to(&[]);
        assert_eq!(ways.lead_to(&lamp(), None), None);
    }
}
