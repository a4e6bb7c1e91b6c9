//! The cell record of the Bluetooth protocol: where its values stand in either generation of firmware.
//!
//! Generations share an order and differ in distances, so every field has two offsets. Which generation a board is of
//! says the version in its device record; a lone record shows it by the cell mask standing where it should.

use serde_json::{Map, Value, json};

use super::Record;
use super::alarms::JK02_ERRORS;
use crate::bms::alarms::wire_names;
use crate::bms::fields::{Field, Kind, Order, field, whole};

/// Where values stand in a cell record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Up to 24 cells, firmware before 11.
    Cells24,
    /// Up to 32 cells, firmware from 11.
    Cells32,
}

impl Generation {
    /// Tells the generation from a software version such as "10.08"; `None` for firmware whose records differ
    /// altogether, and for what is no version.
    pub fn of_version(version: &str) -> Option<Self> {
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        match digits.parse::<u8>().ok()? {
            0..=3 | 8 => None,
            ..11 => Some(Self::Cells24),
            _ => Some(Self::Cells32),
        }
    }

    /// Tells the generation from a cell record alone: its cells and its mask of cells must agree.
    pub fn of_record(record: &Record) -> Self {
        let agree = |generation| {
            let info = CellInfo { record: record.clone(), generation };
            let slots = (0..generation.slots()).filter(|index| info.slot(*index).is_some_and(|mv| mv > 0));
            let used = slots.fold(0u32, |mask, index| mask | 1 << index);
            info.mask().is_some_and(|mask| mask != 0 && used & !mask == 0)
        };
        if agree(Self::Cells24) && !agree(Self::Cells32) { Self::Cells24 } else { Self::Cells32 }
    }

    const fn slots(self) -> usize {
        match self {
            Self::Cells24 => 24,
            Self::Cells32 => 32,
        }
    }
}

/// A field with its place in both generations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    name: &'static str,
    short: usize,
    long: usize,
    kind: Kind,
    per_unit: f64,
}

const fn place(name: &'static str, short: usize, long: usize, kind: Kind, per_unit: f64) -> Place {
    Place { name, short, long, kind, per_unit }
}

/// Generations without a field have it past the end of their records.
const NOWHERE: usize = usize::MAX;

pub(super) const AVERAGE_CELL: Place = place("average_cell_voltage_v", 58, 74, Kind::U16, 1000.0);
pub(super) const DELTA_CELL: Place = place("delta_cell_voltage_v", 60, 76, Kind::U16, 1000.0);
pub(super) const MAX_CELL: Place = place("max_cell_index", 62, 78, Kind::U8, 1.0);
pub(super) const MIN_CELL: Place = place("min_cell_index", 63, 79, Kind::U8, 1.0);
pub(super) const MOSFET: Place = place("mosfet_temperature_c", 134, 144, Kind::I16, 10.0);
pub(super) const VOLTAGE: Place = place("voltage_v", 118, 150, Kind::U32, 1000.0);
pub(super) const CURRENT: Place = place("current_a_charge_positive", 126, 158, Kind::I32, 1000.0);
pub(super) const TEMPERATURE_1: Place = place("temperature1_c", 130, 162, Kind::I16, 10.0);
pub(super) const TEMPERATURE_2: Place = place("temperature2_c", 132, 164, Kind::I16, 10.0);
pub(super) const BALANCE_CURRENT: Place = place("balance_current_a", 138, 170, Kind::I16, 1000.0);
pub(super) const BALANCE_ACTION: Place = place("balance_action", 140, 172, Kind::U8, 1.0);
pub(super) const SOC: Place = place("soc_pct", 141, 173, Kind::U8, 1.0);
pub(super) const REMAINING: Place = place("remaining_capacity_ah", 142, 174, Kind::U32, 1000.0);
pub(super) const FULL: Place = place("full_capacity_ah", 146, 178, Kind::U32, 1000.0);
pub(super) const CYCLES: Place = place("cycles", 150, 182, Kind::U32, 1.0);
pub(super) const THROUGHPUT: Place = place("total_charge_throughput_ah", 154, 186, Kind::U32, 1000.0);
pub(super) const SOH: Place = place("soh_pct", 158, 190, Kind::U8, 1.0);
pub(super) const RUNTIME: Place = place("runtime_s", 162, 194, Kind::U32, 1.0);
pub(super) const CHARGE: Place = place("charge_mos", 166, 198, Kind::U8, 1.0);
pub(super) const DISCHARGE: Place = place("discharge_mos", 167, 199, Kind::U8, 1.0);
pub(super) const SENSOR_MASK: Place = place("temp_sensor_presence_mask", 182, 214, Kind::U8, 1.0);
const HEATING: Place = place("heating", NOWHERE, 215, Kind::U8, 1.0);
const HEATING_CURRENT: Place = place("heating_current_a", NOWHERE, 236, Kind::I16, 1000.0);
pub(super) const MOSFET_2: Place = place("mosfet2_temperature_c", NOWHERE, 254, Kind::I16, 10.0);
pub(super) const TEMPERATURE_4: Place = place("temperature4_c", NOWHERE, 256, Kind::I16, 10.0);
pub(super) const TEMPERATURE_5: Place = place("temperature5_c", NOWHERE, 258, Kind::I16, 10.0);
/// The word of errors is a short one in the first generation.
const ERRORS_24: usize = 136;
const ERRORS_32: usize = 166;

#[rustfmt::skip]
const SHOWN: &[Place] = &[
    AVERAGE_CELL, DELTA_CELL, MAX_CELL, MIN_CELL, MOSFET, VOLTAGE, CURRENT, TEMPERATURE_1, TEMPERATURE_2,
    BALANCE_CURRENT, BALANCE_ACTION, SOC, REMAINING, FULL, CYCLES, THROUGHPUT, SOH, RUNTIME, SENSOR_MASK,
    HEATING_CURRENT, MOSFET_2, TEMPERATURE_4, TEMPERATURE_5,
];
const SHOWN_SWITCHES: &[Place] = &[CHARGE, DISCHARGE, HEATING];

/// A cell record whose generation is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellInfo {
    record: Record,
    generation: Generation,
}

impl CellInfo {
    /// Reads a record with the offsets of a generation.
    pub const fn new(record: Record, generation: Generation) -> Self {
        Self { record, generation }
    }

    /// Which offsets are in use.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    fn offset(&self, short: usize, long: usize) -> usize {
        match self.generation {
            Generation::Cells24 => short,
            Generation::Cells32 => long,
        }
    }

    fn field(&self, place: Place) -> Field {
        field(place.name, self.offset(place.short, place.long), place.kind, place.per_unit)
    }

    /// Reads a value in its unit.
    pub(super) fn value(&self, place: Place) -> Option<f64> {
        self.field(place).value(self.record.bytes(), Order::Little)
    }

    /// Reads a value as it was sent.
    pub(super) fn raw(&self, place: Place) -> Option<i64> {
        let field = self.field(place);
        whole(self.record.bytes(), field.offset, field.kind, Order::Little)
    }

    fn mask(&self) -> Option<u32> {
        let mask = whole(self.record.bytes(), self.offset(54, 70), Kind::U32, Order::Little)?;
        u32::try_from(mask).ok()
    }

    fn slot(&self, index: usize) -> Option<u16> {
        let raw = whole(self.record.bytes(), 6 + 2 * index, Kind::U16, Order::Little)?;
        u16::try_from(raw).ok()
    }

    /// The enabled cells in mV, first cell first; slots that are not enabled are no cells.
    pub fn cells(&self) -> Vec<u16> {
        let mask = self.mask().unwrap_or_default();
        let enabled = (0..self.generation.slots()).filter(|index| mask & (1 << index) != 0);
        enabled.filter_map(|index| self.slot(index)).collect()
    }

    /// The resistance of each enabled cell's wire as the board sees it, mΩ.
    fn wire_resistances(&self) -> Vec<i64> {
        let mask = self.mask().unwrap_or_default();
        let enabled = (0..self.generation.slots()).filter(|index| mask & (1 << index) != 0);
        let start = self.offset(64, 80);
        enabled.filter_map(|i| whole(self.record.bytes(), start + 2 * i, Kind::U16, Order::Little)).collect()
    }

    /// The error bits.
    pub fn errors(&self) -> u32 {
        let bytes = self.record.bytes();
        let raw = match self.generation {
            Generation::Cells24 => whole(bytes, ERRORS_24, Kind::U16, Order::Little),
            Generation::Cells32 => whole(bytes, ERRORS_32, Kind::U32, Order::Little),
        };
        raw.and_then(|raw| u32::try_from(raw).ok()).unwrap_or_default()
    }

    /// Adds all values to a view.
    pub(super) fn show(&self, view: &mut Map<String, Value>) {
        for place in SHOWN {
            self.field(*place).show(self.record.bytes(), Order::Little, view);
        }
        for place in SHOWN_SWITCHES {
            if let Some(raw) = self.raw(*place) {
                view.insert(place.name.to_owned(), json!(raw != 0));
            }
        }
        let cells = self.cells();
        let more = json!({
            "frame_counter": self.record.counter(),
            "enabled_cell_mask": format!("{:08x}", self.mask().unwrap_or_default()),
            "cell_count": cells.len(),
            "cell_voltages_mv": cells,
            "wire_resistances_mohm": self.wire_resistances(),
            "error_code": self.errors(),
            "errors": wire_names(self.errors(), JK02_ERRORS),
        });
        if let Value::Object(more) = more {
            view.extend(more);
        }
    }
}

/// Writes the fields of a simulated board's record.
#[derive(Debug)]
pub struct CellInfoWriter<'a> {
    bytes: &'a mut [u8],
    generation: Generation,
}

impl<'a> CellInfoWriter<'a> {
    /// Writes into a record of a generation.
    pub fn new(bytes: &'a mut [u8], generation: Generation) -> Self {
        Self { bytes, generation }
    }

    fn put_raw(&mut self, offset: usize, kind: Kind, raw: i64) {
        let width = match kind {
            Kind::U8 => 1,
            Kind::U16 | Kind::I16 => 2,
            Kind::U32 | Kind::I32 => 4,
        };
        if let Some(place) = self.bytes.get_mut(offset..offset.saturating_add(width)) {
            place.copy_from_slice(&raw.to_le_bytes()[..width]);
        }
    }

    /// Writes a value given in its unit.
    #[expect(clippy::cast_possible_truncation, reason = "a simulated value, far inside of what an i64 holds")]
    fn put(&mut self, place: Place, value: f64) {
        let offset = match self.generation {
            Generation::Cells24 => place.short,
            Generation::Cells32 => place.long,
        };
        self.put_raw(offset, place.kind, (value * place.per_unit).round() as i64);
    }

    /// Writes cells, mask, average and extremes.
    pub fn cells(&mut self, millivolts: &[u16]) {
        let (mut mask, mut max, mut min) = (0i64, (0, 0.0), (u16::MAX, 0.0));
        for (index, mv) in millivolts.iter().copied().enumerate().take(self.generation.slots()) {
            self.put_raw(6 + 2 * index, Kind::U16, i64::from(mv));
            mask |= 1 << index;
            let number = f64::from(u8::try_from(index).unwrap_or_default());
            max = if mv > max.0 { (mv, number) } else { max };
            min = if mv < min.0 { (mv, number) } else { min };
        }
        let mask_at = if self.generation == Generation::Cells24 { 54 } else { 70 };
        self.put_raw(mask_at, Kind::U32, mask);
        let count = f64::from(u32::try_from(millivolts.len()).unwrap_or(1).max(1));
        let sum: f64 = millivolts.iter().map(|mv| f64::from(*mv)).sum();
        self.put(AVERAGE_CELL, sum / count / 1000.0);
        self.put(DELTA_CELL, f64::from(max.0.saturating_sub(min.0)) / 1000.0);
        self.put(MAX_CELL, max.1);
        self.put(MIN_CELL, min.1);
    }

    /// Writes what the pack as a whole does, values in the order of their places.
    pub fn pack(&mut self, values: &PackValues) {
        self.put(VOLTAGE, values.volts);
        self.put(CURRENT, values.amps);
        self.put(MOSFET, values.mosfet_celsius);
        let absent = -200.0;
        self.put(TEMPERATURE_1, values.celsius.first().copied().unwrap_or(absent));
        self.put(TEMPERATURE_2, values.celsius.get(1).copied().unwrap_or(absent));
        let places = [(TEMPERATURE_4, 2, 16), (TEMPERATURE_5, 3, 32)];
        let mut mask = 7;
        for (place, index, bit) in places {
            if let Some(celsius) = values.celsius.get(index) {
                self.put(place, *celsius);
                mask |= bit;
            }
        }
        self.put(SENSOR_MASK, f64::from(mask));
        self.put(SOC, values.soc_percent);
        self.put(SOH, 100.0);
        self.put(REMAINING, values.remaining_ah);
        self.put(FULL, values.full_ah);
        self.put(CYCLES, values.cycles.floor());
        self.put(CHARGE, f64::from(u8::from(values.charge_closed)));
        self.put(DISCHARGE, f64::from(u8::from(values.discharge_closed)));
        self.put(RUNTIME, values.uptime_s);
        let errors_at = if self.generation == Generation::Cells24 { ERRORS_24 } else { ERRORS_32 };
        let kind = if self.generation == Generation::Cells24 { Kind::U16 } else { Kind::U32 };
        self.put_raw(errors_at, kind, i64::from(values.errors));
    }
}

/// What a simulated board says of its pack.
#[derive(Debug, Clone, Default)]
pub struct PackValues {
    /// Terminal voltage.
    pub volts: f64,
    /// Current, positive while charging.
    pub amps: f64,
    /// Temperature of the power switches.
    pub mosfet_celsius: f64,
    /// Sensors, up to four.
    pub celsius: Vec<f64>,
    /// State of charge.
    pub soc_percent: f64,
    /// Charge left.
    pub remaining_ah: f64,
    /// Charge when full.
    pub full_ah: f64,
    /// Full cycles.
    pub cycles: f64,
    /// The charge switch is closed.
    pub charge_closed: bool,
    /// The discharge switch is closed.
    pub discharge_closed: bool,
    /// Time since the start.
    pub uptime_s: f64,
    /// Error bits.
    pub errors: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bms::jk::record_type;

    fn record(generation: Generation, cells: &[u16]) -> Record {
        Record::build(record_type::CELLS, 1, |bytes| CellInfoWriter::new(bytes, generation).cells(cells))
    }

    #[test]
    fn the_version_tells_the_generation() {
        assert_eq!(Generation::of_version("10.08"), Some(Generation::Cells24));
        assert_eq!(Generation::of_version("9.01"), Some(Generation::Cells24));
        assert_eq!(Generation::of_version("11.26"), Some(Generation::Cells32));
        assert_eq!(Generation::of_version("19.27"), Some(Generation::Cells32));
        assert_eq!(Generation::of_version("3.3.0"), None);
        assert_eq!(Generation::of_version("V?"), None);
    }

    #[test]
    fn a_lone_record_shows_its_generation_for_every_cell_count() {
        for count in 1..=32usize {
            let cells = vec![3300; count];
            assert_eq!(
                Generation::of_record(&record(Generation::Cells32, &cells)),
                Generation::Cells32,
                "{count}"
            );
            if count <= 24 {
                assert_eq!(
                    Generation::of_record(&record(Generation::Cells24, &cells)),
                    Generation::Cells24,
                    "{count}"
                );
            }
        }
    }

    #[test]
    fn a_slot_that_is_not_enabled_is_no_cell() {
        let record = Record::build(record_type::CELLS, 1, |bytes| {
            CellInfoWriter::new(bytes, Generation::Cells24).cells(&[3300, 3301, 3302]);
            bytes[54] = 0b101;
        });
        assert_eq!(CellInfo::new(record, Generation::Cells24).cells(), [3300, 3302]);
    }
}
