//! A pack of cells in series that differ a little: charge, voltage, heat, age, and a board that measures, balances and protects.
//!
//! Pure and seeded: the same configuration and the same times give the same pack. It lives in fixed ticks counted from its birth, so
//! that how often it is looked at changes nothing. Charge is never made nor lost: what flowed, was bled off and was
//! lost to age is what the cells hold less or more, and the tests say so.

mod meter;
mod site;
mod view;

use std::time::Duration;

use self::meter::Meter;
use self::site::Site;
use super::ageing;
use super::ecm::Cell;
use super::load::Profile;
use super::protection::{Measured, Protection, Protections};
use super::thermal::{Lump, ambient_celsius};

const TICK: Duration = Duration::from_secs(1);
/// From this speed on a tick grows with it, so that a second of ours never takes more ticks than this.
const TICKS_PER_SECOND: f64 = 10_000.0;
const SECONDS_PER_HOUR: f64 = 3600.0;
const IDLE_AMPS: f64 = 0.5;
/// A cell above this is bled while it is this much above the lowest, until it is half of that.
const BALANCE_FROM_VOLTS: f64 = 4.0;
const BALANCE_DIFFERENCE_VOLTS: f64 = 0.010;
/// The resistor over a cell that is bled: about 0.1 A.
const BLEED_OHM: f64 = 39.0;
const CELLS: std::ops::RangeInclusive<u8> = 1..=48;
const MOST_SENSORS: u8 = 21;

/// What a pack is made of and how it is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PackConfig {
    /// Cells in series, 1 to 48; 14 make a 48 V pack.
    pub cells: u8,
    /// Temperature sensors, 0 to 21.
    pub sensors: u8,
    /// Rated capacity.
    pub capacity_ah: f64,
    /// State of charge to start with.
    pub start_soc_percent: f64,
    /// The surroundings on the mean of a day.
    pub ambient_celsius: f64,
    /// What it is used for.
    pub profile: Profile,
    /// The time of day at which its life begins, as time since any midnight.
    pub starts_at: Duration,
    /// How many times faster than the clock it lives.
    pub speed: f64,
    /// Decides how cells differ, when clouds come and when mains fail.
    pub seed: u64,
}

impl Default for PackConfig {
    fn default() -> Self {
        Self {
            cells: 14,
            sensors: 2,
            capacity_ah: 100.0,
            start_soc_percent: 60.0,
            ambient_celsius: 20.0,
            profile: Profile::House,
            starts_at: Duration::from_secs(12 * 3600),
            speed: 1.0,
            seed: 1,
        }
    }
}

/// What went through a pack since its birth.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Charge in at the terminals.
    pub charged_ah: f64,
    /// Charge out at the terminals.
    pub discharged_ah: f64,
    /// Energy in at the terminals.
    pub charged_wh: f64,
    /// Energy out at the terminals.
    pub discharged_wh: f64,
    /// What became heat in the cells.
    pub heat_wh: f64,
    /// Bled off by balancing, summed over the cells.
    pub bled_ah: f64,
    /// Gone with the capacity that age took, summed over the cells.
    pub lost_to_age_ah: f64,
}

/// A simulated pack.
#[derive(Debug, Clone)]
pub struct SimPack {
    config: PackConfig,
    cells: Vec<Cell>,
    bleeds: Vec<bool>,
    lumps: Vec<Lump>,
    site: Site,
    meter: Meter,
    protections: Protections,
    /// What the outside asks for, positive while charging.
    wanted_amps: f64,
    charge_wanted: bool,
    discharge_wanted: bool,
    totals: Totals,
    lived: Duration,
}

impl SimPack {
    /// Builds a rested pack at time zero.
    pub fn new(config: PackConfig) -> Self {
        let mut random = fastrand::Rng::with_seed(config.seed);
        let mut within = |share: f64| share * (2.0 * random.f64() - 1.0);
        let celsius = ambient_celsius(config.ambient_celsius, config.starts_at);
        let count = config.cells.clamp(*CELLS.start(), *CELLS.end());
        let cells: Vec<Cell> = (0..count)
            .map(|_| {
                let capacity_ah = config.capacity_ah * (1.0 + within(0.02));
                let soc = (config.start_soc_percent / 100.0 + within(0.005)).clamp(0.0, 1.0);
                Cell::new(capacity_ah, 1.0 + within(0.1), soc, celsius)
            })
            .collect();
        let lumps = config.sensors.clamp(1, MOST_SENSORS);
        let ah_of_lump = config.capacity_ah * f64::from(count) / f64::from(lumps);
        Self {
            bleeds: vec![false; cells.len()],
            cells,
            lumps: (0..lumps).map(|_| Lump::new(celsius, ah_of_lump, 1.0 + within(0.15))).collect(),
            site: Site::default(),
            meter: Meter::new(config.capacity_ah, config.start_soc_percent, within(0.003), within(0.0002)),
            protections: Protections::new(),
            wanted_amps: 0.0,
            charge_wanted: true,
            discharge_wanted: true,
            totals: Totals::default(),
            lived: Duration::ZERO,
            config,
        }
    }

    /// Lives on until `now`, a time since its birth by the clock; a time that has passed changes nothing.
    pub fn advance_to(&mut self, now: Duration) {
        let tick = TICK.max(Duration::from_secs_f64(self.config.speed / TICKS_PER_SECOND));
        let until = now.mul_f64(self.config.speed);
        while self.lived + tick <= until {
            self.tick(tick);
        }
    }

    fn tick(&mut self, tick: Duration) {
        let time = self.config.starts_at + self.lived;
        if let Some(rate) = self.config.profile.demanded_rate(time, self.config.seed) {
            let wanted = rate * self.config.capacity_ah;
            self.wanted_amps = self.site.amps(wanted, self.meter.soc_percent(), &self.cells);
        }
        let (amps, seconds) = (self.amps(), tick.as_secs_f64());
        let heat = self.flow(amps, seconds);
        let ambient = ambient_celsius(self.config.ambient_celsius, time);
        for (lump, joules) in self.lumps.iter_mut().zip(heat) {
            lump.step(joules, ambient, seconds);
        }
        self.measure(amps, tick);
        self.balance();
        self.lived += tick;
    }

    /// Moves charge through all cells and ages them; tells the heat of each lump in joules.
    fn flow(&mut self, amps: f64, seconds: f64) -> Vec<f64> {
        let mut heat = vec![0.0; self.lumps.len()];
        let hours = seconds / SECONDS_PER_HOUR;
        let mut pack_volts = 0.0;
        for index in 0..self.cells.len() {
            let (lump, celsius) = self.around(index);
            let bleed_amps = self.bleed_amps(index);
            let cell = &mut self.cells[index];
            let stepped = cell.step(amps - bleed_amps, celsius, seconds);
            let cycles = amps.abs() * hours / 2.0 / cell.capacity_ah();
            self.totals.lost_to_age_ah += cell.fade(ageing::fade(cycles, seconds, celsius, cell.soc()));
            self.totals.bled_ah += bleed_amps * hours;
            self.totals.heat_wh += stepped.heat_joules / SECONDS_PER_HOUR;
            heat[lump] += stepped.heat_joules;
            pack_volts += stepped.mean_volts;
        }
        let (amp_hours, watt_hours) = (amps * hours, amps * pack_volts * hours);
        self.totals.charged_ah += amp_hours.max(0.0);
        self.totals.discharged_ah -= amp_hours.min(0.0);
        self.totals.charged_wh += watt_hours.max(0.0);
        self.totals.discharged_wh -= watt_hours.min(0.0);
        heat
    }

    /// The lump that a cell sits in, and its temperature.
    fn around(&self, cell: usize) -> (usize, f64) {
        let lump = cell * self.lumps.len() / self.cells.len();
        (lump, self.lumps[lump].celsius)
    }

    fn bleed_amps(&self, cell: usize) -> f64 {
        if self.bleeds[cell] { self.cells[cell].settled_volts() / BLEED_OHM } else { 0.0 }
    }

    fn measure(&mut self, amps: f64, tick: Duration) {
        self.meter.count(amps, tick.as_secs_f64());
        let (lowest, highest) = self.extremes();
        self.meter.recognise_full(amps, self.volts() / self.cells.len() as f64);
        let celsius = self.celsius();
        let measured = Measured {
            highest_cell_volts: highest,
            lowest_cell_volts: lowest,
            rate: amps / self.config.capacity_ah,
            hottest_celsius: celsius.iter().copied().reduce(f64::max),
            coldest_celsius: celsius.iter().copied().reduce(f64::min),
        };
        self.protections.look(&measured, tick);
        if self.is_tripped(Protection::CellUndervoltage) {
            self.meter.recognise_empty();
        }
    }

    /// Bleeds the highest cells towards the lowest, but never while the pack is used.
    fn balance(&mut self) {
        let (lowest, _) = self.extremes();
        let volts = self.cell_volts();
        let rests = self.amps() > -IDLE_AMPS;
        for (bleeds, volts) in self.bleeds.iter_mut().zip(volts) {
            let difference = if *bleeds { BALANCE_DIFFERENCE_VOLTS / 2.0 } else { BALANCE_DIFFERENCE_VOLTS };
            *bleeds = rests && volts > BALANCE_FROM_VOLTS && volts > lowest + difference;
        }
    }

    fn extremes(&self) -> (f64, f64) {
        self.cell_volts().into_iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)))
    }

    /// Sets the current that the outside asks for, positive while charging. A profile other than `Rest` sets it anew.
    pub fn set_current(&mut self, amps: f64) {
        self.wanted_amps = amps;
    }

    /// Asks for the charge switch to be open or closed; a tripped protection keeps it open.
    pub fn set_charge_closed(&mut self, closed: bool) {
        self.charge_wanted = closed;
    }

    /// Asks for the discharge switch to be open or closed; a tripped protection keeps it open.
    pub fn set_discharge_closed(&mut self, closed: bool) {
        self.discharge_wanted = closed;
    }

    /// Tells the board's counter the state of charge; the cells have what they have.
    pub fn set_board_soc(&mut self, soc_percent: f64) {
        self.meter.set_soc_percent(soc_percent);
    }

    /// Heats or cools the cells around one sensor, counted from 1, from where they go on drifting.
    pub fn set_temperature(&mut self, sensor: usize, celsius: f64) {
        if let Some(lump) = sensor.checked_sub(1).and_then(|index| self.lumps.get_mut(index)) {
            lump.celsius = celsius;
        }
    }

    /// Sets one cell's state of charge, counted from 1, as after a failure. What it gains or loses is in no total.
    pub fn set_cell_soc(&mut self, cell: usize, soc_percent: f64) {
        if let Some(cell) = cell.checked_sub(1).and_then(|index| self.cells.get_mut(index)) {
            cell.set_soc(soc_percent / 100.0);
        }
    }
}

#[cfg(test)]
mod tests;
