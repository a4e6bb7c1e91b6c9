//! Commands to devices of this node.

use super::LocalFleet;
use crate::fleet::{Answer, CommandRequest, CommandView, Commands};

impl Commands for LocalFleet {
    fn send(&self, request: CommandRequest) -> Answer<'_, CommandView> {
        Box::pin(async move {
            let device = self.known(&request.device)?;
            self.commands.send(&device, request).await
        })
    }
}
