//! `voltree simulate`: devices that are not there, on the real wires that real ones use.
//!
//! What a device counts and holds itself is told, so that whoever reads it can be compared with it. Nothing here knows a
//! node.

mod daly;
mod link;
mod mqtt;

use clap::{Args, Subcommand};

/// What to simulate.
#[derive(Debug, Args)]
pub(crate) struct SimulateOptions {
    #[command(subcommand)]
    device: Device,
}

#[derive(Debug, Subcommand)]
enum Device {
    /// Put a battery pack behind a Daly board on a pty, for any program that reads a serial port.
    Daly(daly::DalyOptions),
    /// Publish as many MQTT devices at a given rate, and report what was acknowledged and how long that took.
    Mqtt(mqtt::MqttOptions),
}

/// Simulates until the end.
pub(crate) fn run(options: SimulateOptions) -> anyhow::Result<()> {
    match options.device {
        Device::Daly(options) => daly::run(&options),
        Device::Mqtt(options) => mqtt::run(&options),
    }
}
