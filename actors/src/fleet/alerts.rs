//! What is wrong now, and what was.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use voltree_model::{DeviceId, MetricName, Timestamp};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AlertSeverity {
    /// Good to know.
    Info,
    /// Someone should look.
    Warning,
    /// Someone should look now.
    Critical,
}

impl AlertSeverity {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlertStatus {
    /// Its condition holds.
    Active,
    /// Its condition no longer holds.
    Resolved,
}

/// One alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertView {
    /// Its identity.
    pub id: String,
    /// Which device.
    pub device: DeviceId,
    /// How bad.
    pub severity: AlertSeverity,
    /// Where it stands.
    pub status: AlertStatus,
    /// In a few words.
    pub title: String,
    /// In a sentence.
    pub message: String,
    /// The series it is about, if any.
    pub metric: Option<MetricName>,
    /// The value that raised it.
    pub value: Option<f64>,
    /// The limit that was crossed.
    pub threshold: Option<f64>,
    /// When it began.
    pub triggered_at: Timestamp,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
    /// Why it ended, unless its condition ended by itself.
    pub resolved_because: Option<String>,
}

/// What is wrong now, and what was.
pub trait Alerts: Send + Sync {
    /// Alerts whose condition holds, newest first.
    fn active(&self) -> Vec<AlertView>;
    /// Ended and active alerts that began in the range, newest first.
    fn history(&self, from: Timestamp, to: Timestamp) -> Vec<AlertView>;
    /// Alerts as they begin, from now on; a subscriber that falls behind is told how many it missed.
    fn subscribe(&self) -> broadcast::Receiver<Arc<AlertView>>;
}
