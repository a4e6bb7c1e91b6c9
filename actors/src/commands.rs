//! Commands to devices and what became of them: each is a record in the journal before it is sent.
//!
//! So a command whose outcome nobody heard is still known after a restart as sent, and one that comes again under the
//! same key of its sender is answered from the record and never sent twice. Must never repeat anything by itself.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use uuid::Uuid;
use voltree_model::{DeviceId, Percent, Timestamp};
use voltree_protocols::bms::order::{Order, OrderError};
use voltree_storage::{JournalSlot, Record, RecordChange, RecordKind};

use crate::fleet::FleetError;
use crate::orders::Unconfirmed;
use crate::registry::DeviceEntry;
use crate::{intake, now};

/// So many commands are remembered.
const MOST_COMMANDS: usize = 500;

/// How far a command got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandStatus {
    /// It was sent, and nobody knows yet what came of it, or ever will.
    Sent,
    /// The device shows that it was done.
    Executed,
    /// It was not done.
    Failed,
    /// Its time was over before it could be sent.
    Expired,
}

/// What is asked of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandRequest {
    /// Which device.
    pub device: DeviceId,
    /// What to do.
    pub action: Action,
    /// The moment from which on it must not be sent any more.
    pub expires_at: Option<Timestamp>,
    /// Its sender's name for it: the same command under the same key is sent once.
    pub idempotency_key: Option<String>,
}

/// A command and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandView {
    /// Its identity.
    pub id: String,
    /// To whom.
    pub device: DeviceId,
    /// What to do.
    pub action: Action,
    /// How far it got.
    pub status: CommandStatus,
    /// When it was given.
    pub sent_at: Timestamp,
    /// When the device was seen to have done it.
    pub executed_at: Option<Timestamp>,
    /// Why it was not done, or why nobody knows.
    pub error: Option<String>,
    /// Its sender's name for it.
    pub idempotency_key: Option<String>,
}

/// What a device can be told, as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Close the charge switch, or open it.
    ChargeSwitch(bool),
    /// Close the discharge switch, or open it.
    DischargeSwitch(bool),
    /// Set the state of charge, in percent.
    StateOfCharge(f64),
}

impl Record for CommandView {
    const KIND: RecordKind = RecordKind::Command;
    const VERSION: u8 = 1;
}

impl From<Action> for Order {
    fn from(action: Action) -> Self {
        match action {
            Action::ChargeSwitch(closed) => Self::SwitchCharge(closed),
            Action::DischargeSwitch(closed) => Self::SwitchDischarge(closed),
            Action::StateOfCharge(soc) => Self::SetSoc(Percent(soc)),
        }
    }
}

/// Where all commands of the node are written down.
#[derive(Debug)]
pub struct CommandBook {
    journal: Arc<JournalSlot>,
    /// Two commands of one key must not both find that there is none.
    beginning: Mutex<()>,
}

/// How a command goes on.
enum Begun {
    Anew(CommandView),
    Known(CommandView),
}

impl CommandBook {
    /// The commands of this journal.
    pub fn new(journal: Arc<JournalSlot>) -> Self {
        Self { journal, beginning: Mutex::default() }
    }

    /// Sends a command to its device and answers with what the device shows afterwards.
    pub async fn send(
        &self,
        device: &DeviceEntry,
        request: CommandRequest,
    ) -> Result<CommandView, FleetError> {
        if !device.takes_orders() {
            return Err(FleetError::NotAllowed(Unconfirmed::NotAllowed.to_string()));
        }
        let mut command = match self.begin(&request).await? {
            Begun::Anew(command) => command,
            Begun::Known(command) => return Ok(command),
        };
        let left = request.expires_at.map(|at| at.since(now()));
        let outcome = match left {
            Some(Duration::ZERO) => Err(Unconfirmed::Expired),
            valid_for => device.order(request.action.into(), valid_for).await,
        };
        command.ended(outcome);
        tracing::info!(target: "audit", event = "command", id = command.id, device = %command.device,
            action = ?command.action, status = ?command.status, error = command.error);
        self.keep(&command).await?;
        Ok(command)
    }

    async fn begin(&self, request: &CommandRequest) -> Result<Begun, FleetError> {
        let _one_at_a_time = self.beginning.lock().await;
        if let Some(key) = &request.idempotency_key
            && let Some(known) = self.of_key(&request.device, key)?
        {
            if known.action == request.action {
                return Ok(Begun::Known(known));
            }
            let why = format!("the idempotency key {key:?} was used for another command to {}", known.device);
            return Err(FleetError::Question(why));
        }
        let command = CommandView::given(Uuid::now_v7().to_string(), request, now());
        self.keep(&command).await?;
        Ok(Begun::Anew(command))
    }

    fn of_key(&self, device: &DeviceId, key: &str) -> Result<Option<CommandView>, FleetError> {
        let known = self.journal.records().all::<CommandView>().map_err(unreadable)?;
        let is_it = |command: &CommandView| {
            command.device == *device && command.idempotency_key.as_deref() == Some(key)
        };
        Ok(known.into_values().rev().find(is_it))
    }

    /// Writes it down, and returns once that is on disk; the oldest beyond what is remembered leave.
    async fn keep(&self, command: &CommandView) -> Result<(), FleetError> {
        let at = now();
        let known = self.journal.records().all::<CommandView>().map_err(unreadable)?;
        // Their ids are in the order of time.
        let surplus = (known.len() + 1).saturating_sub(MOST_COMMANDS);
        let forgotten = known.keys().filter(|id| **id != command.id).take(surplus);
        let mut entries = vec![RecordChange::entry(&command.id, Some(command), at).map_err(unreadable)?];
        for id in forgotten {
            entries.push(RecordChange::entry::<CommandView>(id, None, at).map_err(unreadable)?);
        }
        let kept = intake::submit(&self.journal, entries).await;
        match kept {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(FleetError::NotNow("the journal does not take the command now; try again".to_owned()))
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn unreadable(error: voltree_storage::Error) -> FleetError {
    FleetError::Store(error.to_string())
}

impl CommandView {
    /// A command of which nobody knows yet what comes of it.
    pub fn given(id: String, request: &CommandRequest, sent_at: Timestamp) -> Self {
        Self {
            id,
            device: request.device.clone(),
            action: request.action,
            status: CommandStatus::Sent,
            sent_at,
            executed_at: None,
            error: Some(OrderError::Unknown.to_string()),
            idempotency_key: request.idempotency_key.clone(),
        }
    }

    fn ended(&mut self, outcome: Result<(), Unconfirmed>) {
        (self.status, self.error) = match outcome {
            Ok(()) => {
                self.executed_at = Some(now());
                (CommandStatus::Executed, None)
            }
            Err(why @ Unconfirmed::Device(OrderError::Unknown)) => {
                (CommandStatus::Sent, Some(why.to_string()))
            }
            Err(why @ Unconfirmed::Expired) => (CommandStatus::Expired, Some(why.to_string())),
            Err(
                why @ (Unconfirmed::NotAllowed
                | Unconfirmed::NotKnown
                | Unconfirmed::Busy
                | Unconfirmed::Unreachable(_)
                | Unconfirmed::Device(
                    OrderError::Refused(_) | OrderError::NotTaken(_) | OrderError::Silent,
                )),
            ) => (CommandStatus::Failed, Some(why.to_string())),
        };
    }
}
