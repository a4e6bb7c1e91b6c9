//! Battery management systems, one file (and folder) a vendor.
//!
//! A vendor brings its constants, its frames both ways, a poll cycle that fills a `PackReading`, and the wire's own
//! view for `decode`. None of them does IO or reads a clock; a bad frame is a counted event, never a crash.

pub mod alarms;
pub mod daly_air;
pub mod daly_bluetooth;
pub mod daly_can;
pub mod daly_uart;
pub mod dialogue;
mod driver;
mod fields;
pub mod foxbms;
pub mod framing;
pub mod green_bms;
pub mod jbd;
pub mod jk;
pub mod libre_solar;
pub mod listen;
pub mod modbus;
pub mod order;
mod sieve;
pub mod sunspec;
pub mod telecom;
mod wire_view;

pub use driver::{Driver, Wire};
