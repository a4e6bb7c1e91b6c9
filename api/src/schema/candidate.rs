//! Publishers that are no devices, as clients see them.

use async_graphql::{ID, SimpleObject};
use voltree_actors::fleet::Candidate;

/// Somebody who publishes and waits to be adopted, or whom an operator sent away. Its messages are rejected as
/// not_adopted, and counted.
#[derive(SimpleObject)]
pub(super) struct DeviceCandidate {
    /// The id that it would have as a device.
    id: ID,
    /// What it is called where it comes from.
    name: String,
    /// When it was first heard since the node started, as RFC 3339 in UTC.
    first_seen: Option<String>,
    /// When it was last heard, as RFC 3339 in UTC.
    last_seen: Option<String>,
    /// How many of its messages were turned away since the node started.
    messages: u64,
    /// Whether an operator sent it away; adoptDevice takes it back.
    ignored: bool,
}

impl From<Candidate> for DeviceCandidate {
    fn from(candidate: Candidate) -> Self {
        Self {
            id: ID(candidate.id.to_string()),
            name: candidate.name,
            first_seen: candidate.first_seen.map(|time| time.to_string()),
            last_seen: candidate.last_seen.map(|time| time.to_string()),
            messages: candidate.messages,
            ignored: candidate.ignored,
        }
    }
}
