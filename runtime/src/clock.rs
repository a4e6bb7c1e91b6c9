//! The only place that reads the machine's clocks; everything else is handed `now`.

#![expect(clippy::disallowed_methods, reason = "this is where the clocks are read")]

use std::time::{SystemTime, UNIX_EPOCH};

/// UTC milliseconds by the machine's wall clock.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Monotonic time; paused together with tokio's in tests.
pub fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
