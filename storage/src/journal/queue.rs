//! What waits to be written. Entries are encoded by their senders, so that the writer has little to do per entry.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::STOP_CHECK;
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
    pub(super) bytes: Vec<u8>,
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

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Append>>,
    changed: Condvar,
}

/// Encodes what is to be appended.
pub(super) fn encode(entries: Vec<Entry>) -> Result<Vec<Encoded>, AppendError> {
    let encode = |entry| match record::encode(&entry) {
        Ok(bytes) => Ok(Encoded { entry: Arc::new(entry), bytes }),
        Err(error) => Err(AppendError::Unencodable(Arc::new(error))),
    };
    entries.into_iter().map(encode).collect()
}

impl Queue {
    pub(super) fn push(&self, entries: Vec<Encoded>, done: Done) {
        self.waiting.lock().push_back(Append { entries, done });
        self.changed.notify_one();
    }

    /// How many entries wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().iter().map(|append| append.entries.len()).sum()
    }

    /// Wakes the writer, which then looks at its stop flag. Taking the lock makes sure that it is not about to wait.
    pub(super) fn wake(&self) {
        drop(self.waiting.lock());
        self.changed.notify_all();
    }

    /// Waits until there is something; false once `stop` is set.
    pub(super) fn wait(&self, stop: &AtomicBool) -> bool {
        let mut waiting = self.waiting.lock();
        while !stop.load(Ordering::Acquire) {
            if !waiting.is_empty() {
                return true;
            }
            self.changed.wait_for(&mut waiting, STOP_CHECK);
        }
        false
    }

    /// The oldest append, if there is one.
    pub(super) fn pop(&self) -> Option<Append> {
        self.waiting.lock().pop_front()
    }

    /// The oldest append, as soon as there is one before `until`; `None` after that or once `stop` is set.
    pub(super) fn wait_until(&self, until: Instant, stop: &AtomicBool) -> Option<Append> {
        let mut waiting = self.waiting.lock();
        loop {
            if stop.load(Ordering::Acquire) {
                return None;
            }
            if let Some(append) = waiting.pop_front() {
                return Some(append);
            }
            let left = until.saturating_duration_since(clock::monotonic());
            if left.is_zero() {
                return None;
            }
            self.changed.wait_for(&mut waiting, left.min(STOP_CHECK));
        }
    }
}
