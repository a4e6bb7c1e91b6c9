//! The event log: keeps the node's last supervision events on disk, so that they survive its restart.
//!
//! Owns: nothing; the file and how far it goes belong to the node. Receives: a slow tick. Lost on restart: nothing, what
//! was not written yet is still in the node's ring of events. Supervised by: storage. No supervisor waits for it: it
//! reads the ring behind them. A crash of the node loses what happened since the last tick; a disk that takes nothing
//! is told once and tried again, and is no reason to fail.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use voltree_runtime::{EVENTS_KEPT, Events, SupervisionEvent};
use voltree_storage::Disk;

use crate::cursor;
use crate::line_log::{LineLog, LineLogError};

/// The node's half of the event log, which outlives the actor.
#[derive(Debug)]
pub struct EventBook {
    events: Events,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    log: LineLog,
    /// The number of the last event on disk.
    up_to: u64,
    failing: bool,
}

impl EventBook {
    /// Reads the events of the node's earlier lives and puts them before those of this one.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, events: Events) -> Result<Self, LineLogError> {
        let (log, loaded) = LineLog::open::<SupervisionEvent>(disk, dir, "supervision-events", EVENTS_KEPT)?;
        if loaded.unreadable > 0 {
            tracing::warn!(
                lines = loaded.unreadable,
                "supervision events that can't be read were passed over"
            );
        }
        let up_to = events.restore(loaded.records);
        Ok(Self { events, written: Mutex::new(Written { log, up_to, failing: false }) })
    }

    /// Writes what happened since the last time; blocks.
    pub fn flush(&self) {
        let mut written = self.written.lock();
        let (new, last) = self.events.after(written.up_to);
        if new.is_empty() {
            return;
        }
        let new: Vec<_> = new.iter().map(AsRef::as_ref).collect();
        match written.log.append(&new) {
            Ok(()) => {
                written.up_to = last;
                if std::mem::take(&mut written.failing) {
                    tracing::info!(event = "event_log.recovered", "supervision events are stored again");
                }
            }
            Err(error) if !written.failing => {
                written.failing = true;
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(
                    event = "event_log.failing",
                    error,
                    "supervision events are not stored for now"
                );
            }
            Err(_) => {}
        }
    }
}

/// What the event log is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventLogMsg {
    /// Time went by.
    Tick,
}

/// The actor.
#[derive(Debug)]
pub struct EventLog;

impl Actor for EventLog {
    type Msg = EventLogMsg;
    type State = Arc<EventBook>;
    type Arguments = Arc<EventBook>;

    async fn pre_start(
        &self,
        myself: ActorRef<EventLogMsg>,
        book: Arc<EventBook>,
    ) -> Result<Arc<EventBook>, ActorProcessingErr> {
        cursor::tick(&myself, || EventLogMsg::Tick);
        Ok(book)
    }

    async fn handle(
        &self,
        _myself: ActorRef<EventLogMsg>,
        message: EventLogMsg,
        book: &mut Arc<EventBook>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            EventLogMsg::Tick => {
                let book = Arc::clone(book);
                Ok(tokio::task::spawn_blocking(move || book.flush()).await?)
            }
        }
    }
}
