//! Orders to devices, answered by what the device shows afterwards.

use super::Answer;
pub use crate::commands::{Action, CommandRequest, CommandStatus, CommandView};

/// Orders to devices.
pub trait Commands: Send + Sync {
    /// Sends a command once and answers with what came of it: done means seen to be done.
    fn send(&self, request: CommandRequest) -> Answer<'_, CommandView>;
}
