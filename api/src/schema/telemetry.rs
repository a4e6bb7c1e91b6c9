//! Samples as clients see them.

use async_graphql::SimpleObject;
use voltree_actors::fleet::{AggregateBucket, Point, Series};
use voltree_model::{MetricName, MetricRef, Timestamp, Unit};

/// One sample of one metric.
#[derive(SimpleObject)]
pub(super) struct TelemetryPoint {
    /// When it was measured, as RFC 3339 in UTC.
    time: String,
    /// Its value, in `unit`. Booleans are 1 and 0.
    value: f64,
    /// The unit as the device wrote it.
    unit: Option<String>,
    /// The metric.
    metric_name: String,
}

/// The samples of one metric in a range of time.
#[derive(SimpleObject)]
pub(super) struct TelemetrySeries {
    /// The metric.
    metric_name: String,
    /// Its samples, oldest first.
    points: Vec<TelemetryPoint>,
}

/// What the samples of one interval come to.
#[derive(SimpleObject)]
pub(super) struct TelemetryAggregation {
    /// When the interval begins, as RFC 3339 in UTC.
    bucket: String,
    /// Mean of its samples.
    avg: f64,
    /// Smallest sample.
    min: f64,
    /// Largest sample.
    max: f64,
    /// How many samples.
    count: u64,
}

impl TelemetryPoint {
    pub(super) fn new(metric: &MetricName, point: &Point) -> Self {
        Self::of(metric, point.value, point.unit.as_ref(), point.at)
    }

    /// One metric of a reading that has just been committed.
    pub(super) fn live(metric: MetricRef<'_>, at: Timestamp) -> Self {
        Self::of(metric.name, metric.value, metric.unit, at)
    }

    fn of(metric: &MetricName, value: f64, unit: Option<&Unit>, at: Timestamp) -> Self {
        let (time, unit) = (at.to_string(), unit.map(ToString::to_string));
        Self { time, value, unit, metric_name: metric.to_string() }
    }
}

impl From<Series> for TelemetrySeries {
    fn from(series: Series) -> Self {
        let points = series.points.iter().map(|point| TelemetryPoint::new(&series.metric, point)).collect();
        Self { metric_name: series.metric.to_string(), points }
    }
}

impl From<AggregateBucket> for TelemetryAggregation {
    fn from(bucket: AggregateBucket) -> Self {
        let AggregateBucket { start, avg, min, max, count } = bucket;
        Self { bucket: start.to_string(), avg, min, max, count }
    }
}
