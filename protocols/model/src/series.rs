//! Which series a reading has: a device names the same ones every time, and many devices are alike.

use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Deref;

use crate::shared::{HASHER, Known, Pool, Shared};
use crate::{Metric, MetricName, Unit};

/// So many sets are shared; of forty series each they take five megabytes.
const MOST_SHARED: usize = 4 * 1024;
/// Longer ones are not shared.
const LONGEST_SHARED: usize = 512;

/// What a value is of, and what it is measured in.
pub type Series = (MetricName, Option<Unit>);

/// The series of a reading in their order; cheap to clone, and equal ones are found so without a look at them.
#[derive(Clone)]
pub struct SeriesSet(Shared<Kept>);

struct Kept {
    hash: u64,
    series: Box<[Series]>,
    text_bytes: usize,
}

thread_local! {
    static MET: RefCell<Known<Kept>> = const { RefCell::new(Known::new()) };
}

static ALL: Pool<Kept> = Pool::new(MOST_SHARED, &MET);

impl SeriesSet {
    /// The set of these series, which are gone through twice at most.
    fn of<'a>(series: impl ExactSizeIterator<Item = (&'a MetricName, Option<&'a Unit>)> + Clone) -> Self {
        let hash = hash_of(series.clone());
        let is_it = |kept: &Kept| {
            let same = |((name, unit), (of, in_unit)): (&Series, (&MetricName, Option<&Unit>))| {
                name == of && unit.as_ref() == in_unit
            };
            kept.series.len() == series.len() && kept.series.iter().zip(series.clone()).all(same)
        };
        if let Some(known) = ALL.find(hash, is_it) {
            return Self(known);
        }
        let own = || {
            let own = |(name, unit): (&MetricName, Option<&Unit>)| (name.clone(), unit.cloned());
            let series: Box<[Series]> = series.clone().map(own).collect();
            let text_bytes = |(name, unit): &Series| {
                name.as_str().len() + unit.as_ref().map_or(0, |unit| unit.as_str().len())
            };
            Kept { hash, text_bytes: series.iter().map(text_bytes).sum(), series }
        };
        if series.len() > LONGEST_SHARED {
            return Self(Shared::Own(own().into()));
        }
        Self(ALL.keep(hash, is_it, own))
    }

    /// How long their names and units are together.
    pub fn text_bytes(&self) -> usize {
        self.0.text_bytes
    }

    /// The set of what these are of.
    pub(crate) fn of_metrics(metrics: &[Metric]) -> Self {
        Self::of(metrics.iter().map(|metric| (&metric.name, metric.unit.as_ref())))
    }
}

fn hash_of<'a>(series: impl Iterator<Item = (&'a MetricName, Option<&'a Unit>)>) -> u64 {
    let mut state = HASHER.build_hasher();
    for (name, unit) in series {
        name.hash_identity(&mut state);
        match unit {
            Some(unit) => unit.hash_identity(&mut state),
            None => state.write_u8(0),
        }
    }
    state.finish()
}

impl From<&[Series]> for SeriesSet {
    fn from(series: &[Series]) -> Self {
        Self::of(series.iter().map(|(name, unit)| (name, unit.as_ref())))
    }
}

impl Deref for SeriesSet {
    type Target = [Series];
    fn deref(&self) -> &[Series] {
        &self.0.series
    }
}

impl PartialEq for SeriesSet {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(&raw const *self.0, &raw const *other.0)
            || self.0.hash == other.0.hash && self.0.series == other.0.series
    }
}

impl Eq for SeriesSet {}

impl Hash for SeriesSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl fmt::Debug for SeriesSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str], unit: Option<&str>) -> SeriesSet {
        let series =
            |name: &&str| (MetricName::new(name).unwrap(), unit.map(|unit| Unit::new(unit).unwrap()));
        SeriesSet::from(names.iter().map(series).collect::<Vec<_>>().as_slice())
    }

    #[test]
    fn a_set_is_kept_once_and_others_differ_from_it_by_name_unit_number_and_order() {
        let first = set(&["a", "b"], Some("V"));
        let again = std::thread::scope(|scope| scope.spawn(|| set(&["a", "b"], Some("V"))).join().unwrap());
        assert!(std::ptr::eq(&raw const *first, &raw const *again));
        for other in [
            set(&["a", "c"], Some("V")),
            set(&["a", "b"], Some("mV")),
            set(&["a", "b"], None),
            set(&["a"], Some("V")),
            set(&["b", "a"], Some("V")),
            set(&[], None),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_set_that_is_too_long_to_be_shared_is_equal_to_its_like_all_the_same() {
        let names: Vec<String> = (0..=LONGEST_SHARED).map(|number| format!("m{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (first, second) = (set(&names, None), set(&names, None));
        assert!(!std::ptr::eq(&raw const *first, &raw const *second));
        assert_eq!(first, second);
        assert_ne!(first, set(&names[1..], None));
    }
}
