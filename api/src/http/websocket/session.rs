//! What the messages of graphql-transport-ws mean: a value that is fed texts and answers, and says what to do.
//!
//! It does no IO and knows no clock. The protocol's own close codes tell a client what it did wrong.

use std::collections::HashSet;

use async_graphql::{Request, Response as Answer};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::graphql::is_request_error;
use crate::schema::{Code, coded};

/// How much one connection may watch at once.
const MAX_OPEN: usize = 64;
/// Reasons travel in a close frame, which holds 123 bytes of them.
const MAX_REASON_BYTES: usize = 120;

/// Why a client must leave, as the protocol numbers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CloseReason {
    pub(super) code: u16,
    pub(super) text: String,
}

/// What is to be done about a message.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing.
    Nothing,
    /// Say this.
    Send(String),
    /// Run this operation under this id.
    Start {
        /// The client's name for it.
        id: String,
        /// What to run.
        request: Box<Request>,
    },
    /// Run it no longer.
    Stop(String),
    /// Make the client leave.
    Close(CloseReason),
}

/// How far one connection has come.
#[derive(Debug, Default)]
pub(super) struct Session {
    introduced: bool,
    open: HashSet<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ClientMessage {
    ConnectionInit {},
    Ping { payload: Option<Value> },
    Pong {},
    Subscribe { id: String, payload: Box<Request> },
    Complete { id: String },
}

impl CloseReason {
    /// The client asked for no protocol that is spoken here.
    pub(super) const BAD_PROTOCOL: Fixed = Fixed(4406, "Subprotocol not acceptable");
    /// The client did not introduce itself in time.
    pub(super) const INIT_TIMEOUT: Fixed = Fixed(4408, "Connection initialisation timeout");
    /// The client did not answer when it was asked whether it is there.
    pub(super) const SILENT: Fixed = Fixed(4408, "No answer to pings");

    /// The client sent what is no message of the protocol.
    pub(super) fn invalid(problem: &str) -> Self {
        Self::new(4400, format!("Invalid message: {problem}"))
    }

    fn new(code: u16, mut text: String) -> Self {
        text.truncate(text.floor_char_boundary(MAX_REASON_BYTES));
        Self { code, text }
    }
}

/// A reason that is always the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fixed(u16, &'static str);

impl From<Fixed> for CloseReason {
    fn from(Fixed(code, text): Fixed) -> Self {
        Self::new(code, text.to_owned())
    }
}

impl Session {
    /// Whether the client has introduced itself.
    pub(super) fn is_introduced(&self) -> bool {
        self.introduced
    }

    /// Whether an operation runs under this id.
    pub(super) fn is_open(&self, id: &str) -> bool {
        self.open.contains(id)
    }

    /// A message arrived.
    pub(super) fn receive(&mut self, text: &str) -> Step {
        match serde_json::from_str(text) {
            Ok(ClientMessage::ConnectionInit {}) => self.introduce(),
            Ok(ClientMessage::Ping { payload: None }) => say(&json!({ "type": "pong" })),
            Ok(ClientMessage::Ping { payload }) => say(&json!({ "type": "pong", "payload": payload })),
            Ok(ClientMessage::Pong {}) => Step::Nothing,
            Ok(ClientMessage::Subscribe { id, payload }) => self.subscribe(id, payload),
            Ok(ClientMessage::Complete { id }) if self.open.remove(&id) => Step::Stop(id),
            Ok(ClientMessage::Complete { .. }) => Step::Nothing,
            Err(error) => Step::Close(CloseReason::invalid(&error.to_string())),
        }
    }

    fn introduce(&mut self) -> Step {
        if self.introduced {
            return Step::Close(CloseReason::new(4429, "Too many initialisation requests".to_owned()));
        }
        self.introduced = true;
        say(&json!({ "type": "connection_ack" }))
    }

    fn subscribe(&mut self, id: String, request: Box<Request>) -> Step {
        if !self.introduced {
            return Step::Close(CloseReason::new(4401, "Unauthorized".to_owned()));
        }
        if id.is_empty() || request.query.is_empty() {
            return Step::Close(CloseReason::invalid("subscribe needs an id and a query"));
        }
        if self.open.contains(&id) {
            return Step::Close(CloseReason::new(4409, format!("Subscriber for {id} already exists")));
        }
        if self.open.len() == MAX_OPEN {
            let problem = format!("one connection may have {MAX_OPEN} operations open at once");
            let error = coded(Code::TooMany, problem).into_server_error(async_graphql::Pos::default());
            return say(&json!({ "type": "error", "id": id, "payload": [error] }));
        }
        self.open.insert(id.clone());
        Step::Start { id, request }
    }

    /// An operation has an answer; what to say of it, if the client still wants to know.
    pub(super) fn answered(&mut self, id: &str, answer: &Answer) -> Option<String> {
        if !self.open.contains(id) {
            return None;
        }
        if is_request_error(answer) {
            self.open.remove(id);
            return Some(json!({ "type": "error", "id": id, "payload": answer.errors }).to_string());
        }
        Some(json!({ "type": "next", "id": id, "payload": answer }).to_string())
    }

    /// An operation has no more answers; what to say of it, if the client still wants to know.
    pub(super) fn ended(&mut self, id: &str) -> Option<String> {
        self.open.remove(id).then(|| json!({ "type": "complete", "id": id }).to_string())
    }
}

fn say(message: &Value) -> Step {
    Step::Send(message.to_string())
}

#[cfg(test)]
mod tests;
