//! How long a client's bytes stay in the socket while the node is busy, pure.
//!
//! System calls, waking actors and answering cost the same for one message as for ten, so that a node under load does far
//! less if it reads each client more rarely. Who publishes at a pace of its own loses nothing by that but time until it is
//! answered. Who waits for answers before it goes on would be held up, which shows in its rate: then its bytes stay for no
//! longer than before, and it is left alone for a while.

use std::time::{Duration, Instant};

/// The pauses, from none to the longest.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(60), Duration::from_millis(120), Duration::from_millis(250)];
/// With so many messages a read a longer pause gains little.
const ENOUGH: u32 = 8;
/// How many messages a pause is judged by.
const SAMPLE: u32 = 24;
/// A client is held up if it publishes less than this share of what it did with the pause before.
const HELD_UP: f64 = 0.75;
/// For so many samples in a row: a client may pause for a moment on its own account.
const DOUBTS: u32 = 2;
/// How long one that was held up is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);

/// What is known of a client's pace.
#[derive(Debug, Default)]
pub(super) struct ReadPace {
    /// Which of the pauses it has.
    level: usize,
    /// Since when messages and reads are counted.
    since: Option<Instant>,
    messages: u32,
    reads: u32,
    /// How much it published in a second with the pause before.
    rate_before: f64,
    /// How many samples in a row looked as if it were held up.
    doubts: u32,
    alone_until: Option<Instant>,
}

impl ReadPace {
    /// Takes note of a read that brought so many messages; answers how long the next is to wait.
    pub(super) fn after(&mut self, messages: usize, busy: bool, now: Instant) -> Duration {
        if !busy {
            // A quiet node answers at once.
            (self.level, self.since) = (0, None);
            return Duration::ZERO;
        }
        match self.since {
            // What the first read brings came before.
            None => self.count_from(now),
            Some(since) => {
                self.messages = self.messages.saturating_add(u32::try_from(messages).unwrap_or(u32::MAX));
                self.reads += 1;
                if self.messages >= SAMPLE {
                    self.judge(now.saturating_duration_since(since), now);
                }
            }
        }
        PAUSES.get(self.level).copied().unwrap_or_default()
    }

    fn judge(&mut self, elapsed: Duration, now: Instant) {
        let rate = f64::from(self.messages) / elapsed.as_secs_f64().max(f64::EPSILON);
        let is_alone = self.alone_until.is_some_and(|until| now < until);
        let doubtful = self.level > 0 && rate < HELD_UP * self.rate_before;
        self.doubts = if doubtful { self.doubts + 1 } else { 0 };
        if self.doubts == DOUBTS {
            (self.level, self.doubts) = (self.level - 1, 0);
            self.alone_until = Some(now + LEFT_ALONE);
        } else if !doubtful
            && self.messages < ENOUGH.saturating_mul(self.reads)
            && self.level + 1 < PAUSES.len()
            && !is_alone
        {
            self.level += 1;
            self.rate_before = rate;
        }
        self.count_from(now);
    }

    fn count_from(&mut self, now: Instant) {
        (self.since, self.messages, self.reads) = (Some(now), 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::now;
    use super::*;

    /// How long a commit takes on a busy node.
    const COMMIT: Duration = Duration::from_millis(40);

    /// Plays a client for so long; answers how many messages it got through in a second and how many reads that took.
    fn play(pace: &mut ReadPace, seconds: u32, mut comes: impl FnMut(Duration) -> usize) -> (f64, f64) {
        let begun = now();
        let (mut at, mut messages, mut reads) = (begun, 0_u32, 0_u32);
        let mut waited = COMMIT;
        while at < begun + Duration::from_secs(u64::from(seconds)) {
            let came = comes(waited);
            messages += u32::try_from(came).unwrap();
            reads += u32::from(came > 0);
            waited = pace.after(came, true, at).max(COMMIT);
            at += waited;
        }
        (f64::from(messages) / f64::from(seconds), f64::from(reads) / f64::from(seconds))
    }

    /// One that publishes so many messages a second, whatever it is answered.
    fn steady(per_second: f64) -> impl FnMut(Duration) -> usize {
        let mut due = 0.0_f64;
        move |waited| {
            due += per_second * waited.as_secs_f64();
            let came = due.floor();
            due -= came;
            format!("{came}").parse().unwrap()
        }
    }

    #[test]
    fn one_with_a_pace_of_its_own_is_read_rarely_and_gets_all_through() {
        let mut pace = ReadPace::default();
        play(&mut pace, 10, steady(44.0));
        let (rate, reads) = play(&mut pace, 10, steady(44.0));
        assert!(rate > 42.0 && reads < 9.0, "{rate} messages and {reads} reads a second");
    }

    #[test]
    fn one_that_waits_for_its_answers_is_hardly_held_up() {
        for window in [1, 2, 7, 20, 200] {
            let mut pace = ReadPace::default();
            let (rate, _) = play(&mut pace, 120, |_| window);
            let unhindered = f64::from(u32::try_from(window).unwrap()) / COMMIT.as_secs_f64();
            assert!(
                rate > 0.93 * unhindered,
                "{rate} of {unhindered} messages a second with a window of {window}"
            );
        }
    }

    #[test]
    fn a_quiet_node_reads_at_once() {
        let mut pace = ReadPace::default();
        play(&mut pace, 10, steady(44.0));
        assert!(!pace.after(9, true, now()).is_zero());
        assert!(pace.after(9, false, now()).is_zero());
        assert!(pace.after(9, true, now()).is_zero());
    }
}
