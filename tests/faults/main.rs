//! Whole nodes under fire: kill -9 and the kill of every actor, with an outside witness for every reading.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::float_cmp,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, look at clocks, run its own tasks and say what it saw"
)]

mod chaos;
mod counted;
mod crash;
mod flight;
mod injected;
mod kills;
mod memory;
mod model;
mod recount;
#[path = "../support/mod.rs"]
mod support;
mod timeline;
