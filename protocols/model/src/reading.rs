//! A Reading: one device at one time with n named values.

use serde::{Deserialize, Serialize};

use crate::{DeviceId, MetricName, Metrics, RejectReason, Timestamp};

/// Where a reading stands among its device's others, given at the door.
///
/// Of two readings of the same device and time the one with the higher origin wins, so every node resolves alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Which ownership of the device took it in; 0 until a cluster hands out ownerships.
    pub epoch: u32,
    /// Counts the device's arrivals from 1, without gaps.
    pub sequence: u64,
}

/// One metric of an otherwise good reading that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricRejection {
    /// The metric as its source named it, cut to what is printable.
    pub name: String,
    /// Why.
    pub reason: RejectReason,
}

/// What a device said of itself at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Who.
    pub device: DeviceId,
    /// When it was measured, or received where the device has no clock.
    pub at: Timestamp,
    /// The series values.
    pub metrics: Metrics,
    /// Text values: the device's latest attributes, not series.
    pub attributes: Vec<(MetricName, String)>,
    /// Metrics left out, with the reason.
    pub left_out: Vec<MetricRejection>,
}
