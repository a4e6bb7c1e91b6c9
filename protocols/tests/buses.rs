//! Boards on CAN behind every kind of adapter, and boards that speak in registers or in ThingSet text, against their
//! simulators on real ptys and sockets.
#![cfg(all(feature = "serial", feature = "sim"))]
#![expect(clippy::panic, reason = "the helpers of a test fail it by panicking")]

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;
use voltree_model::{PackReading, PackState};
use voltree_protocols::bms::Driver;
use voltree_protocols::bms::daly_bluetooth::{RegisterConfig, RegisterDialect};
use voltree_protocols::bms::daly_uart::{Board, CurrentSign, DalyConfig};
use voltree_protocols::bms::foxbms::{Dialect, FoxbmsConfig};
use voltree_protocols::bms::libre_solar::ThingsetCanConfig;
use voltree_protocols::codec::PollError;
use voltree_protocols::link::{AnyLink, CycleError, LinkAddress, LinkError, run_cycle};
use voltree_protocols::sim::{
    DalyCanSim, DalyRegistersSim, DeviceSide, Flaky, FoxbmsSim, HasPack, LibreSolarCanSim, LibreSolarSim,
    LinePace, PackConfig, Profile, PtySim, SimHandle, SimPack, SlcanSide, SocketcandSide, TcpSim,
};

const BOUND: Duration = Duration::from_secs(30);

fn pack(cells: u8, amps: f64) -> SimPack {
    let mut pack = SimPack::new(PackConfig { cells, profile: Profile::Rest, ..PackConfig::default() });
    pack.set_current(amps);
    pack
}

/// What an adapter on USB is like.
fn usb() -> LinePace {
    LinePace { baud: 2_000_000, turnaround: Duration::from_millis(1) }
}

fn slcan(sim: &SimHandle) -> LinkAddress {
    address(&format!("slcan://{}?bitrate=500000", sim.path().display()))
}

fn address(url: &str) -> LinkAddress {
    LinkAddress::parse(url, 9600).expect("the address is one")
}

async fn open(address: &LinkAddress) -> AnyLink {
    AnyLink::open(address).await.expect("the simulator is there")
}

async fn read(link: &mut AnyLink, driver: &Driver) -> PackReading {
    let mut poll = driver.poll();
    let read = timeout(BOUND, run_cycle(link, &mut *poll)).await.expect("a cycle ends");
    read.unwrap_or_else(|error| panic!("{error:?}"))
}

/// Holds a reading against the pack that it is of.
fn agrees(reading: &PackReading, device: &Mutex<impl HasPack>, amps_step: f64) {
    let mut device = device.lock();
    let pack = device.pack_mut();
    let volts = reading.pack_voltage.expect("a pack has a voltage").0;
    assert!((volts - pack.volts()).abs() < 0.12, "{volts} V, not {}", pack.volts());
    let amps = reading.pack_current.expect("a pack has a current").0;
    assert!((amps - pack.amps()).abs() <= amps_step, "{amps} A, not {}", pack.amps());
    let soc = reading.soc.expect("a pack has a charge").0;
    assert!((soc - pack.board_soc_percent()).abs() < 0.6, "{soc} %");
    // Places of a group past the last cell are there and not valid.
    let cells: Vec<f64> = reading.cell_voltages.iter().flatten().map(|cell| f64::from(cell.0)).collect();
    assert_eq!(cells.len(), pack.cell_volts().len());
    for (read, volts) in cells.iter().zip(pack.cell_volts()) {
        assert!((read - volts * 1000.0).abs() < 5.0, "{read} mV, not {volts} V");
    }
    let celsius: Vec<f64> = reading.temperatures.iter().flatten().map(|celsius| celsius.0).collect();
    assert_eq!(celsius.len(), pack.celsius().len());
    for (read, real) in celsius.iter().zip(pack.celsius()) {
        assert!((read - real).abs() < 1.1, "{read} °C, not {real}");
    }
    assert!(reading.faults.is_empty() && reading.warnings.is_empty(), "{reading:?}");
}

fn shared<D>(device: D) -> Arc<Mutex<D>> {
    Arc::new(Mutex::new(device))
}

#[tokio::test]
async fn a_daly_board_on_can_is_read_through_an_adapter_and_through_a_server() {
    let device = shared(DalyCanSim::new(pack(14, 12.5), Board::new(3).expect("it is"), CurrentSign::Normal));
    let driver =
        Driver::DalyCan(DalyConfig { board: Board::new(3).expect("it is"), ..DalyConfig::default() });
    let pty = PtySim::spawn(SlcanSide::new(Arc::clone(&device)), usb()).expect("a pty");
    let mut link = open(&slcan(&pty)).await;
    for _ in 0..2 {
        agrees(&read(&mut link, &driver).await, &device, 0.051);
    }
    assert_eq!(pty.stats().cycles_completed(), 2);
    let served = SocketcandSide::new(Arc::clone(&device), "can0");
    let tcp = TcpSim::spawn(served, usb(), ([127, 0, 0, 1], 0).into()).await.expect("a port");
    let url = tcp.path().display().to_string().replace("tcp://", "socketcand://");
    let mut link = open(&address(&format!("{url}/can0"))).await;
    agrees(&read(&mut link, &driver).await, &device, 0.051);
    let refused = AnyLink::open(&address(&format!("{url}/can7"))).await;
    assert!(matches!(refused, Err(LinkError::Other { doing: "open the bus of", .. })), "{refused:?}");
}

#[tokio::test]
async fn a_board_that_is_not_on_the_bus_gives_no_answer() {
    let device = DalyCanSim::new(pack(14, 12.5), Board::FIRST, CurrentSign::Normal);
    let pty = PtySim::spawn(SlcanSide::new(device), usb()).expect("a pty");
    let mut link = open(&slcan(&pty)).await;
    let driver =
        Driver::DalyCan(DalyConfig { board: Board::new(2).expect("it is"), ..DalyConfig::default() });
    let read = timeout(BOUND, run_cycle(&mut link, &mut *driver.poll())).await.expect("a cycle ends");
    assert!(matches!(read, Err(CycleError::Poll(PollError::NoAnswer { .. }))), "{read:?}");
}

async fn foxbms(dialect: Dialect, cells: u8) {
    let device = shared(FoxbmsSim::new(pack(cells, -40.0), dialect));
    let pty = PtySim::spawn(SlcanSide::new(Arc::clone(&device)), usb()).expect("a pty");
    let mut link = open(&slcan(&pty)).await;
    let driver = Driver::Foxbms(FoxbmsConfig::default());
    let mut poll = driver.poll();
    for _ in 0..3 {
        let reading = timeout(BOUND, run_cycle(&mut link, &mut *poll)).await.expect("a cycle ends");
        let reading = reading.unwrap_or_else(|error| panic!("{error:?}"));
        agrees(&reading, &device, 0.011);
        assert_eq!((reading.state, reading.charge_enabled), (Some(PackState::Discharging), Some(true)));
    }
}

#[tokio::test]
async fn what_foxbms_broadcasts_becomes_readings_in_both_dialects() {
    tokio::join!(foxbms(Dialect::V1_11, 14), foxbms(Dialect::V1_7, 14), foxbms(Dialect::V1_11, 48));
}

#[tokio::test]
async fn a_libre_solar_board_is_read_as_text_and_on_can() {
    let device = shared(LibreSolarSim::new(pack(8, -2.5)));
    let pty = PtySim::spawn(Arc::clone(&device), usb()).expect("a pty");
    let mut link = open(&address(pty.path().to_str().expect("a path is text"))).await;
    agrees(&read(&mut link, &Driver::LibreSolar).await, &device, 0.0006);

    let device = shared(LibreSolarCanSim::new(pack(16, 7.25), 10));
    let pty = PtySim::spawn(SlcanSide::new(Arc::clone(&device)), usb()).expect("a pty");
    let mut link = open(&slcan(&pty)).await;
    for node in [None, Some(10)] {
        let driver = Driver::LibreSolarCan(ThingsetCanConfig { node });
        agrees(&read(&mut link, &driver).await, &device, 0.0006);
    }
    let other = Driver::LibreSolarCan(ThingsetCanConfig { node: Some(11) });
    let read = timeout(BOUND, run_cycle(&mut link, &mut *other.poll())).await.expect("a cycle ends");
    assert!(matches!(read, Err(CycleError::Poll(PollError::Garbled { .. }))), "{read:?}");
}

#[tokio::test]
async fn the_table_of_a_boards_registers_is_found_out() {
    for dialect in [RegisterDialect::D2, RegisterDialect::P81] {
        let device = shared(DalyRegistersSim::new(pack(14, -8.9), dialect, CurrentSign::Inverted));
        let pty = PtySim::spawn(Arc::clone(&device), LinePace::default()).expect("a pty");
        let mut link = open(&address(pty.path().to_str().expect("a path is text"))).await;
        let mut poll = Driver::DalyRegisters(RegisterConfig::default()).poll();
        let mut last = None;
        for _ in 0..4 {
            let reading = timeout(BOUND, run_cycle(&mut link, &mut *poll)).await.expect("a cycle ends");
            last = Some(reading.unwrap_or_else(|error| panic!("{dialect:?}: {error:?}")));
        }
        agrees(&last.expect("it was read"), &device, 0.051);
    }
}

/// A line of text has no checksum, so faults here are those that a line shows: bytes between, lines cut, lines lost.
async fn under_faults(
    device: impl DeviceSide + 'static,
    driver: Driver,
    url: impl Fn(&SimHandle) -> LinkAddress,
) {
    let rates = "drop=0.03,cut=0.03,garbage=0.1,delay=0.02".parse().expect("these are rates");
    let pty = PtySim::spawn(Flaky::new(device, rates, 7), usb()).expect("a pty");
    let mut link = open(&url(&pty)).await;
    let mut poll = driver.poll();
    let mut read = 0;
    for _ in 0..6 {
        match timeout(BOUND, run_cycle(&mut link, &mut *poll)).await.expect("a cycle ends") {
            Ok(reading) => {
                read += 1;
                let amps = reading.pack_current.map(|amps| amps.0);
                assert!(amps.is_none_or(|amps| (amps - 5.0).abs() < 0.06), "{driver:?}: {amps:?}");
            }
            Err(CycleError::Poll(_)) => {}
            Err(error @ CycleError::Link(_)) => panic!("{driver:?}: {error:?}"),
        }
    }
    assert!(read >= 2, "{driver:?}: {read} of 6 polls were read");
}

#[tokio::test]
async fn a_bad_line_costs_readings_and_never_makes_wrong_ones() {
    let path = |sim: &SimHandle| address(sim.path().to_str().expect("a path is text"));
    let daly = DalyCanSim::new(pack(14, 5.0), Board::FIRST, CurrentSign::Normal);
    let foxbms = FoxbmsSim::new(pack(14, 5.0), Dialect::V1_11);
    let registers = DalyRegistersSim::new(pack(14, 5.0), RegisterDialect::D2, CurrentSign::Normal);
    tokio::join!(
        under_faults(SlcanSide::new(daly), Driver::DalyCan(DalyConfig::default()), slcan),
        under_faults(SlcanSide::new(foxbms), Driver::Foxbms(FoxbmsConfig::default()), slcan),
        under_faults(LibreSolarSim::new(pack(14, 5.0)), Driver::LibreSolar, path),
        under_faults(
            SlcanSide::new(LibreSolarCanSim::new(pack(14, 5.0), 1)),
            Driver::LibreSolarCan(ThingsetCanConfig::default()),
            slcan
        ),
        under_faults(registers, Driver::DalyRegisters(RegisterConfig::default()), path),
    );
}
