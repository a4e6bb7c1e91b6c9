//! The way in for MQTT clients, whatever carries their bytes: each connection gets an actor of its own.
//!
//! It belongs to the node and outlives whoever accepts connections: the listeners' actors, and the HTTP server, whose
//! WebSockets come in here.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::either::Either;
use voltree_runtime::{ActorPath, Children, Directory};

use super::broker::Broker;
use super::client;
use super::tls::Tls;
use crate::metrics;

/// How many connections one node serves; more are closed at once.
const MAX_CONNECTIONS: usize = 10_000;

/// Bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What carries the bytes of a connection that is not plain TCP.
pub type Carrier = Box<dyn Duplex>;

/// The bytes of a connection.
pub(super) type Wire = Either<TcpStream, Carrier>;

/// A connection as it comes in.
pub(super) enum Arrival {
    /// It is open.
    Open { wire: Wire, peer: Option<SocketAddr> },
    /// It has to agree on keys first.
    Tls(TcpStream, Tls),
}

impl std::fmt::Debug for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Arrival")
    }
}

impl Arrival {
    /// A connection over TCP, with TLS where that is asked for.
    pub(super) fn of(stream: TcpStream, tls: Option<Tls>) -> Self {
        match tls {
            Some(tls) => Self::Tls(stream, tls),
            None => Self::Open { peer: stream.peer_addr().ok(), wire: Either::Left(stream) },
        }
    }
}

/// The way in.
#[derive(Debug, Clone)]
pub struct Entrance {
    broker: Arc<Broker>,
    clients: ActorPath,
    children: Children,
    directory: Directory,
}

impl Entrance {
    /// Clients come in under the supervisor at `clients`.
    pub fn new(broker: Arc<Broker>, clients: ActorPath, directory: Directory) -> Self {
        Self { broker, clients, children: Children::default(), directory }
    }

    /// The actors of those who came in.
    pub fn clients(&self) -> &Children {
        &self.children
    }

    pub(crate) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Takes in a connection over anything but TCP; one too many is closed, and `false`.
    pub fn carry(&self, carrier: Carrier, peer: SocketAddr) -> bool {
        self.welcome(Arrival::Open { wire: Either::Right(carrier), peer: Some(peer) }, peer)
    }

    pub(super) fn welcome(&self, arrival: Arrival, peer: SocketAddr) -> bool {
        let room = self.children.count() < MAX_CONNECTIONS;
        if room {
            let spec = client::child(&self.broker, arrival);
            self.children.add(&self.directory, &self.clients, spec);
        } else {
            metrics::mqtt_refused();
            tracing::warn!(%peer, limit = MAX_CONNECTIONS, "an MQTT connection was closed: too many");
        }
        room
    }
}
