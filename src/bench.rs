//! Benchmarks that a node can run on the machine it is going to live on.

mod actors;

use clap::Subcommand;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Measure the actors: spawning, memory, messages, questions, crashes; beside Erlang/OTP where `erl` is there.
    Actors(actors::ActorsOptions),
}

/// Runs a benchmark.
pub(crate) fn run(bench: Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Actors(options) => actors::run(&options),
    }
}
