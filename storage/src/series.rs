//! Series as readers want them: what is sealed and what is still open put together.

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
}
