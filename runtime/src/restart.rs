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
    /// It waits, then is tried once more, for ever. A try that stays well for the policy's window ends the matter; one
    /// that does not parks it again at once, for twice as long.
    Park {
        /// The wait before the first try.
        next_try: Duration,
        /// The longest wait between tries.
        cap: Duration,
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
        exhausted: Exhausted::Park { next_try: Duration::from_secs(60), cap: Duration::from_secs(600) },
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
        exhausted: Exhausted::Park { next_try: Duration::from_secs(60), cap: Duration::from_secs(60) },
    };
}

/// How the children of one supervisor hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// A failed child is started again alone.
    #[default]
    OneForOne,
    /// All children go down with it, last started first, and start again in order.
    OneForAll,
    /// Those that were started after it go down with it, and start again in order.
    RestForOne,
}

/// What a child's failures have come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// The failures that still count.
    failed_at: VecDeque<Duration>,
    /// Since when its incarnation runs.
    began: Option<Duration>,
    /// Whether it was parked since it was last well for a whole window, and how often its tries failed.
    parked: bool,
    failed_tries: u32,
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

impl Record {
    /// Notes that an incarnation runs since `now` (time since any fixed moment).
    pub(crate) fn began(&mut self, now: Duration) {
        self.began = Some(now);
    }

    /// Counts a failure at `now` and says what follows. `jitter` in 0..1 spreads the wait over its lower or upper part,
    /// so that children that failed together don't return together.
    pub(crate) fn failed(&mut self, policy: &RestartPolicy, now: Duration, jitter: f64) -> Verdict {
        if self.began.take().is_some_and(|began| now.saturating_sub(began) >= policy.window) {
            *self = Self::default();
        }
        while self.failed_at.front().is_some_and(|at| now.saturating_sub(*at) > policy.window) {
            self.failed_at.pop_front();
        }
        self.failed_at.push_back(now);
        if !self.parked && self.failed_at.len() <= policy.max_restarts {
            return Verdict::RestartAfter(policy.backoff.delay(self.failed_at.len(), jitter));
        }
        match policy.exhausted {
            Exhausted::Park { next_try, cap } => {
                // Nothing before the next try counts one by one any more.
                self.failed_at.clear();
                self.failed_tries = if self.parked { self.failed_tries.saturating_add(1) } else { 0 };
                self.parked = true;
                Verdict::Park(next_try.saturating_mul(2_u32.saturating_pow(self.failed_tries)).min(cap))
            }
            Exhausted::Escalate => Verdict::Escalate,
        }
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

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn the_first_restart_of_a_window_is_immediate_and_the_next_ones_wait() {
        let mut record = Record::default();
        assert_eq!(record.failed(&POLICY, at(0), 1.0), Verdict::RestartAfter(Duration::ZERO));
        let second = record.failed(&POLICY, at(1), 1.0);
        assert_eq!(second, Verdict::RestartAfter(Duration::from_millis(200)));
        let third = record.failed(&POLICY, at(2), 1.0);
        assert_eq!(third, Verdict::RestartAfter(Duration::from_millis(400)));
    }

    fn parked(record: &mut Record) {
        for second in 0..5 {
            record.failed(&POLICY, at(second), 0.5);
        }
        assert_eq!(record.failed(&POLICY, at(5), 0.5), Verdict::Park(at(60)));
    }

    #[test]
    fn a_try_that_fails_parks_again_at_once_and_for_longer_up_to_the_cap() {
        let mut record = Record::default();
        parked(&mut record);
        let mut waits = Vec::new();
        let mut now = 65;
        for _ in 0..6 {
            record.began(at(now));
            now += 1;
            let Verdict::Park(wait) = record.failed(&POLICY, at(now), 0.5) else { panic!("not parked") };
            waits.push(wait.as_secs());
            now += wait.as_secs();
        }
        assert_eq!(waits, [120, 240, 480, 600, 600, 600]);
    }

    #[test]
    fn a_try_that_stays_well_for_the_window_wipes_the_sheet_clean() {
        let mut record = Record::default();
        parked(&mut record);
        record.began(at(65));
        assert_eq!(record.failed(&POLICY, at(125), 0.5), Verdict::RestartAfter(Duration::ZERO));
        for second in 126..130 {
            assert!(matches!(record.failed(&POLICY, at(second), 0.5), Verdict::RestartAfter(_)));
        }
        assert_eq!(record.failed(&POLICY, at(130), 0.5), Verdict::Park(at(60)));
    }

    #[test]
    fn sustained_health_resets_the_back_off() {
        let mut record = Record::default();
        record.failed(&POLICY, at(0), 1.0);
        record.failed(&POLICY, at(1), 1.0);
        record.began(at(2));
        assert_eq!(record.failed(&POLICY, at(62), 1.0), Verdict::RestartAfter(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn a_delay_never_exceeds_the_cap(nth in 0_usize..10_000, jitter in -1.0_f64..2.0) {
            prop_assert!(POLICY.backoff.delay(nth, jitter) <= POLICY.backoff.cap);
        }
    }
}
