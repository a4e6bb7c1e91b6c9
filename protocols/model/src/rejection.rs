//! Why a reading, or one metric of it, was turned away: a closed set, because it labels metrics and the ledger.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The reason of a rejection. Its text form is a stable label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RejectReason {
    /// The topic is none that the contract knows.
    BadTopic,
    /// The payload is not the JSON that the contract describes.
    BadPayload,
    /// The payload names another device than the topic.
    DeviceMismatch,
    /// The time stamp is no RFC 3339 time.
    BadTimestamp,
    /// The time stamp lies further ahead than clocks differ.
    FutureTimestamp,
    /// No metric and no attribute was left to store.
    NoMetrics,
    /// More metrics than a device may have.
    TooManyMetrics,
    /// A metric's name or unit is not usable.
    BadName,
    /// A value is null, nested, or no finite number.
    BadValue,
    /// The inbox stayed full.
    Busy,
    /// The device's actor failed too often and is parked, which closes its inbox.
    Parked,
    /// The time stamp is older than readings are kept.
    TooOld,
    /// Whoever sent it has no right to that topic.
    NotAuthorized,
    /// Nobody has adopted its sender as a device, or an operator sent it away.
    NotAdopted,
    /// Its sender publishes faster than it may.
    Rate,
    /// An operator disabled the device, or the entity that a metric belongs to.
    Disabled,
}

impl RejectReason {
    /// Every reason, in the order of its declaration.
    pub const ALL: [Self; 16] = [
        Self::BadTopic,
        Self::BadPayload,
        Self::DeviceMismatch,
        Self::BadTimestamp,
        Self::FutureTimestamp,
        Self::NoMetrics,
        Self::TooManyMetrics,
        Self::BadName,
        Self::BadValue,
        Self::Busy,
        Self::Parked,
        Self::TooOld,
        Self::NotAuthorized,
        Self::NotAdopted,
        Self::Rate,
        Self::Disabled,
    ];

    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadTopic => "bad_topic",
            Self::BadPayload => "bad_payload",
            Self::DeviceMismatch => "device_mismatch",
            Self::BadTimestamp => "bad_timestamp",
            Self::FutureTimestamp => "future_timestamp",
            Self::NoMetrics => "no_metrics",
            Self::TooManyMetrics => "too_many_metrics",
            Self::BadName => "bad_name",
            Self::BadValue => "bad_value",
            Self::Busy => "busy",
            Self::Parked => "parked",
            Self::TooOld => "too_old",
            Self::NotAuthorized => "not_authorized",
            Self::NotAdopted => "not_adopted",
            Self::Rate => "rate",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
