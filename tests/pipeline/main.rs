//! Whole nodes, from the wire to the answer: real data, bad input, links, alerts.

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

mod admission;
mod alerts;
mod backups;
mod bad_input;
mod boards;
mod bridges;
mod commands;
mod doctor;
mod entities;
mod flaky;
mod history;
mod lifecycle;
mod line_protocol;
mod links;
mod live;
mod load;
mod mapped;
mod mqtt_5_client;
mod mqtt_interoperability;
mod mqtt_login;
mod mqtt_properties;
mod mqtt_sessions;
mod mqtt_tls;
mod mqtt_version_5;
mod mqtt_wills;
mod orders;
mod outside_brokers;
mod poison;
mod real_data;
mod simulated;
mod storage_tools;
#[path = "../support/mod.rs"]
mod support;
mod transfer;
mod websocket;
