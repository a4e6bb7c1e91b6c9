//! Dead letters: what a device's handler failed on three times, kept whole with the reason until an operator hands it
//! in again.
//!
//! The book belongs to the node and is saved before the journal hears of a letter, so a crash in between finds it again
//! under the same id. It is bounded: when it is full the oldest letters give way, and the log says so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, Timestamp};

use crate::intake::Inbound;

/// How many letters are kept.
const MAX_LETTERS: usize = 1_000;

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

/// All dead letters of a node.
#[derive(Debug)]
pub struct DeadLetters {
    file: PathBuf,
    book: Mutex<Book>,
    /// One save at a time, the newest last.
    saving: Mutex<()>,
}

#[derive(Debug)]
struct Book {
    letters: BTreeMap<(DeviceId, u64), Arc<DeadLetter>>,
    /// Letters that are being handed in again right now.
    claimed: Vec<String>,
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
    /// Reads the letters of the node's earlier lives.
    pub fn open(file: PathBuf) -> Result<Self, voltree_storage::Error> {
        let letters: Vec<DeadLetter> = voltree_storage::load_snapshot(&file)?.unwrap_or_default();
        let letters = letters.into_iter().map(|letter| (key(&letter), Arc::new(letter)));
        let book = Book { letters: letters.collect(), claimed: Vec::new() };
        Ok(Self { file, book: Mutex::new(book), saving: Mutex::default() })
    }

    /// All letters, the newest first.
    pub fn list(&self) -> Vec<Arc<DeadLetter>> {
        let mut letters: Vec<_> = self.book.lock().letters.values().cloned().collect();
        letters.sort_by_key(|letter| std::cmp::Reverse(letter.at));
        letters
    }

    /// Keeps a letter, and returns once it is on stable storage; blocks. Keeping it twice changes nothing.
    pub fn keep(&self, letter: DeadLetter) -> Result<(), voltree_storage::Error> {
        let _one_at_a_time = self.saving.lock();
        {
            let mut book = self.book.lock();
            let (key, letter) = (key(&letter), Arc::new(letter));
            if book.letters.insert(key, Arc::clone(&letter)).is_none() {
                let (id, cause) = (letter.id(), &letter.cause);
                tracing::error!(event = "dead_letter.kept", id, cause, "its handler failed on it too often");
            }
            while book.letters.len() > MAX_LETTERS {
                book.forget_oldest();
            }
        }
        self.save()
    }

    /// Takes a letter in hand, in order to hand it in again.
    pub fn claim(self: &Arc<Self>, id: &str) -> Result<Claim, ClaimError> {
        let mut book = self.book.lock();
        let letter = book.letters.values().find(|letter| letter.id() == id).cloned();
        let letter = letter.ok_or(ClaimError::Unknown)?;
        if book.claimed.iter().any(|claimed| claimed == id) {
            return Err(ClaimError::Claimed);
        }
        book.claimed.push(id.to_owned());
        drop(book);
        Ok(Claim { book: Arc::clone(self), letter })
    }

    fn remove(&self, letter: &DeadLetter) -> Result<(), voltree_storage::Error> {
        let _one_at_a_time = self.saving.lock();
        self.book.lock().letters.remove(&key(letter));
        self.save()
    }

    fn save(&self) -> Result<(), voltree_storage::Error> {
        let letters: Vec<DeadLetter> =
            self.book.lock().letters.values().map(|letter| DeadLetter::clone(letter)).collect();
        voltree_storage::save_snapshot(&self.file, &letters)
    }
}

impl Book {
    fn forget_oldest(&mut self) {
        let oldest = self.letters.iter().min_by_key(|(_, letter)| letter.at).map(|(key, _)| key.clone());
        if let Some(letter) = oldest.and_then(|key| self.letters.remove(&key)) {
            let id = letter.id();
            tracing::error!(
                event = "dead_letter.forgotten",
                id,
                limit = MAX_LETTERS,
                "too many dead letters"
            );
        }
    }
}

impl Claim {
    /// What was claimed.
    pub fn letter(&self) -> &Arc<DeadLetter> {
        &self.letter
    }

    /// The letter arrived: it is dead no longer; blocks.
    pub fn delivered(self) -> Result<(), voltree_storage::Error> {
        self.book.remove(&self.letter)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let id = self.letter.id();
        self.book.book.lock().claimed.retain(|claimed| *claimed != id);
    }
}

fn key(letter: &DeadLetter) -> (DeviceId, u64) {
    (letter.device.clone(), letter.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use voltree_model::RejectReason;

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

    #[test]
    fn letters_are_there_after_a_restart_until_they_were_delivered() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("dead-letters");
        let book = DeadLetters::open(file.clone()).unwrap();
        (1..4).for_each(|number| book.keep(letter(number)).unwrap());
        book.keep(letter(2)).unwrap();
        let book = Arc::new(DeadLetters::open(file.clone()).unwrap());
        assert_eq!(ids(&book), ["pack-1:3", "pack-1:2", "pack-1:1"]);
        let claim = book.claim("pack-1:2").unwrap();
        assert_eq!(book.claim("pack-1:2").unwrap_err(), ClaimError::Claimed);
        drop(claim);
        book.claim("pack-1:2").unwrap().delivered().unwrap();
        assert_eq!(book.claim("pack-1:2").unwrap_err(), ClaimError::Unknown);
        assert_eq!(ids(&DeadLetters::open(file).unwrap()), ["pack-1:3", "pack-1:1"]);
    }

    #[test]
    fn a_full_book_forgets_the_oldest() {
        let temp = tempfile::tempdir().unwrap();
        let book = DeadLetters::open(temp.path().join("dead-letters")).unwrap();
        {
            let mut book = book.book.lock();
            book.letters.extend((1..=1_000).map(|number| (key(&letter(number)), Arc::new(letter(number)))));
        }
        book.keep(letter(2_000)).unwrap();
        let ids = ids(&book);
        assert_eq!((ids.len(), ids[0].as_str(), ids[999].as_str()), (1_000, "pack-1:2000", "pack-1:2"));
    }
}
