//! Supervision events: one record type, and one call that logs it, counts it, streams it and keeps the last ones.
//!
//! Nothing else may write to the log target `supervision`, so a line there, a count in the metrics and an event on
//! a screen always tell of the same thing.

mod kept;
mod reason;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use self::kept::Kept;
pub use self::reason::ExitReason;
use crate::{ActorPath, ActorView, clock};

/// How many events are kept for those who ask later, in memory and by whoever stores them.
pub const EVENTS_KEPT: usize = 10_000;
/// How many events a subscriber may fall behind.
const BACKLOG: usize = 1_000;

/// What happened to an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Its first incarnation runs.
    Started,
    /// An incarnation ended that should not have.
    Failed,
    /// A new incarnation runs in its place.
    Restarted,
    /// It failed too often and waits for its next try.
    Parked,
    /// It ended as it was told to.
    Stopped,
    /// Its supervisor gave up on it and fails in turn.
    Escalated,
    /// An incarnation that was given up still holds its thread.
    Stuck,
}

impl EventKind {
    /// The stable name, as it stands in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Failed => "failed",
            Self::Restarted => "restarted",
            Self::Parked => "parked",
            Self::Stopped => "stopped",
            Self::Escalated => "escalated",
            Self::Stuck => "stuck",
        }
    }
}

/// One event in the life of an actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisionEvent {
    /// When, in UTC milliseconds.
    pub at_ms: i64,
    /// What happened.
    pub kind: EventKind,
    /// To whom.
    pub path: ActorPath,
    /// What sort of actor that is ("daly_bms", "recorder").
    pub actor_kind: Cow<'static, str>,
    /// Which incarnation of it, from 1.
    pub incarnation: u64,
    /// How often it was restarted so far.
    pub restarts: u64,
    /// Why, where it ended.
    pub reason: Option<ExitReason>,
    /// How long until the next start, where one is planned.
    pub delay: Option<Duration>,
}

/// The node's stream of supervision events.
#[derive(Debug, Clone)]
pub struct Events {
    kept: Arc<Mutex<Kept>>,
    counters: Arc<Counters>,
    stream: broadcast::Sender<Arc<SupervisionEvent>>,
}

impl Default for Events {
    fn default() -> Self {
        let stream = broadcast::Sender::new(BACKLOG);
        Self { kept: Arc::default(), counters: Arc::default(), stream }
    }
}

impl Events {
    /// The last events, newest first; only those of one actor where a path is named.
    pub fn latest(&self, limit: usize, path: Option<&str>) -> Vec<Arc<SupervisionEvent>> {
        self.kept.lock().latest(limit, path)
    }

    /// The events after the one of this number, oldest first, and the number of the last. Events are numbered from 1;
    /// those that are no longer kept are passed over.
    pub fn after(&self, number: u64) -> (Vec<Arc<SupervisionEvent>>, u64) {
        self.kept.lock().after(number)
    }

    /// Puts the events of an earlier life of the node before its own; answers the number after which its own begin.
    pub fn restore(&self, earlier: Vec<SupervisionEvent>) -> u64 {
        self.kept.lock().restore(earlier)
    }

    /// All events from now on; a subscriber that falls 1,000 behind is told that it lagged.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<SupervisionEvent>> {
        self.stream.subscribe()
    }

    /// Logs, counts, keeps and streams one event in the life of the actor that `view` shows.
    pub(crate) fn emit(
        &self,
        kind: EventKind,
        view: ActorView,
        reason: Option<ExitReason>,
        delay: Option<Duration>,
    ) {
        let event = SupervisionEvent {
            at_ms: clock::now_ms(),
            kind,
            path: view.path,
            actor_kind: Cow::Borrowed(view.kind),
            incarnation: view.incarnation,
            restarts: view.restarts,
            reason,
            delay,
        };
        log(&event);
        self.counters.count(&event);
        let event = Arc::new(event);
        self.kept.lock().push(Arc::clone(&event));
        // An event without listeners is no loss: it was logged, counted and kept above.
        drop(self.stream.send(event));
    }
}

macro_rules! log_at {
    ($level:ident, $event:expr) => {
        tracing::$level!(
            target: "supervision",
            event = event_field($event.kind),
            actor = %$event.path,
            parent = $event.path.parent().map(tracing::field::display),
            kind = &*$event.actor_kind,
            incarnation = $event.incarnation,
            restarts = $event.restarts,
            reason = $event.reason.as_ref().map(tracing::field::display),
            restart_in_ms = $event.delay.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        )
    };
}

fn log(event: &SupervisionEvent) {
    match event.kind {
        EventKind::Failed | EventKind::Parked | EventKind::Escalated => log_at!(warn, event),
        EventKind::Stuck => log_at!(error, event),
        EventKind::Started | EventKind::Restarted | EventKind::Stopped => log_at!(info, event),
    }
}

const fn event_field(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Started => "actor.started",
        EventKind::Failed => "actor.failed",
        EventKind::Restarted => "actor.restarted",
        EventKind::Parked => "actor.parked",
        EventKind::Stopped => "actor.stopped",
        EventKind::Escalated => "actor.escalated",
        EventKind::Stuck => "actor.stuck",
    }
}

/// The counters by their labels, so that counting the births of a hundred thousand actors looks each counter up in the
/// process's recorder once only.
#[derive(Debug, Default)]
struct Counters(Mutex<HashMap<Labels, metrics::Counter>>);

/// Event, kind of actor and reason.
type Labels = (EventKind, Cow<'static, str>, &'static str);

impl Counters {
    fn count(&self, event: &SupervisionEvent) {
        let reason = event.reason.as_ref().map_or("none", ExitReason::as_str);
        let labels = (event.kind, event.actor_kind.clone(), reason);
        let counter = |(kind, actor_kind, reason): &Labels| {
            metrics::counter!(
                crate::metrics::SUPERVISION_EVENTS,
                "event" => kind.as_str(), "kind" => actor_kind.clone(), "reason" => *reason
            )
        };
        self.0.lock().entry(labels).or_insert_with_key(counter).increment(1);
    }
}
