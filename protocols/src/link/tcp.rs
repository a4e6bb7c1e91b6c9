//! A serial line behind a gateway on the network that passes on its bytes (raw TCP, as ser2net and most RS485-to-Ethernet
//! boxes do).
//!
//! The gateway sets the line's speed. A connection that its other end closes is a hang-up; one that only goes quiet
//! can't be told from a silent board, so whoever polls must decide when to connect anew.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::address::Host;
use super::{Link, LinkError};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An open connection.
#[derive(Debug)]
pub struct TcpLink {
    name: String,
    stream: TcpStream,
}

impl TcpLink {
    /// Connects; `name` is what people call it. The connection is closed by dropping the link.
    pub async fn open(name: &str, host: &Host) -> Result<Self, LinkError> {
        let name = name.to_owned();
        let connecting = TcpStream::connect((host.name.as_str(), host.port));
        let stream = match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => return Err(connect_error(name, source)),
            Err(_) => return Err(LinkError::Timeout { name, waited_ms: CONNECT_TIMEOUT.as_millis() }),
        };
        // Questions are short and wait for their answers: to collect bytes first would only delay them.
        match stream.set_nodelay(true) {
            Ok(()) => Ok(Self { name, stream }),
            Err(source) => Err(LinkError::Other { doing: "open", name, source }),
        }
    }

    fn io_error(&self, doing: &'static str, source: io::Error) -> LinkError {
        let name = self.name.clone();
        if hung_up(&source) { LinkError::HangUp { name } } else { LinkError::Other { doing, name, source } }
    }
}

fn hung_up(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let over = [Kind::ConnectionReset, Kind::ConnectionAborted, Kind::BrokenPipe, Kind::NotConnected];
    over.contains(&error.kind())
}

fn connect_error(name: String, source: io::Error) -> LinkError {
    if source.kind() == io::ErrorKind::ConnectionRefused {
        return LinkError::Refused { name };
    }
    // What the resolver says of a name that nobody has is of no kind of its own.
    if source.raw_os_error().is_none() {
        return LinkError::NotFound { name };
    }
    LinkError::Other { doing: "connect to", name, source }
}

impl Link for TcpLink {
    fn name(&self) -> &str {
        &self.name
    }

    fn discard_input(&mut self) -> Result<(), LinkError> {
        let mut waste = [0; 256];
        loop {
            match self.stream.try_read(&mut waste) {
                Ok(0) => return Err(LinkError::HangUp { name: self.name.clone() }),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(source) => return Err(self.io_error("read from", source)),
            }
        }
    }

    async fn write_all(&mut self, bytes: &[u8], within: Duration) -> Result<(), LinkError> {
        match timeout(within, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(self.io_error("write to", source)),
            Err(_) => Err(LinkError::Timeout { name: self.name.clone(), waited_ms: within.as_millis() }),
        }
    }

    async fn read_some(&mut self, into: &mut [u8], within: Duration) -> Result<usize, LinkError> {
        use tokio::io::AsyncReadExt as _;
        match timeout(within, self.stream.read(into)).await {
            Ok(Ok(0)) => Err(LinkError::HangUp { name: self.name.clone() }),
            Ok(Ok(count)) => Ok(count),
            Ok(Err(source)) => Err(self.io_error("read from", source)),
            Err(_) => Ok(0),
        }
    }
}
