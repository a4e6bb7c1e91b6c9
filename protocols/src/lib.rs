//! What the bytes mean: codecs, links, MQTT session logic, simulated devices.
//!
//! A codec here is a value: it is handed bytes and the time and says what they mean and what should be sent. Only
//! `link` (feature `serial`) and `sim::pty` (feature `sim`) touch a wire or a clock, and nothing in this crate knows
//! actors, storage or the supervisor that restarts them.

pub mod bms;
pub mod can;
pub mod checksum;
pub mod codec;
pub mod decode;
pub mod flight;
pub mod influx;
#[cfg(feature = "serial")]
pub mod link;
#[cfg(feature = "mqtt")]
pub mod mapping;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "sim")]
pub mod sim;
