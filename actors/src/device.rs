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

/// How long a device waits before it goes at something again that it failed on.
const RETRY: Duration = Duration::from_millis(100);
/// How long the last of what it took in may take to be committed when it stops.
const LAST_COMMIT: Duration = Duration::from_secs(2);
/// How often it looks whether that is done.
const LOOK: Duration = Duration::from_millis(5);

/// Hands what waits in the intake to the journal, unless a newer incarnation of the device's actor does so already. The
/// turn ends without the journal's answer, which wakes the actor if there is more. What the actor failed on stays in the
/// intake and is tried again.
pub(crate) async fn hand_over(
    myself: &ActorRef<DeviceMsg>,
    fence: &Fence,
    entry: &Arc<DeviceEntry>,
    journal: &JournalSlot,
) {
    if !fence.is_current() {
        return;
    }
    fence.heard();
    if let Err(error) = entry.intake.offer(journal, waker(entry)).await {
        tracing::debug!(device = %entry.id, %error, waiting = entry.intake.depth(), "readings wait");
        myself.send_after(RETRY, || DeviceMsg::Wake);
    }
}

/// Sees to it that what was taken in is committed before the actor ends, if that does not take too long. Otherwise it
/// stays in the intake, and was not acknowledged.
pub(crate) async fn hand_over_the_last(fence: &Fence, entry: &Arc<DeviceEntry>, journal: &JournalSlot) {
    let mut look = tokio::time::interval(LOOK);
    let emptied = async {
        while fence.is_current() && entry.intake.depth() > 0 {
            if entry.intake.offer(journal, waker(entry)).await.is_err() {
                break;
            }
            look.tick().await;
        }
    };
    tokio::time::timeout(LAST_COMMIT, emptied).await.ok();
}

fn waker(entry: &Arc<DeviceEntry>) -> impl FnOnce() + Send + 'static {
    let entry = Arc::clone(entry);
    move || entry.actor.wake(DeviceMsg::Wake)
}

#[cfg(test)]
mod tests;
