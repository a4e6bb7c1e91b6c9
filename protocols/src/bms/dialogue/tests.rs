use std::collections::VecDeque;

use proptest::prelude::*;
use voltree_model::Percent;

use super::*;

/// Asks for a number twice: one letter is a request, a digit the answer, `?` nonsense, `!` a refusal.
#[derive(Debug, Default)]
struct Toy {
    plan: VecDeque<char>,
    heard: VecDeque<u8>,
    essential_answer: Option<u8>,
    given_up: Vec<char>,
    stats: FrameStats,
}

impl Dialect for Toy {
    type Question = char;

    fn timing(&self) -> Timing {
        Timing { first_answer: Duration::from_millis(300), ..Timing::SERIAL }
    }

    fn begin(&mut self) {
        self.plan = ['e', 'o'].into();
        self.essential_answer = None;
    }

    fn next_question(&mut self) -> Option<char> {
        self.plan.pop_front()
    }

    fn describe(&self, question: char) -> Ask {
        Ask { name: "a letter", essential: question == 'e' }
    }

    fn request(&mut self, question: char) -> Vec<u8> {
        question.to_string().into_bytes()
    }

    fn forget_input(&mut self) {
        self.heard.clear();
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.heard.extend(bytes);
    }

    fn end_of_input(&mut self) {}

    fn next_heard(&mut self, question: char) -> Option<Heard> {
        Some(match self.heard.pop_front()? {
            b'!' => Heard::Refused("it says no"),
            b'?' => Heard::Implausible,
            b'.' => Heard::Part,
            digit @ b'0'..=b'9' => {
                if question == 'e' {
                    self.essential_answer = Some(digit - b'0');
                }
                Heard::Answer
            }
            _ => Heard::Stray,
        })
    }

    fn give_up(&mut self, question: char) {
        self.given_up.push(question);
    }

    fn reading(&mut self) -> PackReading {
        PackReading { soc: self.essential_answer.map(|n| Percent(n.into())), ..PackReading::default() }
    }

    fn frame_stats(&self) -> FrameStats {
        self.stats
    }
}

/// Runs one cycle; `answer` is asked for the bytes that follow the n-th request.
fn run(
    dialogue: &mut Dialogue<Toy>,
    mut answer: impl FnMut(u32, char) -> &'static str,
) -> (Result<PackReading, PollError>, Duration) {
    let (mut now, mut requests) = (Duration::ZERO, 0);
    dialogue.begin(now);
    while !dialogue.is_done() {
        if let Some(request) = dialogue.next_request(now) {
            let bytes = answer(requests, char::from(request[0]));
            requests += 1;
            if !bytes.is_empty() {
                now += Duration::from_millis(5);
                dialogue.handle_input(bytes.as_bytes(), now);
            }
        } else {
            now = dialogue.poll_timeout().unwrap();
            dialogue.handle_timeout(now);
        }
    }
    (dialogue.finish(), now)
}

#[test]
fn answers_end_in_a_reading() {
    let (reading, took) = run(&mut Dialogue::new(Toy::default()), |_, _| "x7");
    assert_eq!(reading.unwrap().soc, Some(Percent(7.0)));
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[test]
fn a_device_that_sleeps_through_the_first_request_is_asked_again_soon() {
    let mut dialogue = Dialogue::new(Toy::default());
    let (reading, took) = run(&mut dialogue, |n, _| if n == 0 { "" } else { "3" });
    assert!(reading.is_ok() && took < Duration::from_millis(600), "{took:?}");
    assert_eq!(dialogue.stats().retries, 1);
}

#[test]
fn a_silent_device_fails_the_cycle_after_three_attempts() {
    let (reading, _) = run(&mut Dialogue::new(Toy::default()), |_, _| "");
    assert_eq!(reading, Err(PollError::NoAnswer { question: "a letter", attempts: 3 }));
    let (reading, _) = run(&mut Dialogue::new(Toy::default()), |_, _| "xy");
    assert_eq!(reading, Err(PollError::Garbled { question: "a letter", attempts: 3, bytes: 6 }));
    let (reading, _) = run(&mut Dialogue::new(Toy::default()), |_, _| "?");
    assert_eq!(reading, Err(PollError::Implausible { question: "a letter", attempts: 3 }));
}

#[test]
fn a_refusal_is_passed_on_and_not_argued_with() {
    let mut dialogue = Dialogue::new(Toy::default());
    let (reading, _) = run(&mut dialogue, |_, _| "!");
    assert_eq!(reading, Err(PollError::Refused { question: "a letter", refusal: "it says no" }));
    assert_eq!(dialogue.stats().requests, 1);
}

#[test]
fn what_is_not_essential_may_stay_silent_and_is_then_asked_once_a_cycle() {
    let mut dialogue = Dialogue::new(Toy::default());
    for requests in [4, 6] {
        let (reading, _) = run(&mut dialogue, |_, letter| if letter == 'e' { "5" } else { "" });
        assert_eq!(reading.unwrap().soc, Some(Percent(5.0)));
        assert_eq!(dialogue.stats().requests, requests);
    }
    assert_eq!(dialogue.dialect().given_up, ['o', 'o']);
}

#[test]
fn parts_without_end_do_not_hold_the_line() {
    let mut dialogue = Dialogue::new(Toy::default());
    let mut now = Duration::ZERO;
    dialogue.begin(now);
    while !dialogue.is_done() {
        if dialogue.next_request(now).is_none() {
            now += Duration::from_millis(50);
            dialogue.handle_input(b".", now);
        }
        assert!(now < Duration::from_secs(10), "it never ended");
    }
    assert!(matches!(dialogue.finish(), Err(PollError::Garbled { .. })));
}

proptest! {
    #[test]
    fn every_cycle_ends_whatever_is_heard(answers in proptest::collection::vec("[0-9x?!.]{0,3}", 1..20)) {
        let mut dialogue = Dialogue::new(Toy::default());
        let leaked: Vec<&'static str> = answers.into_iter().map(|a| &*a.leak()).collect();
        let (_, took) = run(&mut dialogue, |n, _| leaked[n as usize % leaked.len()]);
        prop_assert!(took < Duration::from_secs(20));
    }
}
