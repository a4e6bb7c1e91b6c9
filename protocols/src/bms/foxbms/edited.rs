//! A foxBMS whose project was edited: values are taken from where its own DBC file puts them.
//!
//! Collects as the pack of the releases does: what a frame said stands until the next of its kind, and cells are told once
//! a whole round of them was heard.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use voltree_model::{PackReading, PackState};

use super::dbc::{DbcTable, Groups};
use super::messages::{CELLS_PER_FRAME, SENSORS_PER_FRAME};
use super::pack::{Round, sift};
use crate::bms::listen::{Listener, Listening};
use crate::bms::sieve::Sieve;
use crate::can::CanFrame;
use crate::codec::{BadMemory, learned, recall};

/// Listens to one pack.
pub type EditedListening = Listening<EditedListener>;

const SHORTEST: Duration = Duration::from_millis(1100);

/// One pack on a bus.
#[derive(Debug, Clone)]
pub struct EditedListener {
    table: DbcTable,
    positive_is_discharge: bool,
    values: BTreeMap<String, f64>,
    alarms: Vec<bool>,
    cells: Round<CELLS_PER_FRAME>,
    sensors: Round<SENSORS_PER_FRAME>,
}

impl EditedListener {
    /// Has heard nothing yet.
    pub fn new(table: DbcTable, positive_is_discharge: bool) -> Self {
        let alarms = vec![false; table.alarms.len()];
        let (cells, sensors) = (Round::default(), Round::default());
        Self { table, positive_is_discharge, values: BTreeMap::new(), alarms, cells, sensors }
    }

    fn value(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
    }

    fn state(&self, reading: &mut PackReading) {
        let is = |value: f64| self.value("BmsState").is_some_and(|state| (state - value).abs() < 0.5);
        reading.state = match () {
            () if is(3.0) || is(4.0) || is(5.0) => Some(PackState::Idle),
            () if is(8.0) => Some(PackState::Discharging),
            () if is(9.0) => Some(PackState::Charging),
            () => None,
        };
        let connected = self.value("NumberOfConnectedStrings").map(|strings| strings > 0.5);
        (reading.charge_enabled, reading.discharge_enabled) = (connected, connected);
    }

    fn add_alarms(&self, reading: &mut PackReading) {
        for ((_, name, is_fault), set) in self.table.alarms.iter().zip(&self.alarms) {
            let names = if *is_fault { &mut reading.faults } else { &mut reading.warnings };
            if *set && !names.iter().any(|known| known == name) {
                names.push(name.clone().into());
            }
        }
    }
}

/// A group's number and what stands in its places.
fn group(groups: &Groups, frame: &CanFrame) -> Option<(usize, Vec<Option<i64>>)> {
    let number = usize::try_from(groups.number.raw(frame)?).ok()?;
    let counts = |place: usize| groups.valid.get(place).is_none_or(|valid| valid.raw(frame) == Some(1));
    let value = |place: usize| {
        let value = groups.values.get(place)?.value(frame)? * groups.per_unit;
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and what is too odd is withheld")]
        counts(place).then_some(value.round() as i64)
    };
    Some((number, (0..groups.values.len()).map(value).collect()))
}

impl Listener for EditedListener {
    const NAME: &'static str = "foxBMS' pack values, where the DBC file puts them";
    const PATIENCE: Duration = Duration::from_millis(2500);
    const LONGEST: Duration = Duration::from_secs(6);

    fn begin(&mut self) {
        self.values.clear();
        self.alarms.fill(false);
        self.cells.age();
        self.sensors.age();
    }

    fn take(&mut self, frame: &CanFrame) {
        for (name, place) in &self.table.values {
            if let Some(value) = place.value(frame) {
                self.values.insert(name.clone(), value);
            }
        }
        for ((place, ..), set) in self.table.alarms.iter().zip(&mut self.alarms) {
            // Strings take turns in one message: an alarm of any of them counts.
            *set |= place.raw(frame) == Some(1);
        }
        if let Some((number, places)) = self.table.cells.as_ref().and_then(|cells| group(cells, frame)) {
            self.cells.take_group(number, places);
        }
        if let Some((number, places)) = self.table.sensors.as_ref().and_then(|sensors| group(sensors, frame))
        {
            self.sensors.take_group(number, places);
        }
    }

    fn is_enough(&self, elapsed: Duration) -> bool {
        let awaited = self.cells.is_awaited() || self.sensors.is_awaited();
        elapsed >= SHORTEST && self.has_reading() && !awaited
    }

    fn has_reading(&self) -> bool {
        self.values.contains_key("BatteryVoltage")
    }

    fn reading(&mut self) -> PackReading {
        let mut sieve = Sieve::default();
        let sign = if self.positive_is_discharge { -1.0 } else { 1.0 };
        sieve.pack_voltage(self.value("BatteryVoltage"), None);
        sieve.pack_current(self.value("Current").map(|amps| amps * sign));
        sieve.soc(self.value("MinimumSoc"));
        sieve.soh(self.value("Soh"));
        sift(&mut sieve, &self.cells, &self.sensors);
        let mut reading = sieve.reading;
        self.state(&mut reading);
        self.add_alarms(&mut reading);
        reading
    }

    fn refused(&self) -> u64 {
        0
    }

    fn memory(&self) -> Value {
        learned(&(&self.cells, &self.sensors))
    }

    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        (self.cells, self.sensors) = recall(memory)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bms::foxbms::{FoxbmsConfig, FoxbmsListener};
    use crate::sim::{CanSide, FoxbmsSim, PackConfig, SimPack};

    /// The places of release 1.11, as cantools reads them in an external test.
    const OWN_FILE: &str = include_str!("../../../../tests/externals/foxbms.dbc");

    #[test]
    fn the_file_of_a_release_gives_the_reading_of_that_release() {
        let pack = SimPack::new(PackConfig { cells: 13, ..PackConfig::default() });
        let mut sim = FoxbmsSim::new(pack, crate::bms::foxbms::Dialect::V1_11);
        let mut edited = EditedListener::new(DbcTable::parse(OWN_FILE).unwrap(), true);
        let mut known = FoxbmsListener::new(FoxbmsConfig::default());
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(3) {
            now = now.max(sim.next_broadcast().unwrap());
            for frame in sim.broadcast(now).frames {
                edited.take(&frame);
                known.take(&frame);
            }
        }
        let (edited, known) = (edited.reading(), known.reading());
        assert_eq!(edited.pack_voltage, known.pack_voltage);
        assert_eq!(edited.pack_current, known.pack_current);
        assert_eq!((edited.soc, edited.soh), (known.soc, known.soh));
        assert_eq!((edited.cell_voltages.len(), &edited.cell_voltages), (16, &known.cell_voltages));
    }
}
