//! The tree of actors: to look at, and to kill from.

use std::sync::Arc;

use tokio::sync::broadcast;
use voltree_runtime::SupervisionEvent;
pub use voltree_runtime::{ActorStatus, ActorView};

use super::FleetError;

/// The tree of actors.
pub trait Supervision: Send + Sync {
    /// Every actor, by path; a supervisor stands before its children.
    fn tree(&self) -> Vec<ActorView>;
    /// The last supervision events, those before the node's last start included, newest first; only those of the actor
    /// at this path where one is named.
    fn events(&self, limit: usize, path: Option<&str>) -> Vec<Arc<SupervisionEvent>>;
    /// Supervision events from now on.
    fn subscribe(&self) -> broadcast::Receiver<Arc<SupervisionEvent>>;
    /// Kills the running incarnation of one actor; its supervisor restarts it at once and does not count it
    /// against its intensity. Answers how the actor stood when it was killed.
    fn kill(&self, path: &str, by: &str) -> Result<ActorView, FleetError>;
}
