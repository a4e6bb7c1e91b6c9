use super::*;
use proptest::prelude::*;

fn panic_of(message: &str) -> ExitReason {
    ExitReason::Panic { message: message.to_owned(), location: None }
}

fn running(core: &mut Core, name: &str, policy: RestartPolicy) {
    let added = core.step(Event::Added { child: name.to_owned(), policy, restarted: false }, Duration::ZERO);
    assert_eq!(added, [Action::Start { child: name.to_owned(), generation: 1 }]);
    core.step(Event::Started { child: name.to_owned(), generation: 1 }, Duration::ZERO);
}

fn end(core: &mut Core, name: &str, generation: u64, asked: bool, at_s: u64) -> Vec<Action> {
    let reason = panic_of("boom");
    let event = Event::Ended { child: name.to_owned(), generation, reason, asked };
    core.step(event, Duration::from_secs(at_s))
}

#[test]
fn a_first_failure_restarts_at_once_as_the_next_generation() {
    let mut core = Core::new(1);
    running(&mut core, "a", RestartPolicy::DEVICE);
    let actions = end(&mut core, "a", 1, false, 1);
    assert!(matches!(&actions[0], Action::Report { kind: EventKind::Failed, .. }));
    assert_eq!(actions[1], Action::Start { child: "a".to_owned(), generation: 2 });
    let started = core.step(Event::Started { child: "a".to_owned(), generation: 2 }, Duration::ZERO);
    assert!(matches!(&started[0], Action::Report { kind: EventKind::Restarted, .. }));
}

#[test]
fn the_end_of_an_old_generation_changes_nothing() {
    let mut core = Core::new(1);
    running(&mut core, "a", RestartPolicy::DEVICE);
    end(&mut core, "a", 1, false, 1);
    assert_eq!(end(&mut core, "a", 1, false, 1), []);
}

#[test]
fn a_device_that_fails_too_often_is_parked_and_tried_again() {
    let mut core = Core::new(1);
    running(&mut core, "a", RestartPolicy::DEVICE);
    let mut generation = 1;
    let parked = loop {
        let actions = end(&mut core, "a", generation, false, 1);
        if actions.iter().any(|a| matches!(a, Action::Report { kind: EventKind::Parked, .. })) {
            break actions;
        }
        core.step(Event::Due { child: "a".to_owned(), generation }, Duration::ZERO);
        generation += 1;
        core.step(Event::Started { child: "a".to_owned(), generation }, Duration::ZERO);
    };
    assert_eq!(generation, 6, "five restarts, then parked");
    assert!(matches!(parked[1], Action::Arm { delay, .. } if delay == Duration::from_secs(60)));
    let retried = core.step(Event::Due { child: "a".to_owned(), generation }, Duration::from_secs(61));
    assert_eq!(retried, [Action::Start { child: "a".to_owned(), generation: 7 }]);
}

#[test]
fn an_asked_kill_never_counts() {
    let mut core = Core::new(1);
    running(&mut core, "a", RestartPolicy::GROUP);
    for generation in 1..200 {
        let actions = end(&mut core, "a", generation, true, 1);
        assert_eq!(actions[1], Action::Start { child: "a".to_owned(), generation: generation + 1 });
        core.step(Event::Started { child: "a".to_owned(), generation: generation + 1 }, Duration::ZERO);
    }
}

#[test]
fn a_service_that_fails_too_often_escalates() {
    let mut core = Core::new(1);
    running(&mut core, "a", RestartPolicy { max_restarts: 0, ..RestartPolicy::SERVICE });
    let actions = end(&mut core, "a", 1, false, 1);
    assert!(matches!(actions.last(), Some(Action::Escalate { .. })));
}

#[test]
fn a_temporary_child_is_forgotten_however_it_ends() {
    let mut core = Core::new(1);
    running(&mut core, "a", RestartPolicy::SESSION);
    let actions = end(&mut core, "a", 1, false, 1);
    assert_eq!(actions.last(), Some(&Action::Forget { child: "a".to_owned() }));
}

#[test]
fn shutdown_stops_the_last_started_first_and_then_finishes() {
    let mut core = Core::new(1);
    running(&mut core, "a", RestartPolicy::SERVICE);
    running(&mut core, "b", RestartPolicy::SERVICE);
    let first = core.step(Event::ShutDown, Duration::ZERO);
    assert_eq!(first, [Action::Stop { child: "b".to_owned(), generation: 1 }]);
    let stopped = |core: &mut Core, name: &str| {
        let event =
            Event::Ended { child: name.to_owned(), generation: 1, reason: ExitReason::Stopped, asked: false };
        core.step(event, Duration::ZERO)
    };
    assert_eq!(stopped(&mut core, "b")[1], Action::Stop { child: "a".to_owned(), generation: 1 });
    assert_eq!(stopped(&mut core, "a")[1], Action::Finish);
}

#[derive(Debug, Clone)]
enum Op {
    Add(u8),
    Start(u8),
    End(u8, bool),
    StaleEnd(u8),
    Due(u8),
    StaleDue(u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let child = 0_u8..3;
    prop::collection::vec(
        prop_oneof![
            child.clone().prop_map(Op::Add),
            child.clone().prop_map(Op::Start),
            (child.clone(), any::<bool>()).prop_map(|(c, asked)| Op::End(c, asked)),
            child.clone().prop_map(Op::StaleEnd),
            child.clone().prop_map(Op::Due),
            child.prop_map(Op::StaleDue),
        ],
        0..120,
    )
}

proptest! {
    /// Whatever happens in whatever order, a child is started only when no start or incarnation of it is under way.
    #[test]
    fn there_is_at_most_one_current_generation(ops in ops()) {
        let mut core = Core::new(7);
        let mut live: BTreeMap<String, u64> = BTreeMap::new();
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        for (at, op) in ops.into_iter().enumerate() {
            let now = Duration::from_millis(at as u64 * 37);
            let name = |c: u8| format!("c{c}");
            let event = match op {
                Op::Add(c) => Event::Added { child: name(c), policy: RestartPolicy::DEVICE, restarted: false },
                Op::Start(c) => Event::Started { child: name(c), generation: last.get(&name(c)).copied().unwrap_or(0) },
                Op::End(c, asked) => {
                    let Some(generation) = live.remove(&name(c)) else { continue };
                    Event::Ended { child: name(c), generation, reason: panic_of("x"), asked }
                }
                Op::StaleEnd(c) => {
                    let generation = last.get(&name(c)).copied().unwrap_or(0).saturating_sub(1);
                    Event::Ended { child: name(c), generation, reason: panic_of("late"), asked: false }
                }
                Op::Due(c) => Event::Due { child: name(c), generation: last.get(&name(c)).copied().unwrap_or(0) },
                Op::StaleDue(c) => {
                    let generation = last.get(&name(c)).copied().unwrap_or(0).saturating_sub(1);
                    Event::Due { child: name(c), generation }
                }
            };
            for action in core.step(event, now) {
                if let Action::Start { child, generation } = action {
                    prop_assert!(live.insert(child.clone(), generation).is_none(), "{child} started twice");
                    prop_assert!(last.insert(child.clone(), generation).unwrap_or(0) < generation);
                }
            }
        }
    }
}
