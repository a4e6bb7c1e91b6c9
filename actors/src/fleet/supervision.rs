//! The tree of actors: to look at, to kill from, to park in.

use std::sync::Arc;

use tokio::sync::broadcast;
use voltree_runtime::SupervisionEvent;
pub use voltree_runtime::{ActorStatus, ActorView};

use super::FleetError;

/// What a kill is to the supervisor of whom it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// An order: the actor is back at once, however often.
    Uncounted,
    /// A failure like any other: to test back-off, parking and escalation.
    Counted,
}

/// The tree of actors.
pub trait Supervision: Send + Sync {
    /// Every actor, by path; a supervisor stands before its children.
    fn tree(&self) -> Vec<ActorView>;
    /// The last supervision events, those before the node's last start included, newest first; only those of the actor
    /// at this path where one is named.
    fn events(&self, limit: usize, path: Option<&str>) -> Vec<Arc<SupervisionEvent>>;
    /// Supervision events from now on.
    fn subscribe(&self) -> broadcast::Receiver<Arc<SupervisionEvent>>;
    /// Kills the running incarnation of one actor. Its supervisor restarts it at once and does not hold it against the
    /// actor, unless the kill is to count like a failure. Answers how the actor stood when it was killed.
    fn kill(&self, path: &str, by: &str, kill: Kill) -> Result<ActorView, FleetError>;
    /// Stops one actor in good order and keeps it parked until it is resumed; what a parked device is sent is refused
    /// with that reason. Answers how the actor stood before.
    fn park(&self, path: &str, by: &str, reason: &str) -> Result<ActorView, FleetError>;
    /// Starts an actor that is parked, whoever parked it, or that waits for its next try: now. Answers how it stood.
    fn resume(&self, path: &str) -> Result<ActorView, FleetError>;
}
