//! Mappings that come along, for devices that many people have.

/// A mapping that comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// What it is called in a configuration.
    pub name: &'static str,
    /// How it is written.
    pub toml: &'static str,
}

/// Every preset.
pub const PRESETS: [Preset; 5] = [
    Preset { name: "esphome", toml: include_str!("presets/esphome.toml") },
    Preset { name: "shelly-gen1", toml: include_str!("presets/shelly-gen1.toml") },
    Preset { name: "shelly-gen2", toml: include_str!("presets/shelly-gen2.toml") },
    Preset { name: "tasmota", toml: include_str!("presets/tasmota.toml") },
    Preset { name: "zigbee2mqtt", toml: include_str!("presets/zigbee2mqtt.toml") },
];

impl Preset {
    /// The preset of this name.
    pub fn named(name: &str) -> Option<Self> {
        PRESETS.into_iter().find(|preset| preset.name == name)
    }
}

/// What there is, for a message.
pub(super) fn names() -> String {
    PRESETS.map(|preset| preset.name).join(", ")
}
