//! What a device of this node is made of: what it told, what announced it, and what operators said of either.

use std::collections::BTreeMap;
use std::sync::Arc;

use voltree_model::DeviceId;

use super::{LocalFleet, on_disk};
use crate::fleet::{Answer, Entity, EntityKind, EntitySource, EntityState, FleetError, LatestMetric, Word};
use crate::mqtt_device;
use crate::now;
use crate::registry::DeviceEntry;

/// The values of a battery that its commands set.
const SET_BY_COMMANDS: [&str; 3] = ["charge_enabled", "discharge_enabled", "soc_percent"];
const SWITCHES: [&str; 2] = ["charge_enabled", "discharge_enabled"];

impl LocalFleet {
    /// Every entity of a device, by key.
    pub(super) fn entities_of(&self, entry: &DeviceEntry) -> Vec<Entity> {
        let view = self.view(entry, now());
        let standings = entry.entity_standings();
        let mut entities: BTreeMap<String, Entity> = BTreeMap::new();
        let described = self.mqtt.broker().described(&entry.id);
        for entity in described.announced {
            entities.insert(entity.key.clone(), entity);
        }
        let is_battery = entry.kind != mqtt_device::KIND;
        let source = if is_battery { EntitySource::Driver } else { described.source };
        let takes = |key: &str| match is_battery {
            true => entry.takes_orders() && SET_BY_COMMANDS.contains(&key),
            false => described.actions.iter().any(|action| sets(action, key)),
        };
        for metric in &view.latest {
            let writable = takes(metric.name.as_str());
            let told = told(metric, is_battery, writable, source);
            entities.entry(told.key.clone()).and_modify(|e| e.state = EntityState::Enabled).or_insert(told);
        }
        for name in view.attributes.keys() {
            let text = text(name, source);
            entities.entry(name.clone()).and_modify(|e| e.state = EntityState::Enabled).or_insert(text);
        }
        let standing = |entity: Entity| {
            let standing = standings.get(&entity.key);
            entity.standing(standing)
        };
        entities.into_values().map(standing).collect()
    }

    pub(super) fn set_entity(
        &self,
        id: DeviceId,
        key: String,
        word: Option<Word>,
        reason: String,
    ) -> Answer<'_, Entity> {
        Box::pin(async move {
            let entry = self.known(&id)?;
            let unknown = || FleetError::UnknownEntity { device: id.clone(), key: key.clone() };
            let known = |entity: &Entity| entity.key == key;
            if !self.entities_of(&entry).iter().any(known) {
                return Err(unknown());
            }
            let (registry, changed) = (Arc::clone(&self.registry), Arc::clone(&entry));
            let named = key.clone();
            on_disk(move || registry.set_entity(&changed, &named, word, &reason, now())).await?;
            self.entities_of(&entry).into_iter().find(known).ok_or_else(unknown)
        })
    }
}

/// Whether an action of a mapping is the one that sets this value, as `set_power` sets `POWER`.
fn sets(action: &str, key: &str) -> bool {
    action.strip_prefix("set_").is_some_and(|what| what.eq_ignore_ascii_case(key))
}

fn told(metric: &LatestMetric, is_battery: bool, writable: bool, source: EntitySource) -> Entity {
    let key = metric.name.to_string();
    let kind = match (is_battery && SWITCHES.contains(&key.as_str()), writable) {
        (true, true) => EntityKind::Switch,
        (true, false) => EntityKind::Binary,
        (false, true) => EntityKind::Number,
        (false, false) => EntityKind::Sensor,
    };
    let (name, unit, state) = (key.clone(), metric.unit.clone(), EntityState::Enabled);
    Entity { key, name, unit, kind, source, writable, state, reason: None }
}

fn text(name: &str, source: EntitySource) -> Entity {
    Entity {
        key: name.to_owned(),
        name: name.to_owned(),
        unit: None,
        kind: EntityKind::Text,
        source,
        writable: false,
        state: EntityState::Enabled,
        reason: None,
    }
}
