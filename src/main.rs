//! What runs on this box: arguments, configuration, the supervision tree, shutdown. Nothing clever.

mod account;
mod backup;
mod bench;
mod chaos;
mod cli;
mod config;
mod decode;
mod demo;
mod device;
mod doctor;
mod environment;
mod export;
mod http;
mod import;
mod ledger;
mod login;
mod mapping;
mod metric_table;
mod node;
mod passwd;
mod postmortem;
mod probe;
mod replay;
mod scan;
mod simulate;
mod storage;

use std::process::ExitCode;

/// An actor's life is made of small allocations that one thread makes and another gives back; docs/measurements.md has the
/// figures of both allocators.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
