//! MQTT over what the HTTP server accepts: a WebSocket's bytes are a connection like any other.

use std::net::SocketAddr;

use super::LocalFleet;
use crate::mqtt::Carrier;

/// The way in for MQTT clients that come over HTTP.
pub trait Sockets: Send + Sync {
    /// Takes in a connection; one too many is closed, and `false`.
    fn enter_mqtt(&self, carrier: Carrier, peer: SocketAddr) -> bool;
}

impl Sockets for LocalFleet {
    fn enter_mqtt(&self, carrier: Carrier, peer: SocketAddr) -> bool {
        self.mqtt.carry(carrier, peer)
    }
}
