//! Restart policy as data, and the two pure questions it answers: may this child start again, and when?

use std::collections::VecDeque;
use std::time::Duration;

/// When a child that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// However it ended.
    Permanent,
    /// Only when it ended abnormally; a kill is abnormal.
    Transient,
    /// Never.
    Temporary,
}

/// How long to wait before the next start: `first`, then `factor` times as long each time, up to `cap`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The wait before the second restart in a window; the first restart is immediate.
    pub first: Duration,
    /// How much longer each wait is than the one before.
    pub factor: f64,
    /// The longest wait.
    pub cap: Duration,
}

/// What becomes of a child that failed too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// It waits this long and is tried once more, for ever.
    Park {
        /// The wait between tries.
        next_try: Duration,
    },
    /// Its supervisor fails in turn.
    Escalate,
}

/// A child's restart policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RestartPolicy {
    /// When it is started again at all.
    pub restart: Restart,
    /// How many failures within `window` it may have.
    pub max_restarts: usize,
    /// The time that failures are counted over; a child that stays well this long has a clean sheet.
    pub window: Duration,
    /// How long to wait between starts.
    pub backoff: Backoff,
    /// What happens past `max_restarts`.
    pub exhausted: Exhausted,
}

impl RestartPolicy {
    /// For devices: patient, parks, never escalates.
    pub const DEVICE: Self = Self {
        restart: Restart::Permanent,
        max_restarts: 5,
        window: Duration::from_secs(60),
        backoff: Backoff { first: Duration::from_millis(200), factor: 2.0, cap: Duration::from_secs(10) },
        exhausted: Exhausted::Park { next_try: Duration::from_secs(60) },
    };

    /// For the node's own services: generous, then their supervisor fails.
    pub const SERVICE: Self = Self {
        restart: Restart::Permanent,
        max_restarts: 10,
        window: Duration::from_secs(60),
        backoff: Backoff { first: Duration::from_millis(50), factor: 2.0, cap: Duration::from_secs(5) },
        exhausted: Exhausted::Escalate,
    };

    /// For the groups under the root.
    pub const GROUP: Self = Self {
        restart: Restart::Permanent,
        max_restarts: 3,
        window: Duration::from_secs(60),
        backoff: Backoff { first: Duration::from_millis(50), factor: 2.0, cap: Duration::from_secs(1) },
        exhausted: Exhausted::Escalate,
    };

    /// For what lives as long as a connection: gone when it ends.
    pub const SESSION: Self = Self {
        restart: Restart::Temporary,
        max_restarts: 0,
        window: Duration::from_secs(60),
        backoff: Backoff { first: Duration::ZERO, factor: 1.0, cap: Duration::ZERO },
        exhausted: Exhausted::Park { next_try: Duration::from_secs(60) },
    };
}

/// The failures of one child that still count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failures {
    at: VecDeque<Duration>,
}

/// What a failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start again after this long.
    RestartAfter(Duration),
    /// Wait, then try once more.
    Park(Duration),
    /// Give up.
    Escalate,
}

impl Failures {
    /// Counts a failure at `now` (time since any fixed moment) and says what follows. `jitter` in 0..1 spreads
    /// the wait over its lower or upper part, so that children that failed together don't return together.
    pub(crate) fn record(&mut self, policy: &RestartPolicy, now: Duration, jitter: f64) -> Verdict {
        while self.at.front().is_some_and(|at| now.saturating_sub(*at) > policy.window) {
            self.at.pop_front();
        }
        self.at.push_back(now);
        if self.at.len() > policy.max_restarts {
            return match policy.exhausted {
                Exhausted::Park { next_try } => Verdict::Park(next_try),
                Exhausted::Escalate => Verdict::Escalate,
            };
        }
        Verdict::RestartAfter(policy.backoff.delay(self.at.len(), jitter))
    }
}

impl Backoff {
    /// The wait before the `nth` restart of a window (from 1), with full jitter.
    pub fn delay(&self, nth: usize, jitter: f64) -> Duration {
        if nth <= 1 {
            return Duration::ZERO;
        }
        let exponent = i32::try_from(nth - 2).unwrap_or(i32::MAX);
        let ceiling = (self.first.as_secs_f64() * self.factor.powi(exponent)).min(self.cap.as_secs_f64());
        Duration::from_secs_f64(ceiling * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: RestartPolicy = RestartPolicy::DEVICE;

    #[test]
    fn the_first_restart_of_a_window_is_immediate_and_the_next_ones_wait() {
        let mut failures = Failures::default();
        assert_eq!(failures.record(&POLICY, Duration::ZERO, 1.0), Verdict::RestartAfter(Duration::ZERO));
        let second = failures.record(&POLICY, Duration::from_secs(1), 1.0);
        assert_eq!(second, Verdict::RestartAfter(Duration::from_millis(200)));
        let third = failures.record(&POLICY, Duration::from_secs(2), 1.0);
        assert_eq!(third, Verdict::RestartAfter(Duration::from_millis(400)));
    }

    #[test]
    fn one_failure_too_many_parks_and_a_quiet_window_forgives() {
        let mut failures = Failures::default();
        for second in 0..5 {
            failures.record(&POLICY, Duration::from_secs(second), 0.5);
        }
        let sixth = failures.record(&POLICY, Duration::from_secs(5), 0.5);
        assert_eq!(sixth, Verdict::Park(Duration::from_secs(60)));
        let later = failures.record(&POLICY, Duration::from_secs(500), 0.5);
        assert_eq!(later, Verdict::RestartAfter(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn a_delay_never_exceeds_the_cap(nth in 0_usize..10_000, jitter in -1.0_f64..2.0) {
            prop_assert!(POLICY.backoff.delay(nth, jitter) <= POLICY.backoff.cap);
        }
    }
}
