//! One connected MQTT client.
//!
//! Owns: the socket and the session. Receives: its own turns. Lost on restart: the connection; a client that was not
//! told PUBACK sends again, and what was accepted from it is committed by the device's actor in any case. Supervised
//! by: mqtt/clients, as a temporary child: it ends with its connection.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rumqttc::Packet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use voltree_model::Timestamp;
use voltree_protocols::mqtt::PacketCodec;
use voltree_protocols::mqtt::{Admission, CloseReason, ConnectRequest, Effect, Limits, Session};
use voltree_runtime::{ChildSpec, RestartPolicy, clock};

use super::broker::{Broker, Delivery};
use super::ingest::{self, Committed, Incoming};
use crate::fault_points::{MQTT_SESSION, NODE_CLOCK};
use crate::metrics;

/// The longest a turn waits for something to happen, so that an order to stop is heard.
const TURN: Duration = Duration::from_millis(250);
/// How long a client may take to read what it is sent.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
const READ_BUFFER: usize = 16 * 1024;

/// Resolves to a publish's ticket and whether its commit was kept.
type Ticketed = Pin<Box<dyn Future<Output = (u64, bool)> + Send + Sync>>;

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
    stream: Arc<Mutex<Option<TcpStream>>>,
    session: u64,
}

/// How the clients' supervisor gives birth to it.
pub(super) fn child(broker: &Arc<Broker>, stream: TcpStream) -> ChildSpec {
    let session = broker.next_session();
    let stream = Arc::new(Mutex::new(Some(stream)));
    let args = ClientArgs { broker: Arc::clone(broker), stream, session };
    let name = format!("client-{session}");
    ChildSpec::worker(name, "mqtt_client", RestartPolicy::SESSION, move |_| (Client, args.clone()))
}

pub(super) struct ClientState {
    broker: Arc<Broker>,
    number: u64,
    connection: Option<Connection>,
}

struct Connection {
    stream: TcpStream,
    incoming: BytesMut,
    outgoing: BytesMut,
    codec: PacketCodec,
    session: Session,
    commits: FuturesUnordered<Ticketed>,
    member: Option<Membership>,
    closing: Option<CloseReason>,
}

/// A client that was let in; dropping it lets the client go, however its actor ended.
struct Membership {
    broker: Arc<Broker>,
    client_id: String,
    session: u64,
    deliveries: mpsc::Receiver<Delivery>,
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

impl Drop for Membership {
    fn drop(&mut self) {
        self.broker.leave(&self.client_id, self.session);
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
        let connection = args.stream.lock().take().map(|stream| Connection::new(stream, args.session));
        myself.send_message(ClientMsg::Turn)?;
        Ok(ClientState { broker: args.broker, number: args.session, connection })
    }

    async fn handle(
        &self,
        myself: ActorRef<ClientMsg>,
        message: ClientMsg,
        state: &mut ClientState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ClientMsg::Turn => {
                if state.turn().await {
                    myself.send_message(ClientMsg::Turn)?;
                } else {
                    myself.stop(None);
                }
                Ok(())
            }
        }
    }
}

enum Happening {
    Read(std::io::Result<usize>),
    Committed(u64, bool),
    Delivery(Option<Delivery>),
    Nothing,
}

impl ClientState {
    /// Waits for one thing to happen and deals with it; false when the connection has ended.
    async fn turn(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let client = connection.member.as_ref().map_or("", |member| &member.client_id);
        if self.broker.registry.faults().pass(MQTT_SESSION, client).await.is_err() {
            // The wire was cut: nobody is told, and nothing more is sent.
            self.connection = None;
            return false;
        }
        let effects = match connection.next().await {
            Happening::Read(Ok(0)) => connection.session.close(CloseReason::ConnectionLost),
            Happening::Read(Ok(_)) => Vec::new(),
            Happening::Read(Err(error)) => {
                tracing::debug!(client = self.number, %error, "the connection failed");
                connection.session.close(CloseReason::ConnectionLost)
            }
            Happening::Committed(ticket, true) => connection.session.on_committed(ticket, now()),
            // The promise can't be kept, so the client must send again: only closing tells it so.
            Happening::Committed(_, false) => connection.session.close(CloseReason::ConnectionLost),
            Happening::Delivery(Some(delivery)) => {
                connection.deliver(&delivery);
                Vec::new()
            }
            Happening::Delivery(None) => connection.session.close(CloseReason::TakenOver),
            Happening::Nothing => connection.session.on_timeout(now()),
        };
        connection.carry_out(effects, &self.broker, self.number).await;
        connection.decode(&self.broker, self.number).await;
        self.flush().await
    }

    async fn flush(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let written = connection.write().await;
        if let Some(reason) = connection.closing.take() {
            tracing::debug!(client = self.number, %reason, "an MQTT client left");
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
    fn new(stream: TcpStream, number: u64) -> Self {
        Self {
            stream,
            incoming: BytesMut::with_capacity(READ_BUFFER),
            outgoing: BytesMut::new(),
            codec: PacketCodec::default(),
            session: Session::new(Limits::default(), format!("voltree-{number}"), now()),
            commits: FuturesUnordered::new(),
            member: None,
            closing: None,
        }
    }

    async fn next(&mut self) -> Happening {
        let wait =
            self.session.poll_timeout().map_or(TURN, |at| at.saturating_duration_since(now()).min(TURN));
        let reads = self.session.wants_read();
        self.incoming.reserve(READ_BUFFER);
        let happening = async {
            tokio::select! {
                Some((ticket, kept)) = self.commits.next(), if !self.commits.is_empty() => Happening::Committed(ticket, kept),
                read = self.stream.read_buf(&mut self.incoming), if reads => Happening::Read(read),
                delivery = next_delivery(&mut self.member) => Happening::Delivery(delivery),
            }
        };
        tokio::time::timeout(wait, happening).await.unwrap_or(Happening::Nothing)
    }

    /// Decodes what has been read, as far as the session wants it now.
    async fn decode(&mut self, broker: &Arc<Broker>, number: u64) {
        while self.closing.is_none() && self.session.wants_read() {
            let effects = match self.codec.decode(&mut self.incoming) {
                Ok(Some(packet)) => self.session.on_packet(packet, now()),
                Ok(None) => return,
                Err(error) => self.session.on_bad_packet(error),
            };
            self.carry_out(effects, broker, number).await;
        }
    }

    async fn carry_out(&mut self, effects: Vec<Effect>, broker: &Arc<Broker>, number: u64) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Admit(request) => effects.extend(self.admit(request, broker, number)),
                Effect::Send(packet) => self.send(packet),
                Effect::Ingest { ticket, topic, payload, qos, .. } => {
                    metrics::mqtt_message(if qos == rumqttc::QoS::AtMostOnce { "0" } else { "1" });
                    let now = broker.registry.faults().now_ms(NODE_CLOCK);
                    let now = Timestamp::from_millis(now);
                    let committed = ingest::ingest(broker, Incoming { topic, payload, qos }, now).await;
                    if qos != rumqttc::QoS::AtMostOnce {
                        self.commits.push(ticketed(ticket, committed));
                    }
                }
                Effect::Subscribed { filters } => {
                    if let Some(member) = &self.member {
                        broker.subscribe(&member.client_id, member.session, filters);
                    }
                }
                Effect::Unsubscribed { filters } => {
                    if let Some(member) = &self.member {
                        broker.unsubscribe(&member.client_id, member.session, &filters);
                    }
                }
                Effect::Delivered { .. } => {}
                Effect::Close(reason) => self.closing = Some(reason),
            }
        }
    }

    fn admit(&mut self, request: ConnectRequest, broker: &Arc<Broker>, number: u64) -> Vec<Effect> {
        self.member = Some(Membership {
            deliveries: broker.join(&request.client_id, number),
            broker: Arc::clone(broker),
            client_id: request.client_id,
            session: number,
            _counted: Counted::new(),
        });
        self.session.accept(Admission::default(), now())
    }

    fn deliver(&mut self, delivery: &Delivery) {
        match self.session.deliver(&delivery.topic, delivery.payload.clone(), delivery.qos, false) {
            Ok(packet) => self.send(packet),
            Err(error) => {
                metrics::mqtt_undelivered();
                tracing::debug!(topic = %delivery.topic, %error, "not delivered");
            }
        }
    }

    fn send(&mut self, packet: Packet) {
        if let Err(error) = self.codec.encode(packet, &mut self.outgoing) {
            tracing::warn!(%error, "a packet of ours could not be written");
        }
    }

    async fn write(&mut self) -> bool {
        if self.outgoing.is_empty() {
            return true;
        }
        let written =
            tokio::time::timeout(WRITE_PATIENCE, self.stream.write_all_buf(&mut self.outgoing)).await;
        matches!(written, Ok(Ok(())))
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
