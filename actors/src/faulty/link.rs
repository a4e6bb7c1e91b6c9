//! A wire to a battery that can be cut, slowed down, frozen, or made to flip a bit in what it brings.

use std::time::Duration;

use voltree_protocols::flight::Pen;
use voltree_protocols::link::{Link, LinkError};
use voltree_runtime::faults::Injected;
use voltree_runtime::{FaultKind, Faults};

use crate::fault_points::{BMS_BEFORE_DECODE, BMS_LINK};

/// A link with fault points around it.
#[derive(Debug)]
pub(crate) struct FaultyLink<L> {
    link: L,
    faults: Faults,
    device: voltree_model::DeviceId,
    pen: Pen,
}

impl<L: Link> FaultyLink<L> {
    pub(crate) fn new(link: L, faults: Faults, device: voltree_model::DeviceId, pen: Pen) -> Self {
        Self { link, faults, device, pen }
    }

    /// Whatever happens to bytes between the wire and the codec; a flipped bit is in the first of them.
    async fn spoil(&mut self, bytes: &mut [u8]) {
        let Some(tripped) = self.faults.trip(BMS_BEFORE_DECODE, &self.device) else { return };
        self.pen.injected(Injected::from(tripped).to_string());
        if tripped.kind != FaultKind::CorruptFrame {
            // What this point allows besides is a panic or a delay, and neither comes back with an error.
            self.faults.suffer(tripped).await.ok();
        } else if let Some(first) = bytes.first_mut() {
            *first ^= 0x10;
        }
    }
}

impl<L: Link> Link for FaultyLink<L> {
    fn name(&self) -> &str {
        self.link.name()
    }

    fn discard_input(&mut self) -> Result<(), LinkError> {
        self.link.discard_input()
    }

    async fn write_all(&mut self, bytes: &[u8], within: Duration) -> Result<(), LinkError> {
        self.link.write_all(bytes, within).await
    }

    async fn read_some(&mut self, into: &mut [u8], within: Duration) -> Result<usize, LinkError> {
        if let Some(tripped) = self.faults.trip(BMS_LINK, &self.device) {
            self.pen.injected(Injected::from(tripped).to_string());
            if self.faults.suffer(tripped).await.is_err() {
                return Err(LinkError::HangUp { name: self.link.name().to_owned() });
            }
        }
        let count = self.link.read_some(into, within).await?;
        if count > 0 {
            self.spoil(&mut into[..count]).await;
        }
        Ok(count)
    }
}
