//! What all MQTT sessions of a node share: who is connected, who wants to hear what, what is retained, whose will is due.
//!
//! It outlives every client's actor. Sessions that a client wants to come back to keep their subscriptions and what
//! came meanwhile; those and the retained messages are records in the journal.

mod attendance;
mod kept;
mod members;
mod old_files;
mod queue;
mod recorded;
mod routing;
mod said;
mod sessions;
mod to_client;
mod wills;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use rumqttc::{LastWill, QoS};
use tokio::sync::{Notify, Semaphore, watch};
use voltree_model::{DeviceId, Timestamp};
use voltree_protocols::mqtt::{Credentials, Filter, Granted, OpenDelivery, Rate, Templates, WillTerms};
use voltree_runtime::Handle;
use voltree_storage::JournalSlot;

use self::kept::KeptSession;
use self::members::Members;
use self::queue::Recorded;
use self::recorded::{Recording, What};
pub(super) use self::routing::{Routed, Routing};
pub(super) use self::said::{KeptSaid, Said, only_marks};
pub(super) use self::to_client::Deliveries;
use self::to_client::ToClient;
pub(super) use self::wills::Will;
use self::wills::Wills;
use super::keeper::KeeperMsg;
use super::mapped::{Conventions, Described};
use super::messenger::MessengerMsg;
use super::outbox::{Kept, Outbox, SetAsideMessage};
use super::outside::OutsideBroker;
use super::retained::Retained;
use super::ways_out::WaysOut;
use crate::access::{Access, Denied, Identity};
use crate::commands::CommandBook;
use crate::metrics;
use crate::registry::Registry;

/// How many messages may wait for one subscriber; what does not fit is counted as undelivered.
const OUTBOX: usize = 1_000;
/// How many clients that are away may have a session.
const MOST_AWAY: usize = 10_000;
/// How many passwords are hashed side by side.
const HASHING_AT_ONCE: usize = 2;
/// How long a client that comes a second time waits for its first connection to be gone.
const TAKE_OVER_PATIENCE: Duration = Duration::from_secs(5);

/// A message on its way to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// The marks of the subscriptions that it comes by.
    pub(super) ids: Vec<u32>,
    /// What its publisher said in properties of 5.0.
    pub(super) said: Option<Arc<Said>>,
    /// The number of its record, if it has one.
    pub(super) record: Option<u64>,
}

/// A client's session, connected or away.
#[derive(Debug, Default)]
struct Member {
    /// The number of the connection that has it; 0 while its client is away.
    connection: u64,
    outbox: Option<ToClient>,
    /// Whether it outlives the connection.
    lasting: bool,
    /// For how long; `None` for as long as there is room.
    expiry: Option<Duration>,
    /// When it ends, while its client is away.
    until: Option<Timestamp>,
    filters: Vec<(Filter, Granted)>,
    left: Left,
    recorded: Recorded,
    /// What the journal has of it, or was offered.
    written: Option<Box<KeptSession>>,
    gone: Arc<Notify>,
}

/// What a connection leaves to the next one of its session.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) open: Vec<OpenDelivery>,
    pub(super) unreleased: BTreeSet<u16>,
    pub(super) waiting: VecDeque<Delivery>,
}

/// How a client wants its session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// Whether it begins from nothing.
    pub(super) clean_start: bool,
    /// How long it outlives the connection; `None` for as long as there is room.
    pub(super) expiry: Option<Duration>,
}

/// What a client finds when it comes in.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) deliveries: Deliveries,
    pub(super) session_present: bool,
    pub(super) left: Left,
    /// After how many messages that it finishes the journal has none of these any more.
    pub(super) recorded: usize,
    /// The filters that the session has.
    pub(super) subscribed: BTreeSet<Filter>,
}

/// The node's half of the broker.
#[derive(Debug)]
pub struct Broker {
    pub(super) registry: Arc<Registry>,
    pub(super) journal: Arc<JournalSlot>,
    pub(super) access: Arc<Access>,
    pub(super) conventions: Arc<Conventions>,
    /// What devices' telemetry mostly looks like.
    pub(super) templates: Templates,
    pub(super) commands: Arc<CommandBook>,
    pub(super) ways_out: WaysOut,
    pub(super) messenger: Handle<MessengerMsg>,
    /// How many passwords may be hashed at once: each takes 19 MiB and a thread.
    hashing: Semaphore,
    members: RwLock<Members>,
    retained: RwLock<Retained>,
    recording: Recording,
    wills: Wills,
    /// What this node is called on messages that it passes on.
    node: String,
    /// What waits for outside brokers.
    outboxes: Vec<Arc<Outbox>>,
    /// Whether there are outside brokers.
    has_ways_out: bool,
    /// How fast each client may publish.
    pub(super) rate: Option<Rate>,
    keeper: Handle<KeeperMsg>,
    connections: AtomicU64,
    /// Counts up with each message to a group, so that its members take turns.
    turns: AtomicUsize,
    stopping: watch::Sender<bool>,
}

impl Broker {
    /// Takes over what the journal has, and before that what an earlier version kept in `old`; blocks, and wants the
    /// journal without a writer. `keeper` is the address of the actor that looks after it, and the messenger's that of the
    /// one that publishes these commands.
    pub fn open(
        old: &Path,
        registry: Arc<Registry>,
        journal: Arc<JournalSlot>,
        access: Arc<Access>,
        conventions: Arc<Conventions>,
        keeper: Handle<KeeperMsg>,
        (commands, messenger): (Arc<CommandBook>, Handle<MessengerMsg>),
    ) -> Result<Self, voltree_storage::Error> {
        old_files::into_records(&journal, old, crate::now())?;
        let retained = Retained::of(journal.records().all()?);
        let (members, strays) = kept::sessions(&journal.records(), crate::now())?;
        let wills = Wills::open(&journal.records())?;
        let ways_out = WaysOut::of(Arc::clone(&journal))?;
        let recording = Recording::default();
        strays.into_iter().for_each(|client_id| recording.differs(What::Session(client_id)));
        metrics::mqtt_retained(retained.count());
        if let Some(filter) = conventions.announcement_filter() {
            for message in retained.matching(&filter, QoS::AtLeastOnce.into(), crate::now()) {
                conventions.read(&message.topic, &message.payload, crate::now());
            }
        }
        // Whose presence is retained can be commanded before it speaks again.
        retained.topics().for_each(|topic| conventions.recognise(topic));
        Ok(Self {
            registry,
            journal,
            access,
            conventions,
            templates: Templates::default(),
            commands,
            ways_out,
            messenger,
            hashing: Semaphore::new(HASHING_AT_ONCE),
            members: RwLock::new(Members::new(members)),
            turns: AtomicUsize::new(0),
            retained: RwLock::new(retained),
            recording,
            wills,
            node: String::new(),
            outboxes: Vec::new(),
            has_ways_out: false,
            rate: Some(Rate::default()),
            keeper,
            connections: AtomicU64::new(0),
            stopping: watch::Sender::new(false),
        })
    }

    /// Lets each client publish at this rate; `None` at any.
    #[must_use]
    pub fn with_rate(self, rate: Option<Rate>) -> Self {
        Self { rate, ..self }
    }

    /// Gives clients so much time to come back after the node was away, before their wills are published.
    #[must_use]
    pub fn with_will_patience(mut self, patience: Duration) -> Self {
        self.wills.be_patient(patience);
        self
    }

    /// Passes messages on to these outside brokers under this node's name, also what waited for them when it ended.
    pub fn with_bridges(
        mut self,
        node: &str,
        brokers: &[OutsideBroker],
    ) -> Result<Self, voltree_storage::Error> {
        node.clone_into(&mut self.node);
        self.has_ways_out = !brokers.is_empty();
        let named: Vec<_> = brokers.iter().map(|outside| outside.name.as_str()).collect();
        self.ways_out.keep_to(&named);
        for OutsideBroker { name, bridge, .. } in brokers.iter().filter(|other| !other.bridge.is_closed()) {
            let outbox = Outbox::open(name, bridge.clone(), Arc::clone(&self.journal))?;
            self.outboxes.push(Arc::new(outbox));
        }
        Ok(self)
    }

    /// What this node is called on messages that it passes on.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// Whether there are outside brokers that devices can be behind.
    pub(super) fn has_ways_out(&self) -> bool {
        self.has_ways_out
    }

    /// What waits for an outside broker, if anything passes between that and this one.
    pub(super) fn outbox(&self, broker: &str) -> Option<Arc<Outbox>> {
        self.outboxes.iter().find(|outbox| outbox.broker() == broker).cloned()
    }

    /// Messages on which outside brokers hung up again and again, the newest first.
    pub(crate) fn set_aside(&self) -> Result<Vec<SetAsideMessage>, voltree_storage::Error> {
        let each = self.outboxes.iter().map(|outbox| outbox.aside());
        let mut all = each.collect::<Result<Vec<_>, _>>()?.concat();
        all.sort_by_key(|message| std::cmp::Reverse(message.at));
        Ok(all)
    }

    /// Has one of them sent once more; resolves when that is on disk.
    pub(crate) fn forward_again(
        &self,
        message: &SetAsideMessage,
        now: Timestamp,
    ) -> Result<Option<Kept>, voltree_storage::Error> {
        self.outbox(&message.broker).map_or(Ok(None), |outbox| outbox.again(&message.id, now))
    }

    /// The topics of retained messages that an outside broker is to have.
    pub(super) fn retained_for(&self, outbox: &Outbox) -> VecDeque<String> {
        let retained = self.retained.read();
        // Where both have a say, the other one's counts: ours may be old.
        let forwarded = |topic: &&str| outbox.bridge().forwards(topic) && !outbox.bridge().fetches(topic);
        retained.topics().filter(forwarded).map(str::to_owned).collect()
    }

    /// The retained message of a topic.
    pub(super) fn retained_message(&self, topic: &str) -> Option<Delivery> {
        self.retained.read().get(topic, crate::now())
    }

    /// The devices that it takes readings in for.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What is known of a device besides what it told.
    pub(crate) fn described(&self, device: &DeviceId) -> Described {
        self.conventions.describe(device)
    }

    /// The journal in which rejections are counted.
    pub(crate) fn journal(&self) -> &JournalSlot {
        &self.journal
    }

    /// Tells every connection whether the node stops: an actor that waits for its socket hears nothing else.
    pub(super) fn set_stopping(&self, stopping: bool) {
        self.stopping.send_replace(stopping);
    }

    /// Resolves when connections are to end because the node stops.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// A number that no other connection of this node has.
    pub(super) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Judges who knocks; passwords off the async threads and a few at a time.
    pub(crate) async fn judge(
        &self,
        credentials: Option<Credentials>,
        certificate: Option<String>,
        peer: Option<SocketAddr>,
    ) -> Result<Identity, Denied> {
        let on_this_machine = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        if let Some(name) = certificate {
            return self.access.by_certificate(&name);
        }
        if credentials.is_none() || self.access.is_local_only() {
            let credentials = credentials.as_ref().map(|c| (c.username.as_str(), c.password.as_str()));
            return self.access.judge(credentials, on_this_machine);
        }
        let access = Arc::clone(&self.access);
        // The semaphore is never closed; a judge that panicked lets nobody in.
        let _turn = self.hashing.acquire().await;
        let judged = tokio::task::spawn_blocking(move || {
            let credentials = credentials.as_ref().map(|c| (c.username.as_str(), c.password.as_str()));
            access.judge(credentials, on_this_machine)
        });
        judged.await.unwrap_or(Err(Denied::BadCredentials))
    }

    /// Keeps a message for later subscribers; the answer resolves when that is committed.
    pub(super) fn retain(
        &self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        said: Option<&Said>,
    ) -> impl Future<Output = bool> + use<> {
        let offered = {
            let mut retained = self.retained.write();
            let kept = retained.keep_said(topic, payload, qos, said);
            metrics::mqtt_retained(retained.count());
            kept.is_ok().then(|| self.recording.offer_topic(&self.journal, &retained, topic))
        };
        if offered.is_none() {
            metrics::mqtt_not_retained();
            tracing::debug!(topic, "there is no room for another retained message");
        }
        async move {
            match offered {
                Some(committed) => committed.await,
                None => true,
            }
        }
    }

    /// Keeps the last will of a client that came in, under no name if it has none of its own.
    pub(super) fn entrust(&self, client_id: &str, connection: u64, message: LastWill, terms: WillTerms) {
        let changed = self.wills.entrust((client_id, connection), message, terms);
        changed.into_iter().for_each(|changed| self.offer_will(changed));
    }

    /// The client of a connection went without a word, or the node does: the keeper publishes its will when it is due.
    pub(super) fn bequeath(&self, connection: u64) {
        let is_ours = *self.stopping.borrow();
        let changed = self.wills.client_went(connection, is_ours, crate::now());
        changed.into_iter().for_each(|changed| self.offer_will(changed));
        self.keeper.nudge(KeeperMsg::Wake);
    }

    /// The client of a connection said goodbye: its will means nothing.
    pub(super) fn will_is_void(&self, connection: u64) {
        self.wills.is_void(connection).into_iter().for_each(|changed| self.offer_will(changed));
    }

    /// Waits from now on for the clients that were in when the node ended.
    pub(super) fn begin_wills(&self, now: Timestamp) {
        let wills = self.wills.begin(now);
        if wills > 0 {
            tracing::info!(event = "mqtt.wills.wait", wills, "clients of before may come back");
        }
    }

    fn offer_will(&self, (number, entry): wills::Changed) {
        if let Some(entry) = entry {
            drop(self.recording.offer(&self.journal, vec![What::Will(number)], vec![entry]));
        }
    }

    pub(super) fn due_will(&self, now: Timestamp) -> Option<Will> {
        self.wills.due(now)
    }

    pub(super) fn will_published(&self, will: &Will) {
        self.offer_will(self.wills.published(will));
    }

    /// How long until the next will is due.
    pub(super) fn next_will(&self, now: Timestamp) -> Option<Duration> {
        self.wills.next(now)
    }

    /// Forgets retained messages that have expired.
    pub(super) fn forget_expired_retained(&self, now: Timestamp) {
        let mut retained = self.retained.write();
        for topic in retained.expired(now) {
            // Taking a message away always fits.
            retained.keep(&topic, b"", QoS::AtMostOnce).ok();
            drop(self.recording.offer_topic(&self.journal, &retained, &topic));
        }
        metrics::mqtt_retained(retained.count());
    }
}
