//! What earlier versions kept in files of their own: the first had retained messages and sessions in one, later ones the
//! sessions in another beside it. Before anything runs all of it becomes records, once, and the files go.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use voltree_model::Timestamp;
use voltree_storage::{
    Entry, Error, JournalSlot, RealDisk, Record, RecordChange, RecordKind, load_snapshot, take_over,
};

use super::kept::{KeptDelivery, KeptFilter, KeptSession};
use super::queue::Recorded;
use super::recorded::not_kept;
use crate::mqtt::retained::{OldRetained, Retained};

/// Says that the retained messages were taken over by a version that let the file with them be.
#[derive(Debug, Serialize, Deserialize)]
struct RetainedTaken;

const RETAINED_TAKEN: &str = "retained-messages";

impl Record for RetainedTaken {
    const KIND: RecordKind = RecordKind::Migration;
    const VERSION: u8 = 1;
}

/// The file of the first versions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct First {
    retained: OldRetained,
    sessions: Vec<FirstSession>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct FirstSession {
    client_id: String,
    filters: Vec<(String, u8)>,
    waiting: Vec<FirstDelivery>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct FirstDelivery {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
}

/// The sessions' own file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Second {
    sessions: Vec<SecondSession>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SecondSession {
    client_id: String,
    expiry_ms: Option<u64>,
    until_ms: Option<i64>,
    filters: Vec<KeptFilter>,
    waiting: Vec<KeptDelivery>,
}

impl From<FirstSession> for SecondSession {
    fn from(FirstSession { client_id, filters, waiting }: FirstSession) -> Self {
        let filter =
            |(text, qos)| KeptFilter { text, qos, no_local: false, retain_as_published: false, id: None };
        let delivery = |FirstDelivery { topic, payload, qos, retain }| KeptDelivery {
            topic,
            payload,
            qos,
            retain,
            ids: Vec::new(),
            said: None,
        };
        Self {
            client_id,
            expiry_ms: None,
            until_ms: None,
            filters: filters.into_iter().map(filter).collect(),
            waiting: waiting.into_iter().map(delivery).collect(),
        }
    }
}

/// Makes records of what `file`, or the one beside it, still has.
pub(super) fn into_records(journal: &JournalSlot, file: &Path, now: Timestamp) -> Result<(), Error> {
    let (first, second) = (load_snapshot::<First>(file)?, load_snapshot::<Second>(&sessions_file(file))?);
    if first.is_none() && second.is_none() {
        return Ok(());
    }
    let First { retained, sessions } = first.unwrap_or_default();
    let retained_taken = journal.records().get::<RetainedTaken>(RETAINED_TAKEN)?.is_some();
    let retained = if retained_taken { Retained::default() } else { retained.into() };
    let sessions = match second {
        Some(second) => second.sessions,
        None => sessions.into_iter().map(SecondSession::from).collect(),
    };
    let mut entries: Vec<Entry> =
        retained.topics().filter_map(|topic| fitting(retained.entry(topic, now))).collect();
    entries.extend(sessions.into_iter().flat_map(|session| session.entries(now)));
    // The newer file goes last: while it is there, the older one's sessions count for nothing.
    take_over(&RealDisk, journal, &[file.to_owned(), sessions_file(file)], entries)
}

/// What does not fit into a record must not keep the node from starting.
fn fitting(entry: Result<Entry, Error>) -> Option<Entry> {
    entry.inspect_err(not_kept).ok()
}

impl SecondSession {
    fn entries(self, now: Timestamp) -> Vec<Entry> {
        let Self { client_id, expiry_ms, until_ms, filters, waiting } = self;
        let session = KeptSession { expiry_ms, until_ms, filters };
        let mut recorded = Recorded::default();
        let messages = waiting.iter().map(|message| {
            RecordChange::entry(&Recorded::key(&client_id, recorded.push_back()), Some(message), now)
        });
        let mut entries: Vec<Entry> = messages.filter_map(fitting).collect();
        entries.extend(fitting(RecordChange::entry(&client_id, Some(&session), now)));
        entries
    }
}

/// Where the sessions are.
fn sessions_file(file: &Path) -> PathBuf {
    file.with_extension("sessions")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use voltree_storage::save_snapshot;

    use super::super::Member;
    use super::super::kept::sessions;
    use super::*;
    use crate::test_journal::TestJournal;

    fn delivery(topic: &str) -> FirstDelivery {
        FirstDelivery { topic: topic.to_owned(), payload: vec![1], qos: 1, retain: false }
    }

    fn session(client_id: &str) -> FirstSession {
        FirstSession {
            client_id: client_id.to_owned(),
            filters: vec![("a".to_owned(), 2)],
            waiting: vec![delivery("first"), delivery("second")],
        }
    }

    fn members(journal: &JournalSlot) -> HashMap<String, Member> {
        sessions(&journal.records(), crate::now()).unwrap().0
    }

    fn waiting(member: &Member) -> Vec<&str> {
        member.left.waiting.iter().map(|delivery| &*delivery.topic).collect()
    }

    #[test]
    fn what_the_first_versions_kept_becomes_records_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("broker");
        let old: Retained = [("config", b"x".as_slice())].into_iter().collect();
        let first = First { retained: OldRetained::of(&old), sessions: vec![session("x")] };
        save_snapshot(&file, &first).unwrap();
        let disk = TestJournal::default();
        let journal = disk.open();
        into_records(&journal, &file, crate::now()).unwrap();
        drop(journal);
        disk.power_cut();
        let journal = disk.open();
        assert!(!file.exists());
        into_records(&journal, &file, crate::now()).unwrap();
        let members = members(&journal);
        let member = &members["x"];
        assert_eq!((member.filters.len(), member.until), (1, None));
        assert_eq!(waiting(member), ["first", "second"]);
        assert_eq!(Retained::of(journal.records().all().unwrap()).topics().collect::<Vec<_>>(), ["config"]);
    }

    #[test]
    fn a_file_that_an_earlier_version_wrote_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("broker");
        std::fs::copy("tests/fixtures/broker.sessions", sessions_file(&file)).unwrap();
        let journal = TestJournal::default().open();
        into_records(&journal, &file, crate::now()).unwrap();
        let members = members(&journal);
        let member = &members["plant/7"];
        let filters: Vec<_> = member.filters.iter().map(|(filter, _)| filter.as_str()).collect();
        assert_eq!(filters, ["devices/+/commands", "$share/workers/devices/+/config"]);
        assert_eq!(waiting(member), ["devices/a/commands", "devices/b/commands", "devices/a/config"]);
        assert!(member.left.waiting.iter().all(|delivery| delivery.payload.starts_with(b"message ")));
        assert!(!sessions_file(&file).exists());
    }

    #[test]
    fn of_two_files_the_newer_one_says_which_sessions_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("broker");
        let first = First { retained: OldRetained::default(), sessions: vec![session("old")] };
        save_snapshot(&file, &first).unwrap();
        let second = Second { sessions: vec![session("new").into()] };
        save_snapshot(&sessions_file(&file), &second).unwrap();
        let journal = TestJournal::default().open();
        into_records(&journal, &file, crate::now()).unwrap();
        assert_eq!(members(&journal).into_keys().collect::<Vec<_>>(), ["new"]);
        assert!(!file.exists() && !sessions_file(&file).exists());
    }

    #[test]
    fn retained_messages_that_were_taken_over_before_do_not_come_back_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("broker");
        let old: Retained = [("config", b"x".as_slice())].into_iter().collect();
        save_snapshot(&file, &First { retained: OldRetained::of(&old), sessions: Vec::new() }).unwrap();
        let journal = TestJournal::default().open();
        let marker = RecordChange::entry(RETAINED_TAKEN, Some(&RetainedTaken), crate::now()).unwrap();
        journal.commit_alone(vec![marker], crate::test_journal::BOUND).unwrap();
        into_records(&journal, &file, crate::now()).unwrap();
        assert_eq!(Retained::of(journal.records().all().unwrap()).count(), 0);
    }
}
