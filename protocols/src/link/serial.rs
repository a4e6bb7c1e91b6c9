//! Serial ports (UART, RS485 adapters, ptys) through tokio-serial: 8N1, no flow control, opened for us alone.
//!
//! Errors are sorted by what an operator can do about them. Opening and configuring are short system calls and are done
//! in place; reading and writing wait with a bound. Must be opened inside a tokio runtime with IO enabled.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_serial::{
    ClearBuffer, DataBits, ErrorKind, FlowControl, Parity, SerialPort, SerialStream, StopBits,
};

use super::{Link, LinkError};

/// An open serial port.
#[derive(Debug)]
pub struct SerialLink {
    path: String,
    port: SerialStream,
}

impl SerialLink {
    /// Opens a port; it is closed by dropping the link.
    pub fn open(path: &str, baud: u32) -> Result<Self, LinkError> {
        let builder = tokio_serial::new(path, baud)
            .data_bits(DataBits::Eight)
            .parity(Parity::None)
            .stop_bits(StopBits::One)
            .flow_control(FlowControl::None);
        match SerialStream::open(&builder) {
            Ok(port) => Ok(Self { path: path.to_owned(), port }),
            Err(error) => Err(open_error(path, error)),
        }
    }

    fn io_error(&self, doing: &'static str, source: io::Error) -> LinkError {
        let name = self.path.clone();
        if hung_up(&source) { LinkError::HangUp { name } } else { LinkError::Other { doing, name, source } }
    }
}

fn open_error(path: &str, error: tokio_serial::Error) -> LinkError {
    let name = path.to_owned();
    match error.kind {
        // The crate's name for a lock that another process holds; a missing file is `Io(NotFound)`.
        ErrorKind::NoDevice => LinkError::Busy { name },
        ErrorKind::Io(io::ErrorKind::NotFound) => LinkError::NotFound { name },
        ErrorKind::Io(io::ErrorKind::PermissionDenied) => LinkError::Permission { name },
        ErrorKind::Io(_) | ErrorKind::InvalidInput | ErrorKind::Unknown => {
            LinkError::Other { doing: "open", name, source: error.into() }
        }
    }
}

/// EIO is what a tty answers once its other end is gone, ENXIO and ENODEV what an unplugged adapter does.
fn hung_up(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    const ENXIO: i32 = 6;
    const ENODEV: i32 = 19;
    matches!(error.raw_os_error(), Some(EIO | ENXIO | ENODEV)) || error.kind() == io::ErrorKind::BrokenPipe
}

impl Link for SerialLink {
    fn name(&self) -> &str {
        &self.path
    }

    fn discard_input(&mut self) -> Result<(), LinkError> {
        // An open tty can always be flushed; that it can't means that its other end is gone.
        self.port.clear(ClearBuffer::Input).map_err(|_| LinkError::HangUp { name: self.path.clone() })
    }

    async fn write_all(&mut self, bytes: &[u8], within: Duration) -> Result<(), LinkError> {
        match timeout(within, self.port.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(self.io_error("write to", source)),
            Err(_) => Err(LinkError::Timeout { name: self.path.clone(), waited_ms: within.as_millis() }),
        }
    }

    async fn read_some(&mut self, into: &mut [u8], within: Duration) -> Result<usize, LinkError> {
        match timeout(within, self.port.read(into)).await {
            Ok(Ok(0)) => Err(LinkError::HangUp { name: self.path.clone() }),
            Ok(Ok(count)) => Ok(count),
            Ok(Err(source)) => Err(self.io_error("read from", source)),
            Err(_) => Ok(0),
        }
    }
}
