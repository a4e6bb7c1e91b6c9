//! Messages that an outside broker hangs up on, as clients see them.

use async_graphql::{ID, SimpleObject};
use voltree_actors::mqtt;

/// A message that does not go to an outside broker, because that hung up on it again and again.
#[derive(SimpleObject)]
pub(super) struct SetAsideMessage {
    /// What forwardAgain calls it.
    id: ID,
    /// Which broker.
    broker: String,
    /// Its topic, as it is on this node.
    topic: String,
    /// What it says, if that is text.
    payload: Option<String>,
    /// How many bytes that are.
    payload_bytes: usize,
    /// When it was set aside, as RFC 3339 in UTC.
    time: String,
    /// How the connection ended the last time.
    reason: String,
    /// How often the broker hung up while it alone was under way.
    hang_ups: u32,
}

impl From<mqtt::SetAsideMessage> for SetAsideMessage {
    fn from(message: mqtt::SetAsideMessage) -> Self {
        Self {
            id: ID(message.id),
            broker: message.broker,
            topic: message.topic,
            payload_bytes: message.payload.len(),
            payload: String::from_utf8(message.payload).ok(),
            time: message.at.to_string(),
            reason: message.cause,
            hang_ups: message.hang_ups,
        }
    }
}
