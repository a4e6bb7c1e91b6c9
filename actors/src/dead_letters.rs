//! Dead letters: what a device's handler failed on three times, kept whole with the reason until an operator hands it
//! in again.
//!
//! Each is a record. It goes into the journal just before the entry that says that it was set aside, so a crash in between
//! finds it again under the same id. There is a bound: when that is reached the oldest letters give way, and the log says
//! so.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, RejectReason, Timestamp};
use voltree_storage::{Entry, Error, JournalSlot, RealDisk, Record, RecordChange, RecordKind, load_snapshot};

use crate::intake::Inbound;

/// How many letters are kept.
const MAX_LETTERS: usize = 1_000;
/// How long whoever handed one in waits for the journal.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that was set aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Whose it was.
    pub device: DeviceId,
    /// Its number at the device's door.
    pub number: u64,
    /// When it was set aside.
    pub at: Timestamp,
    /// How its handler failed on it last.
    pub cause: String,
    /// How often its handler failed on it.
    pub failures: u32,
    /// What it was.
    pub inbound: Inbound,
}

impl DeadLetter {
    /// What an operator calls it.
    pub fn id(&self) -> String {
        format!("{}:{}", self.device, self.number)
    }
}

impl Record for DeadLetter {
    const KIND: RecordKind = RecordKind::DeadLetter;
    const VERSION: u8 = 1;
}

/// All dead letters of a node.
#[derive(Debug)]
pub struct DeadLetters {
    journal: Arc<JournalSlot>,
    /// Letters that are being handed in again right now.
    claimed: Mutex<Vec<String>>,
}

/// A letter in the hands of whoever hands it in again; dropping it puts the letter back.
#[derive(Debug)]
pub struct Claim {
    book: Arc<DeadLetters>,
    letter: Arc<DeadLetter>,
}

/// Why a letter can't be handed in again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// There is none of this id.
    #[error("there is no such dead letter")]
    Unknown,
    /// It is being handed in already.
    #[error("the dead letter is being replayed already")]
    Claimed,
}

impl DeadLetters {
    /// The letters of the node's earlier lives, also those that an earlier version kept in the file `old`. Blocks, while
    /// the journal has no writer.
    pub fn open(journal: Arc<JournalSlot>, old: &Path) -> Result<Self, Error> {
        if let Some(letters) = load_snapshot::<Vec<DeadLetter>>(old)? {
            let entries: Vec<Entry> = letters.iter().map(kept).collect::<Result<_, _>>()?;
            voltree_storage::take_over(&RealDisk, &journal, &[old.to_owned()], entries)?;
        }
        // What can't be read is to be told now, and not when somebody asks.
        journal.records().all::<DeadLetter>()?;
        Ok(Self { journal, claimed: Mutex::default() })
    }

    /// All letters, the newest first.
    pub fn list(&self) -> Vec<Arc<DeadLetter>> {
        let letters = self.journal.records().all::<DeadLetter>().unwrap_or_else(|error| {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(event = "dead_letter.unreadable", error, "dead letters can't be listed");
            Default::default()
        });
        let mut letters: Vec<_> = letters.into_values().map(Arc::new).collect();
        letters.sort_by_key(|letter| std::cmp::Reverse(letter.at));
        letters
    }

    /// The entries that keep a letter, and let the oldest go for it. Keeping it twice changes nothing.
    pub(crate) fn keep(&self, letter: DeadLetter) -> Result<Vec<Entry>, Error> {
        let (id, records) = (letter.id(), self.journal.records());
        let known = records.get::<DeadLetter>(&id)?.is_some();
        if !known {
            let cause = &letter.cause;
            tracing::error!(event = "dead_letter.kept", id, cause, "its handler failed on it too often");
        }
        let mut entries = Vec::new();
        let too_many = (records.count::<DeadLetter>() + usize::from(!known)).saturating_sub(MAX_LETTERS);
        if too_many > 0 {
            for letter in self.list().into_iter().rev().filter(|other| other.id() != id).take(too_many) {
                let id = letter.id();
                let limit = MAX_LETTERS;
                tracing::error!(event = "dead_letter.forgotten", id, limit, "too many dead letters");
                entries.push(gone(&id, crate::now())?);
            }
        }
        entries.push(kept(&letter).or_else(|_| kept(&without_content(letter)))?);
        Ok(entries)
    }

    /// Takes a letter in hand, in order to hand it in again.
    pub fn claim(self: &Arc<Self>, id: &str) -> Result<Claim, ClaimError> {
        let mut claimed = self.claimed.lock();
        let letter = self.list().into_iter().find(|letter| letter.id() == id);
        let letter = letter.ok_or(ClaimError::Unknown)?;
        if claimed.iter().any(|claimed| claimed == id) {
            return Err(ClaimError::Claimed);
        }
        claimed.push(id.to_owned());
        drop(claimed);
        Ok(Claim { book: Arc::clone(self), letter })
    }
}

impl Claim {
    /// What was claimed.
    pub fn letter(&self) -> &Arc<DeadLetter> {
        &self.letter
    }

    /// The letter arrived: it is dead no longer; blocks until the journal has it.
    pub fn delivered(self) -> Result<(), Error> {
        let delivered = gone(&self.letter.id(), crate::now())?;
        self.book.journal.commit(vec![delivered], PATIENCE)?;
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let id = self.letter.id();
        self.book.claimed.lock().retain(|claimed| *claimed != id);
    }
}

fn kept(letter: &DeadLetter) -> Result<Entry, Error> {
    RecordChange::entry(&letter.id(), Some(letter), letter.at)
}

fn gone(id: &str, at: Timestamp) -> Result<Entry, Error> {
    RecordChange::entry::<DeadLetter>(id, None, at)
}

/// A letter that is too large for the journal, which is why its handler failed on it.
fn without_content(letter: DeadLetter) -> DeadLetter {
    let detail = "its content is too large for the journal and was not kept".to_owned();
    let inbound = Inbound::Rejected { at: letter.at, reason: RejectReason::BadPayload, detail };
    DeadLetter { inbound, ..letter }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_journal::{BOUND, TestJournal, writing};

    fn letter(number: u64) -> DeadLetter {
        let at = Timestamp::from_millis(i64::try_from(number).unwrap());
        DeadLetter {
            device: DeviceId::new("pack-1").unwrap(),
            number,
            at,
            cause: "panicked".to_owned(),
            failures: 3,
            inbound: Inbound::Rejected { at, reason: RejectReason::Busy, detail: String::new() },
        }
    }

    fn ids(book: &DeadLetters) -> Vec<String> {
        book.list().iter().map(|letter| letter.id()).collect()
    }

    fn open(journal: &Arc<JournalSlot>) -> Arc<DeadLetters> {
        Arc::new(DeadLetters::open(Arc::clone(journal), Path::new("none")).unwrap())
    }

    fn keep(book: &DeadLetters, journal: &JournalSlot, letter: DeadLetter) {
        journal.commit_alone(book.keep(letter).unwrap(), BOUND).unwrap();
    }

    #[test]
    fn letters_are_there_after_a_power_cut_until_they_were_delivered() {
        let disk = TestJournal::default();
        let journal = disk.open();
        let book = open(&journal);
        (1..4).chain([2]).for_each(|number| keep(&book, &journal, letter(number)));
        disk.power_cut();
        let journal = disk.open();
        let book = open(&journal);
        assert_eq!(ids(&book), ["pack-1:3", "pack-1:2", "pack-1:1"]);
        let claim = book.claim("pack-1:2").unwrap();
        assert_eq!(book.claim("pack-1:2").unwrap_err(), ClaimError::Claimed);
        drop(claim);
        writing(&journal, || book.claim("pack-1:2").unwrap().delivered()).unwrap();
        assert_eq!(book.claim("pack-1:2").unwrap_err(), ClaimError::Unknown);
        disk.power_cut();
        assert_eq!(ids(&open(&disk.open())), ["pack-1:3", "pack-1:1"]);
    }

    #[test]
    fn a_full_book_forgets_the_oldest() {
        let journal = TestJournal::default().open();
        let book = open(&journal);
        let full = (1..=1_000).map(|number| kept(&letter(number)).unwrap()).collect();
        journal.commit_alone(full, BOUND).unwrap();
        keep(&book, &journal, letter(2_000));
        let ids = ids(&book);
        assert_eq!((ids.len(), ids[0].as_str(), ids[999].as_str()), (1_000, "pack-1:2000", "pack-1:2"));
    }

    #[test]
    fn letters_that_an_earlier_version_kept_in_a_file_are_taken_over_once() {
        let (dir, disk) = (tempfile::tempdir().unwrap(), TestJournal::default());
        let old = dir.path().join("dead-letters");
        voltree_storage::save_snapshot(&old, &vec![letter(1), letter(2)]).unwrap();
        for _ in 0..2 {
            let book = DeadLetters::open(disk.open(), &old).unwrap();
            assert_eq!(
                (ids(&book), old.exists()),
                (vec!["pack-1:2".to_owned(), "pack-1:1".to_owned()], false)
            );
            assert_eq!(*book.list()[1], letter(1));
            disk.power_cut();
        }
    }

    #[test]
    fn a_letter_that_is_too_large_for_the_journal_is_kept_without_its_content() {
        let journal = TestJournal::default().open();
        let book = open(&journal);
        let detail = "x".repeat(17 * 1024 * 1024);
        let inbound = Inbound::Rejected { at: Timestamp::from_millis(0), reason: RejectReason::Busy, detail };
        keep(&book, &journal, DeadLetter { inbound, ..letter(1) });
        assert_eq!(book.list()[0].inbound, without_content(letter(1)).inbound);
    }
}
