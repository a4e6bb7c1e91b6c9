//! The event log: keeps the node's last supervision events as records, so that they survive its restart.
//!
//! Owns: nothing; how far it goes belongs to the node. Receives: a slow tick. Lost on restart: nothing, what the journal
//! does not have yet is still in the node's ring of events. Supervised by: storage. No supervisor waits for it: it reads
//! the ring behind them. A crash of the node loses what happened since the last tick; a journal that takes nothing is
//! told once and tried again, and is no reason to fail.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize};
use voltree_model::Timestamp;
use voltree_runtime::{EVENTS_KEPT, Events, SupervisionEvent};
use voltree_storage::{Disk, Entry, JournalSlot, RealDisk, Record, RecordChange, RecordKind};

use crate::{cursor, line_log};

/// Earlier versions kept the events in files of this name.
const OLD: &str = "supervision-events";
/// How long the last events may take when the node stops.
const LAST: Duration = Duration::from_secs(3);

/// The events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum EventLogError {
    /// The file of an earlier version could not be used.
    #[error(transparent)]
    Log(#[from] line_log::LineLogError),
    /// The journal could not be used.
    #[error(transparent)]
    Journal(#[from] voltree_storage::Error),
}

/// An event, as JSON: what it says differs by what happened.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told(String);

impl Record for Told {
    const KIND: RecordKind = RecordKind::Event;
    const VERSION: u8 = 1;
}

/// The node's half of the event log, which outlives the actor.
#[derive(Debug)]
pub struct EventBook {
    events: Events,
    journal: Arc<JournalSlot>,
    written: Arc<Mutex<Written>>,
}

/// How far it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    /// The number of the last event in the journal, among those of this life.
    up_to: u64,
    /// The number of the next record.
    next: u64,
    /// Whether the journal has yet to answer.
    waiting: bool,
    failing: bool,
}

/// What was handed to the journal; dropped without an answer it counts as not taken.
struct Offer {
    written: Arc<Mutex<Written>>,
    then: Option<Written>,
}

impl Offer {
    fn answered(mut self, taken: bool) {
        if let Some(then) = self.then.take_if(|_| taken) {
            let mut written = self.written.lock();
            if written.failing {
                tracing::info!(event = "event_log.recovered", "supervision events are stored again");
            }
            *written = then;
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if self.then.is_none() {
            return;
        }
        let mut written = self.written.lock();
        written.waiting = false;
        if !std::mem::replace(&mut written.failing, true) {
            tracing::warn!(event = "event_log.failing", "supervision events are not stored for now");
        }
    }
}

impl EventBook {
    /// Reads the events of the node's earlier lives and puts them before those of this one; also those that an earlier
    /// version kept in files in `old`. Blocks, while the journal has no writer.
    pub fn open(journal: Arc<JournalSlot>, old: &Path, events: Events) -> Result<Self, EventLogError> {
        take_over(&journal, old)?;
        let records = journal.records().all::<Told>()?;
        let next = records.last_key_value().and_then(|(key, _)| key.parse::<u64>().ok());
        let next = next.map_or(0, |last| last + 1);
        let told = records.len();
        let known: Vec<SupervisionEvent> =
            records.into_values().filter_map(|Told(json)| serde_json::from_str(&json).ok()).collect();
        if known.len() < told {
            tracing::warn!(
                events = told - known.len(),
                "supervision events that can't be read were passed over"
            );
        }
        let up_to = events.restore(known);
        let written = Written { up_to, next, waiting: false, failing: false };
        Ok(Self { events, journal, written: Arc::new(Mutex::new(written)) })
    }

    /// Hands to the journal what happened since the last time, unless it has yet to answer for that.
    pub fn flush(&self) {
        let mut written = self.written.lock();
        let (new, last) = self.events.after(written.up_to);
        if new.is_empty() || written.waiting {
            return;
        }
        let entries = match entries(written.next, new.iter().map(AsRef::as_ref)) {
            Ok(entries) => entries,
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::error!(event = "event_log.unwritable", error, "supervision events are lost");
                written.up_to = last;
                return;
            }
        };
        let next = written.next + u64::try_from(new.len()).unwrap_or(u64::MAX);
        written.waiting = true;
        drop(written);
        let then = Written { up_to: last, next, waiting: false, failing: false };
        let offer = Offer { written: Arc::clone(&self.written), then: Some(then) };
        self.journal.append(entries, Box::new(move |result| offer.answered(result.is_ok())));
    }

    /// The same for the last events of all, when the journal's own writer has ended; blocks.
    pub fn flush_last(&self) {
        // What waits in the journal goes first; what a full disk does not take now is lost.
        for _ in 0..2 {
            if let Err(error) = self.journal.commit_alone(Vec::new(), LAST) {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(event = "event_log.failing", error, "the last supervision events are lost");
                return;
            }
            self.flush();
        }
        self.journal.commit_alone(Vec::new(), LAST).ok();
    }
}

/// Sets the records of these events from number `first` on, and takes away those that are too old for it.
fn entries<'a>(
    first: u64,
    events: impl Iterator<Item = &'a SupervisionEvent>,
) -> Result<Vec<Entry>, voltree_storage::Error> {
    let kept = u64::try_from(EVENTS_KEPT).unwrap_or(u64::MAX);
    let mut entries = Vec::new();
    for (number, event) in (first..).zip(events) {
        let at = Timestamp::from_millis(event.at_ms);
        // Words and numbers always are JSON.
        let json = serde_json::to_string(event).unwrap_or_default();
        entries.push(RecordChange::entry(&key(number), Some(&Told(json)), at)?);
        if let Some(old) = number.checked_sub(kept) {
            entries.push(RecordChange::entry::<Told>(&key(old), None, at)?);
        }
    }
    Ok(entries)
}

/// So that they are in the order of their numbers.
fn key(number: u64) -> String {
    format!("{number:020}")
}

fn take_over(journal: &JournalSlot, dir: &Path) -> Result<(), EventLogError> {
    let files = ["jsonl", "1.jsonl"].map(|ending| dir.join(format!("{OLD}.{ending}")));
    if !files.iter().any(|file| file.exists()) {
        return Ok(());
    }
    let disk: &dyn Disk = &RealDisk;
    let loaded = line_log::load::<SupervisionEvent>(disk, dir, OLD, EVENTS_KEPT)?;
    if loaded.unreadable > 0 {
        tracing::warn!(lines = loaded.unreadable, "supervision events that can't be read were passed over");
    }
    voltree_storage::take_over(disk, journal, &files, entries(0, loaded.records.iter())?)?;
    Ok(())
}

/// What the event log is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventLogMsg {
    /// Time went by.
    Tick,
}

/// The actor.
#[derive(Debug)]
pub struct EventLog;

impl Actor for EventLog {
    type Msg = EventLogMsg;
    type State = Arc<EventBook>;
    type Arguments = Arc<EventBook>;

    async fn pre_start(
        &self,
        myself: ActorRef<EventLogMsg>,
        book: Arc<EventBook>,
    ) -> Result<Arc<EventBook>, ActorProcessingErr> {
        cursor::tick(&myself, || EventLogMsg::Tick);
        Ok(book)
    }

    async fn handle(
        &self,
        _myself: ActorRef<EventLogMsg>,
        message: EventLogMsg,
        book: &mut Arc<EventBook>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            EventLogMsg::Tick => {
                book.flush();
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_journal::{BOUND, TestJournal};

    fn open(journal: &Arc<JournalSlot>, old: &Path) -> (EventBook, Events) {
        let events = voltree_runtime::Directory::default().events().clone();
        (EventBook::open(Arc::clone(journal), old, events.clone()).unwrap(), events)
    }

    fn event(number: i64) -> SupervisionEvent {
        let json = serde_json::json!({
            "at_ms": number, "kind": "failed", "path": "node/a", "actor_kind": "bus", "incarnation": 1,
            "restarts": number, "reason": { "kind": "panic", "message": "boom", "location": null },
            "delay": { "secs": 1, "nanos": 5 },
        });
        serde_json::from_value(json).unwrap()
    }

    fn times(events: &Events) -> Vec<i64> {
        events.after(0).0.iter().map(|event| event.at_ms).collect()
    }

    #[test]
    fn events_of_files_of_an_earlier_version_are_taken_over_once_and_the_log_goes_on_behind_them() {
        let (dir, disk) = (tempfile::tempdir().unwrap(), TestJournal::default());
        let lines = |numbers: [i64; 2]| numbers.map(|n| serde_json::to_string(&event(n)).unwrap()).join("\n");
        std::fs::write(dir.path().join("supervision-events.1.jsonl"), lines([1, 2]) + "\n").unwrap();
        let torn = lines([3, 4]) + "\n{\"at_ms\": 5";
        std::fs::write(dir.path().join("supervision-events.jsonl"), torn).unwrap();
        let journal = disk.open();
        let (_, events) = open(&journal, dir.path());
        assert_eq!((times(&events), events.after(0).0[3].as_ref().clone()), (vec![1, 2, 3, 4], event(4)));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the files are gone");
        let more = entries(4, [event(5)].iter()).unwrap();
        journal.commit_alone(more, BOUND).unwrap();
        disk.power_cut();
        let (book, events) = open(&disk.open(), dir.path());
        assert_eq!((times(&events), book.written.lock().next), (vec![1, 2, 3, 4, 5], 5));
    }

    #[test]
    fn old_events_give_way() {
        let journal = TestJournal::default().open();
        let kept = i64::try_from(EVENTS_KEPT).unwrap();
        let all: Vec<_> = (0..kept + 7).map(event).collect();
        journal.commit_alone(entries(0, all.iter()).unwrap(), BOUND).unwrap();
        let (_, events) = open(&journal, Path::new("none"));
        assert_eq!((journal.records().count::<Told>(), times(&events)[0]), (EVENTS_KEPT, 7));
    }

    #[test]
    fn what_the_journal_does_not_take_is_offered_again_and_the_last_events_need_no_writer() {
        let disk = TestJournal::default();
        let journal = disk.open();
        let (book, _) = open(&journal, Path::new("none"));
        let then = Written { up_to: 0, next: 9, waiting: false, failing: false };
        drop(Offer { written: Arc::clone(&book.written), then: Some(then) });
        assert_eq!(*book.written.lock(), Written { up_to: 0, next: 0, waiting: false, failing: true });
        Offer { written: Arc::clone(&book.written), then: Some(then) }.answered(true);
        assert_eq!(*book.written.lock(), then);
        book.flush_last();
        assert!(!book.written.lock().waiting);
    }
}
