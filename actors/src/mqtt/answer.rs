//! What a device answers to a command: `devices/{id}/commands/ack`, and what that makes of the command.
//!
//! Pure but for the book. An answer counts however late it comes, once; what is answered for another device's command, or
//! for one that was never sent, is no answer. Must never let a publish be acknowledged before its answer is on disk.

use serde::Deserialize;
use voltree_model::{DeviceId, Timestamp};
use voltree_protocols::mqtt::reason_code;

use super::Broker;
use crate::commands::{CommandStatus, CommandView};

/// How much of a device's words is kept.
const MOST_CHARS: usize = 300;

/// The contract's acknowledgement.
#[derive(Debug, Deserialize)]
struct Answer {
    command_id: String,
    status: Word,
    error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Acknowledged,
    Executed,
    Failed,
}

/// Takes an answer in, and returns the reason code for it once it is on disk; `None` if that can't be promised. `other` is
/// the code for one that is about no command of this node.
pub(super) async fn answered(
    broker: &Broker,
    device: &DeviceId,
    payload: &[u8],
    other: u8,
    now: Timestamp,
) -> Option<u8> {
    let answer: Answer = match serde_json::from_slice(payload) {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(%device, %error, "an answer to a command can't be read");
            return Some(reason_code::PAYLOAD_FORMAT_INVALID);
        }
    };
    // Most answers that strangers make up end here, without a place in the queue.
    match broker.commands.get(&answer.command_id) {
        Ok(Some(command)) if command.device == *device => {}
        Ok(_) => return Some(other),
        Err(_) => return None,
    }
    let changed = broker.commands.change(&answer.command_id, |command| apply(command, &answer, now)).await;
    changed.ok().map(|_| reason_code::SUCCESS)
}

/// What an answer makes of a command; says whether it makes anything of it.
fn apply(command: &mut CommandView, answer: &Answer, now: Timestamp) -> bool {
    let news = match command.status {
        CommandStatus::Sent | CommandStatus::Expired | CommandStatus::Unknown => true,
        CommandStatus::Acknowledged => answer.status != Word::Acknowledged,
        CommandStatus::Pending | CommandStatus::Executed | CommandStatus::Failed => false,
    };
    if !news {
        return false;
    }
    command.acknowledged_at.get_or_insert(now);
    let words = answer.error.as_deref().unwrap_or("the device did not do it and does not say why");
    (command.status, command.error) = match answer.status {
        Word::Acknowledged => (CommandStatus::Acknowledged, None),
        Word::Executed => {
            command.executed_at = Some(now);
            (CommandStatus::Executed, None)
        }
        Word::Failed => {
            let words = words.chars().filter(|c| !c.is_control()).take(MOST_CHARS).collect();
            (CommandStatus::Failed, Some(words))
        }
    };
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{CommandRequest, Way};
    use serde_json::Value;

    fn command(status: CommandStatus) -> CommandView {
        let device = DeviceId::new("lamp").unwrap();
        let request = CommandRequest {
            device,
            action: "blink".to_owned(),
            params: Value::Null,
            expires_at: None,
            idempotency_key: None,
        };
        CommandView::given("c".to_owned(), &request, status, Way::Mqtt, Timestamp::from_millis(0))
    }

    fn told(status: CommandStatus, answer: &str) -> Option<CommandView> {
        let answer = serde_json::from_str(answer).unwrap();
        let mut command = command(status);
        apply(&mut command, &answer, Timestamp::from_millis(9)).then_some(command)
    }

    #[test]
    fn an_answer_counts_once_however_late_it_comes() {
        let yes = r#"{"command_id":"c","status":"acknowledged"}"#;
        let done = r#"{"command_id":"c","status":"executed","extra":1}"#;
        for status in [CommandStatus::Sent, CommandStatus::Expired] {
            let acknowledged = told(status, yes).unwrap();
            assert_eq!(acknowledged.status, CommandStatus::Acknowledged);
            assert_eq!(acknowledged.acknowledged_at, Some(Timestamp::from_millis(9)));
            let executed = told(status, done).unwrap();
            assert_eq!((executed.status, executed.executed_at.is_some()), (CommandStatus::Executed, true));
        }
        assert_eq!(told(CommandStatus::Acknowledged, yes), None);
        assert_eq!(told(CommandStatus::Acknowledged, done).unwrap().status, CommandStatus::Executed);
        for ended in [CommandStatus::Executed, CommandStatus::Failed, CommandStatus::Pending] {
            assert_eq!(told(ended, done), None, "{ended:?}");
        }
    }

    #[test]
    fn a_device_that_fails_says_why_in_few_words() {
        let long = format!(r#"{{"command_id":"c","status":"failed","error":"{}\u0007"}}"#, "x".repeat(999));
        let failed = told(CommandStatus::Sent, &long).unwrap();
        assert_eq!((failed.status, failed.error.unwrap().len()), (CommandStatus::Failed, MOST_CHARS));
        let silent = told(CommandStatus::Sent, r#"{"command_id":"c","status":"failed"}"#).unwrap();
        assert!(silent.error.unwrap().contains("does not say why"));
    }
}
