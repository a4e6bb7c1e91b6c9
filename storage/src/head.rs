//! The head: a pure fold over the committed entries of some devices, on top of what the checkpoint says of them.
//!
//! It holds every reading that no seal covers yet, and knows when it is time to seal. Whether a reading is stored or a
//! duplicate is decided by the store, which sees the rows that are sealed already; until then it is pending. Folding an
//! entry twice changes nothing, and neither does an answer that comes late, twice or never.

mod device;
mod differences;
mod job;
mod open;
mod readings;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use voltree_model::{DeviceId, Ledger, MetricName, Timestamp};

use crate::checkpoint::{DeviceCheckpoint, LatestValue, NodeCheckpoint};
use crate::{Entry, Lsn, Row, SeriesPoint};
use device::DeviceHead;
use job::{Job, Outcome};

pub use device::DeviceSummary;
pub(crate) use job::{DeviceJob, Job as SealJobKind, Outcome as SealedKind};
pub use job::{SealJob, Sealed};
pub(crate) use open::OpenReading;

/// How many open readings a head may hold before it seals without waiting for age: they are memory, about 130 bytes each
/// for a reading of sixteen metrics.
const MOST_OPEN_READINGS: u64 = 32_768;
/// How much memory they may take before that.
const MOST_OPEN_BYTES: usize = 8 * 1024 * 1024;
/// With too many open readings this share of either limit is sealed: a little at a time, so that in a fleet whose devices
/// all began together their turns come to lie apart, and memory stays where it is instead of going up and down with them.
const SEALED_SHARE: u8 = 8;

/// The fold over the entries of some devices and, in one head of a node, over those that name no device.
#[derive(Debug)]
pub struct Head {
    devices: BTreeMap<DeviceId, DeviceHead>,
    node: NodeHead,
}

#[derive(Debug, Default)]
struct NodeHead {
    state: NodeCheckpoint,
    sealed: Lsn,
}

impl Head {
    /// A head as the checkpoint left it; `node` is given to the one head that folds what names no device.
    pub fn new(
        devices: BTreeMap<DeviceId, std::sync::Arc<DeviceCheckpoint>>,
        node: Option<NodeCheckpoint>,
    ) -> Self {
        let node = node.unwrap_or_default();
        let devices = devices.into_iter().map(|(id, checkpoint)| (id, DeviceHead::new(checkpoint)));
        Self { devices: devices.collect(), node: NodeHead { sealed: node.applied, state: node } }
    }

    /// Folds one committed entry; one that is covered already changes nothing.
    pub fn apply(&mut self, lsn: Lsn, entry: &Entry) {
        let Some(device) = entry.device() else { return self.node.apply(lsn, entry) };
        match self.devices.get_mut(device) {
            Some(head) => head.apply(lsn, entry),
            None => {
                let mut head = DeviceHead::new(DeviceCheckpoint::new(entry.at()).into());
                head.apply(lsn, entry);
                self.devices.insert(device.clone(), head);
            }
        }
    }

    /// The devices that should be sealed now; `at_rest` says that nothing new has come to the node for a while.
    pub fn seal_due(&self, now: Timestamp, at_rest: bool) -> Vec<DeviceId> {
        let crowding = self.crowding();
        let is_due = |id: &DeviceId, head: &DeviceHead| head.seal_due(now, at_rest) || crowding.contains(id);
        self.devices.iter().filter(|(id, head)| is_due(id, head)).map(|(id, _)| id.clone()).collect()
    }

    /// Whose open readings must go while the whole head holds too many: those who have the most, as few as will do. The
    /// others are left alone, because many tiny parts cost more than they free.
    fn crowding(&self) -> BTreeSet<&DeviceId> {
        let (mut readings, mut bytes) = (0, 0);
        for head in self.devices.values() {
            readings += head.pending();
            bytes += head.open_bytes();
        }
        if readings < MOST_OPEN_READINGS && bytes < MOST_OPEN_BYTES {
            return BTreeSet::new();
        }
        let most_readings = MOST_OPEN_READINGS - MOST_OPEN_READINGS / u64::from(SEALED_SHARE);
        let most_bytes = MOST_OPEN_BYTES - MOST_OPEN_BYTES / usize::from(SEALED_SHARE);
        let mut heads: Vec<_> = self.devices.iter().collect();
        heads.sort_unstable_by_key(|(_, head)| Reverse(head.open_bytes()));
        let mut gone = BTreeSet::new();
        for (id, head) in heads {
            if readings <= most_readings && bytes <= most_bytes {
                break;
            }
            readings -= head.pending();
            bytes -= head.open_bytes();
            gone.insert(id);
        }
        gone
    }

    /// All jobs that are due; `at_rest` says that nothing new has come to the node for a while.
    ///
    /// The node's own row goes along with any of them, and by itself at rest.
    pub fn seal_jobs(&self, now: Timestamp, at_rest: bool) -> Vec<SealJob> {
        let due = self.seal_due(now, at_rest);
        let mut jobs: Vec<_> = due.iter().filter_map(|device| self.seal_job(device, now)).collect();
        if self.node.state.applied > self.node.sealed && (at_rest || !jobs.is_empty()) {
            jobs.push(SealJob(Job::Node(self.node.state.clone())));
        }
        jobs
    }

    /// Everything of a device that no seal covers yet; `None` if there is nothing.
    pub fn seal_job(&self, device: &DeviceId, now: Timestamp) -> Option<SealJob> {
        let job = self.devices.get(device)?.job(device, now)?;
        Some(SealJob(Job::Device(job)))
    }

    /// Takes over what the store answered: exactly what it covers is no longer open.
    pub fn sealed(&mut self, outcome: Sealed) {
        match outcome.0 {
            Outcome::Device { device, checkpoint, asked_at } => match self.devices.get_mut(&device) {
                Some(head) => head.sealed(&checkpoint, asked_at),
                None => {
                    self.devices.insert(device, DeviceHead::new(checkpoint));
                }
            },
            Outcome::Node(checkpoint) => self.node.sealed(&checkpoint),
        }
    }

    /// What became of a device's readings, as far as they are committed.
    pub fn ledger(&self, device: &DeviceId) -> Ledger {
        self.devices.get(device).map(DeviceHead::ledger).unwrap_or_default()
    }

    /// What became of everything that named no device.
    pub fn node_ledger(&self) -> Ledger {
        self.node.state.ledger.clone()
    }

    /// The ledgers of all devices.
    pub fn ledgers(&self) -> BTreeMap<DeviceId, Ledger> {
        self.devices.iter().map(|(id, head)| (id.clone(), head.ledger())).collect()
    }

    /// The newest value of a series.
    pub fn latest(&self, device: &DeviceId, metric: &MetricName) -> Option<LatestValue> {
        self.devices.get(device)?.latest(metric)
    }

    /// What is known of a device besides its rows.
    pub fn device(&self, device: &DeviceId) -> Option<DeviceSummary> {
        self.devices.get(device).map(DeviceHead::summary)
    }

    /// All devices that any entry named.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceId> {
        self.devices.keys()
    }

    /// The points of a series that no seal covers yet, oldest first; `from` is inside, `to` is not.
    pub fn open_points(
        &self,
        device: &DeviceId,
        metric: &MetricName,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<SeriesPoint> {
        self.devices.get(device).map(|head| head.open_points(metric, from, to)).unwrap_or_default()
    }

    /// A device's rows that no seal covers yet; `from` is inside, `to` is not.
    pub(crate) fn open_rows(
        &self,
        device: &DeviceId,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<(Timestamp, Row)> {
        self.devices.get(device).map(|head| head.open_rows(from, to)).unwrap_or_default()
    }

    /// When a device's readings are of that no seal covers yet, in UTC milliseconds, ascending.
    pub fn open_times(&self, device: &DeviceId) -> Vec<i64> {
        self.devices.get(device).map(DeviceHead::open_times).unwrap_or_default()
    }
}

impl NodeHead {
    fn apply(&mut self, lsn: Lsn, entry: &Entry) {
        if lsn <= self.state.applied {
            return;
        }
        self.state.applied = lsn;
        match entry {
            Entry::Rejected { reason, .. } => *self.state.ledger.rejected.entry(*reason).or_default() += 1,
            // These always name a device.
            Entry::Reading { .. } | Entry::DeadLettered { .. } => {}
            // The records have a view of their own.
            Entry::Record { .. } => {}
        }
    }

    fn sealed(&mut self, checkpoint: &NodeCheckpoint) {
        self.sealed = self.sealed.max(checkpoint.applied);
        if checkpoint.applied > self.state.applied {
            self.state = checkpoint.clone();
        }
    }
}

#[cfg(test)]
mod tests;
