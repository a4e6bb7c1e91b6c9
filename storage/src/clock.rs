//! The one place of this room that reads a clock: the writer thread needs to know how long ago it last synced.
//!
//! Everything that judges data is handed its time; nothing here may be used for that.

use std::time::Instant;

/// Monotonic time.
#[expect(
    clippy::disallowed_methods,
    reason = "the writer's pace is the only use, and this is its only source"
)]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}
