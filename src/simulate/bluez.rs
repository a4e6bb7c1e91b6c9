//! Batteries in the air of a simulated BlueZ, for any program that speaks to BlueZ over D-Bus.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use voltree_protocols::bms::daly_bluetooth::RegisterDialect;
use voltree_protocols::bms::daly_uart::{Board, CurrentSign};
use voltree_protocols::bms::jk::Generation;
use voltree_protocols::link::gatt::{BleAddress, Gatt};
use voltree_protocols::sim::{
    AirDevice, AirFaults, BluezSim, DalyRegistersSim, DalySim, DeviceSide, JbdSim, Jk02Sim, LibreSolarAirSim,
    PackConfig, Profile, SimPack,
};

use crate::cli::say;
use crate::node;

/// Who is in the air, and what goes wrong there.
#[derive(Debug, Args)]
pub(super) struct BluezOptions {
    /// The D-Bus to take the place of BlueZ on; never the machine's own [default: what `DBUS_SYSTEM_BUS_ADDRESS` says].
    #[arg(long, value_name = "ADDRESS")]
    bus: Option<String>,
    /// A battery: jk, jk24, jbd, daly-d2, daly-p81, daly-a5 or libre-solar, and its address. `dead` is heard and can't be connected.
    #[arg(value_name = "KIND@AA:BB:CC:DD:EE:FF", required = true)]
    batteries: Vec<Battery>,
    /// The share of connections that are refused.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    refuse: f64,
    /// The share of packets in the middle of which the connection is cut.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    cut: f64,
    /// How many connections the adapter stands at once; 0 for any number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    most: u64,
    /// Switch the adapter off and on once after so many seconds, as the reset of a USB port does.
    #[arg(long, value_name = "SECONDS")]
    power_cycle_after: Option<f64>,
    /// Refuse every connection until the adapter is switched off and on, as one does whose firmware hangs.
    #[arg(long)]
    wedged: bool,
    /// Decides which connections and packets faults befall.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Print what was counted every so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    status_every: f64,
}

/// How much most modules carry at once: they agree on the longest packets, and clients count on answers in one piece.
const PACKET: usize = 244;
/// How much JK's carry: a record comes in three.
const JK_PACKET: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Jk(Generation),
    Jbd,
    DalyRegisters(RegisterDialect),
    DalyFrames,
    LibreSolar,
    Dead,
}

#[derive(Debug, Clone)]
struct Battery {
    kind: Kind,
    address: BleAddress,
}

impl FromStr for Battery {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, address) = text.split_once('@').ok_or("lacks an address, as in jk@AA:BB:CC:DD:EE:FF")?;
        let kind = match kind {
            "jk" => Kind::Jk(Generation::Cells32),
            "jk24" => Kind::Jk(Generation::Cells24),
            "jbd" => Kind::Jbd,
            "daly-d2" => Kind::DalyRegisters(RegisterDialect::D2),
            "daly-p81" => Kind::DalyRegisters(RegisterDialect::P81),
            "daly-a5" => Kind::DalyFrames,
            "libre-solar" => Kind::LibreSolar,
            "dead" => Kind::Dead,
            other => {
                return Err(format!(
                    "{other:?} is none of jk, jk24, jbd, daly-d2, daly-p81, daly-a5, libre-solar, dead"
                ));
            }
        };
        let address = address.parse().map_err(|error| format!("{address:?} is {error}"))?;
        Ok(Self { kind, address })
    }
}

impl Battery {
    fn in_the_air(&self, number: u64) -> AirDevice {
        let pack = SimPack::new(PackConfig { profile: Profile::Rest, seed: number, ..PackConfig::default() });
        let sign = CurrentSign::Normal;
        let (name, gatt, maker, board): (_, _, Option<u16>, Box<dyn DeviceSide>) = match self.kind {
            Kind::Jk(generation) => {
                ("JK-B2A24S15P", Gatt::JK, Some(0x0B65), Box::new(Jk02Sim::new(pack, generation)))
            }
            Kind::Jbd => ("JBD-SP16S", Gatt::JBD, None, Box::new(JbdSim::new(pack))),
            Kind::DalyRegisters(dialect) => (
                "DL-SIMULATED",
                Gatt::DALY,
                Some(0x0102),
                Box::new(DalyRegistersSim::new(pack, dialect, sign)),
            ),
            Kind::LibreSolar => {
                ("LibreSolar BMS-C1", Gatt::LIBRE_SOLAR, None, Box::new(LibreSolarAirSim::new(pack)))
            }
            Kind::DalyFrames | Kind::Dead => {
                ("DL-SIMULATED", Gatt::DALY, Some(0x0102), Box::new(DalySim::new(pack, Board::FIRST, sign)))
            }
        };
        AirDevice {
            address: self.address,
            name: name.to_owned(),
            makers: maker
                .map(|maker| (maker, self.address.0.to_vec()))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
            gatt,
            packet: if gatt == Gatt::JK { JK_PACKET } else { PACKET },
            dead: self.kind == Kind::Dead,
            board,
        }
    }
}

/// Simulates until Ctrl-C.
pub(super) fn run(options: &BluezOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("starting the async runtime")?.block_on(serve(options))
}

async fn serve(options: &BluezOptions) -> anyhow::Result<()> {
    let stopped = node::stop_signal()?;
    let bus = options.bus.clone().or_else(|| std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok());
    let bus = bus.context(
        "no bus: give --bus, or set DBUS_SYSTEM_BUS_ADDRESS, to the address of a dbus-daemon of your own",
    )?;
    let devices = (1..).zip(&options.batteries).map(|(number, battery)| battery.in_the_air(number)).collect();
    let BluezOptions { refuse, cut, most, seed, .. } = *options;
    let power_cycle_after =
        options.power_cycle_after.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0)));
    let faults = AirFaults { refuse, cut, most, power_cycle_after, wedged: options.wedged, seed };
    let sim = BluezSim::spawn(&bus, devices, faults).await;
    let sim = sim.with_context(|| format!("taking the name org.bluez on {bus}"))?;
    say(&json!({ "bus": bus, "batteries": options.batteries.len() }).to_string());
    tokio::select! {
        () = stopped => {}
        () = tell(options, &sim) => {}
    }
    say(&status(options, &sim));
    Ok(())
}

async fn tell(options: &BluezOptions, sim: &BluezSim) {
    let mut ticks =
        tokio::time::interval(Duration::from_secs_f64(options.status_every.clamp(0.05, 86_400.0)));
    loop {
        ticks.tick().await;
        say(&status(options, sim));
    }
}

fn status(options: &BluezOptions, sim: &BluezSim) -> String {
    let batteries: Vec<_> = options
        .batteries
        .iter()
        .zip(sim.stats())
        .map(|(battery, stats)| {
            json!({
                "address": battery.address.to_string(),
                "requests": stats.board.requests(),
                "measurements": stats.board.measurements(),
                "connects": stats.connects(),
                "refused": stats.refused(),
                "cuts": stats.cuts(),
            })
        })
        .collect();
    let adapter = sim.adapter();
    json!({
        "standing": adapter.standing(),
        "peak": adapter.peak(),
        "power_cycles": adapter.power_cycles(),
        "batteries": batteries,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_battery_is_a_kind_and_an_address() {
        let battery: Battery = "jk@C8:47:80:00:00:01".parse().unwrap();
        assert_eq!(battery.kind, Kind::Jk(Generation::Cells32));
        assert!("jk".parse::<Battery>().unwrap_err().contains("lacks an address"));
        assert!("ant@C8:47:80:00:00:01".parse::<Battery>().unwrap_err().contains("none of"));
        assert!("jk@C8".parse::<Battery>().unwrap_err().contains("six pairs"));
    }
}
