//! Orders of operators that interfere with a running node: each is told in the log with its reason, under the target
//! `audit`, and all of them together are limited in their rate, so that no script can take a node down by asking.

use async_graphql::Result;
use parking_lot::Mutex;
use voltree_runtime::clock;

use super::error::{Code, bad_argument, coded};

/// Who gave an order, as logs and supervision events tell it; there are no users to name yet.
pub(super) const OPERATOR: &str = "operator";
/// How many orders may come at once.
const BURST: f64 = 60.0;
/// How many may come a second in the long run.
const PER_SECOND: f64 = 2.0;
const MAX_REASON_CHARS: usize = 200;

/// The node's account of orders.
pub(super) struct Orders {
    bucket: Mutex<Bucket>,
}

struct Bucket {
    left: f64,
    at: tokio::time::Instant,
}

impl Default for Orders {
    fn default() -> Self {
        Self { bucket: Mutex::new(Bucket { left: BURST, at: clock::monotonic() }) }
    }
}

impl Orders {
    /// Tells the log of an order that is about to be carried out, unless there were too many.
    pub(super) fn admit(&self, order: &'static str, subject: &str, reason: Option<&str>) -> Result<()> {
        let reason = reason.map(str::trim);
        if reason.is_some_and(|reason| reason.is_empty() || reason.chars().count() > MAX_REASON_CHARS) {
            return Err(bad_argument("reason", format!("expected 1 to {MAX_REASON_CHARS} characters")));
        }
        let admitted = self.bucket.lock().take(clock::monotonic());
        let reason = reason.unwrap_or("none given");
        tracing::info!(target: "audit", event = "order", order, subject, by = OPERATOR, reason, admitted);
        if admitted {
            return Ok(());
        }
        let limit = format!("too many orders; {PER_SECOND} a second are taken in the long run");
        Err(coded(Code::TooManyOrders, limit))
    }
}

impl Bucket {
    fn take(&mut self, now: tokio::time::Instant) -> bool {
        let refill = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        self.left = (self.left + refill).min(BURST);
        self.at = now;
        let admitted = self.left >= 1.0;
        if admitted {
            self.left -= 1.0;
        }
        admitted
    }
}
