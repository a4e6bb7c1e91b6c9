//! The keeper of the Bluetooth adapter: looks after the radio that all batteries on the air share.
//!
//! Owns: whether it has told that Bluetooth is not there. Receives: ticks. Switches an adapter off and on once connections
//! only fail, and waits for the last connections to end when the node stops. Lost on restart: nothing; the radio, its slots and the connections belong to the node. Supervised by: links.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use voltree_protocols::link::Radio;
use voltree_runtime::{ChildSpec, Failure, RestartPolicy};

/// How often the radio is looked after.
const EVERY: Duration = Duration::from_secs(5);

/// What it is told.
#[derive(Debug)]
pub enum BleAdapterMsg {
    /// Look after the radio.
    Check,
}

/// How its supervisor gives birth to it.
pub fn child(radio: Arc<Radio>) -> ChildSpec {
    ChildSpec::worker("bluetooth", "ble_adapter", RestartPolicy::SERVICE, move |_| {
        (BleAdapter, Arc::clone(&radio))
    })
}

/// The actor.
#[derive(Debug)]
pub struct BleAdapter;

/// What it knows.
#[derive(Debug)]
pub struct BleAdapterState {
    radio: Arc<Radio>,
    unavailable: bool,
}

impl Actor for BleAdapter {
    type Msg = BleAdapterMsg;
    type State = BleAdapterState;
    type Arguments = Arc<Radio>;

    async fn pre_start(
        &self,
        myself: ActorRef<BleAdapterMsg>,
        radio: Arc<Radio>,
    ) -> Result<BleAdapterState, ActorProcessingErr> {
        myself.send_message(BleAdapterMsg::Check)?;
        Ok(BleAdapterState { radio, unavailable: false })
    }

    async fn handle(
        &self,
        myself: ActorRef<BleAdapterMsg>,
        message: BleAdapterMsg,
        state: &mut BleAdapterState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            BleAdapterMsg::Check => {
                state.check().await;
                myself.send_after(EVERY, || BleAdapterMsg::Check);
            }
        }
        Ok(())
    }

    /// Batteries that were stopped have left their lines by now.
    async fn post_stop(
        &self,
        _myself: ActorRef<BleAdapterMsg>,
        state: &mut BleAdapterState,
    ) -> Result<(), ActorProcessingErr> {
        let left = state.radio.closed().await;
        if left > 0 {
            tracing::warn!(
                event = "bluetooth.left_connected",
                connections = left,
                "nobody else hears their batteries until the node runs again or bluetoothctl disconnects them"
            );
        }
        Ok(())
    }
}

impl BleAdapterState {
    /// That Bluetooth is gone is told once, and once that it is back.
    async fn check(&mut self) {
        let checked = match self.radio.check(None).await {
            Ok(()) => self.radio.heal().await.map(drop),
            Err(error) => Err(error),
        };
        match checked {
            Ok(()) if self.unavailable => {
                self.unavailable = false;
                tracing::info!(event = "bluetooth.available", "batteries on the air can be reached again");
            }
            Err(error) if !self.unavailable => {
                self.unavailable = true;
                let why = Failure::new(&error).to_string();
                tracing::warn!(event = "bluetooth.unavailable", %why, "no battery on the air can be reached");
            }
            Ok(()) | Err(_) => {}
        }
    }
}
