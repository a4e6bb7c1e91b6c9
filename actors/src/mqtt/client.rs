//! One connected MQTT client.
//!
//! Owns: the socket and the session. Receives: its own turns. Lost on restart: the connection; a client that was not
//! told PUBACK sends again, and what was accepted from it is committed by the device's actor in any case. Supervised
//! by: mqtt/clients, as a temporary child: it ends with its connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rumqttc::Packet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_util::either::Either;
use voltree_model::{RejectReason, Timestamp};
use voltree_protocols::mqtt::{
    Admission, CloseReason, ConnectRequest, Effect, Limits, NotDelivered, Refusal, Session,
};
use voltree_protocols::mqtt::{EncodeError, Offer, PacketCodec, PublishProperties, TOPIC_ALIAS_MAXIMUM};
use voltree_runtime::{ChildSpec, RestartPolicy, clock};

use super::broker::{Broker, Delivery, Joined, Left, Said, Terms, Will, only_marks};
use super::entrance::{Arrival, Wire};
use super::ingest::{self, Committed, Incoming};
use super::tls::Tls;
use crate::access::{Denied, Identity};
use crate::fault_points::{MQTT_SESSION, NODE_CLOCK};
use crate::metrics;

/// The longest a turn waits for something to happen, so that a quiet connection is told from a frozen actor.
const TURN: Duration = Duration::from_secs(30);
/// How long a turn may wait for a device's door: while the disk is full, long.
const STALL: Duration = Duration::from_secs(3_600);
/// How long a client may take to agree on keys.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take to read what it is sent.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// How many publishes a client of 5.0 is told that it may have unanswered; reading stops there for everyone.
const RECEIVE_MAXIMUM: u16 = 1024;
/// How much is read at once from a client that says little: ten thousand idle ones must not take much memory.
const LEAST_READ: usize = 1024;
/// And at most, from one that says much.
const MOST_READ: usize = 16 * 1024;
/// How many things a busy client's actor deals with before it looks for messages to itself.
const TURNS_AT_ONCE: u32 = 32;
/// While the journal is busy a client is not read again before its last publishes are committed, but in any case after
/// this long: the next read finds more, and everything that is done once for a read is done for more messages.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How much is written at once before the client is heard again.
const WRITE_BUFFER: usize = 256 * 1024;

/// Resolves to a publish's ticket and the reason code of its commit, if that was kept.
type Ticketed = Pin<Box<dyn Future<Output = (u64, Option<u8>)> + Send + Sync>>;

/// What a client actor is told.
#[derive(Debug)]
pub(super) enum ClientMsg {
    /// Go on with whatever happens next on the connection.
    Turn,
}

/// The actor.
pub(super) struct Client;

/// A connection that waits for its actor; empty once an incarnation took it.
#[derive(Debug, Clone)]
pub(super) struct ClientArgs {
    broker: Arc<Broker>,
    arrival: Arc<Mutex<Option<Arrival>>>,
    session: u64,
}

/// How the clients' supervisor gives birth to it.
pub(super) fn child(broker: &Arc<Broker>, arrival: Arrival) -> ChildSpec {
    let session = broker.next_connection();
    let arrival = Arc::new(Mutex::new(Some(arrival)));
    let args = ClientArgs { broker: Arc::clone(broker), arrival, session };
    let name = format!("client-{session}");
    ChildSpec::worker(name, "mqtt_client", RestartPolicy::SESSION, move |_| (Client, args.clone()))
        .with_stall_limit(STALL)
}

pub(super) struct ClientState {
    broker: Arc<Broker>,
    number: u64,
    /// A connection that has not shaken hands yet.
    arriving: Option<(TcpStream, Tls)>,
    connection: Option<Connection>,
}

struct Connection {
    stream: Wire,
    peer: Option<SocketAddr>,
    /// The name in the client's certificate, where it had to show one.
    certificate: Option<String>,
    incoming: BytesMut,
    /// How much is read next.
    read_size: usize,
    outgoing: BytesMut,
    codec: PacketCodec,
    session: Session,
    commits: FuturesUnordered<Ticketed>,
    member: Option<Membership>,
    identity: Identity,
    /// Messages for the client that the window has no room for yet.
    waiting: VecDeque<Delivery>,
    /// Some of it only waits for the outgoing buffer to be written.
    more_to_write: bool,
    /// Until when its bytes stay in the socket, as long as it has publishes that are not committed.
    paused_until: Option<Instant>,
    stopping: watch::Receiver<bool>,
    closing: Option<CloseReason>,
}

/// A client that was let in.
struct Membership {
    broker: Arc<Broker>,
    client_id: String,
    session: u64,
    deliveries: mpsc::Receiver<Delivery>,
    /// After how many finished messages the journal has none of them any more.
    recorded: usize,
    _counted: Counted,
}

struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::mqtt_connections(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::mqtt_connections(-1.0);
    }
}

/// However the actor ended, its client's session and will go to whom they belong.
impl Drop for Connection {
    fn drop(&mut self) {
        let Some(member) = self.member.take() else { return };
        if let Some(will) = self.session.will() {
            let terms = self.session.will_terms().clone();
            member.broker.bequeath(Will::new(&member.client_id, will.clone(), terms, crate::now()));
        }
        let left = Left {
            open: self.session.open_deliveries().cloned().collect(),
            unreleased: self.session.unreleased().clone(),
            waiting: std::mem::take(&mut self.waiting),
        };
        let expiry = self.session.session_expiry();
        member.broker.leave(&member.client_id, member.session, expiry, left, member.deliveries);
    }
}

impl Actor for Client {
    type Msg = ClientMsg;
    type State = ClientState;
    type Arguments = ClientArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<ClientMsg>,
        args: ClientArgs,
    ) -> Result<ClientState, ActorProcessingErr> {
        let arrival = args.arrival.lock().take();
        myself.send_message(ClientMsg::Turn)?;
        let mut state =
            ClientState { broker: args.broker, number: args.session, arriving: None, connection: None };
        match arrival {
            Some(Arrival::Tls(stream, tls)) => state.arriving = Some((stream, tls)),
            Some(Arrival::Open { wire, peer }) => state.begin(peer, wire, None),
            None => {}
        }
        Ok(state)
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<ClientMsg>,
        state: &mut ClientState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(connection) = &mut state.connection {
            drop(connection.session.close(CloseReason::ShuttingDown));
        }
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<ClientMsg>,
        message: ClientMsg,
        state: &mut ClientState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ClientMsg::Turn => {
                match state.turns().await {
                    After::Ended => myself.stop(None),
                    After::Quiet | After::Busy => myself.send_message(ClientMsg::Turn)?,
                }
                Ok(())
            }
        }
    }
}

/// How it goes on after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// The connection has ended.
    Ended,
    /// Nothing happened.
    Quiet,
    /// Something did, and perhaps more has meanwhile.
    Busy,
}

enum Happening {
    Read(std::io::Result<usize>),
    Committed(u64, Option<u8>),
    Delivery(Option<Delivery>),
    Stopping,
    Nothing,
}

impl ClientState {
    fn begin(&mut self, peer: Option<SocketAddr>, stream: Wire, certificate: Option<String>) {
        let mut connection = Connection::new(stream, self.number, &self.broker);
        (connection.peer, connection.certificate) = (peer, certificate);
        self.connection = Some(connection);
    }

    /// Shakes hands with whoever waits for it; a failed one leaves no connection.
    async fn shake_hands(&mut self) {
        let Some((stream, tls)) = self.arriving.take() else { return };
        let peer = stream.peer_addr().ok();
        let mut stopping = self.broker.stopping();
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE_PATIENCE, tls.accept(stream)) => shaken,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        match shaken {
            Ok(Ok((stream, certificate))) => self.begin(peer, Either::Right(Box::new(stream)), certificate),
            Ok(Err(error)) => {
                metrics::mqtt_refused();
                tracing::warn!(client = self.number, ?peer, %error, "a TLS handshake failed");
            }
            Err(_) => tracing::debug!(client = self.number, ?peer, "a TLS handshake took too long"),
        }
    }

    /// Takes turns while something happens, though not for ever.
    async fn turns(&mut self) -> After {
        let mut after = After::Busy;
        for _ in 0..TURNS_AT_ONCE {
            after = self.turn().await;
            if after != After::Busy {
                break;
            }
        }
        after
    }

    /// Waits for one thing to happen and deals with it.
    async fn turn(&mut self) -> After {
        self.shake_hands().await;
        let Some(connection) = &mut self.connection else { return After::Ended };
        let client = connection.member.as_ref().map_or("", |member| &member.client_id);
        if self.broker.registry.faults().pass(MQTT_SESSION, client).await.is_err() {
            // The wire was cut: nobody is told, and nothing more is sent.
            self.connection = None;
            return After::Ended;
        }
        let happening = connection.next().await;
        let after = if matches!(happening, Happening::Nothing) { After::Quiet } else { After::Busy };
        let effects = match happening {
            Happening::Read(Ok(0)) => connection.session.close(CloseReason::ConnectionLost),
            Happening::Read(Ok(bytes)) => {
                connection.adapt(bytes);
                Vec::new()
            }
            Happening::Read(Err(error)) => {
                tracing::debug!(client = self.number, %error, "the connection failed");
                connection.session.close(CloseReason::ConnectionLost)
            }
            Happening::Committed(ticket, kept) => connection.committed(ticket, kept),
            Happening::Delivery(Some(delivery)) => {
                connection.waiting.push_back(delivery);
                Vec::new()
            }
            Happening::Delivery(None) => connection.session.close(CloseReason::TakenOver),
            Happening::Stopping => connection.session.close(CloseReason::ShuttingDown),
            Happening::Nothing => connection.session.on_timeout(now()),
        };
        connection.carry_out(effects, &self.broker, self.number).await;
        connection.take_commits(&self.broker, self.number).await;
        connection.decode(&self.broker, self.number).await;
        connection.pause(&self.broker);
        connection.let_go_of_buffers();
        connection.deliver_waiting();
        if self.flush().await { after } else { After::Ended }
    }

    async fn flush(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let written = connection.write().await;
        if let Some(reason) = connection.closing.take() {
            tell_end(self.number, connection, &reason);
            self.connection = None;
            return false;
        }
        if !written {
            self.connection = None;
        }
        written
    }
}

impl Connection {
    fn new(stream: Wire, number: u64, broker: &Broker) -> Self {
        let (limits, stopping) = (Limits { rate: broker.rate, ..Limits::default() }, broker.stopping());
        Self {
            stream,
            peer: None,
            certificate: None,
            incoming: BytesMut::new(),
            read_size: LEAST_READ,
            outgoing: BytesMut::new(),
            codec: PacketCodec::default(),
            session: Session::new(limits, format!("voltree-{number}"), now()),
            commits: FuturesUnordered::new(),
            member: None,
            identity: Identity::Anonymous,
            waiting: VecDeque::new(),
            more_to_write: false,
            paused_until: None,
            stopping,
            closing: None,
        }
    }

    async fn next(&mut self) -> Happening {
        if std::mem::take(&mut self.more_to_write) {
            return Happening::Nothing;
        }
        let now = now();
        self.paused_until = self.paused_until.filter(|until| *until > now && !self.commits.is_empty());
        let reads = self.session.wants_read() && self.paused_until.is_none();
        if reads {
            self.incoming.reserve(self.read_size);
        }
        let wake = self.session.poll_timeout().into_iter().chain(self.paused_until).min();
        let timeout = wake.map_or(TURN, |at| at.saturating_duration_since(now).min(TURN));
        let happening = async {
            tokio::select! {
                Some((ticket, kept)) = self.commits.next(), if !self.commits.is_empty() => Happening::Committed(ticket, kept),
                read = self.stream.read_buf(&mut self.incoming), if reads => Happening::Read(read),
                delivery = next_delivery(&mut self.member), if self.waiting.is_empty() => Happening::Delivery(delivery),
                _ = self.stopping.wait_for(|stopping| *stopping) => Happening::Stopping,
            }
        };
        tokio::time::timeout(timeout, happening).await.unwrap_or(Happening::Nothing)
    }

    /// An idle connection keeps no large buffer.
    fn let_go_of_buffers(&mut self) {
        if self.incoming.is_empty()
            && self.incoming.capacity() > 4 * LEAST_READ
            && self.read_size == LEAST_READ
        {
            self.incoming = BytesMut::new();
        }
    }

    /// Reads more at once from a client that has more to say, and less from one that has not.
    fn adapt(&mut self, read: usize) {
        if read >= self.read_size {
            self.read_size = (self.read_size * 2).min(MOST_READ);
        } else if read < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(LEAST_READ);
        }
    }

    /// Leaves the next bytes in the socket until what was taken in is committed, if that makes fewer and larger reads.
    fn pause(&mut self, broker: &Broker) {
        if self.paused_until.is_none() && !self.commits.is_empty() && broker.journal.is_busy() {
            self.paused_until = Some(now() + LONGEST_PAUSE);
        }
    }

    /// Takes what else was committed by now, which mostly was so together, so that one write answers all of it.
    async fn take_commits(&mut self, broker: &Arc<Broker>, number: u64) {
        while let Some(Some((ticket, kept))) = self.commits.next().now_or_never() {
            let effects = self.committed(ticket, kept);
            self.carry_out(effects, broker, number).await;
        }
    }

    fn committed(&mut self, ticket: u64, kept: Option<u8>) -> Vec<Effect> {
        if let Some(reason) = kept {
            return self.session.on_committed(ticket, reason, now());
        }
        // The promise can't be kept, so the client must send again: only closing tells it so.
        self.session.close(CloseReason::ConnectionLost)
    }

    /// Decodes what has been read, as far as the session wants it now.
    async fn decode(&mut self, broker: &Arc<Broker>, number: u64) {
        while self.closing.is_none() && self.session.wants_read() {
            let effects = match self.codec.receive(&mut self.incoming) {
                Ok(Some(packet)) => self.session.on_packet(packet, now()),
                Ok(None) => return,
                Err(error) => self.session.on_bad_packet(error),
            };
            if self.session.is_slowed() {
                metrics::mqtt_slowed();
            }
            self.carry_out(effects, broker, number).await;
        }
    }

    async fn carry_out(&mut self, effects: Vec<Effect>, broker: &Arc<Broker>, number: u64) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Admit(request) => effects.extend(self.admit(request, broker, number).await),
                Effect::Send(packet) => self.send(packet),
                Effect::Answer { packet, reasons } => {
                    report(self.codec.encode_reasons(packet, &reasons, &mut self.outgoing));
                }
                Effect::Repeat { publish, properties } => {
                    self.send_said(Packet::Publish(publish), Some(*properties));
                }
                Effect::TooLarge { pkid } => {
                    metrics::mqtt_undelivered();
                    self.finished();
                    tracing::debug!(
                        client = number,
                        pkid,
                        "an open delivery is larger than the client takes now"
                    );
                }
                Effect::Ingest { ticket, topic, payload, qos, retain, properties, over_rate, .. } => {
                    metrics::mqtt_message(qos);
                    let refused = self.refused(&topic, over_rate);
                    let publisher = self.member.as_ref().map(|member| member.client_id.clone());
                    let now = Timestamp::from_millis(broker.registry.faults().now_ms(NODE_CLOCK));
                    let said = properties.map(|properties| Arc::new(Said::of(*properties, now)));
                    let incoming =
                        Incoming { topic, payload, qos, retain, relay: true, said, publisher, refused };
                    let committed = ingest::ingest(broker, incoming, now).await;
                    if qos != rumqttc::QoS::AtMostOnce {
                        self.commits.push(ticketed(ticket, committed));
                    }
                }
                Effect::Subscribed { filters } => {
                    if let Some(member) = &self.member {
                        let retained = broker.subscribe(&member.client_id, member.session, filters);
                        self.waiting.extend(retained);
                    }
                }
                Effect::Unsubscribed { filters } => {
                    if let Some(member) = &self.member {
                        broker.unsubscribe(&member.client_id, member.session, &filters);
                    }
                }
                Effect::Delivered { .. } => self.finished(),
                Effect::Disconnect(reason) => self.codec.encode_disconnect(reason, &mut self.outgoing),
                Effect::Close(reason) => self.closing = Some(reason),
            }
        }
    }

    /// Why a publish to this topic is turned away, if it is.
    fn refused(&mut self, topic: &str, over_rate: bool) -> Option<RejectReason> {
        if !self.identity.may_publish(topic) {
            return Some(RejectReason::NotAuthorized);
        }
        over_rate.then_some(RejectReason::Rate)
    }

    async fn admit(&mut self, request: ConnectRequest, broker: &Arc<Broker>, number: u64) -> Vec<Effect> {
        let will = request.will.as_ref().map(|will| will.topic.as_str());
        let identity = match broker.judge(request.credentials, self.certificate.take(), self.peer).await {
            Ok(identity) if will.is_none_or(|topic| identity.may_publish(topic)) => identity,
            Ok(_) => return self.refuse(Refusal::NotAuthorized, "no right to the topic of its will", number),
            Err(denied @ Denied::BadCredentials) => {
                return self.refuse(Refusal::BadCredentials, &denied.to_string(), number);
            }
            Err(denied @ (Denied::NameNeeded | Denied::UnknownCertificate)) => {
                return self.refuse(Refusal::NotAuthorized, &denied.to_string(), number);
            }
        };
        let key = identity.session_key(&request.client_id);
        let terms = Terms { clean_start: request.clean_session, expiry: request.session_expiry };
        let joined = broker.join(&key, number, terms).await;
        let Joined { deliveries, session_present, left, recorded, subscribed } = joined;
        self.member = Some(Membership {
            deliveries,
            broker: Arc::clone(broker),
            client_id: key,
            session: number,
            recorded,
            _counted: Counted::new(),
        });
        self.waiting = left.waiting;
        let Left { open, unreleased, .. } = left;
        let may_subscribe = match &identity {
            Identity::Anonymous => None,
            Identity::User(_, rights) => Some(rights.subscribe.clone()),
        };
        self.identity = identity;
        let admission = Admission { session_present, open, unreleased, may_subscribe, subscribed };
        self.session.accept(admission, now())
    }

    fn refuse(&mut self, refusal: Refusal, why: &str, number: u64) -> Vec<Effect> {
        metrics::mqtt_refused();
        tracing::warn!(client = number, peer = ?self.peer, why, "an MQTT client was turned away");
        self.session.refuse(refusal)
    }

    /// Hands over what waits, as far as the client's window and the outgoing buffer have room.
    fn deliver_waiting(&mut self) {
        while self.outgoing.len() < WRITE_BUFFER {
            let Some(delivery) = self.waiting.front() else { return };
            let Delivery { topic, payload, qos, retain, ids, said, record } = delivery;
            let recorded = record.is_some();
            let now = crate::now();
            if said.as_ref().is_some_and(|said| said.has_expired(now)) {
                tracing::debug!(%topic, "a message expired before its subscriber could take it");
                self.pass_over(recorded);
                continue;
            }
            let properties = said.as_ref().map_or_else(|| only_marks(ids), |said| said.at(now, ids));
            match self.session.deliver(topic, payload.clone(), *qos, *retain, properties.as_ref()) {
                Ok(packet) => self.send_said(packet, properties),
                Err(NotDelivered::WindowFull) => return,
                Err(
                    error @ (NotDelivered::NotConnected | NotDelivered::TooLarge | NotDelivered::BadTopic(_)),
                ) => {
                    metrics::mqtt_undelivered();
                    tracing::debug!(%topic, %error, "not delivered");
                    self.pass_over(recorded);
                    continue;
                }
            }
            self.waiting.pop_front();
        }
        self.more_to_write = true;
    }

    /// Drops the first message that waits.
    fn pass_over(&mut self, recorded: bool) {
        self.waiting.pop_front();
        if recorded {
            self.finished();
        }
    }

    /// The client has finished with a message, or can't be sent it: what its session kept of it goes.
    fn finished(&mut self) {
        if let Some(member) = self.member.as_mut().filter(|member| member.recorded > 0) {
            member.recorded -= 1;
            member.broker.finished(&member.client_id, member.session);
        }
    }

    fn send_said(&mut self, packet: Packet, properties: Option<PublishProperties>) {
        if let Packet::Publish(publish) = packet {
            report(self.codec.encode_publish(publish, properties, &mut self.outgoing));
        } else {
            self.send(packet);
        }
    }

    fn send(&mut self, packet: Packet) {
        report(if let Packet::ConnAck(ack) = packet {
            let offer = Offer {
                assigned_client_id: self.session.assigned_client_id().map(str::to_owned),
                receive_maximum: RECEIVE_MAXIMUM,
                topic_alias_maximum: TOPIC_ALIAS_MAXIMUM,
            };
            self.codec.encode_connack(ack, offer, &mut self.outgoing)
        } else {
            self.codec.encode(packet, &mut self.outgoing)
        });
    }

    async fn write(&mut self) -> bool {
        if self.outgoing.is_empty() {
            return true;
        }
        let writing = async {
            self.stream.write_all_buf(&mut self.outgoing).await?;
            // TLS may still hold a part of it back.
            self.stream.flush().await
        };
        let written = tokio::time::timeout(WRITE_PATIENCE, writing).await;
        matches!(written, Ok(Ok(())))
    }
}

fn tell_end(client: u64, connection: &Connection, reason: &CloseReason) {
    metrics::mqtt_ended(reason.as_str());
    let id = connection.member.as_ref().map(|member| member.client_id.as_str());
    if *reason == CloseReason::Backlog {
        tracing::warn!(client, id, %reason, "an MQTT client publishes faster than it may and was sent away");
    } else {
        tracing::debug!(client, id, %reason, "an MQTT client left");
    }
}

fn report(written: Result<(), EncodeError>) {
    if let Err(error) = written {
        tracing::warn!(%error, "a packet of ours could not be written");
    }
}

fn ticketed(ticket: u64, committed: Committed) -> Ticketed {
    Box::pin(async move { (ticket, committed.await) })
}

/// The next message for this client; never, before it was let in.
async fn next_delivery(member: &mut Option<Membership>) -> Option<Delivery> {
    match member {
        Some(member) => member.deliveries.recv().await,
        None => std::future::pending().await,
    }
}

fn now() -> Instant {
    clock::monotonic().into_std()
}
