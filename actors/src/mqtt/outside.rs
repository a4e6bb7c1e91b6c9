//! A client of a broker that Voltree does not run: Mosquitto, EMQX, another Voltree.
//!
//! Owns: the connection. Receives: its own turns. Lost on restart: the connection; the broker keeps the session and sends
//! again what was not acknowledged, and a message is acknowledged only after its commit. A broker that can't be reached
//! is a state and no fault. Supervised by: mqtt/brokers.
//!
//! Client and event loop are built anew after every error: rumqttc 0.25 can keep a packet id that collides for ever
//! across its own reconnects. What comes in is not passed on to this node's own subscribers, so that two nodes that
//! listen to each other don't make a loop.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Packet, Publish, QoS, SubscribeFilter,
    SubscribeReasonCode,
};
use tokio::sync::mpsc;
use voltree_model::Secret;
use voltree_protocols::mqtt::MAX_PACKET_BYTES;
use voltree_runtime::{Backoff, ChildSpec, Failure, RestartPolicy};

use super::broker::Broker;
use super::ingest::{self, Committed, Incoming};
use super::mapped::Request;
use crate::metrics;

/// The longest a turn waits for something to happen, so that an order to stop is heard.
const TURN: Duration = Duration::from_millis(250);
/// How many messages may wait for their devices' doors; past that the broker has to wait.
const WINDOW: usize = 1_000;
/// How many topics one SUBSCRIBE asks for.
const FILTERS_AT_ONCE: usize = 200;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(500), factor: 2.0, cap: Duration::from_secs(30) };

/// A broker, and what to hear there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideBroker {
    /// Names its actor.
    pub name: String,
    /// A host name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Names this node there; the broker keeps its session under this name.
    pub client_id: String,
    /// User name and password.
    pub login: Option<(String, Secret)>,
    /// The topic filters to subscribe to, at QoS 1.
    pub topics: Vec<String>,
}

/// What the client is told.
#[derive(Debug)]
pub enum OutsideMsg {
    /// Go on with whatever happens next.
    Turn,
}

/// The actor.
#[derive(Debug)]
pub struct OutsideClient;

/// Everything it needs in order to be born again.
#[derive(Debug, Clone)]
pub struct OutsideArgs {
    outside: OutsideBroker,
    broker: Arc<Broker>,
}

/// How the brokers' supervisor gives birth to it.
pub fn child(outside: OutsideBroker, broker: Arc<Broker>) -> ChildSpec {
    let name = outside.name.clone();
    let args = OutsideArgs { outside, broker };
    ChildSpec::worker(name, "mqtt_outside", RestartPolicy::DEVICE, move |_| (OutsideClient, args.clone()))
}

/// What it knows.
pub struct OutsideState {
    args: OutsideArgs,
    connection: Option<Connection>,
    failures: usize,
}

type Polling = Pin<Box<dyn Future<Output = (EventLoop, Result<Event, ConnectionError>)> + Send>>;
type Taking = Pin<Box<dyn Future<Output = (Publish, Committed)> + Send>>;
type Acknowledging = Pin<Box<dyn Future<Output = (Publish, bool)> + Send>>;

impl std::fmt::Debug for OutsideState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OutsideState({})", self.args.outside.name)
    }
}

enum Happening {
    Polled(Box<EventLoop>, Result<Event, ConnectionError>),
    Taken(Publish, Committed),
    Committed(Publish, bool),
}

struct Connection {
    client: AsyncClient,
    polling: Polling,
    /// There once the broker has granted the subscription.
    up: Option<Connected>,
    waiting: VecDeque<Publish>,
    taking: Option<Taking>,
    /// What was subscribed to because a device announced that it speaks there, and the state of announcements then.
    announced: (u64, BTreeSet<String>),
    /// The number of the last request that was passed on.
    asked: u64,
    /// Commands for devices that may be behind this broker.
    orders: Option<mpsc::Receiver<Request>>,
    /// In the order of arrival, which is the order in which MQTT wants them acknowledged.
    commits: FuturesOrdered<Acknowledging>,
}

/// Counts a connection for as long as it lives.
struct Connected;

impl Connected {
    fn new() -> Self {
        metrics::mqtt_outside_connections(1.0);
        Self
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        metrics::mqtt_outside_connections(-1.0);
    }
}

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the connection failed")]
    Connection(#[source] Box<ConnectionError>),
    #[error("the broker refuses to let us hear {0:?}")]
    Refused(String),
    #[error("a message could not be committed, so the broker must send it again")]
    NotCommitted,
    #[error("the client's queue is closed or full")]
    Queue,
}

impl Actor for OutsideClient {
    type Msg = OutsideMsg;
    type State = OutsideState;
    type Arguments = OutsideArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<OutsideMsg>,
        args: OutsideArgs,
    ) -> Result<OutsideState, ActorProcessingErr> {
        myself.send_message(OutsideMsg::Turn)?;
        Ok(OutsideState { args, connection: None, failures: 0 })
    }

    async fn handle(
        &self,
        myself: ActorRef<OutsideMsg>,
        message: OutsideMsg,
        state: &mut OutsideState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            OutsideMsg::Turn => match state.turn().await {
                Some(wait) => drop(myself.send_after(wait, || OutsideMsg::Turn)),
                None => myself.send_message(OutsideMsg::Turn)?,
            },
        }
        Ok(())
    }
}

impl OutsideState {
    /// Waits for one thing to happen and deals with it; says how long to wait before the next try, if a try failed.
    async fn turn(&mut self) -> Option<Duration> {
        let connection = self.connection.get_or_insert_with(|| Connection::new(&self.args.outside));
        let was_up = connection.up.is_some();
        let outcome = connection.next(&self.args).await;
        let is_up = connection.up.is_some();
        match outcome {
            Ok(()) if is_up && !was_up => self.came_up(),
            Ok(()) => {}
            Err(lost) => return Some(self.lost(&lost, was_up)),
        }
        None
    }

    fn came_up(&mut self) {
        self.failures = 0;
        let OutsideBroker { name, host, port, .. } = &self.args.outside;
        tracing::info!(event = "mqtt.broker.connected", broker = name, host, port, "hears an outside broker");
    }

    /// One line when a broker goes; tries that fail after that are details.
    fn lost(&mut self, lost: &Lost, was_up: bool) -> Duration {
        self.connection = None;
        self.failures += 1;
        let wait = BACKOFF.delay(self.failures + 1, fastrand::f64());
        let OutsideBroker { name, host, port, .. } = &self.args.outside;
        let why = Failure::new(lost).to_string();
        let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        if was_up || self.failures == 1 {
            tracing::warn!(event = "mqtt.broker.lost", broker = name, host, port, why, retry_in_ms);
        } else {
            tracing::debug!(broker = name, why, retry_in_ms, "an outside broker can't be reached yet");
        }
        wait
    }
}

impl Connection {
    fn new(outside: &OutsideBroker) -> Self {
        let mut options = MqttOptions::new(&outside.client_id, &outside.host, outside.port);
        options.set_keep_alive(KEEP_ALIVE);
        options.set_clean_session(false);
        options.set_manual_acks(true);
        options.set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES);
        if let Some((user, password)) = &outside.login {
            options.set_credentials(user, password.reveal());
        }
        // Room for every acknowledgement that can be due at once, and the subscription.
        let (client, event_loop) = AsyncClient::new(options, 2 * WINDOW);
        Self {
            client,
            polling: poll(event_loop),
            up: None,
            waiting: VecDeque::new(),
            taking: None,
            announced: (0, BTreeSet::new()),
            asked: 0,
            orders: None,
            commits: FuturesOrdered::new(),
        }
    }

    async fn next(&mut self, args: &OutsideArgs) -> Result<(), Lost> {
        self.take_next(&args.broker);
        self.hear_announced(&args.broker)?;
        self.pass_on_requests(&args.broker);
        self.pass_on_orders(&args.broker);
        let room = self.waiting.len() + self.commits.len() < WINDOW;
        let happening = async {
            tokio::select! {
                (event_loop, event) = &mut self.polling, if room => Happening::Polled(Box::new(event_loop), event),
                (publish, committed) = taken(&mut self.taking) => Happening::Taken(publish, committed),
                Some((publish, kept)) = self.commits.next(), if !self.commits.is_empty() => {
                    Happening::Committed(publish, kept)
                }
            }
        };
        match tokio::time::timeout(TURN, happening).await {
            Ok(Happening::Polled(event_loop, event)) => {
                let event = event.map_err(|error| Lost::Connection(Box::new(error)))?;
                self.polling = poll(*event_loop);
                self.happened(event, &args.outside)
            }
            Ok(Happening::Taken(publish, committed)) => {
                self.taking = None;
                self.commits.push_back(Box::pin(async move { (publish, committed.await.is_some()) }));
                Ok(())
            }
            Ok(Happening::Committed(publish, kept)) => self.acknowledge(&publish, kept),
            Err(_nothing) => Ok(()),
        }
    }

    fn happened(&mut self, event: Event, outside: &OutsideBroker) -> Result<(), Lost> {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the event loop deals with every other packet itself"
        )]
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                let filters =
                    outside.topics.iter().map(|topic| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce));
                self.client.try_subscribe_many(filters).map_err(|_| Lost::Queue)
            }
            Event::Incoming(Packet::SubAck(answer)) => {
                if self.up.is_some() {
                    let refused = answer.return_codes.contains(&SubscribeReasonCode::Failure);
                    if refused {
                        tracing::warn!(broker = outside.name, "an announced topic may not be heard there");
                    }
                    return Ok(());
                }
                let refused =
                    answer.return_codes.iter().position(|code| *code == SubscribeReasonCode::Failure);
                let refused = refused.and_then(|index| outside.topics.get(index));
                if let Some(topic) = refused {
                    return Err(Lost::Refused(topic.clone()));
                }
                self.up = Some(Connected::new());
                Ok(())
            }
            Event::Incoming(Packet::Publish(publish)) => {
                metrics::mqtt_message(publish.qos);
                self.waiting.push_back(publish);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Subscribes to the topics that devices announced since the last time.
    fn hear_announced(&mut self, broker: &Broker) -> Result<(), Lost> {
        let announced = broker.conventions.announced();
        if self.up.is_none() || announced == self.announced.0 {
            return Ok(());
        }
        let topics = broker.conventions.announced_topics();
        let fresh: Vec<_> = topics.difference(&self.announced.1).cloned().collect();
        for some in fresh.chunks(FILTERS_AT_ONCE) {
            let filters = some.iter().map(|topic| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce));
            self.client.try_subscribe_many(filters).map_err(|_| Lost::Queue)?;
        }
        self.announced = (announced, topics);
        Ok(())
    }

    /// Passes on what edge nodes are asked for. Which broker a node is behind nobody says, so every broker hears it.
    fn pass_on_requests(&mut self, broker: &Broker) {
        let (asked, requests) = broker.conventions.requests_after(self.asked);
        self.asked = asked;
        for (topic, payload) in requests {
            if self.up.is_some() && self.client.try_publish(topic, QoS::AtMostOnce, false, payload).is_err() {
                tracing::debug!("a request found no room; it is made again");
            }
        }
    }

    /// Passes on commands, each once: what finds no room or connection is known as sent, and nobody sends it again.
    fn pass_on_orders(&mut self, broker: &Broker) {
        if self.up.is_none() {
            return;
        }
        let orders = self.orders.get_or_insert_with(|| broker.ways_out.open());
        while let Ok((topic, payload)) = orders.try_recv() {
            if self.client.try_publish(topic, QoS::AtLeastOnce, false, payload).is_err() {
                tracing::warn!("a command for a device behind an outside broker found no room");
            }
        }
    }

    /// Brings the oldest waiting message to its device's door, one at a time.
    fn take_next(&mut self, broker: &Arc<Broker>) {
        if self.taking.is_some() {
            return;
        }
        let Some(publish) = self.waiting.pop_front() else { return };
        let broker = Arc::clone(broker);
        self.taking = Some(Box::pin(async move {
            let incoming = Incoming {
                topic: publish.topic.clone(),
                payload: publish.payload.clone(),
                qos: publish.qos,
                retain: publish.retain,
                said: None,
                relay: false,
                publisher: None,
                refused: None,
            };
            let committed = ingest::ingest(&broker, incoming, crate::now()).await;
            (publish, committed)
        }));
    }

    fn acknowledge(&self, publish: &Publish, committed: bool) -> Result<(), Lost> {
        match (committed, publish.qos) {
            (false, QoS::AtLeastOnce | QoS::ExactlyOnce) => Err(Lost::NotCommitted),
            (true, QoS::AtLeastOnce | QoS::ExactlyOnce) => {
                self.client.try_ack(publish).map_err(|_| Lost::Queue)
            }
            (_, QoS::AtMostOnce) => Ok(()),
        }
    }
}

/// Keeps one poll under way across turns, because a connection that is being made must not be begun anew at each turn.
fn poll(mut event_loop: EventLoop) -> Polling {
    Box::pin(async move {
        let event = event_loop.poll().await;
        (event_loop, event)
    })
}

/// What was being taken in, once it is; never, if nothing is.
async fn taken(taking: &mut Option<Taking>) -> (Publish, Committed) {
    match taking {
        Some(taking) => taking.await,
        None => std::future::pending().await,
    }
}
