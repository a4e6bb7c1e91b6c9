//! The decisions of a supervisor, pure: `step(event, now) -> actions`. The actor around it carries them out and
//! decides nothing.
//!
//! A generation number goes with every start and end, a timer number with every timer, so that a late timer or the
//! late end of an old incarnation can't touch the current one. An incarnation that can't be ended is fenced: from
//! then on nothing it does counts, and the next one may begin.

mod child;
mod group;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use self::child::{Afterwards, Child, Phase};
use crate::child::Terms;
use crate::restart::Verdict;
use crate::{EventKind, ExitReason, Restart, Strategy};

/// Names a child within its supervisor; rises in start order and is never used again.
pub(crate) type Key = u64;

/// How long a killed incarnation has until it is fenced.
pub(crate) const KILL_GRACE: Duration = Duration::from_secs(1);

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// A child is to be supervised. `lived` is its last generation under earlier supervisors, 0 for none; `held` when
    /// an operator parked it.
    Added { key: Key, terms: Arc<Terms>, lived: u64, held: bool },
    /// The start that was asked for succeeded.
    Started { key: Key, generation: u64 },
    /// An incarnation ended, or could not start. `asked` when somebody asked for the kill.
    Ended { key: Key, generation: u64, reason: ExitReason, asked: bool },
    /// A timer that was armed went off.
    Due { key: Key, timer: u32 },
    /// An incarnation did not return from its handler, or from its start, within its limit.
    Frozen { key: Key, generation: u64 },
    /// An operator parks the child until further notice.
    Park { key: Key },
    /// An operator wants it to run, now and with a clean sheet.
    Resume { key: Key },
    /// Nobody wants the child any more.
    Remove { key: Key },
    /// Stop everything, last started first.
    ShutDown,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start this child as this generation.
    Start { key: Key, generation: u64 },
    /// Send `Due` with this number after the delay.
    Arm { key: Key, timer: u32, delay: Duration },
    /// Tell the world.
    Report { key: Key, kind: EventKind, reason: Option<ExitReason>, delay: Option<Duration> },
    /// Ask this incarnation to stop.
    Stop { key: Key, generation: u64 },
    /// End this incarnation at its next await.
    Kill { key: Key, generation: u64 },
    /// From now on nothing this incarnation does counts; it may never end.
    Fence { key: Key, generation: u64, reason: ExitReason },
    /// An incarnation began that nobody waits for any more: end it.
    Discard { key: Key, generation: u64 },
    /// This child ended for good and is nobody's any more.
    Forget { key: Key },
    /// Fail: this child can't be helped here.
    Escalate { key: Key, reason: ExitReason },
    /// All children are down: end.
    Finish,
}

/// A supervisor's knowledge of its children.
#[derive(Debug)]
pub(crate) struct Core {
    strategy: Strategy,
    /// Whether one child starts after the other; otherwise all at once.
    in_order: bool,
    children: BTreeMap<Key, Child>,
    /// Children that wait for their turn to start, and those that they wait for.
    queued: BTreeSet<Key>,
    unready: BTreeSet<Key>,
    /// Children that must go down because a sibling failed.
    leaving: BTreeSet<Key>,
    /// Children of which an incarnation may be alive.
    alive: usize,
    /// Set when everything must go: where the reverse shutdown has come to.
    stopping: Option<Key>,
    escalated: bool,
    jitter: fastrand::Rng,
}

impl Core {
    /// Knows no child yet; `seed` decides its jitter. A group starts in order, whatever `in_order` says.
    pub(crate) fn new(strategy: Strategy, in_order: bool, seed: u64) -> Self {
        Self {
            strategy,
            in_order: in_order || strategy != Strategy::OneForOne,
            children: BTreeMap::new(),
            queued: BTreeSet::new(),
            unready: BTreeSet::new(),
            leaving: BTreeSet::new(),
            alive: 0,
            stopping: None,
            escalated: false,
            jitter: fastrand::Rng::with_seed(seed),
        }
    }

    /// Decides. `now` is the time since any fixed moment.
    pub(crate) fn step(&mut self, event: Event, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.escalated {
            return actions;
        }
        match event {
            Event::Added { key, terms, lived, held } => self.added(key, terms, lived, held, &mut actions),
            Event::Started { key, generation } => self.started(key, generation, now, &mut actions),
            Event::Ended { key, generation, reason, asked } => {
                self.ended(key, generation, reason, asked, now, &mut actions);
            }
            Event::Due { key, timer } => self.due(key, timer, now, &mut actions),
            Event::Frozen { key, generation } => self.frozen(key, generation, now, &mut actions),
            Event::Park { key } => self.leave(key, Afterwards::Hold, &mut actions),
            Event::Resume { key } => self.resume(key, &mut actions),
            Event::Remove { key } => self.leave(key, Afterwards::Forget, &mut actions),
            Event::ShutDown => self.shut_down(&mut actions),
        }
        actions
    }

    fn added(&mut self, key: Key, terms: Arc<Terms>, lived: u64, held: bool, actions: &mut Vec<Action>) {
        if self.stopping.is_some() || self.children.contains_key(&key) {
            return;
        }
        self.children.insert(key, Child::new(terms, lived));
        if held {
            self.set(key, Phase::Held);
            actions.push(report(key, EventKind::Parked, None, None));
        } else {
            self.go(key, actions);
        }
    }

    /// Starts a child: at once, or when it is its turn.
    fn go(&mut self, key: Key, actions: &mut Vec<Action>) {
        if self.in_order {
            self.set(key, Phase::Queued);
            self.advance(actions);
        } else {
            self.start(key, actions);
        }
    }

    fn start(&mut self, key: Key, actions: &mut Vec<Action>) {
        self.set(key, Phase::Starting);
        if let Some(child) = self.children.get_mut(&key) {
            child.generation += 1;
            child.timer = child.timer.wrapping_add(1);
            actions.push(Action::Start { key, generation: child.generation });
        }
    }

    fn started(&mut self, key: Key, generation: u64, now: Duration, actions: &mut Vec<Action>) {
        let phase = self.current(key, generation).map(|child| child.phase);
        match phase {
            Some(Phase::Starting) => {
                self.set(key, Phase::Running);
                let Some(child) = self.children.get_mut(&key) else { return };
                child.began(now);
                let kind = if generation > 1 { EventKind::Restarted } else { EventKind::Started };
                actions.push(report(key, kind, None, None));
                self.advance(actions);
            }
            Some(Phase::Stopping) => actions.push(Action::Stop { key, generation }),
            Some(Phase::Killing) => actions.push(Action::Kill { key, generation }),
            Some(Phase::Running) => {}
            Some(Phase::Queued | Phase::Waiting | Phase::Parked | Phase::Held | Phase::Down) | None => {
                actions.push(Action::Discard { key, generation });
            }
        }
    }

    fn ended(
        &mut self,
        key: Key,
        generation: u64,
        reason: ExitReason,
        asked: bool,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let stopping = self.stopping.is_some();
        let Some(child) = self.current(key, generation).filter(|child| child.phase.is_alive()) else {
            return;
        };
        let reason = if child.frozen && !asked { child.frozen_reason() } else { reason };
        (child.frozen, child.timer) = (false, child.timer.wrapping_add(1));
        let afterwards = std::mem::take(&mut child.afterwards);
        if stopping {
            self.set(key, Phase::Down);
            actions.push(report(key, EventKind::Stopped, Some(reason), None));
            return self.stop_next(actions);
        }
        match afterwards {
            Afterwards::Judge => self.judge(key, reason, asked, now, actions),
            Afterwards::Hold => {
                self.set(key, Phase::Held);
                actions.push(report(key, EventKind::Parked, Some(reason), None));
            }
            Afterwards::Forget => self.forget(key, EventKind::Stopped, reason, actions),
            Afterwards::Queue => {
                actions.push(report(key, EventKind::Stopped, Some(reason), None));
                self.go(key, actions);
            }
        }
        self.advance(actions);
    }

    /// Decides what becomes of a child whose end nobody on this side had planned.
    fn judge(&mut self, key: Key, reason: ExitReason, asked: bool, now: Duration, actions: &mut Vec<Action>) {
        let jitter = self.jitter.f64();
        let Some(child) = self.children.get_mut(&key) else { return };
        let normal = reason == ExitReason::Stopped;
        let again = match child.terms.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => !normal,
            Restart::Temporary => false,
        };
        if !again {
            let kind = if normal { EventKind::Stopped } else { EventKind::Failed };
            return self.forget(key, kind, reason, actions);
        }
        let verdict = if asked { Verdict::RestartAfter(Duration::ZERO) } else { child.failed(now, jitter) };
        match verdict {
            Verdict::RestartAfter(delay) => {
                actions.push(report(key, EventKind::Failed, Some(reason), Some(delay)));
                self.wait(key, Phase::Waiting, delay, actions);
            }
            Verdict::Park(delay) => {
                actions.push(report(key, EventKind::Parked, Some(reason), Some(delay)));
                self.wait(key, Phase::Parked, delay, actions);
            }
            Verdict::Escalate => {
                self.set(key, Phase::Down);
                self.escalated = true;
                actions.push(report(key, EventKind::Escalated, Some(reason.clone()), None));
                actions.push(Action::Escalate { key, reason });
            }
        }
    }

    /// Lets a failed child wait; in a group its siblings go down meanwhile.
    fn wait(&mut self, key: Key, phase: Phase, delay: Duration, actions: &mut Vec<Action>) {
        self.dismiss_siblings(key);
        if delay.is_zero() {
            return self.go(key, actions);
        }
        self.set(key, phase);
        self.arm(key, delay, actions);
    }

    fn due(&mut self, key: Key, timer: u32, now: Duration, actions: &mut Vec<Action>) {
        let Some(child) = self.children.get_mut(&key).filter(|child| child.timer == timer) else { return };
        let generation = child.generation;
        match child.phase {
            Phase::Waiting | Phase::Parked => self.go(key, actions),
            Phase::Stopping => self.kill(key, generation, actions),
            Phase::Killing => self.fence(key, generation, now, actions),
            Phase::Queued | Phase::Starting | Phase::Running | Phase::Held | Phase::Down => {}
        }
    }

    fn frozen(&mut self, key: Key, generation: u64, now: Duration, actions: &mut Vec<Action>) {
        let Some(child) = self.current(key, generation) else { return };
        match child.phase {
            Phase::Running => {
                child.frozen = true;
                self.kill(key, generation, actions);
            }
            // A start that blocks its thread can't even be told to end.
            Phase::Starting => {
                child.frozen = true;
                self.fence(key, generation, now, actions);
            }
            // Whoever stops has a timer of its own.
            Phase::Stopping
            | Phase::Killing
            | Phase::Queued
            | Phase::Waiting
            | Phase::Parked
            | Phase::Held
            | Phase::Down => {}
        }
    }

    fn kill(&mut self, key: Key, generation: u64, actions: &mut Vec<Action>) {
        self.set(key, Phase::Killing);
        actions.push(Action::Kill { key, generation });
        self.arm(key, KILL_GRACE, actions);
    }

    /// Goes on without an incarnation that does not end.
    fn fence(&mut self, key: Key, generation: u64, now: Duration, actions: &mut Vec<Action>) {
        let Some(child) = self.children.get(&key) else { return };
        let reason = child.fenced_reason();
        actions.push(Action::Fence { key, generation, reason: reason.clone() });
        self.ended(key, generation, reason, false, now, actions);
    }

    fn resume(&mut self, key: Key, actions: &mut Vec<Action>) {
        let stopping = self.stopping.is_some();
        let Some(child) = self.children.get_mut(&key).filter(|_| !stopping) else { return };
        child.forgive();
        match child.phase {
            Phase::Held | Phase::Waiting | Phase::Parked => self.go(key, actions),
            Phase::Stopping | Phase::Killing if child.afterwards == Afterwards::Hold => {
                child.afterwards = Afterwards::Queue;
            }
            Phase::Stopping
            | Phase::Killing
            | Phase::Queued
            | Phase::Starting
            | Phase::Running
            | Phase::Down => {}
        }
    }

    /// Takes a child down because an operator wants it parked, or nobody wants it at all.
    fn leave(&mut self, key: Key, afterwards: Afterwards, actions: &mut Vec<Action>) {
        let stopping = self.stopping.is_some();
        let Some(child) = self.children.get_mut(&key).filter(|_| !stopping) else { return };
        let kept = child.afterwards == Afterwards::Forget;
        if !kept {
            child.afterwards = afterwards;
        }
        match child.phase {
            Phase::Running | Phase::Starting => {
                self.stop(key, actions);
                self.advance(actions);
            }
            Phase::Stopping | Phase::Killing | Phase::Down => {}
            Phase::Queued | Phase::Waiting | Phase::Parked | Phase::Held => {
                let already = child.phase == Phase::Held && afterwards == Afterwards::Hold;
                (child.afterwards, child.timer) = (Afterwards::Judge, child.timer.wrapping_add(1));
                if afterwards == Afterwards::Forget {
                    self.forget(key, EventKind::Stopped, ExitReason::Stopped, actions);
                } else if !already {
                    self.set(key, Phase::Held);
                    actions.push(report(key, EventKind::Parked, None, None));
                }
                self.advance(actions);
            }
        }
    }

    fn stop(&mut self, key: Key, actions: &mut Vec<Action>) {
        let Some(child) = self.children.get(&key) else { return };
        let (phase, generation, limit) = (child.phase, child.generation, child.terms.shutdown);
        self.set(key, Phase::Stopping);
        // One that is still being born hears of it when it has started.
        if phase == Phase::Running {
            actions.push(Action::Stop { key, generation });
        }
        self.arm(key, limit, actions);
    }

    fn arm(&mut self, key: Key, delay: Duration, actions: &mut Vec<Action>) {
        if let Some(child) = self.children.get_mut(&key) {
            child.timer = child.timer.wrapping_add(1);
            actions.push(Action::Arm { key, timer: child.timer, delay });
        }
    }

    fn forget(&mut self, key: Key, kind: EventKind, reason: ExitReason, actions: &mut Vec<Action>) {
        self.set(key, Phase::Down);
        self.children.remove(&key);
        actions.push(report(key, kind, Some(reason), None));
        actions.push(Action::Forget { key });
    }

    fn shut_down(&mut self, actions: &mut Vec<Action>) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Key::MAX);
        self.leaving.clear();
        for key in std::mem::take(&mut self.queued) {
            self.set(key, Phase::Down);
        }
        if !self.in_order {
            let up: Vec<Key> = self.children.iter().rev().map(|(key, _)| *key).collect();
            for key in up {
                self.shut_down_child(key, actions);
            }
        }
        self.stop_next(actions);
    }

    /// Stops the last started child that still runs, the next one when it has ended; finishes after the first.
    fn stop_next(&mut self, actions: &mut Vec<Action>) {
        while self.in_order && self.alive > 0 {
            let Some(cursor) = self.stopping else { return };
            let Some((&key, _)) = self.children.range(..=cursor).next_back() else { break };
            self.stopping = Some(key);
            if self.shut_down_child(key, actions) {
                return;
            }
            self.stopping = Some(key.saturating_sub(1));
            if key == 0 {
                break;
            }
        }
        if self.alive == 0 {
            actions.push(Action::Finish);
        }
    }

    /// Stops one child; says whether its end must be waited for.
    fn shut_down_child(&mut self, key: Key, actions: &mut Vec<Action>) -> bool {
        let Some(child) = self.children.get(&key) else { return false };
        match child.phase {
            Phase::Running | Phase::Starting => {
                self.stop(key, actions);
                true
            }
            Phase::Stopping | Phase::Killing => true,
            Phase::Queued | Phase::Waiting | Phase::Parked | Phase::Held | Phase::Down => {
                self.set(key, Phase::Down);
                false
            }
        }
    }

    /// The child, if this generation is its current one.
    fn current(&mut self, key: Key, generation: u64) -> Option<&mut Child> {
        self.children.get_mut(&key).filter(|child| child.generation == generation)
    }
}

fn report(key: Key, kind: EventKind, reason: Option<ExitReason>, delay: Option<Duration>) -> Action {
    Action::Report { key, kind, reason, delay }
}

#[cfg(test)]
mod tests;
