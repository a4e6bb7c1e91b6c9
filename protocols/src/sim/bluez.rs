//! A BlueZ that is not there: the objects of bluetoothd on a D-Bus of one's own, with simulated batteries in the air.
//!
//! Whoever speaks to BlueZ (bluer, bleak, bluetoothctl) speaks to this. Must never be put on a bus where a real bluetoothd
//! could be meant: it takes the name org.bluez only where nobody has it. One task serves the bus until its handle is dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dbus::channel::{Channel, MatchingReceiver};
use dbus::message::{MatchRule, Message};
use dbus::nonblock::SyncConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::device::{DeviceSide, SimStats};
use super::serve::{LinePace, Mode, Server, Terms};
use crate::link::gatt::{BleAddress, Gatt};

mod air;
mod objects;

use air::{Air, Event};

/// A battery in the air.
pub struct AirDevice {
    /// Its address.
    pub address: BleAddress,
    /// The name that it advertises.
    pub name: String,
    /// Data of makers that it advertises.
    pub makers: BTreeMap<u16, Vec<u8>>,
    /// Where its bytes go in and out.
    pub gatt: Gatt,
    /// How many bytes its module carries to the air at once.
    pub packet: usize,
    /// It is heard, and connecting to it never ends.
    pub dead: bool,
    /// The board.
    pub board: Box<dyn DeviceSide>,
}

/// How badly it goes, as shares.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AirFaults {
    /// Connections that are refused.
    pub refuse: f64,
    /// Packets in the middle of which the connection is cut.
    pub cut: f64,
    /// Connections that the adapter stands at once; any number where this is zero.
    pub most: u64,
    /// When the adapter is switched off and on once by somebody else, as when its USB port is reset.
    pub power_cycle_after: Option<Duration>,
    /// No connection is made until the adapter is switched off and on, as when its firmware hangs.
    pub wedged: bool,
    /// Decides which.
    pub seed: u64,
}

impl fmt::Debug for AirDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AirDevice")
            .field("address", &self.address)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What was counted of one battery.
#[derive(Debug, Default)]
pub struct AirStats {
    /// What the board was asked and answered.
    pub board: Arc<SimStats>,
    pub(super) connects: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) cuts: AtomicU64,
}

impl AirStats {
    /// Connections made.
    pub fn connects(&self) -> u64 {
        self.connects.load(Ordering::Acquire)
    }

    /// Connections refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Acquire)
    }

    /// Connections cut in the middle of a packet.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }
}

/// Counts that belong to the adapter.
#[derive(Debug, Default)]
pub struct AdapterStats {
    pub(super) standing: AtomicU64,
    pub(super) peak: AtomicU64,
    pub(super) power_cycles: AtomicU64,
}

impl AdapterStats {
    /// Connections that stand now.
    pub fn standing(&self) -> u64 {
        self.standing.load(Ordering::Acquire)
    }

    /// The most connections that stood at once.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Acquire)
    }

    /// How often it was switched off.
    pub fn power_cycles(&self) -> u64 {
        self.power_cycles.load(Ordering::Acquire)
    }
}

/// A running simulated BlueZ; it leaves the bus when it is dropped.
#[derive(Debug)]
pub struct BluezSim {
    stats: Vec<Arc<AirStats>>,
    adapter: Arc<AdapterStats>,
    started: Instant,
    _mode: watch::Sender<Mode>,
    _tasks: JoinSet<()>,
}

impl BluezSim {
    /// Takes the name of BlueZ on the bus of this address and serves the batteries there.
    pub async fn spawn(bus: &str, devices: Vec<AirDevice>, faults: AirFaults) -> io::Result<Self> {
        let connection = |error: dbus::Error| io::Error::other(error.to_string());
        let mut channel = Channel::open_private(bus).map_err(connection)?;
        channel.register().map_err(connection)?;
        let (resource, bus) =
            dbus_tokio::connection::from_channel::<SyncConnection>(channel).map_err(connection)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async {
            // Ends with the bus, and then nobody is there to be served.
            resource.await;
        });
        let (events, heard) = mpsc::unbounded_channel();
        let (mode, watched) = watch::channel(Mode::Serving);
        let started = Instant::now();
        let (adapter, mut stats, mut batteries) = (Arc::default(), Vec::new(), Vec::new());
        for (index, device) in devices.into_iter().enumerate() {
            let counted = Arc::new(AirStats::default());
            let terms = Terms {
                pace: LinePace { baud: 1_000_000, ..LinePace::default() },
                stats: Arc::clone(&counted.board),
                mode: watched.clone(),
                started,
            };
            let (inside, outside) = tokio::io::duplex(16 * 1024);
            let (hears, says) = tokio::io::split(inside);
            let AirDevice { address, name, makers, gatt, packet, dead, board } = device;
            tasks.spawn(async move {
                // It ends with its pipe.
                drop(Server { heard: hears, said: says, device: board, terms }.run().await);
            });
            let (said, to_board) = tokio::io::split(outside);
            tasks.spawn(carry(said, vec![0; packet], index, events.clone()));
            let (requests, asked) = mpsc::unbounded_channel();
            tasks.spawn(pour(asked, to_board));
            stats.push(Arc::clone(&counted));
            batteries.push(air::Battery::new(address, name, makers, gatt, dead, requests, counted));
        }
        let air = Air::new(Arc::clone(&bus), batteries, faults, Arc::clone(&adapter), events.clone());
        tasks.spawn(air.serve(heard));
        let calls = events;
        bus.start_receive(
            MatchRule::new_method_call(),
            Box::new(move |call: Message, _| calls.send(Event::Call(call)).is_ok()),
        );
        bus.request_name("org.bluez", false, false, true).await.map_err(connection)?;
        Ok(Self { stats, adapter, started, _mode: mode, _tasks: tasks })
    }

    /// What was counted of each battery, in the order in which they were given.
    pub fn stats(&self) -> &[Arc<AirStats>] {
        &self.stats
    }

    /// What was counted of the adapter.
    pub fn adapter(&self) -> &AdapterStats {
        &self.adapter
    }

    /// How long the batteries have been served.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Carries what a board says to the air, in packets.
async fn carry(
    mut said: impl AsyncReadExt + Unpin,
    mut packet: Vec<u8>,
    index: usize,
    events: mpsc::UnboundedSender<Event>,
) {
    while let Ok(count @ 1..) = said.read(&mut packet).await {
        if events.send(Event::Said(index, packet[..count].to_vec())).is_err() {
            return;
        }
    }
}

/// Pours what was written to a characteristic into the board.
async fn pour(mut asked: mpsc::UnboundedReceiver<Vec<u8>>, mut board: impl AsyncWriteExt + Unpin) {
    while let Some(bytes) = asked.recv().await {
        if board.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
