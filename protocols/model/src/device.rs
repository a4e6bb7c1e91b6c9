//! What a device is to its operator.

use serde::{Deserialize, Serialize};

/// Whether a device can be heard, and if not, why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceState {
    /// Heard from within its expected time.
    Online,
    /// Not heard from.
    Offline,
    /// Its actor failed too often and waits for its next try.
    Parked,
    /// Set aside by the system until an operator looks.
    Quarantined,
    /// Switched off by an operator, or configured no longer: only its history is left.
    Disabled,
}

impl DeviceState {
    /// Every state, in the order of its declaration.
    pub const ALL: [Self; 5] = [Self::Online, Self::Offline, Self::Parked, Self::Quarantined, Self::Disabled];

    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Parked => "parked",
            Self::Quarantined => "quarantined",
            Self::Disabled => "disabled",
        }
    }
}
