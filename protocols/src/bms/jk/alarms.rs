//! The alarm words of both protocols: what the vendor calls each bit, what we call it, and how bad it is.

use crate::bms::alarms::{AlarmBit, fault, warning};

/// The error word of the Bluetooth protocol, bit 0 first.
#[rustfmt::skip]
pub(super) const JK02_ERRORS: &[AlarmBit] = &[
    warning("wire_resistance", "wire_resistance"),
    fault("mos_overtemperature", "mos_overtemperature"),
    fault("cell_count_mismatch", "configuration_fault"),
    warning("current_sensor_anomaly_or_unused", "sensor_fault_current"),
    // Set on a full pack too, which is no fault.
    warning("fully_charged_or_cell_overvoltage", "overvoltage"),
    fault("pack_overvoltage", "overvoltage_pack"),
    fault("charge_overcurrent", "overcurrent_charge"),
    fault("charge_short_circuit", "short_circuit_charge"),
    fault("charge_overtemperature", "overtemperature_charge"),
    fault("charge_undertemperature", "undertemperature_charge"),
    fault("coprocessor_comm", "communication_fault"),
    fault("cell_undervoltage", "undervoltage"),
    fault("pack_undervoltage", "undervoltage_pack"),
    fault("discharge_overcurrent", "overcurrent_discharge"),
    fault("discharge_short_circuit", "short_circuit"),
    fault("discharge_overtemperature", "overtemperature_discharge"),
    fault("charge_mos_abnormal", "mos_fault"),
    fault("discharge_mos_abnormal", "mos_fault"),
    warning("gps_disconnected", "gps_disconnected"),
    warning("modify_password", "default_password"),
    fault("discharge_on_failed", "discharge_on_failed"),
    fault("battery_overtemperature", "overtemperature"),
    fault("temp_sensor_anomaly", "sensor_fault"),
    warning("pl_module_anomaly", "module_fault"),
    fault("scp_release_failed", "short_circuit_release_failed"),
    fault("discharge_ocp2", "overcurrent_discharge"),
    fault("discharge_ocp3", "overcurrent_discharge"),
    fault("discharge_undertemperature", "undertemperature_discharge"),
    warning("gps_lock", "gps_lock"),
];

/// The warning word of the wired protocol, bit 0 first.
#[rustfmt::skip]
pub(super) const UART_WARNINGS: &[AlarmBit] = &[
    warning("low_capacity", "soc_low"),
    fault("mos_overtemperature", "mos_overtemperature"),
    fault("charge_overvoltage", "overvoltage_charge"),
    fault("discharge_undervoltage", "undervoltage_discharge"),
    fault("battery_overtemperature", "overtemperature"),
    fault("charge_overcurrent", "overcurrent_charge"),
    fault("discharge_overcurrent", "overcurrent_discharge"),
    warning("cell_voltage_difference", "cell_imbalance"),
    fault("battery_box_overtemperature", "overtemperature_box"),
    fault("battery_undertemperature", "undertemperature"),
    fault("cell_overvoltage", "overvoltage"),
    fault("cell_undervoltage", "undervoltage"),
    fault("protection_309_a", "afe_fault"),
    fault("protection_309_b", "afe_fault"),
];
