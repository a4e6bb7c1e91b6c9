//! What all device actors have in common: one message type, and handing their intake to the journal.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use voltree_runtime::Fence;
use voltree_storage::JournalSlot;

use crate::registry::DeviceEntry;

/// What a device actor is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceMsg {
    /// Something waits in its intake.
    Wake,
    /// It is time to ask the device.
    Poll,
}

/// How long a device waits before it offers the journal again what the journal did not take.
const RETRY: Duration = Duration::from_millis(100);

/// Hands the intake to the journal, unless a newer incarnation of the device's actor does so already. If the journal can't take it now nothing is lost: the readings stay in the intake
/// and are offered again.
pub(crate) async fn drain(
    myself: &ActorRef<DeviceMsg>,
    fence: &Fence,
    entry: &Arc<DeviceEntry>,
    journal: &JournalSlot,
) {
    if !fence.is_current() {
        return;
    }
    fence.heard();
    if let Err(error) = entry.intake.drain(journal).await {
        tracing::debug!(device = %entry.id, %error, waiting = entry.intake.depth(), "readings wait");
        myself.send_after(RETRY, || DeviceMsg::Wake);
    }
}
