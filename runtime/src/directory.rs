//! Who runs where: a node's directory from an actor's path to its current incarnation.
//!
//! It belongs to the node and outlives every actor and supervisor, so handles stay good across restarts. There are
//! no process-wide names: many nodes can live in one test process.

mod handle;
mod life;
mod slot;
mod slots;
mod watchman;

use std::sync::Arc;
use std::time::Duration;

pub use self::handle::{Handle, NotRunning};
pub use self::life::{Fence, Fenced};
pub(crate) use self::life::{Life, Ticks};
use self::slot::KillAsked;
pub(crate) use self::slot::{Held, Slot};
use self::slots::Slots;
pub(crate) use self::watchman::Watchman;
pub use self::watchman::{StuckActor, WatchOptions};
use crate::supervisor::{StartQueue, SupervisorMsg};
use crate::{ActorPath, Events, ExitReason};

/// What an actor is doing, seen from its supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorStatus {
    /// Being born, or waiting for its turn to be.
    Starting,
    /// Its current incarnation runs.
    Running,
    /// It failed and is about to be started again.
    BackingOff,
    /// It failed too often and waits for its next try, or an operator parked it.
    Parked,
    /// It ended and stays so.
    Stopped,
}

impl ActorStatus {
    /// Every status, in the order of its declaration.
    pub const ALL: [Self; 5] = [Self::Starting, Self::Running, Self::BackingOff, Self::Parked, Self::Stopped];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackingOff => "backing_off",
            Self::Parked => "parked",
            Self::Stopped => "stopped",
        }
    }
}

/// How an actor stands at one moment.
#[derive(Debug, Clone)]
pub struct ActorView {
    /// Its place in the tree.
    pub path: ActorPath,
    /// What sort of actor it is.
    pub kind: &'static str,
    /// Whether it supervises others.
    pub supervisor: bool,
    /// What it is doing.
    pub status: ActorStatus,
    /// Which incarnation, from 1; 0 before the first.
    pub incarnation: u64,
    /// How often it was restarted.
    pub restarts: u64,
    /// Since when its current incarnation runs, in UTC milliseconds.
    pub since_ms: Option<i64>,
    /// When its next start is due, in UTC milliseconds; none while an operator keeps it parked.
    pub next_try_ms: Option<i64>,
    /// Why its last incarnation ended.
    pub last_reason: Option<ExitReason>,
}

/// Why nobody could be killed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KillError {
    /// No actor has this path.
    #[error("no actor has the path {0:?}")]
    Unknown(String),
    /// The actor has no running incarnation.
    #[error("{path} is {}", status.as_str())]
    NotRunning {
        /// Whose.
        path: ActorPath,
        /// What it is instead.
        status: ActorStatus,
    },
}

/// Why an actor could not be parked or resumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParkError {
    /// No actor has this path.
    #[error("no actor has the path {0:?}")]
    Unknown(String),
    /// The root has nobody above it who could start it again.
    #[error("{0} is the root of the tree, which can't be parked; stop the node instead")]
    Root(ActorPath),
    /// An operator parked it before.
    #[error("{path} is parked already, by {by}")]
    AlreadyParked {
        /// Whom.
        path: ActorPath,
        /// Who did.
        by: String,
    },
    /// It runs, or is about to.
    #[error("{path} is {} and needs no resuming", status.as_str())]
    NotParked {
        /// Whom.
        path: ActorPath,
        /// What it is.
        status: ActorStatus,
    },
}

/// The node's directory.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    slots: Slots,
    events: Events,
    starts: Arc<StartQueue>,
    ticks: Arc<Ticks>,
    watchman: Watchman,
}

impl Directory {
    /// An empty directory whose actors are watched like this.
    pub fn watched(options: WatchOptions) -> Self {
        Self { shared: Arc::new(Shared { watchman: Watchman::new(options), ..Shared::default() }) }
    }

    /// The node's supervision events.
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// Every actor, by path.
    pub fn list(&self) -> Vec<ActorView> {
        let mut views = Vec::new();
        for part in self.shared.slots.parts() {
            views.extend(part.read().values().map(|slot| slot.view()));
        }
        views.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        views
    }

    /// How many actors have each status, in the order of [`ActorStatus::ALL`].
    pub fn count_by_status(&self) -> [usize; 5] {
        let mut counts = [0; 5];
        for part in self.shared.slots.parts() {
            for slot in part.read().values() {
                let status = slot.status();
                if let Some(index) = ActorStatus::ALL.iter().position(|known| *known == status) {
                    counts[index] += 1;
                }
            }
        }
        counts
    }

    /// How many threads are held by incarnations that were given up.
    pub fn stuck_threads(&self) -> usize {
        self.shared.watchman.stuck_threads()
    }

    /// Which incarnations hold them.
    pub fn stuck_actors(&self) -> Vec<StuckActor> {
        self.shared.watchman.stuck()
    }

    /// What this actor is doing, if there is one.
    pub fn status(&self, path: &ActorPath) -> Option<ActorStatus> {
        Some(self.find(path.as_str())?.status())
    }

    /// A handle that stays good across restarts, made before or after the actor exists.
    pub fn handle<M: ractor::Message>(&self, path: &ActorPath) -> Handle<M> {
        Handle::new(self.clone(), path.clone())
    }

    /// Kills the running incarnation of an actor and remembers who asked, so that its supervisor restarts it at
    /// once and does not count it.
    pub fn kill(&self, path: &str, by: &str) -> Result<ActorView, KillError> {
        self.kill_as(path, KillAsked { by: by.to_owned(), counted: false })
    }

    /// Kills like [`Self::kill`], but counts like a failure: to test back-off, parking and escalation.
    pub fn kill_counted(&self, path: &str, by: &str) -> Result<ActorView, KillError> {
        self.kill_as(path, KillAsked { by: by.to_owned(), counted: true })
    }

    fn kill_as(&self, path: &str, asked: KillAsked) -> Result<ActorView, KillError> {
        let slot = self.find(path).ok_or_else(|| KillError::Unknown(path.to_owned()))?;
        let view = slot.view();
        let killed = slot.kill(asked);
        killed.map(|()| view).map_err(|status| KillError::NotRunning { path: slot.path().clone(), status })
    }

    /// Stops an actor in good order and keeps it parked until [`Self::resume`], whatever happens to its supervisors.
    pub fn park(&self, path: &str, by: &str, reason: &str) -> Result<ActorView, ParkError> {
        let (slot, parent) = self.with_parent(path)?;
        let held = Held { by: by.to_owned(), reason: reason.to_owned() };
        if let Some(before) = slot.held() {
            return Err(ParkError::AlreadyParked { path: slot.path().clone(), by: before.by });
        }
        slot.hold(Some(held));
        let name = slot.path().name().to_owned();
        self.handle(&parent).nudge(SupervisorMsg::Park(name));
        Ok(slot.view())
    }

    /// Starts an actor that is parked, whoever or whatever parked it, or that waits for its back-off: now, and with a
    /// clean sheet.
    pub fn resume(&self, path: &str) -> Result<ActorView, ParkError> {
        let (slot, parent) = self.with_parent(path)?;
        let view = slot.view();
        let waits = matches!(view.status, ActorStatus::Parked | ActorStatus::BackingOff);
        if slot.hold(None).is_none() && !waits {
            return Err(ParkError::NotParked { path: slot.path().clone(), status: view.status });
        }
        let name = slot.path().name().to_owned();
        self.handle(&parent).nudge(SupervisorMsg::Resume(name));
        Ok(view)
    }

    fn with_parent(&self, path: &str) -> Result<(Arc<Slot>, ActorPath), ParkError> {
        let slot = self.find(path).ok_or_else(|| ParkError::Unknown(path.to_owned()))?;
        let parent = slot.path().parent().ok_or_else(|| ParkError::Root(slot.path().clone()))?;
        Ok((slot, parent))
    }

    /// The entry of this path, made if it is not there.
    pub(crate) fn slot(&self, path: &ActorPath, kind: &'static str, supervisor: bool) -> Arc<Slot> {
        self.shared.slots.get_or_insert_with(path, || Slot::new(path.clone(), kind, supervisor))
    }

    pub(crate) fn find(&self, path: &str) -> Option<Arc<Slot>> {
        self.shared.slots.get(path)
    }

    pub(crate) fn forget(&self, path: &ActorPath) {
        if let Some(slot) = self.shared.slots.remove(path) {
            slot.forget();
        }
    }

    /// Begins an incarnation of the actor of this slot.
    pub(crate) fn begin(&self, slot: &Slot, incarnation: u64, stall: Duration) -> Arc<Life> {
        slot.begin(incarnation, stall, &self.shared.ticks)
    }

    /// Ends the current incarnation of the actor of this slot, and keeps an eye on it if it holds on to its thread.
    pub(crate) fn end(&self, slot: &Arc<Slot>, reason: ExitReason) -> (ExitReason, bool) {
        let ended = slot.end(reason);
        if let Some(life) = ended.orphan {
            self.shared.watchman.adopt(Arc::clone(slot), life);
        }
        (ended.reason, ended.asked)
    }

    pub(crate) fn starts(&self) -> &Arc<StartQueue> {
        &self.shared.starts
    }

    pub(crate) fn watchman(&self) -> &Watchman {
        &self.shared.watchman
    }
}
