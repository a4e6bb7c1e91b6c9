//! A reading that no seal covers yet, as small as it can be held: a fleet keeps ten minutes of them in memory.
//!
//! Names and units stand once for all readings of a device that have the same, which is nearly every one.

use std::sync::Arc;

use voltree_model::{Metric, MetricName, Origin, Reading, Timestamp, Unit};

use crate::Lsn;

/// What a value is of, and what it is measured in.
pub(crate) type Series = (MetricName, Option<Unit>);

/// A reading that no seal covers yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OpenReading {
    pub(crate) lsn: Lsn,
    pub(crate) at: Timestamp,
    pub(crate) origin: Origin,
    series: Arc<[Series]>,
    values: Box<[f64]>,
}

impl OpenReading {
    /// Takes over a reading; `known` are the series of one before it.
    pub(crate) fn new(lsn: Lsn, origin: Origin, reading: &Reading, known: Option<&Self>) -> Self {
        let metrics = &reading.metrics;
        let known = known.filter(|known| known.has_series_of(metrics));
        let series = known.map_or_else(
            || metrics.iter().map(|metric| (metric.name.clone(), metric.unit.clone())).collect(),
            |known| Arc::clone(&known.series),
        );
        let values = metrics.iter().map(|metric| metric.value).collect();
        Self { lsn, at: reading.at, origin, series, values }
    }

    fn has_series_of(&self, metrics: &[Metric]) -> bool {
        let same = |((name, unit), metric): (&Series, &Metric)| *name == metric.name && *unit == metric.unit;
        self.series.len() == metrics.len() && self.series.iter().zip(metrics).all(same)
    }

    /// What its values are of.
    pub(crate) fn series(&self) -> &[Series] {
        &self.series
    }

    /// Its values, in the order of its series.
    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// Whether the values of both are of the same, in the same order.
    pub(crate) fn has_series_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.series, &other.series) || self.series == other.series
    }

    /// What was measured.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let metric = |((name, unit), value): (&Series, &f64)| Metric {
            name: name.clone(),
            value: *value,
            unit: unit.clone(),
        };
        self.series.iter().zip(&self.values).map(metric).collect()
    }

    /// The value of a series with its unit; of two values of one name the later.
    pub(super) fn value(&self, of: &MetricName) -> Option<(f64, Option<Unit>)> {
        let mut all = self.series.iter().zip(&self.values).rev();
        all.find(|((name, _), _)| name == of).map(|((_, unit), value)| (*value, unit.clone()))
    }
}

#[cfg(test)]
mod tests {
    use voltree_model::DeviceId;

    use super::*;

    fn reading(metrics: &[(&str, f64, Option<&str>)]) -> Reading {
        let metric = |(name, value, unit): &(&str, f64, Option<&str>)| Metric {
            name: MetricName::new(name).unwrap(),
            value: *value,
            unit: unit.map(|unit| Unit::new(unit).unwrap()),
        };
        Reading {
            device: DeviceId::new("d").unwrap(),
            at: Timestamp::from_millis(7),
            metrics: metrics.iter().map(metric).collect(),
            attributes: Vec::new(),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn readings_of_the_same_series_share_them_and_others_have_their_own() {
        let origin = Origin { epoch: 0, sequence: 1 };
        let first = reading(&[("a", 1.0, Some("V")), ("b", 2.0, None), ("a", 3.0, Some("V"))]);
        let open = OpenReading::new(Lsn(1), origin, &first, None);
        assert_eq!(open.metrics(), first.metrics);
        assert_eq!(
            open.value(&MetricName::new("a").unwrap()),
            Some((3.0, Some(Unit::new("V").unwrap()))),
            "the later one"
        );
        let alike = reading(&[("a", 4.0, Some("V")), ("b", 5.0, None), ("a", 6.0, Some("V"))]);
        let next = OpenReading::new(Lsn(2), origin, &alike, Some(&open));
        assert!(Arc::ptr_eq(&open.series, &next.series));
        assert_eq!(next.metrics(), alike.metrics);
        for other in [&[("a", 1.0, Some("mV")), ("b", 2.0, None)][..], &[("a", 1.0, Some("V"))], &[]] {
            let other = reading(other);
            let own = OpenReading::new(Lsn(3), origin, &other, Some(&open));
            assert_eq!(own.metrics(), other.metrics);
        }
    }
}
