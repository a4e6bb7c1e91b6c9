//! Who is responsible for what: device, broker, aggregator, recorder and alert actors, the registry of devices,
//! and the `Fleet` doors that others use. This room knows no HTTP and no gRPC.

pub mod access;
pub mod aggregator;
pub mod alerts;
pub mod ble_adapter;
pub mod bms;
pub mod commands;
pub mod crash_reports;
pub mod cursor;
pub mod dead_letters;
pub mod device;
pub mod event_log;
pub mod fault_points;
mod faulty;
pub mod fleet;
pub mod intake;
pub mod journal;
pub mod line;
pub mod line_door;
mod line_log;
pub mod link_quality;
pub mod live;
pub mod metrics;
pub mod mqtt;
pub mod mqtt_device;
pub mod orders;
pub mod postmortem;
pub mod presence;
pub mod recorder;
pub mod registry;
#[cfg(test)]
mod test_journal;
#[cfg(test)]
mod test_registry;
pub mod timeline;
pub mod uptime;
mod wall_clock;

pub use alerts::AlertLimits;
pub use faulty::FaultyDisk;
pub use line_log::LineLogError;
pub use wall_clock::now;
