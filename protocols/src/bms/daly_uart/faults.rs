//! The alarm bits of answer 0x98: what the vendor calls each, what we call it, and how bad it is.
//!
//! Our names begin with the condition ("overvoltage"), and a suffix says where it was seen ("_pack", "_charge"), so a
//! prefix finds every kind of it. Reserved bits are reported under a name of their own: a real board sets one.

use std::borrow::Cow;

use super::FaultsAnswer;
pub use crate::bms::alarms::Severity;

/// One bit of the alarm bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultBit {
    /// Its name in the wire's view.
    pub wire: &'static str,
    /// Its name in a reading; several bits may share one.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
}

const fn warning(wire: &'static str, name: &'static str) -> FaultBit {
    FaultBit { wire, name, severity: Severity::Warning }
}

const fn fault(wire: &'static str, name: &'static str) -> FaultBit {
    FaultBit { wire, name, severity: Severity::Fault }
}

/// All 56 bits: first by byte, then from the lowest bit.
#[rustfmt::skip]
pub const FAULT_BITS: [[FaultBit; 8]; 7] = [
    [
        warning("cell_overvoltage_l1", "overvoltage"),
        fault("cell_overvoltage_l2", "overvoltage"),
        warning("cell_undervoltage_l1", "undervoltage"),
        fault("cell_undervoltage_l2", "undervoltage"),
        warning("pack_overvoltage_l1", "overvoltage_pack"),
        fault("pack_overvoltage_l2", "overvoltage_pack"),
        warning("pack_undervoltage_l1", "undervoltage_pack"),
        fault("pack_undervoltage_l2", "undervoltage_pack"),
    ],
    [
        warning("charge_overtemperature_l1", "overtemperature_charge"),
        fault("charge_overtemperature_l2", "overtemperature_charge"),
        warning("charge_undertemperature_l1", "undertemperature_charge"),
        fault("charge_undertemperature_l2", "undertemperature_charge"),
        warning("discharge_overtemperature_l1", "overtemperature_discharge"),
        fault("discharge_overtemperature_l2", "overtemperature_discharge"),
        warning("discharge_undertemperature_l1", "undertemperature_discharge"),
        fault("discharge_undertemperature_l2", "undertemperature_discharge"),
    ],
    [
        warning("charge_overcurrent_l1", "overcurrent_charge"),
        fault("charge_overcurrent_l2", "overcurrent_charge"),
        warning("discharge_overcurrent_l1", "overcurrent_discharge"),
        fault("discharge_overcurrent_l2", "overcurrent_discharge"),
        warning("soc_high_l1", "soc_high"),
        fault("soc_high_l2", "soc_high"),
        warning("soc_low_l1", "soc_low"),
        fault("soc_low_l2", "soc_low"),
    ],
    [
        warning("cell_voltage_diff_l1", "cell_imbalance"),
        fault("cell_voltage_diff_l2", "cell_imbalance"),
        warning("temperature_diff_l1", "temperature_imbalance"),
        fault("temperature_diff_l2", "temperature_imbalance"),
        warning("reserved_3_4", "unknown_3_4"),
        warning("reserved_3_5", "unknown_3_5"),
        warning("reserved_3_6", "unknown_3_6"),
        warning("reserved_3_7", "unknown_3_7"),
    ],
    [
        fault("charge_mos_overtemperature", "mos_overtemperature"),
        fault("discharge_mos_overtemperature", "mos_overtemperature"),
        fault("charge_mos_temp_sensor_fault", "sensor_fault"),
        fault("discharge_mos_temp_sensor_fault", "sensor_fault"),
        fault("charge_mos_adhesion_fault", "mos_fault"),
        fault("discharge_mos_adhesion_fault", "mos_fault"),
        fault("charge_mos_open_fault", "mos_fault"),
        fault("discharge_mos_open_fault", "mos_fault"),
    ],
    [
        fault("afe_chip_fault", "afe_fault"),
        fault("cell_collection_dropped", "sensor_fault_open_wire"),
        fault("cell_temp_sensor_fault", "sensor_fault"),
        fault("eeprom_fault", "storage_fault"),
        fault("rtc_fault", "clock_fault"),
        fault("precharge_failure", "precharge_failure"),
        fault("vehicle_comm_fault", "communication_fault"),
        fault("internal_comm_fault", "communication_fault"),
    ],
    [
        fault("current_module_fault", "sensor_fault"),
        fault("pack_voltage_detect_fault", "sensor_fault"),
        fault("short_circuit_protect_fault", "short_circuit"),
        warning("low_voltage_no_charge", "charge_inhibited"),
        warning("reserved_6_4", "unknown_6_4"),
        warning("reserved_6_5", "unknown_6_5"),
        warning("reserved_6_6", "unknown_6_6"),
        warning("reserved_6_7", "unknown_6_7"),
    ],
];

impl FaultsAnswer {
    /// The bits that are set, in the order of the table.
    pub fn set_bits(&self) -> impl Iterator<Item = &'static FaultBit> {
        self.bits.into_iter().zip(&FAULT_BITS).flat_map(|(byte, names)| {
            names.iter().enumerate().filter(move |(bit, _)| byte & (1 << bit) != 0).map(|(_, fault)| fault)
        })
    }

    /// Our names of one severity, each once. A numeric fault code counts as a fault.
    pub fn names(&self, severity: Severity) -> Vec<Cow<'static, str>> {
        let mut names: Vec<Cow<'static, str>> = Vec::new();
        for bit in self.set_bits().filter(|bit| bit.severity == severity) {
            if !names.iter().any(|name| name == bit.name) {
                names.push(Cow::Borrowed(bit.name));
            }
        }
        if severity == Severity::Fault && self.code != 0 {
            names.push(Cow::Owned(format!("fault_code_{}", self.code)));
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_become_warnings_and_faults() {
        let answer = FaultsAnswer { bits: [0b0000_0011, 0, 0, 0, 0b1100_0000, 0, 0b0001_0000], code: 7 };
        assert_eq!(answer.names(Severity::Warning), ["overvoltage", "unknown_6_4"]);
        assert_eq!(answer.names(Severity::Fault), ["overvoltage", "mos_fault", "fault_code_7"]);
    }

    #[test]
    fn every_bit_has_a_wire_name_of_its_own() {
        let all = FaultsAnswer { bits: [0xFF; 7], code: 0 };
        let mut names: Vec<_> = all.set_bits().map(|bit| bit.wire).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 56);
    }
}
