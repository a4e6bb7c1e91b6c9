//! `voltree bench`: figures of this build on this machine, each next to the bar that it is meant to pass.

mod actors;
mod ingest;
mod node;
mod peers;
mod storage;

use clap::Subcommand;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Measure the actors: spawning, memory, messages, questions, crashes; beside Erlang/OTP where `erl` is there.
    Actors(actors::ActorsOptions),
    /// Measure what telemetry over MQTT costs a node, and what rate it holds without loss.
    Ingest(ingest::IngestOptions),
    /// Measure journal, buckets, rollups and queries on a fleet of batteries at 1 Hz; `dump` prints its readings.
    Storage(storage::StorageBench),
}

/// Measures and prints.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Actors(options) => actors::run(options),
        Bench::Ingest(options) => ingest::run(options),
        Bench::Storage(options) => storage::run(options),
    }
}
