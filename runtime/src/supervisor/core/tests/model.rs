//! A world of children that crash, hang, spin, come late and are ordered about at random, around a real core.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Just, ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as _;

use super::*;
use crate::{Backoff, Exhausted, RestartPolicy, Strategy};

#[derive(Debug, Clone)]
enum Op {
    /// One more child joins; keys rise.
    Add(u8),
    /// A start that is under way succeeds, or fails.
    Start(u8, bool),
    /// A running child ends: by a crash, by itself, or because somebody asked for a kill.
    End(u8, u8),
    /// From now on it obeys nothing.
    Spin(u8),
    /// It is found frozen.
    Freeze(u8),
    /// It obeys an order to stop or a kill.
    Obey(u8),
    /// Something happens late to an old generation.
    Late(u8, u8),
    /// The next timer goes off, or one that was armed long ago.
    Timer(bool),
    Wait(u16),
    Park(u8),
    Resume(u8),
    Remove(u8),
    ShutDown,
}

const CHILDREN: u8 = 4;

fn ops() -> impl proptest::strategy::Strategy<Value = Vec<Op>> {
    let child = 1..=CHILDREN;
    prop::collection::vec(
        prop_oneof![
            4 => (0_u8..3).prop_map(Op::Add),
            9 => (child.clone(), prop::bool::weighted(0.8)).prop_map(|(c, well)| Op::Start(c, well)),
            9 => (child.clone(), 0_u8..4).prop_map(|(c, how)| Op::End(c, how)),
            2 => child.clone().prop_map(Op::Spin),
            3 => child.clone().prop_map(Op::Freeze),
            6 => child.clone().prop_map(Op::Obey),
            3 => (child.clone(), 0_u8..3).prop_map(|(c, what)| Op::Late(c, what)),
            8 => any::<bool>().prop_map(Op::Timer),
            3 => (0_u16..30_000).prop_map(Op::Wait),
            2 => child.clone().prop_map(Op::Park),
            2 => child.clone().prop_map(Op::Resume),
            1 => child.prop_map(Op::Remove),
            1 => Just(Op::ShutDown),
        ],
        0..200,
    )
}

/// An incarnation that the core has not seen the end of.
#[derive(Debug)]
struct Live {
    generation: u64,
    up: bool,
    spins: bool,
    stop: bool,
    killed: bool,
}

#[derive(Debug)]
struct Timer {
    key: Key,
    timer: u32,
    at: Duration,
}

struct World {
    core: Core,
    in_order: bool,
    now: Duration,
    live: BTreeMap<Key, Live>,
    last: BTreeMap<Key, u64>,
    restart: BTreeMap<Key, u8>,
    timers: Vec<Timer>,
    past: Vec<Timer>,
    /// Who waits for a timer, as far as the world was told.
    waiting: BTreeSet<Key>,
    /// Before when it must not start again, unless an operator resumes it.
    not_before: BTreeMap<Key, Duration>,
    held: BTreeSet<Key>,
    forgotten: BTreeSet<Key>,
    /// When each child was started again because it failed.
    counted: BTreeMap<Key, Vec<Duration>>,
    stopping: bool,
    /// Who was on its way down already when the shutdown began.
    left_before: BTreeSet<Key>,
    stops: Vec<Key>,
    finished: bool,
    escalated: bool,
}

const WINDOW: Duration = Duration::from_secs(60);
const MAX_RESTARTS: usize = 3;

fn policy(kind: u8) -> RestartPolicy {
    RestartPolicy {
        restart: [Restart::Permanent, Restart::Transient, Restart::Temporary][usize::from(kind)],
        max_restarts: MAX_RESTARTS,
        window: WINDOW,
        backoff: Backoff { first: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(2) },
        exhausted: Exhausted::Park { next_try: Duration::from_secs(60), cap: Duration::from_secs(200) },
    }
}

impl World {
    fn new(strategy: Strategy, in_order: bool) -> Self {
        Self {
            core: Core::new(strategy, in_order, 7),
            in_order: in_order || strategy != Strategy::OneForOne,
            now: Duration::ZERO,
            live: BTreeMap::new(),
            last: BTreeMap::new(),
            restart: BTreeMap::new(),
            timers: Vec::new(),
            past: Vec::new(),
            waiting: BTreeSet::new(),
            not_before: BTreeMap::new(),
            held: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            counted: BTreeMap::new(),
            stopping: false,
            left_before: BTreeSet::new(),
            stops: Vec::new(),
            finished: false,
            escalated: false,
        }
    }

    fn feed(&mut self, event: Event) {
        let actions = self.core.step(event, self.now);
        for action in actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Start { key, generation } => {
                assert!(!self.stopping, "{key} is started in a shutdown");
                assert!(!self.held.contains(&key), "{key} is started although an operator parked it");
                let not_before = self.not_before.remove(&key).unwrap_or_default();
                assert!(self.now >= not_before, "{key} is started before its time");
                let live = Live { generation, up: false, spins: false, stop: false, killed: false };
                assert!(self.live.insert(key, live).is_none(), "two current generations of {key}");
                let last = self.last.insert(key, generation);
                assert!(last.unwrap_or(0) < generation, "generation {generation} of {key} comes twice");
                self.waiting.remove(&key);
            }
            Action::Arm { key, timer, delay } => {
                self.timers.push(Timer { key, timer, at: self.now + delay });
            }
            Action::Report { key, kind: EventKind::Parked, delay, .. } => {
                self.not_before.insert(key, self.now + delay.unwrap_or_default());
                if delay.is_none() {
                    self.held.insert(key);
                } else {
                    self.waiting.insert(key);
                }
                self.counted.remove(&key);
            }
            Action::Report { key, kind: EventKind::Failed, delay: Some(delay), reason } => {
                self.not_before.insert(key, self.now + delay);
                if !delay.is_zero() {
                    self.waiting.insert(key);
                }
                if !matches!(reason, Some(ExitReason::Killed { by }) if by == "op") {
                    self.counted.entry(key).or_default().push(self.now);
                }
            }
            Action::Report { .. } => {}
            Action::Stop { key, generation } => {
                let live = self.live.get_mut(&key).filter(|live| live.generation == generation).unwrap();
                live.stop = true;
                if self.stopping && !self.left_before.contains(&key) {
                    self.stops.push(key);
                }
            }
            Action::Kill { key, generation } => {
                let live = self.live.get_mut(&key).filter(|live| live.generation == generation).unwrap();
                live.killed = true;
            }
            Action::Fence { key, generation, .. } => {
                let live = self.live.remove(&key);
                assert_eq!(live.unwrap().generation, generation, "fenced somebody else");
            }
            Action::Discard { .. } => {}
            Action::Forget { key } => {
                assert!(!self.live.contains_key(&key), "{key} is forgotten alive");
                self.forgotten.insert(key);
                self.waiting.remove(&key);
                self.held.remove(&key);
            }
            Action::Escalate { .. } => self.escalated = true,
            Action::Finish => {
                assert!(self.stopping && !self.finished, "finished without being asked, or twice");
                assert!(self.live.is_empty(), "finished with {:?}", self.live);
                self.finished = true;
            }
        }
    }

    fn ended(&mut self, key: Key, reason: ExitReason, asked: bool) {
        if let Some(live) = self.live.remove(&key) {
            self.feed(Event::Ended { key, generation: live.generation, reason, asked });
        }
    }

    fn play(&mut self, op: &Op) {
        match *op {
            Op::Add(kind) => {
                let key = self.restart.last_key_value().map_or(1, |(last, _)| last + 1);
                if self.stopping || key > Key::from(CHILDREN) {
                    return;
                }
                self.restart.insert(key, kind);
                self.feed(Event::Added { key, terms: terms(policy(kind)), lived: 0, held: false });
            }
            Op::Start(child, well) => {
                let key = Key::from(child);
                let Some(live) = self.live.get_mut(&key).filter(|live| !live.up && !live.spins) else {
                    return;
                };
                if well {
                    live.up = true;
                    let generation = live.generation;
                    self.feed(Event::Started { key, generation });
                } else {
                    self.ended(key, ExitReason::StartFailed { chain: "no".into() }, false);
                }
            }
            Op::End(child, how) => {
                let key = Key::from(child);
                if self.live.get(&key).is_some_and(|live| live.up && !live.spins) {
                    let reason = match how {
                        0 => ExitReason::Stopped,
                        1 => ExitReason::Killed { by: "op".to_owned() },
                        _ => panic_of("x"),
                    };
                    self.ended(key, reason, how == 1);
                }
            }
            Op::Spin(child) => {
                if let Some(live) = self.live.get_mut(&Key::from(child)) {
                    live.spins = true;
                }
            }
            Op::Freeze(child) => {
                let key = Key::from(child);
                // The watchman finds who waits for ever in a message, and who spins, wherever that is.
                if let Some(live) = self.live.get(&key).filter(|live| live.up || live.spins) {
                    self.feed(Event::Frozen { key, generation: live.generation });
                }
            }
            Op::Obey(child) => self.obey(Key::from(child)),
            Op::Late(child, what) => {
                let key = Key::from(child);
                let generation = self.last.get(&key).copied().unwrap_or(0).saturating_sub(1);
                self.feed(match what {
                    0 => Event::Started { key, generation },
                    1 => Event::Frozen { key, generation },
                    _ => Event::Ended { key, generation, reason: panic_of("late"), asked: false },
                });
            }
            Op::Timer(true) => self.next_timer(),
            Op::Timer(false) => {
                if let Some(Timer { key, timer, .. }) = self.past.pop() {
                    self.feed(Event::Due { key, timer });
                }
            }
            Op::Wait(ms) => {
                let until = self.now + Duration::from_millis(u64::from(ms));
                while self.timers.iter().any(|timer| timer.at <= until) {
                    self.next_timer();
                }
                self.now = until;
            }
            Op::Park(child) => self.feed(Event::Park { key: Key::from(child) }),
            Op::Resume(child) => {
                self.held.remove(&Key::from(child));
                self.not_before.remove(&Key::from(child));
                self.counted.remove(&Key::from(child));
                self.feed(Event::Resume { key: Key::from(child) });
            }
            Op::Remove(child) => self.feed(Event::Remove { key: Key::from(child) }),
            Op::ShutDown => {
                if !self.stopping {
                    let leaves = |child: &Child| matches!(child.phase, Phase::Stopping | Phase::Killing);
                    let leaving = self.core.children.iter().filter(|(_, child)| leaves(child));
                    self.left_before = leaving.map(|(key, _)| *key).collect();
                }
                self.stopping = true;
                self.waiting.clear();
                self.feed(Event::ShutDown);
            }
        }
    }

    fn obey(&mut self, key: Key) {
        let Some(live) = self.live.get(&key).filter(|live| !live.spins) else { return };
        if live.killed && live.up {
            self.ended(key, ExitReason::Killed { by: "unknown".to_owned() }, false);
        } else if live.stop {
            self.ended(key, ExitReason::Stopped, false);
        }
    }

    fn next_timer(&mut self) {
        let next = self.timers.iter().enumerate().min_by_key(|(_, timer)| timer.at).map(|(index, _)| index);
        let Some(index) = next else { return };
        let Timer { key, timer, at } = self.timers.remove(index);
        self.past.push(Timer { key, timer, at });
        self.now = self.now.max(at);
        self.feed(Event::Due { key, timer });
    }

    fn check(&self) {
        for key in self.waiting.iter().filter(|key| !self.live.contains_key(key)) {
            let timer = self.core.children.get(key).map(|child| child.timer);
            let waits = self.timers.iter().any(|armed| armed.key == *key && Some(armed.timer) == timer);
            let queued = self.core.queued.contains(key) || self.held.contains(key);
            assert!(waits || queued || self.stopping, "{key} waits for nothing");
        }
        for (key, kind) in &self.restart {
            let known = self.core.children.contains_key(key);
            let removed = self.forgotten.contains(key);
            assert!(known || removed, "{key} is neither supervised nor forgotten");
            let dormant = !self.live.contains_key(key) && !self.waiting.contains(key);
            let excused =
                self.stopping || removed || self.held.contains(key) || self.core.queued.contains(key);
            assert!(!dormant || excused, "{key} of kind {kind} is neither alive nor about to be");
        }
        if let Some(first) = self.core.queued.first().filter(|_| !self.stopping) {
            let somebody = !self.core.unready.is_empty() || !self.core.leaving.is_empty();
            assert!(somebody, "{first} waits for its turn behind nobody");
        }
        let starting = self.core.children.values().filter(|child| child.phase == Phase::Starting).count();
        // Whom an operator resumes need not wait for those that came after it.
        let one_by_one = self.in_order && self.core.strategy != Strategy::RestForOne;
        assert!(!one_by_one || starting <= 1, "{starting} are being born at once");
        for (key, times) in &self.counted {
            let recent = |at: &&Duration| self.now.saturating_sub(**at) <= WINDOW;
            // Whoever ran for a whole window in between has a clean sheet, and that only makes the window shorter.
            assert!(times.iter().filter(recent).count() <= MAX_RESTARTS, "{key} restarted at {times:?}");
        }
    }

    /// Ends it all: the ones that can obey do, the others are fenced when their time is up.
    fn drain(&mut self) {
        if !self.stopping {
            self.play(&Op::ShutDown);
        }
        let mut rounds = 0;
        while !self.finished {
            rounds += 1;
            assert!(rounds < 500, "the shutdown never ends: {:?} {:?}", self.live, self.core);
            for child in 1..=CHILDREN {
                self.play(&Op::Start(child, true));
                self.obey(Key::from(child));
            }
            if !self.finished {
                self.next_timer();
            }
        }
        let mut reverse = self.stops.clone();
        reverse.sort_unstable_by(|a, b| b.cmp(a));
        reverse.dedup();
        let mut stops = self.stops.clone();
        stops.dedup();
        assert!(!self.in_order || stops == reverse, "stopped in the order {:?}", self.stops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: never two current generations, nobody is forgotten or left waiting for
    /// nothing, intensity is respected, and a shutdown at any moment ends in reverse order.
    #[test]
    fn a_supervisor_keeps_its_word_whatever_happens(ops in ops(), strategy in 0_usize..3, in_order: bool) {
        let strategy = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne][strategy];
        let mut world = World::new(strategy, in_order);
        for op in &ops {
            world.play(op);
            world.check();
            if world.finished {
                return Ok(());
            }
        }
        world.drain();
    }

    /// Where failures escalate, a supervisor that gave up does nothing more.
    #[test]
    fn a_supervisor_that_escalated_is_silent(ops in ops(), crashes in 1_u64..9) {
        let mut core = Core::new(Strategy::OneForOne, true, 3);
        running(&mut core, 9, RestartPolicy { max_restarts: 0, ..RestartPolicy::SERVICE });
        let actions = end(&mut core, 9, 1, false, crashes);
        let escalated = matches!(actions.last(), Some(Action::Escalate { key: 9, .. }));
        prop_assert!(escalated);
        let mut world = World { core, ..World::new(Strategy::OneForOne, true) };
        for op in &ops {
            let before = world.last.len();
            world.play(op);
            prop_assert_eq!(world.last.len(), before);
        }
    }
}
