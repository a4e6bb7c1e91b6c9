//! An alert as clients see it.

use async_graphql::{Context, Enum, ID, Object, Result};
use voltree_actors::fleet::{self, AlertView, Fleet};

use super::device::Device;

/// An alert as clients see it, built from the fleet's view of it.
pub(super) struct Alert(pub(super) AlertView);

/// How bad it is.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "fleet::AlertSeverity")]
pub(super) enum AlertSeverity {
    /// Good to know.
    Info,
    /// Someone should look.
    Warning,
    /// Someone should look now.
    Critical,
}

/// Where an alert stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub(super) enum AlertStatus {
    /// Its condition holds.
    Active,
    /// Its condition holds, and somebody said that they know.
    Acknowledged,
    /// It is over.
    Resolved,
}

/// Something that is wrong with a device, or was.
#[Object]
impl Alert {
    /// Its identity.
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    /// The device it is about. Of an alert about the node itself the place in the tree, with dots, such as node.storage;
    /// then device is null.
    async fn device_id(&self) -> ID {
        ID(self.0.device.to_string())
    }

    /// The device it is about; null once the fleet no longer knows it.
    async fn device(&self, ctx: &Context<'_>) -> Result<Option<Device>> {
        Ok(ctx.data::<Fleet>()?.devices.get(&self.0.device).map(Device))
    }

    /// How bad it is.
    async fn severity(&self) -> AlertSeverity {
        self.0.severity.into()
    }

    /// Where it stands.
    async fn status(&self) -> AlertStatus {
        match self.0.status {
            fleet::AlertStatus::Active => AlertStatus::Active,
            fleet::AlertStatus::Resolved => AlertStatus::Resolved,
        }
    }

    /// What it is, in a few words.
    async fn title(&self) -> &str {
        &self.0.title
    }

    /// What it is, in a sentence.
    async fn message(&self) -> Option<&str> {
        Some(&self.0.message)
    }

    /// The metric it is about, if it is about one.
    async fn metric_name(&self) -> Option<&str> {
        self.0.metric.as_ref().map(voltree_model::MetricName::as_str)
    }

    /// The value that raised it.
    async fn metric_value(&self) -> Option<f64> {
        self.0.value
    }

    /// The limit that was crossed.
    async fn threshold(&self) -> Option<f64> {
        self.0.threshold
    }

    /// When it began, as RFC 3339 in UTC.
    async fn triggered_at(&self) -> String {
        self.0.triggered_at.to_string()
    }

    /// When somebody acknowledged it, as RFC 3339 in UTC.
    async fn acknowledged_at(&self) -> Option<String> {
        None
    }

    /// Who acknowledged it.
    async fn acknowledged_by(&self) -> Option<String> {
        None
    }

    /// When it ended, as RFC 3339 in UTC.
    async fn resolved_at(&self) -> Option<String> {
        self.0.resolved_at.map(|time| time.to_string())
    }

    /// Why it ended; null when its condition ended by itself. Otherwise nobody looks after the device, or after the value,
    /// any more.
    async fn resolved_because(&self) -> Option<&str> {
        self.0.resolved_because.as_deref()
    }

    /// Who ended it; null when its condition ended by itself.
    async fn resolved_by(&self) -> Option<String> {
        None
    }
}
