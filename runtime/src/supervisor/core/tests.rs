mod model;

use super::*;
use crate::RestartPolicy;

fn terms(policy: RestartPolicy) -> Arc<Terms> {
    let limit = Duration::from_secs(5);
    Arc::new(Terms { policy, shutdown: limit, start: limit, stall: limit })
}

fn panic_of(message: &str) -> ExitReason {
    ExitReason::Panic { message: message.to_owned(), location: None }
}

fn core(strategy: Strategy) -> Core {
    Core::new(strategy, true, 1)
}

fn add(core: &mut Core, key: Key, policy: RestartPolicy) -> Vec<Action> {
    core.step(Event::Added { key, terms: terms(policy), lived: 0, held: false }, Duration::ZERO)
}

fn started(core: &mut Core, key: Key, generation: u64) -> Vec<Action> {
    core.step(Event::Started { key, generation }, Duration::ZERO)
}

fn running(core: &mut Core, key: Key, policy: RestartPolicy) {
    assert_eq!(add(core, key, policy), [Action::Start { key, generation: 1 }]);
    started(core, key, 1);
}

fn end(core: &mut Core, key: Key, generation: u64, asked: bool, at_s: u64) -> Vec<Action> {
    let event = Event::Ended { key, generation, reason: panic_of("boom"), asked };
    core.step(event, Duration::from_secs(at_s))
}

fn stopped(core: &mut Core, key: Key, generation: u64) -> Vec<Action> {
    let event = Event::Ended { key, generation, reason: ExitReason::Stopped, asked: false };
    core.step(event, Duration::ZERO)
}

/// What is done, without what is told and timed.
fn done(actions: Vec<Action>) -> Vec<Action> {
    let done = |action: &Action| !matches!(action, Action::Report { .. } | Action::Arm { .. });
    actions.into_iter().filter(done).collect()
}

fn armed(actions: &[Action]) -> (u32, Duration) {
    let timer = actions.iter().find_map(|action| match action {
        Action::Arm { timer, delay, .. } => Some((*timer, *delay)),
        Action::Start { .. }
        | Action::Report { .. }
        | Action::Stop { .. }
        | Action::Kill { .. }
        | Action::Fence { .. }
        | Action::Discard { .. }
        | Action::Forget { .. }
        | Action::Escalate { .. }
        | Action::Finish => None,
    });
    timer.unwrap()
}

#[test]
fn a_first_failure_restarts_at_once_as_the_next_generation() {
    let mut core = core(Strategy::OneForOne);
    running(&mut core, 1, RestartPolicy::DEVICE);
    let actions = end(&mut core, 1, 1, false, 1);
    assert!(matches!(&actions[0], Action::Report { kind: EventKind::Failed, .. }));
    assert_eq!(actions[1], Action::Start { key: 1, generation: 2 });
    assert!(matches!(started(&mut core, 1, 2)[0], Action::Report { kind: EventKind::Restarted, .. }));
}

#[test]
fn the_end_of_an_old_generation_changes_nothing() {
    let mut core = core(Strategy::OneForOne);
    running(&mut core, 1, RestartPolicy::DEVICE);
    end(&mut core, 1, 1, false, 1);
    assert_eq!(end(&mut core, 1, 1, false, 1), []);
}

#[test]
fn a_start_that_succeeds_after_it_was_given_up_is_discarded() {
    let mut core = core(Strategy::OneForOne);
    add(&mut core, 1, RestartPolicy::DEVICE);
    let overdue = ExitReason::StartFailed { chain: "too long".into() };
    let event = Event::Ended { key: 1, generation: 1, reason: overdue, asked: false };
    assert_eq!(done(core.step(event, Duration::ZERO)), [Action::Start { key: 1, generation: 2 }]);
    assert_eq!(started(&mut core, 1, 1), [Action::Discard { key: 1, generation: 1 }]);
    assert!(matches!(started(&mut core, 1, 2)[0], Action::Report { kind: EventKind::Restarted, .. }));
}

#[test]
fn a_device_that_fails_too_often_is_parked_and_tried_again() {
    let mut core = core(Strategy::OneForOne);
    running(&mut core, 1, RestartPolicy::DEVICE);
    let mut generation = 1;
    let parked = loop {
        let actions = end(&mut core, 1, generation, false, 1);
        if actions.iter().any(|a| matches!(a, Action::Report { kind: EventKind::Parked, .. })) {
            break actions;
        }
        if done(actions.clone()).is_empty() {
            core.step(Event::Due { key: 1, timer: armed(&actions).0 }, Duration::ZERO);
        }
        generation += 1;
        started(&mut core, 1, generation);
    };
    assert_eq!(generation, 6, "five restarts, then parked");
    let (timer, delay) = armed(&parked);
    assert_eq!(delay, Duration::from_secs(60));
    let probe = core.step(Event::Due { key: 1, timer }, Duration::from_secs(61));
    assert_eq!(probe, [Action::Start { key: 1, generation: 7 }]);
    core.step(Event::Started { key: 1, generation: 7 }, Duration::from_secs(61));
    let again = end(&mut core, 1, 7, false, 62);
    assert!(matches!(&again[0], Action::Report { kind: EventKind::Parked, .. }));
    assert_eq!(armed(&again).1, Duration::from_secs(120), "a probe that fails waits longer");
}

#[test]
fn an_asked_kill_never_counts() {
    let mut core = core(Strategy::OneForOne);
    running(&mut core, 1, RestartPolicy::GROUP);
    for generation in 1..200 {
        let actions = end(&mut core, 1, generation, true, 1);
        assert_eq!(actions[1], Action::Start { key: 1, generation: generation + 1 });
        started(&mut core, 1, generation + 1);
    }
}

#[test]
fn a_service_that_fails_too_often_escalates() {
    let mut core = core(Strategy::OneForOne);
    running(&mut core, 1, RestartPolicy { max_restarts: 0, ..RestartPolicy::SERVICE });
    let actions = end(&mut core, 1, 1, false, 1);
    assert!(matches!(actions.last(), Some(Action::Escalate { .. })));
}

#[test]
fn a_temporary_child_is_forgotten_however_it_ends() {
    let mut core = core(Strategy::OneForOne);
    running(&mut core, 1, RestartPolicy::SESSION);
    let actions = end(&mut core, 1, 1, false, 1);
    assert_eq!(actions.last(), Some(&Action::Forget { key: 1 }));
}

#[test]
fn shutdown_stops_the_last_started_first_and_then_finishes() {
    let mut core = core(Strategy::OneForOne);
    running(&mut core, 1, RestartPolicy::SERVICE);
    running(&mut core, 2, RestartPolicy::SERVICE);
    let first = core.step(Event::ShutDown, Duration::ZERO);
    assert_eq!(done(first), [Action::Stop { key: 2, generation: 1 }]);
    assert_eq!(done(stopped(&mut core, 2, 1)), [Action::Stop { key: 1, generation: 1 }]);
    assert_eq!(done(stopped(&mut core, 1, 1)), [Action::Finish]);
}

#[test]
fn children_without_order_start_and_stop_all_at_once() {
    let mut core = Core::new(Strategy::OneForOne, false, 1);
    assert_eq!(add(&mut core, 1, RestartPolicy::DEVICE), [Action::Start { key: 1, generation: 1 }]);
    assert_eq!(add(&mut core, 2, RestartPolicy::DEVICE), [Action::Start { key: 2, generation: 1 }]);
    started(&mut core, 1, 1);
    started(&mut core, 2, 1);
    let stops = done(core.step(Event::ShutDown, Duration::ZERO));
    assert_eq!(stops, [Action::Stop { key: 2, generation: 1 }, Action::Stop { key: 1, generation: 1 }]);
    assert_eq!(done(stopped(&mut core, 1, 1)), []);
    assert_eq!(done(stopped(&mut core, 2, 1)), [Action::Finish]);
}

#[test]
fn children_start_one_after_the_other_and_a_failed_start_holds_nobody_up() {
    let mut core = core(Strategy::OneForOne);
    assert_eq!(add(&mut core, 1, RestartPolicy::SERVICE), [Action::Start { key: 1, generation: 1 }]);
    assert_eq!(add(&mut core, 2, RestartPolicy::SERVICE), []);
    assert_eq!(add(&mut core, 3, RestartPolicy::SERVICE), []);
    assert_eq!(done(started(&mut core, 1, 1)), [Action::Start { key: 2, generation: 1 }]);
    assert_eq!(done(end(&mut core, 2, 1, false, 0)), [Action::Start { key: 2, generation: 2 }]);
    assert_eq!(done(end(&mut core, 2, 2, false, 0)), [Action::Start { key: 3, generation: 1 }]);
}

fn group(strategy: Strategy) -> Core {
    let mut core = core(strategy);
    (1..=3).for_each(|key| running(&mut core, key, RestartPolicy::SERVICE));
    core
}

#[test]
fn rest_for_one_takes_down_those_after_in_reverse_and_starts_them_in_order() {
    let mut core = group(Strategy::RestForOne);
    assert_eq!(done(end(&mut core, 2, 1, false, 1)), [Action::Stop { key: 3, generation: 1 }]);
    assert_eq!(done(stopped(&mut core, 3, 1)), [Action::Start { key: 2, generation: 2 }]);
    assert_eq!(done(started(&mut core, 2, 2)), [Action::Start { key: 3, generation: 2 }]);
    assert_eq!(done(started(&mut core, 3, 2)), []);
}

#[test]
fn one_for_all_takes_everyone_down_in_reverse_and_starts_all_in_order() {
    let mut core = group(Strategy::OneForAll);
    assert_eq!(done(end(&mut core, 2, 1, false, 1)), [Action::Stop { key: 3, generation: 1 }]);
    assert_eq!(done(stopped(&mut core, 3, 1)), [Action::Stop { key: 1, generation: 1 }]);
    assert_eq!(done(stopped(&mut core, 1, 1)), [Action::Start { key: 1, generation: 2 }]);
    assert_eq!(done(started(&mut core, 1, 2)), [Action::Start { key: 2, generation: 2 }]);
    assert_eq!(done(started(&mut core, 2, 2)), [Action::Start { key: 3, generation: 2 }]);
}

#[test]
fn a_failure_in_the_middle_of_a_regrouping_joins_it() {
    let mut core = group(Strategy::RestForOne);
    assert_eq!(done(end(&mut core, 2, 1, false, 1)), [Action::Stop { key: 3, generation: 1 }]);
    assert_eq!(done(end(&mut core, 1, 1, false, 1)), []);
    assert_eq!(done(stopped(&mut core, 3, 1)), [Action::Start { key: 1, generation: 2 }]);
    assert_eq!(done(started(&mut core, 1, 2)), [Action::Start { key: 2, generation: 2 }]);
    assert_eq!(done(end(&mut core, 1, 2, true, 1)), []);
    assert_eq!(done(started(&mut core, 2, 2)), [Action::Stop { key: 2, generation: 2 }]);
    assert_eq!(done(stopped(&mut core, 2, 2)), [Action::Start { key: 1, generation: 3 }]);
}

#[test]
fn the_rest_waits_for_the_back_off_of_whom_it_needs() {
    let mut core = group(Strategy::RestForOne);
    end(&mut core, 1, 1, false, 1);
    stopped(&mut core, 3, 1);
    assert_eq!(done(stopped(&mut core, 2, 1)), [Action::Start { key: 1, generation: 2 }]);
    let failed = end(&mut core, 1, 2, false, 1);
    assert_eq!(done(failed.clone()), [], "nobody starts before it");
    let due = core.step(Event::Due { key: 1, timer: armed(&failed).0 }, Duration::from_secs(2));
    assert_eq!(done(due), [Action::Start { key: 1, generation: 3 }]);
}

#[test]
fn one_that_waits_for_ever_is_killed_and_counts_as_failed() {
    let mut core = core(Strategy::OneForOne);
    running(&mut core, 1, RestartPolicy::DEVICE);
    let frozen = core.step(Event::Frozen { key: 1, generation: 1 }, Duration::from_secs(9));
    assert_eq!(frozen[0], Action::Kill { key: 1, generation: 1 });
    let killed = ExitReason::Killed { by: "unknown".to_owned() };
    let event = Event::Ended { key: 1, generation: 1, reason: killed, asked: false };
    let actions = core.step(event, Duration::from_secs(9));
    let reason = Some(ExitReason::Frozen { limit_ms: 5_000 });
    assert!(matches!(&actions[0], Action::Report { reason: told, .. } if *told == reason), "{actions:?}");
    assert_eq!(actions[1], Action::Start { key: 1, generation: 2 });
}

#[test]
fn one_that_spins_is_fenced_and_replaced() {
    let mut core = core(Strategy::OneForOne);
    running(&mut core, 1, RestartPolicy::DEVICE);
    let frozen = core.step(Event::Frozen { key: 1, generation: 1 }, Duration::from_secs(9));
    let grace = Event::Due { key: 1, timer: armed(&frozen).0 };
    let actions = done(core.step(grace, Duration::from_secs(10)));
    assert!(matches!(actions[0], Action::Fence { key: 1, generation: 1, .. }), "{actions:?}");
    assert_eq!(actions[1], Action::Start { key: 1, generation: 2 });
    assert_eq!(end(&mut core, 1, 1, false, 11), [], "its own end comes too late to matter");
}

#[test]
fn whom_an_operator_parks_stays_down_until_resumed() {
    let mut core = core(Strategy::OneForOne);
    running(&mut core, 1, RestartPolicy::DEVICE);
    let park = done(core.step(Event::Park { key: 1 }, Duration::ZERO));
    assert_eq!(park, [Action::Stop { key: 1, generation: 1 }]);
    let ended = stopped(&mut core, 1, 1);
    assert!(matches!(ended[..], [Action::Report { kind: EventKind::Parked, delay: None, .. }]), "{ended:?}");
    for timer in 0..9 {
        assert_eq!(core.step(Event::Due { key: 1, timer }, Duration::from_secs(900)), []);
    }
    let resumed = core.step(Event::Resume { key: 1 }, Duration::ZERO);
    assert_eq!(resumed, [Action::Start { key: 1, generation: 2 }]);
}

#[test]
fn a_removed_child_is_stopped_and_forgotten() {
    let mut core = core(Strategy::OneForOne);
    running(&mut core, 1, RestartPolicy::DEVICE);
    let stop = done(core.step(Event::Remove { key: 1 }, Duration::ZERO));
    assert_eq!(stop, [Action::Stop { key: 1, generation: 1 }]);
    assert_eq!(done(stopped(&mut core, 1, 1)), [Action::Forget { key: 1 }]);
    assert_eq!(core.step(Event::ShutDown, Duration::ZERO), [Action::Finish]);
}
