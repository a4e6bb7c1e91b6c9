//! The aggregator of one shard of the devices: folds committed readings into the open hour, the latest values and
//! the ledger, and decides when rows go to a bucket.
//!
//! Owns: the shard's head. Receives: news of commits, ticks, what the recorder sealed. Sends: seal jobs to the shard's
//! recorder. Lost on restart: the head, rebuilt from the last checkpoint and the journal; until the new one is level
//! with the journal, readers keep seeing the old one. Supervised by: analysis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;
use voltree_model::DeviceId;
use voltree_runtime::{Failure, Faults, Handle, clock};
use voltree_storage::{Head, JournalSlot, Lsn, Numbered, SealJob, Sealed, Store};

use crate::cursor;
use crate::fault_points::AGGREGATOR_HANDLE;
use crate::recorder::RecorderMsg;

/// How long nothing may arrive before everything open is sealed: the node is at rest.
const AT_REST_AFTER: Duration = Duration::from_secs(2);
/// How long a seal may take before it is asked for again: the recorder may have been killed over it.
const SEAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Which devices belong to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 0.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

impl Shard {
    /// Whether the device is this shard's; what names no device belongs to the first.
    pub fn owns(self, device: Option<&DeviceId>) -> bool {
        device.map_or(0, |device| fnv1a(device.as_str().as_bytes()) % self.count) == self.index
    }
}

/// A hash that stays the same across builds, as a device must stay in its shard across restarts.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The head of one shard as readers see it. The node owns it: it outlives the aggregator, and is replaced only by a
/// successor that is level with the journal.
#[derive(Debug)]
pub struct PublishedHead {
    current: RwLock<Arc<RwLock<Head>>>,
    level: AtomicBool,
}

impl PublishedHead {
    /// A head to begin with, which does not know yet what the journal holds beyond the last checkpoint.
    pub fn new(head: Head) -> Self {
        Self { current: RwLock::new(Arc::new(RwLock::new(head))), level: AtomicBool::new(false) }
    }

    /// Whether some aggregator has been level with the journal since the node started.
    pub fn is_level(&self) -> bool {
        self.level.load(Ordering::Acquire)
    }

    /// Looks at the head; `look` must be quick.
    pub fn with<T>(&self, look: impl FnOnce(&Head) -> T) -> T {
        let head = Arc::clone(&self.current.read());
        let head = head.read();
        look(&head)
    }

    fn replace(&self, head: &Arc<RwLock<Head>>) {
        *self.current.write() = Arc::clone(head);
        self.level.store(true, Ordering::Release);
    }
}

/// What an aggregator is told.
#[derive(Debug)]
pub enum AggregatorMsg {
    /// The journal has committed more.
    Committed,
    /// Time went by.
    Tick,
    /// The recorder sealed these.
    Sealed(Vec<Sealed>),
}

/// Everything an aggregator needs in order to be born again.
#[derive(Debug, Clone)]
pub struct AggregatorArgs {
    /// Its shard.
    pub shard: Shard,
    /// The node's journal.
    pub journal: Arc<JournalSlot>,
    /// The node's store, for its checkpoints.
    pub store: Arc<Store>,
    /// Where readers look.
    pub published: Arc<PublishedHead>,
    /// The shard's recorder.
    pub recorder: Handle<RecorderMsg>,
    /// The node's faults.
    pub faults: Faults,
}

/// The actor.
#[derive(Debug)]
pub struct Aggregator;

/// What it knows.
#[derive(Debug)]
pub struct AggregatorState {
    args: AggregatorArgs,
    head: Arc<RwLock<Head>>,
    cursor: Lsn,
    level: bool,
    last_new: Instant,
    sealing_since: Option<Instant>,
}

/// The head of a shard as the store's last checkpoint left it, before the journal is replayed.
pub fn head_of(store: &Store, shard: Shard) -> Head {
    let (devices, node) = store.checkpoints();
    let devices = devices.into_iter().filter(|(id, _)| shard.owns(Some(id))).collect();
    Head::new(devices, shard.owns(None).then_some(node))
}

impl Actor for Aggregator {
    type Msg = AggregatorMsg;
    type State = AggregatorState;
    type Arguments = AggregatorArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<AggregatorMsg>,
        args: AggregatorArgs,
    ) -> Result<AggregatorState, ActorProcessingErr> {
        let cursor = args.store.replay_from();
        let head = Arc::new(RwLock::new(head_of(&args.store, args.shard)));
        cursor::tick(&myself, || AggregatorMsg::Tick);
        myself.send_message(AggregatorMsg::Committed)?;
        let last_new = clock::monotonic();
        Ok(AggregatorState { args, head, cursor, level: false, last_new, sealing_since: None })
    }

    async fn handle(
        &self,
        _myself: ActorRef<AggregatorMsg>,
        message: AggregatorMsg,
        state: &mut AggregatorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AggregatorMsg::Committed => state.catch_up().await,
            AggregatorMsg::Tick => {
                state.catch_up().await?;
                state.request_seals();
                Ok(())
            }
            AggregatorMsg::Sealed(sealed) => {
                state.sealed(sealed);
                Ok(())
            }
        }
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<AggregatorMsg>,
        state: &mut AggregatorState,
    ) -> Result<(), ActorProcessingErr> {
        state.catch_up().await?;
        state.seal_everything().await
    }
}

impl AggregatorState {
    async fn catch_up(&mut self) -> Result<(), ActorProcessingErr> {
        loop {
            let shard = self.args.shard;
            let next = cursor::next_of(&self.args.journal, self.cursor, move |device| shard.owns(device));
            let (last, batch) = next.await.map_err(|error| Failure::boxed(&error))?;
            if last == self.cursor {
                break;
            }
            self.args.faults.pass(AGGREGATOR_HANDLE, shard.index).await.map_err(Failure::from)?;
            self.cursor = last;
            self.fold(&batch);
            self.last_new = clock::monotonic();
        }
        if !self.level {
            self.level = true;
            self.args.published.replace(&self.head);
        }
        Ok(())
    }

    fn fold(&self, batch: &[Numbered]) {
        let mut head = self.head.write();
        for (lsn, entry) in batch {
            head.apply(*lsn, entry);
        }
    }

    fn request_seals(&mut self) {
        if self.sealing_since.is_some_and(|since| since.elapsed() < SEAL_TIMEOUT) {
            return;
        }
        self.sealing_since = None;
        let at_rest = self.last_new.elapsed() >= AT_REST_AFTER;
        let now = crate::now();
        let jobs = self.head.read().seal_jobs(now, at_rest);
        if jobs.is_empty() {
            return;
        }
        // A recorder that is being restarted gets the same jobs after the time-out.
        if self.args.recorder.send(RecorderMsg::Seal(jobs)).is_ok() {
            self.sealing_since = Some(clock::monotonic());
        }
    }

    fn sealed(&mut self, sealed: Vec<Sealed>) {
        self.sealing_since = None;
        let mut head = self.head.write();
        for outcome in sealed {
            head.sealed(outcome);
        }
    }

    /// The last act of an orderly stop. What can't be sealed now is sealed after the next start.
    async fn seal_everything(&mut self) -> Result<(), ActorProcessingErr> {
        let now = crate::now();
        let jobs: Vec<SealJob> = self.head.read().seal_jobs(now, true);
        let store = Arc::clone(&self.args.store);
        let sealed = tokio::task::spawn_blocking(move || store.seal(jobs)).await?;
        match sealed {
            Ok(sealed) => self.sealed(sealed),
            Err(error @ voltree_storage::Error::DiskFull { .. }) => {
                tracing::warn!(event = "storage.disk_full", %error, "the rest is sealed after the next start");
            }
            Err(error) => return Err(Failure::boxed(&error)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_exactly_one_shard_and_the_node_has_the_first() {
        let shards = [0, 1, 2].map(|index| Shard { index, count: 3 });
        for n in 0..100 {
            let device = DeviceId::new(format!("device-{n}")).unwrap();
            assert_eq!(shards.iter().filter(|shard| shard.owns(Some(&device))).count(), 1);
        }
        assert!(shards[0].owns(None) && !shards[1].owns(None));
    }
}
