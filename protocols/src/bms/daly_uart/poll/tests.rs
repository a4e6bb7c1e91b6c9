use proptest::prelude::*;
use voltree_model::{Amps, WithheldReason};

use super::*;
use crate::bms::daly_uart::FRAME_BYTES;

const ANSWER_DELAY: Duration = Duration::from_millis(15);

/// Plays one cycle in virtual time. `answer` gets every request with its count and gives the bytes that come back.
fn cycle(
    poll: &mut DalyPoll,
    mut answer: impl FnMut(&Frame, usize) -> Vec<u8>,
) -> (Result<PackReading, PollError>, Vec<u8>, Duration) {
    let (mut now, mut asked) = (Duration::ZERO, Vec::new());
    poll.begin(now);
    for _ in 0..2_000 {
        if poll.is_done() {
            return (poll.finish(), asked, now);
        }
        if let Some(request) = poll.next_request(now) {
            let request = Frame::parse(&request).expect("requests are frames");
            asked.push(request.command);
            let bytes = answer(&request, asked.len());
            if !bytes.is_empty() {
                now += ANSWER_DELAY;
                poll.handle_input(&bytes, now);
            }
        } else {
            now = now.max(poll.poll_timeout().expect("a running cycle wants to be woken"));
            poll.handle_timeout(now);
        }
    }
    panic!("the cycle never ended, asked {asked:02x?}");
}

fn bytes(command: u8, datas: &[[u8; 8]]) -> Vec<u8> {
    datas.iter().flat_map(|data| Frame { address: 1, command, data: *data }.to_bytes()).collect()
}

/// A 4-cell board with one sensor that discharges 50 A and says so with a positive number.
fn healthy(request: &Frame) -> Vec<u8> {
    let command = request.command;
    match command {
        command::PACK => bytes(command, &[[0, 132, 0, 0, 0x77, 0x24, 3, 0x38]]),
        command::SWITCHES => bytes(command, &[[2, 1, 1, 9, 0, 0, 0x23, 0x82]]),
        command::STATUS => bytes(command, &[[4, 1, 0, 1, 2, 0, 53, 0xDC]]),
        command::CELLS => {
            bytes(command, &[[1, 12, 228, 12, 229, 12, 230, 0], [2, 12, 231, 0x0F, 0x8C, 0x0F, 0xD7, 0]])
        }
        command::TEMPERATURES => bytes(command, &[[1, 61, 0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0]]),
        command::BALANCE => bytes(command, &[[0b0000_0100, 1, 0, 0, 0, 0, 0, 0]]),
        command::FAULTS => bytes(command, &[[0b0000_0001, 0, 0, 0, 0, 0, 0, 0]]),
        other => panic!("nobody should ask {other:#04x}"),
    }
}

fn poll() -> DalyPoll {
    DalyPoll::new(DalyConfig::default())
}

const FULL: [u8; 7] = [0x94, 0x90, 0x93, 0x95, 0x96, 0x97, 0x98];

#[test]
fn a_healthy_board_gives_a_whole_reading() {
    let mut poll = poll();
    let (reading, asked, took) = cycle(&mut poll, |request, _| healthy(request));
    let reading = reading.unwrap();
    assert_eq!(asked, FULL);
    assert_eq!(reading.pack_current, Some(Amps(-50.0)), "the sign comes from the state");
    let cells: Vec<u16> = reading.cell_voltages.iter().map(|cell| cell.unwrap().0).collect();
    assert_eq!(cells, [3300, 3301, 3302, 3303], "slots past the last cell are cut off");
    assert_eq!(reading.temperatures.len(), 1);
    assert_eq!(reading.cycles, Some(53));
    assert_eq!(reading.cells_balancing, Some(vec![3]), "cell 9 is not there");
    assert_eq!(reading.warnings, ["overvoltage"]);
    assert!(reading.withheld.is_empty());
    assert!(took < Duration::from_millis(400), "took {took:?}");
}

#[test]
fn the_status_is_asked_first_while_unknown_and_again_when_old() {
    let mut poll = DalyPoll::new(DalyConfig { cycles_per_status: 3, ..DalyConfig::default() });
    let firsts: Vec<u8> = (0..6).map(|_| cycle(&mut poll, |request, _| healthy(request)).1[0]).collect();
    assert_eq!(firsts, [0x94, 0x90, 0x90, 0x94, 0x90, 0x90]);
}

#[test]
fn a_silent_board_is_given_up_after_three_attempts() {
    let mut poll = poll();
    let (reading, asked, took) = cycle(&mut poll, |_, _| Vec::new());
    assert_eq!(reading, Err(PollError::NoAnswer { question: "0x94 (status)", attempts: 3 }));
    assert_eq!(asked, [0x94; 3]);
    assert_eq!(took, 3 * ANSWER_TIMEOUT + 2 * RETRY_PAUSE);
    assert_eq!(poll.stats().retries, 2);
}

#[test]
fn noise_without_an_answer_is_told_from_silence() {
    let (reading, ..) = cycle(&mut poll(), |_, _| vec![0x55; 20]);
    assert_eq!(reading, Err(PollError::Garbled { question: "0x94 (status)", attempts: 3, bytes: 60 }));
}

#[test]
fn a_corrupt_answer_is_asked_for_again() {
    let mut poll = poll();
    let (reading, asked, _) = cycle(&mut poll, |request, count| {
        let mut answer = healthy(request);
        answer[6] ^= u8::from(count == 2);
        answer
    });
    assert!(reading.is_ok());
    assert_eq!(asked, [0x94, 0x90, 0x90, 0x93, 0x95, 0x96, 0x97, 0x98]);
    assert_eq!(poll.stats().frames.bad_checksum, 1);
}

#[test]
fn frames_of_two_attempts_make_one_set() {
    let mut cell_requests = 0;
    let (reading, ..) = cycle(&mut poll(), |request, _| {
        let answer = healthy(request);
        if request.command != command::CELLS {
            return answer;
        }
        cell_requests += 1;
        if cell_requests == 1 { answer[..FRAME_BYTES].to_vec() } else { answer[FRAME_BYTES..].to_vec() }
    });
    assert_eq!(reading.unwrap().cell_voltages.len(), 4);
    assert_eq!(cell_requests, 2);
}

#[test]
fn a_set_that_stays_incomplete_is_withheld_and_the_rest_is_kept() {
    let (reading, ..) = cycle(&mut poll(), |request, _| {
        let answer = healthy(request);
        if request.command == command::CELLS { answer[..FRAME_BYTES].to_vec() } else { answer }
    });
    let reading = reading.unwrap();
    assert!(
        reading.cell_voltages.is_empty() && reading.pack_voltage.is_some() && reading.temperatures.len() == 1
    );
    let withheld: Vec<_> = reading.withheld.iter().map(|w| (w.metric.as_str(), w.reason)).collect();
    assert_eq!(withheld, [("cell_voltage", WithheldReason::Incomplete)]);
}

#[test]
fn a_command_the_board_does_not_know_costs_one_attempt_from_the_second_cycle_on() {
    let mut poll = poll();
    let mut mute = |request: &Frame, _| {
        if request.command == command::BALANCE { Vec::new() } else { healthy(request) }
    };
    let (first, asked, _) = cycle(&mut poll, &mut mute);
    assert_eq!(first.unwrap().cells_balancing, None);
    assert_eq!(asked.iter().filter(|command| **command == command::BALANCE).count(), 3);
    let (second, asked, _) = cycle(&mut poll, &mut mute);
    assert!(second.is_ok());
    assert_eq!(asked, [0x90, 0x93, 0x95, 0x96, 0x97, 0x98]);
}

#[test]
fn a_pack_that_can_not_be_true_is_read_again_and_then_withheld() {
    let mut pack_requests = 0;
    let (reading, ..) = cycle(&mut poll(), |request, _| {
        if request.command != command::PACK {
            return healthy(request);
        }
        pack_requests += 1;
        bytes(command::PACK, &[[0, 132, 0, 0, 0x77, 0x24, 0xFF, 0xFF]])
    });
    let reading = reading.unwrap();
    assert_eq!(pack_requests, 3);
    assert_eq!((reading.soc, reading.pack_current), (None, Some(Amps(-50.0))));
}

#[test]
fn a_cell_count_that_can_not_be_true_is_an_error_while_none_is_known() {
    let (reading, ..) = cycle(&mut poll(), |_, _| bytes(command::STATUS, &[[0; 8]]));
    assert_eq!(reading, Err(PollError::Implausible { question: "0x94 (status)", attempts: 3 }));
}

#[test]
fn another_boards_answer_and_our_own_echo_are_not_taken() {
    let mut poll = poll();
    let (reading, ..) = cycle(&mut poll, |request, _| {
        let other = Frame { address: 2, command: request.command, data: [0xEE; 8] };
        [&request.to_bytes()[..], &other.to_bytes(), &healthy(request)].concat()
    });
    assert_eq!(reading.unwrap().cycles, Some(53));
    // Each of seven requests came back with an echo and a neighbour, and 0x96 with a frame too many.
    assert_eq!(poll.stats().stray_frames, 15);
}

#[test]
fn the_line_rests_before_every_request() {
    let mut poll = poll();
    poll.begin(Duration::ZERO);
    assert!(poll.next_request(Duration::ZERO).is_some());
    poll.handle_input(&bytes(command::STATUS, &[[4, 1, 0, 1, 2, 0, 53, 0]]), ANSWER_DELAY);
    assert_eq!(poll.next_request(ANSWER_DELAY + GAP - Duration::from_millis(1)), None);
    poll.handle_input(&[0], ANSWER_DELAY + Duration::from_millis(10));
    assert_eq!(poll.next_request(ANSWER_DELAY + GAP), None, "a late byte puts the request off");
    assert!(poll.next_request(ANSWER_DELAY + GAP + Duration::from_millis(10)).is_some());
}

#[test]
fn a_board_that_never_stops_talking_is_given_up() {
    let mut poll = poll();
    let mut now = Duration::ZERO;
    poll.begin(now);
    let chatter = bytes(command::CELLS, &[[0xFF; 8]]);
    while !poll.is_done() {
        let answer = poll.next_request(now).map(|request| healthy(&Frame::parse(&request).unwrap()));
        poll.handle_input(&answer.filter(|bytes| bytes[2] != command::CELLS).unwrap_or_default(), now);
        now += Duration::from_millis(10);
        poll.handle_input(&chatter, now);
        assert!(now < Duration::from_secs(30), "still talking");
    }
    let reading = poll.finish().unwrap();
    assert_eq!(reading.withheld[0].reason, WithheldReason::Incomplete);
}

#[test]
fn a_result_is_handed_out_once_and_only_when_done() {
    let mut poll = poll();
    assert_eq!(poll.finish(), Err(PollError::Unfinished));
    assert!(cycle(&mut poll, |request, _| healthy(request)).0.is_ok());
    assert_eq!(poll.finish(), Err(PollError::Unfinished));
}

#[test]
fn a_fixed_sign_is_not_argued_with() {
    let mut poll = DalyPoll::new(DalyConfig { current_sign: CurrentSign::Normal, ..DalyConfig::default() });
    let (reading, ..) = cycle(&mut poll, |request, _| healthy(request));
    assert_eq!(reading.unwrap().pack_current, Some(Amps(50.0)));
}

/// Bytes with many things in them that look like frames, but never the answer to anything asked.
fn rubbish() -> impl Strategy<Value = Vec<u8>> {
    let wrong = (0u8..=1, any::<u8>(), any::<[u8; 8]>()).prop_map(|(address, command, data)| {
        let address = if (0x90..=0x98).contains(&command) { 2 } else { address };
        Frame { address, command, data }.to_bytes().to_vec()
    });
    let noise = proptest::collection::vec(prop_oneof![Just(0xA5), Just(8), any::<u8>()], 0..40);
    proptest::collection::vec(prop_oneof![wrong, noise], 0..4).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn a_board_that_answers_rubbish_ends_in_an_error(answers in proptest::collection::vec(rubbish(), 3)) {
        let mut poll = poll();
        let (reading, asked, took) = cycle(&mut poll, |_, count| answers[count - 1].clone());
        prop_assert!(reading.is_err());
        prop_assert!(asked.len() == 3 && took < Duration::from_secs(5));
    }

    #[test]
    fn any_answers_end_in_bounded_time(
        answers in proptest::collection::vec((any::<[u8; 8]>(), 0u8..12, any::<bool>()), 1..40),
    ) {
        let mut poll = poll();
        for _ in 0..2 {
            let (_, asked, took) = cycle(&mut poll, |request, count| {
                let (data, number, sane) = answers[count % answers.len()];
                if sane { return healthy(request) }
                bytes(request.command, &[[number, data[1], data[2], data[3], data[4], data[5], data[6], data[7]]])
            });
            prop_assert!(asked.len() <= 21 && took < Duration::from_secs(20), "{took:?} for {asked:02x?}");
        }
    }
}
