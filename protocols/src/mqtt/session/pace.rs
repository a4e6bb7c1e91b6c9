//! How fast a client may publish: a token bucket, kept as the time at which it would be full again.
//!
//! Whoever publishes faster with an acknowledgement is read more slowly; whoever does so for too long without a break has a
//! backlog that only grows, and is sent away. It never waits: it says until when reading stops.

use std::time::{Duration, Instant};

/// How many publishes a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// A second, in the long run.
    pub per_second: u32,
    /// At once, after a silence.
    pub burst: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { per_second: 10, burst: 50 }
    }
}

/// How long a client may press without a break.
const MOST_BACKLOG: Duration = Duration::from_secs(30);

/// What a publish does to the pace.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// There was room for it.
    Kept,
    /// It came too early by that much: there is room for it from then on.
    Exceeded(Instant),
    /// It came too early, as all others did for too long.
    Backlog,
}

#[derive(Debug)]
pub(super) struct Bucket {
    /// How long one publish takes to be made up for; `None` without a limit.
    period: Option<Duration>,
    burst: Duration,
    /// When the bucket is full again.
    full_at: Option<Instant>,
    /// Since when every publish came too early.
    pressed_since: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        let period = rate.map(|rate| Duration::from_secs(1) / rate.per_second.max(1));
        let burst = rate.and_then(|rate| period?.checked_mul(rate.burst.max(1))).unwrap_or(Duration::MAX);
        Self { period, burst, full_at: None, pressed_since: None }
    }

    /// Takes a publish that is turned away if there is no room for it, which costs its sender nothing.
    pub(super) fn try_take(&mut self, now: Instant) -> bool {
        let Some(period) = self.period else { return true };
        let after = self.full_at.map_or(now, |at| at.max(now)) + period;
        let fits = after.saturating_duration_since(now) <= self.burst;
        if fits {
            self.full_at = Some(after);
        }
        fits
    }

    /// Takes a publish that has to be taken in any case.
    pub(super) fn take(&mut self, now: Instant) -> Pace {
        let Some(period) = self.period else { return Pace::Kept };
        let after = self.full_at.map_or(now, |at| at.max(now)) + period;
        self.full_at = Some(after);
        let ahead = after.saturating_duration_since(now);
        if ahead <= self.burst {
            // A client that presses is read whenever there is room for just one more, so only a break tells it apart.
            if ahead + period <= self.burst {
                self.pressed_since = None;
            }
            return Pace::Kept;
        }
        let since = *self.pressed_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= MOST_BACKLOG {
            return Pace::Backlog;
        }
        Pace::Exceeded(now + (ahead - self.burst))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an Instant has no other source")]
mod tests {
    use super::*;

    fn bucket() -> Bucket {
        Bucket::new(Some(Rate { per_second: 10, burst: 5 }))
    }

    #[test]
    fn a_burst_passes_and_what_comes_after_it_passes_at_the_rate() {
        let (mut bucket, now) = (bucket(), Instant::now());
        for _ in 0..5 {
            assert_eq!(bucket.take(now), Pace::Kept);
        }
        assert_eq!(bucket.take(now), Pace::Exceeded(now + Duration::from_millis(100)));
        assert_eq!(bucket.take(now + Duration::from_millis(200)), Pace::Kept);
        assert!(!bucket.try_take(now + Duration::from_millis(200)));
        assert!(bucket.try_take(now + Duration::from_millis(300)));
        assert_eq!(bucket.take(now + Duration::from_secs(2)), Pace::Kept);
    }

    #[test]
    fn whoever_presses_for_half_a_minute_has_a_backlog_and_a_break_ends_it() {
        let begin = Instant::now();
        let press = |bucket: &mut Bucket, from: Instant, steps: u64| {
            let mut now = from;
            for _ in 0..steps {
                match bucket.take(now) {
                    Pace::Kept => {}
                    Pace::Exceeded(until) => now = until,
                    Pace::Backlog => return Err(now),
                }
            }
            Ok(now)
        };
        let mut pressed = bucket();
        let ended = press(&mut pressed, begin, 1_000).expect_err("nobody presses on for ever");
        assert!((30..31).contains(&(ended - begin).as_secs()), "{:?}", ended - begin);
        let mut rested = bucket();
        let paused = press(&mut rested, begin, 200).expect("20 s are allowed") + Duration::from_secs(1);
        press(&mut rested, paused, 200).expect("and 20 s more after a break");
    }

    #[test]
    fn without_a_rate_everything_passes() {
        let (mut bucket, now) = (Bucket::new(None), Instant::now());
        assert!((0..10_000).all(|_| bucket.take(now) == Pace::Kept && bucket.try_take(now)));
    }
}
