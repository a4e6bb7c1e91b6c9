//! The ways to devices behind brokers of others: which devices were heard there, and the clients that can publish there.
//!
//! It belongs to the node. A client that is connected holds the receiving end of a way; a way whose client went is
//! forgotten with the next message. Must never keep a message for later: whoever sends learns at once that nobody took it.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use voltree_model::{DeviceId, Timestamp};

use super::mapped::Request;

/// How many devices can be commanded there; more can be heard.
const MOST_DEVICES: usize = 20_000;
/// How many messages may wait for a client's next turn.
const BACKLOG: usize = 100;

/// The ways out of a node.
#[derive(Debug, Default)]
pub(super) struct WaysOut {
    clients: Mutex<Vec<mpsc::Sender<Request>>>,
    /// When each device was last heard through a broker of others.
    behind: Mutex<BTreeMap<DeviceId, Timestamp>>,
}

impl WaysOut {
    /// A new way, for a client that is connected.
    pub(super) fn open(&self) -> mpsc::Receiver<Request> {
        let (client, messages) = mpsc::channel(BACKLOG);
        self.clients.lock().push(client);
        messages
    }

    /// Notes that a device was heard through a broker of others.
    pub(super) fn note(&self, device: &DeviceId, now: Timestamp) {
        let mut behind = self.behind.lock();
        if let Some(at) = behind.get_mut(device) {
            *at = now;
        } else if behind.len() < MOST_DEVICES {
            behind.insert(device.clone(), now);
        }
    }

    /// Whether the device's last message, which came then, came through a broker of others.
    pub(super) fn lead_to(&self, device: &DeviceId, last_arrival: Option<Timestamp>) -> bool {
        let heard = self.behind.lock().get(device).copied();
        heard.is_some_and(|heard| last_arrival.is_none_or(|last| last <= heard))
    }

    /// Whether any client can take a message now.
    pub(super) fn are_open(&self) -> bool {
        self.clients.lock().iter().any(|client| !client.is_closed())
    }

    /// Hands a message to every client: which broker a device is behind nobody says. Answers whether one took it.
    pub(super) fn send(&self, message: &Request) -> bool {
        let mut clients = self.clients.lock();
        clients.retain(|client| !client.is_closed());
        let took = clients.iter().filter(|client| client.try_send(message.clone()).is_ok());
        took.count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_to_every_client_that_is_there_and_waits_for_none() {
        let (ways, message) = (WaysOut::default(), ("a/b".to_owned(), b"1".to_vec()));
        assert!(!ways.send(&message) && !ways.are_open());
        let (mut one, two) = (ways.open(), ways.open());
        drop(two);
        assert!(ways.are_open() && ways.send(&message));
        assert_eq!(one.try_recv().unwrap(), message);
        drop(one);
        assert!(!ways.send(&message) && !ways.are_open());
    }

    #[test]
    fn a_device_that_was_heard_here_since_is_not_looked_for_outside() {
        let (ways, lamp) = (WaysOut::default(), DeviceId::new("lamp").unwrap());
        let at = Timestamp::from_millis;
        assert!(!ways.lead_to(&lamp, None));
        ways.note(&lamp, at(5));
        assert!(ways.lead_to(&lamp, Some(at(5))) && ways.lead_to(&lamp, None));
        assert!(!ways.lead_to(&lamp, Some(at(6))));
        ways.note(&lamp, at(7));
        assert!(ways.lead_to(&lamp, Some(at(7))));
    }
}
