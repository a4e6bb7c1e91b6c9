//! Every driver hears what no device should say: whole answers at the wrong moment, answers that were damaged, cut or run
//! together, and noise. `VOLTREE_CODEC_INPUTS` says how many inputs each gets, `VOLTREE_CODEC_SEED` which.
#![cfg(feature = "sim")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use fastrand::Rng;
use voltree_protocols::bms::Driver;
use voltree_protocols::bms::daly_bluetooth::{RegisterConfig, RegisterDialect};
use voltree_protocols::bms::daly_uart::{Board, CurrentSign, DalyConfig};
use voltree_protocols::bms::foxbms::{Dialect, FoxbmsConfig};
use voltree_protocols::bms::jbd::JbdConfig;
use voltree_protocols::bms::jk::Generation;
use voltree_protocols::bms::libre_solar::ThingsetCanConfig;
use voltree_protocols::bms::modbus::{Encoding, MapConfig, MapField, MapRow, Table, WordOrder};
use voltree_protocols::bms::sunspec::SunspecConfig;
use voltree_protocols::bms::telecom::{Maker, TelecomConfig};
use voltree_protocols::codec::PollCycle;
use voltree_protocols::sim::{
    DalyCanSim, DalyRegistersSim, DalySim, DeviceSide, FoxbmsSim, GreenSim, JbdSim, Jk02Sim, JkSim,
    LibreSolarAirSim, LibreSolarCanSim, LibreSolarSim, PackConfig, SimPack, SlcanSide, SunspecSim,
    TelecomSim,
};

/// How many inputs a driver gets if nobody asks for more.
const INPUTS: u64 = 2_000;
/// After so many a driver begins anew, as after a restart of its actor.
const INPUTS_A_LIFE: u64 = 500;
/// How long a conversation with a real device is listened to for its answers.
const STEPS: usize = 400;

/// More steps than any cycle takes, however it is disturbed.
const MOST_STEPS: usize = 20_000;

fn asked(variable: &str, unless: u64) -> u64 {
    std::env::var(variable).map_or(unless, |text| text.parse().expect("a number of inputs, or a seed"))
}

fn pack() -> SimPack {
    SimPack::new(PackConfig::default())
}

fn map() -> MapConfig {
    let row = MapRow {
        register: 40_000,
        encoding: Encoding::U16,
        word_order: WordOrder::HighFirst,
        scale: 0.1,
        offset: 0.0,
        field: MapField::PackVoltage,
        not_implemented: None,
    };
    MapConfig { unit: 3, table: Table::Holding, rows: vec![row] }
}

type Devices = Vec<Box<dyn DeviceSide>>;

/// Every driver, with devices that speak its language.
fn drivers() -> Vec<(&'static str, Driver, Devices)> {
    let sign = CurrentSign::Normal;
    let daly = || Box::new(DalySim::new(pack(), Board::FIRST, sign)) as Box<dyn DeviceSide>;
    let registers = |dialect| Box::new(DalyRegistersSim::new(pack(), dialect, sign)) as Box<dyn DeviceSide>;
    let both = || vec![registers(RegisterDialect::D2), registers(RegisterDialect::P81)];
    let foxbms = |dialect| Box::new(SlcanSide::new(FoxbmsSim::new(pack(), dialect))) as Box<dyn DeviceSide>;
    let jk02 = |generation| Box::new(Jk02Sim::new(pack(), generation)) as Box<dyn DeviceSide>;
    let sunspec = || Box::new(SunspecSim::new(pack(), 3, 40_000, sign)) as Box<dyn DeviceSide>;
    let telecom = |maker| -> (Driver, Devices) {
        let driver = Driver::Telecom(TelecomConfig { maker, address: 2 });
        (driver, vec![Box::new(TelecomSim::new(pack(), maker, 2))])
    };
    let (seplos, seplos_devices) = telecom(Maker::Seplos);
    let (pylontech, pylontech_devices) = telecom(Maker::Pylontech);
    let daly_config = DalyConfig { cycles_per_status: 3, ..DalyConfig::default() };
    let foxbms_devices = vec![foxbms(Dialect::V1_11), foxbms(Dialect::V1_7)];
    let of_sunspec = SunspecConfig { unit: 3, current_sign: CurrentSign::Auto };
    let daly_can = SlcanSide::new(DalyCanSim::new(pack(), Board::FIRST, sign));
    let thingset_can = SlcanSide::new(LibreSolarCanSim::new(pack(), 10));
    vec![
        ("daly", Driver::Daly(daly_config), vec![daly()]),
        ("daly over Bluetooth", Driver::DalyAir(sign), both().into_iter().chain([daly()]).collect()),
        ("daly on CAN", Driver::DalyCan(daly_config), vec![Box::new(daly_can)]),
        ("daly registers", Driver::DalyRegisters(RegisterConfig::default()), both()),
        ("foxbms", Driver::Foxbms(FoxbmsConfig::default()), foxbms_devices),
        ("green", Driver::Green, vec![Box::new(GreenSim::new(pack()))]),
        ("jbd", Driver::Jbd(JbdConfig { secret: None }), vec![Box::new(JbdSim::new(pack()))]),
        ("jk", Driver::Jk, vec![Box::new(JkSim::new(pack()))]),
        ("jk over Bluetooth", Driver::JkAir, vec![jk02(Generation::Cells24), jk02(Generation::Cells32)]),
        ("libre solar", Driver::LibreSolar, vec![Box::new(LibreSolarSim::new(pack()))]),
        ("libre solar over Bluetooth", Driver::LibreSolarAir, vec![Box::new(LibreSolarAirSim::new(pack()))]),
        (
            "libre solar on CAN",
            Driver::LibreSolarCan(ThingsetCanConfig::default()),
            vec![Box::new(thingset_can)],
        ),
        ("modbus map", Driver::Modbus(map()), vec![sunspec()]),
        ("pylontech", pylontech, pylontech_devices),
        ("seplos", seplos, seplos_devices),
        ("sunspec", Driver::Sunspec(of_sunspec), vec![sunspec()]),
    ]
}

/// What the devices say to the driver, and the driver to them.
fn said(driver: &Driver, devices: &mut Devices) -> Vec<Vec<u8>> {
    let mut said = Vec::new();
    for device in devices {
        let (mut poll, mut now) = (driver.poll(), Duration::ZERO);
        // An adapter is opened before it says anything.
        device.handle_input(b"S6\rO\r", now);
        poll.begin(now);
        for _ in 0..STEPS {
            let replies = match poll.next_request(now) {
                Some(request) => {
                    let replies = device.handle_input(&request, now);
                    said.push(request);
                    replies
                }
                None => {
                    let next = poll.poll_timeout().into_iter().chain(device.next_broadcast()).min();
                    now = now.max(next.unwrap_or(now)) + Duration::from_millis(1);
                    poll.handle_timeout(now);
                    device.broadcast(now)
                }
            };
            for frame in replies.into_iter().flat_map(|reply| reply.frames) {
                poll.handle_input(&frame, now);
                said.push(frame);
            }
            if poll.is_done() {
                poll.finish().ok();
                poll.begin(now);
            }
        }
    }
    said.sort();
    said.dedup();
    said
}

fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.u8(1..4) {
        let at = rng.usize(0..=bytes.len());
        match rng.u8(0..5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.u8(..)),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at < bytes.len() => {
                bytes[at] = *rng.choice(&[0x00, 0x7F, 0x80, 0xFF]).expect("four of them")
            }
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.u8(0..8),
            _ => {}
        }
    }
}

fn input(rng: &mut Rng, said: &[Vec<u8>]) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..rng.u8(1..4) {
        let mut bytes = rng.choice(said).cloned().unwrap_or_default();
        match rng.u8(0..10) {
            0..=3 => {}
            4..=7 => damage(rng, &mut bytes),
            _ => bytes = (0..rng.usize(0..40)).map(|_| rng.u8(..)).collect(),
        }
        input.extend(bytes);
    }
    input
}

/// Leads cycles that hear so many inputs; says how many of them ended in a reading.
fn live(poll: &mut dyn PollCycle, rng: &mut Rng, said: &[Vec<u8>], inputs: u64) -> u64 {
    let (mut now, mut heard, mut readings) = (Duration::ZERO, 0, 0);
    while heard < inputs {
        poll.begin(now);
        let mut steps = 0;
        while !poll.is_done() {
            steps += 1;
            assert!(steps < MOST_STEPS, "the cycle does not end");
            if poll.next_request(now).is_none() && rng.bool() {
                let next = poll.poll_timeout().expect("a cycle that runs wants to be woken");
                now = now.max(next);
                poll.handle_timeout(now);
                continue;
            }
            let input = input(rng, said);
            let (front, back) = input.split_at(rng.usize(0..=input.len()));
            [front, back].into_iter().for_each(|piece| poll.handle_input(piece, now));
            now += Duration::from_millis(rng.u64(0..20));
            heard += 1;
        }
        readings += u64::from(poll.finish().is_ok());
        let memory = poll.memory();
        poll.remember(&memory).expect("a driver reads its own memory");
    }
    readings
}

#[test]
fn no_input_panics_a_driver_nor_holds_it_up() {
    let (inputs, seed) = (asked("VOLTREE_CODEC_INPUTS", INPUTS), asked("VOLTREE_CODEC_SEED", 1));
    for (name, driver, mut devices) in drivers() {
        let said = said(&driver, &mut devices);
        assert!(said.len() >= 2, "{name}: nothing was said");
        let (mut heard, mut readings) = (0, 0);
        while heard < inputs {
            let some = INPUTS_A_LIFE.min(inputs - heard);
            let mut rng = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(heard));
            let life = || live(&mut *driver.poll(), &mut rng, &said, some);
            readings += catch_unwind(AssertUnwindSafe(life)).unwrap_or_else(|_| {
                panic!("{name}: VOLTREE_CODEC_SEED={seed}, in the life after {heard} inputs")
            });
            heard += some;
        }
        println!("{name:<28} {heard} inputs, {} frames to choose from, {readings} readings", said.len());
    }
}
