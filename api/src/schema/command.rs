//! Commands to devices, as clients give and see them.

use async_graphql::{Enum, ID, InputObject, Json, Result, SimpleObject};
use serde_json::Value;
use voltree_actors::fleet::{self, CommandRequest, CommandView};
use voltree_model::Timestamp;

use super::arguments;
use super::error::bad_argument;

/// How long the name of an action may be.
const MAX_ACTION_CHARS: usize = 64;
const MAX_KEY_CHARS: usize = 128;

/// A command to a device.
#[derive(InputObject)]
pub(super) struct SendCommandInput {
    /// To which device.
    device_id: ID,
    /// What to do. A battery: set_charge and set_discharge switch with {"on": true} or {"on": false}, set_soc sets the
    /// state of charge with {"percent": 80}. A mapped device: the actions of its mapping. One that announced itself to
    /// Home Assistant: set with {"entity": …, "value": …}, press with {"entity": …}. Any other MQTT device: whatever it
    /// knows.
    action: String,
    /// The action's parameters.
    params: Option<Json<Value>>,
    /// The moment from which on it must not be sent any more, as RFC 3339. A command to an MQTT device that names none is
    /// good for a minute.
    expires_at: Option<String>,
    /// Your own name for this command: given again, it is answered and not sent again.
    idempotency_key: Option<String>,
}

/// How far a command got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum CommandStatus {
    /// It waits to be sent.
    Pending,
    /// It was sent; what came of it is not known yet. With an error: and won't be, because such a device has no answers.
    Sent,
    /// The device says that it has it.
    Acknowledged,
    /// The device shows that it was done.
    Executed,
    /// It was not done; the error says why.
    Failed,
    /// It expired before it was sent, or before an MQTT device answered; a late answer still counts.
    Expired,
    /// It may have been sent, and nobody will know what came of it: the answer was lost, or the node ended meanwhile. It is
    /// not sent again.
    Unknown,
}

/// A command to a device and what became of it.
#[derive(SimpleObject)]
pub(super) struct Command {
    /// Its identity.
    id: ID,
    /// To which device.
    device_id: ID,
    /// What to do.
    action: String,
    /// The action's parameters.
    params: Option<Json<Value>>,
    /// How far it got.
    status: CommandStatus,
    /// When it was given, as RFC 3339 in UTC.
    sent_at: String,
    /// When the device said that it has it; a battery's echo confirms nothing and is not told.
    acknowledged_at: Option<String>,
    /// When the device was seen to have done it, or said so, as RFC 3339 in UTC.
    executed_at: Option<String>,
    /// The moment from which on it must not be sent any more, as RFC 3339 in UTC.
    expires_at: Option<String>,
    /// Why it was not done, or why nobody knows.
    error: Option<String>,
}

impl SendCommandInput {
    /// What it is about, for the log.
    pub(super) fn subject(&self) -> String {
        let params = self.params.as_ref().map(|params| params.0.to_string()).unwrap_or_default();
        format!("{} {} {}", *self.device_id, self.action, params).chars().take(200).collect()
    }

    pub(super) fn into_request(self) -> Result<CommandRequest> {
        let key = self.idempotency_key;
        if key.as_ref().is_some_and(|key| key.is_empty() || key.chars().count() > MAX_KEY_CHARS) {
            let expected = format!("expected 1 to {MAX_KEY_CHARS} characters");
            return Err(bad_argument("idempotencyKey", expected));
        }
        let chars = self.action.chars().count();
        if chars == 0 || chars > MAX_ACTION_CHARS || self.action.chars().any(char::is_control) {
            return Err(bad_argument("action", format!("expected 1 to {MAX_ACTION_CHARS} characters")));
        }
        let expires_at = self.expires_at.as_deref().map(Timestamp::parse_rfc3339).transpose();
        Ok(CommandRequest {
            device: arguments::device_id("deviceId", &self.device_id)?,
            action: self.action,
            params: self.params.map_or(Value::Null, |params| params.0),
            expires_at: expires_at.map_err(|error| bad_argument("expiresAt", error))?,
            idempotency_key: key,
        })
    }
}

impl From<CommandView> for Command {
    fn from(view: CommandView) -> Self {
        Self {
            id: ID(view.id),
            device_id: ID(view.device.to_string()),
            action: view.action,
            params: Some(view.params).filter(|params| !params.is_null()).map(Json),
            status: view.status.into(),
            sent_at: view.sent_at.to_string(),
            acknowledged_at: view.acknowledged_at.map(|at| at.to_string()),
            expires_at: view.expires_at.map(|at| at.to_string()),
            executed_at: view.executed_at.map(|at| at.to_string()),
            error: view.error,
        }
    }
}

impl From<fleet::CommandStatus> for CommandStatus {
    fn from(status: fleet::CommandStatus) -> Self {
        match status {
            fleet::CommandStatus::Pending => Self::Pending,
            fleet::CommandStatus::Sent => Self::Sent,
            fleet::CommandStatus::Acknowledged => Self::Acknowledged,
            fleet::CommandStatus::Executed => Self::Executed,
            fleet::CommandStatus::Failed => Self::Failed,
            fleet::CommandStatus::Expired => Self::Expired,
            fleet::CommandStatus::Unknown => Self::Unknown,
        }
    }
}
