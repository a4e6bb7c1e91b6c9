//! The life of a device after it was taken in: disabled, enabled again, removed.
//!
//! A disabled device's actor stands still and nothing of it is taken in; a removed one leaves the list and keeps what is
//! stored of it, and is discovered anew when it speaks again. The word is on disk before anything follows from it, so that
//! a node that is killed in between goes on with it at its next start.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use voltree_model::{DeviceId, DeviceState, MetricName, RejectReason, Timestamp};
use voltree_storage::Error;

use super::standing::{Standing, Word};
use super::{DeviceEntry, LinkState, Registry};
use crate::mqtt_device;

/// How long what a device sent before may take to be committed.
const LAST_COMMIT: Duration = Duration::from_secs(5);
/// How long its actor may take to stop.
const LAST_TURN: Duration = Duration::from_secs(15);
/// How often it is looked whether that is done.
const LOOK: Duration = Duration::from_millis(5);

/// Why a device's life did not change.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// Nobody has this id.
    #[error("no device {0} is known")]
    Unknown(DeviceId),
    /// The configuration would bring it back.
    #[error(
        "the configuration names {0}; take its section away and restart the node, or disable it with \
         voltree device disable {0}"
    )]
    Configured(DeviceId),
    /// It is not disabled.
    #[error("{0} is not disabled")]
    NotDisabled(DeviceId),
    /// Its actor holds on to what it has.
    #[error(
        "{0} is removed from the list as soon as its actor stops, which takes longer than usual; try again"
    )]
    Busy(DeviceId),
    /// The journal does not take the word.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Its sender is no device that is heard now, and does not become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// Nobody has made a device of it, or an operator sent it away.
    #[error("nobody has adopted this device; voltree device list shows who waits")]
    NotAdopted,
    /// An operator disabled it.
    #[error("an operator disabled this device; voltree device enable takes it back")]
    Disabled,
}

impl NotAdmitted {
    /// Under which reason its messages are counted.
    pub fn reason(self) -> RejectReason {
        match self {
            Self::NotAdopted => RejectReason::NotAdopted,
            Self::Disabled => RejectReason::Disabled,
        }
    }

    /// The row in which they are counted: whoever makes names up must not fill the ledger with them.
    pub(crate) fn row(self, device: &DeviceId) -> Option<DeviceId> {
        match self {
            Self::NotAdopted => None,
            Self::Disabled => Some(device.clone()),
        }
    }
}

impl Registry {
    /// What an operator said of a device.
    pub fn standing(&self, device: &DeviceId) -> Option<Standing> {
        self.standings.of(device)
    }

    /// Whether an operator disabled or removed it.
    pub fn is_set_aside(&self, device: &DeviceId) -> bool {
        self.standings.of(device).is_some()
    }

    /// Why nobody looks after a device any more, if that is so.
    pub(crate) fn let_go(&self, device: &DeviceId, now: Timestamp) -> Option<String> {
        if let Some(Standing { word, reason, .. }) = self.standings.of(device) {
            return Some(format!("an operator {} the device: {reason}", word.past()));
        }
        let is_configured = || self.get(device).is_some_and(|entry| entry.is_configured());
        if self.gate.turns_away(device) && !is_configured() {
            return Some("an operator sent the device away".to_owned());
        }
        if !self.any_unwanted.load(Ordering::Acquire) {
            return None;
        }
        // One that the configuration does not name any more may still publish.
        let idle = self.get(device).filter(|entry| !entry.wanted)?;
        (self.state(&idle, now) == DeviceState::Disabled)
            .then(|| "the device is no longer configured".to_owned())
    }

    /// Whether there may be values of a device that nobody looks after any more.
    pub(crate) fn lets_any_go_of(&self, device: &DeviceId) -> bool {
        self.standings.any_of_entities(device)
    }

    /// Why nobody looks after a value of a device any more, if that is so.
    pub(crate) fn let_go_of(&self, device: &DeviceId, entity: &MetricName) -> Option<String> {
        let Standing { word, reason, .. } = self.standings.of_entity(device, entity.as_str())?;
        Some(format!("an operator {} the entity {entity}: {reason}", word.past()))
    }

    /// Whether an operator removed it, and it has not spoken since.
    pub fn is_removed(&self, device: &DeviceId) -> bool {
        self.standings.of(device).is_some_and(|standing| standing.word == Word::Removed)
    }

    /// Keeps that a device is disabled. Blocks until the journal has it; [`Self::stand_still`] is to follow.
    pub fn disable(
        &self,
        id: &DeviceId,
        reason: &str,
        now: Timestamp,
    ) -> Result<Arc<DeviceEntry>, LifecycleError> {
        let entry = self.get(id).ok_or_else(|| LifecycleError::Unknown(id.clone()))?;
        let standing = Standing { word: Word::Disabled, reason: reason.to_owned(), since: now };
        self.standings.set((id.clone(), None), Some(standing))?;
        tracing::info!(event = "device.disabled", device = %id, reason, "disabled by an operator");
        Ok(entry)
    }

    /// Takes a disabled device back. Blocks until the journal has it.
    pub fn enable(&self, id: &DeviceId) -> Result<Arc<DeviceEntry>, LifecycleError> {
        let entry = self.get(id).ok_or_else(|| LifecycleError::Unknown(id.clone()))?;
        if !self.is_set_aside(id) {
            return Err(LifecycleError::NotDisabled(id.clone()));
        }
        self.standings.set((id.clone(), None), None)?;
        tracing::info!(event = "device.enabled", device = %id, "enabled by an operator");
        // Whatever was heard of its link is from before.
        entry.set_link(LinkState::Unknown, "");
        entry.is_wanted_again(crate::now());
        // Somebody may have resumed its actor before.
        self.directory.resume(entry.actor.path().as_str()).ok();
        Ok(entry)
    }

    /// Stops the actor of a disabled device once what it took in is committed.
    pub async fn stand_still(&self, entry: &DeviceEntry, reason: &str) {
        emptied(entry).await;
        // One that is parked already stays so.
        self.directory.park(entry.actor.path().as_str(), "operator", reason).ok();
    }

    /// Keeps that a device is removed, and that nobody adopted it. Blocks until the journal has it;
    /// [`Self::take_leave`] is to follow.
    pub fn remove(
        &self,
        id: &DeviceId,
        reason: &str,
        now: Timestamp,
    ) -> Result<Arc<DeviceEntry>, LifecycleError> {
        let entry = self.get(id).ok_or_else(|| LifecycleError::Unknown(id.clone()))?;
        if entry.is_configured() {
            return Err(LifecycleError::Configured(id.clone()));
        }
        let standing = Standing { word: Word::Removed, reason: reason.to_owned(), since: now };
        self.standings.set((id.clone(), None), Some(standing))?;
        self.gate.forget(id)?;
        tracing::info!(event = "device.removed", device = %id, reason, "removed by an operator");
        Ok(entry)
    }

    /// Ends the actor of a removed device and takes it from the list.
    pub async fn take_leave(&self, entry: &DeviceEntry) -> Result<(), LifecycleError> {
        emptied(entry).await;
        let path = entry.actor.path();
        self.children.remove(path.name());
        let gone = until(|| self.directory.status(path).is_none());
        // As long as its actor is there its name is not free, so it stays in the list and is not heard.
        let gone = tokio::time::timeout(LAST_TURN, gone).await;
        gone.map_err(|_| LifecycleError::Busy(entry.id.clone()))?;
        self.devices.write().remove(&entry.id);
        Ok(())
    }

    /// Whether messages of a device are taken in as far as operators are concerned. A removed one that is gone from the
    /// list is a stranger again.
    pub(crate) fn hears(&self, id: &DeviceId) -> Result<(), NotAdmitted> {
        match self.standings.of(id).map(|standing| standing.word) {
            None => Ok(()),
            Some(Word::Removed) if self.get(id).is_none() => Ok(()),
            Some(Word::Disabled | Word::Removed) => Err(NotAdmitted::Disabled),
        }
    }

    /// What was said of a device that is there again: one that was removed is not any more, and one that is disabled
    /// stands still.
    pub(super) fn welcome(&self, entry: &DeviceEntry) {
        match self.standings.of(&entry.id) {
            Some(Standing { word: Word::Removed, .. }) => {
                if let Err(error) = self.standings.forget((entry.id.clone(), None)) {
                    tracing::warn!(device = %entry.id, %error, "that it was removed can't be taken back");
                }
            }
            Some(Standing { word: Word::Disabled, reason, .. }) => {
                self.directory.park(entry.actor.path().as_str(), "operator", &reason).ok();
            }
            None => {}
        }
    }
}

impl DeviceEntry {
    /// Whether the configuration names it, so that it can't be removed while it does.
    pub fn is_configured(&self) -> bool {
        self.wanted && self.kind != mqtt_device::KIND
    }
}

/// Resolves when everything that a device sent is committed, or after a while.
async fn emptied(entry: &DeviceEntry) {
    // What can't be committed stays in the inbox, and its sender waits.
    tokio::time::timeout(LAST_COMMIT, until(|| entry.intake.depth() == 0)).await.ok();
}

async fn until(done: impl Fn() -> bool) {
    let mut look = tokio::time::interval(LOOK);
    while !done() {
        look.tick().await;
    }
}
