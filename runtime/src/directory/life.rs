//! One incarnation as the node sees it: whether it is still the current one, and since when it has been busy.
//!
//! An actor that spins can't be ended, so whatever outlives actors asks a [`Fence`] before it lets one of them change
//! anything. The marks of being busy cost an actor two stores per message and an idle actor nothing.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ractor::ActorCell;

/// The node's coarse clock: counts the watchman's rounds, from 1.
#[derive(Debug)]
pub(crate) struct Ticks(AtomicU32);

impl Default for Ticks {
    fn default() -> Self {
        Self(AtomicU32::new(1))
    }
}

impl Ticks {
    /// The round that is under way.
    pub(crate) fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Begins the next round; 0 means "idle" elsewhere and is passed over.
    pub(crate) fn advance(&self) -> u32 {
        let next = self.now().wrapping_add(1).max(1);
        self.0.store(next, Ordering::Relaxed);
        next
    }
}

/// One incarnation.
#[derive(Debug)]
pub(crate) struct Life {
    incarnation: u64,
    revoked: AtomicBool,
    /// The round in which it began what it is doing; 0 while it is idle.
    busy_since: AtomicU32,
    stall_ms: u32,
    /// Whether a wake-up waits in its mailbox.
    woken: AtomicBool,
    /// Its mailbox, which takes wake-ups from before its first word on: its supervisor may hear late that it runs.
    mailbox: OnceLock<ActorCell>,
    ticks: Arc<Ticks>,
}

impl Life {
    pub(super) fn new(incarnation: u64, stall: Duration, ticks: Arc<Ticks>) -> Self {
        Self {
            incarnation,
            revoked: AtomicBool::new(false),
            busy_since: AtomicU32::new(0),
            stall_ms: u32::try_from(stall.as_millis()).unwrap_or(u32::MAX),
            woken: AtomicBool::new(false),
            mailbox: OnceLock::new(),
            ticks,
        }
    }

    /// Notes where wake-ups go.
    pub(crate) fn hears_at(&self, mailbox: ActorCell) {
        // An incarnation is announced once.
        drop(self.mailbox.set(mailbox));
    }

    /// Notes that a wake-up is sent, and says where to; nothing if one is waiting already, or if its mailbox is not there
    /// yet: then it has not looked for work yet either.
    pub(super) fn wake(&self) -> Option<ActorCell> {
        let mailbox = self.mailbox.get()?;
        let is_first = !self.woken.swap(true, Ordering::AcqRel);
        is_first.then(|| mailbox.clone())
    }

    /// Which incarnation this is.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Marks it busy until the answer is dropped.
    pub(crate) fn busy(&self) -> Busy<'_> {
        self.busy_since.store(self.ticks.now(), Ordering::Relaxed);
        Busy(self)
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy_since.load(Ordering::Relaxed) != 0
    }

    /// Whether it has been at one thing for longer than it may, as of this round.
    pub(crate) fn is_frozen(&self, round: u32, tick: Duration) -> bool {
        let since = self.busy_since.load(Ordering::Relaxed);
        since != 0 && tick.saturating_mul(round.wrapping_sub(since)).as_millis() > u128::from(self.stall_ms)
    }

    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }

    pub(crate) fn is_current(&self) -> bool {
        !self.revoked.load(Ordering::Acquire)
    }
}

/// The mark of being busy.
#[derive(Debug)]
pub(crate) struct Busy<'a>(&'a Life);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy_since.store(0, Ordering::Relaxed);
    }
}

/// What one incarnation of an actor shows at every door behind which its effects would outlive it.
#[derive(Debug, Clone)]
pub struct Fence(Arc<Life>);

/// A newer incarnation has taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a newer incarnation of this actor has taken over")]
pub struct Fenced;

impl Fence {
    pub(crate) fn of(life: Arc<Life>) -> Self {
        Self(life)
    }

    /// Whether its incarnation still counts; costs one atomic load.
    pub fn is_current(&self) -> bool {
        self.0.is_current()
    }

    /// Lets only the current incarnation pass.
    pub fn check(&self) -> Result<(), Fenced> {
        if self.is_current() { Ok(()) } else { Err(Fenced) }
    }

    /// Notes that a wake-up was taken, before looking for work: whatever comes later wakes again.
    pub fn heard(&self) {
        self.0.woken.store(false, Ordering::SeqCst);
    }

    /// Says in the middle of long work that it goes on, so that it is not taken for frozen.
    pub fn still_busy(&self) {
        if self.0.is_busy() {
            self.0.busy_since.store(self.0.ticks.now(), Ordering::Relaxed);
        }
    }

    pub(crate) fn life(&self) -> &Arc<Life> {
        &self.0
    }
}
