//! The live bus: hands every committed reading, once, to whoever watches right now.
//!
//! Owns: nothing; its cursor and its subscribers belong to the node. Receives: news of commits. Lost on restart:
//! nothing. Supervised by: edges. A watcher that falls behind is told how many it missed; nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::broadcast;
use voltree_model::Reading;
use voltree_runtime::Failure;
use voltree_storage::{Entry, JournalSlot, Lsn};

use crate::cursor::{self, CursorMsg};
use crate::metrics;

/// How many readings a watcher may fall behind.
const BACKLOG: usize = 4_096;

/// The node's half of the bus, which outlives the actor.
#[derive(Debug)]
pub struct LiveBus {
    journal: Arc<JournalSlot>,
    cursor: AtomicU64,
    watchers: broadcast::Sender<Arc<Reading>>,
}

impl LiveBus {
    /// A bus that begins with the next commit.
    pub fn new(journal: Arc<JournalSlot>) -> Self {
        let cursor = AtomicU64::new(journal.committed().0);
        Self { journal, cursor, watchers: broadcast::Sender::new(BACKLOG) }
    }

    /// Every committed reading from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Reading>> {
        self.watchers.subscribe()
    }

    async fn catch_up(&self) -> Result<(), cursor::CursorError> {
        loop {
            let batch = cursor::next(&self.journal, Lsn(self.cursor.load(Ordering::Acquire))).await?;
            if batch.is_empty() {
                return Ok(());
            }
            batch.iter().for_each(|(lsn, entry)| self.publish(*lsn, entry));
            metrics::ingested(batch.iter().filter_map(|(_, entry)| match entry {
                Entry::Reading { reading, .. } => Some(reading.as_ref()),
                Entry::Rejected { .. } | Entry::DeadLettered { .. } | Entry::Record { .. } => None,
            }));
        }
    }

    fn publish(&self, lsn: Lsn, entry: &Entry) {
        self.cursor.store(lsn.0, Ordering::Release);
        match entry {
            Entry::Reading { reading, .. } => {
                // A reading that nobody watches is no loss, and not worth a copy: it is committed.
                if self.watchers.receiver_count() > 0 {
                    self.watchers.send(Arc::clone(reading)).ok();
                }
            }
            Entry::Rejected { reason, .. } => metrics::rejected(*reason),
            Entry::DeadLettered { .. } => metrics::dead_lettered(),
            // Nothing that a device measured.
            Entry::Record { .. } => {}
        }
    }
}

/// The actor.
#[derive(Debug)]
pub struct Live;

impl Actor for Live {
    type Msg = CursorMsg;
    type State = Arc<LiveBus>;
    type Arguments = Arc<LiveBus>;

    async fn pre_start(
        &self,
        myself: ActorRef<CursorMsg>,
        bus: Arc<LiveBus>,
    ) -> Result<Arc<LiveBus>, ActorProcessingErr> {
        cursor::tick(&myself, || CursorMsg::Tick);
        Ok(bus)
    }

    async fn handle(
        &self,
        _myself: ActorRef<CursorMsg>,
        message: CursorMsg,
        bus: &mut Arc<LiveBus>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CursorMsg::Committed | CursorMsg::Tick => {
                bus.catch_up().await.map_err(|error| Failure::boxed(&error))?;
            }
        }
        Ok(())
    }
}
