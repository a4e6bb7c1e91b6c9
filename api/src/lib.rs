//! What a person or a program may ask: GraphQL over HTTP and WebSocket, health, metrics and the console's files.
//!
//! Everything is answered through the fleet's doors; this room never sees an actor, a file of the store or another
//! node. It checks what it is asked before it passes it on, and says in its errors what it expected instead.

mod http;
pub mod metrics;
mod node;
mod schema;

pub use http::{Hosts, MetricsRenderer, router, router_for, serve};
pub use node::NodeInfo;
pub use schema::sdl;
