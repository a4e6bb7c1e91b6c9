//! How well a device's link works: the share of its last 100 polls that gave a reading, and how long such a poll took.

use std::time::Duration;

/// So many polls are remembered.
const REMEMBERED: u32 = 100;

/// What the last polls came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkQuality {
    /// The last polls, the newest in the lowest bit; a set bit is a reading.
    polls: u128,
    known: u32,
    round_trip: Option<Duration>,
    bad_frames: u64,
}

impl LinkQuality {
    /// Notes a poll that gave a reading after so long.
    pub fn answered(&mut self, after: Duration) {
        self.round_trip = Some(after);
        self.note(true);
    }

    /// Notes a poll that gave none.
    pub const fn failed(&mut self) {
        self.note(false);
    }

    /// Notes frames that failed their checks.
    pub const fn add_bad_frames(&mut self, count: u64) {
        self.bad_frames = self.bad_frames.saturating_add(count);
    }

    const fn note(&mut self, good: bool) {
        self.polls = self.polls << 1 & ((1 << REMEMBERED) - 1) | good as u128;
        if self.known < REMEMBERED {
            self.known += 1;
        }
    }

    /// The share of good polls among the last 100, in percent; none before the first.
    pub fn good_percent(&self) -> Option<f64> {
        let good = f64::from(self.polls.count_ones());
        (self.known > 0).then(|| 100.0 * good / f64::from(self.known))
    }

    /// How long the last good poll took, from its first question to its reading.
    pub const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Frames that failed their checks since the node started.
    pub const fn bad_frames(&self) -> u64 {
        self.bad_frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hundred_polls_count() {
        let mut quality = LinkQuality::default();
        assert_eq!(quality.good_percent(), None);
        quality.failed();
        quality.answered(Duration::from_millis(80));
        assert_eq!(quality.good_percent(), Some(50.0));
        (0..99).for_each(|_| quality.answered(Duration::from_millis(90)));
        assert_eq!(
            (quality.good_percent(), quality.round_trip()),
            (Some(100.0), Some(Duration::from_millis(90)))
        );
        quality.failed();
        assert_eq!(quality.good_percent(), Some(99.0));
    }
}
