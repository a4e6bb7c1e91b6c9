//! The node's starts: a fair queue behind all supervisors, so that none of them waits for a child and ten thousand
//! children that crash at once come back in order while everybody else goes on.
//!
//! As many tasks as the runtime has threads take starts from the lanes of the supervisors in turn. A start that
//! doesn't complete at once goes on beside the queue, up to a budget per lane, and fails when its limit is over.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;
use ractor::{ActorCell, ActorId, ActorRef, SpawnErr};

use super::Cradle;
use super::SupervisorMsg;
use crate::child::{Entry, Newborn, Spawned};
use crate::directory::Fence;
use crate::{ActorPath, Directory, ErrorChain, ExitReason};

/// How many starts of one supervisor may be under way without having completed at once.
const SLOW_PER_LANE: usize = 64;
/// How many starts a task carries out before it lets others have the thread.
const TURN: usize = 32;

/// One start that was asked for.
#[derive(Debug)]
pub(crate) struct StartJob {
    pub(crate) entry: Arc<Entry>,
    pub(crate) key: super::Key,
    pub(crate) fence: Fence,
    pub(crate) nursery: Arc<Nursery>,
}

/// What all children of one supervisor are born with.
#[derive(Debug)]
pub(crate) struct Nursery {
    pub(crate) path: ActorPath,
    pub(crate) directory: Directory,
    pub(crate) cradle: Arc<Cradle>,
    pub(crate) supervisor: ActorRef<SupervisorMsg>,
}

impl StartJob {
    fn newborn(&self) -> Newborn {
        let Nursery { path, directory, cradle, .. } = &*self.nursery;
        let birth = crate::child::Birth {
            path: self.entry.slot(directory, path).path().clone(),
            incarnation: self.fence.life().incarnation(),
            directory: directory.clone(),
            fence: self.fence.clone(),
        };
        Newborn { birth, cradle: Arc::clone(cradle), key: self.key }
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct StartQueue {
    lanes: Mutex<Lanes<StartJob>>,
}

#[derive(Debug)]
struct Lanes<J> {
    by_supervisor: HashMap<ActorId, Lane<J>>,
    /// Lanes whose next start may be taken, in turn.
    ready: VecDeque<ActorId>,
    queued: usize,
    workers: usize,
}

#[derive(Debug)]
struct Lane<J> {
    jobs: VecDeque<J>,
    slow: usize,
}

impl<J> Default for Lanes<J> {
    fn default() -> Self {
        Self { by_supervisor: HashMap::new(), ready: VecDeque::new(), queued: 0, workers: 0 }
    }
}

impl<J> Default for Lane<J> {
    fn default() -> Self {
        Self { jobs: VecDeque::new(), slow: 0 }
    }
}

impl StartQueue {
    /// Queues starts of one supervisor.
    pub(crate) fn push(self: &Arc<Self>, supervisor: ActorId, jobs: Vec<StartJob>) {
        let mut lanes = self.lanes.lock();
        lanes.push(supervisor, jobs);
        let threads = tokio::runtime::Handle::current().metrics().num_workers();
        while lanes.workers < lanes.queued.min(threads) {
            lanes.workers += 1;
            self.spawn_worker();
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the queue is the node's; its tasks end when it is empty")]
    fn spawn_worker(self: &Arc<Self>) {
        tokio::spawn(work(Arc::clone(self)));
    }

    /// The next start in turn; without one, the task that asked must end.
    fn next(&self) -> Option<StartJob> {
        let mut lanes = self.lanes.lock();
        let job = lanes.next();
        if job.is_none() {
            lanes.workers = lanes.workers.saturating_sub(1);
        }
        job
    }

    /// Begins a start; if it doesn't complete at once it goes on beside the queue.
    async fn begin(self: &Arc<Self>, job: StartJob) {
        if !job.fence.is_current() {
            return;
        }
        let newborn = job.newborn();
        let StartJob { entry, key, fence, nursery } = job;
        let birth =
            Birth { key, generation: fence.life().incarnation(), supervisor: nursery.supervisor.clone() };
        let cell = birth.supervisor.get_cell();
        // ractor catches what panics from here on; making the arguments is ours.
        let made = std::panic::catch_unwind(AssertUnwindSafe(|| entry.spec.start(newborn, cell)));
        let Ok(mut start) = made else {
            return birth.failed("it panicked while its arguments were made".into());
        };
        if let Poll::Ready(started) = futures::poll!(&mut start) {
            return birth.tell(started);
        }
        self.go_on(birth, entry, start);
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a start has a limit, and its end is told to its supervisor"
    )]
    fn go_on(self: &Arc<Self>, birth: Birth, entry: Arc<Entry>, start: Spawned) {
        let lane = birth.supervisor.get_id();
        self.lanes.lock().slow_begins(lane);
        let queue = Arc::clone(self);
        tokio::spawn(async move {
            let limit = entry.spec.terms.start;
            match tokio::time::timeout(limit, start).await {
                Ok(started) => birth.tell(started),
                Err(_) => birth.failed(format!("it took longer than {limit:?}").into()),
            }
            let more = queue.lanes.lock().slow_ends(lane);
            if more {
                queue.push(lane, Vec::new());
            }
        });
    }
}

/// Whose start it is, and who wants to know.
struct Birth {
    key: super::Key,
    generation: u64,
    supervisor: ActorRef<SupervisorMsg>,
}

impl Birth {
    /// Tells of a failure; a success tells of itself, by ractor's own event.
    fn tell(&self, started: Result<ActorCell, SpawnErr>) {
        if let Err(error) = started {
            self.failed(ErrorChain::new(&error));
        }
    }

    fn failed(&self, chain: ErrorChain) {
        let reason = ExitReason::StartFailed { chain };
        let failed = SupervisorMsg::StartFailed { key: self.key, generation: self.generation, reason };
        // A supervisor that is gone has a successor that starts everybody anew.
        self.supervisor.send_message(failed).ok();
    }
}

async fn work(queue: Arc<StartQueue>) {
    loop {
        for _ in 0..TURN {
            let Some(job) = queue.next() else { return };
            queue.begin(job).await;
        }
        tokio::task::yield_now().await;
    }
}

impl<J> Lanes<J> {
    fn push(&mut self, supervisor: ActorId, jobs: Vec<J>) {
        self.queued += jobs.len();
        let lane = self.by_supervisor.entry(supervisor).or_default();
        let was_ready = lane.is_ready();
        lane.jobs.extend(jobs);
        if lane.is_ready() && !was_ready {
            self.ready.push_back(supervisor);
        }
    }

    fn next(&mut self) -> Option<J> {
        let supervisor = self.ready.pop_front()?;
        let lane = self.by_supervisor.get_mut(&supervisor)?;
        let job = lane.jobs.pop_front();
        self.queued -= usize::from(job.is_some());
        if lane.is_ready() {
            self.ready.push_back(supervisor);
        } else if lane.jobs.is_empty() && lane.slow == 0 {
            self.by_supervisor.remove(&supervisor);
        }
        job
    }

    fn slow_begins(&mut self, supervisor: ActorId) {
        let lane = self.by_supervisor.entry(supervisor).or_default();
        lane.slow += 1;
        if lane.slow == SLOW_PER_LANE {
            self.ready.retain(|ready| *ready != supervisor);
        }
    }

    /// Says whether the lane can go on now.
    fn slow_ends(&mut self, supervisor: ActorId) -> bool {
        let Some(lane) = self.by_supervisor.get_mut(&supervisor) else { return false };
        let was_full = lane.slow == SLOW_PER_LANE;
        lane.slow = lane.slow.saturating_sub(1);
        if lane.jobs.is_empty() && lane.slow == 0 {
            self.by_supervisor.remove(&supervisor);
            return false;
        }
        if was_full && lane.is_ready() {
            self.ready.push_back(supervisor);
            return true;
        }
        false
    }
}

impl<J> Lane<J> {
    fn is_ready(&self) -> bool {
        !self.jobs.is_empty() && self.slow < SLOW_PER_LANE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORM: ActorId = ActorId::Local(1);
    const OTHER: ActorId = ActorId::Local(2);

    #[test]
    fn lanes_take_turns_and_each_keeps_its_order() {
        let mut lanes = Lanes::default();
        lanes.push(STORM, (0..10_000).collect());
        assert_eq!(lanes.next(), Some(0));
        lanes.push(OTHER, vec![77_777]);
        assert_eq!([lanes.next(), lanes.next(), lanes.next()], [Some(1), Some(77_777), Some(2)]);
        for job in 3..10_000 {
            assert_eq!(lanes.next(), Some(job));
        }
        assert_eq!((lanes.next(), lanes.queued, lanes.by_supervisor.len()), (None, 0, 0));
    }

    #[test]
    fn a_lane_whose_starts_hang_stands_still_alone_and_goes_on_later() {
        let mut lanes = Lanes::default();
        lanes.push(STORM, (0..200).collect());
        for job in 0..SLOW_PER_LANE {
            assert_eq!(lanes.next(), Some(job));
            lanes.slow_begins(STORM);
        }
        assert_eq!(lanes.next(), None);
        lanes.push(OTHER, vec![999]);
        lanes.push(STORM, vec![200]);
        assert_eq!([lanes.next(), lanes.next()], [Some(999), None]);
        assert!(lanes.slow_ends(STORM), "there is room for one more");
        assert_eq!(lanes.next(), Some(SLOW_PER_LANE));
    }
}
