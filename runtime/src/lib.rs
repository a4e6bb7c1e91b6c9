//! How an actor lives and dies: supervisors, restart policy, inboxes, the directory of who runs where,
//! supervision events, the clock, logging and metric set-up. This room knows no battery.

mod child;
pub mod clock;
mod directory;
mod events;
mod failure;
mod inbox;
pub mod metrics;
mod path;
mod restart;
mod root;
mod supervisor;
pub mod telemetry;

pub use child::{Birth, ChildSpec, Children};
pub use directory::{
    ActorStatus, ActorView, Directory, Fence, Fenced, Handle, KillError, NotRunning, ParkError, WatchOptions,
};
pub use events::{EventKind, Events, ExitReason, SupervisionEvent};
pub use failure::Failure;
pub use inbox::{Full, Inbox, Receipt};
pub use path::ActorPath;
pub use restart::{Backoff, Exhausted, Restart, RestartPolicy, Strategy};
pub use root::{RootGaveUp, run_tree};
