//! Series as readers want them: what is sealed and what is still open put together, and buckets of a fixed width.

use voltree_model::{Origin, Timestamp, Unit};

/// One value of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesPoint {
    /// When it was measured.
    pub at: Timestamp,
    /// Its value.
    pub value: f64,
    /// The unit as its source wrote it.
    pub unit: Option<Unit>,
    /// The highest origin that its row has seen.
    pub origin: Origin,
}

/// The samples of one stretch of time, summed up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aggregate {
    /// Where the stretch begins.
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

/// Merges what is sealed and what is open, both in the order of time; of two values of one moment the one with the
/// higher origin stays, and the open one if they are equal.
pub fn merge_series(sealed: Vec<SeriesPoint>, open: Vec<SeriesPoint>) -> Vec<SeriesPoint> {
    if open.is_empty() {
        return sealed;
    }
    let mut merged: Vec<SeriesPoint> = Vec::with_capacity(sealed.len() + open.len());
    let (mut sealed, mut open) = (sealed.into_iter().peekable(), open.into_iter().peekable());
    while let (Some(a), Some(b)) = (sealed.peek(), open.peek()) {
        let order = a.at.cmp(&b.at);
        let take_sealed = order.is_lt() || (order.is_eq() && a.origin > b.origin);
        if order.is_eq() {
            // Drops the loser.
            if take_sealed {
                open.next()
            } else {
                sealed.next()
            };
        }
        merged.extend(if take_sealed { sealed.next() } else { open.next() });
    }
    merged.extend(sealed);
    merged.extend(open);
    merged
}

/// Sums points, in the order of time, up in stretches of `interval_ms` aligned to 1970-01-01T00:00:00Z; stretches
/// without points are left out.
pub fn aggregate(points: &[SeriesPoint], interval_ms: i64) -> Vec<Aggregate> {
    let interval_ms = interval_ms.max(1);
    let mut buckets: Vec<Aggregate> = Vec::new();
    for point in points {
        let at = point.at.as_millis();
        let start = Timestamp::from_millis(at.saturating_sub(at.rem_euclid(interval_ms)));
        match buckets.last_mut().filter(|bucket| bucket.start == start) {
            Some(bucket) => bucket.add(point.value),
            None => {
                let value = point.value;
                buckets.push(Aggregate { start, avg: value, min: value, max: value, count: 1 });
            }
        }
    }
    buckets
}

impl Aggregate {
    fn add(&mut self, value: f64) {
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        // A running mean, as a sum of large values would lose the small ones.
        #[expect(clippy::cast_precision_loss, reason = "nobody waits for 2^53 samples")]
        let count = self.count as f64;
        self.avg += (value - self.avg) / count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: i64, value: f64, sequence: u64) -> SeriesPoint {
        let origin = Origin { epoch: 0, sequence };
        SeriesPoint { at: Timestamp::from_millis(at), value, unit: None, origin }
    }

    fn brief(points: &[SeriesPoint]) -> Vec<(i64, f64)> {
        points.iter().map(|point| (point.at.as_millis(), point.value)).collect()
    }

    #[test]
    fn of_two_values_of_one_moment_the_higher_origin_stays() {
        let sealed = vec![point(1, 1.0, 1), point(2, 2.0, 5), point(3, 3.0, 3)];
        let open = vec![point(2, 20.0, 4), point(3, 30.0, 3), point(4, 40.0, 6)];
        assert_eq!(brief(&merge_series(sealed, open)), [(1, 1.0), (2, 2.0), (3, 30.0), (4, 40.0)]);
    }

    #[test]
    fn stretches_are_aligned_also_before_1970() {
        let points = [
            point(-1_500, 1.0, 1),
            point(-1, 2.0, 2),
            point(0, 3.0, 3),
            point(999, 5.0, 4),
            point(2_000, 7.0, 5),
        ];
        let buckets = aggregate(&points, 1_000);
        let brief: Vec<_> =
            buckets.iter().map(|b| (b.start.as_millis(), b.avg, b.min, b.max, b.count)).collect();
        assert_eq!(
            brief,
            [
                (-2_000, 1.0, 1.0, 1.0, 1),
                (-1_000, 2.0, 2.0, 2.0, 1),
                (0, 4.0, 3.0, 5.0, 2),
                (2_000, 7.0, 7.0, 7.0, 1)
            ]
        );
    }
}
