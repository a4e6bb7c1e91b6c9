//! Faults on demand, as clients see them.

use std::time::Duration;

use async_graphql::{Enum, InputObject, Result, SimpleObject};
use voltree_actors::fleet::{ActiveFault, FaultPointView};
use voltree_runtime::{Fault, FaultKind as Kind};

use super::error::bad_argument;

/// The longest that a fault asked for here may be there.
const MAX_SECONDS: u32 = 3_600;

/// What a fault does to whoever passes its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Kind")]
pub(super) enum FaultKind {
    /// It panics.
    Panic,
    /// It fails with an error.
    Error,
    /// It takes longer.
    Delay,
    /// It waits until the fault is over, is cleared, or a kill ends it.
    Freeze,
    /// Its connection is cut.
    DropLink,
    /// A bit of what it reads is flipped.
    CorruptFrame,
    /// The disk can't make what it wrote durable.
    FsyncError,
    /// The disk has no space left.
    DiskFull,
    /// The wall clock jumps.
    ClockStep,
}

/// A place in the node where faults can strike.
#[derive(SimpleObject)]
pub(super) struct FaultPoint {
    /// Its name, as injectFault takes it.
    name: String,
    /// What can happen there.
    kinds: Vec<FaultKind>,
    /// What it is about, and what its targets are.
    about: String,
    /// How often a fault struck there since the node started.
    trips: u64,
}

/// A fault that strikes now.
#[derive(SimpleObject)]
pub(super) struct InjectedFault {
    /// Its number on this node.
    id: u64,
    /// Where it strikes.
    point: String,
    /// What it does.
    kind: FaultKind,
    /// Whom it strikes; null is everyone.
    target: Option<String>,
}

/// A fault to inject.
#[derive(InputObject)]
pub(super) struct FaultInput {
    /// Where, as faultPoints lists it.
    point: String,
    /// What.
    kind: FaultKind,
    /// Whom it strikes: a target of the point, or the beginning of one and a *; everyone if none is named.
    target: Option<String>,
    /// How often it strikes before it is over.
    times: Option<u32>,
    /// How likely it strikes whoever passes, from 0 to 1.
    #[graphql(default = 1.0)]
    probability: f64,
    /// How long it is there, in seconds, 1 to 3600.
    #[graphql(default = 60)]
    for_seconds: u32,
    /// How long a delay is, in milliseconds.
    #[graphql(default = 0)]
    delay_ms: u32,
    /// How far a clock step goes, in milliseconds.
    #[graphql(default = 0)]
    step_ms: i32,
}

impl FaultInput {
    pub(super) fn point(&self) -> &str {
        &self.point
    }

    pub(super) fn into_fault(self) -> Result<Fault> {
        if !(1..=MAX_SECONDS).contains(&self.for_seconds) {
            let problem = format!("{} is out of range; expected 1 to {MAX_SECONDS}", self.for_seconds);
            return Err(bad_argument("forSeconds", problem));
        }
        Ok(Fault {
            point: self.point,
            kind: self.kind.into(),
            target: self.target,
            times: self.times.map(u64::from),
            probability: self.probability,
            lasts: Some(Duration::from_secs(self.for_seconds.into())),
            delay: Duration::from_millis(self.delay_ms.into()),
            step_ms: self.step_ms.into(),
        })
    }
}

impl From<FaultPointView> for FaultPoint {
    fn from(view: FaultPointView) -> Self {
        Self {
            name: view.point.name.to_owned(),
            kinds: view.point.kinds.iter().map(|kind| (*kind).into()).collect(),
            about: view.point.help.to_owned(),
            trips: view.trips,
        }
    }
}

impl From<ActiveFault> for InjectedFault {
    fn from(active: ActiveFault) -> Self {
        let ActiveFault { id, fault } = active;
        Self { id, point: fault.point, kind: fault.kind.into(), target: fault.target }
    }
}
