//! How a cell grows old: with every charge that passes and with every day, faster when warm and when full.
//!
//! Rates are constant over time, so that the size of a step does not matter; a real cell loses most in its first months. The numbers
//! are those of an ordinary NMC cell, not of the one in the tables: PyBaMM's circuit does not age.

/// Of the fresh capacity, for each full cycle at 25 °C: a fifth in 3,000.
const FADE_PER_CYCLE: f64 = 0.2 / 3_000.0;
/// Of the fresh capacity, for each year at 25 °C and half charge.
const FADE_PER_YEAR: f64 = 0.02;
const SECONDS_PER_YEAR: f64 = 365.25 * 86_400.0;
/// Ageing doubles with each ten degrees.
const KELVIN_TO_DOUBLE: f64 = 10.0;

/// The share of its fresh capacity that a cell loses while it moves `cycles` full cycles in this time.
pub(super) fn fade(cycles: f64, seconds: f64, celsius: f64, soc: f64) -> f64 {
    let warm = ((celsius - 25.0) / KELVIN_TO_DOUBLE).exp2();
    let calendar = FADE_PER_YEAR * seconds / SECONDS_PER_YEAR * (0.5 + soc.clamp(0.0, 1.0));
    warm * (FADE_PER_CYCLE * cycles + calendar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_ages_by_use_by_time_by_heat_and_by_charge() {
        assert!((fade(3_000.0, 0.0, 25.0, 0.5) - 0.2).abs() < 1e-9);
        assert!((fade(0.0, SECONDS_PER_YEAR, 25.0, 0.5) - 0.02).abs() < 1e-9);
        assert!((fade(0.0, SECONDS_PER_YEAR, 35.0, 0.5) - 0.04).abs() < 1e-9);
        assert!(fade(0.0, SECONDS_PER_YEAR, 25.0, 1.0) > fade(0.0, SECONDS_PER_YEAR, 25.0, 0.2) * 2.0);
    }
}
