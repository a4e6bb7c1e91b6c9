//! The serial link and the Daly poll against devices behind real ptys: simulated packs and recorded frames.
#![cfg(all(feature = "serial", feature = "sim"))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail it by panicking")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout};
use voltree_model::{Amps, PackReading, Volts};
use voltree_protocols::bms::daly_uart::{Board, CurrentSign, DalyConfig, DalyPoll, command};
use voltree_protocols::codec::PollError;
use voltree_protocols::decode::parse_hex;
use voltree_protocols::link::{CycleError, Link, LinkError, SerialLink, run_cycle};
use voltree_protocols::sim::{
    DalySim, DeviceSide, Fault, Flaky, FrameReplay, LinePace, PackConfig, Profile, PtySim, SimHandle,
    SimPack, SimStats,
};

const BOUND: Duration = Duration::from_secs(60);

fn simulated() -> DalySim {
    let mut pack = SimPack::new(PackConfig { profile: Profile::Rest, cells: 16, ..PackConfig::default() });
    pack.set_current(-42.0);
    DalySim::new(pack, Board::FIRST, CurrentSign::Inverted)
}

fn start(device: impl DeviceSide + 'static) -> (SimHandle, SerialLink) {
    let sim = PtySim::spawn(device, LinePace::default()).expect("this machine has ptys");
    let link = SerialLink::open(sim.path().to_str().unwrap(), 9600).unwrap();
    (sim, link)
}

async fn read(link: &mut SerialLink, poll: &mut DalyPoll) -> Result<PackReading, CycleError> {
    timeout(BOUND, run_cycle(link, poll)).await.expect("a cycle ends by itself")
}

/// The counts may trail the bytes by a moment: the last answer is counted after it was written.
async fn wait_for_cycles(stats: &Arc<SimStats>, cycles: u64) {
    let reached = async {
        while stats.cycles_completed() < cycles {
            tokio::task::yield_now().await;
        }
    };
    timeout(BOUND, reached).await.unwrap_or_else(|_| panic!("{stats:?} never reached {cycles} cycles"));
}

#[tokio::test]
async fn a_pack_behind_a_pty_is_read_and_counted_on_both_sides() {
    let (sim, mut link) = start(simulated());
    let mut poll = DalyPoll::new(DalyConfig::default());
    for _ in 0..3 {
        let reading = read(&mut link, &mut poll).await.unwrap();
        assert_eq!(reading.cell_voltages.len(), 16);
        assert_eq!(reading.pack_current, Some(Amps(-42.0)));
    }
    wait_for_cycles(&sim.stats(), 3).await;
    assert_eq!(sim.stats().cycles_completed(), 3);
    assert_eq!(sim.stats().requests(), poll.stats().requests);
    assert_eq!(
        sim.stats().answers(),
        poll.stats().requests,
        "a clean line needs no retries: {:?}",
        poll.stats()
    );
    sim.stop().await.unwrap();
}

fn recorded(name: &str) -> Vec<Vec<u8>> {
    let records: Vec<Value> = serde_json::from_str(include_str!("vectors/daly_uart.json")).unwrap();
    let record = records.iter().find(|record| record["name"] == name).unwrap();
    let frames = record["frames_hex"].as_array().unwrap();
    frames.iter().map(|frame| parse_hex(frame.as_str().unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn recorded_frames_of_a_real_board_give_its_reading() {
    let (_sim, mut link) = start(FrameReplay::new(&recorded("daly_r24ts_14s_idle")));
    let reading = read(&mut link, &mut DalyPoll::new(DalyConfig::default())).await.unwrap();
    assert_eq!(reading.pack_voltage, Some(Volts(53.0)));
    let cells: Vec<u16> = reading.cell_voltages.iter().map(|cell| cell.unwrap().0).collect();
    assert_eq!(cells[..3], [3790, 3794, 3793]);
    assert_eq!((cells.len(), reading.temperatures.len()), (14, 2));
    assert!(reading.withheld.is_empty());
}

#[tokio::test]
async fn leading_garbage_and_a_frame_too_many_do_not_disturb() {
    let recorded = recorded("daly_14s_mock_with_leading_garbage");
    let (_sim, mut link) = start(FrameReplay::new(&recorded).with_leading_bytes(command::STATUS, &[0, 0]));
    let mut poll = DalyPoll::new(DalyConfig::default());
    let reading = read(&mut link, &mut poll).await.unwrap();
    assert_eq!((reading.cell_voltages.len(), reading.temperatures.len()), (14, 1));
    assert_eq!(reading.warnings, ["overcurrent_charge", "soc_high", "cell_imbalance", "unknown_3_4"]);
    assert_eq!(poll.stats().retries, 0, "{:?}", poll.stats());
}

#[tokio::test]
async fn a_bad_line_still_gives_readings() {
    let rates = "garbage=0.5,corrupt=0.15".parse().unwrap();
    let (_sim, mut link) = start(Flaky::new(simulated(), rates, 11));
    let mut poll = DalyPoll::new(DalyConfig::default());
    let reading = read(&mut link, &mut poll).await.unwrap();
    assert_eq!(reading.pack_current, Some(Amps(-42.0)));
    assert!(poll.stats().frames.skipped_bytes > 0);
}

#[tokio::test]
async fn answers_that_come_late_are_waited_for_and_not_asked_for_again() {
    let (sim, mut link) = start(Flaky::new(simulated(), "delay=1".parse().unwrap(), 1));
    let mut poll = DalyPoll::new(DalyConfig::default());
    let begun = Instant::now();
    assert!(read(&mut link, &mut poll).await.is_ok());
    let late = sim.stats().faults(Fault::Delay);
    assert!(
        begun.elapsed() >= Duration::from_millis(50) * u32::try_from(late).unwrap(),
        "{late} late answers"
    );
    assert_eq!((late, poll.stats().retries), (poll.stats().requests, 0));
}

#[tokio::test]
async fn a_paused_board_is_silent_and_comes_back() {
    let (sim, mut link) = start(simulated());
    let mut poll = DalyPoll::new(DalyConfig::default());
    sim.pause();
    let error = read(&mut link, &mut poll).await.unwrap_err();
    assert!(matches!(error, CycleError::Poll(PollError::NoAnswer { attempts: 3, .. })), "{error:?}");
    assert_eq!(sim.stats().requests(), 0);
    sim.resume();
    assert!(read(&mut link, &mut poll).await.is_ok());
}

#[tokio::test]
async fn a_stopped_board_is_a_hang_up() {
    let (sim, mut link) = start(simulated());
    let mut poll = DalyPoll::new(DalyConfig::default());
    assert!(read(&mut link, &mut poll).await.is_ok());
    sim.stop().await.unwrap();
    let error = read(&mut link, &mut poll).await.unwrap_err();
    assert!(matches!(error, CycleError::Link(LinkError::HangUp { .. })), "{error:?}");
}

#[tokio::test]
async fn a_board_that_goes_in_the_middle_of_a_cycle_is_a_hang_up() {
    let (sim, mut link) = start(simulated());
    let stats = sim.stats();
    let cut = async {
        while stats.answers() < 2 {
            tokio::task::yield_now().await;
        }
        sim.stop().await
    };
    let mut poll = DalyPoll::new(DalyConfig::default());
    let (reading, stopped) = tokio::join!(read(&mut link, &mut poll), cut);
    assert!(matches!(reading, Err(CycleError::Link(LinkError::HangUp { .. }))), "{reading:?}");
    stopped.unwrap();
    assert_eq!(stats.cycles_completed(), 0);
}

#[tokio::test]
async fn a_client_may_leave_and_another_come() {
    let (sim, link) = start(simulated());
    drop(link);
    let mut link = SerialLink::open(sim.path().to_str().unwrap(), 9600).unwrap();
    assert_eq!(link.name(), sim.path().to_str().unwrap());
    assert!(read(&mut link, &mut DalyPoll::new(DalyConfig::default())).await.is_ok());
}

#[tokio::test]
async fn opening_tells_what_is_wrong() {
    let missing = SerialLink::open("/dev/no-such-port", 9600).unwrap_err();
    assert!(matches!(missing, LinkError::NotFound { .. }), "{missing:?}");
    assert_eq!(missing.to_string(), "/dev/no-such-port does not exist");

    let (_sim, link) = start(simulated());
    let busy = SerialLink::open(link.name(), 9600).unwrap_err();
    assert!(matches!(busy, LinkError::Busy { .. }), "{busy:?}");

    let not_serial = SerialLink::open("/dev/null", 9600).unwrap_err();
    assert!(matches!(not_serial, LinkError::Other { doing: "open", .. }), "{not_serial:?}");
}

/// What a client left half-said must not spoil the next request.
#[tokio::test]
async fn half_a_request_on_the_line_does_not_spoil_the_next() {
    let (_sim, mut link) = start(simulated());
    link.write_all(&[0xA5, 0x40, 0x94, 0x08, 0x00], Duration::from_secs(1)).await.unwrap();
    let reading = read(&mut link, &mut DalyPoll::new(DalyConfig::default())).await;
    assert!(reading.is_ok(), "{reading:?}");
}

/// An actor runs its cycles on a runtime of several threads.
#[tokio::test]
async fn a_cycle_may_move_between_threads() {
    fn on_any_thread<T: Send>(future: T) -> T {
        future
    }
    let (_sim, mut link) = start(simulated());
    let mut poll = DalyPoll::new(DalyConfig::default());
    let reading = on_any_thread(run_cycle(&mut link, &mut poll));
    assert!(timeout(BOUND, reading).await.unwrap().is_ok());
}
