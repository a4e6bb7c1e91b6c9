//! The watchman: a thread of its own that goes round the directory and finds actors that are frozen, and operators'
//! orders that fell into the restart of a supervisor.
//!
//! It must not depend on the async runtime, whose threads are what a spinning actor takes. It tells supervisors and
//! decides nothing about their children; what it does decide is when too many threads are stuck for the node to go on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::life::Life;
use super::slot::{News, Slot};
use super::slots::PARTS;
use super::{Directory, Shared};
use crate::supervisor::SupervisorMsg;
use crate::{ActorPath, EventKind, ExitReason, clock};

/// After so many actors the watchman pauses.
const AT_ONCE: usize = 1_000;

/// How frozen actors are found, and what the node bears of them.
#[derive(Debug, Clone, Copy)]
pub struct WatchOptions {
    /// How often the watchman goes round; how exact the limits of actors are.
    pub tick: Duration,
    /// How many stuck threads end the node.
    pub stuck_limit: usize,
    /// Called from the watchman's thread once the node has had `patience` to end by itself and did not.
    pub last_resort: Option<fn()>,
    /// How long that is.
    pub patience: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(1),
            stuck_limit: 2,
            last_resort: None,
            patience: Duration::from_secs(10),
        }
    }
}

/// The watchman's own knowledge.
#[derive(Debug, Default)]
pub(crate) struct Watchman {
    options: WatchOptions,
    orphans: Mutex<Vec<Orphan>>,
    stuck: AtomicUsize,
    too_many: Notify,
}

/// An incarnation that was given up while it was busy.
#[derive(Debug)]
struct Orphan {
    slot: Arc<Slot>,
    life: Arc<Life>,
    /// How often it was found busy since.
    rounds: u32,
}

impl Orphan {
    /// One that was found busy once may be about to end.
    fn is_stuck(&self) -> bool {
        self.rounds >= 2
    }
}

/// An incarnation that was given up and still holds its thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckActor {
    /// Whose.
    pub path: ActorPath,
    /// Which of them.
    pub incarnation: u64,
}

/// A watchman on duty; dropping it ends the thread at its next round.
#[derive(Debug)]
pub(crate) struct OnDuty {
    thread: std::thread::Thread,
    duty: Option<Arc<()>>,
}

impl Drop for OnDuty {
    fn drop(&mut self) {
        self.duty = None;
        self.thread.unpark();
    }
}

impl Watchman {
    pub(super) fn new(options: WatchOptions) -> Self {
        Self { options, ..Self::default() }
    }

    pub(super) fn stuck_threads(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }

    /// The incarnations that hold them.
    pub(super) fn stuck(&self) -> Vec<StuckActor> {
        let orphans = self.orphans.lock();
        let stuck = orphans.iter().filter(|orphan| orphan.is_stuck());
        let stuck = stuck.map(|orphan| StuckActor {
            path: orphan.slot.path().clone(),
            incarnation: orphan.life.incarnation(),
        });
        stuck.collect()
    }

    /// Keeps an eye on an incarnation that was given up.
    pub(super) fn adopt(&self, slot: Arc<Slot>, life: Arc<Life>) {
        self.orphans.lock().push(Orphan { slot, life, rounds: 0 });
    }

    /// Resolves when so many threads are stuck that the node must end.
    pub(crate) async fn too_many_stuck(&self) {
        self.too_many.notified().await;
    }

    /// Sends the watchman on his rounds until the answer is dropped.
    pub(crate) fn start(directory: &Directory) -> std::io::Result<OnDuty> {
        let (options, shared) = (directory.watchman().options, Arc::downgrade(&directory.shared));
        let duty = Arc::new(());
        let on = Arc::downgrade(&duty);
        let thread = std::thread::Builder::new().name("watchman".to_owned()).spawn(move || {
            while on.strong_count() > 0 {
                let begun = clock::monotonic();
                match round(&shared, &on, options.tick / 2) {
                    Round::GoOn => std::thread::park_timeout(options.tick.saturating_sub(begun.elapsed())),
                    Round::TooManyStuck => resort(options, &on),
                    Round::NobodyLeft => return,
                }
            }
        })?;
        Ok(OnDuty { thread: thread.thread().clone(), duty: Some(duty) })
    }
}

/// What a round came to.
enum Round {
    GoOn,
    TooManyStuck,
    NobodyLeft,
}

/// Goes through all parts; with many actors there are pauses in between, which take about as long as `pauses` together.
fn round(shared: &Weak<Shared>, on: &Weak<()>, pauses: Duration) -> Round {
    let Some(begun) = shared.upgrade() else { return Round::NobodyLeft };
    let round = begun.ticks.advance();
    drop(begun);
    let mut looked_at = 0;
    for part in 0..PARTS {
        // Nobody is kept alive over a pause.
        let Some(shared) = shared.upgrade().filter(|_| on.strong_count() > 0) else {
            return Round::NobodyLeft;
        };
        looked_at += look_at(&Directory { shared }, part, round);
        if looked_at >= AT_ONCE {
            looked_at = 0;
            std::thread::park_timeout(pauses / u32::try_from(PARTS).unwrap_or(1));
        }
    }
    let Some(shared) = shared.upgrade() else { return Round::NobodyLeft };
    if (Directory { shared }).look_after_orphans() { Round::TooManyStuck } else { Round::GoOn }
}

/// Tells the supervisors what is found in one part; says how many actors are in it.
fn look_at(directory: &Directory, part: usize, round: u32) -> usize {
    let tick = directory.shared.watchman.options.tick;
    let slots = directory.shared.slots.parts()[part].read();
    let news: Vec<_> = slots
        .values()
        .filter_map(|slot| slot.news(round, tick).map(|news| (Arc::clone(slot), news)))
        .collect();
    let count = slots.len();
    drop(slots);
    for (slot, news) in news {
        let Some(parent) = slot.path().parent() else { continue };
        let name = slot.path().name().to_owned();
        // A supervisor that is being restarted is told again in the next round.
        directory.handle(&parent).nudge(match news {
            News::Frozen(incarnation) => SupervisorMsg::Frozen(name, incarnation),
            News::Held => SupervisorMsg::Park(name),
            News::Released => SupervisorMsg::Resume(name),
        });
    }
    count
}

/// Where even the runtime is stuck nobody hears the watchman; then he acts alone.
fn resort(options: WatchOptions, on: &Weak<()>) {
    std::thread::park_timeout(options.patience);
    if let Some(last_resort) = options.last_resort.filter(|_| on.strong_count() > 0) {
        last_resort();
    }
}

impl Directory {
    /// Tells of given-up incarnations that still hold their thread a round later; says whether the node can't go on.
    fn look_after_orphans(&self) -> bool {
        let watchman = &self.shared.watchman;
        let (mut found, mut stuck) = (Vec::new(), 0);
        watchman.orphans.lock().retain_mut(|orphan| {
            if !orphan.life.is_busy() {
                return false;
            }
            orphan.rounds += 1;
            stuck += usize::from(orphan.is_stuck());
            if orphan.rounds == 2 {
                found.push((Arc::clone(&orphan.slot), orphan.life.incarnation()));
            }
            true
        });
        watchman.stuck.store(stuck, Ordering::Relaxed);
        for (slot, incarnation) in &found {
            let mut view = slot.view();
            (view.incarnation, view.restarts) = (*incarnation, incarnation.saturating_sub(1));
            let reason = view.last_reason.clone().unwrap_or(ExitReason::ParentEnded);
            self.events().emit(EventKind::Stuck, view, Some(reason), None);
        }
        let too_many = !found.is_empty() && stuck >= watchman.options.stuck_limit;
        if too_many {
            let limit = watchman.options.stuck_limit;
            tracing::error!(stuck, limit, "too many threads are stuck; the node ends");
            watchman.too_many.notify_one();
        }
        too_many
    }
}
