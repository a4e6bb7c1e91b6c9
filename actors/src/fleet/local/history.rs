//! Charts and balances from this node's store and what is still open.

use std::sync::Arc;
use std::time::Duration;

use voltree_model::{MetricName, Timestamp};
use voltree_storage::{Cancel, Error, Interval, SeriesPoint, Store, aligned_edges, local_day_edges};

use super::{Asked, LocalFleet};
use crate::fleet::{
    Answer, ChartLine, FleetError, History, IntervalSamples, IntervalSeries, IntervalView, SeriesRange, Steps,
};

/// A series with what no seal covers of it.
type Open = (MetricName, Vec<SeriesPoint>);

impl LocalFleet {
    /// Asks the store for one series after the other, on a thread that may wait for the disk.
    async fn each<T: Send + 'static>(
        &self,
        range: SeriesRange,
        ask: impl Fn(&Store, &SeriesRange, Open, &Cancel) -> Result<T, Error> + Send + 'static,
    ) -> Result<Vec<T>, FleetError> {
        self.known(&range.device)?;
        // All open readings, as a line may lead out of the range; and the head first, so that rows that move into a
        // bucket in between are seen twice and never not at all.
        let (begin, end) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        let head = self.head(Some(&range.device));
        let open = |metric: &MetricName| {
            head.map_or_else(Vec::new, |head| {
                head.with(|head| head.open_points(&range.device, metric, begin, end))
            })
        };
        let series: Vec<Open> = range.metrics.iter().map(|metric| (metric.clone(), open(metric))).collect();
        let asked = Asked::default();
        let (store, cancel) = (Arc::clone(&self.store), asked.0.clone());
        let answer = tokio::task::spawn_blocking(move || {
            series.into_iter().map(|open| ask(&store, &range, open, &cancel)).collect::<Result<Vec<_>, _>>()
        });
        answer.await.map_err(|error| FleetError::Store(error.to_string()))?.map_err(refused)
    }
}

/// A question that can't be answered is not the store's fault.
fn refused(error: Error) -> FleetError {
    let asked_wrong =
        matches!(error, Error::TooMuch { .. } | Error::UnknownZone { .. } | Error::NoCalendar { .. });
    let text = error.to_string();
    if asked_wrong { FleetError::Question(text) } else { FleetError::Store(text) }
}

impl History for LocalFleet {
    fn chart(&self, range: SeriesRange, points: usize) -> Answer<'_, Vec<ChartLine>> {
        Box::pin(self.each(range, move |store, range, (metric, open), cancel| {
            let chart = store.chart(&range.device, &metric, (range.from, range.to), points, open, cancel)?;
            let points =
                chart.iter().map(|moment| (Timestamp::from_millis(moment.at), moment.value)).collect();
            Ok(ChartLine { metric, points })
        }))
    }

    fn envelope(&self, range: SeriesRange, pixels: usize) -> Answer<'_, Vec<IntervalSeries>> {
        Box::pin(self.each(range, move |store, range, (metric, open), cancel| {
            let shown =
                store.envelope(&range.device, &metric, (range.from, range.to), pixels, open, cancel)?;
            Ok(IntervalSeries { metric, intervals: shown.iter().map(view).collect(), gaps: Vec::new() })
        }))
    }

    fn intervals(&self, range: SeriesRange, steps: Steps) -> Answer<'_, Vec<IntervalSeries>> {
        Box::pin(async move {
            let edges = edges(&range, &steps).map_err(refused)?;
            let series = self.each(range, move |store, range, (metric, open), cancel| {
                let found = store.intervals(&range.device, &metric, &edges, open, cancel)?;
                let at = Timestamp::from_millis;
                let gaps = found.gaps.iter().map(|gap| (at(gap.from), at(gap.to))).collect();
                Ok(IntervalSeries { metric, intervals: found.intervals.iter().map(view).collect(), gaps })
            });
            series.await
        })
    }
}

fn edges(range: &SeriesRange, steps: &Steps) -> Result<Vec<Timestamp>, Error> {
    match steps {
        Steps::Whole => Ok(vec![range.from, range.to]),
        Steps::Width(width) => {
            let width = i64::try_from(width.as_millis()).unwrap_or(i64::MAX);
            aligned_edges(range.from, range.to, width)
        }
        Steps::LocalDays(zone) => local_day_edges(zone, range.from, range.to),
    }
}

fn view(interval: &Interval) -> IntervalView {
    let samples = interval.samples.as_ref().map(|samples| IntervalSamples {
        count: samples.count,
        min: samples.min,
        max: samples.max,
        avg: samples.mean(),
    });
    IntervalView {
        start: Timestamp::from_millis(interval.start),
        end: Timestamp::from_millis(interval.end),
        samples,
        positive: interval.integral.positive,
        negative: interval.integral.negative,
        covered: Duration::from_millis(u64::try_from(interval.integral.covered_ms).unwrap_or_default()),
    }
}
