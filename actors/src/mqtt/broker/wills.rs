//! Last wills of clients that went without a word, until they are due.
//!
//! A will may wait for its client to come back (MQTT 5.0, 3.1.3.2.2): one that continues its session takes the will back,
//! one that begins anew ends the session and so makes it due at once. Wills that wait when the node ends are not published:
//! that says nothing of the clients.

use std::time::Duration;

use parking_lot::Mutex;
use rumqttc::LastWill;
use voltree_model::Timestamp;
use voltree_protocols::mqtt::{PublishProperties, WillTerms};

/// A client's last will.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::mqtt) struct Will {
    pub(in crate::mqtt) client_id: String,
    pub(in crate::mqtt) message: LastWill,
    pub(in crate::mqtt) properties: Option<Box<PublishProperties>>,
    due: Timestamp,
}

/// Those that wait, in the order in which their clients went.
#[derive(Debug, Default)]
pub(super) struct Wills(Mutex<Vec<Will>>);

impl Will {
    pub(in crate::mqtt) fn new(client_id: &str, message: LastWill, terms: WillTerms, now: Timestamp) -> Self {
        let WillTerms { delay, properties } = terms;
        Self { client_id: client_id.to_owned(), message, properties, due: now.plus(delay) }
    }
}

impl Wills {
    pub(super) fn add(&self, will: Will) {
        self.0.lock().push(will);
    }

    /// The client came back: its will is taken back if its session goes on, and due if not.
    pub(super) fn client_is_back(&self, client_id: &str, session_present: bool) {
        let mut wills = self.0.lock();
        if session_present {
            // What is due already has only not been published yet.
            wills.retain(|will| will.client_id != client_id || will.due <= crate::now());
        } else {
            let its_own = wills.iter_mut().filter(|will| will.client_id == client_id);
            its_own.for_each(|will| will.due = Timestamp::from_millis(i64::MIN));
        }
    }

    /// The first one that is due, which stays until it is said to be published.
    pub(super) fn due(&self, now: Timestamp) -> Option<Will> {
        self.0.lock().iter().find(|will| will.due <= now).cloned()
    }

    pub(super) fn published(&self, now: Timestamp) {
        let mut wills = self.0.lock();
        if let Some(index) = wills.iter().position(|will| will.due <= now) {
            wills.remove(index);
        }
    }

    /// How long until the next one is due.
    pub(super) fn next(&self, now: Timestamp) -> Option<Duration> {
        self.0.lock().iter().map(|will| will.due.since(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::QoS;

    use super::*;

    fn wills_of(client_id: &str) -> Wills {
        let message = LastWill::new("w", "gone", QoS::AtMostOnce, false);
        let terms = WillTerms { delay: Duration::from_secs(60), properties: None };
        let wills = Wills::default();
        wills.add(Will::new(client_id, message, terms, crate::now()));
        wills
    }

    #[test]
    fn a_will_that_waits_is_due_after_its_delay() {
        let wills = wills_of("a");
        assert_eq!(wills.due(crate::now()), None);
        let later = crate::now().plus(Duration::from_secs(61));
        assert_eq!(wills.due(later).map(|will| will.client_id).as_deref(), Some("a"));
        wills.published(later);
        assert_eq!((wills.due(later), wills.next(later)), (None, None));
    }

    #[test]
    fn a_client_that_continues_its_session_takes_its_will_back_and_one_that_begins_anew_makes_it_due() {
        let (kept, taken_back, due) = (wills_of("a"), wills_of("a"), wills_of("a"));
        kept.client_is_back("b", true);
        taken_back.client_is_back("a", true);
        due.client_is_back("a", false);
        assert!(kept.next(crate::now()).is_some() && taken_back.next(crate::now()).is_none());
        assert!(due.due(crate::now()).is_some());
    }
}
