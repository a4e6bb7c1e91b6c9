//! A row: all that a device said of one moment, put together from its readings.
//!
//! A row remembers which readings brought it something new. So the question whether a reading was stored or a
//! duplicate has one answer, however often a kill makes us ask it again.

use voltree_model::{MetricName, MetricRef, Metrics, Origin, Unit};

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Which series it belongs to.
    pub name: MetricName,
    /// The value.
    pub value: f64,
    /// The unit as its source wrote it.
    pub unit: Option<Unit>,
}

/// What a reading was to its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absorbed {
    /// It was the first of its moment, or brought a series that was missing.
    Stored,
    /// Another reading had said all of it.
    Duplicate,
}

/// All that a device said of one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The highest origin that the row has seen.
    pub origin: Origin,
    /// The readings that count as stored, at most one per series.
    pub stored: Vec<Origin>,
    /// The values, sorted by name.
    pub samples: Vec<Sample>,
}

impl Sample {
    fn of(MetricRef { name, value, unit }: MetricRef<'_>) -> Self {
        Self { name: name.clone(), value, unit: unit.cloned() }
    }
}

impl Row {
    /// A row of a single reading.
    pub fn new(origin: Origin, metrics: &Metrics) -> Self {
        // Of two values of one name the later counts, so it must come first to stay.
        let mut samples: Vec<Sample> = metrics.iter().rev().map(Sample::of).collect();
        samples.sort_by(|a, b| a.name.cmp(&b.name));
        samples.dedup_by(|later, kept| later.name == kept.name);
        Self { origin, stored: vec![origin], samples }
    }

    /// Takes in another reading of the same moment. Of two values the one with the higher origin stays.
    pub fn absorb(&mut self, origin: Origin, metrics: &Metrics) -> Absorbed {
        if self.stored.contains(&origin) {
            return Absorbed::Stored;
        }
        let before = self.samples.len();
        self.merge(metrics, origin >= self.origin);
        self.origin = self.origin.max(origin);
        if self.samples.len() == before {
            return Absorbed::Duplicate;
        }
        self.stored.push(origin);
        Absorbed::Stored
    }

    /// The value of a series.
    pub fn sample(&self, name: &MetricName) -> Option<&Sample> {
        let index = self.samples.binary_search_by(|sample| sample.name.cmp(name)).ok()?;
        self.samples.get(index)
    }

    fn merge(&mut self, metrics: &Metrics, overwrite: bool) {
        for metric in metrics.iter() {
            match self.samples.binary_search_by(|sample| sample.name.cmp(metric.name)) {
                Ok(index) if overwrite => self.samples[index] = Sample::of(metric),
                Ok(_) => {}
                Err(index) => self.samples.insert(index, Sample::of(metric)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use voltree_model::Metric;

    use super::*;

    fn origin(sequence: u64) -> Origin {
        Origin { epoch: 0, sequence }
    }

    fn metrics(values: &[(&str, f64)]) -> Metrics {
        let metric = |(name, value): &(&str, f64)| Metric {
            name: MetricName::new(name).unwrap(),
            value: *value,
            unit: None,
        };
        values.iter().map(metric).collect()
    }

    fn values(row: &Row) -> Vec<(&str, f64)> {
        row.samples.iter().map(|sample| (sample.name.as_str(), sample.value)).collect()
    }

    #[test]
    fn the_higher_origin_wins_and_what_only_one_has_is_kept() {
        let mut row = Row::new(origin(2), &metrics(&[("b", 2.0), ("a", 2.0)]));
        assert_eq!(row.absorb(origin(3), &metrics(&[("b", 3.0)])), Absorbed::Duplicate);
        assert_eq!(row.absorb(origin(1), &metrics(&[("a", 1.0), ("c", 1.0)])), Absorbed::Stored);
        assert_eq!(values(&row), [("a", 2.0), ("b", 3.0), ("c", 1.0)]);
        assert_eq!(row.origin, origin(3));
    }

    #[test]
    fn asking_again_gives_the_same_answers() {
        let readings =
            [(1, metrics(&[("a", 1.0)])), (2, metrics(&[("a", 2.0)])), (3, metrics(&[("b", 3.0)]))];
        let mut row = Row::new(origin(1), &readings[0].1);
        let first: Vec<_> = readings.iter().map(|(n, metrics)| row.absorb(origin(*n), metrics)).collect();
        let after_first = row.clone();
        let again: Vec<_> = readings.iter().map(|(n, metrics)| row.absorb(origin(*n), metrics)).collect();
        assert_eq!(first, [Absorbed::Stored, Absorbed::Duplicate, Absorbed::Stored]);
        assert_eq!((again, row), (first, after_first));
    }
}
