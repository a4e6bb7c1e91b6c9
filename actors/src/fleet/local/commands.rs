//! Commands to devices of this node.

use tokio::sync::broadcast;
use voltree_model::DeviceId;

use super::LocalFleet;
use crate::fleet::{Answer, CommandRequest, CommandView, Commands, FleetError};
use crate::mqtt_device;

impl Commands for LocalFleet {
    fn send(&self, request: CommandRequest) -> Answer<'_, CommandView> {
        Box::pin(async move {
            let device = self.known(&request.device)?;
            if self.registry.is_set_aside(&device.id) {
                let why = format!("{} is disabled; enable it first", device.id);
                return Err(FleetError::NotAllowed(why));
            }
            if device.kind == mqtt_device::KIND {
                return self.mqtt.broker().command(&device, request).await;
            }
            self.commands.send(&device, request).await
        })
    }

    fn get(&self, id: &str) -> Result<Option<CommandView>, FleetError> {
        self.commands.get(id)
    }

    fn list(&self, device: Option<&DeviceId>, limit: usize) -> Result<Vec<CommandView>, FleetError> {
        self.commands.list(device, limit)
    }

    fn watch(&self) -> broadcast::Receiver<CommandView> {
        self.commands.watch()
    }
}
