//! The alarm answer (0x44): a byte for every cell, sensor and for the pack, and from Seplos words of events and states.
//!
//! The bytes are common to both makers; of what Pylontech sends behind them nothing is named here. The events are known
//! from published protocol papers only.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::Maker;
use crate::bms::alarms::{AlarmBit, fault, sort_names, warning, wire_names};

/// What a byte says of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Limit {
    /// Within its limits.
    #[default]
    Normal,
    /// Below the lower one.
    Low,
    /// Above the upper one.
    High,
    /// Something else, as it was sent.
    Other(u8),
}

impl Limit {
    const fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Normal,
            1 => Self::Low,
            2 => Self::High,
            other => Self::Other(other),
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Low => 1,
            Self::High => 2,
            Self::Other(byte) => byte,
        }
    }
}

/// Events 1 to 6 of Seplos, a byte each, from the lowest bit of the first on.
#[rustfmt::skip]
pub const ALARM_EVENTS: &[AlarmBit] = &[
    fault("voltage_sensor_fault", "sensor_fault"),
    fault("temperature_sensor_fault", "sensor_fault"),
    fault("current_sensor_fault", "sensor_fault_current"),
    fault("key_switch_fault", "key_switch_fault"),
    fault("cell_voltage_dropout_fault", "cell_imbalance"),
    fault("charge_switch_fault", "mos_fault"),
    fault("discharge_switch_fault", "mos_fault"),
    fault("current_limit_switch_fault", "mos_fault"),
    warning("cell_high_voltage", "overvoltage"),
    fault("cell_overvoltage", "overvoltage"),
    warning("cell_low_voltage", "undervoltage"),
    fault("cell_undervoltage", "undervoltage"),
    warning("pack_high_voltage", "overvoltage_pack"),
    fault("pack_overvoltage", "overvoltage_pack"),
    warning("pack_low_voltage", "undervoltage_pack"),
    fault("pack_undervoltage", "undervoltage_pack"),
    warning("charge_high_temperature", "overtemperature_charge"),
    fault("charge_overtemperature", "overtemperature_charge"),
    warning("charge_low_temperature", "undertemperature_charge"),
    fault("charge_undertemperature", "undertemperature_charge"),
    warning("discharge_high_temperature", "overtemperature_discharge"),
    fault("discharge_overtemperature", "overtemperature_discharge"),
    warning("discharge_low_temperature", "undertemperature_discharge"),
    fault("discharge_undertemperature", "undertemperature_discharge"),
    warning("ambient_high_temperature", "overtemperature_ambient"),
    fault("ambient_overtemperature", "overtemperature_ambient"),
    warning("ambient_low_temperature", "undertemperature_ambient"),
    fault("ambient_undertemperature", "undertemperature_ambient"),
    fault("power_overtemperature", "mos_overtemperature"),
    warning("power_high_temperature", "mos_overtemperature"),
    warning("cell_low_temperature_heating", "heating"),
    fault("secondary_trip", "secondary_trip"),
];

/// Events 5 and 6, which don't fit into the word of the others.
#[rustfmt::skip]
const MORE_EVENTS: &[AlarmBit] = &[
    warning("charge_current_alarm", "overcurrent_charge"),
    fault("charge_overcurrent", "overcurrent_charge"),
    warning("discharge_current_alarm", "overcurrent_discharge"),
    fault("discharge_overcurrent", "overcurrent_discharge"),
    fault("transient_overcurrent", "overcurrent_discharge"),
    fault("output_short_circuit", "short_circuit"),
    fault("transient_overcurrent_lockout", "overcurrent_discharge"),
    fault("output_short_circuit_lockout", "short_circuit"),
    fault("charge_high_voltage", "overvoltage_charge"),
    warning("intermittent_recharge_waiting", "recharge_waiting"),
    warning("residual_capacity_alarm", "soc_low"),
    fault("residual_capacity_protection", "soc_low"),
    warning("cell_low_voltage_no_charge", "charge_inhibited"),
    fault("output_reverse_polarity", "reverse_polarity"),
    fault("output_connection_fault", "connection_fault"),
];

/// What the pack is allowed to do and what it does, from Seplos.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Bit 0 the discharge switch, bit 1 the charge switch, bit 2 current limiting, bit 3 heating.
    pub switches: u8,
    /// Cells being balanced, cell 1 the lowest bit.
    pub balance: u16,
    /// Bit 0 discharging, bit 1 charging, bit 2 floating, bit 3 full, bit 4 standing by, bit 5 off.
    pub state: u8,
}

/// Everything that an alarm answer says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alarms {
    /// Which pack, as it says itself.
    pub pack: u8,
    /// A limit for each cell.
    pub cells: Vec<Limit>,
    /// A limit for each sensor.
    pub temperatures: Vec<Limit>,
    /// Of the charge current; of the current either way from Seplos.
    pub charge_current: Limit,
    /// Of the terminal voltage.
    pub voltage: Limit,
    /// Of the discharge current; not from Seplos.
    pub discharge_current: Limit,
    /// Events 1 to 6 from Seplos.
    pub events: [u8; 6],
    /// States from Seplos.
    pub status: Option<Status>,
    /// What follows and nobody has named.
    pub rest: Vec<u8>,
}

fn limits(info: &[u8]) -> Option<(Vec<Limit>, &[u8])> {
    let (count, behind) = info.split_first()?;
    let (limits, behind) = behind.split_at_checked(usize::from(*count))?;
    Some((limits.iter().map(|byte| Limit::of(*byte)).collect(), behind))
}

impl Alarms {
    /// Reads the information of an answer; `None` where it ends before the limits of the pack.
    pub fn decode(info: &[u8], maker: Maker) -> Option<Self> {
        let (&[_flag, pack], behind) = info.split_first_chunk::<2>()?;
        let (cells, behind) = limits(behind)?;
        let (temperatures, behind) = limits(behind)?;
        let mut alarms = Self { pack, cells, temperatures, ..Self::default() };
        match (maker, behind) {
            (Maker::Seplos, [current, voltage, rest @ ..]) => {
                alarms.charge_current = Limit::of(*current);
                alarms.voltage = Limit::of(*voltage);
                alarms.seplos(rest);
            }
            (Maker::Pylontech, [charge, voltage, discharge, rest @ ..]) => {
                alarms.charge_current = Limit::of(*charge);
                alarms.voltage = Limit::of(*voltage);
                alarms.discharge_current = Limit::of(*discharge);
                alarms.rest = rest.to_vec();
            }
            _ => return None,
        }
        Some(alarms)
    }

    /// Tells whether this can be an alarm answer of a pack with so many cells and sensors. Answers don't say what they
    /// answer, and late analog values can be read as alarms too, of a sort.
    pub(super) fn suits(&self, cells: usize, sensors: usize) -> bool {
        let known = |limit: &Limit| !matches!(limit, Limit::Other(..0xF0));
        self.cells.len() == cells
            && self.temperatures.len() == sensors
            && self.cells.iter().chain(&self.temperatures).all(known)
    }

    /// A count, six events, and then the states.
    fn seplos(&mut self, rest: &[u8]) {
        let &[_count, e1, e2, e3, e4, e5, e6, switches, b0, b1, state, ref behind @ ..] = rest else {
            self.rest = rest.to_vec();
            return;
        };
        self.events = [e1, e2, e3, e4, e5, e6];
        self.status = Some(Status { switches, balance: u16::from_le_bytes([b0, b1]), state });
        self.rest = behind.to_vec();
    }

    /// Puts the alarms into the information of an answer, for simulated packs.
    pub fn encode(&self, maker: Maker) -> Vec<u8> {
        let mut info = vec![0, self.pack];
        for limits in [&self.cells, &self.temperatures] {
            info.push(u8::try_from(limits.len()).unwrap_or(u8::MAX));
            info.extend(limits.iter().map(|limit| limit.byte()));
        }
        info.extend([self.charge_current.byte(), self.voltage.byte()]);
        match maker {
            Maker::Pylontech => info.push(self.discharge_current.byte()),
            Maker::Seplos => {
                let status = self.status.unwrap_or_default();
                info.push(0x14);
                info.extend(self.events);
                info.push(status.switches);
                info.extend(status.balance.to_le_bytes());
                info.push(status.state);
            }
        }
        info.extend(&self.rest);
        info
    }

    fn words(&self) -> (u32, u32) {
        let [e1, e2, e3, e4, e5, e6] = self.events;
        (u32::from_le_bytes([e1, e2, e3, e4]), u32::from_le_bytes([e5, e6, 0, 0]))
    }

    /// Adds our names: what passed a limit, and the events.
    pub(super) fn sort(
        &self,
        maker: Maker,
        faults: &mut Vec<Cow<'static, str>>,
        warnings: &mut Vec<Cow<'static, str>>,
    ) {
        let mut add = |limit: &Limit, low: &'static str, high: &'static str| {
            let name: Cow<'static, str> = match limit {
                Limit::Normal => return,
                Limit::Low => low.into(),
                Limit::High => high.into(),
                Limit::Other(byte) => format!("unknown_limit_{byte:02x}").into(),
            };
            if !warnings.contains(&name) {
                warnings.push(name);
            }
        };
        self.cells.iter().for_each(|limit| add(limit, "undervoltage", "overvoltage"));
        self.temperatures.iter().for_each(|limit| add(limit, "undertemperature", "overtemperature"));
        add(&self.voltage, "undervoltage_pack", "overvoltage_pack");
        match maker {
            // One byte for both directions: low is the discharge, which counts down.
            Maker::Seplos => add(&self.charge_current, "overcurrent_discharge", "overcurrent_charge"),
            Maker::Pylontech => add(&self.charge_current, "overcurrent_charge", "overcurrent_charge"),
        }
        add(&self.discharge_current, "overcurrent_discharge", "overcurrent_discharge");
        let (first, second) = self.words();
        sort_names(first, ALARM_EVENTS, faults, warnings);
        // The last bit of the sixth event has no name; it keeps its place in the vendor's order.
        sort_names(second & 0x7FFF, MORE_EVENTS, faults, warnings);
        if second & 0x8000 != 0 {
            warnings.push("unknown_bit_47".into());
        }
    }

    pub(super) fn show(&self, view: &mut Map<String, Value>) {
        let bytes = |limits: &[Limit]| limits.iter().map(|limit| limit.byte()).collect::<Vec<_>>();
        let (first, second) = self.words();
        let mut events = wire_names(first, ALARM_EVENTS);
        events.extend(wire_names(second, MORE_EVENTS));
        let mut shown = json!({
            "pack": self.pack,
            "cell_limits": bytes(&self.cells),
            "temperature_limits": bytes(&self.temperatures),
            "charge_current_limit": self.charge_current.byte(),
            "voltage_limit": self.voltage.byte(),
            "discharge_current_limit": self.discharge_current.byte(),
            "alarms": events,
        });
        if let Some(status) = self.status {
            shown["switch_bits"] = json!(status.switches);
            shown["balance_bits"] = json!(status.balance);
            shown["state_bits"] = json!(status.state);
        }
        if !self.rest.is_empty() {
            shown["alarm_rest_hex"] = json!(hex::encode(&self.rest));
        }
        if let Value::Object(shown) = shown {
            view.extend(shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bms::telecom::Analog;

    #[test]
    fn limits_and_events_become_names() {
        let alarms = Alarms {
            cells: vec![Limit::Normal, Limit::High, Limit::High, Limit::Other(0xF0)],
            temperatures: vec![Limit::Low],
            events: [0, 0b1010, 0, 0, 0b10_0000, 0x80],
            ..Alarms::default()
        };
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        alarms.sort(Maker::Seplos, &mut faults, &mut warnings);
        assert_eq!(faults, ["overvoltage", "undervoltage", "short_circuit"]);
        assert_eq!(warnings, ["overvoltage", "unknown_limit_f0", "undertemperature", "unknown_bit_47"]);
    }

    #[test]
    fn late_analog_values_are_not_taken_for_alarms() {
        let analog = Analog { cells: vec![3300; 16], temperatures_raw: vec![2951; 6], ..Analog::default() };
        for maker in [Maker::Seplos, Maker::Pylontech] {
            let read = Alarms::decode(&analog.encode(maker), maker);
            assert!(read.is_none_or(|alarms| !alarms.suits(16, 6)));
        }
        assert!(Alarms { cells: vec![Limit::Other(0xF0)], ..Alarms::default() }.suits(1, 0));
    }

    #[test]
    fn an_answer_without_states_has_none() {
        let alarms = Alarms::decode(&[0, 1, 1, 0, 1, 0, 0, 0, 9, 9], Maker::Seplos).unwrap();
        assert_eq!((alarms.status, alarms.rest), (None, vec![9, 9]));
    }

    proptest! {
        #[test]
        fn any_information_is_read_and_written_back_or_refused(info: Vec<u8>) {
            for maker in [Maker::Seplos, Maker::Pylontech] {
                if let Some(alarms) = Alarms::decode(&info, maker) {
                    alarms.sort(maker, &mut Vec::new(), &mut Vec::new());
                    alarms.show(&mut Map::new());
                    prop_assert_eq!(Alarms::decode(&alarms.encode(maker), maker).map(|a| a.cells), Some(alarms.cells));
                }
            }
        }
    }
}
