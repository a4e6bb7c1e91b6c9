//! SunSpec battery models over Modbus: 802 (the battery as a whole) and 803 (a bank of lithium-ion strings).
//!
//! A device marks its registers with "SunS" and chains its models behind it, each with a number and a length (`models`).
//! `poll` walks that chain once and then reads the two models. They say nothing of the current's sign; it is learned from
//! the battery's own charge status, as with Daly's boards, or set.

mod events;
mod models;
mod poll;
mod wire;

pub use events::EVENTS;
pub use models::{BankModel, BatteryModel, END_MODEL, MARKER, StringModel};
pub use poll::{SunspecConfig, SunspecDialect, SunspecPoll};
pub use wire::decode_wire;

/// Where a device may begin its registers.
pub const BASES: [u16; 3] = [40_000, 50_000, 0];
/// Model 802.
pub const BATTERY_MODEL: u16 = 802;
/// Model 803.
pub const BANK_MODEL: u16 = 803;
