//! Fault injection: named points in the code that do nothing until an operator or a plan asks for a fault there.
//!
//! The handle belongs to a node and travels in its actors' arguments, so that nodes in one process don't share faults.
//! While nothing is injected a point costs one relaxed load. A point never decides what a fault means for its room: it
//! asks [`Faults::trip`] and carries out the answer, or lets [`Faults::pass`] do so where the answer is the same for all.

mod kind;
pub mod plan;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::kind::{Fault, FaultError, FaultKind, FaultPoint, Injected, Tripped};
use crate::{Failure, clock};

/// For how many targets strikes are counted.
const MAX_TARGETS: usize = 10_000;

/// The faults of one node.
#[derive(Debug, Clone)]
pub struct Faults {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    armed: AtomicBool,
    points: &'static [FaultPoint],
    state: Mutex<State>,
    /// Wakes the frozen when faults are cleared: threads by one, tasks by the other.
    thawed: Condvar,
    thawed_tasks: Notify,
}

#[derive(Debug)]
struct State {
    active: Vec<Active>,
    trips: BTreeMap<(&'static str, FaultKind), u64>,
    /// How often faults struck each target, for as many targets as are worth keeping.
    strikes: BTreeMap<String, u64>,
    injected: u64,
    /// How often all faults were cleared: whatever froze before the last time thaws.
    cleared: u64,
    dice: fastrand::Rng,
}

#[derive(Debug)]
struct Active {
    id: u64,
    point: &'static str,
    fault: Fault,
    left: Option<u64>,
    until: Option<Instant>,
}

impl Default for Faults {
    /// A node without points: nothing can be injected.
    fn default() -> Self {
        Self::new(&[], 0)
    }
}

impl Faults {
    /// Nothing is injected yet; `seed` decides the dice of faults that come by chance.
    pub fn new(points: &'static [FaultPoint], seed: u64) -> Self {
        let dice = fastrand::Rng::with_seed(seed);
        let state = State {
            active: Vec::new(),
            trips: BTreeMap::new(),
            strikes: BTreeMap::new(),
            injected: 0,
            cleared: 0,
            dice,
        };
        let inner = Inner {
            armed: AtomicBool::new(false),
            points,
            state: Mutex::new(state),
            thawed: Condvar::new(),
            thawed_tasks: Notify::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Throws the dice anew, for a plan that brings its own seed.
    pub fn reseed(&self, seed: u64) {
        self.inner.state.lock().dice = fastrand::Rng::with_seed(seed);
    }

    /// The points there are.
    pub fn points(&self) -> &'static [FaultPoint] {
        self.inner.points
    }

    /// Asks for a fault; answers its number.
    pub fn inject(&self, fault: Fault) -> Result<u64, FaultError> {
        let point = self.point_for(&fault)?;
        let mut state = self.inner.state.lock();
        state.injected += 1;
        let id = state.injected;
        let until = fault.lasts.map(|lasts| clock::monotonic() + lasts);
        tracing::warn!(
            event = "fault.injected",
            id,
            point,
            kind = fault.kind.as_str(),
            target = fault.target
        );
        state.active.push(Active { id, point, left: fault.times, until, fault });
        self.inner.armed.store(true, Ordering::Release);
        Ok(id)
    }

    fn point_for(&self, fault: &Fault) -> Result<&'static str, FaultError> {
        let point = self.inner.points.iter().find(|point| point.name == fault.point);
        let point = point.ok_or_else(|| FaultError::UnknownPoint {
            point: fault.point.clone(),
            known: self.inner.points.iter().map(|point| point.name).collect::<Vec<_>>().join(", "),
        })?;
        if !point.kinds.contains(&fault.kind) {
            let possible = point.kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
            return Err(FaultError::NotThere { point: point.name, kind: fault.kind, possible });
        }
        if !(0.0..=1.0).contains(&fault.probability) {
            return Err(FaultError::Probability(fault.probability));
        }
        Ok(point.name)
    }

    /// Ends all faults, wakes whatever is frozen, and answers how many there were.
    pub fn clear(&self) -> usize {
        let cleared = {
            let mut state = self.inner.state.lock();
            self.inner.armed.store(false, Ordering::Release);
            state.cleared += 1;
            std::mem::take(&mut state.active).len()
        };
        self.inner.thawed.notify_all();
        self.inner.thawed_tasks.notify_waiters();
        cleared
    }

    /// Whether any fault is active.
    pub fn are_armed(&self) -> bool {
        self.inner.armed.load(Ordering::Relaxed)
    }

    /// The faults that are active now, with their numbers.
    pub fn active(&self) -> Vec<(u64, Fault)> {
        let mut state = self.inner.state.lock();
        self.expire(&mut state);
        state.active.iter().map(|active| (active.id, active.fault.clone())).collect()
    }

    /// How often each kind of fault struck at each point.
    pub fn trips(&self) -> BTreeMap<(&'static str, FaultKind), u64> {
        self.inner.state.lock().trips.clone()
    }

    /// How often faults struck this target; the first ten thousand targets are counted.
    pub fn strikes_on(&self, target: &str) -> u64 {
        self.inner.state.lock().strikes.get(target).copied().unwrap_or_default()
    }

    /// Whether a fault strikes whoever passes this point now for `target`; the point must carry it out.
    #[inline]
    pub fn trip(&self, point: FaultPoint, target: impl Display) -> Option<Tripped> {
        if !self.are_armed() {
            return None;
        }
        self.strike(point, &target.to_string())
    }

    #[cold]
    fn strike(&self, point: FaultPoint, target: &str) -> Option<Tripped> {
        let mut state = self.inner.state.lock();
        self.expire(&mut state);
        let State { active, dice, trips, cleared, strikes, .. } = &mut *state;
        let struck = active.iter_mut().find(|active| {
            active.point == point.name
                && active.left != Some(0)
                && active.fault.is_for(target)
                && dice.f64() < active.fault.probability
        })?;
        struck.left = struck.left.map(|left| left - 1);
        let tripped = Tripped {
            point: point.name,
            kind: struck.fault.kind,
            delay: struck.fault.delay,
            until: struck.until,
            id: struck.id,
            cleared: *cleared,
        };
        *trips.entry((point.name, tripped.kind)).or_default() += 1;
        if strikes.len() < MAX_TARGETS || strikes.contains_key(target) {
            *strikes.entry(target.to_owned()).or_default() += 1;
        }
        drop(state);
        let kind = tripped.kind.as_str();
        metrics::counter!(crate::metrics::FAULTS, "point" => point.name, "kind" => kind).increment(1);
        tracing::debug!(event = "fault.struck", id = tripped.id, point = point.name, kind, target);
        Some(tripped)
    }

    /// Drops what is over; a frozen task keeps its own time.
    fn expire(&self, state: &mut State) {
        let now = clock::monotonic();
        state.active.retain(|active| active.until.is_none_or(|until| now < until) && active.left != Some(0));
        if state.active.is_empty() {
            self.inner.armed.store(false, Ordering::Release);
        }
    }

    /// Passes a point at which panics, errors, delays and freezes mean what they say.
    pub async fn pass(&self, point: FaultPoint, target: impl Display) -> Result<(), Injected> {
        match self.trip(point, target) {
            Some(tripped) => self.suffer(tripped).await,
            None => Ok(()),
        }
    }

    /// Carries out a fault that means what it says.
    pub async fn suffer(&self, tripped: Tripped) -> Result<(), Injected> {
        match tripped.kind {
            FaultKind::Panic => injected_panic(tripped),
            FaultKind::Delay => drop(tokio::time::timeout(tripped.delay, std::future::pending::<()>()).await),
            FaultKind::Freeze => self.freeze(tripped).await,
            FaultKind::Error
            | FaultKind::DropLink
            | FaultKind::CorruptFrame
            | FaultKind::FsyncError
            | FaultKind::DiskFull
            | FaultKind::ClockStep => return Err(tripped.into()),
        }
        Ok(())
    }

    /// Passes a point on a thread that may block.
    pub fn pass_blocking(&self, point: FaultPoint, target: impl Display) -> Result<(), Injected> {
        let Some(tripped) = self.trip(point, target) else { return Ok(()) };
        match tripped.kind {
            FaultKind::Panic => injected_panic(tripped),
            FaultKind::Delay => std::thread::sleep(tripped.delay),
            FaultKind::Freeze => self.freeze_thread(tripped),
            FaultKind::Error
            | FaultKind::DropLink
            | FaultKind::CorruptFrame
            | FaultKind::FsyncError
            | FaultKind::DiskFull
            | FaultKind::ClockStep => return Err(tripped.into()),
        }
        Ok(())
    }

    /// Waits until the fault is over or cleared; a kill ends it too.
    async fn freeze(&self, tripped: Tripped) {
        let thawed = self.inner.thawed_tasks.notified();
        tokio::pin!(thawed);
        // Registered before the look, so that a clearing in between is not missed.
        thawed.as_mut().enable();
        if self.inner.state.lock().cleared != tripped.cleared {
            return;
        }
        match tripped.until {
            Some(until) => drop(tokio::time::timeout_at(until, thawed).await),
            None => thawed.await,
        }
    }

    fn freeze_thread(&self, tripped: Tripped) {
        let mut state = self.inner.state.lock();
        while state.cleared == tripped.cleared {
            match tripped.until.map(Instant::into_std) {
                Some(until) if self.inner.thawed.wait_until(&mut state, until).timed_out() => return,
                Some(_) => {}
                None => self.inner.thawed.wait(&mut state),
            }
        }
    }

    /// The machine's wall clock, set off by the steps that are active at this point.
    pub fn now_ms(&self, point: FaultPoint) -> i64 {
        let now = clock::now_ms();
        if !self.are_armed() {
            return now;
        }
        let mut state = self.inner.state.lock();
        self.expire(&mut state);
        let here = state.active.iter().filter(|active| active.point == point.name);
        now + here.map(|active| active.fault.step_ms).sum::<i64>()
    }
}

#[expect(clippy::panic, reason = "a panic is what was asked for")]
fn injected_panic(tripped: Tripped) -> ! {
    panic!("injected fault {} at {}", tripped.id, tripped.point)
}

impl From<Injected> for Failure {
    fn from(injected: Injected) -> Self {
        Self::new(&injected)
    }
}

#[cfg(test)]
mod tests;
