//! A CAN bus behind an adapter on a serial port that speaks SLCAN (Lawicel, CANable, USBtin and their kin).
//!
//! Opening sets the bus' speed and opens it; from then on the adapter's text is passed on as it is.

use std::path::Path;
use std::time::Duration;

use super::serial::SerialLink;
use super::{Link, LinkError, WRITE_TIMEOUT};
use crate::can::slcan;

/// An open adapter.
#[derive(Debug)]
pub struct SlcanLink {
    serial: SerialLink,
}

impl SlcanLink {
    /// Opens the port and the bus behind it. An adapter that was left open is closed first, as it wants for a new speed.
    pub async fn open(path: &Path, baud: u32, bitrate: u32) -> Result<Self, LinkError> {
        let name = path.display().to_string();
        let mut serial = SerialLink::open(&name, baud)?;
        let Some(speed) = slcan::speed(bitrate) else {
            // An address is checked when it is read; whoever makes one by hand is told here.
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "SLCAN has no such bit rate");
            return Err(LinkError::Other { doing: "open", name, source });
        };
        // What an adapter that was left open said to nobody is old.
        serial.discard_input()?;
        let commands = [b"\r".as_slice(), slcan::CLOSE, &speed, slcan::OPEN].concat();
        serial.write_all(&commands, WRITE_TIMEOUT).await?;
        Ok(Self { serial })
    }
}

impl Link for SlcanLink {
    fn name(&self) -> &str {
        self.serial.name()
    }

    /// Nothing: frames that came before a question are of use to those who listen, and an answer tells what it answers.
    fn discard_input(&mut self) -> Result<(), LinkError> {
        Ok(())
    }

    async fn write_all(&mut self, bytes: &[u8], within: Duration) -> Result<(), LinkError> {
        self.serial.write_all(bytes, within).await
    }

    async fn read_some(&mut self, into: &mut [u8], within: Duration) -> Result<usize, LinkError> {
        self.serial.read_some(into, within).await
    }
}
