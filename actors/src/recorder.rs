//! The recorder of one shard: writes what its aggregator decided to seal into the time buckets.
//!
//! Owns: nothing; buckets and checkpoints belong to the store. Receives: seal jobs, and ticks on which it looks after
//! the store. Sends: what was sealed, to its aggregator. Lost on restart: a job at hand, which the aggregator asks for again; sealing twice is harmless.
//! Supervised by: storage.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use voltree_model::Timestamp;
use voltree_runtime::{Failure, Faults, Handle};
use voltree_storage::{JournalSlot, Lsn, SealJob, Store};

use crate::aggregator::AggregatorMsg;
use crate::fault_points::RECORDER_SEAL;

/// How often the store is looked after.
const TICK: Duration = Duration::from_secs(2);
/// How often it is seen to that nothing is kept too long.
const RETAIN_EVERY: Duration = Duration::from_secs(60);
/// How many hours of devices are finished at once.
const HOURS_A_TICK: usize = 32;

/// How many entries of the journal are looked at at once to rebuild a bucket.
const REBUILD_BATCH: usize = 20_000;

/// What a recorder is told.
#[derive(Debug)]
pub enum RecorderMsg {
    /// Write these into their buckets.
    Seal(Vec<SealJob>),
    /// Time went by.
    Tick,
}

/// Everything a recorder needs in order to be born again.
#[derive(Debug, Clone)]
pub struct RecorderArgs {
    /// The node's store.
    pub store: Arc<Store>,
    /// The node's journal, to be pruned of what is sealed.
    pub journal: Arc<JournalSlot>,
    /// The shard's aggregator.
    pub aggregator: Handle<AggregatorMsg>,
    /// How far the alert engine has saved its state: the journal is kept from there on.
    pub alerts_saved: Arc<AtomicU64>,
    /// The shard's number.
    pub shard: u32,
    /// The node's faults.
    pub faults: Faults,
}

/// The actor.
#[derive(Debug)]
pub struct Recorder;

/// What it knows.
#[derive(Debug)]
pub struct RecorderState {
    args: RecorderArgs,
    /// When it last removed what is past its time.
    retained_at: Option<Timestamp>,
    /// Whether the disk was full the last time.
    waits_for_space: bool,
}

impl Actor for Recorder {
    type Msg = RecorderMsg;
    type State = RecorderState;
    type Arguments = RecorderArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<RecorderMsg>,
        args: RecorderArgs,
    ) -> Result<RecorderState, ActorProcessingErr> {
        myself.send_interval(TICK, || RecorderMsg::Tick);
        Ok(RecorderState { args, retained_at: None, waits_for_space: false })
    }

    async fn handle(
        &self,
        _myself: ActorRef<RecorderMsg>,
        message: RecorderMsg,
        state: &mut RecorderState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RecorderMsg::Seal(jobs) => state.seal(jobs).await,
            RecorderMsg::Tick => state.maintain().await,
        }
    }
}

impl RecorderState {
    /// A little of what is left to do; the rest at the next tick, so that no seal waits for long.
    async fn maintain(&mut self) -> Result<(), ActorProcessingErr> {
        let (store, journal, now) =
            (Arc::clone(&self.args.store), Arc::clone(&self.args.journal), crate::now());
        let retain = self.retained_at.is_none_or(|last| now.since(last) >= RETAIN_EVERY);
        if retain {
            self.retained_at = Some(now);
        }
        let done = tokio::task::spawn_blocking(move || {
            if retain {
                store.retain(now)?;
            }
            rebuild(&store, &journal, now)?;
            store.save_records()?;
            store.maintain(now, HOURS_A_TICK)
        });
        self.patient(done.await?).map(drop).map_err(|error| Failure::boxed(&error))
    }

    async fn seal(&mut self, jobs: Vec<SealJob>) -> Result<(), ActorProcessingErr> {
        self.args.faults.pass(RECORDER_SEAL, self.args.shard).await.map_err(Failure::from)?;
        let (store, journal) = (Arc::clone(&self.args.store), Arc::clone(&self.args.journal));
        let alerts_saved = Lsn(self.args.alerts_saved.load(Ordering::Acquire));
        let sealed = tokio::task::spawn_blocking(move || {
            let sealed = store.seal(jobs)?;
            journal.prune(store.prune_lsn().min(alerts_saved))?;
            for event in store.take_events() {
                tracing::error!(event = "bucket.damaged", ?event, "history is missing until it is restored");
            }
            Ok::<_, voltree_storage::Error>(sealed)
        });
        let sealed = self.patient(sealed.await?).map_err(|error| Failure::boxed(&error))?;
        // Without an answer the aggregator asks again.
        sealed.into_iter().for_each(|sealed| self.args.aggregator.nudge(AggregatorMsg::Sealed(sealed)));
        Ok(())
    }

    /// A full disk is nobody's fault here and no restart helps: what could not be done is done once there is space. It is
    /// told when that begins and when it is over.
    fn patient<T>(
        &mut self,
        result: Result<T, voltree_storage::Error>,
    ) -> Result<Option<T>, voltree_storage::Error> {
        let shard = self.args.shard;
        match result {
            Ok(done) => {
                if std::mem::take(&mut self.waits_for_space) {
                    tracing::info!(event = "storage.space_again", shard, "going on");
                }
                Ok(Some(done))
            }
            Err(error @ voltree_storage::Error::DiskFull { .. }) => {
                if !std::mem::replace(&mut self.waits_for_space, true) {
                    tracing::warn!(event = "storage.disk_full", shard, %error, "waiting for space");
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Fills buckets that had to be replaced with what the journal still has of their days.
fn rebuild(store: &Store, journal: &JournalSlot, now: Timestamp) -> Result<(), voltree_storage::Error> {
    for day in store.damaged_days() {
        let (mut from, mut readings) = (Lsn(0), 0);
        loop {
            let entries = journal.read(from, REBUILD_BATCH)?;
            let Some((last, _)) = entries.last() else { break };
            from = *last;
            readings += store.rebuild(day, &entries, now)?;
        }
        store.rebuilt(day)?;
        tracing::warn!(event = "bucket.rebuilt", %day, readings, "from what the journal still had");
    }
    Ok(())
}
