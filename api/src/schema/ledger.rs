//! What became of each reading, as clients see it.

use std::collections::BTreeMap;

use async_graphql::{ID, SimpleObject};
use voltree_actors::fleet;
use voltree_model::RejectReason;

/// What became of the readings of one device. At every moment
/// received = stored + duplicate + rejected + deadLettered + pending.
#[derive(SimpleObject)]
pub(super) struct LedgerRow {
    /// The device; null for the node's own row, which counts what names no device.
    device_id: Option<ID>,
    /// Everything that came in.
    received: u64,
    /// Stored for good.
    stored: u64,
    /// Said nothing that another reading of the same time had not said.
    duplicate: u64,
    /// Turned away.
    rejected: u64,
    /// Turned away, by reason.
    rejected_by_reason: Vec<ReasonCount>,
    /// Set aside, with the reason, after their handler failed on them repeatedly.
    dead_lettered: u64,
    /// Taken in and still on their way to the store.
    pending: u64,
    /// Single metrics left out of readings that were otherwise taken, by reason; not part of the balance.
    metrics_left_out: Vec<ReasonCount>,
}

/// How often something happened for one reason.
#[derive(SimpleObject)]
pub(super) struct ReasonCount {
    /// The reason: bad_topic, bad_payload, bad_timestamp, bad_value, busy, …
    reason: String,
    /// How often.
    count: u64,
}

impl From<fleet::LedgerRow> for LedgerRow {
    fn from(row: fleet::LedgerRow) -> Self {
        let ledger = row.ledger;
        Self {
            device_id: row.device.map(|id| ID(id.to_string())),
            received: ledger.received(),
            stored: ledger.stored,
            duplicate: ledger.duplicate,
            rejected: ledger.rejected_total(),
            rejected_by_reason: by_reason(&ledger.rejected),
            dead_lettered: ledger.dead_lettered,
            pending: ledger.pending,
            metrics_left_out: by_reason(&ledger.metrics_left_out),
        }
    }
}

fn by_reason(counts: &BTreeMap<RejectReason, u64>) -> Vec<ReasonCount> {
    counts.iter().map(|(reason, count)| ReasonCount { reason: reason.to_string(), count: *count }).collect()
}
