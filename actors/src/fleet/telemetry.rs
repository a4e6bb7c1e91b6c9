//! What devices measured, and what they measure right now.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use voltree_model::{DeviceId, MetricName, Reading, Timestamp, Unit};

use super::Answer;

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// When it was measured.
    pub at: Timestamp,
    /// Its value.
    pub value: f64,
    /// The unit as its source wrote it.
    pub unit: Option<Unit>,
}

/// Samples of one series, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Which metric.
    pub metric: MetricName,
    /// Its samples.
    pub points: Vec<Point>,
}

/// One bucket of an aggregation; buckets without samples are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateBucket {
    /// Where the bucket begins; it ends where the next may begin.
    pub start: Timestamp,
    /// Mean of its samples.
    pub avg: f64,
    /// Smallest sample.
    pub min: f64,
    /// Largest sample.
    pub max: f64,
    /// How many samples.
    pub count: u64,
}

/// A question for samples: `from` is inside, `to` is not.
#[derive(Debug, Clone)]
pub struct PointRange {
    /// Whose.
    pub device: DeviceId,
    /// Which series.
    pub metric: MetricName,
    /// The first moment that counts.
    pub from: Timestamp,
    /// The first moment that no longer counts.
    pub to: Timestamp,
}

/// A committed reading on its way to whoever watches.
pub type LiveReading = Arc<Reading>;

/// What devices measured.
pub trait Telemetry: Send + Sync {
    /// Samples of one series in a range: the first `limit` of them.
    fn points(&self, range: PointRange, limit: usize) -> Answer<'_, Series>;
    /// Samples of one series in buckets of `interval`, aligned to 1970-01-01T00:00:00Z.
    fn aggregated(&self, range: PointRange, interval: Duration) -> Answer<'_, Vec<AggregateBucket>>;
    /// The newest sample of a series, from memory.
    fn latest(&self, device: &DeviceId, metric: &MetricName) -> Option<Point>;
    /// The series a device has; `None` for a device nobody knows.
    fn metrics(&self, device: &DeviceId) -> Option<Vec<MetricName>>;
    /// Every committed reading from now on; a receiver that falls behind is told how many it missed.
    fn live(&self) -> broadcast::Receiver<LiveReading>;
}
