//! Retained messages and sessions on their way into the journal, which keeps them as records.
//!
//! A change is offered while what it is a change of is locked, so the journal has changes of a topic or a session in the
//! order in which they were made. One that was not committed, because the journal's writer failed, is offered again by
//! the keeper with what the topic or the session has by then.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use voltree_storage::{Entry, JournalSlot};

use crate::intake;
use crate::mqtt::broker::Broker;
use crate::mqtt::retained::Retained;

/// What is on its way into the journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// The message of a topic.
    Topic(String),
    /// The session of a client, or messages that wait in it.
    Session(String),
    /// The last will of this number.
    Will(u64),
}

/// The broker's part of it.
#[derive(Debug, Default)]
pub(super) struct Recording {
    /// What was offered in vain.
    failed: Arc<Mutex<BTreeSet<What>>>,
}

/// One offer; dropped without having been committed it is to be made again.
struct Offer {
    what: Vec<What>,
    failed: Arc<Mutex<BTreeSet<What>>>,
    committed: Option<oneshot::Sender<()>>,
}

impl Offer {
    fn commit(mut self) {
        if let Some(committed) = self.committed.take() {
            // Whoever waited may be gone; the change is committed all the same.
            committed.send(()).ok();
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if self.committed.is_some() {
            self.failed.lock().extend(self.what.drain(..));
        }
    }
}

impl Recording {
    /// Offers the topic's message to the journal; the answer resolves when that is committed, false if it is not.
    pub(super) fn offer_topic(
        &self,
        journal: &JournalSlot,
        retained: &Retained,
        topic: &str,
    ) -> impl Future<Output = bool> + use<> {
        let entry = retained.entry(topic, crate::now());
        // No second try would make it smaller. Its sender is not told that it is kept, as it is not.
        let entry = entry.inspect_err(not_kept).ok();
        let offered =
            entry.map(|entry| self.offer(journal, vec![What::Topic(topic.to_owned())], vec![entry]));
        async move {
            match offered {
                Some(committed) => committed.await,
                None => false,
            }
        }
    }

    /// Offers changes of all that is named; the answer resolves when they are committed, false if they are not.
    pub(super) fn offer(
        &self,
        journal: &JournalSlot,
        what: Vec<What>,
        entries: Vec<Entry>,
    ) -> impl Future<Output = bool> + use<> {
        let (sender, committed) = oneshot::channel();
        let offer = Offer { what, failed: Arc::clone(&self.failed), committed: Some(sender) };
        let done = move |result: Result<_, _>| if result.is_ok() { offer.commit() } else { drop(offer) };
        journal.append(entries, Box::new(done));
        async move { committed.await.is_ok() }
    }

    /// Notes that the journal does not say what is so.
    pub(super) fn differs(&self, what: What) {
        self.failed.lock().insert(what);
    }
}

/// Says that something is too large for a record.
pub(super) fn not_kept(error: &voltree_storage::Error) {
    let error: &(dyn std::error::Error + 'static) = error;
    tracing::error!(event = "mqtt.not_kept", error, "it is lost when the node stops");
}

impl Broker {
    /// Offers again what was not committed.
    pub(in crate::mqtt) fn offer_again(&self) {
        // Not to be held meanwhile: an offer that fails at once wants it.
        let failed = std::mem::take(&mut *self.recording.failed.lock());
        for what in failed {
            match what {
                What::Topic(topic) => {
                    let retained = self.retained.write();
                    drop(self.recording.offer_topic(&self.journal, &retained, &topic));
                }
                What::Session(client_id) => self.offer_session_again(&client_id),
                What::Will(number) => self.offer_will(self.wills.again(number)),
            }
        }
    }

    /// Resolves once everything that was offered until now was committed, or was not.
    pub(in crate::mqtt) async fn all_offered(&self) {
        // An append of nothing waits for its turn like any other; without a writer there is nothing to wait for.
        intake::submit(&self.journal, Vec::new()).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::QoS;
    use voltree_protocols::mqtt::Filter;

    use super::*;
    use crate::test_journal::{TestJournal, writing};

    fn load(journal: &JournalSlot) -> Retained {
        Retained::of(journal.records().all().unwrap())
    }

    fn messages(retained: &Retained) -> Vec<(String, Vec<u8>)> {
        let all = Filter::parse("#").unwrap();
        retained
            .matching(&all, QoS::ExactlyOnce.into(), crate::now())
            .map(|message| (message.topic.to_string(), message.payload.to_vec()))
            .collect()
    }

    #[test]
    fn messages_that_are_kept_and_taken_away_are_found_like_that_in_the_journal() {
        let disk = TestJournal::default();
        let slot = disk.open();
        let (mut retained, recording) = (load(&slot), Recording::default());
        writing(&slot, || {
            for (topic, payload) in [("a", b"1".as_slice()), ("b", b"2"), ("a", b"")] {
                retained.keep(topic, payload, QoS::AtLeastOnce).unwrap();
                assert!(futures::executor::block_on(recording.offer_topic(&slot, &retained, topic)));
            }
        });
        drop(slot);
        disk.power_cut();
        assert_eq!(messages(&load(&disk.open())), [("b".to_owned(), b"2".to_vec())]);
    }

    #[test]
    fn a_change_that_the_writer_could_not_write_is_to_be_offered_again() {
        let disk = TestJournal::default();
        let slot = disk.open();
        let (mut retained, recording) = (load(&slot), Recording::default());
        retained.keep("a", b"old", QoS::AtLeastOnce).unwrap();
        // The first sync is that of the segment which is begun.
        disk.fail_sync_after(1);
        let committed = recording.offer_topic(&slot, &retained, "a");
        assert!(slot.run(&std::sync::atomic::AtomicBool::new(false)).is_err());
        assert!(!futures::executor::block_on(committed));
        let failed = std::mem::take(&mut *recording.failed.lock());
        assert_eq!(failed, [What::Topic("a".to_owned())].into());
        retained.keep("a", b"new", QoS::AtLeastOnce).unwrap();
        writing(&slot, || {
            assert!(futures::executor::block_on(recording.offer_topic(&slot, &retained, "a")));
        });
        assert!(recording.failed.lock().is_empty());
        assert_eq!(messages(&load(&slot)), [("a".to_owned(), b"new".to_vec())]);
    }
}
