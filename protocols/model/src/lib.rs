//! The words every room of Voltree uses: who measured (ids), when (time), what (units, metrics, readings)
//! and why something was turned away (rejections).
//!
//! This crate has no opinion on wires, actors or disks and imports none of them.

mod device;
mod ids;
mod ledger;
mod pack;
mod reading;
mod rejection;
mod secret;
mod text;
mod time;
mod units;

pub use device::DeviceState;
pub use ids::{DeviceId, InvalidId, MetricName, Unit};
pub use ledger::Ledger;
pub use pack::{PackReading, PackState, Withheld, WithheldReason};
pub use reading::{Metric, MetricRejection, Origin, Reading};
pub use rejection::RejectReason;
pub use secret::Secret;
pub use time::{InvalidTimestamp, Timestamp};
pub use units::{AmpHours, Amps, Celsius, Millivolts, Percent, Volts};
