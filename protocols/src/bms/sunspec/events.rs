//! The event bits that battery and strings share.

use crate::bms::alarms::{AlarmBit, fault, warning};

/// Bit 0 first, the vendor's names as in the model.
#[rustfmt::skip]
pub const EVENTS: &[AlarmBit] = &[
    fault("COMMUNICATION_ERROR", "communication_fault"),
    fault("OVER_TEMP_ALARM", "overtemperature"),
    warning("OVER_TEMP_WARNING", "overtemperature"),
    fault("UNDER_TEMP_ALARM", "undertemperature"),
    warning("UNDER_TEMP_WARNING", "undertemperature"),
    fault("OVER_CHARGE_CURRENT_ALARM", "overcurrent_charge"),
    warning("OVER_CHARGE_CURRENT_WARNING", "overcurrent_charge"),
    fault("OVER_DISCHARGE_CURRENT_ALARM", "overcurrent_discharge"),
    warning("OVER_DISCHARGE_CURRENT_WARNING", "overcurrent_discharge"),
    fault("OVER_VOLT_ALARM", "overvoltage"),
    warning("OVER_VOLT_WARNING", "overvoltage"),
    fault("UNDER_VOLT_ALARM", "undervoltage"),
    warning("UNDER_VOLT_WARNING", "undervoltage"),
    fault("UNDER_SOC_MIN_ALARM", "soc_low"),
    warning("UNDER_SOC_MIN_WARNING", "soc_low"),
    fault("OVER_SOC_MAX_ALARM", "soc_high"),
    warning("OVER_SOC_MAX_WARNING", "soc_high"),
    warning("VOLTAGE_IMBALANCE_WARNING", "cell_imbalance"),
    fault("TEMPERATURE_IMBALANCE_ALARM", "temperature_imbalance"),
    warning("TEMPERATURE_IMBALANCE_WARNING", "temperature_imbalance"),
    fault("CONTACTOR_ERROR", "contactor_fault"),
    fault("FAN_ERROR", "fan_fault"),
    fault("GROUND_FAULT", "ground_fault"),
    fault("OPEN_DOOR_ERROR", "door_open"),
    warning("CURRENT_IMBALANCE_WARNING", "current_imbalance"),
    fault("OTHER_ALARM", "other_alarm"),
    warning("OTHER_WARNING", "other_warning"),
    warning("RESERVED_1", "unknown_bit_27"),
    fault("CONFIGURATION_ALARM", "configuration_fault"),
    warning("CONFIGURATION_WARNING", "configuration_fault"),
];
