//! What was set aside, as clients see it.

use async_graphql::{ID, SimpleObject};
use voltree_actors::dead_letters;
use voltree_actors::intake::Inbound;

/// Something that came in and that its handler failed on three times.
#[derive(SimpleObject)]
pub(super) struct DeadLetter {
    /// What replayDeadLetter calls it.
    id: ID,
    /// Which device sent it.
    device_id: ID,
    /// Its number at the device's door.
    number: u64,
    /// When it was set aside, as RFC 3339 in UTC.
    time: String,
    /// When it was measured, as RFC 3339 in UTC.
    measured_at: String,
    /// How many metrics it has.
    metrics: usize,
    /// How its handler failed on it last.
    reason: String,
    /// How often its handler failed on it.
    failures: u32,
}

impl From<&dead_letters::DeadLetter> for DeadLetter {
    fn from(letter: &dead_letters::DeadLetter) -> Self {
        let (measured_at, metrics) = match &letter.inbound {
            Inbound::Reading(reading) => (reading.at, reading.metrics.len()),
            Inbound::Rejected { at, .. } => (*at, 0),
        };
        Self {
            id: ID(letter.id()),
            device_id: ID(letter.device.to_string()),
            number: letter.number,
            time: letter.at.to_string(),
            measured_at: measured_at.to_string(),
            metrics,
            reason: letter.cause.clone(),
            failures: letter.failures,
        }
    }
}
