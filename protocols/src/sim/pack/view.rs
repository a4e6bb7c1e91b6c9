//! What can be seen of a pack: as its board sees it, and as it truly is.
//!
//! Looking changes nothing. Where the two differ, the name says whose view it is.

use std::time::Duration;

use super::{Cell, IDLE_AMPS, Protection, SimPack, Totals};

impl SimPack {
    /// The current that flows, positive while charging; an open switch stops its direction.
    pub fn amps(&self) -> f64 {
        let (charge, discharge) = self.switches_closed();
        let blocked = (self.wanted_amps > 0.0 && !charge) || (self.wanted_amps < 0.0 && !discharge);
        if blocked { 0.0 } else { self.wanted_amps }
    }

    /// The current that the board's shunt shows: a little off.
    pub fn measured_amps(&self) -> f64 {
        self.meter.measured(self.amps())
    }

    /// The terminal voltage.
    pub fn volts(&self) -> f64 {
        self.cell_volts().iter().sum()
    }

    /// The cells' voltages, first cell first.
    pub fn cell_volts(&self) -> Vec<f64> {
        let amps = self.amps();
        let volts = |(index, cell): (usize, &Cell)| cell.volts(amps - self.bleed_amps(index));
        self.cells.iter().enumerate().map(volts).collect()
    }

    /// The sensors' temperatures, first sensor first.
    pub fn celsius(&self) -> Vec<f64> {
        self.lumps.iter().take(usize::from(self.config.sensors)).map(|lump| lump.celsius).collect()
    }

    /// Which cells are bled, first cell first.
    pub fn balancing(&self) -> &[bool] {
        &self.bleeds
    }

    /// The state of charge as the board counts it.
    pub fn board_soc_percent(&self) -> f64 {
        self.meter.soc_percent()
    }

    /// The charge that is left as the board counts it.
    pub fn board_remaining_ah(&self) -> f64 {
        self.capacity_ah() * self.board_soc_percent() / 100.0
    }

    /// The true state of charge of each cell, in percent; outside of 0 to 100 a cell was driven too far.
    pub fn cell_soc_percent(&self) -> Vec<f64> {
        self.cells.iter().map(|cell| cell.soc() * 100.0).collect()
    }

    /// The charge that the cells hold in truth, summed over them.
    pub fn stored_ah(&self) -> f64 {
        self.cells.iter().map(Cell::charge_ah).sum()
    }

    /// The share of its fresh capacity that the weakest cell has left, in percent.
    pub fn health_percent(&self) -> f64 {
        self.cells.iter().map(|cell| cell.health() * 100.0).fold(100.0, f64::min)
    }

    /// Rated capacity.
    pub fn capacity_ah(&self) -> f64 {
        self.config.capacity_ah
    }

    /// What went through it since its birth.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Full cycles: what was discharged, in rated capacities.
    pub fn cycles(&self) -> f64 {
        self.totals.discharged_ah / self.config.capacity_ah
    }

    /// How long it has lived, by its own time.
    pub fn lived(&self) -> Duration {
        self.lived
    }

    /// Whether current may flow in, and whether it may flow out.
    pub fn switches_closed(&self) -> (bool, bool) {
        (
            self.charge_wanted && !self.protections.blocks_charge(),
            self.discharge_wanted && !self.protections.blocks_discharge(),
        )
    }

    /// Every protection, with whether it warns and whether it is tripped.
    pub fn protections(&self) -> impl Iterator<Item = (Protection, bool, bool)> {
        self.protections.states()
    }

    /// Tells whether a protection is tripped.
    pub fn is_tripped(&self, protection: Protection) -> bool {
        self.protections().any(|(which, _, tripped)| which == protection && tripped)
    }

    /// How often protections tripped.
    pub fn trips(&self) -> u64 {
        self.protections.trips()
    }

    /// Tells whether a current worth the name flows.
    pub fn is_idle(&self) -> bool {
        self.amps().abs() < IDLE_AMPS
    }
}
