//! The local half of every door: answers from this node's own memory and store.

mod backups;
mod commands;
mod dead_letters;
mod entities;
mod faults;
mod flights;
mod history;
mod timelines;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use voltree_model::{DeviceId, Ledger, MetricName, Timestamp};
use voltree_runtime::{ActorPath, ActorView, Directory, Faults, KillError, ParkError, SupervisionEvent};
use voltree_storage::{Cancel, Interval, JournalSlot, SeriesPoint, Store, aligned_edges, merge_series};

use super::{
    AggregateBucket, AlertView, Alerts, Answer, Candidate, DeviceView, Devices, Entity, FleetError, Health,
    HealthCheck, Kill, LatestMetric, LedgerRow, Ledgers, LiveReading, Point, PointRange, Series, StateChange,
    Supervision, Telemetry, Word,
};
use crate::aggregator::{PublishedHead, Shard};
use crate::alerts::AlertBook;
use crate::commands::CommandBook;
use crate::crash_reports::CrashBook;
use crate::dead_letters::DeadLetters;
use crate::line_door::LineDoor;
use crate::live::LiveBus;
use crate::mqtt::Entrance;
use crate::now;
use crate::presence::PresenceBook;
use crate::registry::{DeviceEntry, Registry};
use crate::uptime::UptimeBook;

/// Everything of a node that outlives its actors, as far as questions need it.
#[derive(Debug, Clone)]
pub struct LocalFleet {
    /// The devices.
    pub registry: Arc<Registry>,
    /// What was set aside.
    pub dead_letters: Arc<DeadLetters>,
    /// One head per shard, in order.
    pub heads: Vec<Arc<PublishedHead>>,
    /// The buckets.
    pub store: Arc<Store>,
    /// The journal.
    pub journal: Arc<JournalSlot>,
    /// The faults.
    pub faults: Faults,
    /// The crash reports.
    pub crashes: Arc<CrashBook>,
    /// The alerts.
    pub alerts: Arc<AlertBook>,
    /// Who came and went.
    pub presence: Arc<PresenceBook>,
    /// The commands.
    pub commands: Arc<CommandBook>,
    /// When the node was up.
    pub uptime: Arc<UptimeBook>,
    /// The door for line protocol.
    pub lines: Arc<LineDoor>,
    /// The way in for MQTT clients.
    pub mqtt: Entrance,
    /// The live bus.
    pub live: Arc<LiveBus>,
    /// Who runs where.
    pub directory: Directory,
    /// The actors without which an operator can't reach this node.
    pub way_out: Vec<ActorPath>,
}

impl LocalFleet {
    fn head(&self, device: Option<&DeviceId>) -> Option<&PublishedHead> {
        let count = u32::try_from(self.heads.len()).unwrap_or(u32::MAX);
        let owner = (0..count).find(|index| Shard { index: *index, count }.owns(device))?;
        self.heads.get(usize::try_from(owner).ok()?).map(AsRef::as_ref)
    }

    fn view(&self, entry: &DeviceEntry, now: Timestamp) -> DeviceView {
        let known = self.head(Some(&entry.id)).and_then(|head| head.with(|head| head.device(&entry.id)));
        let known = known.unwrap_or_default();
        let latest = known.latest.into_iter().map(|(name, latest)| LatestMetric {
            name,
            value: latest.value,
            unit: latest.unit,
            at: latest.at,
        });
        DeviceView {
            id: entry.id.clone(),
            name: entry.name.clone(),
            kind: entry.kind.to_owned(),
            state: self.registry.state(entry, now),
            site: entry.site.clone(),
            labels: entry.labels.clone(),
            last_seen: entry.last_arrival().or(known.last_seen),
            created_at: known.created_at.map_or(entry.created_at, |at| at.min(entry.created_at)),
            updated_at: entry.created_at,
            readings: known.readings,
            latest: latest.collect(),
            attributes: known.attributes.into_iter().map(|(name, text)| (name.to_string(), text)).collect(),
            link: entry.quality(),
            actor: entry.actor.path().clone(),
        }
    }

    /// What the head and the door together know; what waits at the door is pending too.
    fn ledger(&self, device: &DeviceId) -> Ledger {
        let ledger = self.head(Some(device)).map(|head| head.with(|head| head.ledger(device)));
        let mut ledger = ledger.unwrap_or_default();
        let waiting = self.registry.get(device).map_or(0, |entry| entry.intake.depth());
        ledger.pending += u64::try_from(waiting).unwrap_or(u64::MAX);
        ledger
    }

    fn node_ledger(&self) -> Ledger {
        self.head(None).map(|head| head.with(|head| head.node_ledger())).unwrap_or_default()
    }

    async fn read(&self, range: PointRange, limit: usize) -> Result<Vec<SeriesPoint>, FleetError> {
        self.known(&range.device)?;
        // The head is asked first: rows that move into a bucket in between are then seen twice, never not at all.
        let open = self.head(Some(&range.device)).map_or_else(Vec::new, |head| {
            head.with(|head| head.open_points(&range.device, &range.metric, range.from, range.to))
        });
        let store = Arc::clone(&self.store);
        let sealed = tokio::task::spawn_blocking(move || {
            store.points(&range.device, &range.metric, range.from, range.to, limit)
        })
        .await
        .map_err(|error| FleetError::Store(error.to_string()))?
        .map_err(|error| FleetError::Store(error.to_string()))?;
        let mut points = merge_series(sealed, open);
        points.truncate(limit);
        Ok(points)
    }

    async fn intervals(&self, range: PointRange, width_ms: i64) -> Result<Vec<Interval>, FleetError> {
        self.known(&range.device)?;
        let failed = |error: voltree_storage::Error| FleetError::Store(error.to_string());
        let edges = aligned_edges(range.from, range.to, width_ms).map_err(failed)?;
        // All open readings, as a line may lead out of the range; and the head first, as in `read`.
        let (begin, end) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        let open = self.head(Some(&range.device)).map_or_else(Vec::new, |head| {
            head.with(|head| head.open_points(&range.device, &range.metric, begin, end))
        });
        let asked = Asked::default();
        let (store, cancel) = (Arc::clone(&self.store), asked.0.clone());
        let answer = tokio::task::spawn_blocking(move || {
            store.intervals(&range.device, &range.metric, &edges, open, &cancel)
        });
        let answer = answer.await.map_err(|error| FleetError::Store(error.to_string()))?;
        Ok(answer.map_err(failed)?.intervals)
    }

    fn known(&self, device: &DeviceId) -> Result<Arc<DeviceEntry>, FleetError> {
        self.registry.get(device).ok_or_else(|| FleetError::UnknownDevice(device.clone()))
    }
}

/// A question somebody waits for; once nobody does any more, it is called off.
#[derive(Debug, Default)]
struct Asked(Cancel);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// An interval as readers know it, by where it would begin if the range did not cut it; none without samples.
fn bucket(interval: &Interval, width_ms: i64) -> Option<AggregateBucket> {
    let samples = interval.samples.as_ref()?;
    let start = interval.start.saturating_sub(interval.start.rem_euclid(width_ms));
    Some(AggregateBucket {
        start: Timestamp::from_millis(start),
        avg: samples.mean(),
        min: samples.min,
        max: samples.max,
        count: samples.count,
    })
}

impl Devices for LocalFleet {
    fn list(&self) -> Vec<DeviceView> {
        let now = now();
        self.registry.list().iter().map(|entry| self.view(entry, now)).collect()
    }

    fn get(&self, id: &DeviceId) -> Option<DeviceView> {
        self.registry.get(id).map(|entry| self.view(&entry, now()))
    }

    fn state_history(&self, id: &DeviceId, limit: usize) -> Vec<StateChange> {
        self.presence.history(id, limit)
    }

    fn changes(&self) -> broadcast::Receiver<DeviceId> {
        self.presence.subscribe()
    }

    fn candidates(&self) -> Vec<Candidate> {
        self.registry.candidates()
    }

    fn adopt(&self, id: DeviceId) -> Answer<'_, DeviceView> {
        Box::pin(async move {
            let registry = Arc::clone(&self.registry);
            let entry = on_disk(move || registry.adopt_candidate(&id, now())).await?;
            Ok(self.view(&entry, now()))
        })
    }

    fn ignore(&self, id: DeviceId) -> Answer<'_, ()> {
        let registry = Arc::clone(&self.registry);
        Box::pin(on_disk(move || registry.ignore(&id)))
    }

    fn disable(&self, id: DeviceId, reason: String) -> Answer<'_, DeviceView> {
        Box::pin(async move {
            let (registry, why) = (Arc::clone(&self.registry), reason.clone());
            let entry = on_disk(move || registry.disable(&id, &why, now())).await?;
            self.registry.stand_still(&entry, &reason).await;
            Ok(self.view(&entry, now()))
        })
    }

    fn enable(&self, id: DeviceId) -> Answer<'_, DeviceView> {
        Box::pin(async move {
            let registry = Arc::clone(&self.registry);
            let entry = on_disk(move || registry.enable(&id)).await?;
            Ok(self.view(&entry, now()))
        })
    }

    fn entities(&self, id: &DeviceId) -> Vec<Entity> {
        self.registry.get(id).map(|entry| self.entities_of(&entry)).unwrap_or_default()
    }

    fn set_entity(
        &self,
        id: DeviceId,
        key: String,
        word: Option<Word>,
        reason: String,
    ) -> Answer<'_, Entity> {
        self.set_entity(id, key, word, reason)
    }

    fn remove(&self, id: DeviceId, reason: String) -> Answer<'_, ()> {
        Box::pin(async move {
            let registry = Arc::clone(&self.registry);
            let entry = on_disk(move || registry.remove(&id, &reason, now())).await?;
            Ok(self.registry.take_leave(&entry).await?)
        })
    }
}

/// Runs what waits for the disk off the async threads.
async fn on_disk<T: Send + 'static, E: Into<FleetError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, FleetError> {
    let done =
        tokio::task::spawn_blocking(work).await.map_err(|error| FleetError::Store(error.to_string()))?;
    done.map_err(Into::into)
}

impl Telemetry for LocalFleet {
    fn points(&self, range: PointRange, limit: usize) -> Answer<'_, Series> {
        Box::pin(async move {
            let metric = range.metric.clone();
            let points = self.read(range, limit).await?;
            let points =
                points.into_iter().map(|p| Point { at: p.at, value: p.value, unit: p.unit }).collect();
            Ok(Series { metric, points })
        })
    }

    fn aggregated(&self, range: PointRange, interval: Duration) -> Answer<'_, Vec<AggregateBucket>> {
        Box::pin(async move {
            let width_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
            let intervals = self.intervals(range, width_ms).await?;
            Ok(intervals.into_iter().filter_map(|interval| bucket(&interval, width_ms)).collect())
        })
    }

    fn latest(&self, device: &DeviceId, metric: &MetricName) -> Option<Point> {
        let latest = self.head(Some(device))?.with(|head| head.latest(device, metric))?;
        Some(Point { at: latest.at, value: latest.value, unit: latest.unit })
    }

    fn metrics(&self, device: &DeviceId) -> Option<Vec<MetricName>> {
        self.registry.get(device)?;
        let known = self.head(Some(device))?.with(|head| head.device(device)).unwrap_or_default();
        Some(known.latest.into_keys().collect())
    }

    fn live(&self) -> broadcast::Receiver<LiveReading> {
        self.live.subscribe()
    }
}

impl Ledgers for LocalFleet {
    fn all(&self) -> Vec<LedgerRow> {
        let node = LedgerRow { device: None, ledger: self.node_ledger() };
        let devices = self
            .registry
            .list()
            .into_iter()
            .map(|entry| LedgerRow { ledger: self.ledger(&entry.id), device: Some(entry.id.clone()) });
        std::iter::once(node).chain(devices).collect()
    }

    fn of(&self, device: &DeviceId) -> Option<LedgerRow> {
        self.registry.get(device)?;
        Some(LedgerRow { device: Some(device.clone()), ledger: self.ledger(device) })
    }
}

impl Alerts for LocalFleet {
    fn active(&self) -> Vec<AlertView> {
        self.alerts.active()
    }

    fn history(&self, from: Timestamp, to: Timestamp) -> Vec<AlertView> {
        self.alerts.history(from, to)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<AlertView>> {
        self.alerts.subscribe()
    }
}

impl Supervision for LocalFleet {
    fn tree(&self) -> Vec<ActorView> {
        self.directory.list()
    }

    fn events(&self, limit: usize, path: Option<&str>) -> Vec<Arc<SupervisionEvent>> {
        self.directory.events().latest(limit, path)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<SupervisionEvent>> {
        self.directory.events().subscribe()
    }

    fn kill(&self, path: &str, by: &str, kill: Kill) -> Result<ActorView, FleetError> {
        let killed = match kill {
            Kill::Uncounted => self.directory.kill(path, by),
            Kill::Counted => self.directory.kill_counted(path, by),
        };
        killed.map_err(|error| match error {
            KillError::Unknown(path) => FleetError::UnknownActor(path),
            KillError::NotRunning { path, status } => {
                FleetError::NotRunning { path: path.to_string(), status: status.as_str() }
            }
        })
    }

    fn park(&self, path: &str, by: &str, reason: &str) -> Result<ActorView, FleetError> {
        if self.way_out.iter().any(|actor| actor.is_within(path)) {
            let why = format!("{path} carries the API by which it could be resumed; stop the node instead");
            return Err(FleetError::NotNow(why));
        }
        self.directory.park(path, by, reason).map_err(not_parked)
    }

    fn resume(&self, path: &str) -> Result<ActorView, FleetError> {
        let device = path.rsplit('/').next().and_then(|name| DeviceId::new(name).ok());
        let device = device.and_then(|id| self.registry.get(&id)).filter(|d| d.actor.path().as_str() == path);
        if let Some(device) = device.filter(|device| self.registry.is_set_aside(&device.id)) {
            let why = format!("{} is disabled; voltree device enable {} takes it back", device.id, device.id);
            return Err(FleetError::NotNow(why));
        }
        self.directory.resume(path).map_err(not_parked)
    }
}

fn not_parked(error: ParkError) -> FleetError {
    match error {
        ParkError::Unknown(path) => FleetError::UnknownActor(path),
        ParkError::Root(_) | ParkError::AlreadyParked { .. } | ParkError::NotParked { .. } => {
            FleetError::NotNow(error.to_string())
        }
    }
}

impl Health for LocalFleet {
    fn checks(&self) -> Vec<HealthCheck> {
        let actors = self.directory.list();
        let running: BTreeMap<_, _> = actors.iter().map(|a| (a.path.name(), a)).collect();
        let service = |name: &'static str| {
            let status = running.get(name).map(|actor| actor.status);
            let ok = status == Some(voltree_runtime::ActorStatus::Running);
            let detail = status.map_or("not there", |status| status.as_str());
            HealthCheck { name, ok, detail: format!("the {name} actor is {detail}") }
        };
        let level = self.heads.iter().filter(|head| head.is_level()).count();
        let replayed = HealthCheck {
            name: "replay",
            ok: level == self.heads.len(),
            detail: format!("{level} of {} shards have caught up with the journal", self.heads.len()),
        };
        let waiting = self.journal.stats().disk_full;
        let state = if waiting { "intake waits for space on the disk" } else { "there is space" };
        let disk = HealthCheck { name: "disk", ok: !waiting, detail: state.to_owned() };
        ["journal", "listener", "alerts"].into_iter().map(service).chain([replayed, disk]).collect()
    }
}
