//! Simulated devices: a pack of cells, a board that speaks for it, and a pty that carries the conversation.
//!
//! A pack is made of cells (`ecm`) with heat (`thermal`) and age (`ageing`), is used by a site (`load`) and saved by its
//! board (`protection`). All of that, `daly`, `bus`, `replay` and `flaky` are pure: bytes and the time in, answers out.
//! Only `pty`, `tcp` and `serve` do IO. The counts in [`SimStats`] are the outside witness of what a device was asked and answered, kept
//! apart from whoever asks.

mod ageing;
#[cfg(feature = "ble")]
mod bluez;
mod bus;
mod can;
mod daly;
mod daly_can;
mod daly_registers;
mod device;
mod ecm;
mod flaky;
mod foxbms;
mod green;
mod jbd;
mod jk;
mod libre_solar;
mod load;
mod modbus_tcp;
mod pack;
mod protection;
mod pty;
mod quantity;
mod replay;
mod serve;
mod sunspec;
mod tcp;
mod telecom;
mod thermal;

#[cfg(feature = "ble")]
pub use bluez::{AdapterStats, AirDevice, AirFaults, AirStats, BluezSim};
pub use bus::Bus;
pub use can::{CanReply, CanSide, SlcanSide, SocketcandSide};
pub use daly::DalySim;
pub use daly_can::DalyCanSim;
pub use daly_registers::DalyRegistersSim;
pub use device::{DeviceSide, HasPack, Reply, SimStats};
pub use flaky::{BadFaultRates, Fault, FaultRates, Flaky};
pub use foxbms::FoxbmsSim;
pub use green::GreenSim;
pub use jbd::JbdSim;
pub use jk::{Jk02Sim, JkSim};
pub use libre_solar::{LibreSolarAirSim, LibreSolarCanSim, LibreSolarSim};
pub use load::{Profile, UnknownProfile};
pub use modbus_tcp::ModbusTcpSide;
pub use pack::{PackConfig, SimPack, Totals};
pub use protection::Protection;
pub use pty::PtySim;
pub use replay::FrameReplay;
pub use serve::{LinePace, SimHandle};
pub use sunspec::SunspecSim;
pub use tcp::TcpSim;
pub use telecom::TelecomSim;
