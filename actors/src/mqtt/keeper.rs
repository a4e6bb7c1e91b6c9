//! The keeper: offers again what of sessions and retained messages the journal did not take, forgets what has expired,
//! and publishes the wills of clients that went without a word, or did not come back to a node that was away.
//!
//! Owns: its turn; broker and wills belong to the node. Receives: wake-ups, ticks. Lost on restart: nothing, a will
//! leaves the broker's list only when it is published. Supervised by: mqtt.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use voltree_model::Timestamp;
use voltree_runtime::{ChildSpec, RestartPolicy};

use super::broker::{Broker, Said};
use super::ingest::{self, Incoming};

/// How often it looks for what has expired.
const TICK: Duration = Duration::from_secs(5);
/// How long the last changes may take to be committed when the node stops.
const LAST_COMMIT: Duration = Duration::from_secs(2);

/// What the keeper is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeeperMsg {
    /// A will or a session may be due sooner.
    Wake,
    /// Time went by.
    Tick,
}

/// The actor.
#[derive(Debug)]
pub struct Keeper;

/// What one incarnation knows.
#[derive(Debug)]
pub struct KeeperState {
    broker: Arc<Broker>,
    /// When it is to be woken for a will.
    alarm: Option<Timestamp>,
}

/// How the MQTT supervisor gives birth to it.
pub fn child(broker: Arc<Broker>) -> ChildSpec {
    ChildSpec::worker("keeper", "mqtt_keeper", RestartPolicy::SERVICE, move |_| (Keeper, Arc::clone(&broker)))
}

impl Actor for Keeper {
    type Msg = KeeperMsg;
    type State = KeeperState;
    type Arguments = Arc<Broker>;

    async fn pre_start(
        &self,
        myself: ActorRef<KeeperMsg>,
        broker: Arc<Broker>,
    ) -> Result<KeeperState, ActorProcessingErr> {
        broker.begin_wills(crate::now());
        myself.send_interval(TICK, || KeeperMsg::Tick);
        myself.send_message(KeeperMsg::Wake)?;
        Ok(KeeperState { broker, alarm: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<KeeperMsg>,
        message: KeeperMsg,
        KeeperState { broker, alarm }: &mut KeeperState,
    ) -> Result<(), ActorProcessingErr> {
        broker.offer_again();
        publish_wills(broker).await;
        broker.forget_expired(crate::now());
        if message == KeeperMsg::Tick {
            broker.forget_expired_retained(crate::now());
        }
        wake_for_next_will(&myself, broker, alarm);
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<KeeperMsg>,
        KeeperState { broker, .. }: &mut KeeperState,
    ) -> Result<(), ActorProcessingErr> {
        broker.offer_again();
        // The journal stops after us. If it has no writer now, what it has not committed was promised to nobody.
        tokio::time::timeout(LAST_COMMIT, broker.all_offered()).await.ok();
        Ok(())
    }
}

async fn publish_wills(broker: &Arc<Broker>) {
    let now = crate::now();
    while let Some(will) = broker.due_will(now) {
        let incoming = Incoming {
            topic: will.message.topic.clone(),
            payload: will.message.message.clone(),
            qos: will.message.qos,
            retain: will.message.retain,
            relay: true,
            said: will.properties.clone().map(|said| Arc::new(Said::of(*said, now))),
            publisher: Some(will.client_id.as_str().into()),
            refused: None,
        };
        let committed = ingest::ingest(broker, incoming, crate::now()).await;
        // What could not be committed is offered again: nothing here may wait for a disk. That it is published comes
        // behind it in the journal.
        drop(committed);
        broker.will_published(&will);
    }
}

/// Wills are due at times of their own, between the ticks. An alarm that is earlier than needed does no harm.
fn wake_for_next_will(myself: &ActorRef<KeeperMsg>, broker: &Broker, alarm: &mut Option<Timestamp>) {
    let now = crate::now();
    let Some(delay) = broker.next_will(now).filter(|delay| *delay < TICK) else { return };
    let due = now.plus(delay);
    if alarm.is_none_or(|set| set <= now || due < set) {
        *alarm = Some(due);
        myself.send_after(delay, || KeeperMsg::Wake);
    }
}
