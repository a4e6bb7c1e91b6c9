//! `voltree simulate`: devices that are not there, on the real wires that real ones use.

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
    /// Publish as many MQTT devices at a given rate, and report what was acknowledged and how long that took.
    Mqtt(mqtt::MqttOptions),
}

/// Simulates until the end.
pub(crate) fn run(options: SimulateOptions) -> anyhow::Result<()> {
    match options.device {
        Device::Mqtt(options) => mqtt::run(&options),
    }
}
