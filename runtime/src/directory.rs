//! Who runs where: a node's directory from an actor's path to its current incarnation.
//!
//! It belongs to the node and outlives every actor and supervisor, so handles stay good across restarts. There are
//! no process-wide names: many nodes can live in one test process.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use ractor::ActorCell;

use crate::{ActorPath, Events, ExitReason, clock};

/// What an actor is doing, seen from its supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorStatus {
    /// Being born.
    Starting,
    /// Its current incarnation runs.
    Running,
    /// It failed and is about to be started again.
    BackingOff,
    /// It failed too often and waits for its next try.
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
    /// When its next start is due, in UTC milliseconds.
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

/// One actor's entry: what stays while incarnations come and go.
#[derive(Debug)]
pub(crate) struct Slot {
    path: ActorPath,
    kind: &'static str,
    supervisor: bool,
    state: Mutex<SlotState>,
}

#[derive(Debug)]
struct SlotState {
    status: ActorStatus,
    incarnation: u64,
    cell: Option<ActorCell>,
    since_ms: Option<i64>,
    next_try_ms: Option<i64>,
    last_reason: Option<ExitReason>,
    kill_asked_by: Option<String>,
}

/// The node's directory.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    slots: Arc<RwLock<BTreeMap<ActorPath, Arc<Slot>>>>,
    events: Events,
}

impl Directory {
    /// The node's supervision events.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Every actor, by path.
    pub fn list(&self) -> Vec<ActorView> {
        self.slots.read().values().map(|slot| slot.view()).collect()
    }

    /// What this actor is doing, if there is one.
    pub fn status(&self, path: &ActorPath) -> Option<ActorStatus> {
        Some(self.slots.read().get(path)?.state.lock().status)
    }

    /// A handle that stays good across restarts, made before or after the actor exists.
    pub fn handle<M: ractor::Message>(&self, path: &ActorPath) -> Handle<M> {
        Handle { directory: self.clone(), path: path.clone(), messages: PhantomData }
    }

    /// Kills the running incarnation of an actor and remembers who asked, so that its supervisor restarts it at
    /// once and does not count it.
    pub fn kill(&self, path: &str, by: &str) -> Result<ActorView, KillError> {
        let slot = self.slots.read().get(path).cloned();
        let slot = slot.ok_or_else(|| KillError::Unknown(path.to_owned()))?;
        let mut state = slot.state.lock();
        let view = slot.view_of(&state);
        match state.cell.take() {
            Some(cell) if state.status == ActorStatus::Running => {
                state.kill_asked_by = Some(by.to_owned());
                cell.kill();
                Ok(view)
            }
            other => {
                state.cell = other;
                Err(KillError::NotRunning { path: slot.path.clone(), status: state.status })
            }
        }
    }

    /// The entry of this path, made if it is not there.
    pub(crate) fn slot(&self, path: &ActorPath, kind: &'static str, supervisor: bool) -> Arc<Slot> {
        let mut slots = self.slots.write();
        Arc::clone(slots.entry(path.clone()).or_insert_with(|| {
            Arc::new(Slot { path: path.clone(), kind, supervisor, state: Mutex::new(SlotState::new()) })
        }))
    }

    pub(crate) fn forget(&self, path: &ActorPath) {
        self.slots.write().remove(path);
    }

    fn current(&self, path: &ActorPath) -> Option<ActorCell> {
        self.slots.read().get(path)?.state.lock().cell.clone()
    }
}

impl SlotState {
    fn new() -> Self {
        Self {
            status: ActorStatus::Starting,
            incarnation: 0,
            cell: None,
            since_ms: None,
            next_try_ms: None,
            last_reason: None,
            kill_asked_by: None,
        }
    }
}

impl Slot {
    /// The actor's path.
    pub(crate) fn path(&self) -> &ActorPath {
        &self.path
    }

    /// How the actor stands now.
    pub(crate) fn view(&self) -> ActorView {
        self.view_of(&self.state.lock())
    }

    fn view_of(&self, state: &SlotState) -> ActorView {
        ActorView {
            path: self.path.clone(),
            kind: self.kind,
            supervisor: self.supervisor,
            status: state.status,
            incarnation: state.incarnation,
            restarts: state.incarnation.saturating_sub(1),
            since_ms: state.since_ms,
            next_try_ms: state.next_try_ms,
            last_reason: state.last_reason.clone(),
        }
    }

    /// The number of the incarnation that is being born.
    pub(crate) fn begin(&self) -> u64 {
        let mut state = self.state.lock();
        state.incarnation += 1;
        state.status = ActorStatus::Starting;
        state.next_try_ms = None;
        state.incarnation
    }

    pub(crate) fn run(&self, cell: ActorCell) {
        let mut state = self.state.lock();
        state.cell = Some(cell);
        state.status = ActorStatus::Running;
        state.since_ms = Some(clock::now_ms());
    }

    /// Notes the end of the current incarnation; answers who asked for it, if it was asked for.
    pub(crate) fn end(&self, reason: &ExitReason) -> Option<String> {
        let mut state = self.state.lock();
        state.cell = None;
        state.since_ms = None;
        state.status = ActorStatus::Stopped;
        state.last_reason = Some(reason.clone());
        state.kill_asked_by.take()
    }

    pub(crate) fn blame(&self, reason: ExitReason) {
        self.state.lock().last_reason = Some(reason);
    }

    pub(crate) fn wait(&self, status: ActorStatus, next_try_ms: Option<i64>) {
        let mut state = self.state.lock();
        state.status = status;
        state.next_try_ms = next_try_ms;
    }

    pub(crate) fn cell(&self) -> Option<ActorCell> {
        self.state.lock().cell.clone()
    }
}

/// An address of an actor that survives its restarts.
pub struct Handle<M> {
    directory: Directory,
    path: ActorPath,
    messages: PhantomData<fn(M)>,
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { directory: self.directory.clone(), path: self.path.clone(), messages: PhantomData }
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
    /// Sends to the current incarnation.
    pub fn send(&self, message: M) -> Result<(), NotRunning> {
        let cell = self.directory.current(&self.path).ok_or(NotRunning)?;
        cell.send_message(message).map_err(|_| NotRunning)
    }

    /// Wakes the current incarnation if there is one; one that is being born looks for work by itself.
    pub fn nudge(&self, message: M) {
        self.send(message).ok();
    }

    /// Whose address this is.
    pub fn path(&self) -> &ActorPath {
        &self.path
    }
}
