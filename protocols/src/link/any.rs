//! Any of the links, opened by its address.

use std::time::Duration;

use super::address::LinkAddress;
#[cfg(feature = "ble")]
use super::ble::{BleLink, Radio};
#[cfg(feature = "can")]
use super::can::CanLink;
use super::modbus_tcp::ModbusTcpLink;
use super::serial::SerialLink;
use super::slcan::SlcanLink;
use super::socketcand::SocketcandLink;
use super::tcp::TcpLink;
use super::{Link, LinkError};

/// An open link of any kind.
#[derive(Debug)]
pub enum AnyLink {
    /// A serial port.
    Serial(SerialLink),
    /// A serial line behind a gateway.
    Tcp(TcpLink),
    /// A Modbus server.
    ModbusTcp(ModbusTcpLink),
    /// A CAN adapter.
    Slcan(SlcanLink),
    /// A CAN bus of another machine.
    Socketcand(SocketcandLink),
    /// A connection over Bluetooth LE.
    #[cfg(feature = "ble")]
    Ble(BleLink),
    /// A CAN interface of this machine.
    #[cfg(feature = "can")]
    Can(CanLink),
}

impl AnyLink {
    /// Opens what the address says; closed by dropping the link.
    pub async fn open(address: &LinkAddress) -> Result<Self, LinkError> {
        let name = address.to_string();
        Ok(match address {
            LinkAddress::Serial { baud, .. } => Self::Serial(SerialLink::open(&name, *baud)?),
            LinkAddress::Tcp { host } => Self::Tcp(TcpLink::open(&name, host).await?),
            LinkAddress::ModbusTcp { host, .. } => Self::ModbusTcp(ModbusTcpLink::open(&name, host).await?),
            LinkAddress::Slcan { path, baud, bitrate } => {
                Self::Slcan(SlcanLink::open(path, *baud, *bitrate).await?)
            }
            LinkAddress::Socketcand { host, bus } => {
                Self::Socketcand(SocketcandLink::open(&name, host, bus).await?)
            }
            #[cfg(feature = "ble")]
            LinkAddress::Ble { address, adapter, places } => {
                Self::Ble(Radio::new(1).connect(*address, adapter.as_deref(), places).await?)
            }
            #[cfg(not(feature = "ble"))]
            LinkAddress::Ble { .. } => return Err(LinkError::NotBuilt { name, feature: "ble" }),
            #[cfg(feature = "can")]
            LinkAddress::Can { interface } => Self::Can(CanLink::open(&name, interface)?),
            #[cfg(not(feature = "can"))]
            LinkAddress::Can { .. } => return Err(LinkError::NotBuilt { name, feature: "can" }),
        })
    }
}

/// Calls the same function of whichever link it is.
macro_rules! whichever {
    ($self:ident, $link:ident => $call:expr) => {
        match $self {
            Self::Serial($link) => $call,
            Self::Tcp($link) => $call,
            Self::ModbusTcp($link) => $call,
            Self::Slcan($link) => $call,
            Self::Socketcand($link) => $call,
            #[cfg(feature = "ble")]
            Self::Ble($link) => $call,
            #[cfg(feature = "can")]
            Self::Can($link) => $call,
        }
    };
}

impl Link for AnyLink {
    fn name(&self) -> &str {
        whichever!(self, link => link.name())
    }

    fn discard_input(&mut self) -> Result<(), LinkError> {
        whichever!(self, link => link.discard_input())
    }

    async fn write_all(&mut self, bytes: &[u8], within: Duration) -> Result<(), LinkError> {
        whichever!(self, link => link.write_all(bytes, within).await)
    }

    async fn read_some(&mut self, into: &mut [u8], within: Duration) -> Result<usize, LinkError> {
        whichever!(self, link => link.read_some(into, within).await)
    }
}
