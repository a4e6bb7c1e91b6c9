//! The embedded MQTT listener, for 3.1.1 and 5.0: one actor that accepts, one actor per client; and clients of outside brokers.
//!
//! What belongs to the node and outlives them all, the subscriptions and the listening socket, is in [`Broker`] and
//! [`ListenerSocket`]. A PUBACK is sent only after the journal's sync.

mod answer;
mod bridge;
mod broker;
mod client;
mod entrance;
mod ingest;
pub mod keeper;
mod listener;
mod mapped;
pub mod messenger;
mod outbox;
pub mod outside;
mod retained;
pub mod tls;
mod ways_out;

pub use bridge::Bridge;
pub use broker::Broker;
pub use entrance::{Carrier, Duplex, Entrance};
pub use listener::{Listener, ListenerArgs, ListenerMsg, ListenerSocket};
pub use mapped::Conventions;
pub use outbox::SetAsideMessage;
