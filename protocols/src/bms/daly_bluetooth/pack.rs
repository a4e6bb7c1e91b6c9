//! From a board's registers to a `PackReading`.

use voltree_model::{PackReading, PackState, WithheldReason};

use super::registers::Block;
use crate::bms::daly_uart::{CurrentSign, Severity};
use crate::bms::sieve::Sieve;

/// Where the values of a dialect stand.
struct Places {
    sensors: u16,
    most_cells: u16,
    voltage: u16,
    current: u16,
    soc: u16,
    cells_count: u16,
    sensors_count: u16,
}

const D2: Places = Places {
    sensors: 0x20,
    most_cells: 32,
    voltage: 0x28,
    current: 0x29,
    soc: 0x2A,
    cells_count: 0x31,
    sensors_count: 0x32,
};
const P81: Places = Places {
    sensors: 0x30,
    most_cells: 48,
    voltage: 0x38,
    current: 0x39,
    soc: 0x3A,
    cells_count: 0x3C,
    sensors_count: 0x3D,
};
const MOST_SENSORS: u16 = 8;

/// Tells what the pack is doing; `None` where the board did not say or said something unknown.
pub(super) fn state(block: &Block, register: u16) -> Option<PackState> {
    match block.at(register)? {
        0 => Some(PackState::Idle),
        1 => Some(PackState::Charging),
        2 => Some(PackState::Discharging),
        _ => None,
    }
}

/// Makes a reading of the status block of dialect D2.
pub fn reading(status: &Block, sign: CurrentSign) -> PackReading {
    let mut sieve = Sieve::default();
    values(status, &D2, sign, &mut sieve);
    sieve.remaining_capacity(status.tenths(0x30));
    switch_temperature(status, 0x42, &mut sieve);
    take_state(status, 0x2F, &mut sieve);
    let mut reading = sieve.reading;
    reading.cycles = status.at(0x33).map(u32::from);
    reading.charge_enabled = status.on(0x35);
    reading.discharge_enabled = status.on(0x36);
    reading.cells_balancing = balanced_cells(status);
    if let Some((faults, reserved)) = status.faults() {
        reading.faults = faults.names(Severity::Fault);
        reading.warnings = faults.names(Severity::Warning);
        let unknown = (0..8).filter(|bit| reserved & (1 << bit) != 0);
        reading.warnings.extend(unknown.map(|bit| format!("unknown_7_{bit}").into()));
    }
    reading
}

/// Makes a reading of the two blocks of dialect P81: cells, and the status behind them.
pub fn reading_p81(cells: &Block, status: &Block, sign: CurrentSign) -> PackReading {
    let mut sieve = Sieve::default();
    values(cells, &P81, sign, &mut sieve);
    sieve.remaining_capacity(status.tenths(0x4B));
    switch_temperature(status, 0x5A, &mut sieve);
    take_state(status, 0x48, &mut sieve);
    let mut reading = sieve.reading;
    reading.cycles = status.at(0x4C).map(u32::from);
    reading.charge_enabled = status.on(0x52);
    reading.discharge_enabled = status.on(0x53);
    // The layout of these bits is not published, only that healthy packs have none.
    if [0x6D, 0x6E].into_iter().any(|register| status.on(register) == Some(true)) {
        reading.faults.push("bms_fault".into());
    }
    reading
}

fn values(block: &Block, places: &Places, sign: CurrentSign, sieve: &mut Sieve) {
    let cells = block.at(places.cells_count).map(|count| count.min(places.most_cells));
    sieve.pack_voltage(block.tenths(places.voltage), cells.map(usize::from));
    sieve.pack_current(block.amps(places.current).map(|amps| sign.apply(amps).0));
    sieve.soc(block.tenths(places.soc));
    for millivolts in block.row(0, cells.unwrap_or(0), places.most_cells) {
        sieve.cell(u32::from(millivolts));
    }
    let sensors = block.at(places.sensors_count).unwrap_or(0).min(MOST_SENSORS);
    for register in places.sensors..places.sensors + sensors {
        sieve.temperature(block.celsius(register).flatten().map(f64::from));
    }
}

/// Zero stands for a sensor that is not fitted too.
fn switch_temperature(block: &Block, register: u16, sieve: &mut Sieve) {
    let fitted = block.at(register).is_some_and(|raw| raw != 0);
    sieve.mosfet_temperature(block.celsius(register).flatten().filter(|_| fitted).map(f64::from));
}

fn take_state(block: &Block, register: u16, sieve: &mut Sieve) {
    sieve.reading.state = match (block.at(register), state(block, register)) {
        (Some(_), None) => sieve.withhold("state", WithheldReason::OutOfRange),
        (_, state) => state,
    };
}

/// The mask is there in long answers only; a board that balances and doesn't say where tells nothing of cells.
fn balanced_cells(block: &Block) -> Option<Vec<u8>> {
    if block.on(0x34) == Some(false) {
        return Some(Vec::new());
    }
    let mask = u32::from(block.at(0x3F)?) << 16 | u32::from(block.at(0x3E)?);
    Some((1..=32).filter(|cell| mask & (1 << (cell - 1)) != 0).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use voltree_model::{Amps, Volts};

    use super::*;
    use crate::bms::daly_bluetooth::RegisterDialect;

    fn d2(change: impl Fn(&mut [u16])) -> Block {
        let mut values = vec![0; 80];
        values[..4].copy_from_slice(&[3300, 3301, 5000, 3303]);
        values[0x20..0x22].copy_from_slice(&[61, 0xFF]);
        values[0x28..0x2B].copy_from_slice(&[132, 29_969, 530]);
        values[0x2F..0x33].copy_from_slice(&[2, 1113, 4, 2]);
        change(&mut values);
        Block { dialect: RegisterDialect::D2, first: 0, values }
    }

    #[test]
    fn values_are_believed_one_by_one() {
        let reading = reading(&d2(|_| {}), CurrentSign::Normal);
        assert_eq!((reading.pack_voltage, reading.pack_current), (Some(Volts(13.2)), Some(Amps(-3.1))));
        assert_eq!(reading.state, Some(PackState::Discharging));
        assert_eq!(reading.cell_voltages.iter().flatten().count(), 3);
        assert_eq!(reading.temperatures.iter().flatten().count(), 1);
        assert_eq!(reading.mosfet_temperature, None);
        let withheld: Vec<_> = reading.withheld.iter().map(|w| w.metric.as_str()).collect();
        assert_eq!(withheld, ["cell_voltage_3", "temperature_2"]);
    }

    #[test]
    fn fault_words_become_our_names_and_unknown_bits_are_kept() {
        let block = d2(|values| {
            values[0x3A] = 0x0102;
            values[0x3D] = 0x8004;
        });
        let reading = reading(&block, CurrentSign::Normal);
        assert_eq!(reading.faults, ["overvoltage", "short_circuit"]);
        assert_eq!(reading.warnings, ["overtemperature_charge", "unknown_7_7"]);
    }

    #[test]
    fn an_alarm_register_that_nobody_published_is_a_fault_without_a_name() {
        let cells = Block { dialect: RegisterDialect::P81, first: 0, values: vec![0; 64] };
        let mut status = Block { dialect: RegisterDialect::P81, first: 0x41, values: vec![0; 62] };
        assert!(reading_p81(&cells, &status, CurrentSign::Normal).faults.is_empty());
        status.values[0x6D - 0x41] = 4;
        assert_eq!(reading_p81(&cells, &status, CurrentSign::Normal).faults, ["bms_fault"]);
    }

    proptest! {
        #[test]
        fn any_registers_make_a_reading(values: Vec<u16>, first in 0u16..0x80) {
            let block = Block { dialect: RegisterDialect::D2, first, values };
            prop_assert!(reading(&block, CurrentSign::Auto).cell_voltages.len() <= 32);
            prop_assert!(reading_p81(&block, &block, CurrentSign::Auto).cell_voltages.len() <= 48);
        }
    }
}
