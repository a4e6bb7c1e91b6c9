//! How everything behind the journal reads it: by a cursor, in order, woken by commits and by a slow tick in case a
//! wake-up fell into a restart.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use voltree_model::DeviceId;
use voltree_storage::{JournalSlot, Lsn, Numbered};

/// What a reader of the journal is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorMsg {
    /// The journal has committed more.
    Committed,
    /// Time went by.
    Tick,
}

/// How many entries are taken at once.
const BATCH: usize = 1_024;
/// How often a reader looks without being told.
const TICK: Duration = Duration::from_millis(250);

/// The journal could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    /// The read itself failed.
    #[error("reading the journal after {after:?} failed")]
    Read {
        /// The cursor.
        after: Lsn,
        /// What went wrong.
        #[source]
        source: voltree_storage::Error,
    },
    /// The runtime is shutting down.
    #[error("the read was cancelled")]
    Cancelled,
}

/// The next committed entries after the cursor; none when the reader is level. A reader that is far behind reads files,
/// so this runs on a blocking thread.
pub(crate) async fn next(journal: &Arc<JournalSlot>, after: Lsn) -> Result<Vec<Numbered>, CursorError> {
    Ok(next_of(journal, after, |_| true).await?.1)
}

/// Like [`next`], but only entries whose owner is wanted; also says where the cursor stands then, which is where it stood
/// when the reader is level.
pub(crate) async fn next_of(
    journal: &Arc<JournalSlot>,
    after: Lsn,
    wanted: impl Fn(Option<&DeviceId>) -> bool + Send + 'static,
) -> Result<(Lsn, Vec<Numbered>), CursorError> {
    if journal.committed() <= after {
        return Ok((after, Vec::new()));
    }
    let journal = Arc::clone(journal);
    tokio::task::spawn_blocking(move || journal.read_of(after, BATCH, wanted))
        .await
        .map_err(|_| CursorError::Cancelled)?
        .map_err(|source| CursorError::Read { after, source })
}

/// Starts the slow tick of a reader.
pub(crate) fn tick<M: ractor::Message>(myself: &ActorRef<M>, message: impl Fn() -> M + Send + 'static) {
    myself.send_interval(TICK, message);
}
