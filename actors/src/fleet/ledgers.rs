//! What became of each reading.

use voltree_model::{DeviceId, Ledger};

/// The ledger of one device, or of the node for what names no device.
#[derive(Debug, Clone)]
pub struct LedgerRow {
    /// Whose; `None` is the node's own row.
    pub device: Option<DeviceId>,
    /// The counts.
    pub ledger: Ledger,
}

/// What became of each reading.
pub trait Ledgers: Send + Sync {
    /// Every device's row and the node's own, by device id, the node's first.
    fn all(&self) -> Vec<LedgerRow>;
    /// One device's row.
    fn of(&self, device: &DeviceId) -> Option<LedgerRow>;
}
