//! The keeper: saves what the broker keeps, offers retained messages again that the journal did not take, and publishes
//! the wills of clients that went without a word.
//!
//! Owns: its turn; broker, wills and file belong to the node. Receives: wake-ups, ticks. Lost on restart: nothing, a will
//! leaves the broker's list only when it is committed. Supervised by: mqtt.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use voltree_runtime::{ChildSpec, Failure, RestartPolicy};

use super::broker::Broker;
use super::ingest::{self, Incoming};

/// How often changes that nobody waits for are saved.
const TICK: Duration = Duration::from_secs(5);
/// How long the last changes may take to be committed when the node stops.
const LAST_COMMIT: Duration = Duration::from_secs(2);

/// What the keeper is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeeperMsg {
    /// A will is due, or somebody waits for a change to be saved.
    Wake,
    /// Time went by.
    Tick,
}

/// The actor.
#[derive(Debug)]
pub struct Keeper;

/// How the MQTT supervisor gives birth to it.
pub fn child(broker: Arc<Broker>) -> ChildSpec {
    ChildSpec::worker("keeper", "mqtt_keeper", RestartPolicy::SERVICE, move |_| (Keeper, Arc::clone(&broker)))
}

impl Actor for Keeper {
    type Msg = KeeperMsg;
    type State = Arc<Broker>;
    type Arguments = Arc<Broker>;

    async fn pre_start(
        &self,
        myself: ActorRef<KeeperMsg>,
        broker: Arc<Broker>,
    ) -> Result<Arc<Broker>, ActorProcessingErr> {
        myself.send_interval(TICK, || KeeperMsg::Tick);
        myself.send_message(KeeperMsg::Wake)?;
        Ok(broker)
    }

    async fn handle(
        &self,
        _myself: ActorRef<KeeperMsg>,
        message: KeeperMsg,
        broker: &mut Arc<Broker>,
    ) -> Result<(), ActorProcessingErr> {
        broker.offer_again();
        publish_wills(broker).await;
        broker.forget_expired(crate::now());
        save(broker, message == KeeperMsg::Tick).await
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<KeeperMsg>,
        broker: &mut Arc<Broker>,
    ) -> Result<(), ActorProcessingErr> {
        broker.offer_again();
        // The journal stops after us. If it has no writer now, what it has not committed was promised to nobody.
        tokio::time::timeout(LAST_COMMIT, broker.all_offered()).await.ok();
        save(broker, true).await
    }
}

async fn publish_wills(broker: &Arc<Broker>) {
    while let Some(will) = broker.next_will() {
        let incoming = Incoming {
            topic: will.topic,
            payload: will.message,
            qos: will.qos,
            retain: will.retain,
            relay: true,
            said: None,
            allowed: true,
        };
        let committed = ingest::ingest(broker, incoming, crate::now()).await;
        // A retained will is on disk only after our own save, so nothing here may wait for it.
        drop(committed);
        broker.will_published();
    }
}

async fn save(broker: &Arc<Broker>, at_all: bool) -> Result<(), ActorProcessingErr> {
    if !broker.to_save(at_all) {
        return Ok(());
    }
    let broker = Arc::clone(broker);
    let saved = tokio::task::spawn_blocking(move || broker.save()).await?;
    saved.map_err(|error| Failure::boxed(&error))
}
