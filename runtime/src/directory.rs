//! Who runs where (being written).

use crate::{ActorPath, ExitReason};

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
