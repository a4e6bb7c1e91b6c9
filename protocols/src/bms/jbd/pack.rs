//! From a board's answers to a `PackReading`.

use voltree_model::PackReading;

use super::BasicInfo;
use super::basic::PROTECTION_BITS;
use crate::bms::alarms::sort_names;
use crate::bms::sieve::Sieve;

/// Makes a reading; `cells` in mV is empty where the board did not answer.
pub(super) fn reading(basic: &BasicInfo, cells: &[u16]) -> PackReading {
    let mut sieve = Sieve::default();
    sieve.pack_voltage(Some(basic.volts()), Some(usize::from(basic.cells)));
    sieve.pack_current(Some(basic.amps()));
    sieve.soc(Some(f64::from(basic.soc)));
    sieve.remaining_capacity(Some(basic.remaining_ah()));
    sieve.full_capacity(Some(basic.nominal_ah()));
    cells.iter().for_each(|mv| sieve.cell(u32::from(*mv)));
    basic.celsius().for_each(|celsius| sieve.temperature(Some(celsius)));
    let mut reading = sieve.reading;
    reading.cycles = Some(u32::from(basic.cycles));
    reading.charge_enabled = Some(basic.charge_closed());
    reading.discharge_enabled = Some(basic.discharge_closed());
    reading.cells_balancing = (basic.balance == [0, 0]).then(Vec::new);
    sort_names(basic.protection.into(), PROTECTION_BITS, &mut reading.faults, &mut reading.warnings);
    reading
}

#[cfg(test)]
mod tests {
    use voltree_model::WithheldReason;

    use super::*;

    #[test]
    fn a_sensor_at_absolute_zero_is_withheld() {
        let basic = BasicInfo {
            voltage_raw: 1330,
            cells: 4,
            temperatures_raw: vec![0, 2955],
            protection: 0x8001,
            ..BasicInfo::default()
        };
        let reading = reading(&basic, &[3300; 4]);
        assert_eq!(reading.temperatures.iter().flatten().count(), 1);
        assert_eq!(reading.withheld[0].reason, WithheldReason::OutOfRange);
        assert_eq!(
            (reading.faults, reading.warnings),
            (vec!["overvoltage".into()], vec!["unknown_bit_15".into()])
        );
    }
}
