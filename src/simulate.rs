//! `voltree simulate`: devices that are not there, on the real wires that real ones use.
//!
//! What a device counts and holds itself is told, so that whoever reads it can be compared with it. Nothing here knows a
//! node.

mod battery;
mod bluez;
mod fleet;
mod kinds;
mod link;
mod mqtt;
mod report;
mod wire;

use clap::{Args, Subcommand};
use voltree_protocols::bms::foxbms::Dialect;
use voltree_protocols::bms::telecom::Maker;

use battery::BatteryOptions;
pub(crate) use kinds::{DalyProtocol, Kind, Side};

/// What to simulate.
#[derive(Debug, Args)]
pub(crate) struct SimulateOptions {
    #[command(subcommand)]
    device: Device,
}

#[derive(Debug, Subcommand)]
enum Device {
    /// Put a battery pack behind a Daly board, for any program that reads a serial port or a CAN bus.
    Daly(DalyOptions),
    /// Put a battery pack behind a foxBMS 2 that broadcasts on CAN.
    Foxbms(FoxbmsOptions),
    /// Put a battery pack behind a Green BMS unit.
    Green(BatteryOptions),
    /// Put a battery pack behind a JBD board.
    Jbd(BatteryOptions),
    /// Put a battery pack behind a JK board.
    Jk(BatteryOptions),
    /// Put a battery pack behind a Libre Solar board: ThingSet text on a serial port, reports on CAN.
    LibreSolar(BatteryOptions),
    /// Put a battery pack behind a Pylontech module.
    Pylontech(TelecomOptions),
    /// Put a battery pack behind a Seplos board.
    Seplos(TelecomOptions),
    /// Put a battery pack behind a SunSpec device, over Modbus.
    Sunspec(SunspecOptions),
    /// Put batteries in the air of a simulated BlueZ, on a D-Bus of your own.
    Bluez(bluez::BluezOptions),
    /// Put as many packs as you like on ptys and TCP ports, and write the configuration that reads them.
    Fleet(fleet::FleetOptions),
    /// Publish as many MQTT devices at a given rate, and report what was acknowledged and how long that took.
    Mqtt(mqtt::MqttOptions),
}

#[derive(Debug, Args)]
struct DalyOptions {
    #[command(flatten)]
    battery: BatteryOptions,
    /// Boards on the line, addressed from 1; more than one only in A5 on a serial line.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=31))]
    boards: u8,
    /// What it speaks on a serial line.
    #[arg(long, value_name = "PROTOCOL", default_value = "a5")]
    protocol: DalyProtocol,
}

#[derive(Debug, Args)]
struct FoxbmsOptions {
    #[command(flatten)]
    battery: BatteryOptions,
    /// Which releases it is of: v1_7 or v1_11.
    #[arg(long, value_name = "DIALECT", default_value = "v1_11", value_parser = dialect)]
    dialect: Dialect,
}

fn dialect(text: &str) -> Result<Dialect, String> {
    Dialect::named(text).ok_or_else(|| "known are v1_7 and v1_11".to_owned())
}

#[derive(Debug, Args)]
struct TelecomOptions {
    #[command(flatten)]
    battery: BatteryOptions,
    /// Its address on the line [default: the maker's first].
    #[arg(long, value_name = "N")]
    address: Option<u8>,
}

#[derive(Debug, Args)]
struct SunspecOptions {
    #[command(flatten)]
    battery: BatteryOptions,
    /// Its unit on the line.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=247))]
    unit: u8,
}

/// Simulates until the end.
pub(crate) fn run(options: SimulateOptions) -> anyhow::Result<()> {
    let telecom = |options: TelecomOptions, maker: Maker| {
        let address = options.address.unwrap_or(maker.first_address());
        battery::run(&options.battery, &Kind::Telecom(maker, address))
    };
    match options.device {
        Device::Daly(DalyOptions { battery, boards, protocol }) => {
            battery::run(&battery, &Kind::Daly { boards, protocol })
        }
        Device::Foxbms(options) => battery::run(&options.battery, &Kind::Foxbms(options.dialect)),
        Device::Green(options) => battery::run(&options, &Kind::Green),
        Device::Jbd(options) => battery::run(&options, &Kind::Jbd),
        Device::Jk(options) => battery::run(&options, &Kind::Jk),
        Device::LibreSolar(options) => battery::run(&options, &Kind::LibreSolar),
        Device::Pylontech(options) => telecom(options, Maker::Pylontech),
        Device::Seplos(options) => telecom(options, Maker::Seplos),
        Device::Sunspec(options) => battery::run(&options.battery, &Kind::Sunspec { unit: options.unit }),
        Device::Bluez(options) => bluez::run(&options),
        Device::Fleet(options) => fleet::run(&options),
        Device::Mqtt(options) => mqtt::run(&options),
    }
}
