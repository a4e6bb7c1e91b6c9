//! The flight recorder: the last conversations with one device, as its codec saw them, byte for byte and to the
//! nanosecond, and what came of each.
//!
//! It holds whole cycles only, within a bound of bytes, and with each what the conversation had learned before it, so
//! that [`replay_all`] can lead any of them again through the same code. What a driver must keep to itself (a password)
//! is never written down. Recording changes nothing of what is recorded.

#[cfg(feature = "mqtt")]
mod publishes;
mod recorded;
mod replay;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use voltree_model::{PackReading, Timestamp};

use crate::bms::Driver;

#[cfg(feature = "mqtt")]
pub use publishes::{Publish, PublishRecorder, ReadAs};
pub use recorded::Recorded;
pub use replay::{Replayed, replay_all};

/// How much of a device's conversations is kept, in bytes of memory; a little more while one is under way.
pub const KEPT_BYTES: usize = 32 * 1024;
/// How much is kept of all devices of a node together: those of a large fleet have less each.
const KEPT_BYTES_OF_ALL: usize = 8 * 1024 * 1024;
/// What a packed cycle costs besides its bytes.
const PACKED_BYTES: usize = 32;
/// What an entry costs besides its bytes.
const ENTRY_BYTES: usize = 48;
/// What a reading costs besides its cells.
const READING_BYTES: usize = 512;

/// One thing that was said or done between a driver and its device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Call {
    /// The cycle began.
    Began {
        /// When, since the cycle's own origin.
        at_ns: u64,
    },
    /// A request left.
    Asked {
        /// When.
        at_ns: u64,
        /// Its bytes, none where they hold a secret.
        #[serde(with = "hex::serde")]
        bytes: Vec<u8>,
        /// Whether the bytes hold a secret and are left out.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        secret: bool,
    },
    /// Bytes arrived.
    Heard {
        /// When.
        at_ns: u64,
        /// As the codec saw them.
        #[serde(with = "hex::serde")]
        bytes: Vec<u8>,
    },
    /// The time came that the cycle had asked to be woken at.
    Woken {
        /// When.
        at_ns: u64,
    },
    /// A fault was injected here.
    Injected {
        /// Which, as its error or panic names it.
        fault: String,
    },
}

/// What came of a cycle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// A reading.
    Reading(Box<PackReading>),
    /// The device gave none, and why.
    Failed(String),
    /// The wire failed, and how.
    LinkFailed(String),
    /// The codec panicked; only a replay sees this.
    Panicked(String),
}

/// One cycle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cycle {
    /// Which incarnation of the device's actor led it.
    pub incarnation: u64,
    /// When it began.
    pub at: Timestamp,
    /// What the conversation had learned before.
    pub memory: Value,
    /// What happened, in order.
    pub calls: Vec<Call>,
    /// More happened than there is room for, so that the cycle can't be repeated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut_short: bool,
    /// What came of it; none if it never ended.
    pub end: Option<End>,
}

/// Everything needed to lead the kept cycles again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flight {
    /// How the device is talked to, without its secrets.
    pub driver: Driver,
    /// The last cycles, oldest first.
    pub cycles: Vec<Cycle>,
}

/// The recorder of one device. It belongs to the node, so that it outlives the actors that write in it.
#[derive(Debug)]
pub struct FlightRecorder {
    kept: Mutex<Kept>,
    limit: usize,
    room: Arc<FlightRoom>,
}

/// What the recorders of a node share.
#[derive(Debug, Default)]
pub struct FlightRoom {
    /// How many devices have something to record.
    devices: AtomicUsize,
}

#[derive(Debug, Default)]
struct Kept {
    driver: Option<Driver>,
    /// The latest incarnation that wrote.
    incarnation: u64,
    /// Cycles that are over, packed: nearly all of them are forgotten without having been looked at.
    closed: VecDeque<Box<[u8]>>,
    open: Option<Open>,
    bytes: usize,
}

/// The cycle that is being written.
#[derive(Debug)]
struct Open {
    bytes: usize,
    cycle: Cycle,
}

impl Default for FlightRecorder {
    fn default() -> Self {
        Self::with_room_for(KEPT_BYTES)
    }
}

impl Drop for FlightRecorder {
    fn drop(&mut self) {
        if self.kept.get_mut().driver.is_some() {
            self.room.devices.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl FlightRoom {
    /// What each has of it.
    fn share(&self) -> usize {
        KEPT_BYTES_OF_ALL / self.devices.load(Ordering::Relaxed).max(1)
    }
}

impl FlightRecorder {
    /// Keeps about so many bytes, and the last cycle whatever its size up to as many again.
    pub fn with_room_for(limit: usize) -> Self {
        Self { kept: Mutex::default(), limit, room: Arc::default() }
    }

    /// Keeps as much as is left for one of all that share the room, and the last cycle in any case.
    pub fn sharing(room: &Arc<FlightRoom>) -> Self {
        Self { kept: Mutex::default(), limit: KEPT_BYTES, room: Arc::clone(room) }
    }

    fn room(&self) -> usize {
        self.limit.min(self.room.share())
    }

    /// What is kept; none before somebody began to record.
    pub fn flight(&self) -> Option<Flight> {
        let kept = self.kept.lock();
        let closed = kept.closed.iter().filter_map(|packed| unpack(packed));
        let open = kept.open.iter().map(|open| open.cycle.clone());
        Some(Flight { driver: kept.driver.clone()?, cycles: closed.chain(open).collect() })
    }

    /// A pen for one incarnation, which talks like this.
    pub fn pen(self: &Arc<Self>, driver: &Driver, incarnation: u64) -> Pen {
        if self.kept.lock().driver.replace(driver.clone()).is_none() {
            self.room.devices.fetch_add(1, Ordering::Relaxed);
        }
        Pen { recorder: Arc::clone(self), incarnation, secrets: driver.secrets().into() }
    }
}

/// What one incarnation writes with. Once a later one has begun to write, this one writes nothing any more.
#[derive(Debug, Clone)]
pub struct Pen {
    recorder: Arc<FlightRecorder>,
    incarnation: u64,
    secrets: Arc<[Vec<u8>]>,
}

impl Pen {
    /// Begins a cycle.
    pub fn begin(&self, at: Timestamp, memory: Value) {
        let bytes = ENTRY_BYTES + memory.to_string().len() * 4;
        let mut kept = self.recorder.kept.lock();
        if kept.incarnation > self.incarnation {
            return;
        }
        kept.close();
        let incarnation = self.incarnation;
        kept.incarnation = incarnation;
        let cycle = Cycle { incarnation, at, memory, calls: Vec::new(), cut_short: false, end: None };
        kept.open = Some(Open { bytes, cycle });
        kept.make_room(self.recorder.room());
    }

    /// Writes down a request.
    pub fn asked(&self, at: Duration, bytes: &[u8]) {
        let secret = self.secrets.iter().any(|secret| holds(bytes, secret));
        let bytes = if secret { Vec::new() } else { bytes.to_vec() };
        self.call(Call::Asked { at_ns: nanos(at), bytes, secret });
    }

    /// Writes down what arrived, secrets in it blotted out.
    pub fn heard(&self, at: Duration, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.secrets.iter().for_each(|secret| blot_out(&mut bytes, secret));
        self.call(Call::Heard { at_ns: nanos(at), bytes });
    }

    /// Writes down that a fault was injected.
    pub fn injected(&self, fault: String) {
        self.call(Call::Injected { fault });
    }

    /// Writes down anything else.
    fn call(&self, call: Call) {
        let cost = ENTRY_BYTES
            + match &call {
                Call::Asked { bytes, .. } | Call::Heard { bytes, .. } => bytes.len(),
                Call::Injected { fault } => fault.len(),
                Call::Began { .. } | Call::Woken { .. } => 0,
            };
        self.write(cost, |cycle| cycle.calls.push(call));
    }

    /// Ends the cycle.
    pub fn end(&self, end: End) {
        let cost = match &end {
            End::Reading(reading) => READING_BYTES + reading.cell_voltages.len() * 4,
            End::Failed(why) | End::LinkFailed(why) | End::Panicked(why) => why.len(),
        };
        self.write(cost, |cycle| cycle.end = Some(end));
        let mut kept = self.recorder.kept.lock();
        if kept.open.as_ref().is_some_and(|open| open.cycle.end.is_some()) {
            kept.close();
            kept.make_room(self.recorder.room());
        }
    }

    fn write(&self, cost: usize, write: impl FnOnce(&mut Cycle)) {
        let mut kept = self.recorder.kept.lock();
        let Some(Open { bytes, cycle }) = &mut kept.open else { return };
        // What follows the end belongs to no cycle, such as a fault that strikes between two of them.
        if cycle.incarnation != self.incarnation || cycle.cut_short || cycle.end.is_some() {
            return;
        }
        if *bytes + cost > self.recorder.limit {
            cycle.cut_short = true;
            return;
        }
        *bytes += cost;
        write(cycle);
        kept.make_room(self.recorder.room());
    }
}

impl Kept {
    fn close(&mut self) {
        let Some(packed) = self.open.take().and_then(|open| pack(&open.cycle)) else { return };
        self.bytes += packed.len() + PACKED_BYTES;
        self.closed.push_back(packed);
    }

    fn make_room(&mut self, limit: usize) {
        let open = self.open.as_ref().map_or(0, |open| open.bytes);
        while self.bytes + open > limit && self.closed.len() + usize::from(self.open.is_some()) > 1 {
            let Some(oldest) = self.closed.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(oldest.len() + PACKED_BYTES);
        }
    }
}

/// Puts a cycle into few bytes; every number stays what it is.
fn pack(cycle: &Cycle) -> Option<Box<[u8]>> {
    let mut packed = Vec::new();
    ciborium::into_writer(cycle, &mut packed).ok()?;
    Some(packed.into())
}

fn unpack(packed: &[u8]) -> Option<Cycle> {
    ciborium::from_reader(packed).ok()
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    !secret.is_empty() && bytes.windows(secret.len()).any(|window| window == secret)
}

fn blot_out(bytes: &mut [u8], secret: &[u8]) {
    while holds(bytes, secret) && secret.iter().any(|byte| *byte != b'*') {
        if let Some(at) = bytes.windows(secret.len()).position(|window| window == secret) {
            bytes[at..at + secret.len()].fill(b'*');
        }
    }
}

#[cfg(test)]
mod tests;
