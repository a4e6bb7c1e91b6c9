//! What a simulated device is: something that hears bytes and answers with frames, and is counted while it does.
//!
//! A device never does IO and reads no clock; `serve` carries its replies at the pace of the line and counts them once
//! they have left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::flaky::Fault;
use super::pack::SimPack;

/// What a device says to one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Frames in the order in which they leave.
    pub frames: Vec<Vec<u8>>,
    /// This reply ends a whole poll cycle.
    pub ends_cycle: bool,
    /// This reply is one without which a poll gives no reading, and one of which a poll takes only one.
    pub measures: bool,
    /// How much later than usual it leaves.
    pub delay: Duration,
    /// What was done to it on the way.
    pub faults: Vec<Fault>,
}

/// The device's end of a wire.
pub trait DeviceSide: Send {
    /// Hears bytes and gives a reply to every request among them, in order; an empty reply stays silent.
    /// `now` is the time since any fixed origin.
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply>;

    /// What it says to a client that has just connected, where a wire has such a moment.
    fn greeting(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// When it next says something unasked; `None` for a device that never does.
    fn next_broadcast(&self) -> Option<Duration> {
        None
    }

    /// Says what it says unasked, once its time has come.
    fn broadcast(&mut self, _now: Duration) -> Vec<Reply> {
        Vec::new()
    }
}

/// A device that its maker keeps a hand on, to change the pack while it is being polled.
impl<D: DeviceSide> DeviceSide for Arc<Mutex<D>> {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        self.lock().handle_input(bytes, now)
    }

    fn greeting(&mut self) -> Vec<u8> {
        self.lock().greeting()
    }

    fn next_broadcast(&self) -> Option<Duration> {
        self.lock().next_broadcast()
    }

    fn broadcast(&mut self, now: Duration) -> Vec<Reply> {
        self.lock().broadcast(now)
    }
}

impl<D: DeviceSide + ?Sized> DeviceSide for Box<D> {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        (**self).handle_input(bytes, now)
    }

    fn greeting(&mut self) -> Vec<u8> {
        (**self).greeting()
    }

    fn next_broadcast(&self) -> Option<Duration> {
        (**self).next_broadcast()
    }

    fn broadcast(&mut self, now: Duration) -> Vec<Reply> {
        (**self).broadcast(now)
    }
}

/// A device with a pack behind it, which may be looked at and changed at any time.
pub trait HasPack {
    /// The pack.
    fn pack_mut(&mut self) -> &mut SimPack;
}

/// What a simulated device counted itself.
#[derive(Debug, Default)]
pub struct SimStats {
    requests: AtomicU64,
    answers: AtomicU64,
    cycles_completed: AtomicU64,
    measurements: AtomicU64,
    measured_since_cycle: AtomicBool,
    faults: [AtomicU64; Fault::ALL.len()],
}

impl SimStats {
    /// Requests heard.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Acquire)
    }

    /// Requests whose answer left whole and unspoilt.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Acquire)
    }

    /// Poll cycles whose last answer left whole.
    pub fn cycles_completed(&self) -> u64 {
        self.cycles_completed.load(Ordering::Acquire)
    }

    /// Unspoilt answers of which a poll needs one for its reading: on any line this is how many readings can be.
    pub fn measurements(&self) -> u64 {
        self.measurements.load(Ordering::Acquire)
    }

    /// Whether it gave such an answer after the last poll cycle it completed: a client that hears no more may still make a
    /// reading of it.
    pub fn is_half_read(&self) -> bool {
        self.measured_since_cycle.load(Ordering::Acquire)
    }

    /// How many answers a fault befell.
    pub fn faults(&self, fault: Fault) -> u64 {
        self.faults[fault.index()].load(Ordering::Acquire)
    }

    pub(super) fn count_request(&self, reply: &Reply) {
        self.requests.fetch_add(1, Ordering::AcqRel);
        for fault in &reply.faults {
            self.faults[fault.index()].fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(super) fn count_answer(&self, reply: &Reply) {
        if reply.faults.iter().any(|fault| fault.spoils()) {
            return;
        }
        self.answers.fetch_add(1, Ordering::AcqRel);
        if reply.measures || reply.ends_cycle {
            self.measured_since_cycle.store(!reply.ends_cycle, Ordering::Release);
        }
        self.cycles_completed.fetch_add(u64::from(reply.ends_cycle), Ordering::AcqRel);
        self.measurements.fetch_add(u64::from(reply.measures), Ordering::AcqRel);
    }
}
