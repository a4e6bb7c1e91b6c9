//! The public face of the API, against a small fleet in memory.

#![expect(clippy::unwrap_used, clippy::panic, reason = "clippy knows helpers of tests only under cfg(test)")]

mod commands;
mod contract;
mod errors;
mod fleet;
mod history;
mod lines;
mod pages;
mod queries;
mod support;
mod watching;
