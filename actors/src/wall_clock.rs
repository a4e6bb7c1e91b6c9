//! The time that readings and alerts are stamped with: runtime's clock in the model's words.

use voltree_model::Timestamp;
use voltree_runtime::clock;

/// Now, by the machine's wall clock.
pub fn now() -> Timestamp {
    Timestamp::from_millis(clock::now_ms())
}
