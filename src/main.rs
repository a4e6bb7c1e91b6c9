//! What runs on this box: arguments, configuration, the supervision tree, shutdown. Nothing clever.

mod bench;
mod chaos;
mod cli;
mod config;
mod decode;
mod demo;
mod doctor;
mod environment;
mod http;
mod ledger;
mod login;
mod metric_table;
mod node;
mod passwd;
mod postmortem;
mod probe;
mod replay;
mod scan;
mod simulate;

use std::process::ExitCode;

/// An actor's life is made of small allocations that one thread makes and another gives back; docs/measurements.md has the
/// figures of both allocators.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
