//! The actor of a device that publishes over MQTT: takes what its sessions accepted to the journal.
//!
//! Owns: nothing but its turn. Receives: wake-ups. Lost on restart: nothing, the intake belongs to the registry.
//! Supervised by: devices; parked when it fails too often.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use voltree_runtime::{ChildSpec, Fence, RestartPolicy};
use voltree_storage::JournalSlot;

use crate::device::{self, DeviceMsg};
use crate::registry::DeviceEntry;

/// The contract's name of this device type.
pub const KIND: &str = "mqtt";

/// The actor.
#[derive(Debug)]
pub struct MqttDevice;

/// Everything it needs in order to be born again.
#[derive(Debug, Clone)]
pub struct MqttDeviceArgs {
    entry: Arc<DeviceEntry>,
    journal: Arc<JournalSlot>,
}

/// What one incarnation knows.
#[derive(Debug)]
pub struct MqttDeviceState {
    args: MqttDeviceArgs,
    fence: Fence,
}

/// How the devices supervisor gives birth to it.
pub fn child(entry: Arc<DeviceEntry>, journal: Arc<JournalSlot>) -> ChildSpec {
    let name = entry.id.to_string();
    let args = MqttDeviceArgs { entry, journal };
    ChildSpec::worker(name, "mqtt_device", RestartPolicy::DEVICE, move |birth| {
        (MqttDevice, (args.clone(), birth.fence))
    })
}

impl Actor for MqttDevice {
    type Msg = DeviceMsg;
    type State = MqttDeviceState;
    type Arguments = (MqttDeviceArgs, Fence);

    async fn pre_start(
        &self,
        myself: ActorRef<DeviceMsg>,
        (args, fence): (MqttDeviceArgs, Fence),
    ) -> Result<MqttDeviceState, ActorProcessingErr> {
        myself.send_message(DeviceMsg::Wake)?;
        Ok(MqttDeviceState { args, fence })
    }

    async fn handle(
        &self,
        myself: ActorRef<DeviceMsg>,
        message: DeviceMsg,
        state: &mut MqttDeviceState,
    ) -> Result<(), ActorProcessingErr> {
        let MqttDeviceArgs { entry, journal } = &state.args;
        match message {
            DeviceMsg::Wake | DeviceMsg::Poll => {
                device::hand_over(&myself, &state.fence, entry, journal).await;
            }
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<DeviceMsg>,
        state: &mut MqttDeviceState,
    ) -> Result<(), ActorProcessingErr> {
        device::hand_over_the_last(&state.fence, &state.args.entry, &state.args.journal).await;
        Ok(())
    }
}
