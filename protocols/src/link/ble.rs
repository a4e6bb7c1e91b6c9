//! Bluetooth LE through BlueZ: a connection to one battery, whose notifications are read and whose requests are written.
//!
//! Connections are made by the [`Radio`], which shares few slots among many packs. A link holds its slot until BlueZ says
//! that the connection is gone, so that the next never finds the radio full. Dropping it disconnects, in the background
//! because dropping can't wait; [`Radio::closed`] can.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bluer::gatt::WriteOp;
use bluer::gatt::remote::{Characteristic, CharacteristicWriteRequest};
use bluer::{Device, ErrorKind};
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::{Link, LinkError};

mod find;
mod radio;

pub use find::{Heard, Sighting};
pub use radio::{Health, Radio};

/// How long BlueZ may take to end a connection.
const DISCONNECT_WITHIN: Duration = Duration::from_secs(3);
/// The payload that every device takes in one write.
const SMALLEST_WRITE: usize = 20;
/// What a GATT write spends of the negotiated unit.
const WRITE_OVERHEAD: usize = 3;

type Notifications = Pin<Box<dyn Stream<Item = Vec<u8>> + Send + Sync>>;

/// A connection that ends when it is dropped, and keeps its slot until then.
struct Connection {
    device: Device,
    slot: Option<OwnedSemaphorePermit>,
    _standing: Option<Arc<()>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let (device, slot) = (self.device.clone(), self.slot.take());
        // Without a runtime the process ends, and what it left connected is found as stale by the next one.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            // One that is gone already needs no ending, and one that can't be ended is found as stale by the next try.
            drop(timeout(DISCONNECT_WITHIN, device.disconnect()).await);
            drop(slot);
        });
    }
}

/// An open connection to a battery.
pub struct BleLink {
    name: String,
    heard: Notifications,
    write: Characteristic,
    op: WriteOp,
    chunk: usize,
    /// Bytes of a notification for which the reader had no room.
    rest: Vec<u8>,
    // Last, so that the subscription ends before the connection does.
    connection: Connection,
}

impl fmt::Debug for BleLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BleLink").field("name", &self.name).finish_non_exhaustive()
    }
}

impl BleLink {
    fn take(&mut self, bytes: Vec<u8>, into: &mut [u8]) -> usize {
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        self.rest = bytes;
        self.rest.drain(..count);
        count
    }

    async fn is_connected(&self) -> bool {
        self.connection.device.is_connected().await.unwrap_or(false)
    }

    fn hung_up(&self) -> LinkError {
        LinkError::HangUp { name: self.name.clone() }
    }
}

impl Link for BleLink {
    fn name(&self) -> &str {
        &self.name
    }

    fn discard_input(&mut self) -> Result<(), LinkError> {
        self.rest.clear();
        loop {
            match self.heard.next().now_or_never() {
                Some(Some(_)) => {}
                Some(None) => return Err(self.hung_up()),
                None => return Ok(()),
            }
        }
    }

    async fn write_all(&mut self, bytes: &[u8], within: Duration) -> Result<(), LinkError> {
        let request =
            CharacteristicWriteRequest { op_type: self.op, ..CharacteristicWriteRequest::default() };
        let write = async {
            for chunk in bytes.chunks(self.chunk) {
                self.write.write_ext(chunk, &request).await?;
            }
            Ok(())
        };
        match timeout(within, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(sorted(&self.name, "write to", error)),
            Err(_) => Err(LinkError::Timeout { name: self.name.clone(), waited_ms: within.as_millis() }),
        }
    }

    async fn read_some(&mut self, into: &mut [u8], within: Duration) -> Result<usize, LinkError> {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return Ok(self.take(rest, into));
        }
        match timeout(within, self.heard.next()).await {
            Ok(Some(bytes)) => Ok(self.take(bytes, into)),
            Ok(None) => Err(self.hung_up()),
            // Silence and a lost connection sound alike until BlueZ is asked.
            Err(_) if self.is_connected().await => Ok(0),
            Err(_) => Err(self.hung_up()),
        }
    }
}

/// Sorts what BlueZ says by what an operator can do about it.
fn sorted(name: &str, doing: &'static str, error: bluer::Error) -> LinkError {
    let name = name.to_owned();
    let text = error.to_string();
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds are BlueZ's, and most of them are not ours to cure"
    )]
    match error.kind {
        ErrorKind::NotFound | ErrorKind::DoesNotExist => LinkError::NotFound { name },
        ErrorKind::NotAuthorized | ErrorKind::NotPermitted => LinkError::Permission { name },
        ErrorKind::InProgress | ErrorKind::AlreadyConnected => LinkError::Busy { name },
        ErrorKind::ServicesUnresolved => LinkError::HangUp { name },
        _ if text.contains("ServiceUnknown")
            || text.contains("FileNotFound")
            || text.contains("NameHasNoOwner") =>
        {
            LinkError::NoBluetooth { name }
        }
        _ if text.contains("NoReply") => {
            LinkError::Timeout { name, waited_ms: DISCONNECT_WITHIN.as_millis() }
        }
        _ if text.contains("AccessDenied") => LinkError::Permission { name },
        _ if text.contains("Not connected") => LinkError::HangUp { name },
        _ => LinkError::Other { doing, name, source: std::io::Error::other(error) },
    }
}
