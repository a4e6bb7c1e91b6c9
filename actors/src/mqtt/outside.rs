//! A client of a broker that Voltree does not run: Mosquitto, EMQX, another Voltree.
//!
//! Owns: the connection. Receives: its own turns. Lost on restart: the connection; the broker keeps the session and sends
//! again what was not acknowledged, and a message is acknowledged only after its commit; what it has not acknowledged waits
//! in the outbox. A broker that can't be reached is a state and no fault. Supervised by: mqtt/brokers.
//!
//! Client and event loop are built anew after every error: rumqttc 0.25 can keep a packet id that collides for ever
//! across its own reconnects. What comes in is passed on to this node's own subscribers only where the bridge says so.

mod sending;
mod wire;

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rumqttc::QoS;
use tokio::sync::mpsc;
use voltree_model::Secret;
use voltree_protocols::mqtt::{NODE_TOPIC, PublishProperties, reason_code};
use voltree_runtime::{Backoff, ChildSpec, Failure, RestartPolicy, clock};

use self::sending::Way;
use self::wire::{Broken, Client, Heard, Loop, NoRoom, Polling, Received, Sending, Wanted, Welcome, poll};
use super::bridge::{self, Bridge};
use super::broker::{Broker, Said};
use super::ingest::{self, Committed, Incoming};
use super::mapped::Request;
use super::outbox::Outbox;
use crate::metrics;

/// The longest a turn waits for something to happen, so that an order to stop is heard.
const TURN: Duration = Duration::from_millis(250);
/// How many messages may wait for their devices' doors; past that the broker has to wait.
const WINDOW: usize = 1_000;
/// How many topics one SUBSCRIBE asks for.
const FILTERS_AT_ONCE: usize = 200;
const BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(500), factor: 2.0, cap: Duration::from_secs(30) };

/// Which MQTT is spoken with a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// 3.1.1.
    V3,
    /// 5.0.
    V5,
}

/// A broker, and what to hear there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideBroker {
    /// Names its actor.
    pub name: String,
    /// A host name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Which MQTT it is spoken to.
    pub protocol: Protocol,
    /// Names this node there; the broker keeps its session under this name.
    pub client_id: String,
    /// User name and password.
    pub login: Option<(String, Secret)>,
    /// The topic filters to subscribe to, at QoS 1.
    pub topics: Vec<String>,
    /// By how many connections; those after the first have only the shared ones of the topics.
    pub connections: u16,
    /// What passes between its subscribers and this node's.
    pub bridge: Bridge,
}

impl OutsideBroker {
    /// This broker once for each connection.
    fn each(&self) -> impl Iterator<Item = Self> {
        (1..=self.connections.max(1)).map(|number| match number {
            1 => self.clone(),
            _ => Self {
                name: format!("{}-{number}", self.name),
                client_id: format!("{}-{number}", self.client_id),
                topics: self.topics.iter().filter(|topic| topic.starts_with("$share/")).cloned().collect(),
                bridge: Bridge::default(),
                ..self.clone()
            },
        })
    }

    /// What is subscribed to, under the names that it has there.
    fn wanted(&self) -> Vec<Wanted> {
        let fetched = self.bridge.fetch.iter().map(|filter| self.bridge.there(filter.as_str()));
        let mut wanted: Vec<_> = fetched.map(|path| Wanted { path, fetched: true }).collect();
        let heard = self.topics.iter().filter(|topic| wanted.iter().all(|wanted| wanted.path != **topic));
        let heard: Vec<_> = heard.map(|path| Wanted { path: path.clone(), fetched: false }).collect();
        wanted.extend(heard);
        wanted
    }
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
    /// What the broker is called in the configuration, whichever of its connections this is.
    house: String,
    /// Whether it is the first of them, which does all that only one may do.
    leads: bool,
    outbox: Option<Arc<Outbox>>,
    broker: Arc<Broker>,
    /// Whether the broker may be asked if it is a Voltree: once, because some hang up on topics that they don't grant.
    asks_who: bool,
}

/// How the brokers' supervisor gives birth to its clients, one for each connection.
pub fn children(outside: &OutsideBroker, broker: &Arc<Broker>) -> Vec<ChildSpec> {
    let house = &outside.name;
    let child = |outside: OutsideBroker| {
        let name = outside.name.clone();
        let leads = name == *house;
        let outbox = broker.outbox(house);
        let args = OutsideArgs {
            outside,
            house: house.clone(),
            leads,
            outbox,
            broker: Arc::clone(broker),
            asks_who: true,
        };
        ChildSpec::worker(name, "mqtt_outside", RestartPolicy::DEVICE, move |_| (OutsideClient, args.clone()))
    };
    outside.each().map(child).collect()
}

/// What it knows.
pub struct OutsideState {
    args: OutsideArgs,
    connection: Option<Connection>,
    failures: usize,
    /// Whether the broker was there since this incarnation began.
    was_there: bool,
    /// Whether 5.0 is spoken with it because it is a Voltree, though 3.1.1 was asked for.
    upgraded: bool,
}

type Taking = Pin<Box<dyn Future<Output = (Received, Committed)> + Send>>;
type Acknowledging = Pin<Box<dyn Future<Output = (Received, bool)> + Send>>;

impl std::fmt::Debug for OutsideState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OutsideState({})", self.args.outside.name)
    }
}

enum Happening {
    Polled(Loop, Result<Heard, Broken>),
    Taken(Received, Committed),
    Committed(Received, bool),
    ToSend,
}

struct Connection {
    client: Client,
    polling: Polling,
    way: Option<Way>,
    /// There once the broker has granted the subscription.
    up: Option<Connected>,
    waiting: VecDeque<Received>,
    taking: Option<Taking>,
    /// What was subscribed to because a device announced that it speaks there, and the state of announcements then.
    announced: (u64, BTreeSet<String>),
    /// The number of the last request that was passed on.
    asked: u64,
    /// Whether the broker is still to be asked whether it is a Voltree.
    asks_who: bool,
    /// Whether its answer to that is still to come.
    was_asked: bool,
    /// Commands for devices that were heard through this broker.
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
    Connection(#[source] Broken),
    #[error("the broker refuses to let us hear {0:?}")]
    Refused(String),
    #[error("a message could not be committed, so the broker must send it again")]
    NotCommitted,
    #[error("the client's queue is closed or full")]
    Queue,
    #[error("an acknowledgement is missing")]
    Stuck,
    #[error("the broker is a Voltree, which is spoken to in 5.0")]
    IsVoltree,
}

impl From<NoRoom> for Lost {
    fn from(_: NoRoom) -> Self {
        Self::Queue
    }
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
        Ok(OutsideState { args, connection: None, failures: 0, was_there: false, upgraded: false })
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
        let first = !self.was_there;
        let connection = self.connection.get_or_insert_with(|| Connection::new(&self.args));
        let was_up = connection.up.is_some();
        let outcome = connection.next(&self.args, first).await;
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
        self.was_there = true;
        self.args.asks_who = false;
        let OutsideBroker { name, host, port, .. } = &self.args.outside;
        tracing::info!(event = "mqtt.broker.connected", broker = name, host, port, "hears an outside broker");
    }

    /// One line when a broker goes; tries that fail after that are details.
    fn lost(&mut self, lost: &Lost, was_up: bool) -> Duration {
        let connection = self.connection.take();
        if let (Some(way), Lost::Connection(broken)) = (connection.and_then(|lost| lost.way), lost)
            && was_up
            && wire::hung_up(broken)
        {
            way.hung_up(&self.args.broker, &Failure::new(lost).to_string());
        }
        if matches!(lost, Lost::IsVoltree) {
            return self.upgrade();
        }
        if self.upgraded && !was_up {
            // It may be another broker by now; if not, it says so again.
            self.upgraded = false;
            (self.args.outside.protocol, self.args.asks_who) = (Protocol::V3, true);
        }
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

impl OutsideState {
    /// Goes on in 5.0, at once: over 3.1.1 two nodes that forward to each other can't tell what came round.
    fn upgrade(&mut self) -> Duration {
        self.upgraded = true;
        self.args.outside.protocol = Protocol::V5;
        let broker = &self.args.outside.name;
        tracing::info!(
            event = "mqtt.broker.is_voltree",
            broker,
            "the broker is a Voltree: 5.0 is spoken with it"
        );
        Duration::ZERO
    }
}

impl Connection {
    fn new(args: &OutsideArgs) -> Self {
        // Room for every acknowledgement that can be due at once, what may be under way, and the subscription.
        let (client, event_loop) = wire::client(&args.outside, 2 * WINDOW);
        let outbox = outbox_of(args);
        Self {
            client,
            polling: poll(event_loop),
            way: outbox.map(|outbox| Way::new(&args.outside, &args.broker, outbox)),
            up: None,
            waiting: VecDeque::new(),
            taking: None,
            announced: (0, BTreeSet::new()),
            asked: 0,
            was_asked: false,
            asks_who: args.asks_who && args.outside.protocol == Protocol::V3 && outbox_of(args).is_some(),
            orders: None,
            commits: FuturesOrdered::new(),
        }
    }

    async fn next(&mut self, args: &OutsideArgs, first: bool) -> Result<(), Lost> {
        self.take_next(args);
        if args.leads {
            self.pass_on_requests(&args.broker);
            self.pass_on_orders(args);
        }
        if self.up.is_some() {
            self.send(args)?;
        }
        let room = self.waiting.len() + self.commits.len() < WINDOW;
        let happening = async {
            tokio::select! {
                (event_loop, heard) = &mut self.polling, if room => Happening::Polled(event_loop, heard),
                (received, committed) = taken(&mut self.taking) => Happening::Taken(received, committed),
                Some((received, kept)) = self.commits.next(), if !self.commits.is_empty() => {
                    Happening::Committed(received, kept)
                }
                () = has_more(self.way.as_ref()), if self.up.is_some() => Happening::ToSend,
            }
        };
        match tokio::time::timeout(TURN, happening).await {
            Ok(Happening::Polled(event_loop, heard)) => {
                let heard = heard.map_err(Lost::Connection)?;
                self.polling = poll(event_loop);
                self.happened(heard, args, first)
            }
            Ok(Happening::Taken(received, committed)) => {
                self.taking = None;
                self.commits.push_back(Box::pin(async move { (received, committed.await.is_some()) }));
                Ok(())
            }
            Ok(Happening::Committed(received, kept)) => self.acknowledge(&received, kept),
            Ok(Happening::ToSend) | Err(_) => Ok(()),
        }
    }

    /// Says what is to be said to a broker that is there.
    fn send(&mut self, args: &OutsideArgs) -> Result<(), Lost> {
        if std::mem::take(&mut self.asks_who) {
            self.client.subscribe(&[Wanted { path: NODE_TOPIC.to_owned(), fetched: false }])?;
            self.was_asked = true;
        }
        if args.leads {
            self.hear_announced(&args.broker)?;
        }
        if let Some(way) = &mut self.way {
            way.send(&self.client, &args.broker)?;
        }
        Ok(())
    }

    fn happened(&mut self, heard: Heard, args: &OutsideArgs, first: bool) -> Result<(), Lost> {
        let outside = &args.outside;
        match heard {
            Heard::Connected(welcome) => self.connected(welcome, args, first),
            Heard::Granted(granted) => {
                if self.up.is_some() {
                    // A broker of others need not grant what only a Voltree has.
                    let was_asked = std::mem::take(&mut self.was_asked);
                    if granted.contains(&false) && !was_asked {
                        tracing::warn!(broker = outside.name, "an announced topic may not be heard there");
                    }
                    return Ok(());
                }
                let refused = granted.iter().position(|granted| !granted);
                let refused = refused.and_then(|index| outside.wanted().into_iter().nth(index));
                if let Some(Wanted { path, .. }) = refused {
                    return Err(Lost::Refused(path));
                }
                self.up = Some(Connected::new());
                Ok(())
            }
            Heard::Publish(received) if received.topic == NODE_TOPIC => match outside.protocol {
                Protocol::V3 => Err(Lost::IsVoltree),
                Protocol::V5 => Ok(()),
            },
            Heard::Publish(received) => {
                metrics::mqtt_messages(received.qos, 1);
                self.waiting.push_back(*received);
                Ok(())
            }
            Heard::Sent(pkid) => {
                self.way.iter_mut().for_each(|way| way.sent(pkid));
                Ok(())
            }
            Heard::Acknowledged(pkid, refused) => {
                self.way.iter_mut().for_each(|way| way.acknowledged(pkid, refused.as_deref()));
                Ok(())
            }
            Heard::Stuck => Err(Lost::Stuck),
            Heard::Nothing => Ok(()),
        }
    }

    /// Subscribes; where there is nothing to hear the connection is up as it is.
    fn connected(&mut self, welcome: Welcome, args: &OutsideArgs, first: bool) -> Result<(), Lost> {
        if let Some(way) = &mut self.way {
            way.open(welcome, first, &args.broker);
        }
        let wanted = args.outside.wanted();
        if wanted.is_empty() {
            self.up = Some(Connected::new());
            return Ok(());
        }
        Ok(self.client.subscribe(&wanted)?)
    }

    /// Subscribes to the topics that devices announced since the last time.
    fn hear_announced(&mut self, broker: &Broker) -> Result<(), Lost> {
        let announced = broker.conventions.announced();
        if announced == self.announced.0 {
            return Ok(());
        }
        let topics = broker.conventions.announced_topics();
        let fresh = topics.difference(&self.announced.1);
        let fresh: Vec<_> = fresh.map(|path| Wanted { path: path.clone(), fetched: false }).collect();
        for some in fresh.chunks(FILTERS_AT_ONCE) {
            self.client.subscribe(some)?;
        }
        self.announced = (announced, topics);
        Ok(())
    }

    /// Passes on what edge nodes are asked for. Which broker a node is behind nobody says, so every broker hears it.
    fn pass_on_requests(&mut self, broker: &Broker) {
        let (asked, requests) = broker.conventions.requests_after(self.asked);
        self.asked = asked;
        for (topic, payload) in requests.into_iter().filter(|_| self.up.is_some()) {
            let payload = payload.into();
            let properties = PublishProperties::default();
            let sending = Sending { topic, payload, qos: QoS::AtMostOnce, retain: false, properties };
            if self.client.publish(sending).is_err() {
                tracing::debug!("a request found no room; it is made again");
            }
        }
    }

    /// Passes on commands, each once: what finds no room or connection is known as sent, and nobody sends it again.
    fn pass_on_orders(&mut self, args: &OutsideArgs) {
        if self.up.is_none() {
            return;
        }
        let orders = self.orders.get_or_insert_with(|| args.broker.ways_out.open(&args.house));
        while self.way.as_ref().is_none_or(Way::has_room)
            && let Ok((topic, payload)) = orders.try_recv()
        {
            let (payload, properties) = (payload.into(), PublishProperties::default());
            let sending = Sending { topic, payload, qos: QoS::AtLeastOnce, retain: false, properties };
            let published = match &mut self.way {
                Some(way) => way.send_beside(&self.client, sending),
                None => self.client.publish(sending),
            };
            if published.is_err() {
                tracing::warn!("a command for a device behind an outside broker found no room");
            }
        }
    }

    /// Brings the oldest waiting message to its device's door, one at a time.
    fn take_next(&mut self, args: &OutsideArgs) {
        if self.taking.is_some() {
            return;
        }
        let Some(received) = self.waiting.pop_front() else { return };
        let (broker, now) = (Arc::clone(&args.broker), crate::now());
        if is_own(&received, args) {
            metrics::mqtt_returned();
            self.taking = Some(Box::pin(async move { (received, nothing_to_commit()) }));
            return;
        }
        let fetched = args.outbox.as_ref().and_then(|outbox| outbox.bridge().here(&received.topic));
        let said = received.said.clone();
        // Where else it may go, it came by this node. What is only heard goes nowhere else.
        let said = match fetched {
            Some(_) => Some(bridge::passed_on(said.unwrap_or_default(), args.broker.node())),
            None => said,
        };
        let incoming = Incoming {
            topic: fetched.unwrap_or(&received.topic).to_owned(),
            payload: received.payload.clone(),
            qos: received.qos,
            retain: received.retain,
            said: said.map(|said| Arc::new(Said::of(said, now))),
            relay: fetched.is_some(),
            publisher: Some(bridge::publisher(&args.house).into()),
            refused: None,
        };
        self.taking = Some(Box::pin(async move {
            let committed = ingest::ingest(&broker, incoming, now).await;
            (received, committed)
        }));
    }

    fn acknowledge(&self, received: &Received, committed: bool) -> Result<(), Lost> {
        match (committed, received.qos) {
            (false, QoS::AtLeastOnce | QoS::ExactlyOnce) => Err(Lost::NotCommitted),
            (true, QoS::AtLeastOnce | QoS::ExactlyOnce) => Ok(self.client.acknowledge(received)?),
            (_, QoS::AtMostOnce) => Ok(()),
        }
    }
}

/// What waits for the broker, where this connection is the one to send it.
fn outbox_of(args: &OutsideArgs) -> Option<Arc<Outbox>> {
    args.outbox.clone().filter(|_| args.leads)
}

/// Whether a message went out from here and came round.
fn is_own(received: &Received, args: &OutsideArgs) -> bool {
    match (args.outside.protocol, &args.outbox) {
        (Protocol::V5, _) => {
            received.said.as_ref().is_some_and(|said| bridge::came_by(said, args.broker.node()))
        }
        (Protocol::V3, Some(outbox)) => {
            outbox.came_back(&received.topic, &received.payload, clock::monotonic().into_std())
        }
        (Protocol::V3, None) => false,
    }
}

fn nothing_to_commit() -> Committed {
    Box::pin(std::future::ready(Some(reason_code::SUCCESS)))
}

/// What was being taken in, once it is; never, if nothing is.
async fn taken(taking: &mut Option<Taking>) -> (Received, Committed) {
    match taking {
        Some(taking) => taking.await,
        None => std::future::pending().await,
    }
}

/// Resolves when there may be more to send.
async fn has_more(way: Option<&Way>) {
    match way {
        Some(way) => way.has_more().await,
        None => std::future::pending().await,
    }
}
