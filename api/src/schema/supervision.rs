//! The tree of actors and what happens in it, as clients see them.

use async_graphql::SimpleObject;
use voltree_actors::fleet::ActorView;
use voltree_model::Timestamp;
use voltree_runtime::{ExitReason, SupervisionEvent as Event};

/// One actor of the node's supervision tree.
#[derive(SimpleObject)]
pub(super) struct SupervisedActor {
    /// Its place in the tree, such as node/devices/pack-1.
    path: String,
    /// The path of its supervisor; null for the root.
    parent: Option<String>,
    /// What sort of actor it is.
    kind: String,
    /// Whether it supervises others.
    supervisor: bool,
    /// What it is doing: starting, running, backing_off, parked or stopped.
    status: String,
    /// Which incarnation of it this is, from 1; 0 before the first.
    incarnation: u64,
    /// How often it was restarted.
    restarts: u64,
    /// Since when its current incarnation runs, as RFC 3339 in UTC.
    since: Option<String>,
    /// When its next start is due, as RFC 3339 in UTC.
    next_try: Option<String>,
    /// Why its last incarnation ended.
    last_reason: Option<String>,
}

/// Something that happened to an actor.
#[derive(SimpleObject)]
pub(super) struct SupervisionEvent {
    /// When, as RFC 3339 in UTC.
    time: String,
    /// What: started, failed, restarted, parked, stopped or escalated.
    event: String,
    /// The actor's place in the tree.
    path: String,
    /// What sort of actor it is.
    kind: String,
    /// Which incarnation of it, from 1.
    incarnation: u64,
    /// How often it was restarted so far.
    restarts: u64,
    /// Why it ended, in words.
    reason: Option<String>,
    /// Why it ended: panic, error, killed, start_failed, stopped or parent_ended.
    reason_kind: Option<String>,
    /// How long until its next start, in milliseconds, where one is planned.
    delay_ms: Option<u64>,
}

impl From<&ActorView> for SupervisedActor {
    fn from(actor: &ActorView) -> Self {
        Self {
            path: actor.path.to_string(),
            parent: actor.path.parent().map(|path| path.to_string()),
            kind: actor.kind.to_owned(),
            supervisor: actor.supervisor,
            status: actor.status.as_str().to_owned(),
            incarnation: actor.incarnation,
            restarts: actor.restarts,
            since: actor.since_ms.map(time),
            next_try: actor.next_try_ms.map(time),
            last_reason: actor.last_reason.as_ref().map(ToString::to_string),
        }
    }
}

impl From<&Event> for SupervisionEvent {
    fn from(event: &Event) -> Self {
        Self {
            time: time(event.at_ms),
            event: event.kind.as_str().to_owned(),
            path: event.path.to_string(),
            kind: event.actor_kind.to_string(),
            incarnation: event.incarnation,
            restarts: event.restarts,
            reason: event.reason.as_ref().map(ToString::to_string),
            reason_kind: event.reason.as_ref().map(|reason| ExitReason::as_str(reason).to_owned()),
            delay_ms: event.delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

fn time(millis: i64) -> String {
    Timestamp::from_millis(millis).to_string()
}
