//! One battery of every kind, on every kind of wire that this machine can carry without hardware.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use voltree_model::DeviceId;
use voltree_protocols::bms::Driver;
use voltree_protocols::bms::daly_bluetooth::RegisterConfig;
use voltree_protocols::bms::daly_uart::{CurrentSign, DalyConfig};
use voltree_protocols::bms::foxbms::{Dialect, FoxbmsConfig};
use voltree_protocols::bms::jbd::JbdConfig;
use voltree_protocols::bms::libre_solar::ThingsetCanConfig;
use voltree_protocols::bms::sunspec::SunspecConfig;
use voltree_protocols::bms::telecom::{Maker, TelecomConfig};
use voltree_protocols::link::LinkAddress;
use voltree_protocols::sim::{
    DeviceSide, LinePace, ModbusTcpSide, PtySim, SimHandle, SimPack, SlcanSide, SocketcandSide, TcpSim,
};

use super::character;
use crate::config::PackConfig;
use crate::simulate::{DalyProtocol, Kind, Side};

/// Where a battery of the demo is put.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Pty,
    Tcp,
    ModbusTcp,
    Slcan,
    Socketcand,
}

struct Exhibit {
    id: &'static str,
    name: &'static str,
    kind: Kind,
    place: Place,
    driver: Driver,
}

const BUS: &str = "can0";

fn exhibits() -> Vec<Exhibit> {
    let exhibit = |id, name, kind, place, driver| Exhibit { id, name, kind, place, driver };
    let daly = |protocol| Kind::Daly { boards: 1, protocol };
    let registers = RegisterConfig::default();
    let telecom = |maker: Maker| TelecomConfig { maker, address: maker.first_address() };
    let sunspec = SunspecConfig { unit: 1, current_sign: CurrentSign::Auto };
    let a5 = DalyProtocol::A5;
    let libre_can = Driver::LibreSolarCan(ThingsetCanConfig::default());
    vec![
        exhibit("daly", "Daly, serial", daly(a5), Place::Pty, Driver::Daly(DalyConfig::default())),
        exhibit(
            "daly-gateway",
            "Daly, TCP gateway",
            daly(a5),
            Place::Tcp,
            Driver::Daly(DalyConfig::default()),
        ),
        exhibit("daly-can", "Daly, CAN", daly(a5), Place::Slcan, Driver::DalyCan(DalyConfig::default())),
        exhibit(
            "daly-d2",
            "Daly, registers D2",
            daly(DalyProtocol::D2),
            Place::Pty,
            Driver::DalyRegisters(registers),
        ),
        exhibit(
            "daly-p81",
            "Daly, registers P81",
            daly(DalyProtocol::P81),
            Place::Pty,
            Driver::DalyRegisters(registers),
        ),
        exhibit(
            "foxbms",
            "foxBMS 2, SLCAN",
            Kind::Foxbms(Dialect::V1_11),
            Place::Slcan,
            Driver::Foxbms(FoxbmsConfig::default()),
        ),
        exhibit(
            "foxbms-older",
            "foxBMS 2, socketcand",
            Kind::Foxbms(Dialect::V1_7),
            Place::Socketcand,
            Driver::Foxbms(FoxbmsConfig::default()),
        ),
        exhibit("green", "Green BMS", Kind::Green, Place::Pty, Driver::Green),
        exhibit("jbd", "JBD", Kind::Jbd, Place::Pty, Driver::Jbd(JbdConfig::default())),
        exhibit("jk", "JK", Kind::Jk, Place::Pty, Driver::Jk),
        exhibit("libre-solar", "Libre Solar, serial", Kind::LibreSolar, Place::Pty, Driver::LibreSolar),
        exhibit("libre-solar-can", "Libre Solar, CAN", Kind::LibreSolar, Place::Slcan, libre_can),
        exhibit(
            "pylontech",
            "Pylontech",
            Kind::Telecom(Maker::Pylontech, 2),
            Place::Pty,
            Driver::Telecom(telecom(Maker::Pylontech)),
        ),
        exhibit(
            "seplos",
            "Seplos",
            Kind::Telecom(Maker::Seplos, 0),
            Place::Pty,
            Driver::Telecom(telecom(Maker::Seplos)),
        ),
        exhibit(
            "sunspec",
            "SunSpec, Modbus RTU",
            Kind::Sunspec { unit: 1 },
            Place::Pty,
            Driver::Sunspec(sunspec),
        ),
        exhibit(
            "sunspec-tcp",
            "SunSpec, Modbus TCP",
            Kind::Sunspec { unit: 1 },
            Place::ModbusTcp,
            Driver::Sunspec(sunspec),
        ),
    ]
}

/// Opens them all, and tells how to reach them.
pub(super) async fn batteries() -> anyhow::Result<Vec<(PackConfig, SimHandle)>> {
    let mut batteries = Vec::new();
    for (number, exhibit) in (1..).zip(exhibits()) {
        let id = exhibit.id;
        let sim = exhibit.open(number).await.with_context(|| format!("opening the simulated {id}"))?;
        let config = PackConfig {
            id: DeviceId::new(id)?,
            name: exhibit.name.to_owned(),
            labels: BTreeMap::new(),
            address: exhibit.address(&sim)?,
            poll_interval: Duration::from_secs(1),
            driver: exhibit.driver,
            invert_current: false,
            allow_write: false,
        };
        batteries.push((config, sim));
    }
    Ok(batteries)
}

impl Exhibit {
    async fn open(&self, number: u16) -> anyhow::Result<SimHandle> {
        let on_bus = matches!(self.place, Place::Slcan | Place::Socketcand);
        let (_, side) = self.kind.make(on_bus, |_| SimPack::new(character(number)))?;
        let pace =
            LinePace { baud: if on_bus { 2_000_000 } else { self.kind.usual_baud() }, ..LinePace::default() };
        let device: Box<dyn DeviceSide> = match (side, self.place) {
            (Side::Modbus(device), Place::ModbusTcp) => Box::new(ModbusTcpSide::new(device)),
            (Side::Bytes(device) | Side::Modbus(device), _) => device,
            (Side::Can(device), Place::Socketcand) => Box::new(SocketcandSide::new(device, BUS)),
            (Side::Can(device), _) => Box::new(SlcanSide::new(device)),
        };
        Ok(match self.place {
            Place::Pty | Place::Slcan => PtySim::spawn(device, pace)?,
            Place::Tcp | Place::ModbusTcp | Place::Socketcand => {
                TcpSim::spawn(device, pace, ([127, 0, 0, 1], 0).into()).await?
            }
        })
    }

    fn address(&self, sim: &SimHandle) -> anyhow::Result<LinkAddress> {
        let path = sim.path().display().to_string();
        let host = path.trim_start_matches("tcp://");
        let url = match self.place {
            Place::Pty | Place::Tcp => path,
            Place::ModbusTcp => format!("modbus-tcp://{host}"),
            Place::Slcan => format!("slcan://{path}?bitrate=500000"),
            Place::Socketcand => format!("socketcand://{host}/{BUS}"),
        };
        Ok(LinkAddress::parse(&url, self.driver.default_baud())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_kind_is_shown_on_a_wire_that_carries_it() {
        let kinds: Vec<_> = exhibits().iter().map(|exhibit| exhibit.driver.kind()).collect();
        // A device that is described by a table is nobody's in particular.
        for kind in Driver::KINDS.into_iter().filter(|kind| *kind != "modbus_bms") {
            assert!(kinds.contains(&kind), "{kind}");
        }
    }
}
