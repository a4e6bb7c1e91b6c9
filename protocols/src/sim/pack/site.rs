//! What stands between a site's demand and its pack: a charger that holds a voltage, and an inverter that keeps a reserve.
//!
//! The charger sees the pack's voltage only, so a cell that is ahead of the others may still meet its protection.

use super::super::ecm::Cell;

const CHARGE_VOLTS_PER_CELL: f64 = 4.16;
/// The inverter stops here and starts again there, by the board's state of charge in percent.
const RESERVE_PERCENT: f64 = 10.0;
const RESTART_PERCENT: f64 = 15.0;

#[derive(Debug, Clone, Default)]
pub(super) struct Site {
    on_reserve: bool,
}

impl Site {
    /// The current that is asked of the pack, positive while charging.
    pub(super) fn amps(&mut self, wanted_amps: f64, soc_percent: f64, cells: &[Cell]) -> f64 {
        let keep_below = if self.on_reserve { RESTART_PERCENT } else { RESERVE_PERCENT };
        self.on_reserve = soc_percent <= keep_below;
        if wanted_amps >= 0.0 {
            wanted_amps.min(held_amps(cells))
        } else if self.on_reserve {
            0.0
        } else {
            wanted_amps
        }
    }
}

/// The current that holds the pack at the charger's voltage.
fn held_amps(cells: &[Cell]) -> f64 {
    let room: f64 = cells.iter().map(|cell| CHARGE_VOLTS_PER_CELL - cell.settled_volts()).sum();
    let ohm: f64 = cells.iter().map(Cell::r0_ohm).sum();
    (room / ohm).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charger_holds_its_voltage_and_gives_nothing_above_it() {
        let full = vec![Cell::new(100.0, 1.0, 0.98, 20.0); 14];
        let amps = Site::default().amps(50.0, 95.0, &full);
        assert!((full[0].volts(amps) - CHARGE_VOLTS_PER_CELL).abs() < 1e-9, "{amps} A");
        let above = vec![Cell::new(100.0, 1.0, 1.0, 20.0); 14];
        assert!(Site::default().amps(50.0, 100.0, &above).abs() < 1e-12);
    }

    #[test]
    fn the_inverter_stops_at_its_reserve_and_waits_for_more_before_it_starts() {
        let mut site = Site::default();
        let cells = vec![Cell::new(100.0, 1.0, 0.12, 20.0); 14];
        let flowing = [12.0, 9.9, 12.0, 14.9, 15.1, 12.0].map(|soc| site.amps(-10.0, soc, &cells) < 0.0);
        assert_eq!(flowing, [true, false, false, false, true, true]);
    }
}
