//! The tagged values of the wired protocol: one byte says what follows, and with it how long it is.
//!
//! A tag that the table does not know ends the reading there, because its length is unknown; what was read before it
//! stays, and what is left over is shown as it came.

use serde_json::{Map, Value, json};

use crate::bms::fields::{Kind, Order, float, printable, whole};

/// How the value behind a tag is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Number(Kind),
    /// °C up to 100, below zero above that.
    Temperature,
    Text(usize),
    /// Not shown to anybody.
    Secret(usize),
    /// A length byte and three bytes a cell.
    Cells,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
struct Row {
    tag: u8,
    name: &'static str,
    shape: Shape,
    per_unit: f64,
}

const fn row(tag: u8, name: &'static str, shape: Shape, per_unit: f64) -> Row {
    Row { tag, name, shape, per_unit }
}

const U8: Shape = Shape::Number(Kind::U8);
const U16: Shape = Shape::Number(Kind::U16);
const I16: Shape = Shape::Number(Kind::I16);
const U32: Shape = Shape::Number(Kind::U32);

/// Tags by their meaning, as far as a reading needs them.
pub(super) mod tag {
    pub(crate) const CELLS: u8 = 0x79;
    pub(crate) const MOSFET_TEMPERATURE: u8 = 0x80;
    pub(crate) const TEMPERATURE_1: u8 = 0x81;
    pub(crate) const TEMPERATURE_2: u8 = 0x82;
    pub(crate) const VOLTAGE: u8 = 0x83;
    pub(crate) const CURRENT: u8 = 0x84;
    pub(crate) const SOC: u8 = 0x85;
    pub(crate) const SENSORS: u8 = 0x86;
    pub(crate) const CYCLES: u8 = 0x87;
    pub(crate) const CELL_COUNT: u8 = 0x8A;
    pub(crate) const WARNINGS: u8 = 0x8B;
    pub(crate) const STATUS: u8 = 0x8C;
    pub(crate) const CAPACITY: u8 = 0xAA;
    pub(crate) const CHARGE_SWITCH: u8 = 0xAB;
    pub(crate) const DISCHARGE_SWITCH: u8 = 0xAC;
    pub(crate) const PROTOCOL_VERSION: u8 = 0xC0;
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(tag::CELLS, "cell_voltages_mv", Shape::Cells, 1.0),
    row(tag::MOSFET_TEMPERATURE, "mosfet_temperature_c", Shape::Temperature, 1.0),
    row(tag::TEMPERATURE_1, "temperature1_c", Shape::Temperature, 1.0),
    row(tag::TEMPERATURE_2, "temperature2_c", Shape::Temperature, 1.0),
    row(tag::VOLTAGE, "voltage_v", U16, 100.0),
    row(tag::CURRENT, "current_raw", U16, 1.0),
    row(tag::SOC, "soc_pct", U8, 1.0),
    row(tag::SENSORS, "temperature_sensor_count", U8, 1.0),
    row(tag::CYCLES, "cycles", U16, 1.0),
    row(0x89, "total_cycle_capacity_ah", U32, 1.0),
    row(tag::CELL_COUNT, "cell_count", U16, 1.0),
    row(tag::WARNINGS, "error_code", U16, 1.0),
    row(tag::STATUS, "status_bits", U16, 1.0),
    row(0x8E, "pack_overvoltage_v", U16, 100.0),
    row(0x8F, "pack_undervoltage_v", U16, 100.0),
    row(0x90, "cell_overvoltage_mv", U16, 1.0),
    row(0x91, "cell_overvoltage_recovery_mv", U16, 1.0),
    row(0x92, "cell_overvoltage_delay_s", U16, 1.0),
    row(0x93, "cell_undervoltage_mv", U16, 1.0),
    row(0x94, "cell_undervoltage_recovery_mv", U16, 1.0),
    row(0x95, "cell_undervoltage_delay_s", U16, 1.0),
    row(0x96, "cell_difference_mv", U16, 1.0),
    row(0x97, "discharge_overcurrent_a", U16, 1.0),
    row(0x98, "discharge_overcurrent_delay_s", U16, 1.0),
    row(0x99, "charge_overcurrent_a", U16, 1.0),
    row(0x9A, "charge_overcurrent_delay_s", U16, 1.0),
    row(0x9B, "balance_start_mv", U16, 1.0),
    row(0x9C, "balance_difference_mv", U16, 1.0),
    row(0x9D, "balancer_switch", U8, 1.0),
    row(0x9E, "mos_overtemperature_c", U16, 1.0),
    row(0x9F, "mos_overtemperature_recovery_c", U16, 1.0),
    row(0xA0, "box_overtemperature_c", U16, 1.0),
    row(0xA1, "box_overtemperature_recovery_c", U16, 1.0),
    row(0xA2, "temperature_difference_c", U16, 1.0),
    row(0xA3, "charge_overtemperature_c", U16, 1.0),
    row(0xA4, "discharge_overtemperature_c", U16, 1.0),
    row(0xA5, "charge_undertemperature_c", I16, 1.0),
    row(0xA6, "charge_undertemperature_recovery_c", I16, 1.0),
    row(0xA7, "discharge_undertemperature_c", I16, 1.0),
    row(0xA8, "discharge_undertemperature_recovery_c", I16, 1.0),
    row(0xA9, "cell_count_setting", U8, 1.0),
    row(tag::CAPACITY, "full_capacity_ah", U32, 1.0),
    row(tag::CHARGE_SWITCH, "charge_mos_switch", U8, 1.0),
    row(tag::DISCHARGE_SWITCH, "discharge_mos_switch", U8, 1.0),
    row(0xAD, "current_calibration_ma", U16, 1.0),
    row(0xAE, "board_address", U8, 1.0),
    row(0xAF, "battery_type", U8, 1.0),
    row(0xB0, "sleep_after_s", U16, 1.0),
    row(0xB1, "low_capacity_pct", U8, 1.0),
    row(0xB2, "password", Shape::Secret(10), 1.0),
    row(0xB3, "charger_switch", U8, 1.0),
    row(0xB4, "device_id", Shape::Text(8), 1.0),
    row(0xB5, "production_date", Shape::Text(4), 1.0),
    row(0xB6, "uptime_min", U32, 1.0),
    row(0xB7, "software_version", Shape::Text(15), 1.0),
    row(0xB8, "calibrating", U8, 1.0),
    row(0xB9, "actual_capacity_ah", U32, 1.0),
    row(0xBA, "maker_id", Shape::Text(24), 1.0),
    row(tag::PROTOCOL_VERSION, "protocol_version", U8, 1.0),
];

/// Fields of the table that are switches, shown as such.
const SWITCHES: [&str; 4] =
    ["balancer_switch", "charge_mos_switch", "discharge_mos_switch", "charger_switch"];

/// A tag and the bytes behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Which.
    pub tag: u8,
    /// Its value as sent.
    pub value: Vec<u8>,
}

/// The status word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u16);

impl Status {
    /// The charge switch is closed.
    pub const fn charge_closed(self) -> bool {
        self.0 & 1 != 0
    }

    /// The discharge switch is closed.
    pub const fn discharge_closed(self) -> bool {
        self.0 & 2 != 0
    }

    /// Cells are being balanced.
    pub const fn balancing(self) -> bool {
        self.0 & 4 != 0
    }
}

/// The values of one answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags {
    /// In the order in which they came.
    pub tags: Vec<Tag>,
    /// What follows a tag that nobody knows, that tag included; or a value that is cut off.
    pub rest: Vec<u8>,
}

impl Tags {
    /// Takes an answer's data apart.
    pub fn decode(data: &[u8]) -> Self {
        let mut tags = Vec::new();
        let mut rest = data;
        while let Some((tag, value, behind)) = next_tag(rest) {
            tags.push(Tag { tag, value: value.to_vec() });
            rest = behind;
        }
        Self { tags, rest: rest.to_vec() }
    }

    /// Puts the values back into data.
    pub fn encode(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for tag in &self.tags {
            data.push(tag.tag);
            data.extend_from_slice(&tag.value);
        }
        data.extend_from_slice(&self.rest);
        data
    }

    fn value(&self, tag: u8) -> Option<&[u8]> {
        self.tags.iter().find(|found| found.tag == tag).map(|found| found.value.as_slice())
    }

    /// Reads a value in its unit.
    pub(super) fn number(&self, tag: u8) -> Option<f64> {
        let row = ROWS.iter().find(|row| row.tag == tag)?;
        row.number(self.value(tag)?)
    }

    /// Reads a value as it was sent.
    pub(super) fn raw(&self, tag: u8) -> Option<u32> {
        let row = ROWS.iter().find(|row| row.tag == tag)?;
        let Shape::Number(kind) = row.shape else { return None };
        whole(self.value(tag)?, 0, kind, Order::Big).and_then(|raw| u32::try_from(raw).ok())
    }

    /// The cells in mV by their numbers, as sent; numbers count from 1 on the boards that were seen.
    pub(super) fn cells(&self) -> Option<Vec<(u8, u16)>> {
        let cells = self.value(tag::CELLS)?.get(1..)?;
        Some(cells.as_chunks().0.iter().map(|&[n, high, low]| (n, u16::from_be_bytes([high, low]))).collect())
    }

    pub(super) fn status(&self) -> Option<Status> {
        self.raw(tag::STATUS).and_then(|raw| u16::try_from(raw).ok()).map(Status)
    }

    /// The current, positive while charging. Protocol version 1 has a sign bit; before it 10000 stood for no current.
    pub(super) fn amps(&self) -> Option<f64> {
        let raw = i32::try_from(self.raw(tag::CURRENT)?).ok()?;
        let hundredths = match self.raw(tag::PROTOCOL_VERSION) {
            None | Some(0) => 10_000 - raw,
            Some(_) if raw & 0x8000 != 0 => raw & 0x7FFF,
            Some(_) => -raw,
        };
        Some(f64::from(hundredths) / 100.0 + 0.0)
    }

    /// Adds all values to a view, under the names of the table.
    pub(super) fn show(&self, view: &mut Map<String, Value>) {
        for found in &self.tags {
            if let Some(row) = ROWS.iter().find(|row| row.tag == found.tag) {
                view.insert(row.name.to_owned(), row.show(&found.value));
            }
        }
        if !self.rest.is_empty() {
            view.insert("unknown_tags_hex".to_owned(), json!(hex::encode(&self.rest)));
        }
    }
}

fn next_tag(data: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, behind) = data.split_first()?;
    let length = match ROWS.iter().find(|row| row.tag == tag)?.shape {
        Shape::Number(Kind::U8) => 1,
        Shape::Number(Kind::U16 | Kind::I16) | Shape::Temperature => 2,
        Shape::Number(Kind::U32 | Kind::I32) => 4,
        Shape::Text(length) | Shape::Secret(length) => length,
        Shape::Cells => usize::from(*behind.first()?) + 1,
    };
    let (value, behind) = behind.split_at_checked(length)?;
    Some((tag, value, behind))
}

impl Row {
    fn number(&self, value: &[u8]) -> Option<f64> {
        match self.shape {
            Shape::Number(kind) => Some(float(whole(value, 0, kind, Order::Big)?)? / self.per_unit),
            Shape::Temperature => {
                let raw = float(whole(value, 0, Kind::U16, Order::Big)?)?;
                Some(if raw > 100.0 { 100.0 - raw } else { raw })
            }
            Shape::Text(_) | Shape::Secret(_) | Shape::Cells => None,
        }
    }

    fn show(&self, value: &[u8]) -> Value {
        let plain = (self.per_unit - 1.0).abs() < f64::EPSILON;
        match self.shape {
            Shape::Number(_) if SWITCHES.contains(&self.name) => json!(value.iter().any(|byte| *byte != 0)),
            Shape::Number(kind) if plain => json!(whole(value, 0, kind, Order::Big)),
            Shape::Number(_) => json!(self.number(value)),
            Shape::Temperature => {
                let raw = whole(value, 0, Kind::U16, Order::Big);
                json!(raw.map(|raw| if raw > 100 { 100 - raw } else { raw }))
            }
            Shape::Text(_) => json!(printable(value)),
            Shape::Secret(_) => json!("***"),
            Shape::Cells => {
                let cells = value.get(1..).unwrap_or_default().as_chunks().0;
                json!(cells.iter().map(|&[_, high, low]| u16::from_be_bytes([high, low])).collect::<Vec<_>>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tags(data: &[u8]) -> Tags {
        Tags::decode(data)
    }

    #[test]
    fn the_sign_of_the_current_depends_on_the_protocol_version() {
        let amps = |raw: u16, version: Option<u8>| {
            let mut data = vec![tag::CURRENT];
            data.extend(raw.to_be_bytes());
            data.extend(version.iter().flat_map(|version| [tag::PROTOCOL_VERSION, *version]));
            tags(&data).amps()
        };
        assert_eq!(amps(0x81C5, Some(1)), Some(4.53));
        assert_eq!(amps(0x01C5, Some(1)), Some(-4.53));
        assert_eq!(amps(9_547, Some(0)), Some(4.53));
        assert_eq!(amps(10_453, None), Some(-4.53));
        assert_eq!(tags(&[]).amps(), None);
    }

    #[test]
    fn temperatures_above_a_hundred_are_below_zero() {
        let of = |raw| tags(&[tag::TEMPERATURE_1, 0, raw]).number(tag::TEMPERATURE_1);
        assert_eq!((of(100), of(101), of(140)), (Some(100.0), Some(-1.0), Some(-40.0)));
    }

    #[test]
    fn an_unknown_tag_ends_the_values_and_is_kept() {
        let found = tags(&[tag::SOC, 55, 0xEE, 1, 2]);
        assert_eq!(found.number(tag::SOC), Some(55.0));
        assert_eq!(found.rest, [0xEE, 1, 2]);
        let mut view = Map::new();
        found.show(&mut view);
        assert_eq!(view["unknown_tags_hex"], json!("ee0102"));
    }

    #[test]
    fn a_password_is_not_shown() {
        let mut view = Map::new();
        tags(&[&[0xB2][..], b"123456\0\0\0\0"].concat()).show(&mut view);
        assert_eq!(view["password"], json!("***"));
    }

    #[test]
    fn every_tag_stands_once_in_the_table() {
        let mut all: Vec<u8> = ROWS.iter().map(|row| row.tag).collect();
        all.dedup();
        assert_eq!(all.len(), ROWS.len());
    }

    proptest! {
        #[test]
        fn any_data_is_taken_apart_and_put_together_again(data: Vec<u8>) {
            prop_assert_eq!(tags(&data).encode(), data);
        }
    }
}
