//! The actor of a device that publishes over MQTT: takes what its sessions accepted to the journal.
//!
//! Owns: nothing but its turn. Receives: wake-ups. Lost on restart: nothing, the intake belongs to the registry.
//! Supervised by: devices; parked when it fails too often.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use voltree_runtime::{ChildSpec, RestartPolicy};
use voltree_storage::JournalSlot;

use crate::device::{self, DeviceMsg};
use crate::registry::DeviceEntry;

/// The contract's name of this device type.
pub const KIND: &str = "mqtt";

/// The actor.
#[derive(Debug)]
pub struct MqttDevice;

/// Everything it needs in order to be born again, and all it knows.
#[derive(Debug, Clone)]
pub struct MqttDeviceArgs {
    entry: Arc<DeviceEntry>,
    journal: Arc<JournalSlot>,
}

/// How the devices supervisor gives birth to it.
pub fn child(entry: Arc<DeviceEntry>, journal: Arc<JournalSlot>) -> ChildSpec {
    let name = entry.id.to_string();
    let args = MqttDeviceArgs { entry, journal };
    ChildSpec::worker(name, "mqtt_device", RestartPolicy::DEVICE, move |_| (MqttDevice, args.clone()))
}

impl Actor for MqttDevice {
    type Msg = DeviceMsg;
    type State = MqttDeviceArgs;
    type Arguments = MqttDeviceArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<DeviceMsg>,
        args: MqttDeviceArgs,
    ) -> Result<MqttDeviceArgs, ActorProcessingErr> {
        myself.send_message(DeviceMsg::Wake)?;
        Ok(args)
    }

    async fn handle(
        &self,
        myself: ActorRef<DeviceMsg>,
        message: DeviceMsg,
        state: &mut MqttDeviceArgs,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            DeviceMsg::Wake | DeviceMsg::Poll => device::drain(&myself, &state.entry, &state.journal).await,
        }
        Ok(())
    }
}
