//! What a chart shows of some series, and what their areas come to: energy and charge, in and out.

use std::time::Duration;

use voltree_model::{DeviceId, MetricName, Timestamp};

use super::Answer;

/// A question for some series of a device: `from` is inside, `to` is not.
#[derive(Debug, Clone)]
pub struct SeriesRange {
    /// Whose.
    pub device: DeviceId,
    /// Which series.
    pub metrics: Vec<MetricName>,
    /// The first moment that counts.
    pub from: Timestamp,
    /// The first moment that no longer counts.
    pub to: Timestamp,
}

/// Into what a range is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steps {
    /// Nothing: the whole range is one interval.
    Whole,
    /// Intervals of one width, aligned to 1970-01-01T00:00:00Z.
    Width(Duration),
    /// Days from one midnight to the next in this time zone.
    LocalDays(String),
}

/// The points that a chart shows of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct ChartLine {
    /// Which series.
    pub metric: MetricName,
    /// When and what, oldest first.
    pub points: Vec<(Timestamp, f64)>,
}

/// The samples of an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntervalSamples {
    /// How many.
    pub count: u64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their mean.
    pub avg: f64,
}

/// One interval of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct IntervalView {
    /// Where it begins.
    pub start: Timestamp,
    /// Where it ends.
    pub end: Timestamp,
    /// Its samples; there may be none where lines between others lead through.
    pub samples: Option<IntervalSamples>,
    /// The area above zero, in the series' unit times seconds.
    pub positive: f64,
    /// The area below zero, never positive itself.
    pub negative: f64,
    /// How much of the time the areas were taken over.
    pub covered: Duration,
}

/// The intervals of one series that have samples or an area.
#[derive(Debug, Clone, PartialEq)]
pub struct IntervalSeries {
    /// Which series.
    pub metric: MetricName,
    /// Oldest first.
    pub intervals: Vec<IntervalView>,
    /// From the last sample before each gap to the first after it.
    pub gaps: Vec<(Timestamp, Timestamp)>,
}

/// What charts and balances are made of.
pub trait History: Send + Sync {
    /// At most `points` points of each series that look like it.
    fn chart(&self, range: SeriesRange, points: usize) -> Answer<'_, Vec<ChartLine>>;
    /// Smallest and largest sample of each series for each of about `pixels` pixels.
    fn envelope(&self, range: SeriesRange, pixels: usize) -> Answer<'_, Vec<IntervalSeries>>;
    /// Samples and areas of each series, interval by interval.
    fn intervals(&self, range: SeriesRange, steps: Steps) -> Answer<'_, Vec<IntervalSeries>>;
}
