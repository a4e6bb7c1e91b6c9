#![cfg(feature = "sim")]

use proptest::prelude::*;

use super::*;
use crate::bms::daly_uart::{Board, CurrentSign, DalyConfig};
use crate::bms::jbd::{JbdConfig, Secret};
use crate::bms::modbus::{Encoding, MapConfig, MapField, MapRow, Table, WordOrder};
use crate::bms::sunspec::SunspecConfig;
use crate::bms::telecom::{Maker, TelecomConfig};
use crate::codec::PollCycle;
use crate::sim::{
    DalySim, DeviceSide, Flaky, GreenSim, JbdSim, JkSim, PackConfig, SimPack, SunspecSim, TelecomSim,
};

const DRIVERS: usize = 8;
const SECRET: &[u8; 6] = b"814725";

/// A driver of every kind with a device that understands it.
fn pair(which: usize, seed: u64) -> (Driver, Box<dyn DeviceSide>) {
    let pack = SimPack::new(PackConfig { seed, ..PackConfig::default() });
    let unit = 3;
    match which {
        0 => {
            let config = DalyConfig { cycles_per_status: 3, ..DalyConfig::default() };
            (Driver::Daly(config), Box::new(DalySim::new(pack, Board::FIRST, CurrentSign::Inverted)))
        }
        1 => {
            let secret = Some(Secret(*SECRET));
            (Driver::Jbd(JbdConfig { secret }), Box::new(JbdSim::new(pack).with_secret(Secret(*SECRET))))
        }
        2 => (Driver::Jk, Box::new(JkSim::new(pack))),
        7 => (Driver::Green, Box::new(GreenSim::new(pack))),
        3 | 4 => {
            let maker = if which == 3 { Maker::Seplos } else { Maker::Pylontech };
            let driver = Driver::Telecom(TelecomConfig { maker, address: 2 });
            (driver, Box::new(TelecomSim::new(pack, maker, 2)))
        }
        5 => {
            let driver = Driver::Sunspec(SunspecConfig { unit, current_sign: CurrentSign::Auto });
            (driver, Box::new(SunspecSim::new(pack, unit, 40_000, CurrentSign::Normal)))
        }
        _ => {
            let row = MapRow {
                register: 40_000,
                encoding: Encoding::U16,
                word_order: WordOrder::HighFirst,
                scale: 0.1,
                offset: 0.0,
                field: MapField::PackVoltage,
                not_implemented: None,
            };
            let driver = Driver::Modbus(MapConfig { unit, table: Table::Holding, rows: vec![row] });
            (driver, Box::new(SunspecSim::new(pack, unit, 40_000, CurrentSign::Normal)))
        }
    }
}

/// Leads one cycle in virtual time; every frame arrives in two pieces.
fn lead(poll: &mut dyn PollCycle, device: &mut dyn DeviceSide, frame_time: Duration) {
    let mut now = Duration::ZERO;
    poll.begin(now);
    while !poll.is_done() {
        let Some(request) = poll.next_request(now) else {
            now = now.max(poll.poll_timeout().unwrap());
            poll.handle_timeout(now);
            continue;
        };
        for reply in device.handle_input(&request, now) {
            for frame in reply.frames {
                let (front, back) = frame.split_at(frame.len() / 2);
                for piece in [front, back] {
                    now += frame_time;
                    poll.handle_input(piece, now);
                }
            }
        }
    }
    poll.finish().ok();
}

fn record(which: usize, seed: u64, rates: &str, limit: usize, frame_time_ns: u64) -> Flight {
    record_in(Arc::new(FlightRecorder::with_room_for(limit)), which, seed, rates, frame_time_ns)
}

fn record_in(
    recorder: Arc<FlightRecorder>,
    which: usize,
    seed: u64,
    rates: &str,
    frame_time_ns: u64,
) -> Flight {
    let (driver, device) = pair(which, seed);
    let mut device = Flaky::new(device, rates.parse().unwrap(), seed);
    for incarnation in 1..=3 {
        let pen = recorder.pen(&driver, incarnation);
        let mut poll = driver.poll();
        for cycle in 0..6 {
            let at = Timestamp::from_millis(i64::try_from(incarnation * 1000 + cycle).unwrap());
            let mut recorded = Recorded::new(poll.as_mut(), &pen, at);
            lead(&mut recorded, &mut device, Duration::from_nanos(frame_time_ns));
        }
    }
    recorder.flight().unwrap()
}

/// As a report carries it.
fn written_and_read(flight: &Flight) -> Flight {
    serde_json::from_str(&serde_json::to_string(flight).unwrap()).unwrap()
}

fn differences(flight: &Flight) -> Vec<String> {
    replay_all(flight).unwrap().into_iter().flat_map(|replayed| replayed.differences).collect()
}

fn readings(flight: &Flight) -> usize {
    flight.cycles.iter().filter(|cycle| matches!(cycle.end, Some(End::Reading(_)))).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_recorded_conversation_comes_to_the_same_when_it_is_led_again(
        which in 0..DRIVERS,
        seed in any::<u64>(),
        rates in prop_oneof![
            Just(""), Just("garbage=0.5,corrupt=0.25"), Just("drop=0.3,cut=0.2"), Just("silence=0.1,delay=0.5")
        ],
        limit in 2_000..40_000_usize,
        frame_time_ns in 1_000_000..40_000_000_u64,
    ) {
        let flight = record(which, seed, rates, limit, frame_time_ns);
        prop_assert!(!flight.cycles.is_empty());
        let read = written_and_read(&flight);
        // The secret does not travel, everything else does.
        prop_assert_eq!(&read.cycles, &flight.cycles);
        prop_assert_eq!(differences(&read), Vec::<String>::new());
    }
}

#[test]
fn every_kind_of_driver_gives_readings_to_record() {
    for which in 0..DRIVERS {
        let flight = record(which, 1, "", 1_000_000, 5_000_000);
        assert_eq!((which, flight.cycles.len(), readings(&flight)), (which, 18, 18));
    }
}

#[test]
fn a_flipped_bit_in_what_a_device_said_comes_to_something_else() {
    for which in 0..DRIVERS {
        let mut flight = record(which, 1, "", 1_000_000, 5_000_000);
        let heard = flight.cycles[7].calls.iter_mut().find_map(|call| match call {
            Call::Heard { bytes, .. } => bytes.last_mut(),
            Call::Began { .. } | Call::Asked { .. } | Call::Woken { .. } | Call::Injected { .. } => None,
        });
        *heard.unwrap() ^= 0x10;
        assert!(!differences(&flight).is_empty(), "driver {which}");
    }
}

#[test]
fn the_oldest_whole_cycles_make_room() {
    let recorded = record(0, 1, "", 8_000, 5_000_000);
    assert!((2..18).contains(&recorded.cycles.len()), "{}", recorded.cycles.len());
    assert!(recorded.cycles.iter().all(|cycle| matches!(cycle.calls[0], Call::Began { .. })));
    assert_eq!(recorded.cycles.last().unwrap().at, Timestamp::from_millis(3_005));
    let fresh = Driver::Daly(DalyConfig::default()).poll().memory();
    assert_ne!(recorded.cycles[0].memory, fresh, "it had learned something by then");
}

#[test]
fn the_devices_of_a_large_fleet_have_less_room_each_and_it_comes_back() {
    let room = Arc::new(FlightRoom::default());
    let alone = record_in(Arc::new(FlightRecorder::sharing(&room)), 0, 1, "", 5_000_000).cycles.len();
    let fleet: Vec<_> = (0..4_000)
        .map(|_| {
            let recorder = Arc::new(FlightRecorder::sharing(&room));
            recorder.pen(&Driver::Jk, 1);
            recorder
        })
        .collect();
    let in_fleet = record_in(Arc::new(FlightRecorder::sharing(&room)), 0, 1, "", 5_000_000).cycles.len();
    assert!((1..alone).contains(&in_fleet), "{in_fleet} cycles of {alone}");
    drop(fleet);
    assert_eq!(room.share(), KEPT_BYTES_OF_ALL);
}

#[test]
fn a_secret_is_in_no_report() {
    let flight = record(1, 1, "", 1_000_000, 5_000_000);
    let text = serde_json::to_string(&flight).unwrap();
    let hidden = |calls: &[Call]| calls.iter().any(|call| matches!(call, Call::Asked { secret: true, .. }));
    assert!(hidden(&flight.cycles[0].calls) && readings(&flight) == 18);
    assert!(!text.contains(&hex::encode(SECRET)) && !text.contains("814725"), "{text}");
    assert_eq!(differences(&written_and_read(&flight)), Vec::<String>::new());
}

#[test]
fn an_incarnation_that_counts_no_more_writes_nothing() {
    let (driver, recorder) = (Driver::Jk, Arc::new(FlightRecorder::default()));
    let (old, new) = (recorder.pen(&driver, 1), recorder.pen(&driver, 2));
    old.begin(Timestamp::from_millis(1), Value::Null);
    new.begin(Timestamp::from_millis(2), Value::Null);
    old.heard(Duration::ZERO, b"late");
    old.begin(Timestamp::from_millis(3), Value::Null);
    new.heard(Duration::ZERO, b"mine");
    let cycles = recorder.flight().unwrap().cycles;
    let calls: Vec<_> = cycles.iter().map(|cycle| (cycle.incarnation, cycle.calls.len())).collect();
    assert_eq!(calls, [(1, 0), (2, 1)]);
}
