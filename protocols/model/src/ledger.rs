//! The ledger: what became of every reading of a device, in five words that must balance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::RejectReason;

/// Counts of readings: `received = stored + duplicate + rejected + dead_lettered + pending`, at every moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// In a sealed frame in a bucket.
    pub stored: u64,
    /// Another reading of the same device and time had already said all of it.
    pub duplicate: u64,
    /// Turned away, by reason.
    pub rejected: BTreeMap<RejectReason, u64>,
    /// Set aside after their handler failed on them repeatedly.
    pub dead_lettered: u64,
    /// Accepted or committed, and not yet one of the above.
    pub pending: u64,
    /// Single metrics left out of readings that were otherwise taken, by reason. Not part of the balance.
    pub metrics_left_out: BTreeMap<RejectReason, u64>,
}

impl Ledger {
    /// What came in: the sum of all the ways a reading can go.
    pub fn received(&self) -> u64 {
        self.stored + self.duplicate + self.rejected_total() + self.dead_lettered + self.pending
    }

    /// Rejections of every reason.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }
}
