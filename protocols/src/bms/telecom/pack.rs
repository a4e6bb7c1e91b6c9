//! From a pack's answers to a `PackReading`.

use voltree_model::{PackReading, PackState};

use super::{Alarms, Analog, Maker, Status};
use crate::bms::sieve::Sieve;

/// Makes a reading; `alarms` is absent where the pack did not answer.
pub(super) fn reading(maker: Maker, analog: &Analog, alarms: Option<&Alarms>) -> PackReading {
    let mut sieve = Sieve::default();
    let (left, full) = analog.amp_hours(maker);
    sieve.pack_voltage(Some(analog.volts(maker)), Some(analog.cells.len()));
    sieve.pack_current(Some(analog.amps(maker)));
    sieve.soc(analog.soc_percent(maker));
    sieve.soh(analog.soh_percent());
    sieve.remaining_capacity(Some(left));
    sieve.full_capacity(Some(full));
    analog.cells.iter().for_each(|mv| sieve.cell(u32::from(*mv)));
    analog.celsius().for_each(|celsius| sieve.temperature(Some(celsius)));
    let mut reading = sieve.reading;
    reading.cycles = Some(u32::from(analog.cycles));
    if let Some(alarms) = alarms {
        alarms.sort(maker, &mut reading.faults, &mut reading.warnings);
        if let Some(status) = alarms.status {
            add_status(status, &mut reading);
        }
    }
    reading
}

fn add_status(status: Status, reading: &mut PackReading) {
    reading.discharge_enabled = Some(status.switches & 1 != 0);
    reading.charge_enabled = Some(status.switches & 2 != 0);
    let balanced = (1u8..=16).filter(|cell| status.balance & (1 << (cell - 1)) != 0);
    reading.cells_balancing = Some(balanced.collect());
    reading.state = match status.state & 0b111 {
        0b001 => Some(PackState::Discharging),
        0b010 | 0b100 => Some(PackState::Charging),
        0 => Some(PackState::Idle),
        _ => None,
    };
}
