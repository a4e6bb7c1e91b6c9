//! The words every room of Voltree uses: who measured (ids), when (time), what (units, metrics, readings)
//! and why something was turned away (rejections).
//!
//! This crate has no opinion on wires, actors or disks and imports none of them.

mod device;
mod ids;
mod ledger;
mod metrics;
mod pack;
mod reading;
mod rejection;
mod secret;
mod series;
mod shared;
mod text;
mod time;
mod units;

pub use device::DeviceState;
pub use ids::{DeviceId, InvalidId, MetricName, Unit};
pub use ledger::Ledger;
pub use metrics::{Metric, MetricRef, Metrics};
pub use pack::{PackReading, PackState, Withheld, WithheldReason};
pub use reading::{MetricRejection, Origin, Reading};
pub use rejection::RejectReason;
pub use secret::Secret;
pub use series::{Series, SeriesSet};
pub use time::{InvalidTimestamp, Timestamp};
pub use units::{AmpHours, Amps, Celsius, Millivolts, Percent, Volts};
