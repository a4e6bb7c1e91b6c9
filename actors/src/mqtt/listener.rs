//! The MQTT listener: accepts connections and hands each to an actor of its own.
//!
//! Owns: nothing; the listening socket belongs to the node, so connections that arrive while the listener is being
//! restarted wait in the socket's backlog instead of being refused. Receives: its own turns. Lost on restart: nothing.
//! Supervised by: mqtt.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::net::{TcpListener, TcpStream};
use voltree_runtime::Failure;

use super::entrance::{Arrival, Entrance};
use super::tls::Tls;

/// The longest a turn waits for a connection, so that an order to stop is heard.
const TURN: Duration = Duration::from_millis(250);

/// A listening socket that outlives whoever accepts on it.
#[derive(Debug)]
pub struct ListenerSocket {
    socket: std::net::TcpListener,
}

impl ListenerSocket {
    /// Binds; port 0 takes a free port.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = std::net::TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// The address with the real port.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Another handle on the same socket, for one incarnation of whoever accepts.
    pub fn accepting(&self) -> io::Result<TcpListener> {
        TcpListener::from_std(self.socket.try_clone()?)
    }
}

/// What the listener is told.
#[derive(Debug)]
pub enum ListenerMsg {
    /// Accept the next connection.
    Accept,
}

/// Everything the listener needs in order to be born again.
#[derive(Debug, Clone)]
pub struct ListenerArgs {
    /// The node's socket.
    pub socket: Arc<ListenerSocket>,
    /// What its clients must speak; without it, TCP.
    pub tls: Option<Tls>,
    /// The way in.
    pub entrance: Entrance,
}

/// The actor.
#[derive(Debug)]
pub struct Listener;

/// What it knows.
#[derive(Debug)]
pub struct ListenerState {
    args: ListenerArgs,
    accepting: TcpListener,
}

impl Actor for Listener {
    type Msg = ListenerMsg;
    type State = ListenerState;
    type Arguments = ListenerArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<ListenerMsg>,
        args: ListenerArgs,
    ) -> Result<ListenerState, ActorProcessingErr> {
        let accepting = args.socket.accepting().map_err(|error| Failure::boxed(&error))?;
        args.entrance.broker().set_stopping(false);
        myself.send_message(ListenerMsg::Accept)?;
        Ok(ListenerState { args, accepting })
    }

    /// Only an orderly stop comes here, and the clients stop next.
    async fn post_stop(
        &self,
        _myself: ActorRef<ListenerMsg>,
        state: &mut ListenerState,
    ) -> Result<(), ActorProcessingErr> {
        state.args.entrance.broker().set_stopping(true);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<ListenerMsg>,
        message: ListenerMsg,
        state: &mut ListenerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ListenerMsg::Accept => {
                state.accept().await;
                myself.send_message(ListenerMsg::Accept)?;
                Ok(())
            }
        }
    }
}

impl ListenerState {
    async fn accept(&self) {
        match tokio::time::timeout(TURN, self.accepting.accept()).await {
            Ok(Ok((stream, peer))) => self.welcome(stream, peer),
            Ok(Err(error)) => {
                tracing::warn!(%error, "an MQTT connection could not be accepted");
                // Out of descriptors: wait for some to be freed instead of spinning.
                tokio::time::timeout(TURN, std::future::pending::<()>()).await.ok();
            }
            Err(_) => {}
        }
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "TCP_NODELAY could not be set");
        }
        self.args.entrance.welcome(Arrival::of(stream, self.args.tls.clone()), peer);
    }
}
