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

use std::collections::BTreeMap;

use voltree_model::{DeviceId, Ledger, MetricName, Timestamp};

use crate::checkpoint::{DeviceCheckpoint, LatestValue, NodeCheckpoint};
use crate::{Entry, Lsn, Row, SeriesPoint};
use device::DeviceHead;
use job::{Job, Outcome};

pub use device::DeviceSummary;
pub(crate) use job::{DeviceJob, Job as SealJobKind, Outcome as SealedKind};
pub use job::{SealJob, Sealed};
pub(crate) use open::{OpenReading, Series};

/// How many open readings a head may hold before it seals without waiting for age: they are memory, about 130 bytes each
/// for a reading of sixteen metrics.
const MOST_OPEN_READINGS: u64 = 100_000;
/// How much memory they may take before that.
const MOST_OPEN_BYTES: usize = 24 * 1024 * 1024;

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
        let crowd = self.crowd();
        let is_due = |head: &DeviceHead| {
            head.seal_due(now, at_rest) || crowd.as_ref().is_some_and(|crowd| crowd.is_much(head))
        };
        self.devices.iter().filter(|(_, head)| is_due(head)).map(|(id, _)| id.clone()).collect()
    }

    /// What is much for a device, while the whole head holds too many open readings.
    fn crowd(&self) -> Option<Crowd> {
        let (mut readings, mut bytes) = (0, 0);
        for head in self.devices.values() {
            readings += head.pending();
            bytes += head.open_bytes();
        }
        let devices = self.devices.len().max(1);
        let share = |of: usize| (of / devices / 2).max(1);
        (readings >= MOST_OPEN_READINGS || bytes >= MOST_OPEN_BYTES).then(|| Crowd {
            readings: u64::try_from(share(usize::try_from(readings).unwrap_or(usize::MAX)))
                .unwrap_or(u64::MAX),
            bytes: share(bytes),
        })
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

/// From how much on a device has its fair share of a crowd of open readings. Those that have less are left alone,
/// because many tiny parts cost more than they free.
struct Crowd {
    readings: u64,
    bytes: usize,
}

impl Crowd {
    fn is_much(&self, head: &DeviceHead) -> bool {
        head.pending() >= self.readings || head.open_bytes() >= self.bytes
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
