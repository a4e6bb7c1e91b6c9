//! From the unit's lines to a `PackReading`.
//!
//! The unit sends the pack piece by piece, so this collects: what a line said stands until the next line of its kind.
//! Cells are told only once every one that the settings count was heard; an unknown count tells none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use voltree_model::{PackReading, PackState};

use super::line::{Cell, CellFlag, Line, Overview};
use super::parameter;
use crate::bms::sieve::Sieve;

/// What is known of one pack.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct GreenPack {
    overview: Option<Overview>,
    cells: BTreeMap<u8, Cell>,
    parameters: BTreeMap<u8, i32>,
    alarm: Option<bool>,
}

impl GreenPack {
    /// Takes one line.
    pub fn take(&mut self, line: &Line) {
        match line {
            Line::Heartbeat { alarm, .. } => self.alarm = Some(*alarm),
            Line::Overview(overview) => self.overview = Some(*overview),
            Line::Cells(cells) => self.cells.extend(cells.map(|cell| (cell.number, cell))),
            Line::Parameters(values) => self.parameters.extend(values.iter().copied()),
            Line::Password | Line::EndOfSettings | Line::KeepAlive => {}
        }
    }

    /// How many cells the settings count.
    pub fn cell_count(&self) -> Option<u8> {
        let count = self.parameters.get(&parameter::CELL_COUNT)?;
        u8::try_from(*count).ok().filter(|count| *count > 0)
    }

    /// Tells whether every cell that the settings count was heard.
    pub fn has_all_cells(&self) -> bool {
        self.cell_count().is_some_and(|count| (1..=count).all(|cell| self.cells.contains_key(&cell)))
    }

    /// Forgets all cells, so that the next reading has only new ones.
    pub fn forget_cells(&mut self) {
        self.cells.clear();
    }

    fn real_cells(&self) -> impl Iterator<Item = &Cell> {
        // The line of an odd pack's last cell carries one more that does not exist.
        let count = if self.has_all_cells() { self.cell_count().unwrap_or(0) } else { 0 };
        self.cells.range(..=count).map(|(_, cell)| cell)
    }

    /// Makes a reading of what was heard so far.
    pub fn reading(&self) -> PackReading {
        let mut sieve = Sieve::default();
        if let Some(overview) = &self.overview {
            sieve
                .pack_voltage(Some(f64::from(overview.decivolts) / 10.0), self.cell_count().map(usize::from));
            sieve.pack_current(Some(f64::from(overview.centiamps) / 100.0));
            sieve.soc(Some(f64::from(overview.soc_percent)));
            sieve.reading.state = match overview.state {
                0 => Some(PackState::Idle),
                1 => Some(PackState::Charging),
                2 => Some(PackState::Discharging),
                _ => None,
            };
        }
        sieve.full_capacity(self.parameters.get(&parameter::CAPACITY_AH).copied().map(f64::from));
        for cell in self.real_cells() {
            sieve.cell(u32::try_from(cell.centivolts).unwrap_or(0).saturating_mul(10));
            sieve.temperature(Some(f64::from(cell.pole_celsius)));
        }
        let mut reading = sieve.reading;
        if self.has_all_cells() {
            let balancing = self.real_cells().filter(|cell| cell.has(CellFlag::Balancing));
            reading.cells_balancing = Some(balancing.map(|cell| cell.number).collect());
        }
        self.alarms(&mut reading);
        reading
    }

    fn alarms(&self, reading: &mut PackReading) {
        for cell in self.real_cells() {
            for name in
                CellFlag::ALL.into_iter().filter(|flag| cell.has(*flag)).filter_map(|f| fault(f, cell))
            {
                if !reading.faults.iter().any(|known| known == name) {
                    reading.faults.push(name.into());
                }
            }
        }
        // The heartbeat only says that something is wrong; it counts where no cell says what.
        if self.alarm == Some(true) && reading.faults.is_empty() {
            reading.faults.push("general_alarm".into());
        }
    }
}

fn fault(flag: CellFlag, cell: &Cell) -> Option<&'static str> {
    // The firmware's own limits of what a cell can have: inside of them it is the module that fails.
    let believable = (230..=450).contains(&cell.centivolts);
    Some(match flag {
        CellFlag::Balancing => return None,
        CellFlag::VeryHigh => "overvoltage",
        CellFlag::Low => "undervoltage",
        CellFlag::Error if believable => "communication_fault",
        CellFlag::Error => "sensor_fault",
        CellFlag::PoleHot => "overtemperature",
        CellFlag::ResistorHot => "balancer_overtemperature",
    })
}

#[cfg(test)]
mod tests {
    use voltree_model::{AmpHours, Amps, Celsius, Millivolts, Percent, Volts, WithheldReason};

    use super::*;

    const OVERVIEW: Overview = Overview {
        decivolts: 99,
        centiamps: -1200,
        soc_percent: 76,
        max_cell_centivolts: 331,
        min_cell_centivolts: 329,
        state: 2,
    };

    fn heard(lines: &[Line]) -> PackReading {
        let mut pack = GreenPack::default();
        lines.iter().for_each(|line| pack.take(line));
        pack.reading()
    }

    fn cell(number: u8, flags: &[CellFlag]) -> Cell {
        Cell::new(number, 330, [24, 27], flags)
    }

    #[test]
    fn an_odd_pack_has_no_phantom_cell() {
        let reading = heard(&[
            Line::Parameters(vec![(12, 60), (14, 3)]),
            Line::Overview(OVERVIEW),
            Line::Cells([cell(1, &[]), cell(2, &[CellFlag::Balancing])]),
            Line::Cells([cell(3, &[CellFlag::Low]), cell(4, &[CellFlag::VeryHigh])]),
        ]);
        assert_eq!(reading.cell_voltages, [Some(Millivolts(3300)); 3]);
        assert_eq!(reading.temperatures, [Some(Celsius(24.0)); 3]);
        assert_eq!(reading.cells_balancing, Some(vec![2]));
        assert_eq!(reading.faults, ["undervoltage"]);
        assert_eq!((reading.pack_voltage, reading.pack_current), (Some(Volts(9.9)), Some(Amps(-12.0))));
        assert_eq!((reading.soc, reading.full_capacity), (Some(Percent(76.0)), Some(AmpHours(60.0))));
        assert_eq!(reading.state, Some(PackState::Discharging));
    }

    #[test]
    fn half_a_pack_tells_no_cells() {
        let reading =
            heard(&[Line::Parameters(vec![(14, 4)]), Line::Cells([cell(1, &[CellFlag::Low]), cell(2, &[])])]);
        assert_eq!((reading.cell_voltages.len(), reading.cells_balancing), (0, None));
        assert_eq!(reading.pack_voltage, None);
    }

    #[test]
    fn an_alarm_without_a_cell_that_explains_it_is_told_as_such() {
        let alarm = Line::Heartbeat { counter: 1, alarm: true };
        assert_eq!(heard(std::slice::from_ref(&alarm)).faults, ["general_alarm"]);
        let lost = Cell::new(1, 0, [24, 27], &[CellFlag::Error]);
        let reading = heard(&[
            Line::Parameters(vec![(14, 2)]),
            Line::Cells([lost, cell(2, &[CellFlag::Error])]),
            alarm,
        ]);
        assert_eq!(reading.faults, ["sensor_fault", "communication_fault"]);
        assert_eq!(reading.withheld[0].reason, WithheldReason::SensorMissing);
    }
}
