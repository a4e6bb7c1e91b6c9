//! What can go wrong on demand, as data that plans, operators and reports share.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What a fault does to whoever passes its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
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

impl FaultKind {
    /// Every kind, in the order of its declaration.
    pub const ALL: [Self; 9] = [
        Self::Panic,
        Self::Error,
        Self::Delay,
        Self::Freeze,
        Self::DropLink,
        Self::CorruptFrame,
        Self::FsyncError,
        Self::DiskFull,
        Self::ClockStep,
    ];

    /// The stable name, as it stands in plans and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Delay => "delay",
            Self::Freeze => "freeze",
            Self::DropLink => "drop_link",
            Self::CorruptFrame => "corrupt_frame",
            Self::FsyncError => "fsync_error",
            Self::DiskFull => "disk_full",
            Self::ClockStep => "clock_step",
        }
    }
}

/// A place in the code where faults can strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultPoint {
    /// Its name, as plans and operators write it.
    pub name: &'static str,
    /// What can happen there.
    pub kinds: &'static [FaultKind],
    /// What it is about, and what its targets are.
    pub help: &'static str,
}

/// A fault to inject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Where.
    pub point: String,
    /// What.
    pub kind: FaultKind,
    /// Whom it strikes: a target of the point, or the beginning of one and a `*`; everyone if none is named.
    #[serde(default)]
    pub target: Option<String>,
    /// How often it strikes before it is over.
    #[serde(default)]
    pub times: Option<u64>,
    /// How likely it strikes whoever passes, from 0 to 1.
    #[serde(default = "certain")]
    pub probability: f64,
    /// How long it is there.
    #[serde(default, rename = "lasts_ms", with = "millis")]
    pub lasts: Option<Duration>,
    /// How long a delay is.
    #[serde(default, rename = "delay_ms", with = "millis_or_none")]
    pub delay: Duration,
    /// How far a clock step goes.
    #[serde(default)]
    pub step_ms: i64,
}

fn certain() -> f64 {
    1.0
}

impl Fault {
    /// A fault that strikes everyone at its point for ever; fields say more.
    pub fn new(point: FaultPoint, kind: FaultKind) -> Self {
        Self {
            point: point.name.to_owned(),
            kind,
            target: None,
            times: None,
            probability: 1.0,
            lasts: None,
            delay: Duration::ZERO,
            step_ms: 0,
        }
    }

    /// Whether it strikes this target.
    pub fn is_for(&self, target: &str) -> bool {
        match self.target.as_deref() {
            None => true,
            Some(wanted) => match wanted.strip_suffix('*') {
                Some(beginning) => target.starts_with(beginning),
                None => target == wanted,
            },
        }
    }
}

/// Why a fault can't be injected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FaultError {
    /// No point has this name.
    #[error("there is no fault point {point:?}; there are {known}")]
    UnknownPoint {
        /// What was asked for.
        point: String,
        /// What there is.
        known: String,
    },
    /// This can't happen there.
    #[error("{} is not possible at {point}; possible are {possible}", kind.as_str())]
    NotThere {
        /// Where.
        point: &'static str,
        /// What was asked for.
        kind: FaultKind,
        /// What is possible.
        possible: String,
    },
    /// A probability must be one.
    #[error("a probability of {0} is none; expected 0 to 1")]
    Probability(f64),
}

/// A fault that struck, for whoever must carry it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tripped {
    /// Where.
    pub point: &'static str,
    /// What.
    pub kind: FaultKind,
    /// How long a delay is.
    pub delay: Duration,
    pub(super) until: Option<Instant>,
    pub(super) id: u64,
    pub(super) cleared: u64,
}

/// The error of an injected fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("injected fault {id} at {point}: {}", kind.as_str())]
pub struct Injected {
    /// Where.
    pub point: &'static str,
    /// What.
    pub kind: FaultKind,
    id: u64,
}

impl From<Tripped> for Injected {
    fn from(Tripped { point, kind, id, .. }: Tripped) -> Self {
        Self { point, kind, id }
    }
}

/// Durations as a number of milliseconds.
pub(super) mod millis_or_none {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::faults) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(in crate::faults) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// Durations as a number of milliseconds, where there is one.
pub(super) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde hands it over like this")]
    pub(in crate::faults) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).serialize(to)
    }

    pub(in crate::faults) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}
