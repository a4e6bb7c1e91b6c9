//! What handlers failed on too often: to look at, and to hand in again.

use std::sync::Arc;

use super::{Answer, FleetError};
use crate::dead_letters::DeadLetter;
use crate::mqtt::SetAsideMessage;

/// What was set aside.
pub trait SetAside: Send + Sync {
    /// All dead letters, the newest first.
    fn letters(&self) -> Vec<Arc<DeadLetter>>;
    /// Hands a dead letter in again at its device's door, where it gets a new number, and answers once it is committed;
    /// only then is it dead no longer. In the ledger it is received once more.
    fn replay(&self, id: &str) -> Answer<'_, Arc<DeadLetter>>;
    /// Messages on which an outside broker hung up again and again, the newest first.
    fn messages(&self) -> Result<Vec<SetAsideMessage>, FleetError>;
    /// Puts one of them behind what waits for its broker, and answers once that is on disk.
    fn forward_again(&self, id: &str) -> Answer<'_, SetAsideMessage>;
}
