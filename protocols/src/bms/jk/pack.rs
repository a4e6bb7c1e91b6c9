//! From an answer in either protocol to a `PackReading`.
//!
//! What a board does not send stays absent: the wired protocol knows no health and no remaining charge, and neither
//! says which cells are balanced, only that none is.

use voltree_model::PackReading;

use super::alarms::{JK02_ERRORS, UART_WARNINGS};
use super::cells::{self, CellInfo};
use super::tags::{Tags, tag};
use crate::bms::alarms::sort_names;
use crate::bms::sieve::Sieve;

/// What an absent sensor reads, in tenths of a degree.
const ABSENT: i64 = -2000;
/// Bits of the presence mask that belong to the further sensors of newer boards.
const TEMPERATURE_4_BIT: i64 = 1 << 4;
const TEMPERATURE_5_BIT: i64 = 1 << 5;

/// Makes a reading of a wired answer.
pub(super) fn of_tags(tags: &Tags) -> PackReading {
    let mut sieve = Sieve::default();
    let cells = tags.cells();
    sieve.pack_voltage(tags.number(tag::VOLTAGE), cells.as_ref().map(Vec::len));
    sieve.pack_current(tags.amps());
    sieve.soc(tags.number(tag::SOC));
    sieve.full_capacity(tags.number(tag::CAPACITY));
    sieve.mosfet_temperature(tags.number(tag::MOSFET_TEMPERATURE));
    cells.into_iter().flatten().for_each(|(_, mv)| sieve.cell(mv.into()));
    let sensors = tags.raw(tag::SENSORS).unwrap_or(2);
    for (number, sensor) in (1..).zip([tag::TEMPERATURE_1, tag::TEMPERATURE_2]) {
        if let (true, celsius @ Some(_)) = (number <= sensors, tags.number(sensor)) {
            sieve.temperature(celsius);
        }
    }
    let mut reading = sieve.reading;
    reading.cycles = tags.raw(tag::CYCLES);
    if let Some(status) = tags.status() {
        reading.charge_enabled = Some(status.charge_closed());
        reading.discharge_enabled = Some(status.discharge_closed());
        reading.cells_balancing = (!status.balancing()).then(Vec::new);
    }
    if let Some(warnings) = tags.raw(tag::WARNINGS) {
        sort_names(warnings, UART_WARNINGS, &mut reading.faults, &mut reading.warnings);
    }
    reading
}

/// Makes a reading of a cell record.
pub(super) fn of_cells(info: &CellInfo) -> PackReading {
    let mut sieve = Sieve::default();
    let millivolts = info.cells();
    sieve.pack_voltage(info.value(cells::VOLTAGE), Some(millivolts.len()));
    sieve.pack_current(info.value(cells::CURRENT));
    sieve.soc(info.value(cells::SOC));
    sieve.soh(info.value(cells::SOH));
    sieve.remaining_capacity(info.value(cells::REMAINING));
    sieve.full_capacity(info.value(cells::FULL));
    if info.raw(cells::MOSFET) != Some(ABSENT) {
        sieve.mosfet_temperature(info.value(cells::MOSFET));
    }
    millivolts.into_iter().for_each(|mv| sieve.cell(mv.into()));
    for place in sensors(info) {
        let present = info.raw(place) != Some(ABSENT);
        sieve.temperature(info.value(place).filter(|_| present));
    }
    let mut reading = sieve.reading;
    reading.cycles = info.raw(cells::CYCLES).and_then(|cycles| u32::try_from(cycles).ok());
    reading.charge_enabled = info.raw(cells::CHARGE).map(|raw| raw != 0);
    reading.discharge_enabled = info.raw(cells::DISCHARGE).map(|raw| raw != 0);
    reading.cells_balancing = (info.raw(cells::BALANCE_ACTION) == Some(0)).then(Vec::new);
    sort_names(info.errors(), JK02_ERRORS, &mut reading.faults, &mut reading.warnings);
    reading
}

/// The sensors that the board says it has; the first two always count.
fn sensors(info: &CellInfo) -> Vec<cells::Place> {
    let mask = match info.generation() {
        cells::Generation::Cells24 => 0,
        cells::Generation::Cells32 => info.raw(cells::SENSOR_MASK).unwrap_or_default(),
    };
    let more = [(cells::TEMPERATURE_4, TEMPERATURE_4_BIT), (cells::TEMPERATURE_5, TEMPERATURE_5_BIT)];
    let more = more.into_iter().filter(|(_, bit)| mask & bit != 0).map(|(place, _)| place);
    [cells::TEMPERATURE_1, cells::TEMPERATURE_2].into_iter().chain(more).collect()
}

#[cfg(test)]
mod tests {
    use voltree_model::{Celsius, WithheldReason};

    use super::*;
    use crate::bms::jk::cells::{CellInfoWriter, Generation, PackValues};
    use crate::bms::jk::{Record, record_type};

    fn info(generation: Generation, values: &PackValues) -> CellInfo {
        let record = Record::build(record_type::CELLS, 1, |bytes| {
            let mut writer = CellInfoWriter::new(bytes, generation);
            writer.cells(&[3300; 16]);
            writer.pack(values);
        });
        CellInfo::new(record, generation)
    }

    #[test]
    fn an_absent_sensor_is_withheld_and_an_unknown_error_kept() {
        let values = PackValues {
            volts: 52.8,
            celsius: vec![21.5],
            errors: 1 << 30 | 1 << 11,
            ..PackValues::default()
        };
        let reading = of_cells(&info(Generation::Cells32, &values));
        assert_eq!(reading.temperatures, [Some(Celsius(21.5)), None]);
        assert_eq!(reading.withheld[0].reason, WithheldReason::SensorMissing);
        assert_eq!(
            (reading.faults, reading.warnings),
            (vec!["undervoltage".into()], vec!["unknown_bit_30".into()])
        );
    }

    #[test]
    fn newer_boards_have_further_sensors() {
        let values = PackValues { volts: 52.8, celsius: vec![1.0, 2.0, 3.0, 4.0], ..PackValues::default() };
        let count = |generation| of_cells(&info(generation, &values)).temperatures.len();
        assert_eq!((count(Generation::Cells32), count(Generation::Cells24)), (4, 2));
    }

    #[test]
    fn what_was_not_sent_is_absent() {
        let reading = of_tags(&Tags::decode(&[tag::SOC, 55]));
        assert_eq!((reading.soh, reading.remaining_capacity, reading.pack_current), (None, None, None));
        assert!(reading.temperatures.is_empty() && reading.withheld.is_empty());
    }
}
