//! A fleet in memory: two devices, a tree of three actors, and switches for what tests want to change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use voltree_actors::access::Denied;
use voltree_actors::commands::Way;
use voltree_actors::crash_reports::CrashSummary;
use voltree_actors::dead_letters::DeadLetter;
use voltree_actors::fleet::{
    ActiveFault, ActorStatus, ActorView, AggregateBucket, AlertSeverity, AlertStatus, AlertView, Alerts,
    Answer, BackedUp, Backups, Candidate, ChartLine, CommandRequest, CommandStatus, CommandView, Commands,
    DeviceView, Devices, Entity, EntityKind, EntitySource, EntityState, FaultInjection, FaultPointView,
    Fleet, FleetError, Flights, GapCause, GapRange, Health, HealthCheck, History, IntervalSamples,
    IntervalSeries, IntervalView, Kill, LatestMetric, LedgerRow, Ledgers, LineBatch, LineProblem,
    LiveReading, Point, PointRange, Precision, Series, SeriesRange, SetAside, Sockets, StateChange, Steps,
    Supervision, Telemetry, TimelineGap, Timelines, Word, WriteError, Writes, Written,
};
use voltree_actors::intake::Inbound;
use voltree_actors::link_quality::LinkQuality;
use voltree_actors::mqtt::Carrier;
use voltree_actors::mqtt::SetAsideMessage;
use voltree_model::{
    DeviceId, DeviceState, Ledger, Metric, MetricName, Reading, RejectReason, Timestamp, Unit,
};
use voltree_runtime::{
    ActorPath, EventKind, ExitReason, Fault, FaultKind, FaultPoint, Faults, SupervisionEvent,
};

/// 2026-01-15T10:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_768_471_200_000);

/// The fleet's inside.
pub(crate) struct TestFleet {
    pub(crate) healthy: AtomicBool,
    pub(crate) live: broadcast::Sender<LiveReading>,
    pub(crate) changes: broadcast::Sender<DeviceId>,
    pub(crate) events: broadcast::Sender<Arc<SupervisionEvent>>,
    pub(crate) alerts: broadcast::Sender<Arc<AlertView>>,
    pub(crate) commands: broadcast::Sender<CommandView>,
    pub(crate) kills: Mutex<Vec<(String, String)>>,
    pub(crate) faults: Faults,
    /// The length, precision and login of each batch of lines.
    pub(crate) written: Mutex<Vec<(usize, Precision, Option<String>)>>,
}

impl TestFleet {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            healthy: AtomicBool::new(true),
            live: broadcast::Sender::new(8),
            changes: broadcast::Sender::new(8),
            events: broadcast::Sender::new(8),
            alerts: broadcast::Sender::new(8),
            commands: broadcast::Sender::new(8),
            kills: Mutex::default(),
            faults: Faults::new(&[POINT], 1),
            written: Mutex::default(),
        })
    }

    pub(crate) fn doors(self: &Arc<Self>) -> Fleet {
        Fleet {
            devices: self.clone(),
            telemetry: self.clone(),
            history: self.clone(),
            timelines: self.clone(),
            ledgers: self.clone(),
            alerts: self.clone(),
            dead_letters: self.clone(),
            faults: self.clone(),
            flights: self.clone(),
            supervision: self.clone(),
            writes: self.clone(),
            sockets: self.clone(),
            commands: self.clone(),
            backups: self.clone(),
            health: self.clone(),
        }
    }
}

pub(crate) fn id(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

/// A reading of a pack with two metrics.
pub(crate) fn reading(device: &str, voltage: f64) -> LiveReading {
    let metric = |name, value, unit| Metric {
        name: MetricName::new(name).unwrap(),
        value,
        unit: Unit::new(unit).ok(),
    };
    Arc::new(Reading {
        device: id(device),
        at: START,
        metrics: vec![metric("pack_voltage", voltage, "V"), metric("soc_percent", 81.5, "%")].into(),
        attributes: Vec::new(),
        left_out: Vec::new(),
    })
}

/// What the tree says when a pack's actor was killed.
pub(crate) fn killed() -> Arc<SupervisionEvent> {
    Arc::new(SupervisionEvent {
        at_ms: START.as_millis(),
        kind: EventKind::Failed,
        path: ActorPath::root("node").child("devices").child("pack-1"),
        actor_kind: "daly_bms".into(),
        incarnation: 2,
        restarts: 1,
        reason: Some(ExitReason::Killed { by: "operator".to_owned() }),
        delay: Some(Duration::from_millis(250)),
    })
}

fn device(name: &str, kind: &str, state: DeviceState) -> DeviceView {
    let latest = |name, value, unit| LatestMetric {
        name: MetricName::new(name).unwrap(),
        value,
        unit: Unit::new(unit).ok(),
        at: START,
    };
    DeviceView {
        id: id(name),
        name: format!("The {name}"),
        kind: kind.to_owned(),
        state,
        site: Some("barn".to_owned()),
        labels: BTreeMap::from([("row".to_owned(), "3".to_owned())]),
        last_seen: (state == DeviceState::Online).then_some(START),
        created_at: START.minus(Duration::from_secs(3_600)),
        updated_at: START.minus(Duration::from_secs(60)),
        readings: 5_000_000_000,
        latest: vec![latest("pack_voltage", 52.5, "V"), latest("soc_percent", 81.5, "%")],
        attributes: BTreeMap::from([("state".to_owned(), "charging".to_owned())]),
        link: LinkQuality::default(),
        actor: ActorPath::root("node").child("devices").child(name),
    }
}

impl Sockets for TestFleet {
    fn enter_mqtt(&self, _: Carrier, _: SocketAddr) -> bool {
        false
    }
}

impl Devices for TestFleet {
    fn list(&self) -> Vec<DeviceView> {
        vec![device("pack-1", "daly_bms", DeviceState::Online), device("shed", "mqtt", DeviceState::Offline)]
    }

    fn get(&self, id: &DeviceId) -> Option<DeviceView> {
        Devices::list(self).into_iter().find(|device| device.id == *id)
    }

    /// It came a minute after it went.
    fn state_history(&self, _id: &DeviceId, limit: usize) -> Vec<StateChange> {
        let change = |state, seconds, reason: &str| {
            let since = START.minus(Duration::from_secs(seconds));
            StateChange { state, since, reason: reason.to_owned() }
        };
        let mut changes = vec![
            change(DeviceState::Online, 60, "it answers"),
            change(DeviceState::Offline, 120, "nothing heard for 15 s"),
        ];
        changes.truncate(limit);
        changes
    }

    fn changes(&self) -> broadcast::Receiver<DeviceId> {
        self.changes.subscribe()
    }

    /// One waits, one was sent away.
    fn candidates(&self) -> Vec<Candidate> {
        let candidate = |name: &str, messages: u64| Candidate {
            id: id(name),
            name: format!("The {name}"),
            first_seen: (messages > 0).then_some(START),
            last_seen: (messages > 0).then_some(START),
            messages,
            ignored: messages == 0,
        };
        vec![candidate("lamp", 7), candidate("noise", 0)]
    }

    fn adopt(&self, id: DeviceId) -> Answer<'_, DeviceView> {
        Box::pin(async move { Ok(device(id.as_str(), "mqtt", DeviceState::Online)) })
    }

    fn ignore(&self, id: DeviceId) -> Answer<'_, ()> {
        Box::pin(async move {
            if id.as_str() == "full-disk" { Err(FleetError::Store("no space".to_owned())) } else { Ok(()) }
        })
    }

    fn disable(&self, id: DeviceId, reason: String) -> Answer<'_, DeviceView> {
        Box::pin(async move {
            match id.as_str() {
                "nobody" => Err(FleetError::UnknownDevice(id)),
                _ => Ok(DeviceView { name: reason, ..device(id.as_str(), "mqtt", DeviceState::Disabled) }),
            }
        })
    }

    fn enable(&self, id: DeviceId) -> Answer<'_, DeviceView> {
        Box::pin(async move {
            match id.as_str() {
                "shed" => Err(FleetError::NotNow("shed is not disabled".to_owned())),
                _ => Ok(device(id.as_str(), "mqtt", DeviceState::Online)),
            }
        })
    }

    fn entities(&self, id: &DeviceId) -> Vec<Entity> {
        (id.as_str() == "pack-1").then(entity).into_iter().collect()
    }

    fn set_entity(
        &self,
        id: DeviceId,
        key: String,
        word: Option<Word>,
        reason: String,
    ) -> Answer<'_, Entity> {
        Box::pin(async move {
            let disabled = word == Some(Word::Disabled);
            let state = if disabled { EntityState::Disabled } else { EntityState::Enabled };
            match key.as_str() {
                "soc_percent" => Ok(Entity { state, reason: Some(reason), ..entity() }),
                _ => Err(FleetError::UnknownEntity { device: id, key }),
            }
        })
    }

    fn remove(&self, id: DeviceId, _reason: String) -> Answer<'_, ()> {
        Box::pin(async move {
            match id.as_str() {
                "pack-1" => Err(FleetError::NotAllowed("the configuration names pack-1".to_owned())),
                _ => Ok(()),
            }
        })
    }
}

fn entity() -> Entity {
    Entity {
        key: "soc_percent".to_owned(),
        name: "soc_percent".to_owned(),
        unit: Unit::new("%").ok(),
        kind: EntityKind::Number,
        source: EntitySource::Driver,
        writable: true,
        state: EntityState::Enabled,
        reason: None,
    }
}

impl Timelines for TestFleet {
    /// One of each cause, as long as the least that counts, from the start of the range on.
    fn gaps(&self, range: GapRange, limit: usize) -> Answer<'_, Vec<TimelineGap>> {
        let causes = [GapCause::NodeDown, GapCause::LinkDown, GapCause::Parked, GapCause::None];
        let mut from = range.from;
        let gaps = causes.into_iter().map(|cause| {
            let to =
                Timestamp::from_millis(from.as_millis() + i64::try_from(range.least.as_millis()).unwrap());
            TimelineGap { from: std::mem::replace(&mut from, to), to, cause }
        });
        let gaps = gaps.take(limit).collect();
        Box::pin(async move { Ok(gaps) })
    }
}

impl Telemetry for TestFleet {
    /// One sample a second, counting up from 0, without end.
    fn points(&self, range: PointRange, limit: usize) -> Answer<'_, Series> {
        Box::pin(async move {
            Devices::get(self, &range.device).ok_or(FleetError::UnknownDevice(range.device))?;
            match range.metric.as_str() {
                "broken" => return Err(FleetError::Store("/secret/place is torn".to_owned())),
                "endless" => std::future::pending().await,
                _ => {}
            }
            let seconds = range.to.since(range.from).as_secs();
            let points = (0..seconds).take(limit).map(|second| Point {
                at: range.from.plus(Duration::from_secs(second)),
                value: f64::from(u32::try_from(second).unwrap()),
                unit: Unit::new("V").ok(),
            });
            Ok(Series { metric: range.metric, points: points.collect() })
        })
    }

    /// One bucket as wide as was asked for.
    fn aggregated(&self, range: PointRange, interval: Duration) -> Answer<'_, Vec<AggregateBucket>> {
        let count = interval.as_secs();
        Box::pin(async move {
            Ok(vec![AggregateBucket { start: range.from, avg: 52.0, min: 51.5, max: 52.5, count }])
        })
    }

    fn latest(&self, device: &DeviceId, metric: &MetricName) -> Option<Point> {
        let latest = Devices::get(self, device)?.latest.into_iter().find(|latest| latest.name == *metric)?;
        Some(Point { at: latest.at, value: latest.value, unit: latest.unit })
    }

    fn metrics(&self, device: &DeviceId) -> Option<Vec<MetricName>> {
        Some(Devices::get(self, device)?.latest.into_iter().map(|latest| latest.name).collect())
    }

    fn live(&self) -> broadcast::Receiver<LiveReading> {
        self.live.subscribe()
    }
}

impl History for TestFleet {
    /// A rising line with a point a minute.
    fn chart(&self, range: SeriesRange, points: usize) -> Answer<'_, Vec<ChartLine>> {
        let line = |metric: MetricName| {
            let point =
                |minute: u32| (range.from.plus(Duration::from_mins(minute.into())), f64::from(minute));
            let points = (0..u32::try_from(points).unwrap()).map(point).collect();
            ChartLine { metric, points }
        };
        let lines = range.metrics.iter().cloned().map(line).collect();
        Box::pin(async move { Ok(lines) })
    }

    fn envelope(&self, range: SeriesRange, _pixels: usize) -> Answer<'_, Vec<IntervalSeries>> {
        self.intervals(range, Steps::Whole)
    }

    /// An hour at 2 and half an hour at -4, with a gap between them. A time zone is none that is known.
    fn intervals(&self, range: SeriesRange, steps: Steps) -> Answer<'_, Vec<IntervalSeries>> {
        Box::pin(async move {
            if let Steps::LocalDays(zone) = steps {
                return Err(FleetError::Question(format!("{zone:?} is no time zone")));
            }
            let samples = Some(IntervalSamples { count: 9, min: -4.0, max: 2.0, avg: -1.0 });
            let interval = IntervalView {
                start: range.from,
                end: range.to,
                samples,
                positive: 7_200.0,
                negative: -7_200.0,
                covered: Duration::from_secs(5_400),
            };
            let series = |metric| IntervalSeries {
                metric,
                intervals: vec![interval.clone()],
                gaps: vec![(range.from, range.to)],
            };
            Ok(range.metrics.into_iter().map(series).collect())
        })
    }
}

impl Ledgers for TestFleet {
    fn all(&self) -> Vec<LedgerRow> {
        let node = Ledger { rejected: BTreeMap::from([(RejectReason::BadTopic, 4)]), ..Ledger::default() };
        let pack = Ledger {
            stored: 90,
            duplicate: 3,
            rejected: BTreeMap::from([(RejectReason::BadPayload, 2), (RejectReason::Busy, 1)]),
            dead_lettered: 1,
            pending: 3,
            metrics_left_out: BTreeMap::from([(RejectReason::BadValue, 7)]),
        };
        vec![LedgerRow { device: None, ledger: node }, LedgerRow { device: Some(id("pack-1")), ledger: pack }]
    }

    fn of(&self, device: &DeviceId) -> Option<LedgerRow> {
        self.all().into_iter().find(|row| row.device.as_ref() == Some(device))
    }
}

fn alert(name: &str, device: &str, severity: AlertSeverity, status: AlertStatus) -> AlertView {
    AlertView {
        id: name.to_owned(),
        device: id(device),
        severity,
        status,
        title: "High temperature".to_owned(),
        message: "temperature_1 is 61 °C, above 55 °C".to_owned(),
        metric: MetricName::new("temperature_1").ok(),
        value: Some(61.0),
        threshold: Some(55.0),
        triggered_at: START,
        resolved_at: (status == AlertStatus::Resolved).then_some(START.plus(Duration::from_secs(60))),
        resolved_because: None,
    }
}

/// An alert that has just begun.
pub(crate) fn begun() -> AlertView {
    alert("a-2", "pack-1", AlertSeverity::Critical, AlertStatus::Active)
}

impl Alerts for TestFleet {
    fn active(&self) -> Vec<AlertView> {
        vec![begun(), alert("a-1", "gone", AlertSeverity::Warning, AlertStatus::Active)]
    }

    fn history(&self, from: Timestamp, to: Timestamp) -> Vec<AlertView> {
        let mut all = self.active();
        all.push(alert("a-0", "pack-1", AlertSeverity::Info, AlertStatus::Resolved));
        all.retain(|alert| (from..to).contains(&alert.triggered_at));
        all
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<AlertView>> {
        self.alerts.subscribe()
    }
}

/// A message that a broker could not stand.
fn poison() -> SetAsideMessage {
    SetAsideMessage {
        id: "centre/00000000000000000007".to_owned(),
        broker: "centre".to_owned(),
        topic: "devices/pack-1/telemetry".to_owned(),
        payload: b"{}".to_vec(),
        at: START,
        hang_ups: 3,
        cause: "connection closed by peer".to_owned(),
    }
}

/// A reading that its device's actor could not stand.
pub(crate) fn letter() -> Arc<DeadLetter> {
    let reading = reading("pack-1", 52.5);
    Arc::new(DeadLetter {
        device: id("pack-1"),
        number: 17,
        at: START,
        cause: "panicked: out of cells (at bms.rs:1:1)".to_owned(),
        failures: 3,
        inbound: Inbound::Reading(Arc::clone(&reading)),
    })
}

impl Commands for TestFleet {
    /// What is ordered of the first pack is done, and the second takes no orders.
    fn send(&self, request: CommandRequest) -> Answer<'_, CommandView> {
        let answer = if request.device.as_str() == "pack-1" {
            let sent = CommandStatus::Sent;
            let given = CommandView::given("c-1".to_owned(), &request, sent, Way::Wire, START);
            Ok(CommandView { status: CommandStatus::Executed, executed_at: Some(START), ..given })
        } else {
            Err(FleetError::NotAllowed("orders to it are switched off".to_owned()))
        };
        Box::pin(async move { answer })
    }

    /// One command, c-2, is remembered: it went to the first pack and was acknowledged.
    fn get(&self, id: &str) -> Result<Option<CommandView>, FleetError> {
        Ok((id == "c-2").then(remembered))
    }

    fn list(&self, device: Option<&DeviceId>, _limit: usize) -> Result<Vec<CommandView>, FleetError> {
        let wanted = device.is_none_or(|device| device.as_str() == "pack-1");
        Ok(wanted.then(remembered).into_iter().collect())
    }

    fn watch(&self) -> broadcast::Receiver<CommandView> {
        self.commands.subscribe()
    }
}

/// The command that is remembered.
pub(crate) fn remembered() -> CommandView {
    let request = CommandRequest {
        device: DeviceId::new("pack-1").unwrap(),
        action: "blink".to_owned(),
        params: serde_json::json!({ "times": 3 }),
        expires_at: None,
        idempotency_key: None,
    };
    let given = CommandView::given("c-2".to_owned(), &request, CommandStatus::Acknowledged, Way::Mqtt, START);
    CommandView { acknowledged_at: Some(START), ..given }
}

impl Writes for TestFleet {
    /// Bodies say what becomes of them.
    fn write_lines(&self, batch: LineBatch) -> BoxFuture<'_, Result<Written, WriteError>> {
        let login = batch.credentials.map(|(name, password)| format!("{name} {}", password.reveal()));
        self.written.lock().push((batch.body.len(), batch.precision, login));
        let problem = LineProblem { line: 3, detail: "it has no fields".to_owned() };
        let answer = match batch.body.as_ref() {
            b"busy" => Err(WriteError::Busy),
            b"slow" => Err(WriteError::NotCommitted),
            b"who" => Err(WriteError::Denied(Denied::BadCredentials)),
            b"bad" => Ok(Written { taken: 4, rejected: 1, problems: vec![problem] }),
            _ => Ok(Written { taken: 1, ..Written::default() }),
        };
        Box::pin(async move { answer })
    }

    fn oldest_kept(&self, device: &DeviceId) -> Option<Timestamp> {
        (device.as_str() == "pack-1").then_some(START)
    }

    fn keep_for_ever(&self, _device: DeviceId) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl Backups for TestFleet {
    fn back_up(&self, _request: &str) -> Answer<'_, BackedUp> {
        Box::pin(async { Ok(BackedUp { buckets: 3, ..BackedUp::default() }) })
    }
}

impl SetAside for TestFleet {
    fn letters(&self) -> Vec<Arc<DeadLetter>> {
        vec![letter()]
    }

    fn replay(&self, id: &str) -> Answer<'_, Arc<DeadLetter>> {
        let known = id == letter().id();
        let id = id.to_owned();
        Box::pin(async move { if known { Ok(letter()) } else { Err(FleetError::UnknownLetter(id)) } })
    }

    fn messages(&self) -> Result<Vec<SetAsideMessage>, FleetError> {
        Ok(vec![poison()])
    }

    fn forward_again(&self, id: &str) -> Answer<'_, SetAsideMessage> {
        let known = id == poison().id;
        let id = id.to_owned();
        Box::pin(async move { if known { Ok(poison()) } else { Err(FleetError::UnknownMessage(id)) } })
    }
}

/// What the fleet's only crash report says.
pub(crate) const REPORT: &str = "{\"a\":\"report\"}";

impl Flights for TestFleet {
    fn crash_reports(&self) -> Vec<CrashSummary> {
        vec![CrashSummary {
            id: "pack-1-1768471200000".to_owned(),
            device: id("pack-1"),
            at: START,
            incarnation: 2,
            reason: ExitReason::Panic { message: "boom".to_owned(), location: None },
            bytes: 14,
        }]
    }

    fn crash_report(&self, id: &str) -> Answer<'_, Vec<u8>> {
        let (known, id) = (id == "pack-1-1768471200000", id.to_owned());
        Box::pin(async move { if known { Ok(REPORT.into()) } else { Err(FleetError::UnknownReport(id)) } })
    }

    fn flight_record(&self, device: &DeviceId) -> Answer<'_, Vec<u8>> {
        let (known, device) = (device.as_str() == "pack-1", device.clone());
        Box::pin(
            async move { if known { Ok(REPORT.into()) } else { Err(FleetError::UnknownDevice(device)) } },
        )
    }
}

const POINT: FaultPoint =
    FaultPoint { name: "bms.link", kinds: &[FaultKind::DropLink], help: "The wire to a battery." };

impl FaultInjection for TestFleet {
    fn points(&self) -> Vec<FaultPointView> {
        vec![FaultPointView { point: POINT, trips: 3 }]
    }

    fn active_faults(&self) -> Vec<ActiveFault> {
        self.faults.active().into_iter().map(|(id, fault)| ActiveFault { id, fault }).collect()
    }

    fn inject(&self, fault: Fault) -> Result<ActiveFault, FleetError> {
        Ok(ActiveFault { id: self.faults.inject(fault.clone())?, fault })
    }

    fn clear_faults(&self) -> usize {
        self.faults.clear()
    }
}

impl Supervision for TestFleet {
    fn tree(&self) -> Vec<ActorView> {
        let root = ActorPath::root("node");
        let actor = |path, kind, supervisor, status| ActorView {
            path,
            kind,
            supervisor,
            status,
            incarnation: 2,
            restarts: 1,
            since_ms: (status == ActorStatus::Running).then_some(START.as_millis()),
            next_try_ms: (status == ActorStatus::Parked).then_some(START.as_millis() + 60_000),
            last_reason: Some(ExitReason::Panic { message: "out of cells".to_owned(), location: None }),
        };
        let devices = root.child("devices");
        vec![
            actor(root, "supervisor", true, ActorStatus::Running),
            actor(devices.clone(), "supervisor", true, ActorStatus::Running),
            actor(devices.child("pack-1"), "daly_bms", false, ActorStatus::Running),
            actor(devices.child("pack-2"), "daly_bms", false, ActorStatus::Parked),
        ]
    }

    fn events(&self, limit: usize, path: Option<&str>) -> Vec<Arc<SupervisionEvent>> {
        let events = if path.is_none_or(|path| path == killed().path.as_str()) { 150 } else { 0 };
        vec![killed(); events.min(limit)]
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<SupervisionEvent>> {
        self.events.subscribe()
    }

    fn kill(&self, path: &str, by: &str, kill: Kill) -> Result<ActorView, FleetError> {
        let actor = self.tree().into_iter().find(|actor| actor.path.as_str() == path);
        let actor = actor.ok_or_else(|| FleetError::UnknownActor(path.to_owned()))?;
        if actor.status != ActorStatus::Running {
            return Err(FleetError::NotRunning { path: path.to_owned(), status: actor.status.as_str() });
        }
        let counted = if kill == Kill::Counted { ", counted" } else { "" };
        self.kills.lock().push((path.to_owned(), format!("{by}{counted}")));
        Ok(actor)
    }

    fn park(&self, path: &str, by: &str, reason: &str) -> Result<ActorView, FleetError> {
        self.kill(path, &format!("{by} parks: {reason}"), Kill::Uncounted)
    }

    /// Only what is parked can be resumed.
    fn resume(&self, path: &str) -> Result<ActorView, FleetError> {
        let actor = self.tree().into_iter().find(|actor| actor.path.as_str() == path);
        match actor.ok_or_else(|| FleetError::UnknownActor(path.to_owned()))? {
            parked if parked.status == ActorStatus::Parked => Ok(parked),
            other => Err(FleetError::NotNow(format!("{} needs no resuming", other.path))),
        }
    }
}

impl Health for TestFleet {
    fn checks(&self) -> Vec<HealthCheck> {
        let ok = self.healthy.load(Ordering::Relaxed);
        let detail = if ok { "the journal actor is running" } else { "the journal actor is parked" };
        let journal = HealthCheck { name: "journal", ok, detail: detail.to_owned() };
        vec![journal, HealthCheck { name: "mqtt", ok: true, detail: "listening".to_owned() }]
    }
}
