//! What a board measures, whether it came by name or by number, and the reading that is made of it.
//!
//! A board without switches leaves values out; older firmware has one battery temperature in place of a list. What is
//! absent stays absent.

use serde_json::{Map, Value, json};
use voltree_model::PackReading;

use crate::bms::alarms::{AlarmBit, fault, sort_names, warning, wire_names};
use crate::bms::sieve::Sieve;

/// The values by number, and the one that only older firmware sends by name.
const ITEMS: &[(u64, &str)] = &[
    (0x71, "rPackVoltage_V"),
    (0x72, "rStackVoltage_V"),
    (0x73, "rPackCurrent_A"),
    (0x74, "rCellTemps_degC"),
    (0x75, "rICTemp_degC"),
    (0x77, "rMOSFETTemp_degC"),
    (0x7C, "rSOC_pct"),
    (0x7E, "rErrorFlags"),
    (0x7F, "rBmsState"),
    (0x80, "rCellVoltages_V"),
    (0x81, "rCellAvgVoltage_V"),
    (0x82, "rCellMinVoltage_V"),
    (0x83, "rCellMaxVoltage_V"),
    (0x84, "rBalancingStatus"),
];
const OLDER_ITEM: &str = "rBatTemp_degC";
/// The group that holds them.
const GROUPS: [&str; 2] = ["Meas", "0x07"];

const ERROR_BITS: &[AlarmBit] = &[
    fault("undervoltage", "undervoltage"),
    fault("overvoltage", "overvoltage"),
    fault("short_circuit", "short_circuit"),
    fault("discharge_overcurrent", "overcurrent_discharge"),
    fault("charge_overcurrent", "overcurrent_charge"),
    fault("open_wire", "open_wire"),
    fault("discharge_undertemperature", "undertemperature_discharge"),
    fault("discharge_overtemperature", "overtemperature_discharge"),
    fault("charge_undertemperature", "undertemperature_charge"),
    fault("charge_overtemperature", "overtemperature_charge"),
    fault("ic_overtemperature", "overtemperature_board"),
    warning("cell_failure", "cell_imbalance"),
    fault("discharge_off", "discharge_mos_fault"),
    fault("charge_off", "charge_mos_fault"),
    fault("fet_overtemperature", "mos_overtemperature"),
];

/// What the board allows, which does not say what flows.
const STATES: [&str; 5] = ["off", "charging_only", "discharging_only", "normal", "shutdown"];

/// The board's values by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measured {
    values: Map<String, Value>,
}

impl Measured {
    /// Finds the board's values in what a message carries, in a group of them or bare; `None` where there are none.
    pub fn from_payload(payload: &Value) -> Option<Self> {
        let object = payload.as_object()?;
        let group = GROUPS.iter().find_map(|name| object.get(*name)?.as_object()).unwrap_or(object);
        let named = group.iter().filter_map(|(key, value)| Some((name_of(key)?.to_owned(), value.clone())));
        let values: Map<_, _> = named.collect();
        (!values.is_empty()).then_some(Self { values })
    }

    /// Takes one value by its number, as a report of a single item carries it; tells whether it is one of these.
    pub fn take(&mut self, id: u64, value: Value) -> bool {
        let name = item_name(id);
        self.values.extend(name.map(|name| (name.to_owned(), value)));
        name.is_some()
    }

    /// Takes what newer values say over these.
    pub fn update(&mut self, newer: Self) {
        self.values.extend(newer.values);
    }

    fn float(&self, name: &str) -> Option<f64> {
        self.values.get(name)?.as_f64()
    }

    fn bits(&self, name: &str) -> Option<u32> {
        self.values.get(name)?.as_u64().and_then(|bits| u32::try_from(bits).ok())
    }

    /// A list; a value in it that is no number is `None`.
    fn floats(&self, name: &str) -> Option<Vec<Option<f64>>> {
        Some(self.values.get(name)?.as_array()?.iter().map(Value::as_f64).collect())
    }

    /// The cells that are there: the chip's free channels behind them read zero. A zero between cells is a fault.
    fn cells(&self) -> Option<Vec<Option<f64>>> {
        let mut cells = self.floats("rCellVoltages_V")?;
        let used =
            cells.iter().rposition(|cell| cell.is_none_or(|volts| volts > 0.0)).map_or(0, |last| last + 1);
        cells.truncate(used);
        Some(cells)
    }

    fn balancing(&self) -> Option<Vec<u8>> {
        let bits = self.bits("rBalancingStatus")?;
        Some((0..32u8).filter(|bit| bits & 1 << bit != 0).map(|bit| bit + 1).collect())
    }

    /// Makes a reading.
    pub fn reading(&self) -> PackReading {
        let mut sieve = Sieve::default();
        let cells = self.cells();
        sieve.pack_voltage(self.float("rPackVoltage_V"), cells.as_ref().map(Vec::len));
        sieve.pack_current(self.float("rPackCurrent_A"));
        sieve.soc(self.float("rSOC_pct"));
        // A cell that is no number is as good as one that is not there.
        cells.iter().flatten().for_each(|volts| sieve.cell(volts.map_or(0, millivolts)));
        match self.floats("rCellTemps_degC") {
            Some(list) => list.into_iter().for_each(|celsius| sieve.temperature(celsius)),
            None if self.values.contains_key(OLDER_ITEM) => sieve.temperature(self.float(OLDER_ITEM)),
            None => {}
        }
        sieve.mosfet_temperature(self.float("rMOSFETTemp_degC"));
        let mut reading = sieve.reading;
        if let Some(state) = self.bits("rBmsState").filter(|state| *state <= 4) {
            reading.charge_enabled = Some(matches!(state, 1 | 3));
            reading.discharge_enabled = Some(matches!(state, 2 | 3));
        }
        reading.cells_balancing = self.balancing();
        if let Some(flags) = self.bits("rErrorFlags") {
            sort_names(flags, ERROR_BITS, &mut reading.faults, &mut reading.warnings);
        }
        reading
    }

    pub(super) fn show(&self) -> Value {
        let mut shown = Map::new();
        let floats = [
            ("pack_voltage_v", "rPackVoltage_V"),
            ("stack_voltage_v", "rStackVoltage_V"),
            ("current_a_charge_positive", "rPackCurrent_A"),
            ("soc_pct", "rSOC_pct"),
            ("ic_temperature_c", "rICTemp_degC"),
            ("mosfet_temperature_c", "rMOSFETTemp_degC"),
            ("cell_temperatures_c", "rCellTemps_degC"),
            ("cell_voltages_v", "rCellVoltages_V"),
            ("error_flags", "rErrorFlags"),
        ];
        let mut put =
            |name: &str, value: Option<Value>| shown.extend(value.map(|value| (name.to_owned(), value)));
        floats.iter().for_each(|(ours, theirs)| put(ours, self.values.get(*theirs).cloned()));
        put("alarms", self.bits("rErrorFlags").map(|bits| json!(wire_names(bits, ERROR_BITS))));
        put("cell_voltages_v_active", self.cells().map(|cells| json!(cells)));
        put("balancing_cells", self.balancing().map(|cells| json!(cells)));
        let state = self.bits("rBmsState").map(|state| (state, usize::try_from(state).ok()));
        put(
            "bms_state",
            state.map(|(raw, index)| index.and_then(|i| STATES.get(i)).map_or(json!(raw), |s| json!(s))),
        );
        put("temperatures", Some(self.temperatures()));
        put("raw", Some(Value::Object(self.values.clone())));
        Value::Object(shown)
    }

    fn temperatures(&self) -> Value {
        let names = [("battery_c", OLDER_ITEM), ("ic_c", "rICTemp_degC"), ("mosfet_c", "rMOSFETTemp_degC")];
        let known = names
            .iter()
            .filter_map(|(ours, theirs)| Some(((*ours).to_owned(), self.values.get(*theirs)?.clone())));
        Value::Object(known.collect())
    }
}

/// The name of one of the board's values by its number.
pub(super) fn item_name(id: u64) -> Option<&'static str> {
    ITEMS.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
}

fn name_of(key: &str) -> Option<&'static str> {
    if let Some(hex) = key.strip_prefix("0x") {
        return item_name(u64::from_str_radix(hex, 16).ok()?);
    }
    if key == OLDER_ITEM {
        return Some(OLDER_ITEM);
    }
    ITEMS.iter().find(|(_, name)| *name == key).map(|(_, name)| *name)
}

fn millivolts(volts: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
    let mv = (volts * 1000.0).round().clamp(0.0, 1e6) as u32;
    mv
}

#[cfg(test)]
mod tests {
    use voltree_model::{Amps, Celsius, Millivolts, Volts};

    use super::*;

    #[test]
    fn values_by_name_become_a_reading_without_free_channels() {
        let report = json!({ "t_s": 1, "Meas": {
            "rPackVoltage_V": 9.9, "rPackCurrent_A": -2.5, "rBatTemp_degC": 29.4, "rErrorFlags": 0x8005u32,
            "rBmsState": 1, "rCellVoltages_V": [3.3, 0.0, 3.301, 0.0, 0.0], "rBalancingStatus": 5,
        }});
        let reading = Measured::from_payload(&report).unwrap().reading();
        assert_eq!((reading.pack_voltage, reading.pack_current), (Some(Volts(9.9)), Some(Amps(-2.5))));
        assert_eq!(reading.cell_voltages, [Some(Millivolts(3300)), None, Some(Millivolts(3301))]);
        assert_eq!(reading.temperatures, [Some(Celsius(29.4))]);
        assert_eq!((reading.charge_enabled, reading.discharge_enabled), (Some(true), Some(false)));
        assert_eq!(reading.faults, ["undervoltage", "short_circuit"]);
        assert_eq!(reading.warnings, ["unknown_bit_15"]);
        assert_eq!(reading.cells_balancing, Some(vec![1, 3]));
        assert_eq!((reading.soc, reading.soh, reading.cycles), (None, None, None));
    }

    #[test]
    fn values_by_number_add_up() {
        let mut measured = Measured::default();
        assert!(measured.take(0x71, json!(26.31)) && !measured.take(0x10, json!(1)));
        measured.update(Measured::from_payload(&json!({ "0x7C": 71.4 })).unwrap());
        assert_eq!(measured.show()["soc_pct"], json!(71.4));
        assert_eq!(measured.reading().pack_voltage, Some(Volts(26.31)));
    }

    #[test]
    fn other_groups_are_no_measurements() {
        for other in [json!({ "wChgEnable": true }), json!([1]), json!({ "0x40": 12.9 }), json!({})] {
            assert_eq!(Measured::from_payload(&other), None, "{other}");
        }
    }
}
