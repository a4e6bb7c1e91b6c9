//! When the node was up: the evidence that a silence was the node's own.
//!
//! Owns: its turn; the book belongs to the node. Receives: ticks. Every few seconds it saves that the node lives, and at
//! the node's next start that becomes the end of this life. Lost on restart: nothing; kill -9 costs the seconds since
//! the last beat. A disk that takes nothing is told once and tried again, and is no reason to fail.
//! Supervised by: storage.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize};
use voltree_model::Timestamp;
use voltree_storage::{Disk, RealDisk};

use crate::cursor::{self, CursorMsg};
use crate::line_log::{self, LineLog, LineLogError};

/// How many lives are kept.
const KEPT: usize = 1_000;
/// How often the beat is saved.
const BEAT: Duration = Duration::from_secs(5);
/// The log of the lives that are over.
const LOG: &str = "node-lives";
/// The life that goes on.
const CURRENT: &str = "node-life";

/// From when to when the node is known to have run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// When it started.
    pub started: Timestamp,
    /// When it was last seen alive.
    pub alive: Timestamp,
}

/// The lives of the node could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum UptimeError {
    /// Those that are over.
    #[error("reading or writing the node's earlier lives failed")]
    Log(#[from] LineLogError),
    /// The one that goes on.
    #[error("reading or writing when the node was last alive failed")]
    Current(#[from] voltree_storage::Error),
}

/// The node's half of it, which outlives the actor.
#[derive(Debug)]
pub struct UptimeBook {
    file: PathBuf,
    earlier: Vec<Life>,
    started: Timestamp,
    /// When it was last tried to save that the node lives.
    tried_ms: AtomicI64,
    /// Held while the disk is written.
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    log: LineLog,
    /// The life before this one, until the log has it. Only then the file may tell of this one.
    unlogged: Option<Life>,
    failing: bool,
}

impl UptimeBook {
    /// Reads the lives before this one, which begins now.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, now: Timestamp) -> Result<Self, UptimeError> {
        let file = dir.join(CURRENT);
        let (log, loaded) = LineLog::open::<Life>(disk, dir, LOG, KEPT)?;
        let mut earlier = loaded.records;
        let last: Option<Life> = voltree_storage::load_snapshot(&file)?;
        let unlogged = last.filter(|last| earlier.last() != Some(last));
        earlier.extend(unlogged);
        let written = Mutex::new(Written { log, unlogged, failing: false });
        let book = Self { file, earlier, started: now, tried_ms: AtomicI64::default(), written };
        book.beat(now);
        Ok(book)
    }

    /// All lives that are known, the current one up to now.
    pub fn lives(&self, now: Timestamp) -> Vec<Life> {
        let current = Life { started: self.started, alive: now };
        self.earlier.iter().copied().chain([current]).collect()
    }

    /// Saves that the node lives; blocks. A failure is told once.
    pub fn beat(&self, now: Timestamp) {
        self.tried_ms.store(now.as_millis(), Ordering::Relaxed);
        let mut written = self.written.lock();
        match written.beat(&self.file, Life { started: self.started, alive: now }) {
            Ok(()) => written.failing = false,
            Err(error) if !written.failing => {
                written.failing = true;
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(event = "uptime.failing", error, "that the node lives is not stored for now");
            }
            Err(_) => {}
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let tried = Timestamp::from_millis(self.tried_ms.load(Ordering::Relaxed));
        // A clock that was set back must not hold the beat up.
        now < tried || now.since(tried) >= BEAT
    }
}

impl Written {
    fn beat(&mut self, file: &Path, current: Life) -> Result<(), UptimeError> {
        if let Some(unlogged) = self.unlogged {
            self.log.append(&[unlogged])?;
            self.unlogged = None;
        }
        Ok(voltree_storage::save_snapshot(file, &current)?)
    }
}

/// The lives that a data directory tells of, the last one as far as it was saved; nothing is written.
pub fn read_lives(dir: &Path) -> Result<Vec<Life>, UptimeError> {
    let mut lives = line_log::load::<Life>(&RealDisk, dir, LOG, KEPT)?.records;
    let last: Option<Life> = voltree_storage::load_snapshot(&dir.join(CURRENT))?;
    lives.extend(last.filter(|last| lives.last() != Some(last)));
    Ok(lives)
}

/// The actor.
#[derive(Debug)]
pub struct Uptime;

impl Actor for Uptime {
    type Msg = CursorMsg;
    type State = Arc<UptimeBook>;
    type Arguments = Arc<UptimeBook>;

    async fn pre_start(
        &self,
        myself: ActorRef<CursorMsg>,
        book: Arc<UptimeBook>,
    ) -> Result<Arc<UptimeBook>, ActorProcessingErr> {
        cursor::tick(&myself, || CursorMsg::Tick);
        Ok(book)
    }

    async fn handle(
        &self,
        _myself: ActorRef<CursorMsg>,
        message: CursorMsg,
        book: &mut Arc<UptimeBook>,
    ) -> Result<(), ActorProcessingErr> {
        let now = crate::now();
        match message {
            CursorMsg::Tick if book.is_due(now) => {
                let book = Arc::clone(book);
                Ok(tokio::task::spawn_blocking(move || book.beat(now)).await?)
            }
            CursorMsg::Tick | CursorMsg::Committed => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn a_life_ends_with_its_last_beat_and_is_there_after_the_next_starts() {
        let dir = tempfile::tempdir().unwrap();
        let open = |now| UptimeBook::open(Arc::new(RealDisk), dir.path(), at(now)).unwrap();
        let life = |started, alive| Life { started: at(started), alive: at(alive) };
        assert_eq!(open(1_000).lives(at(1_500)), [life(1_000, 1_500)]);
        let book = open(10_000);
        assert!(!book.is_due(at(14_999)) && book.is_due(at(15_000)) && book.is_due(at(9_999)));
        book.beat(at(15_000));
        drop(book);
        assert_eq!(read_lives(dir.path()).unwrap(), [life(1_000, 1_000), life(10_000, 15_000)]);
        let book = open(20_000);
        let expected = [life(1_000, 1_000), life(10_000, 15_000), life(20_000, 21_000)];
        assert_eq!(book.lives(at(21_000)), expected);
    }

    #[test]
    fn a_start_that_was_cut_short_counts_no_life_twice() {
        let dir = tempfile::tempdir().unwrap();
        let life = Life { started: at(1), alive: at(2) };
        voltree_storage::save_snapshot(&dir.path().join(CURRENT), &life).unwrap();
        let (mut log, _) = LineLog::open::<Life>(Arc::new(RealDisk), dir.path(), LOG, KEPT).unwrap();
        log.append(&[life]).unwrap();
        assert_eq!(read_lives(dir.path()).unwrap(), [life]);
        let book = UptimeBook::open(Arc::new(RealDisk), dir.path(), at(5)).unwrap();
        assert_eq!(book.lives(at(6)).len(), 2);
    }
}
