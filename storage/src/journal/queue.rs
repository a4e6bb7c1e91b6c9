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

/// Entries and what of their bytes has to be encoded ahead, one after the other.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    entries: Vec<(Entry, usize)>,
    /// Each entry's up to its end.
    bytes: Vec<u8>,
    /// How long their payloads are at most: names that the segment has already are left out of them.
    most_bytes: u64,
}

/// One call of `append`.
pub(super) struct Append {
    pub(super) encoded: Encoded,
    pub(super) done: Done,
}

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append").field("entries", &self.encoded.entries.len()).finish_non_exhaustive()
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
        self.bytes -= append.encoded.most_bytes;
        Some(append)
    }
}

impl Encoded {
    /// Encodes what is to be appended.
    pub(super) fn of(entries: Vec<Entry>) -> Result<Self, AppendError> {
        let mut encoded = Self { entries: Vec::with_capacity(entries.len()), ..Self::default() };
        for entry in entries {
            encoded.push(entry).map_err(|why| AppendError::Unencodable(Arc::new(why)))?;
        }
        Ok(encoded)
    }

    fn push(&mut self, entry: Entry) -> Result<(), RecordError> {
        let begin = self.bytes.len();
        let most = match &entry {
            Entry::Reading { origin, reading } => reading::push_begin(*origin, reading, &mut self.bytes)?,
            Entry::Rejected { .. } | Entry::DeadLettered { .. } | Entry::Record { .. } => {
                record::push(&entry, &mut self.bytes)?;
                self.bytes.len() - begin
            }
        };
        self.most_bytes += u64::try_from(most).unwrap_or(u64::MAX);
        self.entries.push((entry, self.bytes.len()));
        Ok(())
    }

    /// The entries in their order, each with its bytes.
    pub(super) fn into_each(self, mut each: impl FnMut(Entry, &[u8])) {
        let mut begin = 0;
        for (entry, end) in self.entries {
            each(entry, &self.bytes[begin..end]);
            begin = end;
        }
    }
}

/// Adds the payload of an entry's record, which is to begin at `offset` of its segment.
pub(super) fn push_payload(
    entry: &Entry,
    ahead: &[u8],
    offset: u64,
    known: &mut KnownNames,
    bytes: &mut Vec<u8>,
) {
    match entry {
        Entry::Reading { reading, .. } => reading::push(ahead, &reading.metrics, offset, known, bytes),
        Entry::Rejected { .. } | Entry::DeadLettered { .. } | Entry::Record { .. } => {
            bytes.extend_from_slice(ahead);
        }
    }
}

impl Queue {
    pub(super) fn push(&self, encoded: Encoded, done: Done) {
        let mut waiting = self.waiting.lock();
        waiting.bytes += encoded.most_bytes;
        waiting.appends.push_back(Append { encoded, done });
        let wakes = waiting.bytes >= waiting.wake_at;
        drop(waiting);
        if wakes {
            self.changed.notify_one();
        }
    }

    /// How many entries wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().appends.iter().map(|append| append.encoded.entries.len()).sum()
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
            taken += append.encoded.most_bytes;
            gathered.push(append);
        }
        gathered
    }
}
