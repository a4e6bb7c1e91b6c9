//! What the journal holds: every reading that was taken, every one that was not, with the reason, and every change of
//! a typed record.
//!
//! The ledger is a fold over these, so whatever must be counted must be an entry. Variants and fields are a disk
//! format: new ones go to the end.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, Origin, Reading, RejectReason, Timestamp};

use crate::RecordChange;

/// A log sequence number: entries are numbered from 1, without gaps. 0 stands before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The number after this.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The number before this; that of 0 is 0.
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One thing that happened at a device's door, or at the node's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// A reading to keep.
    Reading {
        /// Where it stands among its device's.
        origin: Origin,
        /// What the device said; shared with whoever still holds it at the door.
        reading: Arc<Reading>,
    },
    /// Something that was turned away.
    Rejected {
        /// Whose it was, if it named a device.
        device: Option<DeviceId>,
        /// Where it stands among its device's, if it has one.
        origin: Option<Origin>,
        /// When it arrived.
        at: Timestamp,
        /// Why it was turned away.
        reason: RejectReason,
        /// What was wrong, in a few words.
        detail: String,
    },
    /// A message whose handler failed on it too often.
    DeadLettered {
        /// Whose it was.
        device: DeviceId,
        /// Where it stands among its device's.
        origin: Origin,
        /// When it was given up.
        at: Timestamp,
        /// How its handler failed.
        cause: String,
    },
    /// A record was set or taken away; the ledger does not count it.
    Record {
        /// When.
        at: Timestamp,
        /// Which, and what it is now.
        change: RecordChange,
    },
}

impl Entry {
    /// Whose it is; `None` is the node's own.
    pub fn device(&self) -> Option<&DeviceId> {
        match self {
            Self::Reading { reading, .. } => Some(&reading.device),
            Self::Rejected { device, .. } => device.as_ref(),
            Self::DeadLettered { device, .. } => Some(device),
            Self::Record { .. } => None,
        }
    }

    /// Where it stands among its device's; `None` can't be told from a repetition.
    pub fn origin(&self) -> Option<Origin> {
        match self {
            Self::Reading { origin, .. } | Self::DeadLettered { origin, .. } => Some(*origin),
            Self::Rejected { origin, .. } => *origin,
            Self::Record { .. } => None,
        }
    }

    /// When it was measured, or happened.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Reading { reading, .. } => reading.at,
            Self::Rejected { at, .. } | Self::DeadLettered { at, .. } | Self::Record { at, .. } => *at,
        }
    }
}
