//! One actor's entry in the directory: what stays while incarnations come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ractor::ActorCell;

use super::life::{Life, Ticks};
use super::{ActorStatus, ActorView};
use crate::{ActorPath, ExitReason, clock};

/// The entry.
#[derive(Debug)]
pub(crate) struct Slot {
    path: ActorPath,
    kind: &'static str,
    supervisor: bool,
    /// Set when nobody supervises it any more; whoever kept it must look it up again.
    forgotten: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    status: ActorStatus,
    incarnation: u64,
    cell: Option<ActorCell>,
    life: Option<Arc<Life>>,
    /// 0 while none runs.
    since_ms: i64,
    /// 0 while none is planned.
    next_try_ms: i64,
    /// Most actors never have any.
    trouble: Option<Box<Trouble>>,
}

#[derive(Debug, Default)]
struct Trouble {
    last_reason: Option<ExitReason>,
    kill_asked: Option<KillAsked>,
    held: Option<Held>,
}

/// A kill that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KillAsked {
    pub(crate) by: String,
    /// Whether it counts against the actor's intensity like any other failure.
    pub(crate) counted: bool,
}

/// An operator's order to stay parked; it outlives every supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) by: String,
    pub(crate) reason: String,
}

impl Held {
    pub(crate) fn as_reason(&self) -> ExitReason {
        ExitReason::Parked { by: self.by.clone(), reason: self.reason.clone() }
    }
}

impl Slot {
    pub(super) fn new(path: ActorPath, kind: &'static str, supervisor: bool) -> Self {
        let state = State {
            status: ActorStatus::Starting,
            incarnation: 0,
            cell: None,
            life: None,
            since_ms: 0,
            next_try_ms: 0,
            trouble: None,
        };
        Self { path, kind, supervisor, forgotten: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// The actor's path.
    pub(crate) fn path(&self) -> &ActorPath {
        &self.path
    }

    /// How the actor stands now.
    pub(crate) fn view(&self) -> ActorView {
        let state = self.state.lock();
        ActorView {
            path: self.path.clone(),
            kind: self.kind,
            supervisor: self.supervisor,
            status: state.status,
            incarnation: state.incarnation,
            restarts: state.incarnation.saturating_sub(1),
            since_ms: some(state.since_ms),
            next_try_ms: some(state.next_try_ms),
            last_reason: state.trouble.as_ref().and_then(|trouble| trouble.last_reason.clone()),
        }
    }

    pub(crate) fn status(&self) -> ActorStatus {
        self.state.lock().status
    }

    /// The number of its last incarnation; 0 before the first.
    pub(crate) fn incarnation(&self) -> u64 {
        self.state.lock().incarnation
    }

    /// Begins an incarnation. One before it that did not end by itself is fenced.
    pub(crate) fn begin(&self, incarnation: u64, stall: Duration, ticks: &Arc<Ticks>) -> Arc<Life> {
        let life = Arc::new(Life::new(incarnation, stall, Arc::clone(ticks)));
        let mut state = self.state.lock();
        if let Some(before) = state.life.replace(Arc::clone(&life)) {
            before.revoke();
        }
        state.incarnation = incarnation;
        state.cell = None;
        state.status = ActorStatus::Starting;
        state.next_try_ms = 0;
        life
    }

    /// Notes that the incarnation that was begun last runs.
    pub(crate) fn run(&self, cell: ActorCell) {
        let since = clock::now_ms();
        let mut state = self.state.lock();
        state.cell = Some(cell);
        state.status = ActorStatus::Running;
        state.since_ms = since;
    }

    /// Notes the end of the current incarnation, and fences it should it not have ended after all. Answers who asked
    /// for its end, and its life if it is still busy.
    pub(crate) fn end(&self, mut reason: ExitReason) -> Ended {
        let mut state = self.state.lock();
        state.cell = None;
        state.since_ms = 0;
        state.status = ActorStatus::Stopped;
        let orphan = state.life.take().filter(|life| {
            life.revoke();
            life.is_busy()
        });
        let trouble = state.trouble.get_or_insert_default();
        let asked = trouble.kill_asked.take();
        if let Some(asked) = &asked {
            reason = ExitReason::Killed { by: asked.by.clone() };
        }
        trouble.last_reason = Some(reason.clone());
        Ended { reason, asked: asked.is_some_and(|asked| !asked.counted), orphan }
    }

    /// Corrects why its last incarnation ended.
    pub(crate) fn blame(&self, reason: ExitReason) {
        self.state.lock().trouble.get_or_insert_default().last_reason = Some(reason);
    }

    pub(crate) fn wait(&self, status: ActorStatus, next_try_ms: Option<i64>) {
        let mut state = self.state.lock();
        state.status = status;
        state.next_try_ms = next_try_ms.unwrap_or(0);
    }

    /// Kills its running incarnation, if it has one.
    pub(super) fn kill(&self, asked: KillAsked) -> Result<(), ActorStatus> {
        let mut state = self.state.lock();
        let running = state.status == ActorStatus::Running;
        let Some(cell) = state.cell.take_if(|_| running) else { return Err(state.status) };
        state.trouble.get_or_insert_default().kill_asked = Some(asked);
        drop(state);
        cell.kill();
        Ok(())
    }

    pub(crate) fn cell(&self) -> Option<ActorCell> {
        self.state.lock().cell.clone()
    }

    /// The incarnation that was begun last, running or about to, unless a wake-up waits for it already.
    pub(super) fn to_wake(&self) -> Option<ActorCell> {
        self.state.lock().life.as_ref().and_then(|life| life.wake())
    }

    /// Whether this incarnation was begun and has not been ended yet.
    pub(crate) fn lives(&self, incarnation: u64) -> bool {
        self.state.lock().life.as_ref().is_some_and(|life| life.incarnation() == incarnation)
    }

    /// What its supervisor must be told of it, if anything.
    pub(super) fn news(&self, round: u32, tick: Duration) -> Option<News> {
        let state = self.state.lock();
        if let Some(life) = state.life.as_ref().filter(|life| life.is_frozen(round, tick)) {
            return Some(News::Frozen(life.incarnation()));
        }
        let held = state.trouble.as_ref().is_some_and(|trouble| trouble.held.is_some());
        match state.status {
            ActorStatus::Running if held => Some(News::Held),
            ActorStatus::Parked if !held && state.next_try_ms == 0 => Some(News::Released),
            ActorStatus::Starting
            | ActorStatus::Running
            | ActorStatus::BackingOff
            | ActorStatus::Parked
            | ActorStatus::Stopped => None,
        }
    }

    pub(crate) fn held(&self) -> Option<Held> {
        self.state.lock().trouble.as_ref().and_then(|trouble| trouble.held.clone())
    }

    /// Notes or lifts an operator's order to stay parked; answers the one before.
    pub(super) fn hold(&self, held: Option<Held>) -> Option<Held> {
        std::mem::replace(&mut self.state.lock().trouble.get_or_insert_default().held, held)
    }

    pub(super) fn forget(&self) {
        self.forgotten.store(true, Ordering::Release);
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Acquire)
    }
}

/// What the watchman finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// This incarnation has been at one thing for too long.
    Frozen(u64),
    /// An operator's order to park it, or to let it run, has not reached its supervisor.
    Held,
    Released,
}

const fn some(ms: i64) -> Option<i64> {
    if ms == 0 { None } else { Some(ms) }
}

/// How an incarnation ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) reason: ExitReason,
    /// Whether somebody asked for it, so that it doesn't count.
    pub(crate) asked: bool,
    /// Its life, if it still holds a thread.
    pub(crate) orphan: Option<Arc<Life>>,
}
