//! Which devices there are and how they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use voltree_model::{DeviceId, DeviceState, MetricName, Timestamp, Unit};
use voltree_runtime::ActorPath;

use super::Answer;
use crate::link_quality::LinkQuality;
pub use crate::registry::Candidate;
use crate::registry::{Entity, Word};

/// A device as its operator sees it.
#[derive(Debug, Clone)]
pub struct DeviceView {
    /// Its identity.
    pub id: DeviceId,
    /// What its operator calls it.
    pub name: String,
    /// Its type as the contract names it: `daly_bms`, `mqtt`, …
    pub kind: String,
    /// Whether it can be heard.
    pub state: DeviceState,
    /// The site it stands on.
    pub site: Option<String>,
    /// The operator's labels.
    pub labels: BTreeMap<String, String>,
    /// When its last reading arrived.
    pub last_seen: Option<Timestamp>,
    /// When Voltree first knew of it.
    pub created_at: Timestamp,
    /// When its configuration last changed.
    pub updated_at: Timestamp,
    /// Readings committed so far.
    pub readings: u64,
    /// The newest value of each of its metrics, by name.
    pub latest: Vec<LatestMetric>,
    /// Its latest text values.
    pub attributes: BTreeMap<String, String>,
    /// How well its link works, as far as this node polls it.
    pub link: LinkQuality,
    /// Its actor's place in the tree.
    pub actor: ActorPath,
}

/// When a device's state changed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChange {
    /// What it became.
    pub state: DeviceState,
    /// From when on.
    pub since: Timestamp,
    /// Why, in a few words.
    pub reason: String,
}

/// The newest value of one series.
#[derive(Debug, Clone)]
pub struct LatestMetric {
    /// Which series.
    pub name: MetricName,
    /// Its value.
    pub value: f64,
    /// The unit as its source wrote it.
    pub unit: Option<Unit>,
    /// When it was measured.
    pub at: Timestamp,
}

/// Which devices there are and how they are.
pub trait Devices: Send + Sync {
    /// All of them, by id.
    fn list(&self) -> Vec<DeviceView>;
    /// One of them.
    fn get(&self, id: &DeviceId) -> Option<DeviceView>;
    /// The last changes of its state, newest first; they outlive a restart of the node.
    fn state_history(&self, id: &DeviceId, limit: usize) -> Vec<StateChange>;
    /// Which device changed, from now on: its state at once, what it says at most once a second.
    fn changes(&self) -> broadcast::Receiver<DeviceId>;
    /// Who publishes and is no device yet, or was sent away.
    fn candidates(&self) -> Vec<Candidate>;
    /// Makes a device of whoever publishes under this id, for good.
    fn adopt(&self, id: DeviceId) -> Answer<'_, DeviceView>;
    /// Turns away whatever is published under this id from now on.
    fn ignore(&self, id: DeviceId) -> Answer<'_, ()>;
    /// Takes nothing in from a device any more, and stops its actor; it stays in the list.
    fn disable(&self, id: DeviceId, reason: String) -> Answer<'_, DeviceView>;
    /// Takes a disabled device back.
    fn enable(&self, id: DeviceId) -> Answer<'_, DeviceView>;
    /// What a device is made of, by key; nothing if there is no such device.
    fn entities(&self, id: &DeviceId) -> Vec<Entity>;
    /// Keeps what an operator says of an entity, or takes it back.
    fn set_entity(&self, id: DeviceId, key: String, word: Option<Word>, reason: String)
    -> Answer<'_, Entity>;
    /// Takes a device from the list; what is stored of it stays for as long as such things are kept, and it is discovered
    /// anew when it speaks again.
    fn remove(&self, id: DeviceId, reason: String) -> Answer<'_, ()>;
}
