//! The built-in limits, pure: which value of a reading crosses one, and when it is well back inside.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use voltree_model::{Metric, MetricRef, Reading};

use crate::fleet::AlertSeverity;

/// The limits. The defaults are outside of what any common lithium cell tolerates; a site tightens them to its own
/// chemistry (an LFP cell: 3.65 V and 2.5 V).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertLimits {
    /// A cell above this is over-voltage.
    pub cell_overvoltage_v: f64,
    /// A cell below this is under-voltage.
    pub cell_undervoltage_v: f64,
    /// A pack sensor above this is over-temperature.
    pub overtemperature_c: f64,
    /// A device that is not heard for this long is silent.
    pub silent_after: Duration,
    /// A reading older than this when it is judged raises nothing: it tells of the past.
    pub lateness: Duration,
}

impl Default for AlertLimits {
    fn default() -> Self {
        Self {
            cell_overvoltage_v: 4.25,
            cell_undervoltage_v: 2.5,
            overtemperature_c: 60.0,
            silent_after: Duration::from_secs(300),
            lateness: Duration::from_secs(300),
        }
    }
}

/// A built-in rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Rule {
    CellOvervoltage,
    CellUndervoltage,
    Overtemperature,
    Silent,
    ThreadStuck,
    StorageNearlyFull,
    HistoryDamaged,
}

/// How far a value must be back inside before an alert ends, so that a value at the limit does not flap.
const CELL_HYSTERESIS_V: f64 = 0.05;
const TEMPERATURE_HYSTERESIS_C: f64 = 3.0;

/// Where a reading stands with respect to one rule.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Standing {
    /// Beyond the limit: the worst value.
    Beyond { metric: Metric, threshold: f64 },
    /// Inside, but not by enough to end an alert.
    Near,
    /// Well inside.
    Inside,
}

impl Rule {
    pub(super) const VALUE_RULES: [Self; 3] =
        [Self::CellOvervoltage, Self::CellUndervoltage, Self::Overtemperature];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CellOvervoltage => "cell_overvoltage",
            Self::CellUndervoltage => "cell_undervoltage",
            Self::Overtemperature => "overtemperature",
            Self::Silent => "silent",
            Self::ThreadStuck => "thread_stuck",
            Self::StorageNearlyFull => "storage_nearly_full",
            Self::HistoryDamaged => "history_damaged",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::CellOvervoltage => "Cell over-voltage",
            Self::CellUndervoltage => "Cell under-voltage",
            Self::Overtemperature => "Over-temperature",
            Self::Silent => "Device silent",
            Self::ThreadStuck => "Thread stuck",
            Self::StorageNearlyFull => "Storage nearly full",
            Self::HistoryDamaged => "History damaged",
        }
    }

    pub(super) const fn severity(self) -> AlertSeverity {
        match self {
            Self::CellOvervoltage
            | Self::CellUndervoltage
            | Self::Overtemperature
            // A second one ends the node.
            | Self::ThreadStuck => AlertSeverity::Critical,
            Self::Silent | Self::StorageNearlyFull | Self::HistoryDamaged => AlertSeverity::Warning,
        }
    }

    /// Whether it is about what a device tells, or that it is silent, and not about the node itself.
    pub(super) const fn is_of_a_device(self) -> bool {
        match self {
            Self::CellOvervoltage | Self::CellUndervoltage | Self::Overtemperature | Self::Silent => true,
            Self::ThreadStuck | Self::StorageNearlyFull | Self::HistoryDamaged => false,
        }
    }

    /// Holds a reading against this rule; `None` if it says nothing about it.
    pub(super) fn judge(self, reading: &Reading, limits: &AlertLimits) -> Option<Standing> {
        match self {
            Self::CellOvervoltage => {
                above(reading, "cell_voltage_", limits.cell_overvoltage_v, CELL_HYSTERESIS_V)
            }
            Self::CellUndervoltage => {
                below(reading, "cell_voltage_", limits.cell_undervoltage_v, CELL_HYSTERESIS_V)
            }
            Self::Overtemperature => {
                above(reading, "temperature_", limits.overtemperature_c, TEMPERATURE_HYSTERESIS_C)
            }
            Self::Silent | Self::ThreadStuck | Self::StorageNearlyFull | Self::HistoryDamaged => None,
        }
    }
}

fn above(reading: &Reading, prefix: &str, limit: f64, hysteresis: f64) -> Option<Standing> {
    let worst = numbered(reading, prefix).max_by(|a, b| a.value.total_cmp(&b.value))?;
    Some(stand(worst, limit, worst.value > limit, worst.value > limit - hysteresis))
}

fn below(reading: &Reading, prefix: &str, limit: f64, hysteresis: f64) -> Option<Standing> {
    let worst = numbered(reading, prefix).min_by(|a, b| a.value.total_cmp(&b.value))?;
    Some(stand(worst, limit, worst.value < limit, worst.value < limit + hysteresis))
}

fn stand(worst: MetricRef<'_>, threshold: f64, beyond: bool, near: bool) -> Standing {
    match (beyond, near) {
        (true, _) => Standing::Beyond { metric: worst.to_metric(), threshold },
        (false, true) => Standing::Near,
        (false, false) => Standing::Inside,
    }
}

/// The metrics named `prefix` and a number: one per cell or sensor.
fn numbered<'a>(reading: &'a Reading, prefix: &'a str) -> impl Iterator<Item = MetricRef<'a>> {
    reading.metrics.iter().filter(move |metric| {
        metric.name.as_str().strip_prefix(prefix).is_some_and(|n| n.parse::<u16>().is_ok())
    })
}
