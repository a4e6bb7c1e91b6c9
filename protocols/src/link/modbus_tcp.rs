//! A Modbus server on the network: RTU in, RTU out, TCP frames on the wire.
//!
//! Why not a Modbus client library: it would own the conversation (send, wait, give up), which here is the poll cycle's,
//! so that every wire has the same patience, the same faults and the same flight recorder.

use std::io;
use std::time::Duration;

use super::address::Host;
use super::tcp::TcpLink;
use super::{Link, LinkError};
use crate::bms::modbus::TcpTranslator;

/// An open connection.
#[derive(Debug)]
pub struct ModbusTcpLink {
    tcp: TcpLink,
    translator: TcpTranslator,
    /// RTU bytes that were not taken yet.
    ready: Vec<u8>,
}

impl ModbusTcpLink {
    /// Connects.
    pub async fn open(name: &str, host: &Host) -> Result<Self, LinkError> {
        let tcp = TcpLink::open(name, host).await?;
        Ok(Self { tcp, translator: TcpTranslator::default(), ready: Vec::new() })
    }
}

impl Link for ModbusTcpLink {
    fn name(&self) -> &str {
        self.tcp.name()
    }

    /// What still waits on the connection answers older numbers and falls away with them.
    fn discard_input(&mut self) -> Result<(), LinkError> {
        self.ready.clear();
        Ok(())
    }

    async fn write_all(&mut self, bytes: &[u8], within: Duration) -> Result<(), LinkError> {
        match self.translator.question(bytes) {
            Some(frame) => self.tcp.write_all(&frame, within).await,
            None => Ok(()),
        }
    }

    async fn read_some(&mut self, into: &mut [u8], within: Duration) -> Result<usize, LinkError> {
        if self.ready.is_empty() {
            let mut buffer = [0; 512];
            let count = self.tcp.read_some(&mut buffer, within).await?;
            self.ready = self.translator.answers(&buffer[..count]).map_err(|error| LinkError::Other {
                doing: "understand",
                name: self.tcp.name().to_owned(),
                source: io::Error::new(io::ErrorKind::InvalidData, error),
            })?;
        }
        let count = self.ready.len().min(into.len());
        into[..count].copy_from_slice(&self.ready[..count]);
        self.ready.drain(..count);
        Ok(count)
    }
}
