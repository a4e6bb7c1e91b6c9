//! A battery by a table of registers: which register holds which value, how it is written and in what unit.
//!
//! For the many devices whose maker publishes a list of registers and nothing more. Each row reads one value; a row
//! whose register holds its "not implemented" number gives nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use voltree_model::{PackReading, WithheldReason};

use super::{MAX_REGISTERS, ReadRegisters, Table};
use crate::bms::sieve::Sieve;

/// How a value stands in its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// One register.
    U16,
    /// One register, two's complement.
    I16,
    /// Two registers.
    U32,
    /// Two registers, two's complement.
    I32,
    /// Two registers, IEEE 754.
    F32,
}

/// Which of two registers holds the upper half.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WordOrder {
    /// The first.
    #[default]
    HighFirst,
    /// The second.
    LowFirst,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MapField {
    /// V.
    PackVoltage,
    /// A, positive while charging.
    PackCurrent,
    /// %.
    Soc,
    /// %.
    Soh,
    /// Ah.
    RemainingCapacity,
    /// Ah.
    FullCapacity,
    /// Full cycles.
    Cycles,
    /// V, of a cell counted from 1.
    Cell(u8),
    /// °C, of a sensor counted from 1.
    Temperature(u8),
    /// °C.
    MosfetTemperature,
    /// Not zero while the charge switch is closed.
    ChargeEnabled,
    /// Not zero while the discharge switch is closed.
    DischargeEnabled,
}

impl MapField {
    /// Finds a field by the name that its series has.
    pub fn named(name: &str) -> Option<Self> {
        let numbered =
            |prefix| name.strip_prefix(prefix).and_then(|n: &str| n.parse::<u8>().ok()).filter(|n| *n > 0);
        Some(match name {
            "pack_voltage" => Self::PackVoltage,
            "pack_current" => Self::PackCurrent,
            "soc_percent" => Self::Soc,
            "soh_percent" => Self::Soh,
            "remaining_capacity" => Self::RemainingCapacity,
            "full_capacity" => Self::FullCapacity,
            "cycles" => Self::Cycles,
            "mosfet_temperature" => Self::MosfetTemperature,
            "charge_enabled" => Self::ChargeEnabled,
            "discharge_enabled" => Self::DischargeEnabled,
            _ => match (numbered("cell_voltage_"), numbered("temperature_")) {
                (Some(cell), _) => Self::Cell(cell),
                (None, Some(sensor)) => Self::Temperature(sensor),
                (None, None) => return None,
            },
        })
    }
}

/// One row of the table: `value = raw * scale + offset`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MapRow {
    /// The first register, counted from 0 as on the wire.
    pub register: u16,
    /// How it is written.
    pub encoding: Encoding,
    /// Which half comes first.
    pub word_order: WordOrder,
    /// What one step is worth.
    pub scale: f64,
    /// What is added to it.
    pub offset: f64,
    /// What the value is.
    pub field: MapField,
    /// The bits that stand for no value, read without a sign.
    pub not_implemented: Option<u32>,
}

impl MapRow {
    /// How many registers the value takes.
    pub const fn registers(&self) -> u16 {
        match self.encoding {
            Encoding::U16 | Encoding::I16 => 1,
            Encoding::U32 | Encoding::I32 | Encoding::F32 => 2,
        }
    }

    fn value(&self, registers: &Registers) -> Option<f64> {
        let first = registers.get(self.register)?;
        let bits = match self.registers() {
            1 => u32::from(first),
            _ => {
                let [a, b] = first.to_be_bytes();
                let [c, d] = registers.get(self.register.checked_add(1)?)?.to_be_bytes();
                let high_first = self.word_order == WordOrder::HighFirst;
                u32::from_be_bytes(if high_first { [a, b, c, d] } else { [c, d, a, b] })
            }
        };
        if self.not_implemented == Some(bits) {
            return None;
        }
        let raw = match self.encoding {
            Encoding::U16 | Encoding::U32 => f64::from(bits),
            Encoding::I16 => f64::from(i16::from_be_bytes(first.to_be_bytes())),
            Encoding::I32 => f64::from(i32::from_be_bytes(bits.to_be_bytes())),
            Encoding::F32 => f64::from(f32::from_bits(bits)),
        };
        Some(raw * self.scale + self.offset)
    }
}

/// Registers that were read, by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registers(BTreeMap<u16, u16>);

impl Registers {
    /// Takes the registers of an answer.
    pub fn put(&mut self, first: u16, values: &[u16]) {
        for (register, value) in (first..=u16::MAX).zip(values) {
            self.0.insert(register, *value);
        }
    }

    /// Reads one.
    pub fn get(&self, register: u16) -> Option<u16> {
        self.0.get(&register).copied()
    }
}

/// Rows whose registers lie no further apart are read by one question.
const MAX_GAP: u16 = 8;

/// Plans the fewest questions that read all rows.
pub(super) fn questions(unit: u8, table: Table, rows: &[MapRow]) -> Vec<ReadRegisters> {
    let mut spans: Vec<(u16, u16)> =
        rows.iter().map(|row| (row.register, row.register.saturating_add(row.registers() - 1))).collect();
    spans.sort_unstable();
    let mut blocks: Vec<(u16, u16)> = Vec::new();
    for (first, last) in spans {
        match blocks.last_mut() {
            Some(block) if first.saturating_sub(block.1) <= MAX_GAP && last - block.0 < MAX_REGISTERS => {
                block.1 = block.1.max(last);
            }
            _ => blocks.push((first, last)),
        }
    }
    blocks
        .into_iter()
        .map(|(first, last)| ReadRegisters { unit, table, first, count: last - first + 1 })
        .collect()
}

/// Makes a reading of registers.
pub(super) fn reading(rows: &[MapRow], registers: &Registers) -> PackReading {
    let mut sieve = Sieve::default();
    let value = |field| rows.iter().find(|row| row.field == field).and_then(|row| row.value(registers));
    let numbered = |of: fn(u8) -> MapField| {
        let last = (1..=u8::MAX).rev().find(|n| rows.iter().any(|row| row.field == of(*n))).unwrap_or(0);
        (1..=last).map(move |n| value(of(n)))
    };
    let cells: Vec<_> = numbered(MapField::Cell).collect();
    sieve.pack_voltage(value(MapField::PackVoltage), None);
    sieve.pack_current(value(MapField::PackCurrent));
    sieve.soc(value(MapField::Soc));
    sieve.soh(value(MapField::Soh));
    sieve.remaining_capacity(value(MapField::RemainingCapacity));
    sieve.full_capacity(value(MapField::FullCapacity));
    sieve.mosfet_temperature(value(MapField::MosfetTemperature));
    cells.into_iter().for_each(|volts| match volts.map(millivolts) {
        Some(Some(mv)) => sieve.cell(mv),
        Some(None) => sieve.no_cell(WithheldReason::OutOfRange),
        None => sieve.no_cell(WithheldReason::SensorMissing),
    });
    numbered(MapField::Temperature).for_each(|celsius| sieve.temperature(celsius));
    let cycles = sieve.in_range("cycles", value(MapField::Cycles), &(0.0..=1e6));
    let mut reading = sieve.reading;
    reading.cycles = cycles.and_then(whole);
    reading.charge_enabled = value(MapField::ChargeEnabled).map(|on| on.abs() > 0.0);
    reading.discharge_enabled = value(MapField::DischargeEnabled).map(|on| on.abs() > 0.0);
    reading
}

fn millivolts(volts: f64) -> Option<u32> {
    whole(volts * 1000.0)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
fn whole(value: f64) -> Option<u32> {
    let value = value.round();
    (0.0..=f64::from(u32::MAX)).contains(&value).then_some(value as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use voltree_model::{Amps, Celsius, Millivolts, Percent};

    use super::*;

    fn row(register: u16, encoding: Encoding, scale: f64, field: MapField) -> MapRow {
        MapRow {
            register,
            encoding,
            word_order: WordOrder::HighFirst,
            scale,
            offset: 0.0,
            field,
            not_implemented: None,
        }
    }

    #[test]
    fn every_encoding_is_read() {
        let mut registers = Registers::default();
        registers.put(10, &[0xFFFE, 0x0001, 0x86A0, 0x41A4, 0x0000]);
        let value = |register, encoding| row(register, encoding, 1.0, MapField::Soc).value(&registers);
        assert_eq!(value(10, Encoding::U16), Some(65_534.0));
        assert_eq!(value(10, Encoding::I16), Some(-2.0));
        assert_eq!(value(11, Encoding::U32), Some(100_000.0));
        assert_eq!(value(13, Encoding::F32), Some(20.5));
        assert_eq!(value(14, Encoding::I32), None);
        let low = MapRow { word_order: WordOrder::LowFirst, ..row(10, Encoding::I32, 1.0, MapField::Soc) };
        assert_eq!(low.value(&registers), Some(131_070.0));
    }

    #[test]
    fn rows_become_a_reading_with_gaps_where_nothing_is_implemented() {
        let rows = [
            row(0, Encoding::I16, 0.1, MapField::PackCurrent),
            row(1, Encoding::U16, 1.0, MapField::Soc),
            row(2, Encoding::U16, 0.001, MapField::Cell(1)),
            MapRow { not_implemented: Some(0xFFFF), ..row(3, Encoding::U16, 0.001, MapField::Cell(2)) },
            MapRow { offset: -40.0, ..row(4, Encoding::U16, 1.0, MapField::Temperature(1)) },
        ];
        let mut registers = Registers::default();
        registers.put(0, &[0xFFCE, 101, 3312, 0xFFFF, 61]);
        let reading = reading(&rows, &registers);
        assert_eq!(reading.pack_current, Some(Amps(-5.0)));
        assert_eq!(reading.soc, None::<Percent>);
        assert_eq!(reading.cell_voltages, [Some(Millivolts(3312)), None]);
        assert_eq!(reading.temperatures, [Some(Celsius(21.0))]);
        assert_eq!(reading.withheld.len(), 2);
    }

    #[test]
    fn neighbours_are_read_together_and_strangers_apart() {
        let at = |register| row(register, Encoding::U32, 1.0, MapField::Soc);
        let asked = questions(7, Table::Input, &[at(100), at(0), at(5), at(300)]);
        let spans: Vec<_> = asked.iter().map(|asked| (asked.first, asked.count)).collect();
        assert_eq!(spans, [(0, 7), (100, 2), (300, 2)]);
    }

    #[test]
    fn fields_have_the_names_of_their_series() {
        assert_eq!(MapField::named("cell_voltage_16"), Some(MapField::Cell(16)));
        assert_eq!(MapField::named("temperature_2"), Some(MapField::Temperature(2)));
        assert_eq!(MapField::named("cell_voltage_0"), None);
        assert_eq!(MapField::named("volts"), None);
    }

    proptest! {
        #[test]
        fn every_row_is_covered_by_a_question_within_the_limit(registers in proptest::collection::vec(0u16..2000, 1..60)) {
            let rows: Vec<_> = registers.iter().map(|r| row(*r, Encoding::F32, 1.0, MapField::Soc)).collect();
            let asked = questions(1, Table::Holding, &rows);
            for row in &rows {
                let covers = |q: &&ReadRegisters| q.first <= row.register && row.register + 2 <= q.first + q.count;
                prop_assert!(asked.iter().any(|q| covers(&q)));
            }
            prop_assert!(asked.iter().all(|q| (1..=MAX_REGISTERS).contains(&q.count)));
        }

        #[test]
        fn any_registers_give_a_reading(values: Vec<u16>, scale: f64, offset: f64) {
            let mut registers = Registers::default();
            registers.put(0, &values);
            let encodings = [Encoding::U16, Encoding::I16, Encoding::U32, Encoding::I32, Encoding::F32];
            let fields = [MapField::PackVoltage, MapField::Cell(1), MapField::Cycles, MapField::Temperature(1), MapField::Soc];
            let rows: Vec<_> = (0u16..).zip(encodings).zip(fields)
                .map(|((register, encoding), field)| MapRow { offset, ..row(register, encoding, scale, field) })
                .collect();
            let reading = reading(&rows, &registers);
            prop_assert!(reading.pack_voltage.is_none_or(|v| v.0.is_finite()));
        }
    }
}
