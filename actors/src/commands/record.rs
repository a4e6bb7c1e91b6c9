//! A command as it is kept: what was asked, of whom, and what became of it.
//!
//! The first version knew batteries alone and kept their orders as an enumeration; it is read as what it means.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use voltree_model::{DeviceId, Timestamp};
use voltree_storage::{Record, RecordError, RecordKind, decode_value};

use super::CommandRequest;

/// How far a command got. The order is a disk format: new ones go to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandStatus {
    /// It was sent, and nobody knows yet what came of it; of a device that has no answers nobody ever will.
    Sent,
    /// The device shows or says that it was done.
    Executed,
    /// It was not done.
    Failed,
    /// Its time was over before it could be sent, or before the device answered.
    Expired,
    /// It waits to be sent.
    Pending,
    /// The device says that it has it.
    Acknowledged,
    /// It may have been sent, and nobody will know what came of it: its answer was lost, or the node ended meanwhile.
    Unknown,
}

/// By what way a command goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// Over the battery's own wire, answered by what it shows afterwards.
    Wire,
    /// Published, and answered by the device if it follows the contract.
    Mqtt,
}

/// A command and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandView {
    /// Its identity.
    pub id: String,
    /// To whom.
    pub device: DeviceId,
    /// What to do.
    pub action: String,
    /// The action's parameters; null for none.
    #[serde(with = "as_text")]
    pub params: Value,
    /// How far it got.
    pub status: CommandStatus,
    /// When it was given.
    pub sent_at: Timestamp,
    /// When the device said that it has it.
    pub acknowledged_at: Option<Timestamp>,
    /// When the device was seen to have done it, or said so.
    pub executed_at: Option<Timestamp>,
    /// The moment from which on it must not be sent any more.
    pub expires_at: Option<Timestamp>,
    /// Why it was not done, or why nobody knows.
    pub error: Option<String>,
    /// Its sender's name for it.
    pub idempotency_key: Option<String>,
    /// By what way it goes.
    pub way: Way,
}

impl CommandView {
    /// A command of which nobody knows yet what comes of it.
    pub fn given(
        id: String,
        request: &CommandRequest,
        status: CommandStatus,
        way: Way,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            device: request.device.clone(),
            action: request.action.clone(),
            params: request.params.clone(),
            status,
            sent_at: now,
            acknowledged_at: None,
            executed_at: None,
            expires_at: request.expires_at,
            error: None,
            idempotency_key: request.idempotency_key.clone(),
            way,
        }
    }

    /// Whether it still has to be published, or its answer is awaited.
    pub(crate) fn is_open(&self) -> bool {
        // A sent one with an error is one that nobody will answer.
        let awaited = self.status == CommandStatus::Sent && self.error.is_none();
        self.way == Way::Mqtt && (self.status == CommandStatus::Pending || awaited)
    }
}

/// JSON says itself what it is, which the records' format can't.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use serde_json::Value;

    pub(super) fn serialize<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&value.to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map_err(D::Error::custom)
    }
}

impl Record for CommandView {
    const KIND: RecordKind = RecordKind::Command;
    const VERSION: u8 = 2;

    fn migrate(version: u8, bytes: &[u8]) -> Result<Self, RecordError> {
        match version {
            1 => decode_value::<CommandV1>(bytes).map(Self::from),
            found => Err(RecordError::UnknownVersion { found }),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum ActionV1 {
    ChargeSwitch(bool),
    DischargeSwitch(bool),
    StateOfCharge(f64),
}

#[derive(Debug, Serialize, Deserialize)]
struct CommandV1 {
    id: String,
    device: DeviceId,
    action: ActionV1,
    status: CommandStatus,
    sent_at: Timestamp,
    executed_at: Option<Timestamp>,
    error: Option<String>,
    idempotency_key: Option<String>,
}

impl From<CommandV1> for CommandView {
    fn from(old: CommandV1) -> Self {
        let (action, params) = match old.action {
            ActionV1::ChargeSwitch(on) => ("set_charge", json!({ "on": on })),
            ActionV1::DischargeSwitch(on) => ("set_discharge", json!({ "on": on })),
            ActionV1::StateOfCharge(percent) => ("set_soc", json!({ "percent": percent })),
        };
        Self {
            id: old.id,
            device: old.device,
            action: action.to_owned(),
            params,
            status: old.status,
            sent_at: old.sent_at,
            acknowledged_at: None,
            executed_at: old.executed_at,
            expires_at: None,
            error: old.error,
            idempotency_key: old.idempotency_key,
            way: Way::Wire,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_journal::{TestJournal, writing};
    use voltree_storage::RecordChange;

    /// What the first version wrote.
    #[derive(Debug, Serialize, Deserialize)]
    struct Old(CommandV1);

    impl Record for Old {
        const KIND: RecordKind = RecordKind::Command;
        const VERSION: u8 = 1;
    }

    #[test]
    fn a_command_of_the_first_version_is_read_as_what_it_means() {
        let (journal, now) = (TestJournal::default(), Timestamp::from_millis(7));
        let slot = journal.open();
        let old = Old(CommandV1 {
            id: "c".to_owned(),
            device: DeviceId::new("pack").unwrap(),
            action: ActionV1::StateOfCharge(42.5),
            status: CommandStatus::Executed,
            sent_at: now,
            executed_at: Some(now),
            error: None,
            idempotency_key: Some("night".to_owned()),
        });
        let entry = RecordChange::entry("c", Some(&old), now).unwrap();
        writing(&slot, || slot.commit(vec![entry], crate::test_journal::BOUND)).unwrap();
        let read = slot.records().get::<CommandView>("c").unwrap().unwrap();
        assert_eq!((read.action.as_str(), &read.params), ("set_soc", &json!({ "percent": 42.5 })));
        assert_eq!((read.status, read.way, read.is_open()), (CommandStatus::Executed, Way::Wire, false));
        let entry = RecordChange::entry("c", Some(&read), now).unwrap();
        writing(&slot, || slot.commit(vec![entry], crate::test_journal::BOUND)).unwrap();
        assert_eq!(slot.records().get::<CommandView>("c").unwrap(), Some(read));
    }
}
