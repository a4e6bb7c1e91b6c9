//! The Daly poll against the simulated board, in memory and in virtual time: codec and simulator must agree.
#![cfg(feature = "sim")]
#![expect(clippy::panic, reason = "the helpers of a test fail it by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use voltree_model::{PackReading, PackState};
use voltree_protocols::bms::daly_uart::{Board, CurrentSign, DalyConfig, DalyPoll};
use voltree_protocols::codec::{PollCycle, PollError};
use voltree_protocols::sim::{DalySim, DeviceSide, Fault, Flaky, PackConfig, Profile, Reply, SimPack};

/// One cycle at the pace of 9600 baud; the device's clock starts at `start`.
fn cycle(
    poll: &mut DalyPoll,
    device: &mut impl DeviceSide,
    start: Duration,
) -> (Result<PackReading, PollError>, usize, Duration) {
    let frame_time = Duration::from_micros(13_542);
    let (mut now, mut ended) = (Duration::ZERO, 0);
    poll.begin(now);
    for _ in 0..5_000 {
        if poll.is_done() {
            return (poll.finish(), ended, now);
        }
        if let Some(request) = poll.next_request(now) {
            now += frame_time;
            for reply in device.handle_input(&request, start + now) {
                ended += usize::from(reply.ends_cycle);
                now += reply.delay;
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

#[test]
fn a_cycle_of_sixteen_cells_takes_less_than_half_a_second() {
    let mut sim = DalySim::new(
        SimPack::new(PackConfig { cells: 16, ..PackConfig::default() }),
        Board::FIRST,
        CurrentSign::Normal,
    );
    let mut poll = DalyPoll::new(DalyConfig::default());
    let (reading, ended, took) = cycle(&mut poll, &mut sim, Duration::ZERO);
    assert_eq!(reading.unwrap().cell_voltages.len(), 16);
    assert_eq!(ended, 1);
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn an_alarm_of_the_board_reaches_the_reading() {
    let mut sim = DalySim::new(steady_pack(PackConfig::default(), 20.0), Board::FIRST, CurrentSign::Normal);
    sim.pack.set_temperature(1, 75.0);
    sim.pack.set_cell_soc(5, 0.0);
    sim.pack.advance_to(Duration::from_secs(6));
    let (reading, ..) = cycle(&mut DalyPoll::new(DalyConfig::default()), &mut sim, Duration::ZERO);
    let reading = reading.unwrap();
    assert!(reading.faults.contains(&"overtemperature_charge".into()), "{:?}", reading.faults);
    assert!(reading.faults.contains(&"cell_imbalance".into()), "{:?}", reading.faults);
}

/// Counts what left unspoilt, as a pty does.
struct Witness<D> {
    device: D,
    measurements: usize,
}

impl<D: DeviceSide> DeviceSide for Witness<D> {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        let replies = self.device.handle_input(bytes, now);
        let unspoilt = |reply: &&Reply| reply.measures && !reply.faults.iter().any(|fault| fault.spoils());
        self.measurements += replies.iter().filter(unspoilt).count();
        replies
    }
}

/// The line of this test spoils every tenth frame, so that a long answer often needs a second attempt.
#[test]
fn a_bad_line_costs_time_and_no_truth() {
    let sim = DalySim::new(steady_pack(PackConfig::default(), -30.0), Board::FIRST, CurrentSign::Inverted);
    let truth = sim.pack.volts();
    let mut noisy = Flaky::new(sim, "garbage=0.8,corrupt=0.1".parse().unwrap(), 3);
    let mut poll = DalyPoll::new(DalyConfig::default());
    let mut whole = 0;
    for _ in 0..50 {
        let (reading, ..) = cycle(&mut poll, &mut noisy, Duration::ZERO);
        let reading = reading.unwrap();
        assert!((reading.pack_voltage.unwrap().0 - truth).abs() < 0.2, "{reading:?}");
        whole += u32::from(reading.cell_voltages.len() == 14);
    }
    assert!(whole >= 45, "only {whole} of 50 readings had all cells");
    assert!(poll.stats().frames.bad_frames() > 0 && poll.stats().retries > 0);
}

proptest! {
    /// Whatever goes wrong on the line: as many readings as unspoilt answers that make one, and each cycle ends.
    #[test]
    fn on_a_flaky_line_every_good_answer_is_a_reading(shares in prop::array::uniform7(0.0..0.3f64), seed: u64) {
        let rates: Vec<String> =
            Fault::ALL.iter().zip(shares).map(|(fault, share)| format!("{fault}={share}")).collect();
        let sim = DalySim::new(steady_pack(PackConfig::default(), -30.0), Board::FIRST, CurrentSign::Normal);
        let flaky = Flaky::new(sim, rates.join(",").parse().unwrap(), seed);
        let mut device = Witness { device: flaky, measurements: 0 };
        let mut poll = DalyPoll::new(DalyConfig::default());
        let (mut start, mut readings) = (Duration::ZERO, 0);
        for _ in 0..20 {
            let (reading, _, took) = cycle(&mut poll, &mut device, start);
            start += took + Duration::from_secs(1);
            readings += usize::from(reading.is_ok());
        }
        prop_assert_eq!(readings, device.measurements, "{:?}", poll.stats());
    }

    #[test]
    fn a_reading_has_the_packs_values_within_the_wires_scale(
        cells in 1u8..=48,
        sensors in 0u8..=21,
        soc in 5.0..95.0f64,
        amps in prop_oneof![Just(0.0), 1.5..50.0f64, -80.0..-1.5f64],
        inverted: bool,
        board in 1u8..=31,
        seed: u64,
    ) {
        let config = PackConfig { cells, sensors, start_soc_percent: soc, seed, ..PackConfig::default() };
        let sign = if inverted { CurrentSign::Inverted } else { CurrentSign::Normal };
        let board = Board::new(board).unwrap();
        let mut sim = DalySim::new(steady_pack(config, amps), board, sign);
        let mut poll = DalyPoll::new(DalyConfig { board, ..DalyConfig::default() });
        let (reading, ended, _) = cycle(&mut poll, &mut sim, Duration::ZERO);
        let reading = reading.unwrap();
        let pack = &sim.pack;

        prop_assert_eq!(ended, 1);
        if cells > 1 {
            prop_assert!((reading.pack_voltage.unwrap().0 - pack.volts()).abs() < 0.06);
        }
        prop_assert!((reading.pack_current.unwrap().0 - pack.measured_amps()).abs() < 0.051);
        prop_assert!((reading.pack_current.unwrap().0 - amps).abs() < 0.1 + 0.003 * amps.abs());
        prop_assert!((reading.soc.unwrap().0 - pack.board_soc_percent()).abs() < 0.06);
        let remaining_ah = pack.capacity_ah() * pack.board_soc_percent() / 100.0;
        prop_assert!((reading.remaining_capacity.unwrap().0 - remaining_ah).abs() < 0.2);
        let expected_state = match amps {
            0.0 => PackState::Idle,
            amps if amps > 0.0 => PackState::Charging,
            _ => PackState::Discharging,
        };
        prop_assert_eq!(reading.state, Some(expected_state));
        prop_assert_eq!(reading.cell_voltages.len(), usize::from(cells));
        for (read, volts) in reading.cell_voltages.iter().zip(pack.cell_volts()) {
            prop_assert!((f64::from(read.unwrap().0) - volts * 1000.0).abs() < 1.0);
        }
        prop_assert_eq!(reading.temperatures.len(), usize::from(sensors));
        for (read, celsius) in reading.temperatures.iter().zip(pack.celsius()) {
            prop_assert!((read.unwrap().0 - celsius).abs() < 0.6);
        }
        prop_assert!(reading.withheld.is_empty() || cells == 1, "{:?}", reading.withheld);
    }
}
