//! What passes between a head and the store: a job with all that a seal needs, and its outcome.
//!
//! Both are values of their own: whoever carries them may be killed with them, and they may be carried twice.

use std::sync::Arc;

use voltree_model::{DeviceId, Timestamp};

use super::OpenReading;
use crate::checkpoint::{DeviceCheckpoint, NodeCheckpoint};

/// Everything of one device, or of the node itself, that no seal covered when it was made.
#[derive(Debug, Clone)]
pub struct SealJob(pub(crate) Job);

/// What the store has sealed and saved.
#[derive(Debug, Clone)]
pub struct Sealed(pub(crate) Outcome);

#[derive(Debug, Clone)]
pub(crate) enum Job {
    Device(DeviceJob),
    Node(NodeCheckpoint),
}

#[derive(Debug, Clone)]
pub(crate) struct DeviceJob {
    pub(crate) device: DeviceId,
    /// In the order of their LSNs within each time.
    pub(crate) readings: Vec<OpenReading>,
    /// The device as of the last entry folded; its `stored` and `duplicate` are for the store to say.
    pub(crate) state: DeviceCheckpoint,
    pub(crate) asked_at: Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Device { device: DeviceId, checkpoint: Arc<DeviceCheckpoint>, asked_at: Timestamp },
    Node(NodeCheckpoint),
}

impl SealJob {
    /// Whose it is; `None` is the node's own.
    pub fn device(&self) -> Option<&DeviceId> {
        match &self.0 {
            Job::Device(job) => Some(&job.device),
            Job::Node(_) => None,
        }
    }

    /// When it was made; the node's own does not say.
    pub(crate) fn asked_at(&self) -> Option<Timestamp> {
        match &self.0 {
            Job::Device(job) => Some(job.asked_at),
            Job::Node(_) => None,
        }
    }

    /// How many readings it carries.
    pub fn readings(&self) -> usize {
        match &self.0 {
            Job::Device(job) => job.readings.len(),
            Job::Node(_) => 0,
        }
    }
}

impl Sealed {
    /// Whose it is; `None` is the node's own.
    pub fn device(&self) -> Option<&DeviceId> {
        match &self.0 {
            Outcome::Device { device, .. } => Some(device),
            Outcome::Node(_) => None,
        }
    }
}
