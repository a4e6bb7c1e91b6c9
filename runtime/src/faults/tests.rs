use std::time::Duration;

use super::*;

const POINT: FaultPoint = FaultPoint {
    name: "test.point",
    kinds: &[FaultKind::Panic, FaultKind::Error, FaultKind::Delay, FaultKind::Freeze, FaultKind::ClockStep],
    help: "targets are names",
};
const POINTS: &[FaultPoint] = &[POINT];

fn faults() -> Faults {
    Faults::new(POINTS, 7)
}

#[test]
fn a_fault_strikes_its_target_as_often_as_it_was_told_and_then_the_point_is_free() {
    let faults = faults();
    assert!(faults.trip(POINT, "a").is_none());
    let fault =
        Fault { target: Some("a*".to_owned()), times: Some(2), ..Fault::new(POINT, FaultKind::Error) };
    faults.inject(fault).unwrap();
    assert!(faults.trip(POINT, "b").is_none());
    assert!(faults.pass_blocking(POINT, "a-1").is_err());
    assert!(faults.pass_blocking(POINT, "a-2").is_err());
    assert!(faults.pass_blocking(POINT, "a-1").is_ok());
    assert!(faults.active().is_empty());
    assert!(!faults.inner.armed.load(Ordering::Relaxed), "nothing to look at any more");
    assert_eq!(faults.trips(), BTreeMap::from([(("test.point", FaultKind::Error), 2)]));
}

#[test]
fn what_can_not_happen_is_refused_with_what_can() {
    let faults = faults();
    let unknown = Fault { point: "test.pont".to_owned(), ..Fault::new(POINT, FaultKind::Error) };
    assert!(faults.inject(unknown).unwrap_err().to_string().contains("there are test.point"));
    let impossible = Fault::new(POINT, FaultKind::DiskFull);
    assert!(faults.inject(impossible).unwrap_err().to_string().contains("possible are panic, error"));
    let unlikely = Fault { probability: 1.5, ..Fault::new(POINT, FaultKind::Error) };
    assert!(faults.inject(unlikely).is_err());
}

#[test]
fn chance_follows_the_seed() {
    let strikes = |seed| {
        let faults = Faults::new(POINTS, seed);
        faults.inject(Fault { probability: 0.5, ..Fault::new(POINT, FaultKind::Error) }).unwrap();
        (0..64).map(|_| faults.trip(POINT, "").is_some()).collect::<Vec<_>>()
    };
    assert_eq!(strikes(1), strikes(1));
    assert_ne!(strikes(1), strikes(2));
}

#[tokio::test(start_paused = true)]
async fn a_freeze_thaws_when_its_time_is_over_or_when_it_is_cleared() {
    let faults = faults();
    let begun = clock::monotonic();
    let lasts = Some(Duration::from_secs(5));
    faults.inject(Fault { lasts, ..Fault::new(POINT, FaultKind::Freeze) }).unwrap();
    faults.pass(POINT, "").await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    faults.inject(Fault { times: Some(1), ..Fault::new(POINT, FaultKind::Freeze) }).unwrap();
    let frozen = faults.pass(POINT, "");
    tokio::pin!(frozen);
    assert!(tokio::time::timeout(Duration::from_secs(3_600), frozen.as_mut()).await.is_err());
    faults.clear();
    frozen.await.unwrap();
}

#[test]
fn a_thread_thaws_too() {
    let faults = faults();
    faults.inject(Fault::new(POINT, FaultKind::Freeze)).unwrap();
    let frozen = std::thread::spawn({
        let faults = faults.clone();
        move || faults.pass_blocking(POINT, "")
    });
    while faults.trips().is_empty() {
        std::thread::yield_now();
    }
    while !frozen.is_finished() {
        faults.clear();
        std::thread::yield_now();
    }
    frozen.join().unwrap().unwrap();
}

#[test]
fn a_clock_step_moves_the_clock_of_its_node_only() {
    let (faults, other) = (faults(), faults());
    faults.inject(Fault { step_ms: -3_600_000, ..Fault::new(POINT, FaultKind::ClockStep) }).unwrap();
    assert!(faults.now_ms(POINT) < other.now_ms(POINT) - 3_000_000);
    faults.clear();
    assert!(faults.now_ms(POINT) > clock::now_ms() - 60_000);
}

#[test]
fn an_injected_panic_says_that_it_is_one() {
    let faults = faults();
    faults.inject(Fault::new(POINT, FaultKind::Panic)).unwrap();
    let died = std::thread::spawn(move || faults.pass_blocking(POINT, "")).join().unwrap_err();
    assert_eq!(died.downcast_ref::<String>().unwrap(), "injected fault 1 at test.point");
}
