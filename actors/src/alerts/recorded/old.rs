//! Alerts as earlier versions kept them: records that did not say why an alert ended, and before that a file of all.
//!
//! Only read, never written: these are disk formats that don't change any more.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, MetricName, Timestamp};
use voltree_storage::{Error, load_snapshot};

use crate::alerts::engine::{AlertEngine, Judged};
use crate::alerts::rules::{AlertLimits, Rule};
use crate::fleet::{AlertSeverity, AlertStatus, AlertView};

/// An alert of the first version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AlertV1 {
    id: String,
    device: DeviceId,
    severity: AlertSeverity,
    status: AlertStatus,
    title: String,
    message: String,
    metric: Option<MetricName>,
    value: Option<f64>,
    threshold: Option<f64>,
    triggered_at: Timestamp,
    resolved_at: Option<Timestamp>,
}

/// The engine as it was saved whole; later beside it what was judged.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct OldEngine {
    pub(super) limits: AlertLimits,
    pub(super) cursor: u64,
    pub(super) active: BTreeMap<(Rule, DeviceId), AlertV1>,
    pub(super) ended: VecDeque<AlertV1>,
}

impl OldEngine {
    /// The engine that it means.
    pub(super) fn restored(self, judged: Judged) -> AlertEngine {
        let active = self.active.into_iter().map(|((rule, _), alert)| (Some(rule), alert.into()));
        let alerts = active.chain(self.ended.into_iter().map(|alert| (None, alert.into())));
        AlertEngine::restored(self.cursor, judged, alerts)
    }
}

impl From<AlertV1> for AlertView {
    fn from(old: AlertV1) -> Self {
        Self {
            id: old.id,
            device: old.device,
            severity: old.severity,
            status: old.status,
            title: old.title,
            message: old.message,
            metric: old.metric,
            value: old.value,
            threshold: old.threshold,
            triggered_at: old.triggered_at,
            resolved_at: old.resolved_at,
            resolved_because: None,
        }
    }
}

/// Reads the file, also in its first form, which knew nothing of what was judged.
pub(super) fn load(file: &Path) -> Result<Option<(OldEngine, Judged)>, Error> {
    match load_snapshot(file) {
        Err(Error::DecodeSnapshot { .. }) => {
            Ok(load_snapshot(file)?.map(|engine: OldEngine| (engine, Judged::default())))
        }
        loaded => loaded,
    }
}

#[cfg(test)]
impl From<AlertView> for AlertV1 {
    fn from(alert: AlertView) -> Self {
        Self {
            id: alert.id,
            device: alert.device,
            severity: alert.severity,
            status: alert.status,
            title: alert.title,
            message: alert.message,
            metric: alert.metric,
            value: alert.value,
            threshold: alert.threshold,
            triggered_at: alert.triggered_at,
            resolved_at: alert.resolved_at,
        }
    }
}
