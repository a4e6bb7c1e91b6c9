//! What waits to be written. Entries are encoded by their senders, so that the writer has little to do per entry.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::STOP_CHECK;
use super::reading::{self, KnownNames};
use crate::clock;
use crate::record::{self, RecordError};
use crate::{Entry, Error, Lsn};

/// Told once what became of an append.
pub type Done = Box<dyn FnOnce(Result<Lsn, AppendError>) + Send>;

/// An append that was not made durable; it may be tried again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The writer failed on the group.
    #[error("the journal's writer failed")]
    Writer(#[source] Arc<Error>),
    /// An entry can't be encoded, and never will be.
    #[error("an entry can't be written")]
    Unencodable(#[source] Arc<RecordError>),
}

/// An entry and its bytes.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) entry: Arc<Entry>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Whole(Vec<u8>),
    Reading(reading::Encoded),
}

/// One call of `append`.
pub(super) struct Append {
    pub(super) entries: Vec<Encoded>,
    pub(super) done: Done,
}

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

/// The queue. Its writer sleeps through the time in which a group gathers: waking it for each append would cost more than
/// the append itself.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    appends: VecDeque<Append>,
    /// What the entries have together.
    bytes: u64,
    /// At how many bytes the writer wants to be woken; zero for the first append.
    wake_at: u64,
}

impl Waiting {
    fn pop(&mut self) -> Option<Append> {
        let append = self.appends.pop_front()?;
        self.bytes -= append.bytes();
        Some(append)
    }
}

impl Append {
    fn bytes(&self) -> u64 {
        self.entries.iter().map(Encoded::most_bytes).sum()
    }
}

/// Encodes what is to be appended.
pub(super) fn encode(entries: Vec<Entry>) -> Result<Vec<Encoded>, AppendError> {
    let encoded = |entry: Entry| {
        let form = encode_one(&entry).map_err(|why| AppendError::Unencodable(Arc::new(why)))?;
        Ok(Encoded { entry: Arc::new(entry), form })
    };
    entries.into_iter().map(encoded).collect()
}

fn encode_one(entry: &Entry) -> Result<Form, RecordError> {
    match entry {
        Entry::Reading { origin, reading } => reading::encode(*origin, reading).map(Form::Reading),
        Entry::Rejected { .. } | Entry::DeadLettered { .. } | Entry::Record { .. } => {
            record::encode(entry).map(Form::Whole)
        }
    }
}

impl Encoded {
    /// How long its payload is at most: names that the segment has already are left out of it.
    fn most_bytes(&self) -> u64 {
        let bytes = match (&self.form, self.entry.as_ref()) {
            (Form::Whole(whole), _) => whole.len(),
            (Form::Reading(encoded), Entry::Reading { reading, .. }) => encoded.most_bytes(reading),
            (Form::Reading(_), _) => 0,
        };
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Adds the payload of a record that is to begin at `offset` of its segment.
    pub(super) fn push(&self, bytes: &mut Vec<u8>, offset: u64, known: &mut KnownNames) {
        match (&self.form, self.entry.as_ref()) {
            (Form::Whole(whole), _) => bytes.extend_from_slice(whole),
            (Form::Reading(encoded), Entry::Reading { reading, .. }) => {
                encoded.push(bytes, reading, offset, known);
            }
            (Form::Reading(_), _) => {}
        }
    }
}

impl Queue {
    pub(super) fn push(&self, entries: Vec<Encoded>, done: Done) {
        let append = Append { entries, done };
        let mut waiting = self.waiting.lock();
        waiting.bytes += append.bytes();
        waiting.appends.push_back(append);
        let wakes = waiting.bytes >= waiting.wake_at;
        drop(waiting);
        if wakes {
            self.changed.notify_one();
        }
    }

    /// How many entries wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().appends.iter().map(|append| append.entries.len()).sum()
    }

    /// Wakes the writer, which then looks at its stop flag. Taking the lock makes sure that it is not about to wait.
    pub(super) fn wake(&self) {
        drop(self.waiting.lock());
        self.changed.notify_all();
    }

    /// Waits until there is something; false once `stop` is set.
    pub(super) fn wait(&self, stop: &AtomicBool) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.wake_at = 0;
        while !stop.load(Ordering::Acquire) {
            if !waiting.appends.is_empty() {
                return true;
            }
            self.changed.wait_for(&mut waiting, STOP_CHECK);
        }
        false
    }

    /// The oldest append, if there is one.
    pub(super) fn pop(&self) -> Option<Append> {
        self.waiting.lock().pop()
    }

    /// What has gathered by `until`, or as soon as it has so many bytes; no more than that. Nothing once `stop` is set.
    pub(super) fn gather(&self, until: Instant, bytes: u64, stop: &AtomicBool) -> Vec<Append> {
        let mut waiting = self.waiting.lock();
        waiting.wake_at = bytes.max(1);
        while waiting.bytes < bytes {
            if stop.load(Ordering::Acquire) {
                return Vec::new();
            }
            let left = until.saturating_duration_since(clock::monotonic());
            if left.is_zero() {
                break;
            }
            self.changed.wait_for(&mut waiting, left.min(STOP_CHECK));
        }
        waiting.wake_at = 0;
        let (mut gathered, mut taken) = (Vec::with_capacity(waiting.appends.len()), 0);
        while taken < bytes
            && let Some(append) = waiting.pop()
        {
            taken += append.bytes();
            gathered.push(append);
        }
        gathered
    }
}
