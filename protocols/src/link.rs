//! Wires: what moves bytes between a device and a codec, and the loop that drives a poll cycle over one.
//!
//! A [`Link`] knows nothing of what its bytes mean, and [`run_cycle`] nothing of the vendor. Waiting happens only here,
//! always with a bound. A link that fails is closed by dropping it; opening it again is the caller's decision.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::time::Instant;
use voltree_model::PackReading;

use crate::bms::order::{OrderCycle, OrderError};
use crate::codec::{PollCycle, PollError};

mod address;
mod any;
#[cfg(feature = "ble")]
mod ble;
#[cfg(feature = "can")]
mod can;
pub mod gatt;
mod modbus_tcp;
mod serial;
mod slcan;
mod socketcand;
mod tcp;

pub use address::{BAUDS, BadAddress, Host, LinkAddress};
pub use any::AnyLink;
#[cfg(feature = "ble")]
pub use ble::{BleLink, Health, Heard, Radio, Sighting};
#[cfg(feature = "can")]
pub use can::CanLink;
pub use modbus_tcp::ModbusTcpLink;
pub use serial::SerialLink;
pub use slcan::SlcanLink;
pub use socketcand::SocketcandLink;
pub use tcp::TcpLink;

/// How long a request may take to leave.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a link can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no such device, or it was unplugged.
    #[error("{name} does not exist")]
    NotFound {
        /// The link.
        name: String,
    },
    /// This process may not use it.
    #[error("no permission to use {name}")]
    Permission {
        /// The link.
        name: String,
    },
    /// Somebody else uses it.
    #[error("{name} is in use by another process")]
    Busy {
        /// The link.
        name: String,
    },
    /// Nobody listens there.
    #[error("{name} refuses connections; is the other end running, and is the port right")]
    Refused {
        /// The link.
        name: String,
    },
    /// It would not connect or take the bytes in time.
    #[error("{name} did not react for {waited_ms} ms")]
    Timeout {
        /// The link.
        name: String,
        /// How long was waited.
        waited_ms: u128,
    },
    /// The other end is gone.
    #[error("{name} hung up")]
    HangUp {
        /// The link.
        name: String,
    },
    /// Nothing was heard in the time that a device has on a line which it shares.
    #[error("nothing was heard on {name} in the device's turn")]
    TurnOver {
        /// The link.
        name: String,
    },
    /// There is nobody to ask for a connection.
    #[error(
        "{name} needs BlueZ: no bluetoothd answers on the D-Bus system bus (`sudo apt install bluez dbus`; in a container mount the host's /run/dbus)"
    )]
    NoBluetooth {
        /// The link.
        name: String,
    },
    /// There is no radio, or none of this name.
    #[error("there is no such Bluetooth adapter for {name}; `bluetoothctl list` shows what BlueZ has")]
    NoAdapter {
        /// The link.
        name: String,
    },
    /// It is there and is not what was looked for.
    #[error("{name} has none of the services that batteries of this type have; is its type right")]
    NoService {
        /// The link.
        name: String,
    },
    /// This program was built without it.
    #[error("this build has no support for {name}; build it with the feature {feature}")]
    NotBuilt {
        /// The link.
        name: String,
        /// What is missing.
        feature: &'static str,
    },
    /// Something else.
    #[error("could not {doing} {name}")]
    Other {
        /// What was being done: "open", "read from", "write to".
        doing: &'static str,
        /// The link.
        name: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// A wire to one device or one bus of them.
pub trait Link: Send {
    /// What people call it, for messages.
    fn name(&self) -> &str;

    /// Throws away what has arrived and was not read.
    fn discard_input(&mut self) -> Result<(), LinkError>;

    /// Sends all bytes, or fails when that takes longer than `within`.
    fn write_all(
        &mut self,
        bytes: &[u8],
        within: Duration,
    ) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Waits no longer than `within` for bytes; 0 when none came.
    fn read_some(
        &mut self,
        into: &mut [u8],
        within: Duration,
    ) -> impl Future<Output = Result<usize, LinkError>> + Send;
}

impl<L: Link> Link for &mut L {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn discard_input(&mut self) -> Result<(), LinkError> {
        (**self).discard_input()
    }

    async fn write_all(&mut self, bytes: &[u8], within: Duration) -> Result<(), LinkError> {
        (**self).write_all(bytes, within).await
    }

    async fn read_some(&mut self, into: &mut [u8], within: Duration) -> Result<usize, LinkError> {
        (**self).read_some(into, within).await
    }
}

/// Why a poll over a link gave no reading.
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    /// The wire failed; it should be opened anew.
    #[error("the link failed")]
    Link(#[from] LinkError),
    /// The device failed; the wire may be kept.
    #[error("the device gave no reading")]
    Poll(#[from] PollError),
}

/// Drives one poll cycle from its first request to its reading.
pub async fn run_cycle<L: Link, C: PollCycle + Send + ?Sized>(
    link: &mut L,
    cycle: &mut C,
) -> Result<PackReading, CycleError> {
    let begun = Instant::now();
    let mut buffer = [0; 256];
    cycle.begin(begun.elapsed());
    while !cycle.is_done() {
        if let Some(request) = cycle.next_request(begun.elapsed()) {
            link.discard_input()?;
            link.write_all(&request, WRITE_TIMEOUT).await?;
        }
        let Some(wake) = cycle.poll_timeout() else { break };
        let within = wake.saturating_sub(begun.elapsed());
        match link.read_some(&mut buffer, within).await? {
            0 => cycle.handle_timeout(begun.elapsed()),
            count => cycle.handle_input(&buffer[..count], begun.elapsed()),
        }
    }
    Ok(cycle.finish()?)
}

/// Why an order over a link was not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum OrderFailure {
    /// The wire failed before the order left.
    #[error("the link failed")]
    NotSent(#[source] LinkError),
    /// What the device said or did, or nobody knows.
    #[error(transparent)]
    Device(#[from] OrderError),
}

/// Drives the conversation about one order to its end.
pub async fn run_order<L: Link, C: OrderCycle + Send + ?Sized>(
    link: &mut L,
    cycle: &mut C,
) -> Result<(), OrderFailure> {
    let begun = Instant::now();
    let mut buffer = [0; 256];
    loop {
        if let Some(outcome) = cycle.outcome() {
            return Ok(outcome?);
        }
        let request = cycle.next_request(begun.elapsed());
        let wake = cycle.poll_timeout().unwrap_or_default();
        let spoken = async {
            if let Some(request) = request {
                link.discard_input()?;
                link.write_all(&request, WRITE_TIMEOUT).await?;
            }
            link.read_some(&mut buffer, wake.saturating_sub(begun.elapsed())).await
        };
        match spoken.await {
            Ok(0) => cycle.handle_timeout(begun.elapsed()),
            Ok(count) => cycle.handle_input(&buffer[..count], begun.elapsed()),
            // Once it was handed out some of it may have left.
            Err(_) if cycle.is_sent() => return Err(OrderError::Unknown.into()),
            Err(error) => return Err(OrderFailure::NotSent(error)),
        }
    }
}
