//! The board's own view of current and charge: a shunt that is a little off, and a coulomb counter that believes it.
//!
//! The counter drifts, as real ones do, until a full or an empty pack tells it where it is. It knows the rated capacity,
//! not what age left of it.

const SECONDS_PER_HOUR: f64 = 3600.0;
/// A pack that is charged at this voltage for each cell and takes no more than this share of its capacity is full.
const FULL_VOLTS_PER_CELL: f64 = 4.15;
const FULL_RATE: f64 = 0.05;

#[derive(Debug, Clone)]
pub(super) struct Meter {
    capacity_ah: f64,
    counted_ah: f64,
    gain: f64,
    offset_amps: f64,
}

impl Meter {
    /// `gain_error` is a share of the current, `offset_rate` a share of the capacity per hour.
    pub(super) fn new(capacity_ah: f64, soc_percent: f64, gain_error: f64, offset_rate: f64) -> Self {
        let counted_ah = (capacity_ah * soc_percent / 100.0).clamp(0.0, capacity_ah);
        Self { capacity_ah, counted_ah, gain: 1.0 + gain_error, offset_amps: offset_rate * capacity_ah }
    }

    pub(super) fn measured(&self, amps: f64) -> f64 {
        amps * self.gain + self.offset_amps
    }

    pub(super) fn count(&mut self, amps: f64, seconds: f64) {
        let counted = self.counted_ah + self.measured(amps) * seconds / SECONDS_PER_HOUR;
        self.counted_ah = counted.clamp(0.0, self.capacity_ah);
    }

    pub(super) fn recognise_full(&mut self, amps: f64, volts_per_cell: f64) {
        let tail = 0.0..FULL_RATE * self.capacity_ah;
        if volts_per_cell >= FULL_VOLTS_PER_CELL && tail.contains(&amps) {
            self.counted_ah = self.capacity_ah;
        }
    }

    pub(super) fn recognise_empty(&mut self) {
        self.counted_ah = 0.0;
    }

    pub(super) fn set_soc_percent(&mut self, soc_percent: f64) {
        self.counted_ah = (self.capacity_ah * soc_percent / 100.0).clamp(0.0, self.capacity_ah);
    }

    pub(super) fn soc_percent(&self) -> f64 {
        100.0 * (self.counted_ah / self.capacity_ah)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_drifts_by_its_offset_until_a_full_pack_puts_it_right() {
        let mut meter = Meter::new(100.0, 80.0, 0.0, -0.0002);
        meter.count(0.0, 100.0 * 3600.0);
        assert!((meter.soc_percent() - 78.0).abs() < 1e-9, "{}", meter.soc_percent());
        meter.recognise_full(20.0, 4.16);
        assert!(meter.soc_percent() < 80.0, "a strong current at the limit is no full pack");
        meter.recognise_full(2.0, 4.16);
        assert!((meter.soc_percent() - 100.0).abs() < 1e-9);
        meter.recognise_empty();
        assert!(meter.soc_percent().abs() < 1e-9);
    }
}
