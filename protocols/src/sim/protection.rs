//! What a board does to save its cells: it opens the charge or the discharge switch when a value stays beyond a limit,
//! and closes it again when the value has come back far enough for long enough.
//!
//! Pure: values and the time since the last look go in, and what is blocked comes out. A protection that stays tripped always has
//! a reason that can be read here: its value is not back yet, or not back for long enough.

use std::time::Duration;

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protection {
    /// The highest cell is too high.
    CellOvervoltage,
    /// The lowest cell is too low.
    CellUndervoltage,
    /// Too much current flows in.
    ChargeOvercurrent,
    /// Too much current flows out.
    DischargeOvercurrent,
    /// Too hot to be charged.
    ChargeOvertemperature,
    /// Too cold to be charged: lithium would plate.
    ChargeUndertemperature,
    /// Too hot to be discharged.
    DischargeOvertemperature,
    /// Too cold to be discharged.
    DischargeUndertemperature,
}

/// What a protection stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blocks {
    Charge,
    Discharge,
}

/// When a protection warns, trips and recovers. "Beyond" is above where `trip` is above `recover`, else below.
#[derive(Debug, Clone, Copy)]
struct Limit {
    protection: Protection,
    blocks: Blocks,
    warn: f64,
    trip: f64,
    trip_after: Duration,
    recover: f64,
    recover_after: Duration,
}

impl Limit {
    /// Tells whether a value is at or past a threshold, in the direction that is bad.
    fn is_past(&self, value: f64, threshold: f64) -> bool {
        if self.trip > self.recover { value >= threshold } else { value <= threshold }
    }

    fn is_back(&self, value: f64) -> bool {
        if self.trip > self.recover { value <= self.recover } else { value >= self.recover }
    }
}

const fn limit(
    protection: Protection,
    blocks: Blocks,
    [warn, trip, recover]: [f64; 3],
    [trip_after_s, recover_after_s]: [u64; 2],
) -> Limit {
    let (trip_after, recover_after) =
        (Duration::from_secs(trip_after_s), Duration::from_secs(recover_after_s));
    Limit { protection, blocks, warn, trip, trip_after, recover, recover_after }
}

/// The limits of a board for NMC cells: warn, trip and recover; seconds to trip and to recover. Volts of a cell, °C of a
/// sensor, and currents as multiples of the rated capacity per hour.
#[rustfmt::skip]
const LIMITS: [Limit; 8] = [
    limit(Protection::CellOvervoltage, Blocks::Charge, [4.19, 4.22, 4.12], [1, 5]),
    limit(Protection::CellUndervoltage, Blocks::Discharge, [3.20, 3.00, 3.30], [1, 30]),
    limit(Protection::ChargeOvercurrent, Blocks::Charge, [0.7, 0.8, 0.6], [3, 30]),
    limit(Protection::DischargeOvercurrent, Blocks::Discharge, [1.0, 1.2, 0.9], [3, 30]),
    limit(Protection::ChargeOvertemperature, Blocks::Charge, [45.0, 50.0, 45.0], [5, 10]),
    limit(Protection::ChargeUndertemperature, Blocks::Charge, [2.0, 0.0, 3.0], [5, 10]),
    limit(Protection::DischargeOvertemperature, Blocks::Discharge, [55.0, 60.0, 52.0], [5, 10]),
    limit(Protection::DischargeUndertemperature, Blocks::Discharge, [-15.0, -20.0, -15.0], [5, 10]),
];

/// What a board measures, as far as its protections look at it. The temperatures of a board without sensors are `None`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) highest_cell_volts: f64,
    pub(super) lowest_cell_volts: f64,
    /// Positive while charging, as a multiple of the rated capacity per hour.
    pub(super) rate: f64,
    pub(super) hottest_celsius: Option<f64>,
    pub(super) coldest_celsius: Option<f64>,
}

impl Measured {
    fn of(&self, protection: Protection) -> Option<f64> {
        match protection {
            Protection::CellOvervoltage => Some(self.highest_cell_volts),
            Protection::CellUndervoltage => Some(self.lowest_cell_volts),
            Protection::ChargeOvercurrent => Some(self.rate),
            Protection::DischargeOvercurrent => Some(-self.rate),
            Protection::ChargeOvertemperature | Protection::DischargeOvertemperature => self.hottest_celsius,
            Protection::ChargeUndertemperature | Protection::DischargeUndertemperature => {
                self.coldest_celsius
            }
        }
    }
}

/// Where one protection stands.
#[derive(Debug, Clone, Copy)]
struct Guard {
    limit: Limit,
    warns: bool,
    tripped: bool,
    /// How long the value has been where it would trip, or where it would recover.
    pending: Duration,
    trips: u64,
}

impl Guard {
    fn look(&mut self, value: f64, elapsed: Duration) {
        self.warns = self.limit.is_past(value, self.limit.warn);
        let turns =
            if self.tripped { self.limit.is_back(value) } else { self.limit.is_past(value, self.limit.trip) };
        self.pending = if turns { self.pending + elapsed } else { Duration::ZERO };
        let needed = if self.tripped { self.limit.recover_after } else { self.limit.trip_after };
        if turns && self.pending >= needed {
            self.tripped = !self.tripped;
            self.trips += u64::from(self.tripped);
            self.pending = Duration::ZERO;
        }
    }
}

/// All protections of a board.
#[derive(Debug, Clone)]
pub(super) struct Protections {
    guards: [Guard; 8],
}

impl Protections {
    pub(super) fn new() -> Self {
        let guard = |limit| Guard { limit, warns: false, tripped: false, pending: Duration::ZERO, trips: 0 };
        Self { guards: LIMITS.map(guard) }
    }

    /// Looks at what was measured, `elapsed` after the last look.
    pub(super) fn look(&mut self, measured: &Measured, elapsed: Duration) {
        for guard in &mut self.guards {
            if let Some(value) = measured.of(guard.limit.protection) {
                guard.look(value, elapsed);
            }
        }
    }

    pub(super) fn blocks_charge(&self) -> bool {
        self.tripped_guards().any(|guard| guard.limit.blocks == Blocks::Charge)
    }

    pub(super) fn blocks_discharge(&self) -> bool {
        self.tripped_guards().any(|guard| guard.limit.blocks == Blocks::Discharge)
    }

    fn tripped_guards(&self) -> impl Iterator<Item = &Guard> {
        self.guards.iter().filter(|guard| guard.tripped)
    }

    /// Every protection with whether it warns and whether it is tripped.
    pub(super) fn states(&self) -> impl Iterator<Item = (Protection, bool, bool)> {
        self.guards.iter().map(|guard| (guard.limit.protection, guard.warns, guard.tripped))
    }

    /// How often any of them tripped.
    pub(super) fn trips(&self) -> u64 {
        self.guards.iter().map(|guard| guard.trips).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn fine() -> Measured {
        Measured {
            highest_cell_volts: 3.8,
            lowest_cell_volts: 3.7,
            rate: 0.0,
            hottest_celsius: Some(25.0),
            coldest_celsius: Some(20.0),
        }
    }

    fn tripped(protections: &Protections) -> Vec<Protection> {
        protections.states().filter(|state| state.2).map(|state| state.0).collect()
    }

    #[test]
    fn a_short_surge_warns_and_a_long_one_trips_and_waits_before_it_recovers() {
        let mut protections = Protections::new();
        let surge = Measured { rate: -1.5, ..fine() };
        for _ in 0..2 {
            protections.look(&surge, SECOND);
        }
        assert!(tripped(&protections).is_empty() && protections.states().any(|state| state.1));
        protections.look(&surge, SECOND);
        assert_eq!(tripped(&protections), [Protection::DischargeOvercurrent]);
        assert!(protections.blocks_discharge() && !protections.blocks_charge());
        for _ in 0..29 {
            protections.look(&fine(), SECOND);
            assert!(protections.blocks_discharge());
        }
        protections.look(&fine(), SECOND);
        assert!(tripped(&protections).is_empty());
        assert_eq!(protections.trips(), 1);
    }

    #[test]
    fn a_full_cell_blocks_charging_until_it_is_well_below_its_limit() {
        let mut protections = Protections::new();
        let at = |volts| Measured { highest_cell_volts: volts, ..fine() };
        protections.look(&at(4.23), SECOND);
        assert!(protections.blocks_charge() && !protections.blocks_discharge());
        for _ in 0..100 {
            protections.look(&at(4.19), SECOND);
        }
        assert!(protections.blocks_charge(), "between the limits nothing changes");
        for _ in 0..5 {
            protections.look(&at(4.10), SECOND);
        }
        assert!(!protections.blocks_charge());
    }

    #[test]
    fn frost_stops_charging_long_before_it_stops_discharging() {
        let mut protections = Protections::new();
        for _ in 0..5 {
            protections.look(&Measured { coldest_celsius: Some(-5.0), ..fine() }, SECOND);
        }
        assert_eq!(tripped(&protections), [Protection::ChargeUndertemperature]);
    }

    #[test]
    fn a_board_without_sensors_has_no_temperature_to_fear() {
        let mut protections = Protections::new();
        protections.look(
            &Measured { hottest_celsius: None, coldest_celsius: None, ..fine() },
            Duration::from_secs(60),
        );
        assert!(tripped(&protections).is_empty());
    }

    proptest! {
        /// Whatever happened: after a while of fine values nothing is tripped, and what is tripped before has a reason.
        #[test]
        fn a_protection_recovers_or_stays_for_its_reason(
            history in prop::collection::vec(
                (2.5..4.5f64, -2.0..2.0f64, -40.0..80.0f64, 1u64..40),
                1..60,
            ),
        ) {
            let mut protections = Protections::new();
            for (volts, rate, celsius, seconds) in history {
                let measured = Measured {
                    highest_cell_volts: volts,
                    lowest_cell_volts: volts,
                    rate,
                    hottest_celsius: Some(celsius),
                    coldest_celsius: Some(celsius),
                };
                protections.look(&measured, Duration::from_secs(seconds));
                for guard in protections.tripped_guards() {
                    let value = measured.of(guard.limit.protection).unwrap();
                    prop_assert!(!guard.limit.is_back(value) || guard.pending < guard.limit.recover_after);
                }
            }
            for _ in 0..30 {
                protections.look(&fine(), SECOND);
            }
            prop_assert!(tripped(&protections).is_empty(), "{:?}", protections);
        }
    }
}
