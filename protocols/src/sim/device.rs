//! What a simulated device is: something that hears bytes and answers with frames, and is counted while it does.
//!
//! A device never does IO and reads no clock; `pty` carries its replies at the pace of the line and counts them once
//! they have left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// What a device says to one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Frames in the order in which they leave.
    pub frames: Vec<Vec<u8>>,
    /// This reply ends a whole poll cycle.
    pub ends_cycle: bool,
}

/// The device's end of a wire.
pub trait DeviceSide: Send {
    /// Hears bytes and gives a reply to every request among them, in order; an empty reply stays silent.
    /// `now` is the time since any fixed origin.
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply>;
}

/// A device that its maker keeps a hand on, to change the pack while it is being polled.
impl<D: DeviceSide> DeviceSide for Arc<Mutex<D>> {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        self.lock().handle_input(bytes, now)
    }
}

impl<D: DeviceSide + ?Sized> DeviceSide for Box<D> {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        (**self).handle_input(bytes, now)
    }
}

/// What a simulated device counted itself.
#[derive(Debug, Default)]
pub struct SimStats {
    requests: AtomicU64,
    answers: AtomicU64,
    cycles_completed: AtomicU64,
}

impl SimStats {
    /// Requests heard.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Acquire)
    }

    /// Requests whose answer left whole.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Acquire)
    }

    /// Poll cycles whose last answer left whole.
    pub fn cycles_completed(&self) -> u64 {
        self.cycles_completed.load(Ordering::Acquire)
    }

    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn count_answer(&self, ends_cycle: bool) {
        self.answers.fetch_add(1, Ordering::AcqRel);
        self.cycles_completed.fetch_add(u64::from(ends_cycle), Ordering::AcqRel);
    }
}
