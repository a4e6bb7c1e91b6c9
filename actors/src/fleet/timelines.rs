//! Where devices were silent, and why.

use std::time::Duration;

use voltree_model::{DeviceId, Timestamp};

use super::Answer;
pub use crate::timeline::{GapCause, TimelineGap};

/// A question for gaps: `from` is inside, `to` is not.
#[derive(Debug, Clone)]
pub struct GapRange {
    /// Whose.
    pub device: DeviceId,
    /// The first moment that counts.
    pub from: Timestamp,
    /// The first moment that no longer counts; nothing is missing yet after now.
    pub to: Timestamp,
    /// No silence that is shorter counts.
    pub least: Duration,
}

/// Where devices were silent, and why.
pub trait Timelines: Send + Sync {
    /// The gaps in a device's time line, oldest first: the first `limit` of them. Between them it is covered.
    fn gaps(&self, range: GapRange, limit: usize) -> Answer<'_, Vec<TimelineGap>>;
}
