//! How an actor lives and dies: supervisors, restart policy, inboxes, the directory of who runs where,
//! supervision events, the clock, logging and metric set-up. This room knows no battery.

mod child;
pub mod clock;
mod directory;
mod events;
mod failure;
pub mod faults;
mod inbox;
pub mod metrics;
mod panics;
mod path;
mod restart;
mod root;
mod supervisor;
pub mod telemetry;

pub use child::{Birth, ChildSpec, Children};
pub use directory::{
    ActorStatus, ActorView, Directory, Fence, Fenced, Handle, KillError, NotRunning, ParkError, StuckActor,
    WatchOptions,
};
pub use events::{EVENTS_KEPT, EventKind, Events, ExitReason, SupervisionEvent};
pub use failure::{ErrorChain, Failure};
pub use faults::{Fault, FaultKind, FaultPoint, Faults};
pub use inbox::{Handling, Inbox, Lane, MAX_FAILURES, OnCrash, Outcome, Receipt, Refused, Waiting, WhenFull};
pub use panics::log_panics;
pub use path::ActorPath;
pub use restart::{Backoff, Exhausted, Restart, RestartPolicy, Strategy};
pub use root::{RootGaveUp, run_tree};
