//! What a device is made of, as clients see it.

use async_graphql::{Enum, SimpleObject};

/// What sort of value an entity is.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "voltree_actors::fleet::EntityKind")]
pub(super) enum EntityKind {
    /// A number that is measured.
    Sensor,
    /// Something that is either on or off, and only told.
    Binary,
    /// Something that can be switched on and off.
    Switch,
    /// A number that can be set.
    Number,
    /// One of a few words that can be set.
    Select,
    /// A text.
    Text,
    /// Something that can be pressed and tells nothing.
    Button,
}

/// Where an entity is known from.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "voltree_actors::fleet::EntitySource")]
pub(super) enum EntitySource {
    /// The device tells it in the contract's own words.
    Native,
    /// A mapping reads it from the device's messages.
    Mapping,
    /// The device announced it to Home Assistant.
    Discovery,
    /// The driver of the battery reads it.
    Driver,
}

/// How an entity stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "voltree_actors::fleet::EntityState")]
pub(super) enum EntityState {
    /// It was announced and has told nothing yet.
    Discovered,
    /// What it tells is stored.
    Enabled,
    /// What it tells is left out of readings, and counted as disabled.
    Disabled,
    /// An operator removed it, and it has told nothing since.
    Removed,
}

/// One value that a device tells or takes.
#[derive(SimpleObject)]
pub(super) struct Entity {
    /// Names it within its device; the name of its metric, if it has one.
    key: String,
    /// What it is called.
    name: String,
    /// Its unit.
    unit: Option<String>,
    /// What sort of value it is.
    kind: EntityKind,
    /// Where it is known from.
    source: EntitySource,
    /// Whether a command can set it.
    writable: bool,
    /// How it stands.
    state: EntityState,
    /// Why an operator disabled or removed it.
    reason: Option<String>,
}

impl From<voltree_actors::fleet::Entity> for Entity {
    fn from(entity: voltree_actors::fleet::Entity) -> Self {
        Self {
            key: entity.key,
            name: entity.name,
            unit: entity.unit.map(|unit| unit.to_string()),
            kind: entity.kind.into(),
            source: entity.source.into(),
            writable: entity.writable,
            state: entity.state.into(),
            reason: entity.reason,
        }
    }
}
