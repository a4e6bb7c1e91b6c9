//! What a string says of itself, bit by bit.
//!
//! Three levels: the safety limit opens the contactors and is a fault, the recommended and the operating limit are
//! warnings and share their names. Names longer than 32 characters are cut, as a DBC file cuts them.

use super::signal::{Signal, string_number, words};
use crate::bms::alarms::Severity::{Fault, Warning};

const YES: &[&str] = &["No", "Yes"];

const fn error(name: &'static str, bit: u8, ours: &'static str) -> Signal {
    words(name, bit, 1, &["No Error", "Error"]).alarm(ours, Fault)
}

const fn limit(name: &'static str, bit: u8, ours: &'static str) -> Signal {
    words(name, bit, 1, &["No Warning", "Warning"]).alarm(ours, Warning)
}

/// All bits of the message.
#[rustfmt::skip]
pub(super) const STRING_STATE: &[Signal] = &[
    string_number("f_StringState_Mux", 3, 4),
    words("IsStringConnected", 4, 1, YES),
    words("IsBalancingActive", 5, 1, YES),
    words("IsStringFuseBlown", 6, 1, YES).alarm("fuse_blown", Fault),
    error("DeepDischargeError", 7, "undervoltage_deep_discharge"),
    error("UndervoltageMslError", 15, "undervoltage"),
    error("OvervoltageMslError", 14, "overvoltage"),
    error("CellOvercurrentDischargeMslError", 13, "overcurrent_discharge"),
    error("CellOvercurrentChargeMslError", 12, "overcurrent_charge"),
    error("UndertemperatureDischargeMslErro", 11, "undertemperature"),
    error("OvertemperatureDischargeMslError", 10, "overtemperature"),
    error("UndertemperatureChargeMslError", 9, "undertemperature_charge"),
    error("OvertemperatureChargeMslError", 8, "overtemperature_charge"),
    limit("UndervoltageMolWarning", 23, "undervoltage"),
    limit("OvervoltageMolWarning", 22, "overvoltage"),
    limit("CellOvercurrentDischargeMolWarni", 21, "overcurrent_discharge"),
    limit("CellOvercurrentChargeMolWarning", 20, "overcurrent_charge"),
    limit("UndertemperatureDischargeMolWarn", 19, "undertemperature"),
    limit("OvertemperatureDischargeMolWarni", 18, "overtemperature"),
    limit("UndertemperatureChargeMolWarning", 17, "undertemperature_charge"),
    limit("OvertemperatureChargeMolWarning", 16, "overtemperature_charge"),
    limit("UndervoltageRslWarning", 31, "undervoltage"),
    limit("OvervoltageRslWarning", 30, "overvoltage"),
    limit("CellOvercurrentDischargeRslWarni", 29, "overcurrent_discharge"),
    limit("CellOvercurrentChargeRslWarning", 28, "overcurrent_charge"),
    limit("UndertemperatureDischargeRslWarn", 27, "undertemperature"),
    limit("OvertemperatureDischargeRslWarni", 26, "overtemperature"),
    limit("UndertemperatureChargeRslWarning", 25, "undertemperature_charge"),
    limit("OvertemperatureChargeRslWarning", 24, "overtemperature_charge"),
    error("PositiveContactorError", 32, "contactor_fault"),
    error("NegativeContactorError", 33, "contactor_fault"),
    error("SlaveHardwareError", 34, "afe_fault"),
    error("DaisyChainBaseCommunicationError", 35, "communication_fault"),
    error("DaisyChainBaseCrcError", 37, "communication_fault"),
    error("DaisyChainBaseVoltMeasOorError", 39, "afe_fault"),
    error("DaisyChainBaseTempMeasOorError", 41, "afe_fault"),
    error("StringCurrentMeasurementError", 43, "sensor_fault"),
    error("CoulombCountingMeasurementError", 44, "sensor_fault"),
    error("EnergyCountingMeasurementError", 45, "sensor_fault"),
    error("StringVoltageMeasurementError", 46, "sensor_fault"),
    error("FusedStringVoltageMeasurementErr", 47, "sensor_fault"),
    error("PackVoltageMeasurementError", 48, "sensor_fault"),
    error("OpenWireError", 49, "open_wire"),
    error("CellTemperaturePlausibilityError", 51, "sensor_fault"),
    error("CellVoltagePlausibilityError", 52, "sensor_fault"),
    error("StringVoltagePlausibilityError", 53, "sensor_fault"),
    error("TemperatureSpreadPlausibilityErr", 54, "temperature_imbalance"),
    error("VoltageSpreadPlausibilityError", 55, "cell_imbalance"),
    error("StringOvercurrentError", 63, "overcurrent_discharge"),
];
