//! The alert actor: holds committed readings against the built-in limits, notices devices that fell silent, threads that
//! are stuck and storage that is nearly full.
//!
//! Owns: its turn; engine and cursor belong to the node and are records of the journal. Receives: news of commits, ticks.
//! Lost on restart: what the journal did not have yet, which is read again from it and judged alike.
//! Supervised by: analysis.

mod engine;
mod node_conditions;
mod recorded;
mod rules;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::broadcast;
use voltree_model::{DeviceId, MetricName, MetricRef, Reading, Timestamp};
use voltree_runtime::{ActorPath, Failure};
use voltree_storage::{Entry, JournalSlot, Numbered, Store};

pub use engine::{AlertEngine, Change};
use recorded::Saving;
pub use rules::AlertLimits;
use rules::Rule;

use crate::cursor::{self, CursorMsg};
use crate::fault_points::ALERTS_HANDLE;
use crate::fleet::AlertView;
use crate::intake;
use crate::metrics;
use crate::registry::Registry;

/// After how many entries it is saved how far they are judged, so that little is read again.
const SAVE_EVERY: u64 = 10_000;
/// And for each of what it has to say of devices and rules, so that it takes little of the journal.
const SAVE_EVERY_OF_EACH: u64 = 4;
/// How long the last changes may take to be committed when the node stops.
const LAST_COMMIT: Duration = Duration::from_secs(2);
/// How often it is looked at how full the storage is.
const LOOK_AT_STORAGE: Duration = Duration::from_secs(60);
/// How many alerts a watcher may fall behind.
const BACKLOG: usize = 256;

/// The node's half of alerting, which outlives the actor.
#[derive(Debug)]
pub struct AlertBook {
    journal: Arc<JournalSlot>,
    registry: Arc<Registry>,
    started_at: Timestamp,
    engine: Arc<Mutex<AlertEngine>>,
    saving: Saving,
    saved: Arc<AtomicU64>,
    watchers: broadcast::Sender<Arc<AlertView>>,
    store: Arc<Store>,
    /// Whom an alert about the storage names.
    storage_path: ActorPath,
    storage_looked_at: Mutex<Option<Timestamp>>,
}

impl AlertBook {
    /// Begins with what the journal's records say, or the file `old` that an earlier version kept; or with the oldest
    /// entry that the journal still has. Blocks, while the journal has no writer.
    pub fn open(
        journal: Arc<JournalSlot>,
        old: &Path,
        limits: AlertLimits,
        registry: Arc<Registry>,
        store: Arc<Store>,
        storage_path: ActorPath,
    ) -> Result<Self, voltree_storage::Error> {
        let mut engine = recorded::load(&journal, old)?;
        engine.set_limits(limits);
        let saved = Arc::new(AtomicU64::new(engine.cursor().0));
        let started_at = crate::now();
        let watchers = broadcast::Sender::new(BACKLOG);
        let (engine, storage_looked_at) = (Arc::new(Mutex::new(engine)), Mutex::default());
        Ok(Self {
            journal,
            registry,
            started_at,
            engine,
            saving: Saving::default(),
            saved,
            watchers,
            store,
            storage_path,
            storage_looked_at,
        })
    }

    /// Up to which entry the state is saved.
    pub fn saved(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.saved)
    }

    /// Alerts whose condition holds, newest first.
    pub fn active(&self) -> Vec<AlertView> {
        self.engine.lock().active()
    }

    /// Alerts that began in the range, newest first.
    pub fn history(&self, from: Timestamp, to: Timestamp) -> Vec<AlertView> {
        self.engine.lock().history(from, to)
    }

    /// Alerts as they begin, from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<AlertView>> {
        self.watchers.subscribe()
    }

    /// Notices threads that actors hold which were given up.
    fn notice_stuck(&self, now: Timestamp) -> Vec<Change> {
        let stuck = self.registry.stuck_actors();
        let conditions = node_conditions::stuck(&stuck, |path| self.registry.device_of(path));
        self.engine.lock().judge_conditions(Rule::ThreadStuck, &conditions, now)
    }

    /// Looks now and then at how the storage is. That it can't be told is no reason to fail.
    async fn notice_storage(&self, now: Timestamp) -> Result<Vec<Change>, ActorProcessingErr> {
        {
            let mut looked_at = self.storage_looked_at.lock();
            if looked_at.is_some_and(|at| now.since(at) < LOOK_AT_STORAGE) {
                return Ok(Vec::new());
            }
            *looked_at = Some(now);
        }
        let store = Arc::clone(&self.store);
        let look = move || Ok::<_, voltree_storage::Error>((store.nearly_full()?, store.quarantined()?));
        let Ok((space, set_aside)) = tokio::task::spawn_blocking(look).await? else {
            return Ok(Vec::new());
        };
        let full = node_conditions::nearly_full(&self.storage_path, space);
        let damaged = node_conditions::damaged(&self.storage_path, &set_aside);
        let mut engine = self.engine.lock();
        let mut changes = engine.judge_conditions(Rule::StorageNearlyFull, &full, now);
        changes.extend(engine.judge_conditions(Rule::HistoryDamaged, &damaged, now));
        Ok(changes)
    }

    /// Notices what no reading tells.
    async fn notice(&self, now: Timestamp) -> Result<Vec<Change>, ActorProcessingErr> {
        let mut changes = self.notice_silence(now);
        changes.extend(self.let_go(now));
        changes.extend(self.notice_stuck(now));
        changes.extend(self.notice_storage(now).await?);
        Ok(changes)
    }

    fn judge(&self, batch: &[Numbered], now: Timestamp) -> Vec<Change> {
        let mut engine = self.engine.lock();
        let judge = |(lsn, entry): &Numbered| match self.looked_after(entry, now) {
            Some(entry) => engine.judge(*lsn, &entry, now),
            None => {
                engine.pass_over(*lsn);
                Vec::new()
            }
        };
        batch.iter().flat_map(judge).collect()
    }

    /// An entry without the values of disabled entities, which may have been taken in before they were disabled; nothing
    /// if it is of a device that nobody looks after.
    fn looked_after<'a>(&self, entry: &'a Entry, now: Timestamp) -> Option<Cow<'a, Entry>> {
        let Entry::Reading { origin, reading } = entry else { return Some(Cow::Borrowed(entry)) };
        if self.registry.let_go(&reading.device, now).is_some() {
            return None;
        }
        let is_let_go =
            |metric: MetricRef<'_>| self.registry.let_go_of(&reading.device, metric.name).is_some();
        if !self.registry.lets_any_go_of(&reading.device) || !reading.metrics.iter().any(is_let_go) {
            return Some(Cow::Borrowed(entry));
        }
        let mut rest = Reading::clone(reading);
        rest.metrics.retain(|metric| !is_let_go(metric));
        Some(Cow::Owned(Entry::Reading { origin: *origin, reading: Arc::new(rest) }))
    }

    /// Nobody looks after a device, or an entity of one, that an operator disabled or removed. It is looked at what is so
    /// now, and not at what changed, so that a kill in between changes nothing.
    fn let_go(&self, now: Timestamp) -> Vec<Change> {
        let because = |device: &DeviceId, metric: Option<&MetricName>| {
            let of_device = self.registry.let_go(device, now);
            of_device.or_else(|| self.registry.let_go_of(device, metric?))
        };
        self.engine.lock().let_go(now, because)
    }

    fn notice_silence(&self, now: Timestamp) -> Vec<Change> {
        let mut engine = self.engine.lock();
        let devices = self.registry.list();
        devices
            .iter()
            .filter(|device| self.registry.let_go(&device.id, now).is_none())
            .filter_map(|device| {
                // One that was just taken back is waited for from then on.
                let heard = device.last_arrival().unwrap_or(self.started_at).max(device.wanted_since());
                engine.judge_silence(&device.id, heard, now)
            })
            .collect()
    }

    /// Judges what the journal has committed since, and has it keep what changed.
    async fn catch_up(&self) -> Result<(), ActorProcessingErr> {
        let now = crate::now();
        loop {
            let after = self.engine.lock().cursor();
            let batch = cursor::next(&self.journal, after).await.map_err(|error| Failure::boxed(&error))?;
            if batch.is_empty() {
                break;
            }
            self.registry.faults().pass(ALERTS_HANDLE, "alerts").await.map_err(Failure::from)?;
            self.tell(&self.judge(&batch, now));
        }
        let due = self.is_due();
        self.save(due)
    }

    /// Whether so much was judged that it is to be saved how far.
    fn is_due(&self) -> bool {
        let engine = self.engine.lock();
        let size = u64::try_from(engine.judged().len()).unwrap_or(u64::MAX);
        let behind = engine.cursor().0.saturating_sub(self.saved.load(Ordering::Acquire));
        behind >= SAVE_EVERY.max(size.saturating_mul(SAVE_EVERY_OF_EACH))
    }

    /// Logs, counts and streams what changed.
    fn tell(&self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Raised(alert) => {
                    metrics::alert(alert.severity.as_str());
                    let (device, title, message) = (&alert.device, &alert.title, &alert.message);
                    tracing::warn!(event = "alert.raised", %device, title, message);
                    // An alert that nobody watches is no loss: it stands in the book.
                    self.watchers.send(Arc::new(alert.clone())).ok();
                }
                Change::Resolved(alert) => {
                    let (device, title, because) = (&alert.device, &alert.title, &alert.resolved_because);
                    tracing::info!(event = "alert.resolved", %device, title, because);
                }
            }
        }
    }

    fn save(&self, due: bool) -> Result<(), ActorProcessingErr> {
        let saved = self.saving.save(&self.journal, &self.engine, due, &self.saved);
        saved.map_err(|error| Failure::boxed(&error))
    }

    /// Has the journal keep everything, and waits for that as long as a node that stops can.
    async fn save_last(&self) -> Result<(), ActorProcessingErr> {
        // What is under way comes first. If the journal has no writer now, it is all judged again the next time.
        let level = || tokio::time::timeout(LAST_COMMIT, intake::submit(&self.journal, Vec::new()));
        if level().await.is_ok() {
            self.save(true)?;
            level().await.ok();
        }
        Ok(())
    }
}

/// The actor.
#[derive(Debug)]
pub struct Alerting;

impl Actor for Alerting {
    type Msg = CursorMsg;
    type State = Arc<AlertBook>;
    type Arguments = Arc<AlertBook>;

    async fn pre_start(
        &self,
        myself: ActorRef<CursorMsg>,
        book: Arc<AlertBook>,
    ) -> Result<Arc<AlertBook>, ActorProcessingErr> {
        cursor::tick(&myself, || CursorMsg::Tick);
        Ok(book)
    }

    async fn handle(
        &self,
        _myself: ActorRef<CursorMsg>,
        message: CursorMsg,
        book: &mut Arc<AlertBook>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CursorMsg::Committed => book.catch_up().await,
            CursorMsg::Tick => {
                let changes = book.notice(crate::now()).await?;
                book.tell(&changes);
                book.catch_up().await
            }
        }
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<CursorMsg>,
        book: &mut Arc<AlertBook>,
    ) -> Result<(), ActorProcessingErr> {
        book.save_last().await
    }
}

#[cfg(test)]
mod tests;
