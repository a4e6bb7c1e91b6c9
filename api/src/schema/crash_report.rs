//! Crash reports, as clients see them.

use async_graphql::{ID, SimpleObject};
use voltree_actors::crash_reports::CrashSummary;

/// The report of a device's actor that crashed, with what was last said between the node and the device.
#[derive(SimpleObject)]
pub(super) struct CrashReport {
    /// What it is called.
    id: ID,
    /// Whose actor crashed.
    device_id: ID,
    /// When, as RFC 3339 in UTC.
    time: String,
    /// Which incarnation of the actor, from 1.
    incarnation: u64,
    /// Why, in words.
    reason: String,
    /// Why: panic, error, start_failed or frozen.
    reason_kind: String,
    /// How large the report is.
    bytes: u64,
    /// Where the node serves it.
    url: String,
}

impl From<CrashSummary> for CrashReport {
    fn from(CrashSummary { id, device, at, incarnation, reason, bytes }: CrashSummary) -> Self {
        Self {
            url: format!("/api/v1/crash-reports/{id}"),
            id: ID(id),
            device_id: ID(device.to_string()),
            time: at.to_string(),
            incarnation,
            reason: reason.to_string(),
            reason_kind: reason.as_str().to_owned(),
            bytes,
        }
    }
}
