//! Why an incarnation ended, typed, so that logs, metrics, screens and reports need not read sentences.

use std::fmt;

use ractor::ActorProcessingErr;
use serde::{Deserialize, Serialize};

use crate::{ErrorChain, Failure, panics};

/// Why an incarnation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ExitReason {
    /// It panicked with this message.
    Panic {
        /// What the panic said.
        message: String,
        /// Where in the source it happened, as `file:line:column`, where the process's panic hook saw it.
        location: Option<String>,
    },
    /// Its handler returned an error.
    Error {
        /// The error with its sources.
        chain: ErrorChain,
    },
    /// Somebody killed it.
    Killed {
        /// Who, where known ("operator", a plan's name); "unknown" otherwise.
        by: String,
    },
    /// It could not start.
    StartFailed {
        /// The error with its sources.
        chain: ErrorChain,
    },
    /// It was told to stop, or ended by itself.
    Stopped,
    /// Its supervisor ended and took it along.
    ParentEnded,
    /// It did not return from a message, or from its start, within its limit.
    Frozen {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// An operator parked it.
    Parked {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

impl ExitReason {
    /// What ended an actor that ractor says has failed: its own [`Failure`], or else a panic.
    pub fn of(error: &ActorProcessingErr) -> Self {
        match error.downcast_ref::<Failure>() {
            Some(failure) => Self::Error { chain: failure.chain().clone() },
            None => {
                let words = error.to_string();
                let location = panics::location_of(&words);
                Self::Panic { message: panics::cut(&words).to_owned(), location }
            }
        }
    }

    /// The stable name, a label from a closed set.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Panic { .. } => "panic",
            Self::Error { .. } => "error",
            Self::Killed { .. } => "killed",
            Self::StartFailed { .. } => "start_failed",
            Self::Stopped => "stopped",
            Self::ParentEnded => "parent_ended",
            Self::Frozen { .. } => "frozen",
            Self::Parked { .. } => "parked",
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic { message, location: Some(location) } => {
                write!(f, "panicked: {message} (at {location})")
            }
            Self::Panic { message, location: None } => write!(f, "panicked: {message}"),
            Self::Error { chain } => write!(f, "failed: {chain}"),
            Self::Killed { by } => write!(f, "killed by {by}"),
            Self::StartFailed { chain } => write!(f, "could not start: {chain}"),
            Self::Stopped => f.write_str("stopped"),
            Self::ParentEnded => f.write_str("supervisor ended"),
            Self::Frozen { limit_ms } => write!(f, "frozen for more than {limit_ms} ms"),
            Self::Parked { by, reason } => write!(f, "parked by {by}: {reason}"),
        }
    }
}
