//! The decisions of a one_for_one supervisor, pure: `step(event, now) -> actions`. The actor around it carries them
//! out and decides nothing.
//!
//! A generation number goes with every start, timer and end, so that a late timer or the late end of an old
//! incarnation can't touch the current one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::restart::{Failures, Restart, RestartPolicy, Verdict};
use crate::{EventKind, ExitReason};

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// A child is to be supervised; `restarted` if an incarnation of it lived before under another supervisor.
    Added { child: String, policy: RestartPolicy, restarted: bool },
    /// The start that was asked for succeeded.
    Started { child: String, generation: u64 },
    /// An incarnation ended, or could not start. `asked` when somebody asked for the kill.
    Ended { child: String, generation: u64, reason: ExitReason, asked: bool },
    /// A timer that was armed went off.
    Due { child: String, generation: u64 },
    /// Stop everything, last started first.
    ShutDown,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start this child as this generation.
    Start { child: String, generation: u64 },
    /// Send `Due` for this generation after the delay.
    Arm { child: String, generation: u64, delay: Duration },
    /// Tell the world.
    Report { child: String, kind: EventKind, reason: Option<ExitReason>, delay: Option<Duration> },
    /// Stop this child; kill it if it takes longer than its limit.
    Stop { child: String, generation: u64 },
    /// This child ended for good and is nobody's any more.
    Forget { child: String },
    /// Fail: this child can't be helped here.
    Escalate { child: String, reason: ExitReason },
    /// All children are down: end.
    Finish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Waiting,
    Stopping,
    Down,
}

#[derive(Debug)]
struct Child {
    policy: RestartPolicy,
    phase: Phase,
    generation: u64,
    failures: Failures,
    lived: bool,
}

/// A supervisor's knowledge of its children.
#[derive(Debug)]
pub(crate) struct Core {
    children: BTreeMap<String, Child>,
    order: Vec<String>,
    stopping: bool,
    jitter: fastrand::Rng,
}

impl Core {
    /// Knows no child yet; `seed` decides its jitter.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            children: BTreeMap::new(),
            order: Vec::new(),
            stopping: false,
            jitter: fastrand::Rng::with_seed(seed),
        }
    }

    /// Decides. `now` is the time since any fixed moment.
    pub(crate) fn step(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::Added { child, policy, restarted } => self.added(child, policy, restarted),
            Event::Started { child, generation } => self.started(&child, generation),
            Event::Ended { child, generation, reason, asked } => {
                self.ended(&child, generation, reason, asked, now)
            }
            Event::Due { child, generation } => self.due(&child, generation),
            Event::ShutDown => {
                self.stopping = true;
                self.stop_next()
            }
        }
    }

    fn added(&mut self, name: String, policy: RestartPolicy, lived: bool) -> Vec<Action> {
        if self.stopping || self.children.contains_key(&name) {
            return Vec::new();
        }
        let child =
            Child { policy, phase: Phase::Starting, generation: 1, failures: Failures::default(), lived };
        self.children.insert(name.clone(), child);
        self.order.push(name.clone());
        vec![Action::Start { child: name, generation: 1 }]
    }

    /// The child, if this generation is its current one.
    fn current(&mut self, name: &str, generation: u64) -> Option<&mut Child> {
        self.children.get_mut(name).filter(|child| child.generation == generation)
    }

    fn started(&mut self, name: &str, generation: u64) -> Vec<Action> {
        let stopping = self.stopping;
        let Some(child) = self.current(name, generation) else { return Vec::new() };
        if child.phase != Phase::Starting {
            return Vec::new();
        }
        child.phase = Phase::Running;
        let kind = if child.lived { EventKind::Restarted } else { EventKind::Started };
        child.lived = true;
        let mut actions = vec![Action::Report { child: name.to_owned(), kind, reason: None, delay: None }];
        if stopping {
            actions.extend(self.stop_next());
        }
        actions
    }

    fn ended(
        &mut self,
        name: &str,
        generation: u64,
        reason: ExitReason,
        asked: bool,
        now: Duration,
    ) -> Vec<Action> {
        let stopping = self.stopping;
        let jitter = self.jitter.f64();
        let Some(child) = self.current(name, generation) else { return Vec::new() };
        if matches!(child.phase, Phase::Waiting | Phase::Down) {
            return Vec::new();
        }
        if stopping {
            child.phase = Phase::Down;
            let mut actions = vec![report(name, EventKind::Stopped, Some(reason), None)];
            actions.extend(self.stop_next());
            return actions;
        }
        let normal = reason == ExitReason::Stopped;
        let again = match child.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => !normal,
            Restart::Temporary => false,
        };
        if !again {
            let kind = if normal { EventKind::Stopped } else { EventKind::Failed };
            self.children.remove(name);
            self.order.retain(|known| known != name);
            return vec![report(name, kind, Some(reason), None), Action::Forget { child: name.to_owned() }];
        }
        let verdict = if asked {
            Verdict::RestartAfter(Duration::ZERO)
        } else {
            child.failures.record(&child.policy, now, jitter)
        };
        child.obey(name, verdict, reason)
    }

    fn due(&mut self, name: &str, generation: u64) -> Vec<Action> {
        if self.stopping {
            return Vec::new();
        }
        let Some(child) = self.current(name, generation) else { return Vec::new() };
        if child.phase != Phase::Waiting {
            return Vec::new();
        }
        vec![child.start(name)]
    }

    /// Stops the last started child that still runs; the next one follows when it has ended.
    fn stop_next(&mut self) -> Vec<Action> {
        for name in self.order.iter().rev() {
            let Some(child) = self.children.get_mut(name) else { continue };
            match child.phase {
                Phase::Waiting => child.phase = Phase::Down,
                Phase::Down => {}
                Phase::Starting | Phase::Stopping => return Vec::new(),
                Phase::Running => {
                    child.phase = Phase::Stopping;
                    return vec![Action::Stop { child: name.clone(), generation: child.generation }];
                }
            }
        }
        vec![Action::Finish]
    }
}

impl Child {
    fn start(&mut self, name: &str) -> Action {
        self.generation += 1;
        self.phase = Phase::Starting;
        Action::Start { child: name.to_owned(), generation: self.generation }
    }

    fn obey(&mut self, name: &str, verdict: Verdict, reason: ExitReason) -> Vec<Action> {
        self.lived = true;
        match verdict {
            Verdict::RestartAfter(Duration::ZERO) => {
                vec![report(name, EventKind::Failed, Some(reason), Some(Duration::ZERO)), self.start(name)]
            }
            Verdict::RestartAfter(delay) => self.wait(name, EventKind::Failed, reason, delay),
            Verdict::Park(delay) => self.wait(name, EventKind::Parked, reason, delay),
            Verdict::Escalate => {
                self.phase = Phase::Down;
                vec![
                    report(name, EventKind::Escalated, Some(reason.clone()), None),
                    Action::Escalate { child: name.to_owned(), reason },
                ]
            }
        }
    }

    fn wait(&mut self, name: &str, kind: EventKind, reason: ExitReason, delay: Duration) -> Vec<Action> {
        self.phase = Phase::Waiting;
        let arm = Action::Arm { child: name.to_owned(), generation: self.generation, delay };
        vec![report(name, kind, Some(reason), Some(delay)), arm]
    }
}

fn report(name: &str, kind: EventKind, reason: Option<ExitReason>, delay: Option<Duration>) -> Action {
    Action::Report { child: name.to_owned(), kind, reason, delay }
}

#[cfg(test)]
mod tests;
