//! A pack of LFP cells that differ a little: voltages, charge, heat and a load that comes and goes.
//!
//! Good enough that charts look like a battery and that every number hangs together; no electrochemistry. Pure and
//! seeded: the same configuration and the same steps give the same pack.

use std::time::Duration;

/// State of charge in percent against the rested voltage of an LFP cell, in volts.
const REST_VOLTAGE: [(f64, f64); 14] = [
    (0.0, 2.50),
    (1.0, 2.80),
    (3.0, 3.00),
    (5.0, 3.10),
    (10.0, 3.20),
    (20.0, 3.25),
    (30.0, 3.275),
    (50.0, 3.30),
    (70.0, 3.325),
    (80.0, 3.335),
    (90.0, 3.345),
    (95.0, 3.365),
    (98.0, 3.40),
    (100.0, 3.60),
];
const CELL_FULL_VOLTS: f64 = 3.60;
const CELL_EMPTY_VOLTS: f64 = 2.80;
const THERMAL_TIME_CONSTANT_S: f64 = 900.0;
const CELSIUS_PER_WATT: f64 = 0.15;
const LONGEST_STEP: Duration = Duration::from_secs(10);
const IDLE_AMPS: f64 = 0.5;

/// What a pack is made of and how it is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PackConfig {
    /// Cells in series, 1 to 48.
    pub cells: u8,
    /// Temperature sensors, 0 to 21.
    pub sensors: u8,
    /// Rated capacity.
    pub capacity_ah: f64,
    /// State of charge to start with.
    pub start_soc_percent: f64,
    /// The surroundings.
    pub ambient_celsius: f64,
    /// The strongest charge or discharge that the load schedule picks; 0 leaves the pack to `set_current`.
    pub max_amps: f64,
    /// Decides how cells differ and when the load changes.
    pub seed: u64,
}

impl Default for PackConfig {
    fn default() -> Self {
        Self {
            cells: 16,
            sensors: 2,
            capacity_ah: 280.0,
            start_soc_percent: 60.0,
            ambient_celsius: 20.0,
            max_amps: 80.0,
            seed: 1,
        }
    }
}

#[derive(Debug, Clone)]
struct Cell {
    capacity_ah: f64,
    ohms: f64,
    soc_percent: f64,
}

impl Cell {
    fn volts(&self, amps: f64) -> f64 {
        rest_voltage(self.soc_percent) + amps * self.ohms
    }
}

/// A simulated pack.
#[derive(Debug, Clone)]
pub struct SimPack {
    config: PackConfig,
    cells: Vec<Cell>,
    sensors_celsius: Vec<f64>,
    /// Positive while charging.
    amps: f64,
    charge_closed: bool,
    discharge_closed: bool,
    discharged_ah: f64,
    load_ends: Duration,
    now: Duration,
    random: fastrand::Rng,
}

impl SimPack {
    /// Builds a rested pack at time zero.
    pub fn new(config: PackConfig) -> Self {
        let mut random = fastrand::Rng::with_seed(config.seed);
        let mut spread = |share: f64| 1.0 + share * (2.0 * random.f64() - 1.0);
        let cells = (0..config.cells.clamp(1, 48))
            .map(|_| Cell {
                capacity_ah: config.capacity_ah * spread(0.02),
                ohms: 0.000_5 * spread(0.2),
                soc_percent: (config.start_soc_percent * spread(0.01)).clamp(0.0, 100.0),
            })
            .collect();
        let sensors_celsius =
            (0..config.sensors.min(21)).map(|_| config.ambient_celsius * spread(0.03)).collect();
        Self {
            config,
            cells,
            sensors_celsius,
            amps: 0.0,
            charge_closed: true,
            discharge_closed: true,
            discharged_ah: 0.0,
            load_ends: Duration::ZERO,
            now: Duration::ZERO,
            random,
        }
    }

    /// Lives on until `now`; a time that has passed changes nothing.
    pub fn advance_to(&mut self, now: Duration) {
        while self.now < now {
            self.change_load();
            let step = (now - self.now).min(LONGEST_STEP);
            self.step(step);
            self.now += step;
        }
    }

    /// Counts charge and heat over a time in which the current stays what it is.
    pub fn step(&mut self, dt: Duration) {
        let amps = self.amps();
        let amp_hours = amps * dt.as_secs_f64() / 3600.0;
        for cell in &mut self.cells {
            cell.soc_percent = (cell.soc_percent + 100.0 * amp_hours / cell.capacity_ah).clamp(0.0, 100.0);
        }
        self.discharged_ah += (-amp_hours).max(0.0);
        let watts: f64 = self.cells.iter().map(|cell| amps * amps * cell.ohms).sum();
        let settled = self.config.ambient_celsius + watts * CELSIUS_PER_WATT;
        let share = 1.0 - (-dt.as_secs_f64() / THERMAL_TIME_CONSTANT_S).exp();
        for celsius in &mut self.sensors_celsius {
            *celsius += (settled - *celsius) * share;
        }
    }

    /// Picks a new load when the old one's time is over, and turns it around at either end of the charge.
    fn change_load(&mut self) {
        if self.config.max_amps <= 0.0 {
            return;
        }
        let volts = self.cells.iter().map(|cell| cell.volts(self.amps));
        let (low, high) = volts.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        if self.amps > 0.0 && high >= CELL_FULL_VOLTS {
            self.amps = -self.config.max_amps / 2.0;
        } else if self.amps < 0.0 && low <= CELL_EMPTY_VOLTS {
            self.amps = self.config.max_amps / 2.0;
        } else if self.now >= self.load_ends {
            let rest = self.random.u8(0..4) == 0;
            self.amps = if rest { 0.0 } else { self.config.max_amps * (2.0 * self.random.f64() - 1.0) };
        } else {
            return;
        }
        self.load_ends = self.now + Duration::from_secs(self.random.u64(20..180));
    }

    /// Sets the current that the outside asks for, positive while charging.
    pub fn set_current(&mut self, amps: f64) {
        self.amps = amps;
    }

    /// Opens or closes the charge switch.
    pub fn set_charge_closed(&mut self, closed: bool) {
        self.charge_closed = closed;
    }

    /// Opens or closes the discharge switch.
    pub fn set_discharge_closed(&mut self, closed: bool) {
        self.discharge_closed = closed;
    }

    /// Heats or cools one sensor, counted from 1, from where it goes on drifting.
    pub fn set_temperature(&mut self, sensor: usize, celsius: f64) {
        if let Some(at) = sensor.checked_sub(1).and_then(|index| self.sensors_celsius.get_mut(index)) {
            *at = celsius;
        }
    }

    /// Sets one cell's state of charge, counted from 1, as after a failure.
    pub fn set_cell_soc(&mut self, cell: usize, soc_percent: f64) {
        if let Some(cell) = cell.checked_sub(1).and_then(|index| self.cells.get_mut(index)) {
            cell.soc_percent = soc_percent.clamp(0.0, 100.0);
        }
    }

    /// The current that flows, positive while charging; an open switch stops its direction.
    pub fn amps(&self) -> f64 {
        let blocked = (self.amps > 0.0 && !self.charge_closed) || (self.amps < 0.0 && !self.discharge_closed);
        if blocked { 0.0 } else { self.amps }
    }

    /// The terminal voltage.
    pub fn volts(&self) -> f64 {
        self.cell_volts().iter().sum()
    }

    /// The cells' voltages, first cell first.
    pub fn cell_volts(&self) -> Vec<f64> {
        let amps = self.amps();
        self.cells.iter().map(|cell| cell.volts(amps)).collect()
    }

    /// The sensors' temperatures, first sensor first.
    pub fn celsius(&self) -> &[f64] {
        &self.sensors_celsius
    }

    /// The state of charge of the pack, which is that of its weakest cell.
    pub fn soc_percent(&self) -> f64 {
        self.cells.iter().map(|cell| cell.soc_percent).fold(100.0, f64::min)
    }

    /// Charge left.
    pub fn remaining_ah(&self) -> f64 {
        self.config.capacity_ah * self.soc_percent() / 100.0
    }

    /// Rated capacity.
    pub fn capacity_ah(&self) -> f64 {
        self.config.capacity_ah
    }

    /// Full cycles: what was discharged, in capacities.
    pub fn cycles(&self) -> f64 {
        self.discharged_ah / self.config.capacity_ah
    }

    /// Whether the charge and the discharge switch are closed.
    pub fn switches_closed(&self) -> (bool, bool) {
        (self.charge_closed, self.discharge_closed)
    }

    /// Tells whether a current worth the name flows.
    pub fn is_idle(&self) -> bool {
        self.amps().abs() < IDLE_AMPS
    }
}

fn rest_voltage(soc_percent: f64) -> f64 {
    let (mut low, mut high) = (REST_VOLTAGE[0], REST_VOLTAGE[0]);
    for point in REST_VOLTAGE {
        (low, high) = (high, point);
        if point.0 >= soc_percent {
            break;
        }
    }
    let width = high.0 - low.0;
    if width <= 0.0 { high.1 } else { low.1 + (high.1 - low.1) * (soc_percent - low.0) / width }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rest_voltage_follows_its_table_and_rises() {
        assert!((rest_voltage(0.0) - 2.5).abs() < 1e-9);
        assert!((rest_voltage(60.0) - 3.3125).abs() < 1e-9);
        assert!((rest_voltage(100.0) - 3.6).abs() < 1e-9);
        let curve: Vec<f64> = (0..=100).map(|soc| rest_voltage(f64::from(soc))).collect();
        assert!(curve.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn an_hour_at_a_tenth_of_the_capacity_moves_a_tenth_of_the_charge() {
        let mut pack = SimPack::new(PackConfig { max_amps: 0.0, ..PackConfig::default() });
        let before = pack.soc_percent();
        pack.set_current(-28.0);
        pack.advance_to(Duration::from_secs(3600));
        let moved = before - pack.soc_percent();
        assert!((moved - 10.0).abs() < 0.3, "moved {moved} %");
        assert!((pack.cycles() - 0.1).abs() < 1e-6);
    }

    #[test]
    fn an_open_switch_stops_its_direction_only() {
        let mut pack = SimPack::new(PackConfig { max_amps: 0.0, ..PackConfig::default() });
        pack.set_discharge_closed(false);
        pack.set_current(-10.0);
        assert!(pack.is_idle());
        pack.set_current(10.0);
        assert!(!pack.is_idle());
    }

    #[test]
    fn the_same_seed_gives_the_same_pack() {
        let run = || {
            let mut pack = SimPack::new(PackConfig { seed: 7, ..PackConfig::default() });
            pack.advance_to(Duration::from_secs(3000));
            (pack.cell_volts(), pack.celsius().to_vec(), pack.amps())
        };
        assert_eq!(run(), run());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn a_used_pack_stays_within_physics(seed: u64, hours in 1u64..30, cells in 1u8..=48, capacity_ah in 5.0..400.0f64) {
            let mut pack = SimPack::new(PackConfig { seed, cells, capacity_ah, ..PackConfig::default() });
            pack.advance_to(Duration::from_secs(hours * 3600));
            prop_assert!(pack.cell_volts().iter().all(|v| (2.4..3.8).contains(v)), "{:?}", pack.cell_volts());
            prop_assert!((0.0..=100.0).contains(&pack.soc_percent()));
            prop_assert!(pack.celsius().iter().all(|c| (0.0..60.0).contains(c)));
        }
    }
}
