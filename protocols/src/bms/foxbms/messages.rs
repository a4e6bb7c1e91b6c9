//! Every message that is read: its id, its name and its values, in the two layouts that releases have had.
//!
//! Layouts before release 1.7 used other ids and are not known here, nor are debug, crash dump and bootloader messages.

use serde::{Deserialize, Serialize};

use super::signal::{Signal, group, signed, string_number, unsigned, words};
use super::string_state::STRING_STATE;
use crate::bms::alarms::Severity::{Fault, Warning};

/// Which releases a bus is of. Nothing in a frame tells, but only the newer send some of the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Dialect {
    /// Found out by the ids that are heard.
    #[default]
    Auto,
    /// Releases 1.7 to 1.10.
    V1_7,
    /// Release 1.11.
    V1_11,
}

impl Dialect {
    /// Finds a dialect by its name; dots and underscores are the same.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.replace('.', "_").as_str() {
            "auto" | "all" => Self::Auto,
            "v1_7" | "v1_7-v1_10" => Self::V1_7,
            "v1_11" => Self::V1_11,
            _ => return None,
        })
    }

    /// Tells whether only the newer releases send this id.
    pub const fn only_v1_11(id: u16) -> bool {
        matches!(id, 0x219 | 0x230 | 0x242)
    }

    /// Tells whether the layouts differ in this id.
    pub const fn differs(id: u16) -> bool {
        matches!(id, 0x231 | 0x241)
    }
}

/// One message.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    /// Its id.
    pub id: u16,
    /// Its name in foxBMS' own DBC file.
    pub name: &'static str,
    /// What stands in it.
    pub signals: &'static [Signal],
    /// Whether a bit that no value owns deserves to be told.
    pub(super) bits_matter: bool,
}

impl Message {
    /// Finds a value by its name.
    pub fn signal(&self, name: &str) -> Option<&'static Signal> {
        self.signals.iter().find(|signal| signal.name == name)
    }

    /// The set bits that no value owns, as a DBC file numbers them.
    pub(super) fn unknown_bits(&self, frame: u64) -> Vec<u8> {
        if !self.bits_matter {
            return Vec::new();
        }
        let known = self.signals.iter().fold(0, |mask, signal| mask | signal.mask());
        (0..64).filter(|bit| unsigned("", *bit, 1, 1.0).mask() & frame & !known != 0).collect()
    }
}

/// Finds the message of an id. A dialect that is still to be found out counts as the older one.
pub fn message(id: u16, dialect: Dialect) -> Option<&'static Message> {
    let newer = match dialect {
        Dialect::V1_11 => true,
        Dialect::Auto | Dialect::V1_7 => false,
    };
    let special = if newer { V1_11 } else { V1_7 };
    special.iter().chain(COMMON).find(|message| message.id == id)
}

const fn plain(id: u16, name: &'static str, signals: &'static [Signal]) -> Message {
    Message { id, name, signals, bits_matter: false }
}

const fn flags(id: u16, name: &'static str, signals: &'static [Signal]) -> Message {
    Message { id, name, signals, bits_matter: true }
}

const ERROR: &[&str] = &["No Error", "Error"];
const ACTIVE: &[&str] = &["Inactive", "Active"];
const YES: &[&str] = &["No", "Yes"];
const VALID: &[&str] = &["Invalid", "Valid"];

pub(super) const BMS_STATES: &[&str] = &[
    "UNINITIALIZED",
    "INITIALIZATION",
    "INITIALIZED",
    "IDLE",
    "OPEN_CONTACTORS",
    "STANDBY",
    "PRECHARGE",
    "NORMAL",
    "DISCHARGE",
    "CHARGE",
    "ERROR",
    "UNDEFINED",
];

#[rustfmt::skip]
pub(super) const COMMON: &[Message] = &[
    plain(0x210, "BmsStateRequest", &[
        words("RequestBmsMode", 1, 2, &["Standby", "Discharge", "Charge"]),
        unsigned("ResetPersistentFlags", 2, 1, 1.0),
        words("IndicatePrechargeType", 3, 1, &["INTERNAL", "EXTERNAL"]),
        words("ChargerConnected", 4, 1, YES),
        unsigned("DisableInsulationMonitoring", 5, 1, 1.0),
        unsigned("ActivateBalancing", 8, 1, 1.0),
        unsigned("SetBalancingThreshold", 23, 8, 1.0),
    ]),
    flags(0x220, "BmsState", &[
        unsigned("NumberOfConnectedStrings", 7, 4, 1.0),
        words("BmsState", 3, 4, BMS_STATES),
        words("CoolingState", 15, 1, ACTIVE),
        words("HeaterState", 14, 1, ACTIVE),
        words("InsulationMonitoring", 13, 1, ACTIVE),
        words("SystemMonitoringError", 12, 1, ERROR).alarm("timing_fault", Fault),
        words("EmergencyShutoff", 11, 1, ACTIVE).alarm("emergency_shutoff", Fault),
        words("GeneralError", 10, 1, ERROR).alarm("general_error", Fault),
        words("GeneralWarning", 9, 1, &["No Warning", "Warning"]).alarm("general_warning", Warning),
        words("ChargingComplete", 8, 1, &["Incomplete", "Complete"]),
        words("InsulationError", 23, 1, ERROR).alarm("insulation_fault", Fault),
        words("InterlockState", 22, 1, &["Closed", "Open"]).alarm("interlock_open", Fault),
        words("MainFuseBlown", 21, 1, &["Fuse okay", "Fuse blown"]).alarm("fuse_blown", Fault),
        words("BmsMasterPcbUndertemperatureErro", 20, 1, ERROR).alarm("undertemperature_board", Fault),
        words("BmsMasterPcbOvertemperatureError", 19, 1, ERROR).alarm("overtemperature_board", Fault),
        words("McuDieTemperatureError", 18, 1, ERROR).alarm("overtemperature_board", Fault),
        words("PrechargeCurrentError", 17, 1, ERROR).alarm("precharge_failure", Fault),
        words("PrechargeVoltageError", 16, 1, ERROR).alarm("precharge_failure", Fault),
        words("BalancingAlgorithmState", 31, 1, &["BALANCING_NOT_ALLOWED", "BALANCING_ALLOWED"]),
        words("Clamp30cError", 30, 1, ERROR).alarm("supply_fault", Fault),
        words("BmsChargingFlag", 29, 1, YES),
        words("NvramCrcError", 28, 1, ERROR).alarm("storage_fault", Fault),
        words("AlertFlag", 27, 1, &["No Alert", "Alert"]).alarm("alert", Warning),
        words("PackOvercurrentDischargeError", 26, 1, ERROR).alarm("overcurrent_discharge", Fault),
        words("PackOvercurrentChargeError", 25, 1, ERROR).alarm("overcurrent_charge", Fault),
        words("CanTimingError", 24, 1, ERROR).alarm("communication_fault", Fault),
        unsigned("PhyAlive", 39, 1, 1.0),
        unsigned("PhyLinked", 38, 1, 1.0),
        words("BmsSubstate", 37, 6, &["ENTRY"]),
        unsigned("NumberOfDeactivatedStrings", 51, 4, 1.0),
        unsigned("InsulationResistance", 63, 8, 200.0),
    ]),
    plain(0x221, "BmsStateDetails", &[
        unsigned("TimingViolationEngine", 0, 1, 1.0),
        unsigned("TimingViolation1ms", 1, 1, 1.0),
        unsigned("TimingViolation10ms", 2, 1, 1.0),
        unsigned("TimingViolation100ms", 3, 1, 1.0),
        unsigned("TimingViolation100msAlgorithm", 4, 1, 1.0),
        unsigned("RecordedTimingViolationEngine", 8, 1, 1.0),
        unsigned("RecordedTimingViolation1ms", 9, 1, 1.0),
        unsigned("RecordedTimingViolation10ms", 10, 1, 1.0),
        unsigned("RecordedTimingViolation100ms", 11, 1, 1.0),
        unsigned("RecordedTimingViolation100msAlgorithm", 12, 1, 1.0),
    ]),
    plain(0x222, "BmsFatalError", &[unsigned("FatalErrorCode", 7, 8, 1.0)]),
    plain(0x232, "PackLimits", &[
        unsigned("MaximumDischargeCurrent", 7, 12, 0.25),
        unsigned("MaximumChargeCurrent", 11, 12, 0.25),
        unsigned("MaximumDischargePower", 31, 12, 0.1),
        unsigned("MaximumChargePower", 35, 12, 0.1),
        unsigned("MaximumBatteryVoltage", 55, 8, 4.0),
        unsigned("MinimumBatteryVoltage", 63, 8, 4.0),
    ]),
    plain(0x233, "PackValuesP0", &[
        signed("BatteryVoltage", 7, 15, 0.1),
        signed("BusVoltage", 8, 15, 0.1),
        signed("Power", 25, 17, 0.01),
        signed("Current", 40, 17, 0.01),
    ]),
    plain(0x234, "PackValuesP1", &[unsigned("InsulationResistance", 7, 13, 7.0)]),
    plain(0x235, "PackStateEstimation", &[
        unsigned("MinimumSoc", 7, 10, 0.1),
        unsigned("MaximumSoc", 13, 10, 0.1),
        unsigned("MinimumSoe", 19, 10, 0.1),
        unsigned("MaximumSoe", 25, 10, 0.1),
        unsigned("Soh", 47, 8, 0.5),
        unsigned("Energy", 55, 16, 0.1),
    ]),
    flags(0x240, "StringState", STRING_STATE),
    plain(0x243, "StringValuesP0", &[
        string_number("f_StringValuesP0_Mux", 7, 3),
        signed("Voltage", 4, 18, 0.01),
        signed("Current", 18, 18, 0.01),
        signed("Power", 32, 18, 0.01),
    ]),
    plain(0x244, "StringValuesP1", &[
        string_number("f_StringValuesP1_Mux", 7, 4),
        signed("EnergyCounter", 15, 32, 1.0),
    ]),
    plain(0x245, "StringStateEstimation", &[
        string_number("f_StringStateEstimation_Mux", 7, 4),
        unsigned("MinimumSoc", 3, 9, 0.2),
        unsigned("MaximumSoc", 10, 9, 0.2),
        unsigned("MinimumSoe", 17, 9, 0.2),
        unsigned("MaximumSoe", 24, 9, 0.2),
        unsigned("Soh", 47, 9, 0.2),
        unsigned("Energy", 54, 15, 0.01),
    ]),
    plain(0x250, "CellVoltages", CELL_VOLTAGES),
    plain(0x260, "CellTemperatures", CELL_TEMPERATURES),
];

pub(super) const CELLS_PER_FRAME: usize = 4;
pub(super) const SENSORS_PER_FRAME: usize = 6;

/// The group's number, then for each place whether it counts, then for each place its value; names are completed by the
/// group's number where they are shown. A flag is set where its value is valid, whatever its name in the DBC says.
pub(super) const CELL_VOLTAGES: &[Signal] = &[
    group("f_CellVoltages_Mux", "CellVoltages", 4),
    words("CellVoltage", 12, 1, VALID),
    words("CellVoltage", 13, 1, VALID),
    words("CellVoltage", 14, 1, VALID),
    words("CellVoltage", 15, 1, VALID),
    unsigned("CellVoltage", 11, 13, 1.0),
    unsigned("CellVoltage", 30, 13, 1.0),
    unsigned("CellVoltage", 33, 13, 1.0),
    unsigned("CellVoltage", 52, 13, 1.0),
];

/// As [`CELL_VOLTAGES`], with six places.
pub(super) const CELL_TEMPERATURES: &[Signal] = &[
    group("f_CellTemperatures_Mux", "CellTemperatures", 6),
    words("CellTemperature", 8, 1, VALID),
    words("CellTemperature", 9, 1, VALID),
    words("CellTemperature", 10, 1, VALID),
    words("CellTemperature", 11, 1, VALID),
    words("CellTemperature", 12, 1, VALID),
    words("CellTemperature", 13, 1, VALID),
    signed("CellTemperature", 23, 8, 1.0),
    signed("CellTemperature", 31, 8, 1.0),
    signed("CellTemperature", 39, 8, 1.0),
    signed("CellTemperature", 47, 8, 1.0),
    signed("CellTemperature", 55, 8, 1.0),
    signed("CellTemperature", 63, 8, 1.0),
];

#[rustfmt::skip]
const V1_7: &[Message] = &[
    plain(0x231, "PackMinimumMaximumValues", &[
        signed("MaximumCellVoltage", 7, 14, 1.0),
        signed("MinimumCellVoltage", 9, 14, 1.0),
        signed("CoolingInletTemperature", 39, 8, 1.0),
        signed("CoolingOutletTemperature", 47, 8, 1.0),
        signed("MaximumCellTemperature", 55, 8, 1.0),
        signed("MinimumCellTemperature", 63, 8, 1.0),
    ]),
    plain(0x241, "StringMinimumMaximumValues", &[
        string_number("f_StringMinimumMaximumValues_Mux", 3, 4),
        signed("MaximumCellVoltage", 15, 14, 1.0),
        signed("MinimumCellVoltage", 17, 14, 1.0),
        signed("MaximumCellTemperature", 35, 9, 0.5),
        signed("MinimumCellTemperature", 42, 9, 0.5),
    ]),
];

#[rustfmt::skip]
const V1_11: &[Message] = &[
    plain(0x219, "SystemState", &[
        unsigned("Substate", 7, 7, 1.0),
        unsigned("State", 0, 5, 1.0),
    ]),
    plain(0x230, "PackMinMaxCellTemperature", &[
        unsigned("MinimumCellTemperatureSensorIndex", 15, 4, 1.0),
        unsigned("MaximumCellTemperatureSensorIndex", 11, 4, 1.0),
        unsigned("MinimumCellTemperatureModuleIndex", 23, 4, 1.0),
        unsigned("MaximumCellTemperatureModuleIndex", 19, 4, 1.0),
        unsigned("MinimumCellTemperatureStringIndex", 31, 4, 1.0),
        unsigned("MaximumCellTemperatureStringIndex", 27, 4, 1.0),
        signed("MinimumCellTemperature", 39, 8, 1.0),
        signed("MaximumCellTemperature", 47, 8, 1.0),
    ]),
    plain(0x231, "PackMinMaxCellVoltage", &[
        unsigned("MinimumCellVoltageCellIndex", 15, 4, 1.0),
        unsigned("MaximumCellVoltageCellIndex", 11, 4, 1.0),
        unsigned("MinimumCellVoltageModuleIndex", 23, 4, 1.0),
        unsigned("MaximumCellVoltageModuleIndex", 19, 4, 1.0),
        unsigned("MinimumCellVoltageStringIndex", 31, 4, 1.0),
        unsigned("MaximumCellVoltageStringIndex", 27, 4, 1.0),
        signed("MaximumCellVoltage", 37, 14, 1.0),
        signed("MinimumCellVoltage", 53, 14, 1.0),
    ]),
    plain(0x241, "StringMinMaxCellTemperature", &[
        string_number("f_StringMinMaxCellTemperature_Mux", 3, 4),
        unsigned("SensorMinimumCellTemperature", 15, 4, 1.0),
        unsigned("SensorMaximumCellTemperature", 11, 4, 1.0),
        unsigned("ModuleMinimumCellTemperature", 23, 4, 1.0),
        unsigned("ModuleMaximumCellTemperature", 19, 4, 1.0),
        signed("MaximumCellTemperature", 31, 8, 0.5),
        signed("MinimumCellTemperature", 39, 8, 0.5),
    ]),
    plain(0x242, "StringMinMaxCellVoltage", &[
        string_number("f_StringMinMaxCellVoltage_Mux", 3, 4),
        unsigned("SensorMinimumCellVoltage", 15, 4, 1.0),
        unsigned("SensorMaximumCellVoltage", 11, 4, 1.0),
        unsigned("ModuleMinimumCellVoltage", 23, 4, 1.0),
        unsigned("ModuleMaximumCellVoltage", 19, 4, 1.0),
        signed("MaximumCellVoltage", 31, 14, 1.0),
        signed("MinimumCellVoltage", 33, 14, 1.0),
    ]),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all() -> Vec<&'static Message> {
        COMMON.iter().chain(V1_7).chain(V1_11).collect()
    }

    #[test]
    fn no_value_overlaps_another_or_leaves_its_frame() {
        for message in all() {
            let mut taken = 0u64;
            for signal in message.signals {
                let first = signal.start / 8 * 8 + 7 - signal.start % 8;
                assert!(first + signal.length <= 64, "{}.{}", message.name, signal.name);
                assert_eq!(taken & signal.mask(), 0, "{}.{}", message.name, signal.name);
                taken |= signal.mask();
            }
        }
    }

    #[test]
    fn only_the_newer_releases_have_their_ids() {
        for id in [0x219, 0x230, 0x242] {
            assert!(Dialect::only_v1_11(id) && message(id, Dialect::V1_7).is_none());
            assert!(message(id, Dialect::V1_11).is_some());
        }
        assert_eq!(message(0x231, Dialect::Auto).unwrap().name, "PackMinimumMaximumValues");
        assert_eq!(message(0x231, Dialect::V1_11).unwrap().name, "PackMinMaxCellVoltage");
        assert_eq!((Dialect::named("v1.11"), Dialect::named("v2")), (Some(Dialect::V1_11), None));
    }

    proptest! {
        #[test]
        fn every_message_survives_decoding_and_encoding(frame: u64) {
            for message in all() {
                let mask = message.signals.iter().fold(0, |mask, signal| mask | signal.mask());
                let mut written = 0;
                message.signals.iter().for_each(|signal| signal.put(&mut written, signal.raw(frame)));
                prop_assert_eq!(written, frame & mask, "{}", message.name);
            }
        }
    }
}
