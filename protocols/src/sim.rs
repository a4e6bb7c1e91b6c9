//! Simulated devices: a pack of cells, a board that speaks for it, and a pty that carries the conversation.
//!
//! `pack`, `daly`, `replay` and `noise` are pure: bytes and the time in, answers out. Only `pty` does IO. The counts
//! in [`SimStats`] are the outside witness of what a device was asked and answered, kept apart from whoever asks.

mod daly;
mod device;
mod jbd;
mod jk;
mod noise;
mod pack;
mod pty;
mod quantity;
mod replay;
mod sunspec;
mod telecom;

pub use daly::DalySim;
pub use device::{DeviceSide, Reply, SimStats};
pub use jbd::JbdSim;
pub use jk::{Jk02Sim, JkSim};
pub use noise::{Noise, Noisy};
pub use pack::{PackConfig, SimPack};
pub use pty::{LinePace, PtySim, SimHandle};
pub use replay::FrameReplay;
pub use sunspec::SunspecSim;
pub use telecom::TelecomSim;
