//! Leads recorded cycles again, through the same code and at the recorded times, and says where anything differs.
//!
//! It reads no clock and touches no wire. A codec that panics on what it is fed is part of the answer.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::{Call, Cycle, End, Flight};
use crate::codec::{BadMemory, PollCycle};

/// What a repeated cycle came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// What came of it this time; none where it stays open.
    pub end: Option<End>,
    /// What differs from the record; nothing if all is the same.
    pub differences: Vec<String>,
}

/// Leads every kept cycle again, in order.
pub fn replay_all(flight: &Flight) -> Result<Vec<Replayed>, BadMemory> {
    let mut poll: Option<(u64, Box<dyn PollCycle + Send>)> = None;
    let mut replayed = Vec::new();
    for cycle in &flight.cycles {
        let mut differences = Vec::new();
        let mut current = match poll.take() {
            Some((incarnation, poll)) if incarnation == cycle.incarnation => {
                if poll.memory() != cycle.memory {
                    differences.push(format!(
                        "it had learned {} before, now it has learned {}",
                        cycle.memory,
                        poll.memory()
                    ));
                }
                poll
            }
            Some(_) | None => flight.driver.poll(),
        };
        current.remember(&cycle.memory)?;
        if cycle.cut_short {
            replayed.push(Replayed { end: cycle.end.clone(), differences });
            continue;
        }
        let end = lead(current.as_mut(), cycle, &mut differences);
        // After a panic its state is anybody's guess.
        if !matches!(end, Some(End::Panicked(_))) {
            poll = Some((cycle.incarnation, current));
        }
        replayed.push(Replayed { end, differences });
    }
    Ok(replayed)
}

fn lead(poll: &mut (dyn PollCycle + Send), cycle: &Cycle, differences: &mut Vec<String>) -> Option<End> {
    let led = catch_unwind(AssertUnwindSafe(|| {
        cycle.calls.iter().for_each(|call| repeat(poll, call, differences));
        match &cycle.end {
            Some(End::Reading(_) | End::Failed(_)) => Some(match poll.finish() {
                Ok(reading) => End::Reading(Box::new(reading)),
                Err(error) => End::Failed(error.to_string()),
            }),
            // The wire is not part of what is repeated.
            Some(End::LinkFailed(_) | End::Panicked(_)) | None => cycle.end.clone(),
        }
    }));
    let end = led.unwrap_or_else(|panic| Some(End::Panicked(words(panic.as_ref()))));
    if end != cycle.end && cycle.end.is_some() {
        differences.push(format!("it ended with {}, now with {}", told(&cycle.end), told(&end)));
    }
    end
}

fn repeat(poll: &mut dyn PollCycle, call: &Call, differences: &mut Vec<String>) {
    match call {
        Call::Began { at_ns } => poll.begin(Duration::from_nanos(*at_ns)),
        Call::Asked { at_ns, bytes, secret } => {
            let request = poll.next_request(Duration::from_nanos(*at_ns));
            let same = request.as_ref().is_some_and(|request| *secret || request == bytes);
            if !same {
                let asks = request.map_or_else(|| "nothing".to_owned(), hex::encode);
                differences.push(format!("it asked {}, now it asks {asks}", hex::encode(bytes)));
            }
        }
        Call::Heard { at_ns, bytes } => poll.handle_input(bytes, Duration::from_nanos(*at_ns)),
        Call::Woken { at_ns } => poll.handle_timeout(Duration::from_nanos(*at_ns)),
        Call::Injected { .. } => {}
    }
}

fn told(end: &Option<End>) -> String {
    end.as_ref().and_then(|end| serde_json::to_string(end).ok()).unwrap_or_else(|| "nothing".to_owned())
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;
    use voltree_model::{PackReading, Timestamp};

    use super::*;
    use crate::bms::Driver;
    use crate::codec::PollError;
    use crate::flight::{FlightRecorder, Recorded};

    /// A codec with a mistake: it can't bear the byte 0xEE.
    #[derive(Default)]
    struct Brittle {
        done: bool,
    }

    impl PollCycle for Brittle {
        fn begin(&mut self, _now: Duration) {
            self.done = false;
        }

        fn next_request(&mut self, _now: Duration) -> Option<Vec<u8>> {
            Some(vec![1])
        }

        fn handle_input(&mut self, bytes: &[u8], _now: Duration) {
            assert!(!bytes.contains(&0xEE), "can't bear {:#x}", bytes[0]);
            self.done = true;
        }

        fn poll_timeout(&self) -> Option<Duration> {
            None
        }

        fn handle_timeout(&mut self, _now: Duration) {}

        fn is_done(&self) -> bool {
            self.done
        }

        fn finish(&mut self) -> Result<PackReading, PollError> {
            Ok(PackReading::default())
        }

        fn bad_frames(&self) -> u64 {
            0
        }
    }

    /// The record of a cycle in which the device says this.
    fn record(says: &[u8]) -> Cycle {
        let (recorder, mut codec) = (Arc::new(FlightRecorder::default()), Brittle::default());
        let pen = recorder.pen(&Driver::Jk, 1);
        let led = catch_unwind(AssertUnwindSafe(|| {
            let mut recorded = Recorded::new(&mut codec, &pen, Timestamp::from_millis(1));
            recorded.begin(Duration::ZERO);
            recorded.next_request(Duration::ZERO);
            recorded.handle_input(says, Duration::from_millis(1));
            recorded.finish().ok();
        }));
        assert_eq!(led.is_err(), says.contains(&0xEE));
        recorder.flight().and_then(|flight| flight.cycles.into_iter().next()).expect("a cycle was recorded")
    }

    #[test]
    fn a_codec_that_panicked_panics_again_with_the_same_words() {
        let cycle = record(&[0xEE]);
        assert_eq!((cycle.calls.len(), &cycle.end), (3, &None), "the last thing heard was recorded");
        let mut differences = Vec::new();
        let end = lead(&mut Brittle::default(), &cycle, &mut differences);
        assert_eq!(end, Some(End::Panicked("can't bear 0xee".to_owned())));
        assert!(differences.is_empty(), "{differences:?}");
    }

    #[test]
    fn a_codec_that_panics_only_now_differs() {
        let mut cycle = record(&[0xAA]);
        let mut differences = Vec::new();
        lead(&mut Brittle::default(), &cycle, &mut differences);
        assert!(differences.is_empty(), "{differences:?}");
        cycle.calls[2] = Call::Heard { at_ns: 1, bytes: vec![0xEE] };
        cycle.memory = Value::Null;
        lead(&mut Brittle::default(), &cycle, &mut differences);
        assert_eq!(differences.len(), 1, "{differences:?}");
        assert!(differences[0].contains("now with {\"panicked\":\"can't bear 0xee\"}"), "{differences:?}");
    }
}
