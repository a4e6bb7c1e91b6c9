//! The wires of a simulated battery: which one is wanted, and serving a device on it.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use voltree_protocols::sim::{
    DeviceSide, FaultRates, Flaky, LinePace, ModbusTcpSide, PtySim, SimHandle, SlcanSide, SocketcandSide,
    TcpSim,
};

use super::kinds::Side;
use super::link::PtyLink;

/// Exactly one wire.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct WireOptions {
    /// Where to put the serial port: a link of this name is made and removed at the end.
    #[arg(long, value_name = "PATH")]
    pty: Option<PathBuf>,
    /// Listen here as a gateway that passes on the line's bytes.
    #[arg(long, value_name = "ADDR")]
    tcp: Option<SocketAddr>,
    /// Listen here as a Modbus server.
    #[arg(long, value_name = "ADDR")]
    modbus_tcp: Option<SocketAddr>,
    /// Where to put the port of a CAN adapter that speaks SLCAN.
    #[arg(long, value_name = "PATH")]
    slcan: Option<PathBuf>,
    /// Listen here as a socketcand with a bus can0.
    #[arg(long, value_name = "ADDR")]
    socketcand: Option<SocketAddr>,
}

/// The only bus of a simulated socketcand.
const BUS: &str = "can0";

impl WireOptions {
    /// Whether it is a CAN bus.
    pub(super) const fn is_bus(&self) -> bool {
        self.slcan.is_some() || self.socketcand.is_some()
    }

    /// What a node's configuration says as `port`.
    pub(super) fn place(&self, sim: &SimHandle) -> String {
        let url = sim.path().display().to_string();
        let listens = url.trim_start_matches("tcp://");
        match self {
            Self { pty: Some(path), .. } => path.display().to_string(),
            Self { slcan: Some(path), .. } => format!("slcan://{}?bitrate=500000", path.display()),
            Self { modbus_tcp: Some(_), .. } => format!("modbus-tcp://{listens}"),
            Self { socketcand: Some(_), .. } => format!("socketcand://{listens}/{BUS}"),
            _ => url,
        }
    }
}

/// Serves a device on the wire that is wanted, if it can be spoken there.
pub(super) async fn serve(
    options: &WireOptions,
    side: Side,
    pace: LinePace,
    rates: FaultRates,
    seed: u64,
) -> anyhow::Result<(SimHandle, Option<PtyLink>)> {
    let flaky = |device| Flaky::<Box<dyn DeviceSide>>::new(device, rates, seed);
    let device: Box<dyn DeviceSide> = match (side, options) {
        (Side::Bytes(device) | Side::Modbus(device), WireOptions { pty: Some(_), .. })
        | (Side::Bytes(device) | Side::Modbus(device), WireOptions { tcp: Some(_), .. }) => device,
        (Side::Modbus(device), WireOptions { modbus_tcp: Some(_), .. }) => {
            Box::new(ModbusTcpSide::new(device))
        }
        (Side::Can(device), WireOptions { slcan: Some(_), .. }) => Box::new(SlcanSide::new(device)),
        (Side::Can(device), WireOptions { socketcand: Some(_), .. }) => {
            Box::new(SocketcandSide::new(device, BUS))
        }
        (Side::Bytes(_), _) => bail!("such boards have a serial port: use --pty or --tcp"),
        (Side::Modbus(_), _) => bail!("such devices speak Modbus: use --pty, --tcp or --modbus-tcp"),
        (Side::Can(_), _) => bail!("such boards are on a CAN bus: use --slcan or --socketcand"),
    };
    if let Some(path) = options.pty.as_ref().or(options.slcan.as_ref()) {
        let sim = PtySim::spawn(flaky(device), pace).context("opening a pty")?;
        let link = PtyLink::create(path, sim.path())?;
        return Ok((sim, Some(link)));
    }
    let listen = options.tcp.or(options.modbus_tcp).or(options.socketcand).context("no wire was named")?;
    let sim = TcpSim::spawn(flaky(device), pace, listen).await;
    Ok((sim.with_context(|| format!("listening on {listen}; is the port free?"))?, None))
}
