//! Answers that only `decode` shows: ratings, thresholds, clock and texts, as a table of fields.
//!
//! A row says where a value stands in the eight data bytes and what turns it into its unit. The poll asks for none of
//! these, so nothing here may decide anything; it names bytes.

use serde_json::{Map, Value, json};

use super::command;

/// How a value is written.
#[derive(Debug, Clone, Copy)]
enum Kind {
    U8,
    U16,
    U32,
}

/// One value of an answer: `(raw - zero) / per_unit`.
#[derive(Debug, Clone, Copy)]
struct Field {
    command: u8,
    name: &'static str,
    offset: usize,
    kind: Kind,
    zero: i64,
    per_unit: u32,
}

const fn field(
    command: u8,
    name: &'static str,
    offset: usize,
    kind: Kind,
    zero: i64,
    per_unit: u32,
) -> Field {
    Field { command, name, offset, kind, zero, per_unit }
}

use Kind::{U8, U16, U32};

#[rustfmt::skip]
const FIELDS: &[Field] = &[
    field(command::RATED, "rated_capacity_ah", 0, U32, 0, 1000),
    field(command::RATED, "nominal_cell_voltage_v", 4, U32, 0, 1000),
    field(command::BOARDS, "board_count", 0, U8, 0, 1),
    field(command::BOARDS, "board_1_cells", 1, U8, 0, 1),
    field(command::BOARDS, "board_2_cells", 2, U8, 0, 1),
    field(command::BOARDS, "board_3_cells", 3, U8, 0, 1),
    field(command::BOARDS, "board_1_sensors", 4, U8, 0, 1),
    field(command::BOARDS, "board_2_sensors", 5, U8, 0, 1),
    field(command::BOARDS, "board_3_sensors", 6, U8, 0, 1),
    field(command::TOTALS, "total_charged_ah", 0, U32, 0, 1),
    field(command::TOTALS, "total_discharged_ah", 4, U32, 0, 1),
    field(command::BATTERY_TYPE, "chemistry_code", 0, U8, 0, 1),
    field(command::BATTERY_TYPE, "mode_code", 1, U8, 0, 1),
    field(command::BATTERY_TYPE, "production_year", 2, U8, -2000, 1),
    field(command::BATTERY_TYPE, "production_month", 3, U8, 0, 1),
    field(command::BATTERY_TYPE, "production_day", 4, U8, 0, 1),
    field(command::BATTERY_TYPE, "sleep_after_s", 5, U16, 0, 1),
    field(command::BATTERY_TYPE, "zero_drift_a", 7, U8, 0, 10),
    field(0x59, "cell_overvoltage_l1_v", 0, U16, 0, 1000),
    field(0x59, "cell_overvoltage_l2_v", 2, U16, 0, 1000),
    field(0x59, "cell_undervoltage_l1_v", 4, U16, 0, 1000),
    field(0x59, "cell_undervoltage_l2_v", 6, U16, 0, 1000),
    field(0x5A, "pack_overvoltage_l1_v", 0, U16, 0, 10),
    field(0x5A, "pack_overvoltage_l2_v", 2, U16, 0, 10),
    field(0x5A, "pack_undervoltage_l1_v", 4, U16, 0, 10),
    field(0x5A, "pack_undervoltage_l2_v", 6, U16, 0, 10),
    field(0x5B, "charge_overcurrent_l1_wire_a", 0, U16, 30_000, 10),
    field(0x5B, "charge_overcurrent_l2_wire_a", 2, U16, 30_000, 10),
    field(0x5B, "discharge_overcurrent_l1_wire_a", 4, U16, 30_000, 10),
    field(0x5B, "discharge_overcurrent_l2_wire_a", 6, U16, 30_000, 10),
    field(0x5D, "soc_high_l1_pct", 0, U16, 0, 10),
    field(0x5D, "soc_high_l2_pct", 2, U16, 0, 10),
    field(0x5D, "soc_low_l1_pct", 4, U16, 0, 10),
    field(0x5D, "soc_low_l2_pct", 6, U16, 0, 10),
    field(0x5E, "cell_voltage_diff_l1_v", 0, U16, 0, 1000),
    field(0x5E, "cell_voltage_diff_l2_v", 2, U16, 0, 1000),
    field(0x5E, "temperature_diff_l1_c", 4, U8, 0, 1),
    field(0x5E, "temperature_diff_l2_c", 5, U8, 0, 1),
    field(0x5F, "balance_start_v", 0, U16, 0, 1000),
    field(0x5F, "balance_diff_v", 2, U16, 0, 1000),
    field(0x60, "short_circuit_a", 0, U16, 0, 1),
    field(0x60, "shunt_uohm", 2, U16, 0, 1),
    field(0x61, "clock_year", 0, U8, -2000, 1),
    field(0x61, "clock_month", 1, U8, 0, 1),
    field(0x61, "clock_day", 2, U8, 0, 1),
    field(0x61, "clock_hour", 3, U8, 0, 1),
    field(0x61, "clock_minute", 4, U8, 0, 1),
    field(0x61, "clock_second", 5, U8, 0, 1),
    field(command::SET_DISCHARGE, "discharge_mos_applied", 0, U8, 0, 1),
    field(command::SET_CHARGE, "charge_mos_applied", 0, U8, 0, 1),
    field(command::SET_SOC, "set_soc_accepted", 0, U8, 0, 1),
];

/// Texts in several frames, numbered from 1: command and name.
const TEXTS: &[(u8, &str)] = &[
    (0x55, "manufacturer"),
    (0x56, "name"),
    (0x57, "battery_code"),
    (0x62, "hardware_version"),
    (0x63, "software_version"),
    (0x6A, "serial_number"),
];

impl Field {
    fn read(&self, data: [u8; 8]) -> Option<Value> {
        let bytes = data.get(self.offset..)?;
        let raw: i64 = match self.kind {
            U8 => (*bytes.first()?).into(),
            U16 => u16::from_be_bytes(*bytes.first_chunk()?).into(),
            U32 => u32::from_be_bytes(*bytes.first_chunk()?).into(),
        };
        let counted = raw - self.zero;
        if self.per_unit == 1 {
            return Some(json!(counted));
        }
        let counted = f64::from(i32::try_from(counted).ok()?);
        Some(json!(counted / f64::from(self.per_unit)))
    }
}

/// The name of the text that a command's frames spell.
pub(super) fn text_name(command: u8) -> Option<&'static str> {
    TEXTS.iter().find(|(of, _)| *of == command).map(|(_, name)| *name)
}

/// Adds the values of an answer to the view; false where the table does not know the command.
pub(super) fn show(command: u8, data: [u8; 8], view: &mut Map<String, Value>) -> bool {
    let before = view.len();
    for field in FIELDS.iter().filter(|field| field.command == command) {
        if let Some(value) = field.read(data) {
            view.insert(field.name.to_owned(), value);
        }
    }
    view.len() > before
}

/// ASCII as far as it goes; padding and anything unprintable is left out.
pub(super) fn printable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .filter(|b| b.is_ascii_graphic() || **b == b' ')
        .map(|b| char::from(*b))
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rated_values_have_units() {
        let mut view = Map::new();
        assert!(show(command::RATED, [0, 4, 0x93, 0xE0, 0, 0, 0x0C, 0x80], &mut view));
        assert_eq!(view["rated_capacity_ah"], json!(300.0));
        assert_eq!(view["nominal_cell_voltage_v"], json!(3.2));
    }

    #[test]
    fn a_year_is_counted_from_2000_and_a_current_from_its_zero() {
        let mut view = Map::new();
        assert!(show(0x61, [26, 1, 2, 3, 4, 5, 0, 0], &mut view));
        assert!(show(0x5B, [0x75, 0x30, 0x75, 0x3A, 0x75, 0x26, 0, 0], &mut view));
        assert_eq!(view["clock_year"], json!(2026));
        assert_eq!(view["charge_overcurrent_l2_wire_a"], json!(1.0));
        assert_eq!(view["discharge_overcurrent_l1_wire_a"], json!(-1.0));
    }

    #[test]
    fn every_field_lies_within_the_data() {
        for field in FIELDS {
            assert!(field.read([0xFF; 8]).is_some() || field.per_unit > 1, "{}", field.name);
            assert!(field.read([0; 8]).is_some(), "{}", field.name);
        }
    }
}
