//! A reading that no seal covers yet, as small as it can be held: a fleet keeps ten minutes of them in memory.
//!
//! A battery says every second what it said before, but for a few numbers. So a reading is held as what differs from an
//! earlier one of its device, which stands for up to [`BASE_SERVES`] of them and has the names and units. Values come
//! out as they went in, bit for bit.

use std::cell::RefCell;
use std::sync::Arc;

use voltree_model::{MetricName, Metrics, Origin, Reading, SeriesSet, Timestamp, Unit};

use super::differences::{self, Values};
use crate::Lsn;

/// A reading that no seal covers yet; copies of it are cheap.
#[derive(Debug, Clone)]
pub(crate) struct OpenReading {
    pub(crate) lsn: Lsn,
    pub(crate) at: Timestamp,
    base: Arc<Base>,
    /// How far its sequence is from the base's, and the differences of its values.
    data: Arc<[u8]>,
}

/// What readings are held against.
#[derive(Debug)]
struct Base {
    origin: Origin,
    series: SeriesSet,
    values: Box<[f64]>,
}

/// What a distance from the base's sequence takes.
const DISTANCE_BYTES: usize = 2;

thread_local! {
    /// Where differences are put together, until it is known how long they are.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl OpenReading {
    /// Takes over a reading, against the base of one before it if that has the same series.
    pub(crate) fn new(lsn: Lsn, origin: Origin, reading: &Reading, before: Option<&Self>) -> Self {
        match before.filter(|before| before.series() == reading.metrics.series()) {
            Some(before) => Self::alike(lsn, origin, reading, before),
            None => Self::as_base(lsn, origin, reading, None),
        }
    }

    /// Takes over a reading that has the series of one before it.
    pub(super) fn alike(lsn: Lsn, origin: Origin, reading: &Reading, before: &Self) -> Self {
        let against = Self::against(&before.base, lsn, origin, reading);
        against.unwrap_or_else(|| Self::as_base(lsn, origin, reading, Some(before)))
    }

    /// Takes over a reading that later ones may be held against; `alike` has the same series.
    pub(super) fn as_base(lsn: Lsn, origin: Origin, reading: &Reading, alike: Option<&Self>) -> Self {
        // A set that is too long to be shared is told once, too.
        let series = alike.map_or(reading.metrics.series(), |alike| &alike.base.series).clone();
        let values = reading.metrics.values().into();
        let data = [[0; DISTANCE_BYTES].as_slice(), &differences::none(series.len())].concat();
        let base = Arc::new(Base { origin, series, values });
        Self { lsn, at: reading.at, base, data: data.into() }
    }

    /// The reading against a base of the same series, unless it is too far from it.
    fn against(base: &Arc<Base>, lsn: Lsn, origin: Origin, reading: &Reading) -> Option<Self> {
        let distance = origin.sequence.checked_sub(base.origin.sequence)?;
        let distance = u16::try_from(distance).ok().filter(|_| origin.epoch == base.origin.epoch)?;
        let data: Arc<[u8]> = SCRATCH.with_borrow_mut(|data| {
            data.clear();
            data.extend_from_slice(&distance.to_le_bytes());
            differences::push(data, &base.values, reading.metrics.values());
            data.as_slice().into()
        });
        Some(Self { lsn, at: reading.at, base: Arc::clone(base), data })
    }

    /// Where it stands among its device's.
    pub(crate) fn origin(&self) -> Origin {
        let distance = self.data.first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes));
        let Origin { epoch, sequence } = self.base.origin;
        Origin { epoch, sequence: sequence.saturating_add(u64::from(distance)) }
    }

    /// What its values are of.
    pub(crate) fn series(&self) -> &SeriesSet {
        &self.base.series
    }

    /// Its values, in the order of its series.
    pub(crate) fn values(&self) -> Values<'_> {
        Values::new(&self.base.values, self.data.get(DISTANCE_BYTES..).unwrap_or_default())
    }

    /// Adds its values, in the order of its series.
    pub(crate) fn push_values(&self, values: &mut Vec<f64>) {
        let data = self.data.get(DISTANCE_BYTES..).unwrap_or_default();
        differences::restore(&self.base.values, data, values);
    }

    /// What was measured.
    pub(crate) fn metrics(&self) -> Metrics {
        let values: Box<[f64]> = self.values().collect();
        Metrics::new(self.base.series.clone(), values).expect("a base has as many values as series")
    }

    /// The value of a series with its unit; of two values of one name the later.
    pub(super) fn value(&self, of: &MetricName) -> Option<(f64, Option<Unit>)> {
        let index = self.series().iter().rposition(|(name, _)| name == of)?;
        let (_, unit) = self.series().get(index)?;
        Some((self.values().nth(index)?, unit.clone()))
    }

    /// How much memory it takes besides its base.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + self.data.len()
    }

    /// Whether so many of its values differ from the base's that another would serve better.
    pub(super) fn is_far_from_base(&self) -> bool {
        self.data.len() > DISTANCE_BYTES + differences::most_bytes(self.base.values.len()) / 2
    }
}

#[cfg(test)]
mod tests {
    use voltree_model::{DeviceId, Metric};

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
        let origin = Origin { epoch: 0, sequence: 65_536 };
        let next = OpenReading::new(Lsn(2), origin, &alike, Some(&open));
        assert!(Arc::ptr_eq(&open.base, &next.base));
        assert_eq!(next.origin(), origin);
        assert_eq!(next.metrics(), alike.metrics);
        for other in [&[("a", 1.0, Some("mV")), ("b", 2.0, None)][..], &[("a", 1.0, Some("V"))], &[]] {
            let other = reading(other);
            let own = OpenReading::new(Lsn(3), origin, &other, Some(&open));
            assert_eq!(own.metrics(), other.metrics);
        }
    }
    #[test]
    fn a_reading_that_is_too_far_from_another_stands_for_itself() {
        let origin = |epoch, sequence| Origin { epoch, sequence };
        let reading = reading(&[("a", f64::NAN, Some("V"))]);
        let before = OpenReading::new(Lsn(1), origin(1, 7), &reading, None);
        for far in [origin(1, 6), origin(1, 65_543), origin(0, 8), origin(2, 8)] {
            let own = OpenReading::new(Lsn(2), far, &reading, Some(&before));
            assert_eq!(own.origin(), far);
            assert!(own.base.series == before.base.series && own.values().all(f64::is_nan));
        }
    }
}
