//! `voltree bench`: figures of this build on this machine, each next to the bar that it is meant to pass.

mod storage;

use clap::Subcommand;

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Measure journal, buckets, rollups and queries on a fleet of batteries at 1 Hz; `dump` prints its readings.
    Storage(storage::StorageBench),
}

/// Measures and prints.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Storage(options) => storage::run(options),
    }
}
