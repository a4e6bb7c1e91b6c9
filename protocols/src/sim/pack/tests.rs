use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
/// Ticks of ten seconds.
const FASTEST: f64 = 100_000.0;

fn resting(config: PackConfig) -> SimPack {
    SimPack::new(PackConfig { profile: Profile::Rest, ..config })
}

fn used(profile: Profile, seed: u64, cells: u8, capacity_ah: f64) -> PackConfig {
    PackConfig { profile, seed, cells, capacity_ah, ..PackConfig::default() }
}

fn any_use() -> impl Strategy<Value = PackConfig> {
    let profile = prop_oneof![Just(Profile::House), Just(Profile::Solar), Just(Profile::Telecom)];
    (profile, any::<u64>(), 1u8..=24, 5.0..400.0f64).prop_map(|(p, s, n, ah)| used(p, s, n, ah))
}

#[test]
fn an_hour_at_a_tenth_of_the_capacity_moves_a_tenth_of_the_charge() {
    let mut pack = resting(PackConfig::default());
    let before = pack.cell_soc_percent();
    pack.set_current(-10.0);
    pack.advance_to(HOUR);
    for (before, after) in before.iter().zip(pack.cell_soc_percent()) {
        assert!((before - after - 10.0).abs() < 0.3, "{before} to {after}");
    }
    assert!((pack.cycles() - 0.1).abs() < 1e-6);
    assert!((pack.board_soc_percent() - 50.0).abs() < 0.2, "{}", pack.board_soc_percent());
}

#[test]
fn fourteen_cells_make_a_pack_of_48_volts() {
    let pack = resting(PackConfig::default());
    assert!((50.0..54.0).contains(&pack.volts()), "{}", pack.volts());
    let volts = pack.cell_volts();
    assert!(volts.iter().any(|v| (v - volts[0]).abs() > 1e-3), "cells differ");
}

#[test]
fn an_open_switch_stops_its_direction_only() {
    let mut pack = resting(PackConfig::default());
    pack.set_discharge_closed(false);
    pack.set_current(-10.0);
    assert!(pack.is_idle());
    pack.set_current(10.0);
    assert!(!pack.is_idle());
}

#[test]
fn a_pack_that_is_charged_without_a_charger_is_stopped_by_its_board_and_can_still_be_used() {
    let mut pack = resting(PackConfig { start_soc_percent: 90.0, ..PackConfig::default() });
    pack.set_current(50.0);
    pack.advance_to(HOUR);
    assert!(pack.is_tripped(Protection::CellOvervoltage) && pack.is_idle());
    assert_eq!(pack.switches_closed(), (false, true));
    assert!(pack.cell_volts().iter().all(|volts| *volts < 4.26), "{:?}", pack.cell_volts());
    pack.set_current(-50.0);
    pack.advance_to(HOUR + HOUR / 4);
    assert_eq!(pack.switches_closed(), (true, true));
}

#[test]
fn a_pack_that_is_emptied_opens_its_switch_says_so_and_takes_charge_again() {
    let mut pack = resting(PackConfig { start_soc_percent: 10.0, ..PackConfig::default() });
    pack.set_current(-50.0);
    pack.advance_to(HOUR);
    assert!(pack.trips() > 0, "no protection tripped: {:?}", pack.cell_volts());
    assert!(pack.cell_volts().iter().all(|volts| *volts > 2.6), "{:?}", pack.cell_volts());
    assert!(pack.board_soc_percent() < 1.0);
    pack.set_current(30.0);
    pack.advance_to(HOUR + HOUR / 2);
    assert_eq!(pack.switches_closed(), (true, true));
    assert!(pack.board_soc_percent() > 10.0);
}

#[test]
fn a_short_circuit_of_the_load_is_cut_off_and_tried_again() {
    let mut pack = resting(PackConfig::default());
    pack.set_current(-200.0);
    pack.advance_to(Duration::from_secs(10));
    assert!(pack.is_tripped(Protection::DischargeOvercurrent) && pack.amps().abs() < 1e-9);
    pack.set_current(-20.0);
    pack.advance_to(Duration::from_secs(60));
    assert!((pack.amps() + 20.0).abs() < 1e-9, "the protection recovered");
}

#[test]
fn a_pack_in_the_frost_gives_but_takes_nothing_until_it_is_warm() {
    let mut pack = resting(PackConfig { ambient_celsius: -10.0, ..PackConfig::default() });
    pack.set_current(20.0);
    pack.advance_to(Duration::from_secs(60));
    assert_eq!(pack.switches_closed(), (false, true));
    pack.set_temperature(1, 15.0);
    pack.set_temperature(2, 15.0);
    pack.advance_to(Duration::from_secs(120));
    assert_eq!(pack.switches_closed(), (true, true));
}

#[test]
fn work_warms_the_cells_and_sensors_differ() {
    let mut pack = resting(PackConfig { sensors: 3, start_soc_percent: 95.0, ..PackConfig::default() });
    pack.set_current(-80.0);
    pack.advance_to(HOUR / 2);
    let celsius = pack.celsius();
    assert!(celsius.iter().all(|c| (22.0..40.0).contains(c)), "{celsius:?}");
    assert!((celsius[0] - celsius[1]).abs() > 0.01, "{celsius:?}");
}

#[test]
fn balancing_bleeds_the_high_cell_down_and_leaves_the_low_one() {
    let mut pack = resting(PackConfig { capacity_ah: 5.0, start_soc_percent: 92.0, ..PackConfig::default() });
    pack.set_cell_soc(3, 97.0);
    let low = pack.cell_soc_percent().into_iter().enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    pack.advance_to(HOUR);
    assert!(pack.balancing()[2] && !pack.balancing()[low.0]);
    pack.advance_to(HOUR * 4);
    let volts = pack.cell_volts();
    let spread =
        volts.iter().copied().fold(f64::MIN, f64::max) - volts.iter().copied().fold(f64::MAX, f64::min);
    assert!(spread < 0.011, "{volts:?}");
    assert!((pack.cell_soc_percent()[low.0] - low.1).abs() < 0.1, "the lowest cell is left alone");
}

#[test]
fn two_months_of_a_house_cost_capacity_and_the_board_still_knows_its_charge() {
    let mut pack = SimPack::new(PackConfig { cells: 1, speed: FASTEST, ..PackConfig::default() });
    for day in 1..=60 {
        pack.advance_to((HOUR * 24 * day).div_f64(FASTEST));
        let truth = pack.cell_soc_percent()[0];
        assert!(
            (pack.board_soc_percent() - truth).abs() < 6.0,
            "day {day}: {} and {truth}",
            pack.board_soc_percent()
        );
    }
    assert!((98.0..99.8).contains(&pack.health_percent()), "{} %", pack.health_percent());
    assert!((20.0..60.0).contains(&pack.cycles()), "{} cycles", pack.cycles());
}

#[test]
fn two_hours_at_a_hundred_times_the_speed_are_those_hours() {
    let slow = PackConfig::default();
    let (mut slow, mut fast) = (SimPack::new(slow), SimPack::new(PackConfig { speed: 100.0, ..slow }));
    slow.advance_to(HOUR * 2);
    fast.advance_to(HOUR * 2 / 100);
    assert_eq!(slow.cell_volts(), fast.cell_volts());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// What flowed in, less what was bled and lost to age, is what every cell holds more.
    #[test]
    fn charge_is_conserved(config in any_use(), hours in 1u32..48) {
        let mut pack = SimPack::new(PackConfig { speed: FASTEST, ..config });
        let before = pack.stored_ah();
        pack.advance_to((HOUR * hours).div_f64(FASTEST));
        let totals = pack.totals();
        let through_all_cells = (totals.charged_ah - totals.discharged_ah) * f64::from(config.cells);
        let expected = through_all_cells - totals.bled_ah - totals.lost_to_age_ah;
        let change = pack.stored_ah() - before;
        prop_assert!((change - expected).abs() < 1e-7 * config.capacity_ah, "{change} Ah instead of {expected} Ah");
        prop_assert!(totals.charged_ah + totals.discharged_ah > 0.0);
    }

    /// A pack that is back at its charge has taken more energy than it gave, and the difference is heat.
    #[test]
    fn less_energy_comes_out_than_went_in(
        rate in 0.05..0.5f64, minutes in 5u32..20, seed: u64, ambient_celsius in 5.0..35.0f64,
    ) {
        let mut pack = resting(PackConfig { seed, ambient_celsius, ..PackConfig::default() });
        let half = Duration::from_secs(u64::from(minutes) * 60);
        pack.set_current(-rate * 100.0);
        pack.advance_to(half);
        pack.set_current(rate * 100.0);
        pack.advance_to(half * 2);
        pack.set_current(0.0);
        pack.advance_to(half * 2 + HOUR / 2);
        let totals = pack.totals();
        let lost = totals.charged_wh - totals.discharged_wh;
        prop_assert!(lost > 0.0, "{totals:?}");
        prop_assert!((lost / totals.heat_wh - 1.0).abs() < 0.05, "{totals:?}");
    }

    #[test]
    fn how_often_a_pack_is_looked_at_changes_nothing(config in any_use(), looks in prop::collection::vec(1u64..20_000, 1..20)) {
        let (mut often, mut once) = (SimPack::new(config), SimPack::new(config));
        let mut now = Duration::ZERO;
        for millis in looks {
            now += Duration::from_millis(millis);
            often.advance_to(now);
        }
        once.advance_to(now);
        prop_assert_eq!(often.cell_volts(), once.cell_volts());
        prop_assert_eq!(often.totals(), once.totals());
    }

    /// Ticks of a second and of ten come to nearly the same.
    #[test]
    fn the_size_of_the_tick_hardly_matters(config in any_use()) {
        let config = PackConfig { profile: Profile::Rest, ..config };
        let (mut fine, mut coarse) = (SimPack::new(config), SimPack::new(config));
        for rate in [-0.3, 0.25, -0.1, 0.0, 0.4] {
            for pack in [&mut fine, &mut coarse] {
                pack.set_current(rate * config.capacity_ah);
            }
            (0..600).for_each(|_| fine.tick(TICK));
            (0..60).for_each(|_| coarse.tick(TICK * 10));
        }
        for (fine, coarse) in fine.cell_volts().into_iter().zip(coarse.cell_volts()) {
            prop_assert!((fine - coarse).abs() < 2e-3, "{fine} V and {coarse} V");
        }
        for (fine, coarse) in fine.celsius().into_iter().zip(coarse.celsius()) {
            prop_assert!((fine - coarse).abs() < 0.1, "{fine} °C and {coarse} °C");
        }
    }

    #[test]
    fn a_used_pack_stays_within_physics(config in any_use(), hours in 1u32..48) {
        let mut pack = SimPack::new(PackConfig { speed: FASTEST, ..config });
        for hour in 1..=hours {
            pack.advance_to((HOUR * hour).div_f64(FASTEST));
            prop_assert!(pack.cell_volts().iter().all(|v| (2.7..4.25).contains(v)), "{:?}", pack.cell_volts());
            prop_assert!((0.0..=100.0).contains(&pack.board_soc_percent()));
            prop_assert!(pack.celsius().iter().all(|c| (5.0..60.0).contains(c)), "{:?}", pack.celsius());
        }
    }
}
