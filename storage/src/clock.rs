//! The one place of this room that reads a clock: the writer thread needs to know how long ago it last synced, and buckets
//! how long ago somebody used them.
//!
//! Everything that judges data is handed its time; nothing here may be used for that.

use std::time::Instant;

/// Monotonic time.
#[expect(
    clippy::disallowed_methods,
    reason = "a pace and how long something lies idle are the only uses, and this is their only source"
)]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}
