//! The score of a chaos run: numbers for machines as JSON, and the same as a page for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

/// What a run showed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    pub(super) plan: String,
    pub(super) about: String,
    pub(super) seed: u64,
    pub(super) build: String,
    pub(super) seconds: f64,
    /// What was done to the node: kills, and faults that struck, by point and kind.
    pub(super) kills: u64,
    pub(super) faults: BTreeMap<String, u64>,
    /// How incarnations ended that should not have.
    pub(super) failures: BTreeMap<&'static str, u64>,
    pub(super) restarts: u64,
    pub(super) parked: u64,
    pub(super) still_down: Vec<String>,
    pub(super) recovery: Spread,
    pub(super) reconnection: Spread,
    pub(super) alert_delay: Spread,
    pub(super) alerts_missing: usize,
    pub(super) dead_letters: usize,
    pub(super) events_missed: u64,
    pub(super) rss: Memory,
    pub(super) ledger: Vec<Row>,
    /// Readings that nobody can account for; a node that keeps its promise has none.
    pub(super) ledger_difference: u64,
}

/// The memory of the process, which holds the node and the simulated fleet.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Memory {
    pub(super) before_kib: u64,
    pub(super) after_kib: u64,
    pub(super) peak_kib: u64,
}

/// How long something took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) count: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Spread {
    pub(super) fn of(times: &[Duration]) -> Self {
        let mut times = times.to_vec();
        times.sort_unstable();
        // The smallest time that so many percent of all do not exceed.
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).map_or(0.0, |time| (time.as_secs_f64() * 1e6).round() / 1e3)
        };
        Self { count: times.len(), p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
    }
}

/// A device's ledger against what the device counted itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) device: String,
    /// Readings that the device knows it handed over, each once.
    pub(super) witnessed: u64,
    /// How many of these may have been lost on the wire before they were received, because a poll was cut short.
    pub(super) interrupted: u64,
    /// The most that can have been received: repetitions included.
    pub(super) offered: u64,
    pub(super) received: u64,
    pub(super) stored: u64,
    pub(super) duplicate: u64,
    pub(super) rejected: u64,
    pub(super) dead_lettered: u64,
    pub(super) pending: u64,
}

impl Row {
    /// Readings that were handed over and of which nothing is left.
    pub(super) fn lost(&self) -> u64 {
        let settled = self.stored + self.rejected + self.dead_lettered;
        self.witnessed.saturating_sub(settled + self.interrupted)
    }

    /// Readings that nobody handed over.
    pub(super) fn invented(&self) -> u64 {
        self.received.saturating_sub(self.offered).max(self.stored.saturating_sub(self.witnessed))
    }

    pub(super) fn difference(&self) -> u64 {
        self.lost() + self.invented() + self.pending
    }
}

impl Report {
    pub(super) fn balances(&self) -> bool {
        self.ledger_difference == 0
    }

    /// A page that a person can read.
    pub(super) fn markdown(&self) -> String {
        let mut page = String::new();
        let verdict = if self.balances() { "balances" } else { "DOES NOT BALANCE" };
        // Writing to a string can't fail.
        write!(
            page,
            "# Chaos run: {}\n\n{}\n\n**The ledger {verdict}**: difference {}. {} of {} alerts were raised. \
             {} actor(s) did not come back.\n\n",
            self.plan,
            self.about,
            self.ledger_difference,
            self.alert_delay.count,
            self.alert_delay.count + self.alerts_missing,
            self.still_down.len(),
        )
        .ok();
        self.numbers(&mut page);
        self.times(&mut page);
        self.rows(&mut page);
        page
    }

    fn numbers(&self, page: &mut String) {
        let Memory { before_kib, after_kib, peak_kib } = self.rss;
        write!(
            page,
            "| what | how much |\n| --- | --- |\n| build | {} |\n| seed | {} |\n| time | {:.1} s |\n| kills | {} |\n\
             | restarts | {} |\n| parked | {} |\n| dead letters | {} |\n\
             | resident memory, node and fleet | {before_kib} KiB before, {after_kib} KiB after, {peak_kib} KiB peak |\n",
            self.build, self.seed, self.seconds, self.kills, self.restarts, self.parked, self.dead_letters
        )
        .ok();
        for (fault, count) in &self.faults {
            writeln!(page, "| fault {fault} | {count} |").ok();
        }
        for (reason, count) in &self.failures {
            writeln!(page, "| ends by {reason} | {count} |").ok();
        }
        for path in &self.still_down {
            writeln!(page, "| did not come back | {path} |").ok();
        }
    }

    fn times(&self, page: &mut String) {
        page.push_str("\n| time | count | p50 | p99 | longest |\n| --- | --- | --- | --- | --- |\n");
        for (name, spread) in [
            ("an actor's end to its next incarnation", self.recovery),
            ("a publisher's lost connection to its next", self.reconnection),
            ("a reading's sending to its alert", self.alert_delay),
        ] {
            let Spread { count, p50_ms, p99_ms, max_ms } = spread;
            writeln!(page, "| {name} | {count} | {p50_ms:.3} ms | {p99_ms:.3} ms | {max_ms:.3} ms |").ok();
        }
    }

    fn rows(&self, page: &mut String) {
        page.push_str(
            "\nThe ledger against what each device counted itself:\n\n| device | counted | cut short | received | \
             stored | duplicate | rejected | dead | pending | difference |\n| --- | --- | --- | --- | --- | --- | \
             --- | --- | --- | --- |\n",
        );
        for row in &self.ledger {
            let Row { device, witnessed, interrupted, received, stored, .. } = row;
            let Row { duplicate, rejected, dead_lettered, pending, .. } = row;
            writeln!(
                page,
                "| {device} | {witnessed} | {interrupted} | {received} | {stored} | {duplicate} | {rejected} | \
                 {dead_lettered} | {pending} | {} |",
                row.difference()
            )
            .ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            device: "sensor".to_owned(),
            witnessed: 100,
            offered: 105,
            received: 103,
            stored: 99,
            duplicate: 3,
            dead_lettered: 1,
            ..Row::default()
        }
    }

    #[test]
    fn a_row_balances_when_every_reading_went_one_way() {
        assert_eq!(row().difference(), 0);
        assert_eq!(Row { stored: 98, received: 102, ..row() }.lost(), 1);
        assert_eq!(Row { stored: 98, received: 102, interrupted: 1, ..row() }.difference(), 0);
        assert_eq!(Row { stored: 101, received: 105, ..row() }.invented(), 1);
        assert_eq!(Row { duplicate: 8, received: 108, ..row() }.invented(), 3);
        assert_eq!(Row { pending: 2, ..row() }.difference(), 2);
    }

    #[test]
    fn a_percentile_is_a_time_that_was_seen() {
        let times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let expected = Spread { count: 200, p50_ms: 100.0, p99_ms: 198.0, max_ms: 200.0 };
        assert_eq!(Spread::of(&times), expected);
        assert_eq!(Spread::of(&[]), Spread::default());
    }
}
