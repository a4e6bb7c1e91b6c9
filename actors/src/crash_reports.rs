//! Crash reports: when a device's actor crashes, its flight record goes to disk with the reason, for `voltree postmortem`
//! and for whoever mends it.
//!
//! Owns: nothing; the book belongs to the node. Receives: a slow tick. Lost on restart: nothing that is on disk; crashes
//! since the last tick, if the node dies with them. Supervised by: storage. A disk that takes nothing is told once. No
//! supervisor waits for it: it reads the ring of events behind them. What an operator or a plan ends is no crash.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use voltree_model::{DeviceId, Timestamp};
use voltree_runtime::{EventKind, Events, ExitReason, SupervisionEvent};
use voltree_storage::Disk;

use crate::cursor;
use crate::now;
use crate::postmortem::{Build, Crash, FlightReport};
use crate::registry::Registry;

/// How many reports are kept.
pub const REPORTS_KEPT: usize = 20;

/// What can be said of a report without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashSummary {
    /// What it is called: `DEVICE-TIME`.
    pub id: String,
    /// Whose actor crashed.
    pub device: DeviceId,
    /// When.
    pub at: Timestamp,
    /// Which incarnation.
    pub incarnation: u64,
    /// Why.
    pub reason: ExitReason,
    /// How large the report is.
    pub bytes: u64,
}

/// A report could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CrashReportError {
    /// The disk would not.
    #[error("could not {doing} {}", path.display())]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It has no JSON form.
    #[error("could not write a report as JSON")]
    Encode(#[source] serde_json::Error),
}

/// All crash reports of a node, and the door to the flight records that they are made of.
#[derive(Debug)]
pub struct CrashBook {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    events: Events,
    registry: Arc<Registry>,
    build: Build,
    /// Oldest first; never held over a write, as the API looks at it.
    kept: Mutex<Vec<CrashSummary>>,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    /// The number of the last event that was looked at.
    seen: u64,
    failing: bool,
}

impl CrashBook {
    /// Reads what reports there are. Crashes before now are not reported any more.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        events: Events,
        registry: Arc<Registry>,
        build: Build,
    ) -> Result<Self, CrashReportError> {
        disk.create_dir_all(&dir).map_err(failed("create", &dir))?;
        let names = disk.list(&dir).map_err(failed("list", &dir))?;
        let mut kept: Vec<_> = names.iter().filter_map(|name| summary(disk.as_ref(), &dir, name)).collect();
        kept.sort_by_key(|summary| summary.at);
        let (_, seen) = events.after(u64::MAX);
        let progress = Mutex::new(Progress { seen, failing: false });
        Ok(Self { disk, dir, events, registry, build, kept: Mutex::new(kept), progress })
    }

    /// The reports, the newest first.
    pub fn list(&self) -> Vec<CrashSummary> {
        self.kept.lock().iter().rev().cloned().collect()
    }

    /// The text of a report; none if there is none of this name. Blocks.
    pub fn read(&self, id: &str) -> Result<Option<Vec<u8>>, CrashReportError> {
        if !self.kept.lock().iter().any(|kept| kept.id == id) {
            return Ok(None);
        }
        let path = self.path(id);
        Ok(Some(self.disk.read(&path).map_err(failed("read", &path))?))
    }

    /// A report of a device as it is now, crash or no crash; none if nobody knows it.
    pub fn report_now(&self, device: &DeviceId) -> Option<FlightReport> {
        let entry = self.registry.get(device)?;
        Some(FlightReport::of(&entry, self.build.clone(), now(), None))
    }

    /// Reports the crashes since the last time; blocks.
    pub fn flush(&self) {
        let mut progress = self.progress.lock();
        let (new, last) = self.events.after(progress.seen);
        progress.seen = last;
        self.look_at(&new, &mut progress.failing);
    }

    /// Reports the crashes among these events.
    fn look_at(&self, new: &[Arc<SupervisionEvent>], failing: &mut bool) {
        // Of more crashes at once than there is room for, the last are reported.
        let crashes: Vec<_> = new.iter().filter_map(|event| self.crash(event)).collect();
        for (device, crash) in crashes.into_iter().rev().take(REPORTS_KEPT).rev() {
            match self.report(&device, crash) {
                Ok(None) => {}
                Ok(Some(summary)) => {
                    tracing::info!(event = "crash_report.written", device = %summary.device, id = summary.id);
                    self.keep(summary);
                    *failing = false;
                }
                Err(error) if !*failing => {
                    *failing = true;
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::warn!(
                        event = "crash_report.failing",
                        error,
                        "crash reports can't be stored for now"
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// Lists a report, and removes the oldest if there are too many.
    fn keep(&self, summary: CrashSummary) {
        let surplus = {
            let mut kept = self.kept.lock();
            kept.retain(|kept| kept.id != summary.id);
            kept.push(summary);
            let surplus = kept.len().saturating_sub(REPORTS_KEPT);
            kept.drain(..surplus).collect::<Vec<_>>()
        };
        for oldest in surplus {
            // One that is gone already needs no removal; one that can't be removed is listed again by the next start.
            self.disk.remove(&self.path(&oldest.id)).ok();
        }
    }

    /// A device's crash, if the event is one.
    fn crash(&self, event: &SupervisionEvent) -> Option<(DeviceId, Crash)> {
        let reason =
            event.reason.clone().filter(|reason| event.kind == EventKind::Failed && is_crash(reason))?;
        let device = DeviceId::new(event.path.name()).ok()?;
        let entry = self.registry.get(&device)?;
        let crash = Crash { at: Timestamp::from_millis(event.at_ms), incarnation: event.incarnation, reason };
        (*entry.actor.path() == event.path).then_some((device, crash))
    }

    fn report(&self, device: &DeviceId, crash: Crash) -> Result<Option<CrashSummary>, CrashReportError> {
        let Some(entry) = self.registry.get(device) else { return Ok(None) };
        let id = format!("{device}-{}", crash.at.as_millis());
        let report = FlightReport::of(&entry, self.build.clone(), now(), Some(crash.clone()));
        let text = serde_json::to_vec_pretty(&report).map_err(CrashReportError::Encode)?;
        self.write(&self.path(&id), &text)?;
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let Crash { at, incarnation, reason } = crash;
        Ok(Some(CrashSummary { id, device: device.clone(), at, incarnation, reason, bytes }))
    }

    /// Writes beside, syncs, and renames, so that no half report is ever read.
    fn write(&self, path: &Path, text: &[u8]) -> Result<(), CrashReportError> {
        let beside = path.with_extension("json.new");
        // What a crash of the node left there is of no use.
        self.disk.remove(&beside).ok();
        let mut file = self.disk.create(&beside).map_err(failed("create", &beside))?;
        file.append(text).map_err(failed("write", &beside))?;
        file.sync_data().map_err(failed("sync", &beside))?;
        self.disk.rename(&beside, path).map_err(failed("put in place", path))?;
        self.disk.sync_dir(&self.dir).map_err(failed("sync", &self.dir))
    }

    fn path(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }
}

/// Whether an end is one that somebody should look into.
const fn is_crash(reason: &ExitReason) -> bool {
    match reason {
        ExitReason::Panic { .. }
        | ExitReason::Error { .. }
        | ExitReason::StartFailed { .. }
        | ExitReason::Frozen { .. } => true,
        ExitReason::Killed { .. }
        | ExitReason::Stopped
        | ExitReason::ParentEnded
        | ExitReason::Parked { .. } => false,
    }
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> CrashReportError + 'a {
    move |source| CrashReportError::Disk { doing, path: path.to_owned(), source }
}

/// A report that lies there; one that can't be read is passed over and told.
fn summary(disk: &dyn Disk, dir: &Path, name: &str) -> Option<CrashSummary> {
    let id = name.strip_suffix(".json")?;
    let text = disk.read(&dir.join(name)).ok()?;
    match FlightReport::parse(&text) {
        Ok(FlightReport { device, crash: Some(Crash { at, incarnation, reason }), .. }) => {
            let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
            Some(CrashSummary { id: id.to_owned(), device, at, incarnation, reason, bytes })
        }
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(name, %error, "a crash report that can't be read is passed over");
            None
        }
    }
}

/// What the reporter is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashReporterMsg {
    /// Time went by.
    Tick,
}

/// The actor.
#[derive(Debug)]
pub struct CrashReporter;

impl Actor for CrashReporter {
    type Msg = CrashReporterMsg;
    type State = Arc<CrashBook>;
    type Arguments = Arc<CrashBook>;

    async fn pre_start(
        &self,
        myself: ActorRef<CrashReporterMsg>,
        book: Arc<CrashBook>,
    ) -> Result<Arc<CrashBook>, ActorProcessingErr> {
        cursor::tick(&myself, || CrashReporterMsg::Tick);
        Ok(book)
    }

    async fn handle(
        &self,
        _myself: ActorRef<CrashReporterMsg>,
        message: CrashReporterMsg,
        book: &mut Arc<CrashBook>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CrashReporterMsg::Tick => {
                let book = Arc::clone(book);
                Ok(tokio::task::spawn_blocking(move || book.flush()).await?)
            }
        }
    }
}

#[cfg(test)]
mod tests;
