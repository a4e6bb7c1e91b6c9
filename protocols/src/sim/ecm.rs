//! One cell as an equivalent circuit (Thevenin): an open-circuit voltage, a resistance R0, and one RC pair that lags.
//!
//! The RC pair is stepped with its exact exponential, so that a step of ten seconds ends where ten of one second do. The state of
//! charge counts what flows and is never clamped: a cell driven past its ends shows it in its voltage, and keeping it
//! within them is the protections' work. Knows nothing of packs, boards or time of day.

mod tables;

use self::tables::{Elements, TABLE_CAPACITY_AH, Tables};

const SECONDS_PER_HOUR: f64 = 3600.0;
/// How much the resistance grows for each share of the capacity that is lost: doubled when a fifth is gone.
const RESISTANCE_PER_FADE: f64 = 5.0;

/// What a step was like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stepped {
    /// At the terminals, over the step.
    pub(super) mean_volts: f64,
    pub(super) heat_joules: f64,
}

/// A cell.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    fresh_capacity_ah: f64,
    resistance_factor: f64,
    /// The share of the fresh capacity that is left.
    health: f64,
    /// 0 to 1 in ordinary life.
    soc: f64,
    /// Over the RC pair, positive while charging.
    lag_volts: f64,
    /// For the state and temperature of the last step.
    ocv_volts: f64,
    elements: Elements,
}

impl Cell {
    /// A rested cell. `resistance_factor` tells it from the table's cell of the same capacity.
    pub(super) fn new(capacity_ah: f64, resistance_factor: f64, soc: f64, celsius: f64) -> Self {
        let mut cell = Self {
            fresh_capacity_ah: capacity_ah,
            resistance_factor,
            health: 1.0,
            soc,
            lag_volts: 0.0,
            ocv_volts: 0.0,
            elements: Elements { r0_ohm: 0.0, r1_ohm: 0.0, c1_farad: 0.0 },
        };
        cell.refresh(0.0, celsius);
        cell
    }

    /// Lets a constant current flow, positive into the cell.
    pub(super) fn step(&mut self, amps: f64, celsius: f64, seconds: f64) -> Stepped {
        self.refresh(amps, celsius);
        let Elements { r0_ohm, r1_ohm, c1_farad } = self.elements;
        let (before, settled, time_constant) = (self.ocv_volts, amps * r1_ohm, r1_ohm * c1_farad);
        let left = (-seconds / time_constant).exp();
        let gap = self.lag_volts - settled;
        self.lag_volts = settled + gap * left;
        self.soc += amps * seconds / SECONDS_PER_HOUR / self.capacity_ah();
        self.ocv_volts = Tables::shared().ocv_volts(self.soc);

        // The integrals of the lag and of its square over the step, which decays from one value to the other.
        let lag_volt_seconds = settled * seconds + gap * time_constant * (1.0 - left);
        let lag_squared = settled * settled * seconds
            + 2.0 * settled * gap * time_constant * (1.0 - left)
            + gap * gap * time_constant / 2.0 * (1.0 - left * left);
        Stepped {
            mean_volts: (before + self.ocv_volts) / 2.0 + lag_volt_seconds / seconds + amps * r0_ohm,
            heat_joules: amps * amps * r0_ohm * seconds + lag_squared / r1_ohm,
        }
    }

    fn refresh(&mut self, amps: f64, celsius: f64) {
        let tables = Tables::shared();
        let parallel = self.fresh_capacity_ah / TABLE_CAPACITY_AH;
        let one = tables.elements(celsius, self.soc, amps / parallel);
        let aged = self.resistance_factor * (1.0 + RESISTANCE_PER_FADE * (1.0 - self.health)) / parallel;
        self.ocv_volts = tables.ocv_volts(self.soc);
        // Resistance and capacitance change against each other, so that the pair keeps its time constant.
        self.elements =
            Elements { r0_ohm: one.r0_ohm * aged, r1_ohm: one.r1_ohm * aged, c1_farad: one.c1_farad / aged };
    }

    /// Loses a share of its fresh capacity, and with it the charge that sat in it: the state of charge stays. Tells
    /// the charge that is gone.
    pub(super) fn fade(&mut self, share: f64) -> f64 {
        let lost = share.min(self.health - 0.01).max(0.0);
        self.health -= lost;
        lost * self.fresh_capacity_ah * self.soc
    }

    /// Puts the cell at rest at another state of charge.
    pub(super) fn set_soc(&mut self, soc: f64) {
        self.soc = soc;
        self.ocv_volts = Tables::shared().ocv_volts(soc);
    }

    /// The voltage at its terminals while this current flows.
    pub(super) fn volts(&self, amps: f64) -> f64 {
        self.settled_volts() + amps * self.elements.r0_ohm
    }

    /// The voltage without what R0 adds at once.
    pub(super) fn settled_volts(&self) -> f64 {
        self.ocv_volts + self.lag_volts
    }

    pub(super) fn r0_ohm(&self) -> f64 {
        self.elements.r0_ohm
    }

    pub(super) fn soc(&self) -> f64 {
        self.soc
    }

    pub(super) fn capacity_ah(&self) -> f64 {
        self.fresh_capacity_ah * self.health
    }

    pub(super) fn charge_ah(&self) -> f64 {
        self.soc * self.capacity_ah()
    }

    pub(super) fn health(&self) -> f64 {
        self.health
    }
}

#[cfg(test)]
mod tests;
