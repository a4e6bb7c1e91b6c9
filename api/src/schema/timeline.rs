//! Gaps in a device's time line, as clients see them.

use std::time::Duration;

use async_graphql::{Enum, Result, SimpleObject};
use voltree_actors::fleet::TimelineGap;

use super::error::bad_argument;

/// The longest silence that may be asked to count as none: a day.
const LONGEST_LEAST: u32 = 86_400;

/// Why there are no readings.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "voltree_actors::fleet::GapCause")]
pub(super) enum GapCause {
    /// The device could not be heard.
    LinkDown,
    /// Its actor was parked, or the device was set aside or switched off.
    Parked,
    /// The node did not run.
    NodeDown,
    /// Nothing is known that explains it.
    None,
}

/// A stretch of a device's time line without readings. A silence with several causes is several gaps.
#[derive(SimpleObject)]
pub(super) struct Gap {
    /// The last reading before it, or where the cause before this one ended, as RFC 3339 in UTC.
    from: String,
    /// The first reading after it, where the next cause begins, or the end of what was asked for, as RFC 3339 in UTC.
    to: String,
    /// How long it is, in seconds.
    seconds: f64,
    /// Why there are no readings.
    cause: GapCause,
}

impl From<TimelineGap> for Gap {
    fn from(gap: TimelineGap) -> Self {
        Self {
            from: gap.from.to_string(),
            to: gap.to.to_string(),
            seconds: gap.length().as_secs_f64(),
            cause: gap.cause.into(),
        }
    }
}

/// The silence that is none yet.
pub(super) fn least(seconds: u32) -> Result<Duration> {
    if (1..=LONGEST_LEAST).contains(&seconds) {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let problem = format!("{seconds} is out of range; expected 1 to {LONGEST_LEAST}");
    Err(bad_argument("leastSeconds", problem))
}
