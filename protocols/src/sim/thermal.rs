//! The heat of a pack: one lump of cells around each sensor, warmed by what its cells lose and cooled by the air.
//!
//! Each lump moves to its settled temperature with the exact exponential, so that the size of a step does not matter. Lumps
//! differ in how well they stand in the air; heat between them is left out.

use std::f64::consts::TAU;
use std::time::Duration;

/// How fast a lump follows the air.
const TIME_CONSTANT_S: f64 = 7_200.0;
/// A cell of one ampere-hour weighs about 14 g, and takes about 1 J to warm each of them.
const JOULES_PER_KELVIN_AND_AMPERE_HOUR: f64 = 14.0;
/// The air is this much warmer at three in the afternoon and colder at three at night.
const DAILY_SWING_CELSIUS: f64 = 3.0;

/// The air around a pack at a time since any midnight.
pub(super) fn ambient_celsius(mean_celsius: f64, time: Duration) -> f64 {
    let hour = time.as_secs_f64() / 3600.0;
    mean_celsius + DAILY_SWING_CELSIUS * ((hour - 9.0) / 24.0 * TAU).sin()
}

/// The cells around one sensor.
#[derive(Debug, Clone)]
pub(super) struct Lump {
    pub(super) celsius: f64,
    joules_per_kelvin: f64,
    kelvin_per_watt: f64,
}

impl Lump {
    /// `shelter` is 1 for a lump that stands in the air as the others do, more for one that is shut in.
    pub(super) fn new(celsius: f64, capacity_ah_of_cells: f64, shelter: f64) -> Self {
        let joules_per_kelvin = (capacity_ah_of_cells * JOULES_PER_KELVIN_AND_AMPERE_HOUR).max(1.0);
        Self { celsius, joules_per_kelvin, kelvin_per_watt: shelter * TIME_CONSTANT_S / joules_per_kelvin }
    }

    pub(super) fn step(&mut self, heat_joules: f64, ambient_celsius: f64, seconds: f64) {
        let settled = ambient_celsius + heat_joules / seconds * self.kelvin_per_watt;
        let left = (-seconds / (self.kelvin_per_watt * self.joules_per_kelvin)).exp();
        self.celsius = settled + (self.celsius - settled) * left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lump_warms_to_where_heat_and_air_balance_in_steps_of_any_size() {
        let ends = [1.0, 10.0, 1000.0].map(|seconds| {
            let mut lump = Lump::new(20.0, 700.0, 1.0);
            let steps = (0..).map(f64::from).take_while(|n| n * seconds < 100_000.0);
            steps.for_each(|_| lump.step(20.0 * seconds, 20.0, seconds));
            lump.celsius
        });
        let settled = 20.0 + 20.0 * TIME_CONSTANT_S / (700.0 * 14.0);
        assert!(ends.iter().all(|celsius| (celsius - settled).abs() < 1e-3), "{ends:?} {settled}");
    }

    #[test]
    fn heat_that_comes_fast_stays_in_the_cells() {
        let mut lump = Lump::new(20.0, 100.0, 1.0);
        lump.step(14_000.0, 20.0, 1.0);
        assert!((lump.celsius - 30.0).abs() < 0.01, "{}", lump.celsius);
    }

    #[test]
    fn the_air_is_warmest_in_the_afternoon() {
        assert!((ambient_celsius(20.0, Duration::from_secs(15 * 3600)) - 23.0).abs() < 1e-9);
        assert!((ambient_celsius(20.0, Duration::from_secs(27 * 3600)) - 17.0).abs() < 1e-9);
    }
}
