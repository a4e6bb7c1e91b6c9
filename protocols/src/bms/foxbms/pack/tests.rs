use proptest::prelude::*;
use voltree_model::{Amps, Celsius, Millivolts, Percent, Volts};

use super::*;
use crate::can::parse_candump;

fn heard(config: FoxbmsConfig, text: &str) -> FoxbmsPack {
    let mut pack = FoxbmsPack::new(config);
    parse_candump(text).unwrap().iter().for_each(|frame| pack.take(frame));
    pack
}

/// A frame of four valid cells.
fn cells(group: i64, millivolts: [i64; 4]) -> CanFrame {
    let mut word = 0;
    let (mux, places) = CELL_VOLTAGES.split_first().unwrap();
    mux.put(&mut word, group);
    let (flags, values) = places.split_at(4);
    flags.iter().for_each(|flag| flag.put(&mut word, 1));
    values.iter().zip(millivolts).for_each(|(value, mv)| value.put(&mut word, mv));
    CanFrame::new(CanId::Standard(0x250), &word.to_be_bytes()).unwrap()
}

fn count_after(groups: &[i64]) -> usize {
    let mut pack = FoxbmsPack::default();
    groups.iter().for_each(|group| pack.take(&cells(*group, [3300; 4])));
    pack.reading().cell_voltages.len()
}

#[test]
fn pack_values_become_ours_with_the_current_turned_around() {
    let frames = "233#1B8837041820223D 235#9C6779AA75C3019C 220#172000A0C000000A";
    let reading = heard(FoxbmsConfig::default(), frames).reading();
    assert_eq!(reading.pack_voltage, Some(Volts(352.40000000000003)));
    assert_eq!(reading.pack_current, Some(Amps(-87.65)));
    assert_eq!((reading.soc, reading.soh), (Some(Percent(62.5)), Some(Percent(97.5))));
    assert_eq!((reading.charge_enabled, reading.discharge_enabled), (Some(true), Some(true)));
    assert!(reading.faults.is_empty() && reading.warnings.is_empty(), "{reading:?}");
    let charging = FoxbmsConfig { positive_is_discharge: false, ..FoxbmsConfig::default() };
    assert_eq!(heard(charging, frames).reading().pack_current, Some(Amps(87.65)));
}

#[test]
fn alarms_of_pack_and_strings_come_together_and_unknown_bits_stay() {
    let reading = heard(
        FoxbmsConfig::default(),
        "220#0A3C000900000005 240#3040800100000000 240#0100000010000000 240#0200000000000000",
    )
    .reading();
    let faults = ["timing_fault", "emergency_shutoff", "general_error", "communication_fault", "overvoltage"];
    assert_eq!(reading.faults, faults);
    assert_eq!(reading.warnings, ["alert", "undervoltage", "overtemperature_charge", "unknown_240_bit_36"]);
}

#[test]
fn cells_are_told_once_a_whole_round_was_heard() {
    assert_eq!((count_after(&[0, 1, 2]), count_after(&[0, 1, 2, 0])), (0, 12));
    assert_eq!(count_after(&[1, 2, 0, 1, 2, 0]), 12, "listening began inside of a round");
    assert_eq!(count_after(&[0, 2, 0]), 0, "a group was lost");
    assert_eq!(count_after(&[0, 1, 2, 0, 1, 0]), 12, "the last group was lost once");
    assert_eq!(count_after(&[0, 1, 2, 0, 1, 0, 1, 0]), 8, "the pack is shorter than it was");
}

#[test]
fn invalid_cells_and_missing_sensors_are_withheld() {
    let frames = "250#00F7083845C24E13 250#0103E61F54FA27CF 250#0000000000000000
        260#003FFBFCFDFEFF00 260#003EFBFCFDFEFF00";
    let reading = heard(FoxbmsConfig::default(), frames).reading();
    assert_eq!(reading.cell_voltages[..4], [3600, 3601, 3602, 3603].map(|mv| Some(Millivolts(mv))));
    assert_eq!(reading.cell_voltages[4..], [None; 4]);
    assert_eq!(reading.temperatures[0], Some(Celsius(-5.0)));
    assert_eq!(reading.withheld.len(), 4);
}

#[test]
fn the_dialect_is_found_out_by_what_is_heard() {
    let auto = |frames: &str| heard(FoxbmsConfig::default(), frames).dialect();
    let differs = "231#003B10000E470E12 ";
    assert_eq!((auto(differs), auto(&differs.repeat(3))), (Dialect::Auto, Dialect::V1_7));
    assert_eq!(auto(&format!("{}230#0000000000000000", differs.repeat(5))), Dialect::V1_11);
    let fixed = FoxbmsConfig { dialect: Dialect::V1_7, ..FoxbmsConfig::default() };
    assert_eq!(heard(fixed, "230#0000000000000000").dialect(), Dialect::V1_7);
}

#[test]
fn a_short_frame_is_counted_and_a_strange_one_is_not() {
    let pack = heard(FoxbmsConfig::default(), "233#00 7FF#00 00000233#00");
    assert_eq!(pack.refused(), 1);
    assert_eq!(pack.reading(), PackReading::default());
}

proptest! {
    #[test]
    fn no_frames_break_the_pack(frames in proptest::collection::vec((0x200u16..0x270, any::<[u8; 8]>(), 0usize..=8), 0..60)) {
        let mut pack = FoxbmsPack::default();
        for (id, data, length) in frames {
            pack.take(&CanFrame::new(CanId::Standard(id), &data[..length]).unwrap());
        }
        let reading = pack.reading();
        prop_assert!(reading.soc.is_none_or(|soc| (0.0..=100.0).contains(&soc.0)));
    }
}
