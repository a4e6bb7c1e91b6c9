//! Links over the network against simulated devices on real sockets: raw gateways and Modbus servers.
#![cfg(all(feature = "serial", feature = "sim"))]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;
use voltree_protocols::bms::Driver;
use voltree_protocols::bms::daly_uart::{Board, CurrentSign, DalyConfig};
use voltree_protocols::bms::sunspec::SunspecConfig;
use voltree_protocols::link::{AnyLink, CycleError, Link, LinkAddress, LinkError, run_cycle};
use voltree_protocols::sim::{
    DalySim, LinePace, ModbusTcpSide, PackConfig, Profile, SimPack, SunspecSim, TcpSim,
};

const BOUND: Duration = Duration::from_secs(30);
const ANYWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

fn pack(amps: f64) -> SimPack {
    let mut pack = SimPack::new(PackConfig { profile: Profile::Rest, ..PackConfig::default() });
    pack.set_current(amps);
    pack
}

fn pace() -> LinePace {
    LinePace { baud: 115_200, ..LinePace::default() }
}

fn daly(amps: f64) -> DalySim {
    DalySim::new(pack(amps), Board::FIRST, CurrentSign::Normal)
}

fn at(url: &str) -> LinkAddress {
    LinkAddress::parse(url, 9600).expect("the address is one")
}

async fn read(link: &mut AnyLink, driver: &Driver) -> Result<f64, CycleError> {
    let mut poll = driver.poll();
    let reading = timeout(BOUND, run_cycle(link, &mut *poll)).await.expect("a cycle ends")?;
    Ok(reading.pack_current.expect("a pack has a current").0)
}

#[tokio::test]
async fn a_serial_protocol_runs_over_a_gateway_as_over_a_line() {
    let sim = TcpSim::spawn(daly(12.5), pace(), ANYWHERE.into()).await.unwrap();
    let mut link = AnyLink::open(&at(sim.path().to_str().unwrap())).await.unwrap();
    let driver = Driver::Daly(DalyConfig::default());
    for _ in 0..2 {
        assert!((read(&mut link, &driver).await.unwrap() - 12.5).abs() < 0.051);
    }
    assert_eq!(sim.stats().cycles_completed(), 2);
    // Another client may come while the first is still there.
    let mut second = AnyLink::open(&at(sim.path().to_str().unwrap())).await.unwrap();
    read(&mut second, &driver).await.unwrap();
    assert_eq!(sim.stats().cycles_completed(), 3);
}

#[tokio::test]
async fn a_gateway_that_goes_is_a_hang_up_and_one_that_is_not_there_refuses() {
    let sim = TcpSim::spawn(daly(1.0), pace(), ANYWHERE.into()).await.unwrap();
    let address = at(sim.path().to_str().unwrap());
    let mut link = AnyLink::open(&address).await.unwrap();
    let driver = Driver::Daly(DalyConfig::default());
    read(&mut link, &driver).await.unwrap();
    sim.stop().await.unwrap();
    let error = read(&mut link, &driver).await.unwrap_err();
    assert!(matches!(error, CycleError::Link(LinkError::HangUp { .. })), "{error:?}");
    let error = AnyLink::open(&address).await.unwrap_err();
    assert!(matches!(error, LinkError::Refused { .. }), "{error:?}");
    let error = AnyLink::open(&at("tcp://no-such-host.invalid:4196")).await.unwrap_err();
    assert!(matches!(error, LinkError::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn a_sunspec_battery_answers_over_modbus_tcp() {
    let device = SunspecSim::new(pack(-20.5), 9, 40_000, CurrentSign::Normal);
    let sim = TcpSim::spawn(ModbusTcpSide::new(device), pace(), ANYWHERE.into()).await.unwrap();
    let url = sim.path().to_str().unwrap().replace("tcp://", "modbus-tcp://");
    let mut link = AnyLink::open(&at(&url)).await.unwrap();
    let driver = Driver::Sunspec(SunspecConfig { unit: 9, current_sign: CurrentSign::Auto });
    for _ in 0..2 {
        assert!((read(&mut link, &driver).await.unwrap() + 20.5).abs() < 0.051);
    }
    assert_eq!(sim.stats().cycles_completed(), 2);
}

#[tokio::test]
async fn a_server_of_something_else_is_told_from_a_silent_one() {
    let listener = TcpListener::bind(SocketAddr::from(ANYWHERE)).await.unwrap();
    let address = at(&format!("modbus-tcp://{}", listener.local_addr().unwrap()));
    let other = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
        stream
    };
    let (link, _stream) = tokio::join!(AnyLink::open(&address), other);
    let mut link = link.unwrap();
    link.discard_input().unwrap();
    let error = link.read_some(&mut [0; 64], BOUND).await.unwrap_err();
    assert!(matches!(error, LinkError::Other { doing: "understand", .. }), "{error:?}");
}
