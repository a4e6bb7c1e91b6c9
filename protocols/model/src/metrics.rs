//! The values of a reading: which series they are of, told once for all that are alike, and the numbers.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::series::{Series, SeriesSet};
use crate::{MetricName, Unit};

/// One named value. Booleans are stored as 1 and 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Which series it belongs to.
    pub name: MetricName,
    /// Its value in `unit`.
    pub value: f64,
    /// The unit as its source wrote it.
    pub unit: Option<Unit>,
}

/// A look at one named value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MetricRef<'a> {
    /// Which series it belongs to.
    pub name: &'a MetricName,
    /// Its value in `unit`.
    pub value: f64,
    /// The unit as its source wrote it.
    pub unit: Option<&'a Unit>,
}

/// Named values in the order in which their source said them.
#[derive(Clone, PartialEq)]
pub struct Metrics {
    series: SeriesSet,
    /// As many as there are series.
    values: Box<[f64]>,
}

impl Metrics {
    /// Values of these series, in their order. More values than series, or fewer, are none of theirs.
    pub fn new(series: SeriesSet, values: impl Into<Box<[f64]>>) -> Option<Self> {
        let values = values.into();
        (series.len() == values.len()).then_some(Self { series, values })
    }

    /// What they are of.
    pub fn series(&self) -> &SeriesSet {
        &self.series
    }

    /// The numbers.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The one at this place.
    pub fn get(&self, index: usize) -> Option<MetricRef<'_>> {
        let (name, unit) = self.series.get(index)?;
        Some(MetricRef { name, value: *self.values.get(index)?, unit: unit.as_ref() })
    }

    /// Lets go of those that are not wanted.
    pub fn retain(&mut self, is_wanted: impl Fn(MetricRef<'_>) -> bool) {
        if !self.iter().all(&is_wanted) {
            *self = self.iter().filter(|metric| is_wanted(*metric)).map(MetricRef::to_metric).collect();
        }
    }

    /// All, in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = MetricRef<'_>> + ExactSizeIterator + Clone {
        self.series.iter().zip(&self.values).map(look)
    }
}

fn look<'a>(((name, unit), value): (&'a Series, &'a f64)) -> MetricRef<'a> {
    MetricRef { name, value: *value, unit: unit.as_ref() }
}

impl MetricRef<'_> {
    /// A copy of its own.
    pub fn to_metric(self) -> Metric {
        Metric { name: self.name.clone(), value: self.value, unit: self.unit.cloned() }
    }
}

impl From<Vec<Metric>> for Metrics {
    fn from(metrics: Vec<Metric>) -> Self {
        let values = metrics.iter().map(|metric| metric.value).collect();
        Self { series: SeriesSet::of_metrics(&metrics), values }
    }
}

impl FromIterator<Metric> for Metrics {
    fn from_iter<I: IntoIterator<Item = Metric>>(metrics: I) -> Self {
        metrics.into_iter().collect::<Vec<_>>().into()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// As a list of [`Metric`].
impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Metric>::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_with_their_names_and_as_many_as_there_are_series() {
        let metric = |name: &str, value, unit: Option<&str>| Metric {
            name: MetricName::new(name).unwrap(),
            value,
            unit: unit.map(|unit| Unit::new(unit).unwrap()),
        };
        let list = vec![metric("a", 1.0, Some("V")), metric("b", -0.0, None), metric("a", 2.0, None)];
        let metrics = Metrics::from(list.clone());
        assert_eq!(metrics.iter().map(MetricRef::to_metric).collect::<Vec<_>>(), list);
        assert_eq!(metrics.get(2).map(MetricRef::to_metric), list.last().cloned());
        assert_eq!((metrics.get(3), metrics.len(), metrics.is_empty()), (None, 3, false));
        let series = metrics.series().clone();
        assert_eq!(Metrics::new(series.clone(), vec![1.0, -0.0, 2.0]), Some(metrics));
        assert_eq!(Metrics::new(series, vec![1.0]), None);
        let mut rest = Metrics::from(list.clone());
        rest.retain(|metric| metric.name.as_str() == "a");
        assert_eq!(rest, Metrics::from(vec![list[0].clone(), list[2].clone()]));
    }
}
