//! The registry: every device the node knows, with its door and what was last heard of it.
//!
//! It belongs to the node and outlives all actors. A device that nobody configured joins when it first publishes.

mod entity;
mod gate;
mod lifecycle;
mod remembered;
mod standing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use voltree_model::{DeviceId, DeviceState, Timestamp};
use voltree_protocols::bms::Driver;
use voltree_protocols::bms::order::Order;
use voltree_protocols::flight::{FlightRecorder, FlightRoom, PublishRecorder};
use voltree_protocols::mqtt::LastTemplate;
use voltree_runtime::{ActorPath, ActorStatus, Children, Directory, Faults, Handle, StuckActor};
use voltree_storage::{AgeLimits, JournalSlot};

use crate::dead_letters::DeadLetters;
use crate::device::DeviceMsg;
use crate::fault_points::NODE_CLOCK;
use crate::intake::Intake;
use crate::link_quality::LinkQuality;
use crate::mqtt_device;
use crate::orders::{Orders, Unconfirmed};

pub use entity::{Entity, EntityKind, EntitySource, EntityState};
pub use gate::{AdmissionRules, Candidate, Gate, IdPattern, Unknown};
pub use lifecycle::{LifecycleError, NotAdmitted};
pub use remembered::DeviceRecord;
use standing::Standings;
pub use standing::{Standing, Word};

/// What a device says of its own connection, or its link finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkState {
    /// Nothing is known: only its readings tell.
    #[default]
    Unknown,
    /// It answers, or said that it is online.
    Up,
    /// It does not answer, or said that it is offline.
    Down,
}

/// A link's state, and what was said when it changed last.
#[derive(Debug, Default)]
struct Link {
    state: LinkState,
    why: String,
}

/// One device.
#[derive(Debug)]
pub struct DeviceEntry {
    /// Its identity.
    pub id: DeviceId,
    /// What its operator calls it.
    pub name: String,
    /// Its type as the contract names it.
    pub kind: &'static str,
    /// The site it stands on.
    pub site: Option<String>,
    /// The operator's labels.
    pub labels: BTreeMap<String, String>,
    /// When this node first knew of it.
    pub created_at: Timestamp,
    /// How long it may be silent before it counts as offline.
    pub offline_after: Duration,
    /// Whether somebody wants it now: configured, or come by itself. Otherwise only its history is left.
    pub wanted: bool,
    /// Its door.
    pub intake: Arc<Intake>,
    /// Its actor, whichever incarnation that is.
    pub actor: Handle<DeviceMsg>,
    /// The node's faults.
    pub faults: Faults,
    /// What was last said between this node and the device.
    pub flight: Arc<FlightRecorder>,
    /// What the device last published.
    pub publishes: PublishRecorder,
    /// What its telemetry mostly looks like.
    pub(crate) template: LastTemplate,
    link: Mutex<Link>,
    quality: Mutex<LinkQuality>,
    pub(crate) orders: Orders,
    standings: Arc<Standings>,
    last_arrival_ms: AtomicI64,
    /// Since when it is waited for: since it is known, or since an operator took it back.
    wanted_since_ms: AtomicI64,
    last_own_time: Mutex<i64>,
}

/// What must be said of a device to register it.
#[derive(Debug, Clone)]
pub struct DeviceSpec {
    /// Its identity.
    pub id: DeviceId,
    /// What its operator calls it.
    pub name: String,
    /// Its type as the contract names it.
    pub kind: &'static str,
    /// The site it stands on.
    pub site: Option<String>,
    /// The operator's labels.
    pub labels: BTreeMap<String, String>,
    /// How long it may be silent before it counts as offline.
    pub offline_after: Duration,
    /// Whether somebody wants it now.
    pub wanted: bool,
}

/// Every device the node knows.
#[derive(Debug)]
pub struct Registry {
    devices: RwLock<BTreeMap<DeviceId, Arc<DeviceEntry>>>,
    supervisor: ActorPath,
    children: Children,
    directory: Directory,
    journal: Arc<JournalSlot>,
    dead_letters: Arc<DeadLetters>,
    faults: Faults,
    ages: Arc<AgeLimits>,
    gate: Gate,
    flight_room: Arc<FlightRoom>,
    standings: Arc<Standings>,
    /// Whether there is a device that nobody wants, of which only the history is left: asked for with every reading.
    any_unwanted: AtomicBool,
}

/// How long a device that came by itself over MQTT may be silent.
const ADOPTED_OFFLINE_AFTER: Duration = Duration::from_secs(120);

fn adopted(id: &DeviceId) -> DeviceSpec {
    DeviceSpec {
        id: id.clone(),
        name: id.to_string(),
        kind: mqtt_device::KIND,
        site: None,
        labels: BTreeMap::new(),
        offline_after: ADOPTED_OFFLINE_AFTER,
        wanted: true,
    }
}

impl Registry {
    /// An empty registry whose devices' actors live under `supervisor`.
    pub fn new(
        supervisor: ActorPath,
        children: Children,
        directory: Directory,
        journal: Arc<JournalSlot>,
        ages: Arc<AgeLimits>,
        dead_letters: Arc<DeadLetters>,
        faults: Faults,
    ) -> Self {
        let devices = RwLock::default();
        let (gate, flight_room, standings) = (Gate::default(), Arc::default(), Arc::default());
        Self {
            devices,
            supervisor,
            children,
            directory,
            journal,
            dead_letters,
            faults,
            ages,
            gate,
            flight_room,
            standings,
            any_unwanted: AtomicBool::new(false),
        }
    }

    /// Minds what operators said of devices in the node's earlier lives. Blocks, while the journal has no writer.
    pub fn with_standings(mut self) -> Result<Self, voltree_storage::Error> {
        self.standings = Arc::new(Standings::open(Arc::clone(&self.journal))?);
        Ok(self)
    }

    /// Puts a gate in front of it. Without one everyone who publishes becomes a device.
    pub fn with_gate(mut self, gate: Gate) -> Self {
        self.gate = gate;
        self
    }

    /// Who publishes and waits to be adopted, or was sent away.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.gate.candidates()
    }

    /// Makes a device of whoever publishes under this id, for good. Blocks until the journal has it.
    pub fn adopt_candidate(
        &self,
        id: &DeviceId,
        now: Timestamp,
    ) -> Result<Arc<DeviceEntry>, voltree_storage::Error> {
        let (name, offline_after) = self.gate.decide(id, true, ADOPTED_OFFLINE_AFTER)?;
        tracing::info!(event = "device.adopted", device = %id, name, "adopted by an operator");
        let entry = self.adopt_mapped(id, &name, offline_after, now);
        entry.is_wanted_again(now);
        Ok(entry)
    }

    /// Turns away whatever is published under this id from now on; its history stays. Blocks until the
    /// journal has it.
    pub fn ignore(&self, id: &DeviceId) -> Result<(), voltree_storage::Error> {
        self.gate.decide(id, false, ADOPTED_OFFLINE_AFTER)?;
        tracing::info!(event = "device.ignored", device = %id, "sent away by an operator");
        if let Some(entry) = self.get(id) {
            entry.set_link(LinkState::Down, "an operator sent it away");
        }
        Ok(())
    }

    /// Lists again everyone whom an operator adopted in an earlier life of the node.
    pub fn readopt(&self, now: Timestamp) {
        for (id, name, offline_after) in self.gate.adopted() {
            self.adopt_mapped(&id, &name, offline_after, now);
        }
    }

    /// The device that publishes under this id, if it is one or may become one now.
    pub(crate) fn admit(&self, id: &DeviceId, now: Timestamp) -> Result<Arc<DeviceEntry>, NotAdmitted> {
        self.admit_mapped(id, id.as_str(), ADOPTED_OFFLINE_AFTER, now)
    }

    /// The device that publishes under this id, if it is one already and nobody sent it away.
    pub(crate) fn admitted(&self, id: &DeviceId) -> Option<Arc<DeviceEntry>> {
        self.hears(id).ok()?;
        self.get(id).filter(|_| !self.gate.turns_away(id))
    }

    /// The same for one that has a name where it comes from.
    pub(crate) fn admit_mapped(
        &self,
        id: &DeviceId,
        name: &str,
        offline_after: Duration,
        now: Timestamp,
    ) -> Result<Arc<DeviceEntry>, NotAdmitted> {
        self.hears(id)?;
        if !self.gate.turns_away(id) {
            match self.get(id) {
                Some(known) => return Ok(known),
                None if self.gate.admits(id) => return Ok(self.adopt_mapped(id, name, offline_after, now)),
                None => {}
            }
        }
        self.gate.note(id, name, offline_after, now);
        Err(NotAdmitted::NotAdopted)
    }

    /// Whether a reading of this time is older than readings of the device are kept.
    pub(crate) fn is_too_old(&self, device: &DeviceId, at: Timestamp, now: Timestamp) -> bool {
        self.ages.refuses(device, at, now)
    }

    /// Adds a device that has an actor; `child` is how its supervisor gives birth to it.
    pub fn register(
        &self,
        spec: DeviceSpec,
        now: Timestamp,
        child: impl FnOnce(Arc<DeviceEntry>) -> voltree_runtime::ChildSpec,
    ) -> Arc<DeviceEntry> {
        if !spec.wanted {
            self.any_unwanted.store(true, Ordering::Release);
        }
        let (entry, added) = {
            let mut devices = self.devices.write();
            match devices.get(&spec.id) {
                Some(known) => (Arc::clone(known), false),
                None => {
                    let actor = self.directory.handle(&self.supervisor.child(spec.id.as_str()));
                    let entry = Arc::new(self.entry(spec, now, actor));
                    devices.insert(entry.id.clone(), Arc::clone(&entry));
                    (entry, true)
                }
            }
        };
        if added {
            self.children.add(&self.directory, &self.supervisor, child(Arc::clone(&entry)));
            self.welcome(&entry);
        }
        entry
    }

    /// The node's faults.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The device of this id, adopted as an MQTT device if nobody knew it.
    pub fn adopt(&self, id: &DeviceId, now: Timestamp) -> Arc<DeviceEntry> {
        if let Some(known) = self.get(id) {
            return known;
        }
        self.register_publisher(adopted(id), now)
    }

    /// The device of this id, adopted under the name that it has where it comes from if nobody knew it.
    fn adopt_mapped(
        &self,
        id: &DeviceId,
        name: &str,
        offline_after: Duration,
        now: Timestamp,
    ) -> Arc<DeviceEntry> {
        if let Some(known) = self.get(id) {
            return known;
        }
        let name = name.chars().filter(|c| !c.is_control()).take(128).collect();
        self.register_publisher(DeviceSpec { name, offline_after, ..adopted(id) }, now)
    }

    /// Lists a device of which only the history is left, under the name and type that it had. Should it publish, it is
    /// taken in like any other.
    pub fn remember(&self, id: &DeviceId, record: &DeviceRecord, now: Timestamp) {
        let kind = Driver::KINDS.into_iter().find(|kind| *kind == record.kind);
        let kind = kind.unwrap_or(mqtt_device::KIND);
        let spec = DeviceSpec { name: record.name.clone(), kind, wanted: false, ..adopted(id) };
        self.register_publisher(spec, now);
    }

    fn register_publisher(&self, spec: DeviceSpec, now: Timestamp) -> Arc<DeviceEntry> {
        let journal = Arc::clone(&self.journal);
        self.register(spec, now, move |entry| mqtt_device::child(entry, journal))
    }

    /// The device of this id.
    pub fn get(&self, id: &DeviceId) -> Option<Arc<DeviceEntry>> {
        self.devices.read().get(id).cloned()
    }

    /// Every device, by id.
    pub fn list(&self) -> Vec<Arc<DeviceEntry>> {
        self.devices.read().values().cloned().collect()
    }

    /// The actors that were given up and still hold their thread.
    pub(crate) fn stuck_actors(&self) -> Vec<StuckActor> {
        self.directory.stuck_actors()
    }

    /// The device whose actor has this path.
    pub(crate) fn device_of(&self, path: &ActorPath) -> Option<DeviceId> {
        let known = DeviceId::new(path.name()).ok().and_then(|id| self.get(&id));
        known.filter(|entry| entry.actor.path() == path).map(|entry| entry.id.clone())
    }

    /// Whether the device can be heard, as of now.
    pub fn state(&self, entry: &DeviceEntry, now: Timestamp) -> DeviceState {
        if self.is_set_aside(&entry.id) {
            return DeviceState::Disabled;
        }
        if self.directory.status(entry.actor.path()) == Some(ActorStatus::Parked) {
            return DeviceState::Parked;
        }
        let heard = entry.last_arrival().is_some_and(|at| now.since(at) <= entry.offline_after);
        match entry.link() {
            LinkState::Down => DeviceState::Offline,
            LinkState::Up | LinkState::Unknown if heard => DeviceState::Online,
            LinkState::Up | LinkState::Unknown if entry.wanted => DeviceState::Offline,
            LinkState::Up | LinkState::Unknown => DeviceState::Disabled,
        }
    }

    /// Why a device is in the state it is in, in a few words.
    pub fn reason(entry: &DeviceEntry, state: DeviceState) -> String {
        let link = entry.link.lock();
        match (state, link.state) {
            (DeviceState::Online, LinkState::Up) | (DeviceState::Offline, LinkState::Down) => {
                link.why.clone()
            }
            (DeviceState::Online, LinkState::Unknown | LinkState::Down) => "it publishes".to_owned(),
            (DeviceState::Offline, LinkState::Unknown | LinkState::Up) => match entry.last_arrival() {
                Some(_) => format!("nothing heard for {} s", entry.offline_after.as_secs()),
                None => "nothing heard since the node started".to_owned(),
            },
            (DeviceState::Parked, _) => "its actor failed too often and waits for its next try".to_owned(),
            (DeviceState::Quarantined, _) => "set aside until an operator looks".to_owned(),
            (DeviceState::Disabled, _) if entry.wanted => "an operator disabled it".to_owned(),
            (DeviceState::Disabled, _) => "no longer configured".to_owned(),
        }
    }

    fn entry(&self, spec: DeviceSpec, now: Timestamp, actor: Handle<DeviceMsg>) -> DeviceEntry {
        let last = self.journal.last_origin(&spec.id);
        let (directory, path) = (self.directory.clone(), actor.path().clone());
        let is_open = move || directory.status(&path) != Some(ActorStatus::Parked);
        DeviceEntry {
            intake: Arc::new(Intake::new(
                spec.id.clone(),
                last,
                Arc::clone(&self.dead_letters),
                self.faults.clone(),
                is_open,
            )),
            id: spec.id,
            name: spec.name,
            kind: spec.kind,
            site: spec.site,
            labels: spec.labels,
            created_at: now,
            offline_after: spec.offline_after,
            wanted: spec.wanted,
            actor,
            faults: self.faults.clone(),
            flight: Arc::new(FlightRecorder::sharing(&self.flight_room)),
            publishes: PublishRecorder::default(),
            template: LastTemplate::default(),
            link: Mutex::default(),
            quality: Mutex::default(),
            orders: Orders::default(),
            standings: Arc::clone(&self.standings),
            last_arrival_ms: AtomicI64::new(i64::MIN),
            wanted_since_ms: AtomicI64::new(now.as_millis()),
            last_own_time: Mutex::new(i64::MIN + 1),
        }
    }
}

impl DeviceEntry {
    /// Now, by the clock that the device's readings are stamped with.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.faults.now_ms(NODE_CLOCK))
    }

    /// Notes that something arrived.
    pub fn heard(&self, at: Timestamp) {
        self.last_arrival_ms.fetch_max(at.as_millis(), Ordering::Relaxed);
    }

    /// Notes that something arrived, and wakes the actor that takes it on. Whoever publishes is not offline, even if it
    /// said so before.
    pub fn arrived(&self, at: Timestamp) {
        self.heard(at);
        if self.link() == LinkState::Down {
            self.set_link(LinkState::Up, "it publishes again");
        }
        if !self.intake.is_offering() {
            self.actor.wake(DeviceMsg::Wake);
        }
    }

    /// A time for a reading that brought none: now, or a millisecond after the last one given out, so that no two of
    /// the device's readings are taken for the same.
    pub fn own_time(&self, now: Timestamp) -> Timestamp {
        let mut last = self.last_own_time.lock();
        *last = (*last).max(now.as_millis() - 1) + 1;
        Timestamp::from_millis(*last)
    }

    /// When something last arrived since the node started.
    pub fn last_arrival(&self) -> Option<Timestamp> {
        match self.last_arrival_ms.load(Ordering::Relaxed) {
            i64::MIN => None,
            at => Some(Timestamp::from_millis(at)),
        }
    }

    /// Since when it is waited for.
    pub(crate) fn wanted_since(&self) -> Timestamp {
        Timestamp::from_millis(self.wanted_since_ms.load(Ordering::Relaxed))
    }

    /// Notes that it is waited for again.
    pub(crate) fn is_wanted_again(&self, now: Timestamp) {
        self.wanted_since_ms.store(now.as_millis(), Ordering::Relaxed);
    }

    /// What is known of its link.
    pub fn link(&self) -> LinkState {
        self.link.lock().state
    }

    /// Gives it an order and waits for what the device says afterwards: done means seen to be done.
    pub async fn order(&self, order: Order, valid_for: Option<Duration>) -> Result<(), Unconfirmed> {
        self.orders.give(order, valid_for, || self.actor.wake(DeviceMsg::Wake)).await
    }

    /// Whether it takes orders.
    pub fn takes_orders(&self) -> bool {
        self.orders.are_allowed()
    }

    /// How well its link works.
    pub fn quality(&self) -> LinkQuality {
        *self.quality.lock()
    }

    /// Notes how a poll of it went.
    pub(crate) fn link_quality(&self, note: impl FnOnce(&mut LinkQuality)) {
        note(&mut self.quality.lock());
    }

    /// Notes a change of its link; one line when it goes, one when it returns.
    pub fn set_link(&self, state: LinkState, why: &str) {
        {
            let mut link = self.link.lock();
            if link.state == state {
                return;
            }
            *link = Link { state, why: why.to_owned() };
        }
        match state {
            LinkState::Up => tracing::info!(event = "device.online", device = %self.id, why),
            LinkState::Down => tracing::warn!(event = "device.offline", device = %self.id, why),
            LinkState::Unknown => {}
        }
    }
}
