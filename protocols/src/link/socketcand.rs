//! A CAN bus of another machine, through its socketcand.
//!
//! Frames leave here as SLCAN text and arrive as it, whatever stands on the connection.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

use super::address::Host;
use super::tcp::TcpLink;
use super::{Link, LinkError};
use crate::bms::framing::StreamDecoder;
use crate::can::slcan::{SlcanFraming, to_slcan};
use crate::can::socketcand::{Bracketed, RAW_MODE, ServerSays, open, parse_message, send};

/// How long the server may take for each step of the greeting.
const GREETING: Duration = Duration::from_secs(3);

/// An open connection to a bus.
#[derive(Debug)]
pub struct SocketcandLink {
    tcp: TcpLink,
    incoming: StreamDecoder<Bracketed>,
    outgoing: StreamDecoder<SlcanFraming>,
    /// Text that was not taken yet.
    ready: Vec<u8>,
}

impl SocketcandLink {
    /// Connects and asks for a bus.
    pub async fn open(name: &str, host: &Host, bus: &str) -> Result<Self, LinkError> {
        let tcp = TcpLink::open(name, host).await?;
        let incoming = StreamDecoder::new(Bracketed);
        let mut link = Self { tcp, incoming, outgoing: StreamDecoder::new(SlcanFraming), ready: Vec::new() };
        link.expect(&ServerSays::Hi).await?;
        link.tcp.write_all(open(bus).as_bytes(), GREETING).await?;
        link.expect(&ServerSays::Ok).await?;
        link.tcp.write_all(RAW_MODE.as_bytes(), GREETING).await?;
        link.expect(&ServerSays::Ok).await?;
        Ok(link)
    }

    async fn expect(&mut self, wanted: &ServerSays) -> Result<(), LinkError> {
        let last = Instant::now() + GREETING;
        loop {
            while let Some(message) = self.incoming.next_frame() {
                match parse_message(&message) {
                    said if said == *wanted => return Ok(()),
                    ServerSays::Error(why) => return Err(self.refused(why)),
                    ServerSays::Hi | ServerSays::Ok | ServerSays::Frame(_) | ServerSays::Other => {}
                }
            }
            let mut buffer = [0; 256];
            let left = last.saturating_duration_since(Instant::now());
            match self.tcp.read_some(&mut buffer, left).await? {
                0 => {
                    let name = self.tcp.name().to_owned();
                    return Err(LinkError::Timeout { name, waited_ms: GREETING.as_millis() });
                }
                count => self.incoming.push(&buffer[..count]),
            }
        }
    }

    fn refused(&self, why: String) -> LinkError {
        LinkError::Other {
            doing: "open the bus of",
            name: self.tcp.name().to_owned(),
            source: io::Error::other(why),
        }
    }
}

impl Link for SocketcandLink {
    fn name(&self) -> &str {
        self.tcp.name()
    }

    /// Nothing, as on every bus.
    fn discard_input(&mut self) -> Result<(), LinkError> {
        Ok(())
    }

    async fn write_all(&mut self, bytes: &[u8], within: Duration) -> Result<(), LinkError> {
        self.outgoing.push(bytes);
        while let Some(frame) = self.outgoing.next_frame() {
            self.tcp.write_all(send(&frame).as_bytes(), within).await?;
        }
        Ok(())
    }

    async fn read_some(&mut self, into: &mut [u8], within: Duration) -> Result<usize, LinkError> {
        if self.ready.is_empty() {
            let mut buffer = [0; 512];
            let count = self.tcp.read_some(&mut buffer, within).await?;
            self.incoming.push(&buffer[..count]);
            while let Some(message) = self.incoming.next_frame() {
                if let ServerSays::Frame(frame) = parse_message(&message) {
                    self.ready.extend(to_slcan(&frame));
                }
            }
        }
        let count = self.ready.len().min(into.len());
        into[..count].copy_from_slice(&self.ready[..count]);
        self.ready.drain(..count);
        Ok(count)
    }
}
