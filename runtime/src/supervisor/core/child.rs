//! What the core knows of one child: small, because there may be a hundred thousand of them.

use std::sync::Arc;
use std::time::Duration;

use crate::ExitReason;
use crate::child::Terms;
use crate::restart::{Record, Verdict};

/// Where a child stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits for its turn to start.
    Queued,
    /// Its next incarnation is being born.
    Starting,
    /// Its incarnation runs.
    Running,
    /// It was asked to stop; its timer is its limit.
    Stopping,
    /// It was killed; its timer is the grace until it is fenced.
    Killing,
    /// It failed and waits for its back-off.
    Waiting,
    /// It failed too often and waits for its next try.
    Parked,
    /// An operator parked it; nothing but an operator starts it again.
    Held,
    /// It is down for good.
    Down,
}

impl Phase {
    /// Whether an incarnation may be alive.
    pub(super) const fn is_alive(self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Stopping | Self::Killing => true,
            Self::Queued | Self::Waiting | Self::Parked | Self::Held | Self::Down => false,
        }
    }
}

/// What follows the end of an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Afterwards {
    /// Whatever its policy says.
    #[default]
    Judge,
    /// It waits for its turn to start again.
    Queue,
    /// It stays parked until an operator resumes it.
    Hold,
    /// It is forgotten.
    Forget,
}

/// One child.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) terms: Arc<Terms>,
    pub(super) generation: u64,
    pub(super) timer: u32,
    pub(super) phase: Phase,
    pub(super) afterwards: Afterwards,
    /// Whether its incarnation was found frozen, which is then why it ends.
    pub(super) frozen: bool,
    /// Its failures, once it has any.
    record: Option<Box<Record>>,
}

impl Child {
    pub(super) fn new(terms: Arc<Terms>, lived: u64) -> Self {
        Self {
            terms,
            generation: lived,
            timer: 0,
            phase: Phase::Down,
            afterwards: Afterwards::Judge,
            frozen: false,
            record: None,
        }
    }

    /// Notes that its incarnation runs since `now`.
    pub(super) fn began(&mut self, now: Duration) {
        if let Some(record) = &mut self.record {
            record.began(now);
        }
    }

    /// Notes a failure that counts.
    pub(super) fn failed(&mut self, now: Duration, jitter: f64) -> Verdict {
        self.record.get_or_insert_default().failed(&self.terms.policy, now, jitter)
    }

    /// Wipes its sheet clean.
    pub(super) fn forgive(&mut self) {
        self.record = None;
    }

    pub(super) fn frozen_reason(&self) -> ExitReason {
        ExitReason::Frozen { limit_ms: u64::try_from(self.terms.stall.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Why an incarnation that does not end is given up.
    pub(super) fn fenced_reason(&self) -> ExitReason {
        if self.frozen {
            return self.frozen_reason();
        }
        ExitReason::Killed { by: "supervisor (it did not stop in time)".to_owned() }
    }
}
