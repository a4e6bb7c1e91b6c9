//! Every board's poll against its simulator: in memory and in virtual time, and over a real pty.
#![cfg(all(feature = "serial", feature = "sim"))]
#![expect(clippy::panic, reason = "the helpers of a test fail it by panicking")]

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::time::timeout;
use voltree_model::PackReading;
use voltree_protocols::bms::daly_uart::CurrentSign;
use voltree_protocols::bms::modbus::{Encoding, MapConfig, MapField, MapRow, Table, WordOrder};
use voltree_protocols::bms::{Driver, dialogue, jbd, jk, sunspec, telecom};
use voltree_protocols::codec::{PollCycle, PollError};
use voltree_protocols::link::{SerialLink, run_cycle};
use voltree_protocols::sim::{
    DeviceSide, Flaky, GreenSim, JbdSim, Jk02Sim, JkSim, LinePace, PackConfig, Profile, PtySim, SimPack,
    SunspecSim, TelecomSim,
};

const BOUND: Duration = Duration::from_secs(60);

/// One cycle in virtual time, 10 ms a frame.
fn cycle(poll: &mut dyn PollCycle, device: &mut impl DeviceSide) -> (Result<PackReading, PollError>, usize) {
    let frame_time = Duration::from_millis(10);
    let (mut now, mut ended) = (Duration::ZERO, 0);
    poll.begin(now);
    for _ in 0..2_000 {
        if poll.is_done() {
            return (poll.finish(), ended);
        }
        if let Some(request) = poll.next_request(now) {
            now += frame_time;
            for reply in device.handle_input(&request, Duration::ZERO) {
                ended += usize::from(reply.ends_cycle);
                for frame in reply.frames {
                    now += frame_time;
                    poll.handle_input(&frame, now);
                }
            }
        } else {
            now = now.max(poll.poll_timeout().expect("a running cycle wants to be woken"));
            poll.handle_timeout(now);
        }
    }
    panic!("the cycle never ended");
}

fn steady_pack(config: PackConfig, amps: f64) -> SimPack {
    let mut pack = SimPack::new(PackConfig { profile: Profile::Rest, ..config });
    pack.set_current(amps);
    pack
}

/// Half a step of each of a wire's scales, and what it does not carry.
#[derive(Clone, Copy)]
struct Scale {
    volts: f64,
    amps: f64,
    soc_percent: f64,
    celsius: f64,
    remaining_ah: Option<f64>,
    most_sensors: usize,
}

impl Scale {
    /// Over a real line the pack lives on between its answers: this much covers several seconds of it.
    fn of_a_living_pack(self) -> Self {
        Self {
            volts: self.volts + 0.01,
            soc_percent: self.soc_percent + 0.05,
            celsius: self.celsius + 0.05,
            remaining_ah: self.remaining_ah.map(|half| half + 0.1),
            ..self
        }
    }
}

/// Compares a reading with the pack that it is of.
fn agrees(reading: &PackReading, pack: &SimPack, scale: Scale) -> Result<(), TestCaseError> {
    let volts = reading.pack_voltage.expect("a pack has a voltage").0;
    prop_assert!((volts - pack.volts()).abs() <= scale.volts, "{} V, not {}", volts, pack.volts());
    let amps = reading.pack_current.expect("a pack has a current").0;
    prop_assert!((amps - pack.amps()).abs() <= scale.amps, "{} A, not {}", amps, pack.amps());
    let soc = reading.soc.expect("a pack has a charge").0;
    prop_assert!((soc - pack.board_soc_percent()).abs() <= scale.soc_percent, "{soc} %");
    prop_assert_eq!(reading.remaining_capacity.is_some(), scale.remaining_ah.is_some());
    if let Some((read, half)) = reading.remaining_capacity.zip(scale.remaining_ah) {
        prop_assert!((read.0 - pack.board_remaining_ah()).abs() <= half, "{} Ah", read.0);
    }
    prop_assert_eq!(reading.cell_voltages.len(), pack.cell_volts().len());
    for (read, volts) in reading.cell_voltages.iter().zip(pack.cell_volts()) {
        prop_assert!((f64::from(read.expect("a cell has a voltage").0) - volts * 1000.0).abs() <= 0.51);
    }
    let sensors = pack.celsius().len().min(scale.most_sensors);
    prop_assert_eq!(reading.temperatures.iter().flatten().count(), sensors);
    for (read, celsius) in reading.temperatures.iter().flatten().zip(pack.celsius()) {
        prop_assert!((read.0 - celsius).abs() <= scale.celsius, "{} °C, not {}", read.0, celsius);
    }
    let (charge, discharge) = pack.switches_closed();
    prop_assert!(reading.charge_enabled.is_none_or(|on| on == charge));
    prop_assert!(reading.discharge_enabled.is_none_or(|on| on == discharge));
    Ok(())
}

fn packs(cells: std::ops::RangeInclusive<u8>) -> impl Strategy<Value = SimPack> {
    let amps = prop_oneof![Just(0.0), 1.5..200.0f64, -200.0..-1.5f64];
    (cells, 2u8..=4, 5.0..95.0f64, -5.0..40.0f64, amps, any::<u64>(), any::<bool>()).prop_map(
        |(cells, sensors, soc, ambient, amps, seed, charge)| {
            let config = PackConfig {
                cells,
                sensors,
                start_soc_percent: soc,
                ambient_celsius: ambient,
                seed,
                ..PackConfig::default()
            };
            let mut pack = steady_pack(config, amps);
            pack.set_charge_closed(charge);
            pack
        },
    )
}

/// Reads a simulated board over a pty and compares; the board must count the same cycles.
async fn over_a_pty<D: DeviceSide + 'static>(
    driver: &Driver,
    device: D,
    pack: impl Fn(&D) -> SimPack,
    scale: Scale,
) {
    let device = Arc::new(Mutex::new(device));
    let pace = LinePace { baud: driver.default_baud(), ..LinePace::default() };
    let sim = PtySim::spawn(Arc::clone(&device), pace).expect("this machine has ptys");
    let path = sim.path().to_str().expect("the path of a pty is ASCII");
    let mut link = SerialLink::open(path, driver.default_baud()).expect("the pty was just made");
    let mut poll = driver.poll();
    for round in 1..=2u64 {
        let reading = timeout(BOUND, run_cycle(&mut link, &mut *poll)).await.expect("a cycle ends by itself");
        let reading = reading.expect("the line is clean");
        agrees(&reading, &pack(&device.lock()), scale.of_a_living_pack())
            .expect("the values are those of the pack");
        let counted = async {
            while sim.stats().cycles_completed() < round {
                tokio::task::yield_now().await;
            }
        };
        timeout(BOUND, counted).await.expect("the board counts the cycle");
    }
    assert_eq!(sim.stats().cycles_completed(), 2);
    assert_eq!(poll.bad_frames(), 0);
}

/// The line of these tests puts garbage before every other answer and spoils every fourth one.
fn over_a_bad_line(poll: &mut dyn PollCycle, device: impl DeviceSide, pack: &SimPack, scale: Scale) {
    let mut noisy = Flaky::new(device, "garbage=0.5,corrupt=0.25".parse().expect("rates"), 3);
    let mut good = 0;
    for _ in 0..30 {
        if let (Ok(reading), _) = cycle(poll, &mut noisy) {
            // Cells that were asked for in vain three times are left out, which is no untruth.
            if reading.cell_voltages.is_empty() {
                continue;
            }
            agrees(&reading, pack, scale).expect("a bad line costs time and no truth");
            good += 1;
        }
    }
    assert!(good >= 20, "only {good} of 30 cycles gave a reading");
    assert!(poll.bad_frames() > 0);
}

fn common_pack() -> SimPack {
    steady_pack(PackConfig::default(), -42.0)
}

const JK: Scale = Scale {
    volts: 0.006,
    amps: 0.006,
    soc_percent: 0.51,
    celsius: 0.51,
    remaining_ah: None,
    most_sensors: 2,
};

const JK02: Scale = Scale {
    volts: 0.001,
    amps: 0.001,
    soc_percent: 0.51,
    celsius: 0.06,
    remaining_ah: Some(0.001),
    most_sensors: 4,
};

const JBD: Scale = Scale {
    volts: 0.006,
    amps: 0.006,
    soc_percent: 0.51,
    celsius: 0.051,
    remaining_ah: Some(0.006),
    most_sensors: 21,
};

fn jbd_driver() -> Driver {
    Driver::Jbd(jbd::JbdConfig::default())
}

#[tokio::test]
async fn a_jbd_board_is_read_over_a_pty() {
    over_a_pty(&jbd_driver(), JbdSim::new(common_pack()), |sim| sim.pack.clone(), JBD).await;
}

#[test]
fn a_jbd_board_on_a_bad_line_tells_no_untruth() {
    over_a_bad_line(&mut *jbd_driver().poll(), JbdSim::new(common_pack()), &common_pack(), JBD);
}

#[test]
fn a_jbd_board_that_sleeps_is_woken_by_the_first_request() {
    let mut poll = dialogue::Dialogue::new(jbd::JbdDialect::default());
    let (reading, _) = cycle(&mut poll, &mut JbdSim::new(common_pack()).asleep());
    assert!(reading.is_ok());
    assert_eq!(poll.stats().retries, 1);
}

#[test]
fn a_jbd_board_with_a_secret_lets_in_who_knows_it() {
    let mut sim = JbdSim::new(common_pack()).with_secret(jbd::Secret(*b"123456"));
    let poll = |secret: &[u8; 6]| {
        let config = jbd::JbdConfig { secret: Some(jbd::Secret(*secret)) };
        dialogue::Dialogue::new(jbd::JbdDialect::new(config))
    };
    let (refused, _) = cycle(&mut poll(b"000000"), &mut sim);
    assert_eq!(refused, Err(PollError::Refused { question: "secret", refusal: "the secret is wrong" }));
    let (reading, ended) = cycle(&mut poll(b"123456"), &mut sim);
    assert!(reading.is_ok() && ended == 1);
}

#[tokio::test]
async fn a_green_unit_is_read_over_a_pty_with_its_cells_in_the_first_cycle() {
    let device = GreenSim::new(common_pack());
    let pace = LinePace { baud: Driver::Green.default_baud(), ..LinePace::default() };
    let sim = PtySim::spawn(device, pace).expect("this machine has ptys");
    let path = sim.path().to_str().expect("the path of a pty is ASCII");
    let mut link = SerialLink::open(path, Driver::Green.default_baud()).expect("the pty was just made");
    let mut poll = Driver::Green.poll();
    for cells in [common_pack().cell_volts().len(), 0] {
        let reading = timeout(BOUND, run_cycle(&mut link, &mut *poll)).await.expect("a cycle ends by itself");
        let reading = reading.expect("the line is clean");
        assert_eq!(reading.cell_voltages.len(), cells);
        assert!(reading.withheld.is_empty(), "{reading:?}");
        let amps = reading.pack_current.expect("a pack has a current").0;
        assert!((amps + 42.0).abs() <= 0.51, "{amps} A");
    }
    assert_eq!(poll.bad_frames(), 0);
}

#[tokio::test]
async fn a_jk_board_is_read_over_a_pty() {
    over_a_pty(&Driver::Jk, JkSim::new(common_pack()), |sim| sim.pack.clone(), JK).await;
}

#[test]
fn a_jk_board_on_a_bad_line_tells_no_untruth() {
    over_a_bad_line(&mut *Driver::Jk.poll(), JkSim::new(common_pack()), &common_pack(), JK);
}

const SEPLOS: Scale = Scale {
    volts: 0.006,
    amps: 0.006,
    soc_percent: 0.051,
    celsius: 0.051,
    remaining_ah: Some(0.006),
    most_sensors: 21,
};

const PYLONTECH: Scale = Scale {
    volts: 0.001,
    amps: 0.051,
    soc_percent: 0.01,
    celsius: 0.051,
    remaining_ah: Some(0.001),
    most_sensors: 21,
};

fn telecom_driver(maker: telecom::Maker, address: u8) -> Driver {
    Driver::Telecom(telecom::TelecomConfig { maker, address })
}

#[tokio::test]
async fn seplos_and_pylontech_packs_are_read_over_ptys() {
    for (maker, scale) in [(telecom::Maker::Seplos, SEPLOS), (telecom::Maker::Pylontech, PYLONTECH)] {
        let device = TelecomSim::new(common_pack(), maker, 3);
        over_a_pty(&telecom_driver(maker, 3), device, |sim| sim.pack.clone(), scale).await;
    }
}

#[test]
fn a_seplos_pack_on_a_bad_line_tells_no_untruth() {
    let device = TelecomSim::new(common_pack(), telecom::Maker::Seplos, 0);
    let mut poll = telecom_driver(telecom::Maker::Seplos, 0).poll();
    over_a_bad_line(&mut *poll, device, &common_pack(), SEPLOS);
}

#[test]
fn another_packs_answer_on_the_line_is_none_of_ours() {
    let mut device = TelecomSim::new(common_pack(), telecom::Maker::Seplos, 4);
    let mut poll = telecom_driver(telecom::Maker::Seplos, 3).poll();
    let (reading, _) = cycle(&mut *poll, &mut device);
    assert!(matches!(reading, Err(PollError::NoAnswer { .. })), "{reading:?}");
}

fn sunspec_driver(unit: u8) -> Driver {
    Driver::Sunspec(sunspec::SunspecConfig { unit, current_sign: CurrentSign::Auto })
}

/// What the two models tell of a pack: no cells, and the warmest and coldest module.
fn sunspec_agrees(reading: &PackReading, pack: &SimPack) -> Result<(), TestCaseError> {
    prop_assert!((reading.pack_voltage.expect("a voltage").0 - pack.volts()).abs() < 0.006);
    prop_assert!((reading.pack_current.expect("a current").0 - pack.amps()).abs() < 0.051);
    prop_assert!((reading.soc.expect("a charge").0 - pack.board_soc_percent()).abs() < 0.051);
    prop_assert!((reading.soh.expect("a health").0 - 100.0).abs() < 1e-9);
    prop_assert!(reading.cell_voltages.is_empty());
    let warmest = pack.celsius().iter().copied().fold(f64::MIN, f64::max);
    prop_assert!((reading.temperatures[0].expect("a temperature").0 - warmest).abs() < 0.051);
    Ok(())
}

#[tokio::test]
async fn a_sunspec_battery_is_found_and_read_over_a_pty() {
    let sim = SunspecSim::new(common_pack(), 7, 50_000, CurrentSign::Inverted);
    let handle = PtySim::spawn(sim, LinePace::default()).expect("this machine has ptys");
    let path = handle.path().to_str().expect("the path of a pty is ASCII");
    let mut link = SerialLink::open(path, 9600).expect("the pty was just made");
    let mut poll = sunspec_driver(7).poll();
    for _ in 0..2 {
        let reading = timeout(BOUND, run_cycle(&mut link, &mut *poll)).await.expect("a cycle ends by itself");
        sunspec_agrees(&reading.expect("the line is clean"), &common_pack()).expect("the pack's values");
    }
    assert_eq!(poll.bad_frames(), 0);
}

#[test]
fn a_sunspec_battery_that_is_found_is_asked_for_its_models_only() {
    let mut sim = SunspecSim::new(common_pack(), 1, 40_000, CurrentSign::Normal);
    let config = sunspec::SunspecConfig { unit: 1, current_sign: CurrentSign::Auto };
    let mut poll = dialogue::Dialogue::new(sunspec::SunspecDialect::new(config));
    assert_eq!(cycle(&mut poll, &mut sim).1, 1);
    let first = poll.stats().requests;
    assert_eq!(cycle(&mut poll, &mut sim).1, 1);
    assert_eq!((first, poll.stats().requests), (7, 9));
}

#[test]
fn a_device_by_a_table_of_registers_gives_what_the_table_says() {
    let mut sim = SunspecSim::new(common_pack(), 3, 40_000, CurrentSign::Normal);
    let battery_at = sim.battery_at();
    let row = |offset: u16, encoding, scale, field| MapRow {
        register: battery_at + offset,
        encoding,
        word_order: WordOrder::HighFirst,
        scale,
        offset: 0.0,
        field,
        not_implemented: Some(0xFFFF),
    };
    let rows = vec![
        row(34, Encoding::U16, 0.01, MapField::PackVoltage),
        row(44, Encoding::I16, 0.1, MapField::PackCurrent),
        row(11, Encoding::U16, 0.1, MapField::Soc),
        row(37, Encoding::U16, 0.001, MapField::Cell(1)),
        row(36, Encoding::U16, 1.0, MapField::Soh),
    ];
    let map = |rows| Driver::Modbus(MapConfig { unit: 3, table: Table::Holding, rows });
    let (reading, _) = cycle(&mut *map(rows).poll(), &mut sim);
    let (reading, pack) = (reading.unwrap(), common_pack());
    assert!((reading.pack_voltage.unwrap().0 - pack.volts()).abs() < 0.006);
    assert!((reading.pack_current.unwrap().0 + 42.0).abs() < 1e-9);
    assert_eq!((reading.cell_voltages.len(), reading.soh), (1, None));

    let missing = vec![MapRow { register: 10, ..row(0, Encoding::U16, 1.0, MapField::Soc) }];
    let (refused, _) = cycle(&mut *map(missing).poll(), &mut sim);
    let refusal = "it does not have the register";
    assert_eq!(refused, Err(PollError::Refused { question: "a block of registers", refusal }));
}

fn jk02_poll() -> jk::Jk02Poll {
    dialogue::Dialogue::new(jk::Jk02Dialect::default())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_jbd_board_of_any_pack_gives_its_values(pack in packs(2..=32)) {
        let (reading, ended) = cycle(&mut *jbd_driver().poll(), &mut JbdSim::new(pack.clone()));
        prop_assert_eq!(ended, 1);
        agrees(&reading.unwrap(), &pack, JBD)?;
    }

    // Sixteen full NMC cells have more than the 65.535 V that Pylontech's two bytes can say.
    #[test]
    fn a_seplos_or_pylontech_pack_gives_its_values(pack in packs(2..=14), pylontech: bool, address: u8) {
        let (maker, scale) = if pylontech {
            (telecom::Maker::Pylontech, PYLONTECH)
        } else {
            (telecom::Maker::Seplos, SEPLOS)
        };
        let mut device = TelecomSim::new(pack.clone(), maker, address);
        let (reading, ended) = cycle(&mut *telecom_driver(maker, address).poll(), &mut device);
        prop_assert_eq!(ended, 1);
        agrees(&reading.unwrap(), &pack, scale)?;
    }

    #[test]
    fn a_sunspec_battery_of_any_pack_gives_its_values(pack in packs(2..=32), inverted: bool, base in 0usize..3) {
        let sign = if inverted { CurrentSign::Inverted } else { CurrentSign::Normal };
        let mut sim = SunspecSim::new(pack.clone(), 1, sunspec::BASES[base], sign);
        let (reading, ended) = cycle(&mut *sunspec_driver(1).poll(), &mut sim);
        prop_assert_eq!(ended, 1);
        sunspec_agrees(&reading.unwrap(), &pack)?;
    }

    #[test]
    fn a_jk_board_of_any_pack_gives_its_values(pack in packs(2..=32)) {
        let (reading, ended) = cycle(&mut *Driver::Jk.poll(), &mut JkSim::new(pack.clone()));
        prop_assert_eq!(ended, 1);
        agrees(&reading.unwrap(), &pack, JK)?;
    }

    #[test]
    fn a_jk_board_over_bluetooth_gives_its_values_in_both_generations(pack in packs(2..=24), newer: bool) {
        let generation = if newer { jk::Generation::Cells32 } else { jk::Generation::Cells24 };
        let (reading, ended) = cycle(&mut jk02_poll(), &mut Jk02Sim::new(pack.clone(), generation));
        prop_assert_eq!(ended, 1);
        let most_sensors = if newer { 4 } else { 2 };
        agrees(&reading.unwrap(), &pack, Scale { most_sensors, ..JK02 })?;
    }
}
