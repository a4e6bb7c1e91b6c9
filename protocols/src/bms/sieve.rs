//! What is too odd to be believed: every codec passes its values through here on their way into a reading.
//!
//! A value outside of what its quantity can be is withheld with its reason, never clamped or zero-filled, and the
//! values beside it are kept.

use std::ops::RangeInclusive;

use voltree_model::{
    AmpHours, Amps, Celsius, Millivolts, PackReading, Percent, Volts, Withheld, WithheldReason,
};

const CELL_VOLTS: RangeInclusive<f64> = 1.0..=5.0;
/// Up to the racks of a storage container; tighter where the cell count is known.
const PACK_VOLTS: RangeInclusive<f64> = 2.0..=1_500.0;
const PACK_AMPS: RangeInclusive<f64> = -2_000.0..=2_000.0;
const AMP_HOURS: RangeInclusive<f64> = 0.0..=100_000.0;
const PERCENT: RangeInclusive<f64> = 0.0..=100.0;
/// Health is counted against the rated capacity, which a young cell exceeds.
const HEALTH_PERCENT: RangeInclusive<f64> = 0.0..=110.0;
const CELSIUS: RangeInclusive<f64> = -60.0..=150.0;
/// What an open sense wire reads on many boards.
const OPEN_WIRE_MV: u32 = 5000;
/// Below this a cell is not there, or its wire is not.
const MIN_CELL_MV: u32 = 500;

/// A reading under construction and what it leaves out.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    pub(super) reading: PackReading,
}

impl Sieve {
    /// Writes down that a value arrived and is not believed.
    pub(super) fn withhold<T>(&mut self, metric: impl Into<String>, reason: WithheldReason) -> Option<T> {
        self.reading.withheld.push(Withheld { metric: metric.into(), reason });
        None
    }

    pub(super) fn in_range(
        &mut self,
        metric: &str,
        value: Option<f64>,
        range: &RangeInclusive<f64>,
    ) -> Option<f64> {
        match value? {
            value if range.contains(&value) => Some(value),
            _ => self.withhold(metric, WithheldReason::OutOfRange),
        }
    }

    /// Takes the terminal voltage, which must suit the cell count where that is known.
    pub(super) fn pack_voltage(&mut self, volts: Option<f64>, cells: Option<usize>) {
        let cells = cells.and_then(|cells| u32::try_from(cells).ok()).filter(|cells| *cells > 0);
        let range = match cells.map(f64::from) {
            Some(cells) => cells * CELL_VOLTS.start()..=cells * CELL_VOLTS.end(),
            None => PACK_VOLTS,
        };
        self.reading.pack_voltage = self.in_range("pack_voltage", volts, &range).map(Volts);
    }

    /// Takes the current, positive while charging.
    pub(super) fn pack_current(&mut self, amps: Option<f64>) {
        // The sum turns a negative zero into a plain one.
        self.reading.pack_current = self.in_range("pack_current", amps, &PACK_AMPS).map(|a| Amps(a + 0.0));
    }

    pub(super) fn soc(&mut self, percent: Option<f64>) {
        self.reading.soc = self.in_range("soc_percent", percent, &PERCENT).map(Percent);
    }

    pub(super) fn soh(&mut self, percent: Option<f64>) {
        self.reading.soh = self.in_range("soh_percent", percent, &HEALTH_PERCENT).map(Percent);
    }

    pub(super) fn remaining_capacity(&mut self, amp_hours: Option<f64>) {
        self.reading.remaining_capacity =
            self.in_range("remaining_capacity", amp_hours, &AMP_HOURS).map(AmpHours);
    }

    pub(super) fn full_capacity(&mut self, amp_hours: Option<f64>) {
        self.reading.full_capacity = self.in_range("full_capacity", amp_hours, &AMP_HOURS).map(AmpHours);
    }

    /// Takes one cell, the next in line.
    pub(super) fn cell(&mut self, millivolts: u32) {
        let metric = format!("cell_voltage_{}", self.reading.cell_voltages.len() + 1);
        let cell = match (millivolts, u16::try_from(millivolts)) {
            (OPEN_WIRE_MV | 0..MIN_CELL_MV, _) => self.withhold(metric, WithheldReason::SensorMissing),
            (..OPEN_WIRE_MV, Ok(mv)) => Some(Millivolts(mv)),
            _ => self.withhold(metric, WithheldReason::OutOfRange),
        };
        self.reading.cell_voltages.push(cell);
    }

    /// Leaves the next cell in line out.
    pub(super) fn no_cell(&mut self, reason: WithheldReason) {
        let metric = format!("cell_voltage_{}", self.reading.cell_voltages.len() + 1);
        let cell = self.withhold(metric, reason);
        self.reading.cell_voltages.push(cell);
    }

    /// Takes one sensor, the next in line; `None` where the board says that it is missing.
    pub(super) fn temperature(&mut self, celsius: Option<f64>) {
        let metric = format!("temperature_{}", self.reading.temperatures.len() + 1);
        let celsius = match celsius {
            Some(celsius) => self.in_range(&metric, Some(celsius), &CELSIUS).map(Celsius),
            None => self.withhold(metric, WithheldReason::SensorMissing),
        };
        self.reading.temperatures.push(celsius);
    }

    pub(super) fn mosfet_temperature(&mut self, celsius: Option<f64>) {
        self.reading.mosfet_temperature = self.in_range("mosfet_temperature", celsius, &CELSIUS).map(Celsius);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_can_not_be_true_are_withheld_one_by_one() {
        let mut sieve = Sieve::default();
        sieve.pack_voltage(Some(52.8), Some(16));
        sieve.pack_current(Some(9000.0));
        sieve.soc(Some(100.1));
        sieve.cell(3300);
        sieve.cell(5000);
        sieve.cell(70_000);
        sieve.temperature(Some(21.0));
        sieve.temperature(None);
        sieve.temperature(Some(f64::NAN));
        let reading = sieve.reading;
        assert_eq!(reading.pack_voltage, Some(Volts(52.8)));
        assert_eq!(reading.cell_voltages, [Some(Millivolts(3300)), None, None]);
        assert_eq!(reading.temperatures, [Some(Celsius(21.0)), None, None]);
        let (missing, out) = (WithheldReason::SensorMissing, WithheldReason::OutOfRange);
        let withheld: Vec<_> = reading.withheld.iter().map(|w| (w.metric.as_str(), w.reason)).collect();
        let expected = [
            ("pack_current", out),
            ("soc_percent", out),
            ("cell_voltage_2", missing),
            ("cell_voltage_3", out),
            ("temperature_2", missing),
            ("temperature_3", out),
        ];
        assert_eq!(withheld, expected);
    }

    #[test]
    fn the_pack_voltage_must_suit_the_cell_count() {
        let of = |cells| {
            let mut sieve = Sieve::default();
            sieve.pack_voltage(Some(52.8), cells);
            sieve.reading.pack_voltage
        };
        assert_eq!((of(Some(16)), of(Some(4)), of(None)), (Some(Volts(52.8)), None, Some(Volts(52.8))));
    }

    #[test]
    fn what_was_not_sent_is_neither_there_nor_withheld() {
        let mut sieve = Sieve::default();
        sieve.soc(None);
        sieve.pack_current(None);
        assert_eq!(sieve.reading, PackReading::default());
    }
}
