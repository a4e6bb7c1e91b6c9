use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use voltree_protocols::bms::Driver;
use voltree_protocols::flight::{FlightRecorder, Recorded};

use super::*;

const POINT: &str = "injected fault 3 at bms.poll.before_decode";

/// A report of a device that answers nothing, whose actor ended like this in its second conversation.
fn report(reason: Option<ExitReason>, fault: Option<&str>) -> FlightReport {
    let (recorder, driver) = (Arc::new(FlightRecorder::default()), Driver::Jk);
    let pen = recorder.pen(&driver, 4);
    let mut poll = driver.poll();
    for ends in [true, false] {
        use voltree_protocols::codec::PollCycle as _;
        let mut recorded = Recorded::new(poll.as_mut(), &pen, Timestamp::from_millis(5));
        let mut now = Duration::ZERO;
        recorded.begin(now);
        while ends && !recorded.is_done() {
            if recorded.next_request(now).is_none() {
                now = recorded.poll_timeout().unwrap();
                recorded.handle_timeout(now);
            }
        }
        if ends {
            recorded.finish().unwrap_err();
        }
    }
    fault.into_iter().for_each(|fault| pen.injected(fault.to_owned()));
    FlightReport {
        format: FORMAT,
        build: Build { version: "1".to_owned(), commit: None, target: "any".to_owned() },
        device: DeviceId::new("pack").unwrap(),
        kind: "jk_bms".to_owned(),
        written_at: Timestamp::from_millis(6),
        crash: reason.map(|reason| Crash { at: Timestamp::from_millis(6), incarnation: 4, reason }),
        flight: recorder.flight(),
        publishes: Vec::new(),
    }
}

fn panic(message: &str) -> Option<ExitReason> {
    Some(ExitReason::Panic { message: message.to_owned(), location: None })
}

fn found(reason: Option<ExitReason>, fault: Option<&str>) -> Postmortem {
    let report = report(reason, fault);
    let text = serde_json::to_vec(&report).unwrap();
    let read = FlightReport::parse(&text).unwrap();
    assert_eq!(read, report);
    examine(&read).unwrap()
}

#[test]
fn a_reason_is_the_same_only_if_the_conversation_comes_to_it() {
    let at_the_point = format!("{POINT}: panic");
    let same = found(panic(POINT), Some(&at_the_point));
    assert!(matches!(same.reason, ReasonFound::Same(_)) && same.is_same(), "{same:?}");
    assert_eq!((same.repeated, same.readings), (2, 0));
    let frozen = Some(ExitReason::Frozen { limit_ms: 30_000 });
    let same = found(frozen.clone(), Some("injected fault 1 at bms.link: freeze"));
    assert!(matches!(same.reason, ReasonFound::Same(_)), "{same:?}");

    let other = found(panic("injected fault 9 at bms.poll.before_decode"), Some(&at_the_point));
    assert!(matches!(other.reason, ReasonFound::Outside(_)), "{other:?}");
    let outside = found(panic("injected fault 1 at device.handle"), None);
    assert!(matches!(outside.reason, ReasonFound::Outside(_)) && outside.is_same(), "{outside:?}");
    let outside = found(frozen, None);
    assert!(matches!(outside.reason, ReasonFound::Outside(_)), "{outside:?}");
    let gone = found(panic("index out of bounds"), None);
    assert!(matches!(gone.reason, ReasonFound::Different(_)) && !gone.is_same(), "{gone:?}");
    assert_eq!(found(None, None).reason, ReasonFound::NoCrash);
}

#[test]
fn a_conversation_that_went_otherwise_is_told_with_its_place() {
    let mut report = report(None, None);
    let flight = report.flight.as_mut().unwrap();
    flight.cycles[0].end = Some(End::Failed("no answer to anything".to_owned()));
    let found = examine(&report).unwrap();
    assert!(!found.is_same());
    assert_eq!(found.differences.len(), 1, "{found:?}");
    assert!(
        found.differences[0].starts_with("cycle 1 of 2 at 1970-01-01T00:00:00.005Z: it ended with "),
        "{found:?}"
    );
}

#[test]
fn what_is_no_report_says_so() {
    let told = |text: &str| FlightReport::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(told("no json").starts_with("this is no flight report"));
    assert!(told("{\"format\":1}").starts_with("this is no flight report"));
    assert_eq!(
        told("{\"format\":2}"),
        "the report has form 2, this build reads form 1; use the build that wrote it"
    );
    let mut report = report(None, None);
    report.flight.as_mut().unwrap().cycles[0].memory = Value::from("nonsense");
    assert!(matches!(examine(&report), Err(ReportError::Memory(_))));
}
