//! The readings of a simulated fleet: 23 metrics of a battery once a second, the same for the same numbers always.
//!
//! Shaped like what boards report: 16 cells in steps of 1 mV with offsets of their own, a slow drift and noise; voltage
//! and current in steps of 0.1; a state of charge in steps of 0.1 %; four temperatures in whole degrees; and clocks that
//! are off by some milliseconds each time.

use voltree_model::{DeviceId, MetricName, Metrics, Origin, Reading, SeriesSet, Timestamp, Unit};
use voltree_storage::Entry;

/// How many metrics a reading has.
pub(super) const METRICS: usize = CELLS + 7;
const CELLS: usize = 16;
/// 2026-01-01T00:00:00Z.
pub(super) const BEGIN_MS: i64 = 1_767_225_600_000;
/// How far a clock is off, in milliseconds.
const JITTER_MS: f64 = 5.0;

/// What one device reports, second by second.
#[derive(Debug)]
pub(super) struct Battery {
    id: DeviceId,
    columns: SeriesSet,
    random: fastrand::Rng,
    offsets: [f64; CELLS],
    phase: f64,
    load: f64,
    second: u32,
}

/// One reading in numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sampled {
    /// When, in UTC milliseconds.
    pub(super) at: i64,
    /// The values, in the order of [`Battery::columns`].
    pub(super) values: [f64; METRICS],
}

impl Battery {
    /// The battery of a number.
    pub(super) fn new(number: u32) -> Self {
        let mut random = fastrand::Rng::with_seed(u64::from(number) + 1);
        let mut offset = || (random.f64() - 0.5) * 0.04;
        let offsets = std::array::from_fn(|_| offset());
        let cells = (1..=CELLS).map(|n| (format!("cell_{n}_voltage"), "V"));
        let temperatures = (1..=4).map(|n| (format!("temperature_{n}"), "°C"));
        let whole = [("pack_voltage", "V"), ("current", "A"), ("soc", "%")].map(|(n, u)| (n.to_owned(), u));
        let column = |(name, unit): (String, &str)| {
            let name = MetricName::new(name).expect("these names are short and plain");
            (name, Unit::new(unit).ok())
        };
        Self {
            id: DeviceId::new(format!("b{number:03}")).expect("a number makes a good id"),
            columns: cells.chain(whole).chain(temperatures).map(column).collect::<Vec<_>>().as_slice().into(),
            phase: random.f64(),
            random,
            offsets,
            load: 0.0,
            second: 0,
        }
    }

    /// Its id.
    pub(super) fn id(&self) -> &DeviceId {
        &self.id
    }

    /// The names of its metrics.
    pub(super) fn columns(&self) -> impl Iterator<Item = &MetricName> {
        self.columns.iter().map(|(name, _)| name)
    }

    /// What it reports next.
    pub(super) fn sample(&mut self) -> Sampled {
        let seconds = f64::from(self.second);
        let day = std::f64::consts::TAU * (seconds / 86_400.0 + self.phase);
        if self.second.is_multiple_of(300) {
            self.load = (self.random.f64() - 0.5) * 40.0;
        }
        let jitter = to_millis(self.noise(JITTER_MS)).clamp(-400, 400);
        let at = BEGIN_MS + i64::from(self.second) * 1_000 + jitter;
        let mut values = [0.0; METRICS];
        for (value, offset) in values.iter_mut().zip(self.offsets) {
            let noise = gauss(&mut self.random) * 0.000_8;
            *value = steps(3.3 + 0.1 * day.sin() + self.load * 0.000_5 + offset + noise, 1_000.0);
        }
        let pack: f64 = values.iter().take(CELLS).sum();
        let rest = [
            steps(pack, 10.0),
            steps(self.load + self.noise(0.31), 10.0),
            steps(50.0 + 40.0 * day.sin(), 10.0),
        ];
        let rest = rest.into_iter().chain((0..4).map(|n| 24.0 + f64::from(n) + 4.0 * (day + 1.0).sin()));
        for (index, value) in rest.enumerate() {
            let value = if index < 3 { value } else { steps(value + self.noise(0.1), 1.0) };
            values[CELLS + index] = value;
        }
        self.second += 1;
        Sampled { at, values }
    }

    /// The same as an entry of the journal.
    pub(super) fn entry(&mut self) -> Entry {
        let Sampled { at, values } = self.sample();
        let metrics = Metrics::new(self.columns.clone(), values);
        let reading = Reading {
            device: self.id.clone(),
            at: Timestamp::from_millis(at),
            metrics: metrics.expect("a battery has as many values as columns"),
            attributes: Vec::new(),
            left_out: Vec::new(),
        };
        Entry::Reading {
            origin: Origin { epoch: 0, sequence: u64::from(self.second) },
            reading: reading.into(),
        }
    }

    fn noise(&mut self, deviation: f64) -> f64 {
        gauss(&mut self.random) * deviation
    }
}

/// Twelve uniform numbers make a normal one, near enough.
fn gauss(random: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
}

fn steps(value: f64, per_unit: f64) -> f64 {
    (value * per_unit).round() / per_unit
}

#[expect(clippy::cast_possible_truncation, reason = "a few milliseconds")]
fn to_millis(value: f64) -> i64 {
    value.round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_reports_the_same_and_times_ascend() {
        let (mut one, mut two, mut other) = (Battery::new(3), Battery::new(3), Battery::new(4));
        let mut last = i64::MIN;
        for _ in 0..1_000 {
            let sampled = one.sample();
            let again = two.sample();
            assert_eq!(format!("{sampled:?}"), format!("{again:?}"));
            assert_ne!(format!("{:?}", sampled.values), format!("{:?}", other.sample().values));
            assert!(sampled.at > last);
            last = sampled.at;
        }
    }
}
