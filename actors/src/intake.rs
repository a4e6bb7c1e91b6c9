//! A device's door: what it sent waits here until the journal has it.
//!
//! The intake belongs to the registry and so to the node: it outlives the device's actor and its supervisor. What was
//! accepted keeps its number across every kill, and the journal writes each number once, so handing a batch over twice is
//! harmless. What the device's actor panicked or failed on three times is set aside as a dead letter.
//!
//! One batch at a time is with the journal, and no actor waits for it: the journal's answer settles it and calls for the
//! next one. So a disk that stays full holds up one batch of a device and nobody's turn.

mod offer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use voltree_model::{DeviceId, Origin, Reading, RejectReason, Timestamp};
use voltree_runtime::{Failure, Faults, Inbox, Lane, Receipt, Refused, Waiting};
use voltree_storage::{AppendError, Entry, JournalSlot, Lsn};

use crate::dead_letters::{DeadLetter, DeadLetters};
use crate::fault_points::{DEVICE_HANDLE, INTAKE_BEFORE_ACCEPT};

/// How many readings a device may have waiting; past that its poll waits, or its PUBACK comes late.
pub const INBOX_CAPACITY: usize = 1_024;
/// How many go to the journal at once.
const BATCH: usize = 256;

/// What came in at a device's door.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Inbound {
    /// A reading to keep.
    Reading(Arc<Reading>),
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

/// An item can't go to the journal now; it stays in the inbox and can be offered again.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// The handler failed on it, which is counted against it.
    #[error("number {number} could not be handled")]
    Handler {
        /// Which.
        number: u64,
        /// Why.
        #[source]
        source: Failure,
    },
    /// A dead letter can't be kept.
    #[error("a dead letter can't be kept")]
    SetAside(#[source] voltree_storage::Error),
}

/// What becomes of the first of a batch.
#[derive(Debug)]
struct Prepared {
    entries: Vec<Entry>,
    /// Of how many they are: a dead letter takes more than one.
    items: usize,
    last: Option<u64>,
}

/// The inbox of one device.
#[derive(Debug)]
pub struct Intake {
    device: DeviceId,
    inbox: Inbox<Inbound>,
    /// Whether a batch is with the journal.
    offers: AtomicBool,
    /// Up to which number items go to the journal one at a time, because one of them can't be written.
    one_by_one_until: AtomicU64,
    dead_letters: Arc<DeadLetters>,
    faults: Faults,
}

impl Intake {
    /// An empty intake that goes on numbering where the journal left off, and takes things in while `is_open`.
    pub fn new(
        device: DeviceId,
        last: Option<Origin>,
        dead_letters: Arc<DeadLetters>,
        faults: Faults,
        is_open: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let last = last.map_or(0, |origin| origin.sequence);
        let inbox = Inbox::new(Lane::telemetry(INBOX_CAPACITY), last).with_door(is_open);
        let (offers, one_by_one_until) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { device, inbox, offers, one_by_one_until, dead_letters, faults }
    }

    /// Takes something in, waiting for space; refuses it while the device's actor is parked.
    pub async fn accept(&self, inbound: Inbound) -> Result<Receipt, Refused<Inbound>> {
        // This point allows no fault that comes back with an error.
        self.faults.pass(INTAKE_BEFORE_ACCEPT, &self.device).await.ok();
        self.inbox.accept(inbound).await
    }

    /// Takes several things in at once if there is room for all of them now, with one receipt for the lot; otherwise they
    /// come back, to be brought one by one. So they do while faults are injected, which strike one at a time.
    pub fn try_accept_all(&self, inbound: Vec<Inbound>) -> Result<Receipt, Refused<Vec<Inbound>>> {
        if self.faults.are_armed() {
            return Err(Refused::Busy(inbound));
        }
        self.inbox.try_accept_all(inbound)
    }

    /// Takes something in like [`Self::accept`] does, from a device that does not wait for the commit.
    pub async fn accept_unreceipted(&self, inbound: Inbound) -> Result<(), Refused<Inbound>> {
        self.faults.pass(INTAKE_BEFORE_ACCEPT, &self.device).await.ok();
        self.inbox.accept_unreceipted(inbound).await
    }

    /// How many wait.
    pub fn depth(&self) -> usize {
        self.inbox.depth()
    }

    /// How long the oldest has been waiting.
    pub fn age(&self) -> Option<std::time::Duration> {
        self.inbox.age()
    }

    /// Hands the first of what waits to the journal, unless a batch is there already. It is settled once it is durable;
    /// `next` is called if something waits then, or if the journal did not take it.
    pub async fn offer(
        self: &Arc<Self>,
        journal: &JournalSlot,
        next: impl FnOnce() + Send + 'static,
    ) -> Result<(), OfferError> {
        if self.is_offering() {
            return Ok(());
        }
        let batch = self.inbox.front(BATCH);
        let (prepared, failed) = self.prepare(batch).await;
        self.hand_over(journal, prepared, next);
        failed.map_or(Ok(()), Err)
    }

    /// Whether a batch is with the journal: then whatever else waits is asked for once it is answered.
    pub fn is_offering(&self) -> bool {
        self.offers.load(Ordering::Acquire)
    }

    /// Makes entries of a batch up to the first that fails; those before it have done nothing wrong.
    async fn prepare(&self, batch: Vec<Waiting<Inbound>>) -> (Prepared, Option<OfferError>) {
        let mut prepared = Prepared { entries: Vec::with_capacity(batch.len()), items: 0, last: None };
        for item in batch {
            // A suspect goes by itself, so that those before it are safe in the journal.
            let is_suspect =
                item.failures > 0 || item.number <= self.one_by_one_until.load(Ordering::Acquire);
            if is_suspect && prepared.last.is_some() {
                break;
            }
            let added = if item.is_dead() {
                self.set_aside(&item).map(|entries| prepared.entries.extend(entries))
            } else {
                self.handle(&item).await.map(|entry| prepared.entries.push(entry))
            };
            if let Err(failed) = added {
                return (prepared, Some(failed));
            }
            prepared.items += 1;
            prepared.last = Some(item.number);
        }
        (prepared, None)
    }

    async fn handle(&self, item: &Waiting<Inbound>) -> Result<Entry, OfferError> {
        let handling = self.inbox.handle(item.number);
        let number = item.number;
        let struck = self.faults.trip(DEVICE_HANDLE, format_args!("{}:{number}", self.device));
        let passed = match struck {
            Some(tripped) => self.faults.suffer(tripped).await,
            None => Ok(()),
        };
        if let Err(injected) = passed {
            let source = Failure::from(injected);
            handling.failed(&source.to_string());
            return Err(OfferError::Handler { number, source });
        }
        let entry = entry(&self.device, number, &item.content);
        handling.done();
        Ok(entry)
    }

    /// Keeps what the handler can't stand, and says in its place in the journal where it went.
    fn set_aside(&self, item: &Waiting<Inbound>) -> Result<Vec<Entry>, OfferError> {
        let (at, cause) = (crate::now(), item.cause.as_deref().unwrap_or_default().to_owned());
        let (device, number, failures) = (self.device.clone(), item.number, item.failures);
        let inbound = item.content.clone();
        let letter =
            DeadLetter { device: device.clone(), number, at, cause: cause.clone(), failures, inbound };
        let mut entries = self.dead_letters.keep(letter).map_err(OfferError::SetAside)?;
        entries.push(Entry::DeadLettered { device, origin: origin(number), at, cause });
        Ok(entries)
    }
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

/// Counts in the journal what a device sent and its inbox did not take.
pub(crate) fn reject(
    journal: &JournalSlot,
    device: &DeviceId,
    reason: RejectReason,
    detail: String,
    at: Timestamp,
) -> oneshot::Receiver<Result<Lsn, AppendError>> {
    let device = Some(device.clone());
    submit(journal, vec![Entry::Rejected { device, origin: None, at, reason, detail }])
}

fn origin(sequence: u64) -> Origin {
    Origin { epoch: 0, sequence }
}

fn entry(device: &DeviceId, number: u64, inbound: &Inbound) -> Entry {
    let origin = origin(number);
    match inbound {
        Inbound::Reading(reading) => Entry::Reading { origin, reading: Arc::clone(reading) },
        Inbound::Rejected { at, reason, detail } => Entry::Rejected {
            device: Some(device.clone()),
            origin: Some(origin),
            at: *at,
            reason: *reason,
            detail: detail.clone(),
        },
    }
}
