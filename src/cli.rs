//! The command line.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};
use crate::environment::Environment;
use crate::{
    backup, bench, chaos, decode, demo, device, doctor, export, import, ledger, mapping, node, passwd,
    postmortem, probe, replay, scan, simulate, storage,
};

/// The exit code for a configuration or a command line that can't be used (BSD's EX_USAGE).
const USAGE: u8 = 64;

/// Runs a fleet of batteries and IoT devices as a tree of supervised actors: drivers, MQTT listener, time-series store,
/// alerts, GraphQL API and console in one process. Kill anything, lose nothing, and see it happen.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring up a living fleet of simulated devices, with console, in one process. Nothing else is needed.
    Demo(demo::DemoOptions),
    /// Run a node with the devices of a configuration file.
    Run(RunOptions),
    /// Say whether a configuration file can be used, and everything that is wrong with it.
    CheckConfig {
        /// The configuration file (TOML); deploy/voltree.toml shows every key.
        file: PathBuf,
    },
    /// Say what this machine can and can't do for a node (ports, serial devices, disk, clock), and the next step for each.
    Doctor(doctor::DoctorOptions),
    /// Replay a recorded battery (CSV) into a running node, as one more device that publishes over MQTT.
    Replay(replay::ReplayOptions),
    /// Simulate devices on the real wires that real ones use.
    Simulate(simulate::SimulateOptions),
    /// Decode recorded frames and print what they say, one JSON line each.
    Decode(decode::DecodeOptions),
    /// Carry out a plan of faults against a simulated fleet of its own, and score how the node stood it.
    Chaos(chaos::ChaosOptions),
    /// Find out what hangs on a serial port and print a configuration for it.
    Probe(probe::ProbeOptions),
    /// List the batteries that can be heard, with a configuration for each.
    Scan(scan::ScanOptions),
    /// Hash a password for the configuration, which never holds the password itself.
    Passwd,
    /// List a running node's devices and who waits to be one; adopt them or send them away.
    Device(device::DeviceOptions),
    /// See what messages of other conventions (Tasmota, Zigbee2MQTT, Shelly, …) become, and which of them come along.
    #[command(subcommand)]
    Mapping(mapping::MappingCommand),
    /// Print the ledger of a data directory: what became of every reading of every device.
    Ledger(ledger::LedgerOptions),
    /// Write what a data directory holds as line protocol or CSV.
    Export(export::ExportOptions),
    /// Bring what was exported, line protocol, or a recorded battery into a running node, with the times it has.
    Import(import::ImportOptions),
    /// Copy a data directory whole, while its node runs or not; the next time only what changed.
    Backup(backup::BackupOptions),
    /// Make a data directory of a backup.
    Restore(backup::RestoreOptions),
    /// Look over, verify or compact the data directory of a node that does not run.
    #[command(subcommand)]
    Storage(storage::StorageCommand),
    /// Lead the conversations of a flight report again, and say whether they come to the same readings and reason.
    Postmortem(postmortem::PostmortemOptions),
    /// Measure what this build can do on this machine.
    #[command(subcommand)]
    Bench(bench::Bench),
}

#[derive(Debug, Args)]
struct RunOptions {
    /// The configuration file (TOML); deploy/voltree.toml shows every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Serve console, API, health and metrics here instead of where the file says; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Listen for MQTT here instead of where the file says; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<SocketAddr>,
    /// Keep data here instead of where the file says.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs what the command line asks for.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not mistakes. If even the terminal is gone there is nobody to tell.
            error.print().ok();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            if error.downcast_ref::<ConfigError>().is_some() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(options) => demo::run(options),
        Command::Run(options) => run_node(options),
        Command::CheckConfig { file } => {
            let config = Config::read(&file, &Environment::of_process())?;
            say(&format!(
                "{} is valid: {} device(s) besides those that publish by themselves",
                file.display(),
                config.packs.len()
            ));
            Ok(())
        }
        Command::Doctor(options) => doctor::run(&options),
        Command::Replay(options) => replay::run(&options),
        Command::Simulate(options) => simulate::run(options),
        Command::Decode(options) => decode::run(&options),
        Command::Chaos(options) => chaos::run(options),
        Command::Probe(options) => probe::run(&options),
        Command::Scan(options) => scan::run(&options),
        Command::Passwd => passwd::run(),
        Command::Device(options) => device::run(&options),
        Command::Mapping(command) => mapping::run(command),
        Command::Ledger(options) => ledger::run(&options),
        Command::Export(options) => export::run(&options),
        Command::Import(options) => import::run(&options),
        Command::Backup(options) => backup::run(&options),
        Command::Restore(options) => backup::restore(&options),
        Command::Storage(command) => storage::run(&command),
        Command::Postmortem(options) => postmortem::run(&options),
        Command::Bench(bench) => bench::run(&bench),
    }
}

fn run_node(options: RunOptions) -> anyhow::Result<()> {
    let environment = Environment::of_process();
    let mut config = Config::read(&options.config, &environment)?;
    config.http_listen = options.http.unwrap_or(config.http_listen);
    config.mqtt_listen = options.mqtt.unwrap_or(config.mqtt_listen);
    config.data_dir = options.data.unwrap_or(config.data_dir);
    node::block_on(async {
        let node = node::Node::prepare(config, &environment)?;
        say(&node.welcome());
        node.run(node::stop_signal()?).await
    })
}

/// Prints a line for the person or program that started us; logs go to stderr. One that no longer listens is no reason
/// to stop working.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}

fn complain(error: &anyhow::Error) {
    writeln!(std::io::stderr(), "voltree: {error:#}").ok();
}
