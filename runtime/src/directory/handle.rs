//! Addresses of actors that survive their restarts.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use ractor::ActorCell;

use super::Directory;
use super::slot::Slot;
use crate::ActorPath;

/// An address of an actor that survives its restarts.
pub struct Handle<M> {
    directory: Directory,
    path: ActorPath,
    /// The actor's entry once it was found, so that a message costs no look-up.
    slot: OnceLock<Arc<Slot>>,
    messages: PhantomData<fn(M)>,
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self {
            directory: self.directory.clone(),
            path: self.path.clone(),
            slot: self.slot.clone(),
            messages: PhantomData,
        }
    }
}

impl<M> std::fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle({})", self.path)
    }
}

/// The actor has no running incarnation now. What must not be lost waits in an inbox instead of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor is not running now")]
pub struct NotRunning;

impl<M: ractor::Message> Handle<M> {
    pub(super) fn new(directory: Directory, path: ActorPath) -> Self {
        Self { directory, path, slot: OnceLock::new(), messages: PhantomData }
    }

    /// Sends to the current incarnation.
    pub fn send(&self, message: M) -> Result<(), NotRunning> {
        self.current().ok_or(NotRunning)?.send_message(message).map_err(|_| NotRunning)
    }

    /// Wakes the current incarnation if there is one; one that is being born looks for work by itself.
    pub fn nudge(&self, message: M) {
        self.send(message).ok();
    }

    /// Wakes the current incarnation unless a wake-up waits for it already; it says so with
    /// [`Fence::heard`](super::Fence::heard) before it looks for work. One that is being born is woken once it is there.
    pub fn wake(&self, message: M) {
        if let Some(cell) = self.with_slot(Slot::to_wake) {
            // One that has just ended looks for work when it is born again.
            drop(cell.send_message(message));
        }
    }

    /// Whose address this is.
    pub fn path(&self) -> &ActorPath {
        &self.path
    }

    fn current(&self) -> Option<ActorCell> {
        self.with_slot(Slot::cell)
    }

    /// What the actor's entry says, if it has one. The usual way counts no reference: senders on many threads share one
    /// handle.
    fn with_slot<R>(&self, ask: impl FnOnce(&Slot) -> Option<R>) -> Option<R> {
        match self.slot.get() {
            Some(slot) if !slot.is_forgotten() => ask(slot),
            // Forgotten and come anew under the same path: found by its path from now on.
            Some(_) => ask(&*self.directory.find(self.path.as_str())?),
            None => {
                let slot = self.directory.find(self.path.as_str())?;
                ask(self.slot.get_or_init(|| slot))
            }
        }
    }
}
