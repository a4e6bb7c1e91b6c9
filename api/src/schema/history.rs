//! Charts and balances: many series of a device in one answer, thinned for a screen, or as areas under their curves.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use voltree_actors::fleet::{ChartLine, Fleet, IntervalSeries, IntervalView, SeriesRange, Steps};
use voltree_model::Timestamp;

use super::arguments;
use super::error::{bad_argument, fleet_error};
use super::query::STORE_COST;

/// The most series one answer may have.
const MAX_SERIES: usize = 32;
/// The most points or pixels one answer may have, all series together.
const MAX_POINTS: usize = 20_000;
const DEFAULT_POINTS: usize = 1_000;

/// What can be asked of charts and balances.
#[derive(Default)]
pub(crate) struct HistoryQuery;

/// One point of a chart.
#[derive(SimpleObject)]
pub(super) struct ChartPoint {
    /// When, as RFC 3339 in UTC.
    time: String,
    /// The value, in the metric's unit.
    value: f64,
}

/// What a chart shows of one metric.
#[derive(SimpleObject)]
pub(super) struct ChartSeries {
    /// The metric.
    metric_name: String,
    /// Its points, oldest first.
    points: Vec<ChartPoint>,
}

/// What the samples of one metric come to in a stretch of time.
#[derive(SimpleObject)]
pub(super) struct TelemetryInterval {
    /// When it begins, as RFC 3339 in UTC.
    start: String,
    /// When it ends, as RFC 3339 in UTC.
    end: String,
    /// How many samples; without any, lines between those around it may still lead through it.
    count: u64,
    /// Smallest sample; null without samples.
    min: Option<f64>,
    /// Largest sample; null without samples.
    max: Option<f64>,
    /// Mean of the samples; null without samples.
    avg: Option<f64>,
    /// The area above zero, in the metric's unit times hours: of watts it is watt-hours, of amperes ampere-hours. As
    /// current and power are positive while a battery charges, this is what went in.
    positive_hours: f64,
    /// The area below zero, never positive itself: what came out.
    negative_hours: f64,
    /// How many seconds of it the areas cover; gaps are left out.
    covered_seconds: f64,
}

/// A silence that areas leave out.
#[derive(SimpleObject)]
pub(super) struct SeriesGap {
    /// The last sample before it, as RFC 3339 in UTC.
    from: String,
    /// The first sample after it, as RFC 3339 in UTC.
    to: String,
}

/// What one metric comes to, interval by interval.
#[derive(SimpleObject)]
pub(super) struct IntervalsOfMetric {
    /// The metric.
    metric_name: String,
    /// Its intervals that have samples or an area, oldest first.
    intervals: Vec<TelemetryInterval>,
    /// Its gaps; none are listed for charts.
    gaps: Vec<SeriesGap>,
}

/// Charts and balances.
#[Object]
impl HistoryQuery {
    /// Points that look like each metric's curve when they are drawn, chosen by largest triangles; no peak that could be
    /// seen is left out. From the samples themselves up to six hours, from summaries beyond.
    #[graphql(complexity = "points_cost(points, metric_names.len()) + child_complexity")]
    async fn device_chart(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] device_id: ID,
        #[graphql(desc = "The metrics, as deviceMetrics names them, 1 to 32.")] metric_names: Vec<String>,
        #[graphql(desc = "The first moment that counts, as RFC 3339.")] from: String,
        #[graphql(desc = "The first moment that no longer counts, as RFC 3339.")] to: String,
        #[graphql(
            desc = "The most points of each metric; those of all metrics together may be 20000.",
            default_with = "Some(1000)"
        )]
        points: Option<i32>,
    ) -> Result<Vec<ChartSeries>> {
        let range = range(&device_id, &metric_names, &from, &to)?;
        let points = shared("points", points, range.metrics.len())?;
        let lines = ctx.data::<Fleet>()?.history.chart(range, points).await.map_err(fleet_error)?;
        Ok(lines.into_iter().map(ChartSeries::from).collect())
    }

    /// Smallest and largest sample of each metric for each pixel of a chart. Where a pixel is wider than a minute it is
    /// of whole minutes, so there may be fewer intervals than pixels.
    #[graphql(complexity = "points_cost(pixels, metric_names.len()) + child_complexity")]
    async fn device_envelope(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] device_id: ID,
        #[graphql(desc = "The metrics, as deviceMetrics names them, 1 to 32.")] metric_names: Vec<String>,
        #[graphql(desc = "The first moment that counts, as RFC 3339.")] from: String,
        #[graphql(desc = "The first moment that no longer counts, as RFC 3339.")] to: String,
        #[graphql(
            desc = "How many pixels each metric has; those of all metrics together may be 20000.",
            default_with = "Some(1000)"
        )]
        pixels: Option<i32>,
    ) -> Result<Vec<IntervalsOfMetric>> {
        let range = range(&device_id, &metric_names, &from, &to)?;
        let pixels = shared("pixels", pixels, range.metrics.len())?;
        let shown = ctx.data::<Fleet>()?.history.envelope(range, pixels).await.map_err(fleet_error)?;
        Ok(shown.into_iter().map(IntervalsOfMetric::from).collect())
    }

    /// Samples and areas of each metric: energy from power and charge from current, in and out apart, over a whole range,
    /// over intervals of equal width, or over the days of a time zone.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the schema")]
    #[graphql(complexity = "STORE_COST * metric_names.len().clamp(1, MAX_SERIES) + child_complexity")]
    async fn device_integrals(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] device_id: ID,
        #[graphql(desc = "The metrics, as deviceMetrics names them, 1 to 32.")] metric_names: Vec<String>,
        #[graphql(desc = "The first moment that counts, as RFC 3339.")] from: String,
        #[graphql(desc = "The first moment that no longer counts, as RFC 3339.")] to: String,
        #[graphql(
            desc = "The width: a whole number of minutes, hours or days (of UTC), such as \"15 minutes\". The whole \
                    range is one interval without it."
        )]
        interval: Option<String>,
        #[graphql(
            desc = "Divides the range into the days of this time zone instead, such as Europe/Berlin: of 23, 24 or 25 \
                    hours where clocks change."
        )]
        local_days_in: Option<String>,
    ) -> Result<Vec<IntervalsOfMetric>> {
        let range = range(&device_id, &metric_names, &from, &to)?;
        let steps = steps(&range, interval.as_deref(), local_days_in)?;
        let found = ctx.data::<Fleet>()?.history.intervals(range, steps).await.map_err(fleet_error)?;
        Ok(found.into_iter().map(IntervalsOfMetric::from).collect())
    }
}

fn steps(range: &SeriesRange, interval: Option<&str>, zone: Option<String>) -> Result<Steps> {
    match (interval, zone) {
        (Some(_), Some(_)) => Err(bad_argument("localDaysIn", "can't be given together with interval")),
        (None, None) => Ok(Steps::Whole),
        (Some(interval), None) => {
            let width = arguments::interval(interval)?;
            arguments::check_buckets(range.from, range.to, width)?;
            Ok(Steps::Width(width))
        }
        (None, Some(zone)) => {
            // A local day has 23 hours at the least.
            let day = std::time::Duration::from_secs(23 * 60 * 60);
            arguments::check_buckets(range.from, range.to, day)?;
            Ok(Steps::LocalDays(zone))
        }
    }
}

fn range(device: &ID, metrics: &[String], from: &str, to: &str) -> Result<SeriesRange> {
    if !(1..=MAX_SERIES).contains(&metrics.len()) {
        let given = metrics.len();
        return Err(bad_argument("metricNames", format!("{given} metrics; expected 1 to {MAX_SERIES}")));
    }
    let device = arguments::device_id("deviceId", device)?;
    let metrics =
        metrics.iter().map(|name| arguments::metric_name("metricNames", name)).collect::<Result<_>>()?;
    let (from, to) = arguments::range(from, to)?;
    Ok(SeriesRange { device, metrics, from, to })
}

/// How many points each series may have.
fn shared(argument: &str, given: Option<i32>, series: usize) -> Result<usize> {
    let given = given.map_or(Some(DEFAULT_POINTS), |given| usize::try_from(given).ok()).unwrap_or(0);
    let most = MAX_POINTS / series.max(1);
    if (1..=most).contains(&given) {
        return Ok(given);
    }
    Err(bad_argument(argument, format!("{given} for each of {series} metrics; expected 1 to {most}")))
}

/// The more points may be answered, the more the question costs, so that aliases can't multiply large answers.
fn points_cost(points: Option<i32>, series: usize) -> usize {
    let points = points.map_or(DEFAULT_POINTS, |points| usize::try_from(points).unwrap_or(0));
    let series = series.clamp(1, MAX_SERIES);
    STORE_COST + series * points.min(MAX_POINTS) / 100
}

impl From<ChartLine> for ChartSeries {
    fn from(line: ChartLine) -> Self {
        let points = line.points.into_iter().map(|(at, value)| ChartPoint { time: at.to_string(), value });
        Self { metric_name: line.metric.to_string(), points: points.collect() }
    }
}

impl From<IntervalSeries> for IntervalsOfMetric {
    fn from(series: IntervalSeries) -> Self {
        let gap =
            |(from, to): (Timestamp, Timestamp)| SeriesGap { from: from.to_string(), to: to.to_string() };
        Self {
            metric_name: series.metric.to_string(),
            intervals: series.intervals.into_iter().map(TelemetryInterval::from).collect(),
            gaps: series.gaps.into_iter().map(gap).collect(),
        }
    }
}

impl From<IntervalView> for TelemetryInterval {
    fn from(interval: IntervalView) -> Self {
        const SECONDS_AN_HOUR: f64 = 3_600.0;
        let IntervalView { start, end, samples, positive, negative, covered } = interval;
        Self {
            start: start.to_string(),
            end: end.to_string(),
            count: samples.map_or(0, |samples| samples.count),
            min: samples.map(|samples| samples.min),
            max: samples.map(|samples| samples.max),
            avg: samples.map(|samples| samples.avg),
            positive_hours: positive / SECONDS_AN_HOUR,
            negative_hours: negative / SECONDS_AN_HOUR,
            covered_seconds: covered.as_secs_f64(),
        }
    }
}
