//! What runs on this box: arguments, configuration, the supervision tree, shutdown. Nothing clever.

mod bench;
mod cli;
mod config;
mod decode;
mod demo;
mod environment;
mod http;
mod ledger;
mod metric_table;
mod node;
mod replay;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
