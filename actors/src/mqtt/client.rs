//! One connected MQTT client.
//!
//! Owns: the socket and the session. Receives: its own turns. Lost on restart: the connection; a client that was not
//! told PUBACK sends again, and what was accepted from it is committed by the device's actor in any case. Supervised
//! by: mqtt/clients, as a temporary child: it ends with its connection.

mod connection;
mod hush;
mod pace;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::net::TcpStream;
use tokio_util::either::Either;
use voltree_protocols::mqtt::CloseReason;
use voltree_runtime::{ChildSpec, RestartPolicy};

use self::connection::{Connection, Happening, now};
use super::broker::Broker;
use super::entrance::{Arrival, Wire};
use super::tls::Tls;
use crate::fault_points::MQTT_SESSION;
use crate::metrics;

/// How long a turn may wait for a device's door: while the disk is full, long.
const STALL: Duration = Duration::from_secs(3_600);
/// How long a client may take to agree on keys.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// How many things a busy client's actor deals with before it looks for messages to itself.
const TURNS_AT_ONCE: u32 = 32;

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
    arriving: Option<Box<(TcpStream, Tls)>>,
    connection: Option<Connection>,
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
            Some(Arrival::Tls(stream, tls)) => state.arriving = Some(Box::new((stream, tls))),
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

impl ClientState {
    fn begin(&mut self, peer: Option<SocketAddr>, stream: Wire, certificate: Option<String>) {
        let mut connection = Connection::new(stream, self.number, &self.broker);
        (connection.peer, connection.certificate) = (peer, certificate);
        self.connection = Some(connection);
    }

    /// Shakes hands with whoever waits for it; a failed one leaves no connection.
    async fn shake_hands(&mut self) {
        let Some((stream, tls)) = self.arriving.take().map(|arriving| *arriving) else { return };
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

    /// Waits for one thing to happen and deals with it. Whatever is not the waiting is boxed: what a turn may need at most is
    /// kept for every idle client.
    async fn turn(&mut self) -> After {
        if self.arriving.is_some() {
            Box::pin(self.shake_hands()).await;
        }
        let Some(connection) = &mut self.connection else { return After::Ended };
        let client = connection.member.as_ref().map_or("", |member| &*member.client_id);
        if self.broker.registry.faults().pass(MQTT_SESSION, client).await.is_err() {
            // The wire was cut: nobody is told, and nothing more is sent.
            self.connection = None;
            return After::Ended;
        }
        let happening = connection.next().await;
        Box::pin(self.deal_with(happening)).await
    }

    async fn deal_with(&mut self, happening: Happening) -> After {
        let Some(connection) = &mut self.connection else { return After::Ended };
        let after = if matches!(happening, Happening::Nothing) { After::Quiet } else { After::Busy };
        let effects = match happening {
            Happening::Read(Ok(0)) => connection.session.close(CloseReason::ConnectionLost),
            Happening::Read(Ok(_)) => Vec::new(),
            Happening::Read(Err(error)) => {
                tracing::debug!(client = self.number, %error, "the connection failed");
                connection.session.close(CloseReason::ConnectionLost)
            }
            Happening::Committed(kept) => connection.committed(kept),
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
        connection.take_in(&self.broker).await;
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

fn tell_end(client: u64, connection: &Connection, reason: &CloseReason) {
    metrics::mqtt_ended(reason.as_str());
    let id = connection.member.as_ref().map(|member| &*member.client_id);
    if *reason == CloseReason::Backlog {
        tracing::warn!(client, id, %reason, "an MQTT client publishes faster than it may and was sent away");
    } else {
        tracing::debug!(client, id, %reason, "an MQTT client left");
    }
}
