//! A CAN interface of this machine through SocketCAN. Its speed is the system's affair (`ip link set can0 up type can
//! bitrate 250000`).
//!
//! Frames leave here as SLCAN text and arrive as it. Remote frames, error frames and CAN FD are passed over.

use std::io;
use std::time::Duration;

use socketcan::tokio::CanSocket;
use socketcan::{EmbeddedFrame as _, ExtendedId, Frame as _, Id, StandardId};
use tokio::time::timeout;

use super::{Link, LinkError};
use crate::bms::framing::StreamDecoder;
use crate::can::slcan::{SlcanFraming, to_slcan};
use crate::can::{CanFrame, CanId};

/// An open interface.
pub struct CanLink {
    name: String,
    socket: CanSocket,
    outgoing: StreamDecoder<SlcanFraming>,
    /// Text that was not taken yet.
    ready: Vec<u8>,
}

impl std::fmt::Debug for CanLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CanLink").field("name", &self.name).finish_non_exhaustive()
    }
}

impl CanLink {
    /// Opens an interface by its name.
    pub fn open(name: &str, interface: &str) -> Result<Self, LinkError> {
        let name = name.to_owned();
        match CanSocket::open(interface) {
            Ok(socket) => {
                Ok(Self { name, socket, outgoing: StreamDecoder::new(SlcanFraming), ready: Vec::new() })
            }
            Err(source) => Err(open_error(name, source)),
        }
    }

    fn io_error(&self, doing: &'static str, source: io::Error) -> LinkError {
        const ENETDOWN: i32 = 100;
        let name = self.name.clone();
        match source.raw_os_error() {
            Some(ENETDOWN | ENODEV | ENXIO) => LinkError::HangUp { name },
            _ => LinkError::Other { doing, name, source },
        }
    }
}

const ENXIO: i32 = 6;
const ENODEV: i32 = 19;

fn open_error(name: String, source: io::Error) -> LinkError {
    match source.raw_os_error() {
        Some(ENODEV | ENXIO) => LinkError::NotFound { name },
        _ if source.kind() == io::ErrorKind::PermissionDenied => LinkError::Permission { name },
        _ => LinkError::Other { doing: "open", name, source },
    }
}

fn to_system(frame: &CanFrame) -> Option<socketcan::CanFrame> {
    let id = match frame.id() {
        CanId::Standard(id) => Id::Standard(StandardId::new(id)?),
        CanId::Extended(id) => Id::Extended(ExtendedId::new(id)?),
    };
    socketcan::CanFrame::new(id, frame.data())
}

fn from_system(frame: &socketcan::CanFrame) -> Option<CanFrame> {
    let socketcan::CanFrame::Data(frame) = frame else { return None };
    CanFrame::new(CanId::new(frame.raw_id(), frame.is_extended())?, frame.data())
}

impl Link for CanLink {
    fn name(&self) -> &str {
        &self.name
    }

    /// Nothing, as on every bus.
    fn discard_input(&mut self) -> Result<(), LinkError> {
        Ok(())
    }

    async fn write_all(&mut self, bytes: &[u8], within: Duration) -> Result<(), LinkError> {
        self.outgoing.push(bytes);
        while let Some(frame) = self.outgoing.next_frame() {
            let Some(frame) = to_system(&frame) else { continue };
            match timeout(within, self.socket.write_frame(frame)).await {
                Ok(Ok(())) => {}
                Ok(Err(source)) => return Err(self.io_error("write to", source)),
                Err(_) => {
                    return Err(LinkError::Timeout {
                        name: self.name.clone(),
                        waited_ms: within.as_millis(),
                    });
                }
            }
        }
        Ok(())
    }

    async fn read_some(&mut self, into: &mut [u8], within: Duration) -> Result<usize, LinkError> {
        if self.ready.is_empty() {
            match timeout(within, self.socket.read_frame()).await {
                Ok(Ok(frame)) => self.ready.extend(from_system(&frame).iter().flat_map(to_slcan)),
                Ok(Err(source)) => return Err(self.io_error("read from", source)),
                Err(_) => return Ok(0),
            }
        }
        let count = self.ready.len().min(into.len());
        into[..count].copy_from_slice(&self.ready[..count]);
        self.ready.drain(..count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn an_interface_that_is_not_there_is_not_found() {
        let error = CanLink::open("can://no-such-can0", "no-such-can0").unwrap_err();
        // A kernel without CAN has no family for it at all.
        let no_family =
            matches!(&error, LinkError::Other { source, .. } if source.raw_os_error() == Some(97));
        assert!(no_family || matches!(error, LinkError::NotFound { .. }), "{error:?}");
    }

    proptest! {
        #[test]
        fn frames_survive_the_systems_form(id: u32, extended: bool, data in proptest::collection::vec(any::<u8>(), 0..=8)) {
            let id = CanId::new(id % (1 << if extended { 29 } else { 11 }), extended).unwrap();
            let frame = CanFrame::new(id, &data).unwrap();
            prop_assert_eq!(from_system(&to_system(&frame).unwrap()), Some(frame));
        }
    }
}
