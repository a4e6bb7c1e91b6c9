//! Errors as clients see them: a sentence, and a stable code under `extensions.code`.
//!
//! What went wrong inside is logged here, once, and not told to the client.

use std::fmt::Display;

use async_graphql::{Error, ErrorExtensions};
use voltree_actors::fleet::FleetError;

/// The stable codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// An argument is not what it should be.
    BadUserInput,
    /// There is nothing of that name.
    NotFound,
    /// The actor has no incarnation to kill.
    NotRunning,
    /// It can't be done at this moment; trying again may help.
    NotNow,
    /// The client reads more slowly than events arrive.
    Lagged,
    /// One connection watches as much as it may.
    TooMany,
    /// More orders came than are taken.
    TooManyOrders,
    /// The question took too long.
    Timeout,
    /// The request comes from where it may not.
    Forbidden,
    /// The device takes no orders.
    NotAllowed,
    /// The node failed.
    Internal,
}

impl Code {
    /// The code as clients compare it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::NotFound => "NOT_FOUND",
            Self::NotRunning => "NOT_RUNNING",
            Self::NotNow => "NOT_NOW",
            Self::Lagged => "LAGGED",
            Self::TooMany => "TOO_MANY_SUBSCRIPTIONS",
            Self::TooManyOrders => "TOO_MANY_ORDERS",
            Self::Timeout => "TIMEOUT",
            Self::Forbidden => "FORBIDDEN",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::Internal => "INTERNAL",
        }
    }
}

/// An error with its code.
pub(crate) fn coded(code: Code, message: impl Into<String>) -> Error {
    Error::new(message).extend_with(|_, extensions| extensions.set("code", code.as_str()))
}

/// An argument that can't be used; `problem` says what is expected instead.
pub(super) fn bad_argument(argument: &str, problem: impl Display) -> Error {
    coded(Code::BadUserInput, format!("{argument}: {problem}"))
        .extend_with(|_, extensions| extensions.set("argument", argument))
}

/// No device has this id.
pub(super) fn unknown_device(id: &voltree_model::DeviceId) -> Error {
    fleet_error(FleetError::UnknownDevice(id.clone()))
}

/// What the fleet answered instead of an answer. Never use `?` on a fleet's result: it would lose the code.
pub(super) fn fleet_error(error: FleetError) -> Error {
    match error {
        FleetError::UnknownDevice(_)
        | FleetError::UnknownActor(_)
        | FleetError::UnknownLetter(_)
        | FleetError::UnknownMessage(_)
        | FleetError::UnknownCommand(_)
        | FleetError::UnknownEntity { .. }
        | FleetError::UnknownReport(_) => coded(Code::NotFound, error.to_string()),
        FleetError::Fault(_) | FleetError::Question(_) => coded(Code::BadUserInput, error.to_string()),
        FleetError::NotAllowed(_) => coded(Code::NotAllowed, error.to_string()),
        FleetError::NotNow(_) => coded(Code::NotNow, error.to_string()),
        FleetError::NotRunning { .. } => coded(Code::NotRunning, error.to_string()),
        FleetError::Store(_) => {
            tracing::error!(error = %error, "a GraphQL query could not be answered");
            coded(Code::Internal, "the store could not be read; the node's log says why")
        }
    }
}
