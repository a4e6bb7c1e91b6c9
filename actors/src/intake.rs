//! A device's door: what it sent waits here until the journal has it.
//!
//! The intake belongs to the registry and so to the node: it outlives the device's actor and its supervisor. What was
//! accepted keeps its number across every kill, and the journal writes each number once, so handing a batch over twice
//! is harmless.

use std::sync::Arc;

use tokio::sync::oneshot;
use voltree_model::{DeviceId, Origin, Reading, RejectReason, Timestamp};
use voltree_runtime::{Inbox, Receipt};
use voltree_storage::{AppendError, Entry, JournalSlot, Lsn};

/// How many readings a device may have waiting; past that its poll waits, or its PUBACK comes late.
pub const INBOX_CAPACITY: usize = 1_024;
/// How many go to the journal at once.
const BATCH: usize = 256;

/// What came in at a device's door.
#[derive(Debug, Clone, PartialEq)]
pub enum Inbound {
    /// A reading to keep.
    Reading(Reading),
    /// Something that was turned away, which the ledger must know of.
    Rejected {
        /// When it arrived.
        at: Timestamp,
        /// Why it was turned away.
        reason: RejectReason,
        /// What was wrong, in a few words.
        detail: String,
    },
}

/// The journal did not take a batch; it stays in the inbox and can be offered again.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The writer failed on it.
    #[error("the journal did not take the readings")]
    Append(#[source] AppendError),
    /// The writer went away before it answered.
    #[error("the journal's writer went away")]
    WriterGone,
}

/// The inbox of one device.
#[derive(Debug)]
pub struct Intake {
    device: DeviceId,
    inbox: Inbox<Inbound>,
}

impl Intake {
    /// An empty intake that goes on numbering where the journal left off.
    pub fn new(device: DeviceId, last: Option<Origin>) -> Self {
        Self { device, inbox: Inbox::new(INBOX_CAPACITY, last.map_or(0, |origin| origin.sequence)) }
    }

    /// Takes something in, waiting for space.
    pub async fn accept(&self, inbound: Inbound) -> Receipt {
        self.inbox.accept(inbound).await
    }

    /// How many wait.
    pub fn depth(&self) -> usize {
        self.inbox.depth()
    }

    /// Hands everything that waits to the journal, in order, and settles it as it is committed.
    pub async fn drain(&self, journal: &JournalSlot) -> Result<(), DrainError> {
        loop {
            let batch = self.inbox.front(BATCH);
            let Some((last, _)) = batch.last() else { return Ok(()) };
            let last = *last;
            let entries =
                batch.iter().map(|(number, inbound)| entry(&self.device, *number, inbound)).collect();
            commit(journal, entries).await?;
            self.inbox.settle(last);
        }
    }
}

/// Appends entries and waits until they are on disk.
async fn commit(journal: &JournalSlot, entries: Vec<Entry>) -> Result<Lsn, DrainError> {
    submit(journal, entries).await.map_err(|_| DrainError::WriterGone)?.map_err(DrainError::Append)
}

/// Appends entries; the answer comes once they are on disk, and not at all if the writer goes away.
pub(crate) fn submit(
    journal: &JournalSlot,
    entries: Vec<Entry>,
) -> oneshot::Receiver<Result<Lsn, AppendError>> {
    let (sender, committed) = oneshot::channel();
    journal.append(
        entries,
        Box::new(move |result| {
            // Whoever waited may have been killed meanwhile; the entries are committed all the same.
            sender.send(result).ok();
        }),
    );
    committed
}

fn entry(device: &DeviceId, sequence: u64, inbound: &Arc<Inbound>) -> Entry {
    let origin = Origin { epoch: 0, sequence };
    match inbound.as_ref() {
        Inbound::Reading(reading) => Entry::Reading { origin, reading: reading.clone() },
        Inbound::Rejected { at, reason, detail } => Entry::Rejected {
            device: Some(device.clone()),
            origin: Some(origin),
            at: *at,
            reason: *reason,
            detail: detail.clone(),
        },
    }
}
