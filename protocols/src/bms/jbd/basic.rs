//! Register 0x03: the pack as a whole, in wire units, both ways.
//!
//! Nothing is judged here. Behind the temperatures newer boards add more; one flag among it says that current and
//! charge are in steps ten times as coarse, for packs whose charge would not fit otherwise.

use serde_json::{Value, json};

use crate::bms::alarms::{AlarmBit, fault, warning, wire_names};

/// The protection word, bit 0 first.
#[rustfmt::skip]
pub const PROTECTION_BITS: &[AlarmBit] = &[
    fault("cell_overvoltage", "overvoltage"),
    fault("cell_undervoltage", "undervoltage"),
    fault("pack_overvoltage", "overvoltage_pack"),
    fault("pack_undervoltage", "undervoltage_pack"),
    fault("charge_overtemperature", "overtemperature_charge"),
    fault("charge_undertemperature", "undertemperature_charge"),
    fault("discharge_overtemperature", "overtemperature_discharge"),
    fault("discharge_undertemperature", "undertemperature_discharge"),
    fault("charge_overcurrent", "overcurrent_charge"),
    fault("discharge_overcurrent", "overcurrent_discharge"),
    fault("short_circuit", "short_circuit"),
    fault("afe_ic_error", "afe_fault"),
    // A switch that somebody opened, no protection.
    warning("mos_software_lock", "mos_software_lock"),
    warning("charge_timeout_close", "charge_timeout"),
];

/// Bytes before the temperatures.
const FIXED_BYTES: usize = 23;
/// Zero degrees Celsius, in tenths of a kelvin.
const ZERO_CELSIUS: i32 = 2731;

/// The values of register 0x03.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasicInfo {
    /// 10 mV.
    pub voltage_raw: u16,
    /// 10 mA, positive while charging.
    pub current_raw: i16,
    /// 10 mAh.
    pub remaining_raw: u16,
    /// 10 mAh.
    pub nominal_raw: u16,
    /// Full cycles.
    pub cycles: u16,
    /// Day, month and year in one word.
    pub date_raw: u16,
    /// Cells being balanced, 1 to 16 and 17 to 32.
    pub balance: [u16; 2],
    /// A bit a protection, see [`PROTECTION_BITS`].
    pub protection: u16,
    /// Two nibbles.
    pub version: u8,
    /// Percent.
    pub soc: u8,
    /// Bit 0 the charge, bit 1 the discharge switch.
    pub switches: u8,
    /// Cells in series.
    pub cells: u8,
    /// 0.1 K each.
    pub temperatures_raw: Vec<u16>,
    /// What newer boards add.
    pub extra: Vec<u8>,
}

impl BasicInfo {
    /// Reads the data of an answer; `None` where it ends before its temperatures do.
    pub fn decode(data: &[u8]) -> Option<Self> {
        let &[
            v0,
            v1,
            i0,
            i1,
            r0,
            r1,
            n0,
            n1,
            c0,
            c1,
            d0,
            d1,
            a0,
            a1,
            b0,
            b1,
            p0,
            p1,
            version,
            soc,
            switches,
            cells,
            sensors,
        ] = data.first_chunk::<FIXED_BYTES>()?;
        let word = |high, low| u16::from_be_bytes([high, low]);
        let (temperatures, extra) = data[FIXED_BYTES..].split_at_checked(2 * usize::from(sensors))?;
        Some(Self {
            voltage_raw: word(v0, v1),
            current_raw: i16::from_be_bytes([i0, i1]),
            remaining_raw: word(r0, r1),
            nominal_raw: word(n0, n1),
            cycles: word(c0, c1),
            date_raw: word(d0, d1),
            balance: [word(a0, a1), word(b0, b1)],
            protection: word(p0, p1),
            version,
            soc,
            switches,
            cells,
            temperatures_raw: temperatures
                .as_chunks()
                .0
                .iter()
                .map(|pair| u16::from_be_bytes(*pair))
                .collect(),
            extra: extra.to_vec(),
        })
    }

    /// Puts the values into the data of an answer; there are never more than 116 temperatures.
    pub fn encode(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(FIXED_BYTES + 2 * self.temperatures_raw.len() + self.extra.len());
        let words = [self.remaining_raw, self.nominal_raw, self.cycles, self.date_raw];
        data.extend(self.voltage_raw.to_be_bytes());
        data.extend(self.current_raw.to_be_bytes());
        data.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        data.extend(self.balance.iter().flat_map(|word| word.to_be_bytes()));
        data.extend(self.protection.to_be_bytes());
        let sensors = u8::try_from(self.temperatures_raw.len()).unwrap_or(u8::MAX);
        data.extend([self.version, self.soc, self.switches, self.cells, sensors]);
        data.extend(self.temperatures_raw.iter().flat_map(|word| word.to_be_bytes()));
        data.extend(&self.extra);
        data
    }

    /// Current and charge are in steps of 0.1 A and 0.1 Ah instead of a tenth of that.
    fn coarse(&self) -> bool {
        self.extra.first().is_some_and(|flags| flags & 0x80 != 0)
    }

    fn per_unit(&self) -> f64 {
        if self.coarse() { 10.0 } else { 100.0 }
    }

    /// Terminal voltage.
    pub fn volts(&self) -> f64 {
        f64::from(self.voltage_raw) / 100.0
    }

    /// Current, positive while charging.
    pub fn amps(&self) -> f64 {
        f64::from(self.current_raw) / self.per_unit()
    }

    /// Charge left.
    pub fn remaining_ah(&self) -> f64 {
        f64::from(self.remaining_raw) / self.per_unit()
    }

    /// Rated charge.
    pub fn nominal_ah(&self) -> f64 {
        f64::from(self.nominal_raw) / self.per_unit()
    }

    /// Temperatures, first sensor first.
    pub fn celsius(&self) -> impl Iterator<Item = f64> {
        self.temperatures_raw.iter().map(|raw| f64::from(i32::from(*raw) - ZERO_CELSIUS) / 10.0)
    }

    /// The charge switch is closed.
    pub const fn charge_closed(&self) -> bool {
        self.switches & 1 != 0
    }

    /// The discharge switch is closed.
    pub const fn discharge_closed(&self) -> bool {
        self.switches & 2 != 0
    }

    fn date(&self) -> String {
        let (year, month, day) =
            (2000 + (self.date_raw >> 9), (self.date_raw >> 5) & 0x0F, self.date_raw & 0x1F);
        format!("{year:04}-{month:02}-{day:02}")
    }

    pub(super) fn show(&self) -> Value {
        let mut view = json!({
            "voltage_v": self.volts(),
            "current_a_charge_positive": self.amps(),
            "remaining_capacity_ah": self.remaining_ah(),
            "nominal_capacity_ah": self.nominal_ah(),
            "cycles": self.cycles,
            "production_date": self.date(),
            "balance_mask_cells_1_16": format!("{:04x}", self.balance[0]),
            "balance_mask_cells_17_32": format!("{:04x}", self.balance[1]),
            "protection_code": self.protection,
            "protections": wire_names(self.protection.into(), PROTECTION_BITS),
            "software_version": format!("{}.{}", self.version >> 4, self.version & 0x0F),
            "soc_pct": self.soc,
            "charge_mos": self.charge_closed(),
            "discharge_mos": self.discharge_closed(),
            "cell_count": self.cells,
            "temperature_sensor_count": self.temperatures_raw.len(),
            "temperatures_c": self.celsius().collect::<Vec<_>>(),
        });
        if !self.extra.is_empty() {
            view["extra_bytes"] = json!(hex::encode(&self.extra));
            view["coarse_steps"] = json!(self.coarse());
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_flag_behind_the_temperatures_makes_the_steps_coarse() {
        let fine = BasicInfo { current_raw: -250, remaining_raw: 5000, ..BasicInfo::default() };
        let coarse = BasicInfo { extra: vec![0x80], ..fine.clone() };
        assert_eq!((fine.amps(), fine.remaining_ah()), (-2.5, 50.0));
        assert_eq!((coarse.amps(), coarse.remaining_ah()), (-25.0, 500.0));
    }

    #[test]
    fn data_that_ends_early_is_no_answer() {
        let whole = BasicInfo { temperatures_raw: vec![2955, 2954], ..BasicInfo::default() }.encode();
        assert!(BasicInfo::decode(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(BasicInfo::decode(&whole[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_data_is_read_and_written_back(data: Vec<u8>) {
            if let Some(info) = BasicInfo::decode(&data) {
                prop_assert_eq!(info.encode(), data);
                prop_assert!(info.show().is_object());
            }
        }
    }
}
