//! What a chart shows of a series: as many points as it has room for, and no peak left out that its pixels could show.

use minmaxlttb::{LttbBuilder, LttbMethod, Point};
use voltree_model::{DeviceId, MetricName, Timestamp};

use super::{Cancel, Interval, aligned_edges};
use crate::rollup::{HOUR_MS, MINUTE_MS, Moment};
use crate::{Error, SeriesPoint, Store};

/// The most points or pixels that a chart may ask for.
const MAX_POINTS: usize = 20_000;
/// A chart of so much time or less is drawn from the samples themselves.
const FROM_SAMPLES_MS: i64 = 6 * HOUR_MS;
/// The most samples that are looked at for one chart.
const MAX_SAMPLES: usize = 2_000_000;

impl Store {
    /// The smallest and largest sample for each pixel of a chart, and what else an interval says; from rollups where a
    /// pixel is a minute wide or more, and then of whole minutes, so that there may be fewer intervals than pixels.
    pub fn envelope(
        &self,
        device: &DeviceId,
        metric: &MetricName,
        (from, to): (Timestamp, Timestamp),
        pixels: usize,
        open: Vec<SeriesPoint>,
        cancel: &Cancel,
    ) -> Result<Vec<Interval>, Error> {
        check(pixels)?;
        let pixels = i64::try_from(pixels.max(1)).unwrap_or(i64::MAX);
        let width = to.as_millis().saturating_sub(from.as_millis()).saturating_add(pixels - 1) / pixels;
        let width = if width > MINUTE_MS {
            width.saturating_add(MINUTE_MS - 1) / MINUTE_MS * MINUTE_MS
        } else {
            width
        };
        let edges = aligned_edges(from, to, width)?;
        Ok(self.intervals(device, metric, &edges, open, cancel)?.intervals)
    }

    /// At most `points` points that look like the series: by largest triangles, from the samples if the range is short,
    /// and else from what [`Self::envelope`] says of twice as many intervals.
    pub fn chart(
        &self,
        device: &DeviceId,
        metric: &MetricName,
        (from, to): (Timestamp, Timestamp),
        points: usize,
        open: Vec<SeriesPoint>,
        cancel: &Cancel,
    ) -> Result<Vec<Moment>, Error> {
        check(points)?;
        if to.as_millis().saturating_sub(from.as_millis()) <= FROM_SAMPLES_MS {
            let series = [(metric.clone(), open)];
            let samples = self.samples(device, &series, (from, to), MAX_SAMPLES, cancel)?;
            return thin(samples.into_iter().next().unwrap_or_default(), points);
        }
        let pixels = points.saturating_mul(2).min(MAX_POINTS);
        let intervals = self.envelope(device, metric, (from, to), pixels, open, cancel)?;
        thin(intervals.iter().flat_map(outline).collect(), points)
    }
}

fn check(points: usize) -> Result<(), Error> {
    if points > MAX_POINTS { Err(Error::TooMuch { what: "points", most: MAX_POINTS }) } else { Ok(()) }
}

/// The first, smallest, largest and last sample of an interval. When exactly the middle two were is not known, which no
/// pixel could show.
fn outline(interval: &Interval) -> Vec<Moment> {
    let Some(samples) = &interval.samples else { return Vec::new() };
    let (first, last) = (samples.first, samples.last);
    let third = (last.at - first.at) / 3;
    let (early, late) =
        if first.value <= last.value { (samples.min, samples.max) } else { (samples.max, samples.min) };
    let between =
        [(first.at + third, early), (last.at - third, late)].map(|(at, value)| Moment { at, value });
    let mut outline = vec![first];
    outline.extend(between.into_iter().filter(|_| third > 0));
    outline.extend((last.at > first.at).then_some(last));
    outline
}

/// Leaves at most `points` of them.
fn thin(moments: Vec<Moment>, points: usize) -> Result<Vec<Moment>, Error> {
    if moments.len() <= points {
        return Ok(moments);
    }
    if points < 3 {
        return Ok(moments.into_iter().take(points).collect());
    }
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this age are exact")]
    let as_points: Vec<_> = moments.iter().map(|moment| Point::new(moment.at as f64, moment.value)).collect();
    let lttb = LttbBuilder::new().threshold(points).method(LttbMethod::MinMax).build();
    let chosen = lttb.downsample(&as_points).map_err(|error| Error::Chart { why: error.to_string() })?;
    #[expect(clippy::cast_possible_truncation, reason = "they were integers")]
    Ok(chosen.iter().map(|point| Moment { at: point.x() as i64, value: point.y() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_survives_thinning_and_so_do_the_ends() {
        let mut moments: Vec<_> = (0..10_000).map(|at| Moment { at, value: 1.0 }).collect();
        moments[6_543].value = 50.0;
        let thinned = thin(moments.clone(), 100).unwrap();
        assert_eq!(thinned.len(), 100);
        assert!(thinned.contains(&moments[6_543]));
        assert_eq!((thinned.first(), thinned.last()), (moments.first(), moments.last()));
        assert!(thinned.is_sorted_by_key(|moment| moment.at));
        assert_eq!(thin(moments.split_off(9_950), 100).unwrap().len(), 50);
    }
}
