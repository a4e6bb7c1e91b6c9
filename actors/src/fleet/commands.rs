//! Orders to devices, answered by what the device shows afterwards.

use tokio::sync::broadcast;
use voltree_model::DeviceId;

use super::{Answer, FleetError};
pub use crate::commands::{CommandRequest, CommandStatus, CommandView};

/// Orders to devices.
pub trait Commands: Send + Sync {
    /// Sends a command once and answers with what came of it, or how far it got: done means seen to be done.
    fn send(&self, request: CommandRequest) -> Answer<'_, CommandView>;
    /// One command.
    fn get(&self, id: &str) -> Result<Option<CommandView>, FleetError>;
    /// The last commands, to all devices or to one, newest first.
    fn list(&self, device: Option<&DeviceId>, limit: usize) -> Result<Vec<CommandView>, FleetError>;
    /// Commands as they change, from now on.
    fn watch(&self) -> broadcast::Receiver<CommandView>;
}
