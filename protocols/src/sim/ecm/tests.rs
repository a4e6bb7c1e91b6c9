use proptest::prelude::*;

use super::*;

/// A load in the cell's own capacity per hour, and for how long.
type Load = (f64, f64);

fn loads() -> impl Strategy<Value = Vec<Load>> {
    prop::collection::vec((-1.0..1.0f64, 1.0..600.0f64), 1..12)
}

#[derive(Debug, Default)]
struct Energy {
    terminal_joules: f64,
    heat_joules: f64,
}

fn play(cell: &mut Cell, loads: &[Load], celsius: f64, longest: f64) -> Energy {
    let mut total = Energy::default();
    for (rate, seconds) in loads {
        let mut left = *seconds;
        while left > 0.0 {
            let (amps, seconds) = (rate * cell.fresh_capacity_ah, left.min(longest));
            let stepped = cell.step(amps, celsius, seconds);
            total.terminal_joules += amps * stepped.mean_volts * seconds;
            total.heat_joules += stepped.heat_joules;
            left -= longest;
        }
    }
    total
}

#[test]
fn a_load_pulls_the_voltage_down_at_once_and_then_more_with_the_time_constant() {
    let mut cell = Cell::new(79.0, 1.0, 0.5, 20.0);
    let rested = cell.volts(0.0);
    let Elements { r0_ohm, r1_ohm, c1_farad } = cell.elements;
    assert!((r0_ohm - 0.454e-3).abs() < 0.01e-3 && (r1_ohm - 0.682e-3).abs() < 0.01e-3);
    let dropped = rested - cell.volts(-79.0);
    assert!((dropped - 79.0 * r0_ohm).abs() < 1e-4, "{dropped}");
    cell.step(-79.0, 20.0, r1_ohm * c1_farad);
    let lag = -cell.lag_volts / (79.0 * r1_ohm);
    assert!((lag - 0.632).abs() < 0.01, "after one time constant {lag} of the lag are there");
}

#[test]
fn a_cell_twice_as_large_has_half_the_resistance_and_the_same_voltages_at_the_same_rate() {
    let (mut one, mut two) = (Cell::new(79.0, 1.0, 0.7, 10.0), Cell::new(158.0, 1.0, 0.7, 10.0));
    one.step(-40.0, 10.0, 300.0);
    two.step(-80.0, 10.0, 300.0);
    assert!((one.volts(-40.0) - two.volts(-80.0)).abs() < 1e-12);
    assert!((one.r0_ohm() - 2.0 * two.r0_ohm()).abs() < 1e-12);
}

#[test]
fn cold_and_age_cost_voltage() {
    let under_load = |celsius: f64, fade: f64| {
        let mut cell = Cell::new(100.0, 1.0, 0.5, celsius);
        cell.fade(fade);
        cell.step(-50.0, celsius, 60.0);
        cell.volts(-50.0)
    };
    assert!(under_load(-10.0, 0.0) < under_load(25.0, 0.0) - 0.05);
    assert!(under_load(25.0, 0.2) < under_load(25.0, 0.0) - 0.01);
}

proptest! {
    #[test]
    fn charge_in_is_the_change_of_charge(loads in loads(), capacity_ah in 1.0..500.0f64, soc in 0.0..1.0f64) {
        let mut cell = Cell::new(capacity_ah, 1.0, soc, 20.0);
        let moved: f64 = loads.iter().map(|(rate, seconds)| rate * capacity_ah * seconds / 3600.0).sum();
        play(&mut cell, &loads, 20.0, 10.0);
        prop_assert!((cell.charge_ah() - soc * capacity_ah - moved).abs() < 1e-9 * capacity_ah);
    }

    #[test]
    fn the_size_of_the_step_does_not_matter(loads in loads(), celsius in -10.0..45.0f64) {
        let ends = [0.1, 1.0, 10.0].map(|longest| {
            let mut cell = Cell::new(100.0, 1.0, 0.5, celsius);
            play(&mut cell, &loads, celsius, longest);
            (cell.soc(), cell.volts(0.0))
        });
        for (soc, volts) in &ends[1..] {
            prop_assert!((soc - ends[0].0).abs() < 1e-9, "{ends:?}");
            prop_assert!((volts - ends[0].1).abs() < 2e-3, "{ends:?}");
        }
    }

    /// Out and back to the same charge, and rested: what is missing became heat, and it is never negative.
    #[test]
    fn a_round_trip_costs_energy_and_all_of_it_is_heat(
        rate in 0.05..1.0f64,
        back in 0.05..1.0f64,
        seconds in 60.0..1800.0f64,
        celsius in -10.0..45.0f64,
    ) {
        let mut cell = Cell::new(100.0, 1.0, 0.6, celsius);
        let round_trip = [(-rate, seconds), (back, seconds * rate / back), (0.0, 2000.0)];
        let spent = play(&mut cell, &round_trip, celsius, 1.0);
        prop_assert!((cell.soc() - 0.6).abs() < 1e-9);
        prop_assert!(spent.terminal_joules > 0.0, "{spent:?}");
        prop_assert!((spent.terminal_joules / spent.heat_joules - 1.0).abs() < 0.03, "{spent:?}");
    }
}
