//! How an actor lives and dies: supervisors, restart policy, inboxes, the directory of who runs where,
//! supervision events, the clock, logging and metric set-up. This room knows no battery.

pub mod clock;
mod directory;
mod events;
pub mod metrics;
mod path;

pub use directory::{ActorStatus, ActorView};
pub use events::{EventKind, Events, ExitReason, SupervisionEvent};
pub use path::ActorPath;
