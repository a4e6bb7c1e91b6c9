//! How much is appended, pure: over a second or so, because a single group says little. A journal that is taken for idle
//! because one group was small, and for busy again after the next, sends everyone who goes by that back and forth.

use std::time::Duration;

/// Over how long the past fades.
const FADES_S: f64 = 1.0;
/// A journal that takes more entries a second than this becomes busy.
const BUSY_PER_SECOND: f64 = 10_000.0;
/// One that was busy stays so above this.
const STILL_BUSY_PER_SECOND: f64 = 7_500.0;

/// How many entries a second come, and whether those are many.
#[derive(Debug, Default)]
pub(super) struct Load {
    per_second: f64,
    is_busy: bool,
}

impl Load {
    /// Takes note of a group of so many entries, so long after the one before; answers whether the journal is busy.
    pub(super) fn after(&mut self, entries: u32, elapsed: Duration) -> bool {
        // A clock that stood still says nothing of how much came.
        let elapsed_s = elapsed.as_secs_f64().max(0.001);
        let share = 1.0 - (-elapsed_s / FADES_S).exp();
        self.per_second += share * (f64::from(entries) / elapsed_s - self.per_second);
        self.is_busy = self.per_second > if self.is_busy { STILL_BUSY_PER_SECOND } else { BUSY_PER_SECOND };
        self.is_busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is busy after each of so many groups, ten milliseconds apart.
    fn play(load: &mut Load, groups: impl IntoIterator<Item = u32>) -> Vec<bool> {
        groups.into_iter().map(|entries| load.after(entries, Duration::from_millis(10))).collect()
    }

    #[test]
    fn a_load_that_lasts_makes_it_busy_and_a_small_group_does_not_change_that() {
        let mut load = Load::default();
        assert!(play(&mut load, vec![200; 200]).ends_with(&[true]));
        assert!(play(&mut load, [0, 5, 400, 0, 0, 100]).iter().all(|busy| *busy));
    }

    #[test]
    fn a_single_burst_does_not() {
        let mut load = Load::default();
        assert!(!play(&mut load, [2_000, 0, 0, 0, 30]).contains(&true));
    }

    #[test]
    fn it_is_idle_again_after_a_pause() {
        let mut load = Load::default();
        play(&mut load, vec![400; 200]);
        assert!(!load.after(10, Duration::from_secs(5)));
    }

    #[test]
    fn between_the_bounds_it_stays_what_it_was() {
        let mut load = Load::default();
        assert!(!play(&mut load, vec![90; 500]).contains(&true));
        play(&mut load, vec![300; 300]);
        assert!(play(&mut load, vec![90; 500]).iter().all(|busy| *busy));
    }
}
