//! The doors through which everyone else reaches the fleet: a bundle of small traits, one file each.
//!
//! API and cluster know these and never an actor. Each trait has a local half in this room; a remote half, once
//! nodes talk to each other, is handed in by the root.

mod alerts;
mod backups;
mod commands;
mod dead_letters;
mod devices;
mod faults;
mod flights;
mod health;
mod history;
mod ledgers;
mod local;
mod sockets;
mod supervision;
mod telemetry;
mod timelines;
mod writes;

use std::sync::Arc;

use futures::future::BoxFuture;
use voltree_model::DeviceId;
use voltree_runtime::faults::FaultError;

use crate::registry::LifecycleError;

pub use crate::registry::{Entity, EntityKind, EntitySource, EntityState, Word};
pub use alerts::{AlertSeverity, AlertStatus, AlertView, Alerts};
pub use backups::{BackedUp, Backups};
pub use commands::{CommandRequest, CommandStatus, CommandView, Commands};
pub use dead_letters::SetAside;
pub use devices::{Candidate, DeviceView, Devices, LatestMetric, StateChange};
pub use faults::{ActiveFault, FaultInjection, FaultPointView};
pub use flights::Flights;
pub use health::{Health, HealthCheck};
pub use history::{ChartLine, History, IntervalSamples, IntervalSeries, IntervalView, SeriesRange, Steps};
pub use ledgers::{LedgerRow, Ledgers};
pub use local::LocalFleet;
pub use sockets::Sockets;
pub use supervision::{ActorStatus, ActorView, Kill, Supervision};
pub use telemetry::{AggregateBucket, LiveReading, Point, PointRange, Series, Telemetry};
pub use timelines::{GapCause, GapRange, TimelineGap, Timelines};
pub use voltree_protocols::influx::Precision;
pub use writes::{LineBatch, LineProblem, WriteError, Writes, Written};

/// An answer that may need the disk or another node.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, FleetError>>;

/// All doors of one node.
#[derive(Clone)]
pub struct Fleet {
    /// Which devices there are and how they are.
    pub devices: Arc<dyn Devices>,
    /// What they measured.
    pub telemetry: Arc<dyn Telemetry>,
    /// What charts and balances are made of.
    pub history: Arc<dyn History>,
    /// Where they were silent.
    pub timelines: Arc<dyn Timelines>,
    /// What became of each reading.
    pub ledgers: Arc<dyn Ledgers>,
    /// What is wrong now.
    pub alerts: Arc<dyn Alerts>,
    /// What handlers failed on too often.
    pub dead_letters: Arc<dyn SetAside>,
    /// Faults on demand.
    pub faults: Arc<dyn FaultInjection>,
    /// Flight records and crash reports.
    pub flights: Arc<dyn Flights>,
    /// The tree of actors.
    pub supervision: Arc<dyn Supervision>,
    /// Backing the node up.
    pub backups: Arc<dyn Backups>,
    /// Taking in what others measured.
    pub writes: Arc<dyn Writes>,
    /// Taking in MQTT clients over WebSocket.
    pub sockets: Arc<dyn Sockets>,
    /// Orders to devices.
    pub commands: Arc<dyn Commands>,
    /// Whether the node can serve.
    pub health: Arc<dyn Health>,
}

impl From<voltree_storage::Error> for FleetError {
    fn from(error: voltree_storage::Error) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<LifecycleError> for FleetError {
    fn from(error: LifecycleError) -> Self {
        match error {
            LifecycleError::Unknown(device) => Self::UnknownDevice(device),
            LifecycleError::Configured(_) => Self::NotAllowed(error.to_string()),
            LifecycleError::NotDisabled(_) | LifecycleError::Busy(_) => Self::NotNow(error.to_string()),
            LifecycleError::Store(error) => error.into(),
        }
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fleet")
    }
}

/// Why the fleet could not answer.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// No device has this id.
    #[error("no device {0} is known")]
    UnknownDevice(DeviceId),
    /// No actor has this path.
    #[error("no actor has the path {0:?}; supervisionTree lists the paths there are")]
    UnknownActor(String),
    /// The actor is not running now, so there is nothing to kill.
    #[error("{path} has no running incarnation to kill: it is {status}")]
    NotRunning {
        /// Whose.
        path: String,
        /// What it is instead.
        status: &'static str,
    },
    /// The device has no entity of this key.
    #[error("{device} has no entity {key:?}; entities of the device lists those it has")]
    UnknownEntity {
        /// Whose.
        device: DeviceId,
        /// What was asked for.
        key: String,
    },
    /// No command has this id.
    #[error("no command has the id {0:?}; commands lists those that are remembered")]
    UnknownCommand(String),
    /// No dead letter has this id.
    #[error("no dead letter has the id {0:?}; deadLetters lists those there are")]
    UnknownLetter(String),
    /// No message that was set aside has this id.
    #[error("no message that was set aside has the id {0:?}; setAsideMessages lists those there are")]
    UnknownMessage(String),
    /// No crash report has this id.
    #[error("no crash report has the id {0:?}; crashReports lists those there are")]
    UnknownReport(String),
    /// A fault that can't be injected.
    #[error("{0}")]
    Fault(#[from] FaultError),
    /// The question can't be answered as it was asked.
    #[error("{0}")]
    Question(String),
    /// Nobody allowed it.
    #[error("{0}")]
    NotAllowed(String),
    /// It can't be done now, and may be tried again.
    #[error("{0}")]
    NotNow(String),
    /// The store could not be read.
    #[error("reading the store failed: {0}")]
    Store(String),
}
