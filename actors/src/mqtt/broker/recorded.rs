//! Retained messages on their way into the journal, which keeps them as records.
//!
//! A change is offered while the messages are locked, so the journal has changes of a topic in the order in which they
//! were made. One that was not committed, because the journal's writer failed, is offered again by the keeper with what
//! the topic has by then.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use voltree_storage::{Entry, JournalSlot, Record, RecordChange, RecordKind};

use crate::intake;
use crate::mqtt::broker::Broker;
use crate::mqtt::retained::Retained;

/// Earlier versions kept retained messages in the file of the sessions. This says that they were taken over from there.
#[derive(Debug, Serialize, Deserialize)]
struct TakenOver;

const TAKEN_OVER: &str = "retained-messages";

impl Record for TakenOver {
    const KIND: RecordKind = RecordKind::Migration;
    const VERSION: u8 = 1;
}

/// What is on its way into the journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// All messages that an earlier version kept elsewhere.
    All,
    /// The message of a topic.
    Topic(String),
}

/// The broker's part of it.
#[derive(Debug, Default)]
pub(super) struct Recording {
    /// What was offered in vain.
    failed: Arc<Mutex<BTreeSet<What>>>,
    /// Set until everything is taken over: so long the old file has to keep it.
    taking_over: Arc<Mutex<bool>>,
}

/// One offer; dropped without having been committed it is to be made again.
struct Offer {
    what: What,
    failed: Arc<Mutex<BTreeSet<What>>>,
    taking_over: Arc<Mutex<bool>>,
    committed: Option<oneshot::Sender<()>>,
}

impl Offer {
    fn commit(mut self) {
        if self.what == What::All {
            *self.taking_over.lock() = false;
        }
        if let Some(committed) = self.committed.take() {
            // Whoever waited may be gone; the change is committed all the same.
            committed.send(()).ok();
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if self.committed.is_some() {
            self.failed.lock().insert(self.what.clone());
        }
    }
}

/// The retained messages as the journal has them, or as `old` has them that an earlier version kept.
pub(super) fn load(
    journal: &JournalSlot,
    old: Retained,
    file: &Path,
) -> Result<(Retained, Recording), voltree_storage::Error> {
    let records = journal.records();
    let taken_over = records.get::<TakenOver>(TAKEN_OVER)?.is_some();
    if old.count() == 0 || taken_over {
        return Ok((Retained::of(records.all()?), Recording::default()));
    }
    tracing::info!(
        event = "retained.taken_over",
        messages = old.count(),
        file = %file.display(),
        "retained messages of an earlier version become records"
    );
    let recording = Recording::default();
    *recording.taking_over.lock() = true;
    // The journal is not written yet: the keeper offers them as soon as it runs.
    recording.failed.lock().insert(What::All);
    Ok((old, recording))
}

impl Recording {
    /// Whether the old file still has to keep the messages.
    pub(super) fn is_taking_over(&self) -> bool {
        *self.taking_over.lock()
    }

    /// Offers the topic's message to the journal; the answer resolves when that is committed, false if it is not.
    pub(super) fn offer(
        &self,
        journal: &JournalSlot,
        retained: &Retained,
        topic: &str,
    ) -> impl Future<Output = bool> + use<> {
        self.offer_what(journal, retained, What::Topic(topic.to_owned()))
    }

    fn offer_what(
        &self,
        journal: &JournalSlot,
        retained: &Retained,
        what: What,
    ) -> impl Future<Output = bool> + use<> {
        let (sender, committed) = oneshot::channel();
        match entries(retained, &what) {
            Ok(entries) => {
                let (failed, taking_over) = (Arc::clone(&self.failed), Arc::clone(&self.taking_over));
                let offer = Offer { what, failed, taking_over, committed: Some(sender) };
                let done =
                    move |result: Result<_, _>| if result.is_ok() { offer.commit() } else { drop(offer) };
                journal.append(entries, Box::new(done));
            }
            // No second try would make it smaller. Its sender is not told that it is kept, as it is not.
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::error!(event = "retained.not_kept", error, "it is lost when the node stops");
            }
        }
        async move { committed.await.is_ok() }
    }
}

fn entries(retained: &Retained, what: &What) -> Result<Vec<Entry>, voltree_storage::Error> {
    match what {
        What::Topic(topic) => Ok(vec![retained.entry(topic, crate::now())?]),
        What::All => {
            let mut entries: Vec<Entry> = retained
                .topics()
                .map(|topic| retained.entry(topic, crate::now()))
                .collect::<Result<_, _>>()?;
            // Comes last, so that it is never there without the others.
            entries.push(RecordChange::entry(TAKEN_OVER, Some(&TakenOver), crate::now())?);
            Ok(entries)
        }
    }
}

impl Broker {
    /// Offers again what was not committed.
    pub(in crate::mqtt) fn offer_again(&self) {
        let retained = self.retained.write();
        for what in std::mem::take(&mut *self.recording.failed.lock()) {
            drop(self.recording.offer_what(&self.journal, &retained, what));
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
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rumqttc::QoS;
    use voltree_protocols::mqtt::Filter;
    use voltree_storage::{JournalOptions, MemoryDisk, Positions};

    use super::*;

    fn journal(disk: &MemoryDisk) -> Arc<JournalSlot> {
        let options = JournalOptions::default();
        let positions = Arc::new(Positions::default());
        JournalSlot::open(Arc::new(disk.clone()), Path::new("journal"), options, positions).unwrap()
    }

    fn writing(journal: &JournalSlot, act: impl FnOnce()) {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| journal.run(&stop));
            act();
            stop.store(true, Ordering::Release);
            journal.wake();
            writer.join().unwrap().unwrap();
        });
    }

    fn offer_failed(recording: &Recording, journal: &JournalSlot, retained: &Retained) {
        for what in std::mem::take(&mut *recording.failed.lock()) {
            assert!(futures::executor::block_on(recording.offer_what(journal, retained, what)));
        }
    }

    fn topics(retained: &Retained) -> Vec<String> {
        let all = Filter::parse("#").unwrap();
        retained
            .matching(&all, QoS::ExactlyOnce.into(), crate::now())
            .map(|message| message.topic.to_string())
            .collect()
    }

    fn file() -> PathBuf {
        PathBuf::from("broker")
    }

    #[test]
    fn messages_that_are_kept_and_taken_away_are_found_like_that_in_the_journal() {
        let disk = MemoryDisk::default();
        let slot = journal(&disk);
        let (mut retained, recording) = load(&slot, Retained::default(), &file()).unwrap();
        writing(&slot, || {
            for (topic, payload) in [("a", b"1".as_slice()), ("b", b"2"), ("a", b"")] {
                retained.keep(topic, payload, QoS::AtLeastOnce).unwrap();
                assert!(futures::executor::block_on(recording.offer(&slot, &retained, topic)));
            }
        });
        drop(slot);
        disk.power_cut(|| false);
        let (retained, _) = load(&journal(&disk), Retained::default(), &file()).unwrap();
        assert_eq!(topics(&retained), ["b"]);
    }

    #[test]
    fn what_an_earlier_version_kept_is_taken_over_once() {
        let disk = MemoryDisk::default();
        let mut old = Retained::default();
        old.keep("a", b"1", QoS::AtLeastOnce).unwrap();
        old.keep("b", b"2", QoS::AtLeastOnce).unwrap();
        let slot = journal(&disk);
        let (mut retained, recording) = load(&slot, old.clone(), &file()).unwrap();
        assert_eq!(
            (topics(&retained), recording.is_taking_over()),
            (vec!["a".to_owned(), "b".to_owned()], true)
        );
        writing(&slot, || {
            offer_failed(&recording, &slot, &retained);
            assert!(!recording.is_taking_over());
            retained.keep("a", b"", QoS::AtLeastOnce).unwrap();
            assert!(futures::executor::block_on(recording.offer(&slot, &retained, "a")));
        });
        drop(slot);
        // The old file may still be there: what was taken away since does not come back from it.
        let (retained, recording) = load(&journal(&disk), old, &file()).unwrap();
        assert_eq!((topics(&retained), recording.is_taking_over()), (vec!["b".to_owned()], false));
    }

    #[test]
    fn a_change_that_the_writer_could_not_write_is_offered_again_as_it_is_then() {
        let disk = MemoryDisk::default();
        let slot = journal(&disk);
        let (mut retained, recording) = load(&slot, Retained::default(), &file()).unwrap();
        retained.keep("a", b"old", QoS::AtLeastOnce).unwrap();
        // The first sync is that of the segment which is begun.
        disk.fail_sync_after(1);
        let committed = recording.offer(&slot, &retained, "a");
        assert!(slot.run(&AtomicBool::new(false)).is_err());
        assert!(!futures::executor::block_on(committed));
        retained.keep("a", b"new", QoS::AtLeastOnce).unwrap();
        writing(&slot, || offer_failed(&recording, &slot, &retained));
        let (retained, _) = load(&slot, Retained::default(), &file()).unwrap();
        let all = Filter::parse("#").unwrap();
        let payloads: Vec<_> =
            retained.matching(&all, QoS::AtMostOnce.into(), crate::now()).map(|m| m.payload).collect();
        assert_eq!(payloads, [b"new".as_slice()]);
    }
}
