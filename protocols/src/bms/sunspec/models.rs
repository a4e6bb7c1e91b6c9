//! The two models: where their points stand, what stands for "not implemented", and the scale factors.
//!
//! Every point is optional. A point whose scale factor is missing or absurd has no value, because a number of unknown
//! scale is none. Offsets count from the model's number, as its tables do.

use serde_json::{Map, Value, json};

use super::events::EVENTS;
use super::{BANK_MODEL, BATTERY_MODEL};
use crate::bms::alarms::wire_names;

/// "SunS".
pub const MARKER: [u16; 2] = [0x5375, 0x6E53];
/// The number behind the last model.
pub const END_MODEL: u16 = 0xFFFF;

const NOT_U16: u16 = 0xFFFF;
const NOT_I16: u16 = 0x8000;
const NOT_U32: u32 = 0xFFFF_FFFF;
/// The length of the fixed part of model 803 and of each of its strings.
const BANK_FIXED: usize = 28;
const STRING_REGISTERS: usize = 32;
/// Points of a model 802, its two header registers included.
const BATTERY_REGISTERS: usize = 64;

/// The charge states, from 1.
const CHARGE_STATES: [&str; 7] = ["OFF", "EMPTY", "DISCHARGING", "CHARGING", "FULL", "HOLDING", "TESTING"];
/// The battery states, from 1.
const STATES: [&str; 6] =
    ["DISCONNECTED", "INITIALIZING", "CONNECTED", "STANDBY", "SOC_PROTECTION", "SUSPENDING"];
const STATE_FAULT: u16 = 99;

/// A run of registers that begins with a model's number.
#[derive(Debug, Clone, Copy)]
struct Points<'a>(&'a [u16]);

impl Points<'_> {
    fn raw(&self, at: usize) -> Option<u16> {
        self.0.get(at).copied()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.raw(at).filter(|raw| *raw != NOT_U16)
    }

    fn i16(&self, at: usize) -> Option<i16> {
        self.raw(at).filter(|raw| *raw != NOT_I16).map(|raw| i16::from_be_bytes(raw.to_be_bytes()))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let ([a, b], [c, d]) = (self.raw(at)?.to_be_bytes(), self.raw(at + 1)?.to_be_bytes());
        Some(u32::from_be_bytes([a, b, c, d])).filter(|raw| *raw != NOT_U32)
    }

    /// Multiplies by ten to the power of a scale factor.
    fn scaled(&self, value: Option<f64>, factor: usize) -> Option<f64> {
        let factor = self.i16(factor).filter(|factor| (-10..=10).contains(factor))?;
        let power = 10f64.powi(i32::from(factor.abs()));
        value.map(|value| if factor < 0 { value / power } else { value * power })
    }

    fn unsigned(&self, at: usize, factor: usize) -> Option<f64> {
        self.scaled(self.u16(at).map(f64::from), factor)
    }

    fn signed(&self, at: usize, factor: usize) -> Option<f64> {
        self.scaled(self.i16(at).map(f64::from), factor)
    }
}

/// Model 802: the battery as a whole, in units.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatteryModel {
    /// Rated charge.
    pub capacity_ah: Option<f64>,
    /// Rated energy.
    pub energy_wh: Option<f64>,
    /// State of charge.
    pub soc_percent: Option<f64>,
    /// State of health.
    pub soh_percent: Option<f64>,
    /// Full cycles.
    pub cycles: Option<u32>,
    /// What the charge does, a number from 1.
    pub charge_state: Option<u16>,
    /// What the battery does, a number from 1, or 99.
    pub state: Option<u16>,
    /// Event bits, the second word and the vendor's own two.
    pub events: [Option<u32>; 4],
    /// Voltage at the terminals.
    pub volts: Option<f64>,
    /// The highest cell.
    pub max_cell_volts: Option<f64>,
    /// The lowest cell.
    pub min_cell_volts: Option<f64>,
    /// Their mean.
    pub average_cell_volts: Option<f64>,
    /// Current with the device's own sign.
    pub amps: Option<f64>,
    /// Power with the device's own sign.
    pub watts: Option<f64>,
}

/// A scale factor's place in model 802.
mod factor {
    pub(super) const AMP_HOURS: usize = 52;
    pub(super) const WATT_HOURS: usize = 53;
    pub(super) const SOC: usize = 56;
    pub(super) const SOH: usize = 58;
    pub(super) const VOLTS: usize = 59;
    pub(super) const CELL_VOLTS: usize = 60;
    pub(super) const AMPS: usize = 61;
    pub(super) const WATTS: usize = 63;
}

impl BatteryModel {
    /// Reads a model from its number on; `None` where it is another or ends early.
    pub fn decode(registers: &[u16]) -> Option<Self> {
        if registers.first() != Some(&BATTERY_MODEL) || registers.len() < BATTERY_REGISTERS {
            return None;
        }
        let points = Points(registers);
        Some(Self {
            capacity_ah: points.unsigned(2, factor::AMP_HOURS),
            energy_wh: points.unsigned(3, factor::WATT_HOURS),
            soc_percent: points.unsigned(11, factor::SOC),
            soh_percent: points.unsigned(13, factor::SOH),
            cycles: points.u32(14),
            charge_state: points.u16(16),
            state: points.u16(22),
            events: [26, 28, 30, 32].map(|at| points.u32(at)),
            volts: points.unsigned(34, factor::VOLTS),
            max_cell_volts: points.unsigned(37, factor::CELL_VOLTS),
            min_cell_volts: points.unsigned(40, factor::CELL_VOLTS),
            average_cell_volts: points.unsigned(43, factor::CELL_VOLTS),
            amps: points.signed(44, factor::AMPS),
            watts: points.signed(47, factor::WATTS),
        })
    }

    pub(super) fn show(&self, view: &mut Map<String, Value>) {
        let charge = self.charge_state.map(|state| named(&CHARGE_STATES, state));
        let state = self.state.map(|state| match state {
            STATE_FAULT => "FAULT".to_owned(),
            state => named(&STATES, state),
        });
        put(
            view,
            json!({
                "model": BATTERY_MODEL,
                "capacity_ah": self.capacity_ah,
                "energy_wh": self.energy_wh,
                "soc_pct": self.soc_percent,
                "soh_pct": self.soh_percent,
                "cycles": self.cycles,
                "charge_status": charge,
                "state": state,
                "alarms": wire_names(self.events[0].unwrap_or_default(), EVENTS),
                "event_words": self.events,
                "voltage_v": self.volts,
                "max_cell_voltage_v": self.max_cell_volts,
                "min_cell_voltage_v": self.min_cell_volts,
                "average_cell_voltage_v": self.average_cell_volts,
                "current_raw_a": self.amps,
                "power_raw_w": self.watts,
            }),
        );
    }
}

fn named(names: &[&str], number: u16) -> String {
    let index = usize::from(number).checked_sub(1);
    index
        .and_then(|index| names.get(index))
        .map_or_else(|| format!("unknown_{number}"), |name| (*name).to_owned())
}

fn put(view: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        view.extend(more);
    }
}

/// One string of model 803.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StringModel {
    /// State of charge.
    pub soc_percent: Option<f64>,
    /// State of health.
    pub soh_percent: Option<f64>,
    /// Current with the device's own sign.
    pub amps: Option<f64>,
    /// The highest cell.
    pub max_cell_volts: Option<f64>,
    /// The lowest cell.
    pub min_cell_volts: Option<f64>,
    /// The warmest module.
    pub max_celsius: Option<f64>,
    /// The coldest module.
    pub min_celsius: Option<f64>,
    /// Event bits.
    pub events: Option<u32>,
}

/// Model 803: a bank of strings, in units.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BankModel {
    /// Strings there are.
    pub string_count: Option<u16>,
    /// Strings connected.
    pub connected: Option<u16>,
    /// The warmest module.
    pub max_celsius: Option<f64>,
    /// The coldest module.
    pub min_celsius: Option<f64>,
    /// Cells being balanced.
    pub cells_balancing: Option<u16>,
    /// As many strings as were read.
    pub strings: Vec<StringModel>,
}

impl BankModel {
    /// Reads a model from its number on; `None` where it is another or ends before its first string.
    pub fn decode(registers: &[u16]) -> Option<Self> {
        if registers.first() != Some(&BANK_MODEL) || registers.len() < BANK_FIXED {
            return None;
        }
        let points = Points(registers);
        let (cell_volts, celsius, amps, soh, soc) = (22, 23, 24, 25, 26);
        let string = |index: usize| {
            let at = BANK_FIXED + index * STRING_REGISTERS;
            registers.get(at..at + STRING_REGISTERS).map(|_| StringModel {
                soc_percent: points.unsigned(at + 4, soc),
                soh_percent: points.unsigned(at + 5, soh),
                amps: points.signed(at + 6, amps),
                max_cell_volts: points.unsigned(at + 7, cell_volts),
                min_cell_volts: points.unsigned(at + 9, cell_volts),
                max_celsius: points.signed(at + 12, celsius),
                min_celsius: points.signed(at + 14, celsius),
                events: points.u32(at + 20),
            })
        };
        let count = usize::from(points.u16(2).unwrap_or_default());
        Some(Self {
            string_count: points.u16(2),
            connected: points.u16(3),
            max_celsius: points.signed(4, celsius),
            min_celsius: points.signed(7, celsius),
            cells_balancing: points.u16(21),
            strings: (0..count).map_while(string).collect(),
        })
    }

    pub(super) fn show(&self, view: &mut Map<String, Value>) {
        let each =
            |value: fn(&StringModel) -> Option<f64>| self.strings.iter().map(value).collect::<Vec<_>>();
        put(
            view,
            json!({
                "model": BANK_MODEL,
                "strings": self.string_count,
                "strings_connected": self.connected,
                "module_temp_max_c": self.max_celsius,
                "module_temp_min_c": self.min_celsius,
                "cells_balancing": self.cells_balancing,
                "string_soc_pct": each(|string| string.soc_percent),
                "string_soh_pct": each(|string| string.soh_percent),
                "string_current_raw_a": each(|string| string.amps),
                "string_max_cell_voltage_v": each(|string| string.max_cell_volts),
                "string_min_cell_voltage_v": each(|string| string.min_cell_volts),
            }),
        );
        for (number, string) in (1..).zip(&self.strings) {
            let alarms = wire_names(string.events.unwrap_or_default(), EVENTS);
            view.insert(format!("string{number}_alarms"), json!(alarms));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_point_without_a_sane_scale_factor_has_no_value() {
        let mut registers = vec![0u16; 64];
        registers[0] = BATTERY_MODEL;
        registers[11] = 87;
        for (factor, soc) in
            [(0u16, Some(87.0)), (0xFFFF, Some(8.7)), (0x8000, None), (11, None), (0xFFF5, None)]
        {
            registers[factor::SOC] = factor;
            assert_eq!(BatteryModel::decode(&registers).unwrap().soc_percent, soc, "{factor:#x}");
        }
    }

    #[test]
    fn strings_that_were_not_read_are_left_out() {
        let mut registers = vec![0u16; BANK_FIXED + STRING_REGISTERS + 10];
        (registers[0], registers[2]) = (BANK_MODEL, 2);
        assert_eq!(BankModel::decode(&registers).unwrap().strings.len(), 1);
        assert_eq!(BankModel::decode(&registers[..20]), None);
    }

    proptest! {
        #[test]
        fn any_registers_are_read_or_refused(mut registers in proptest::collection::vec(any::<u16>(), 1..200), bank: bool) {
            registers[0] = if bank { BANK_MODEL } else { BATTERY_MODEL };
            let mut view = Map::new();
            if let Some(model) = BankModel::decode(&registers) {
                model.show(&mut view);
            }
            if let Some(model) = BatteryModel::decode(&registers) {
                model.show(&mut view);
            }
            let whole = registers.len() >= if bank { BANK_FIXED } else { BATTERY_REGISTERS };
            prop_assert_eq!(view.is_empty(), !whole);
        }
    }
}
