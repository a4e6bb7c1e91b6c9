//! The radio: makes connections through BlueZ, a few at a time, and cures what keeps them from being made.
//!
//! A pack takes a slot only once it was heard on the air, so that dead ones cost the others nothing; slots are given in the
//! order in which they were asked for, and every step of connecting has a bound. The radio belongs to the node and does
//! nothing by itself: whoever heals it calls [`Radio::heal`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bluer::gatt::remote::Characteristic;
use bluer::gatt::{CharacteristicFlags, WriteOp};
use bluer::{Adapter, Address, Device, Session, Uuid};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{BleLink, Connection, DISCONNECT_WITHIN, SMALLEST_WRITE, WRITE_OVERHEAD, sorted};
use crate::link::LinkError;
use crate::link::gatt::{BleAddress, Gatt};

/// How long the bus and BlueZ may take to say anything at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may take to stand; this is what a dead pack can cost another one.
const CONNECT_WITHIN: Duration = Duration::from_secs(8);
/// How long a pack waits for a slot.
const SLOT_WITHIN: Duration = Duration::from_secs(20);
/// After so many failures in a row BlueZ is made to forget the device, and with it whatever it keeps of old connections.
const FAILURES_TO_FORGET: u32 = 3;
/// After so many failures of all devices in a row, with no success between them, the adapter is switched off and on.
const FAILURES_TO_CYCLE: u32 = 6;

/// What became of connecting so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Connections made.
    pub connected: u64,
    /// Connections that were not made though the device was on the air.
    pub failed: u64,
    /// Connections without an owner that were ended.
    pub stale: u64,
    /// Devices that BlueZ was made to forget.
    pub forgotten: u64,
    /// How often an adapter was switched off and on.
    pub cycled: u64,
}

/// What is known of one adapter.
#[derive(Debug, Default)]
struct Condition {
    failures_in_a_row: u32,
    /// Held by every link that stands; switching the adapter off would end them.
    standing: Arc<()>,
}

impl Condition {
    /// Whether nothing but switching it off and on is left. As long as a link stands the adapter works.
    fn is_hopeless(&self) -> bool {
        self.failures_in_a_row >= FAILURES_TO_CYCLE && Arc::strong_count(&self.standing) == 1
    }
}

/// The way to all batteries on the air.
#[derive(Debug)]
pub struct Radio {
    connections: usize,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    session: tokio::sync::Mutex<Option<Session>>,
    health: Mutex<Health>,
    /// The adapters that were used, by name.
    adapters: Mutex<BTreeMap<String, Condition>>,
    /// Failures in a row of each device.
    failures: Mutex<BTreeMap<BleAddress, u32>>,
}

impl Default for Radio {
    fn default() -> Self {
        Self::new(Self::USUAL_CONNECTIONS)
    }
}

/// Counts a pack that waits for a slot, whatever ends its waiting.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Radio {
    /// What common adapters stand at once.
    pub const USUAL_CONNECTIONS: usize = 4;

    /// A radio with so many connections at once.
    pub fn new(connections: usize) -> Self {
        let connections = connections.max(1);
        Self {
            connections,
            slots: Arc::new(Semaphore::new(connections)),
            waiting: AtomicUsize::new(0),
            session: tokio::sync::Mutex::new(None),
            health: Mutex::default(),
            adapters: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    /// Whether a pack waits for a slot; one that has been read then should give up its own.
    pub fn is_crowded(&self) -> bool {
        self.waiting() > 0
    }

    /// How many connections stand or are being made.
    pub fn in_use(&self) -> usize {
        self.connections.saturating_sub(self.free())
    }

    /// How many more connections there may be.
    pub fn free(&self) -> usize {
        self.slots.available_permits()
    }

    /// How many packs wait for a slot.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// What became of connecting so far.
    pub fn health(&self) -> Health {
        *self.health.lock()
    }

    /// Connects to a battery and subscribes to what it says.
    pub async fn connect(
        &self,
        address: BleAddress,
        adapter: Option<&str>,
        places: &[Gatt],
    ) -> Result<BleLink, LinkError> {
        let name = format!("ble://{address}");
        let adapter = self.adapter(&name, adapter).await?;
        let device = adapter.device(Address(address.0)).map_err(|error| sorted(&name, "find", error))?;
        self.end_stale(&name, &device).await;
        self.in_the_air(&name, &adapter, &device).await?;
        let slot = self.slot(&name).await?;
        let connection = Connection { device, slot: Some(slot), _standing: None };
        let made = timeout(CONNECT_WITHIN, establish(&name, connection, places)).await;
        let mut made = made.unwrap_or_else(|_| {
            Err(LinkError::Timeout { name: name.clone(), waited_ms: CONNECT_WITHIN.as_millis() })
        });
        match &mut made {
            Ok(link) => {
                link.connection._standing = Some(self.succeeded(adapter.name(), address));
            }
            Err(_) => self.failed(&adapter, address).await,
        }
        made
    }

    /// The adapter, powered. A session that does not answer is dropped, so that the next call makes another.
    pub(super) async fn adapter(&self, name: &str, wanted: Option<&str>) -> Result<Adapter, LinkError> {
        let mut session = self.session.lock().await;
        let found = timeout(ANSWER_WITHIN, async {
            let open = match session.take() {
                Some(open) => open,
                None => Session::new().await.map_err(|_| LinkError::NoBluetooth { name: name.to_owned() })?,
            };
            let adapters = open.adapter_names().await.map_err(|error| sorted(name, "find", error))?;
            let chosen = match wanted {
                Some(wanted) => adapters.iter().find(|adapter| *adapter == wanted),
                None => adapters.first(),
            };
            let chosen = chosen.ok_or_else(|| LinkError::NoAdapter { name: name.to_owned() })?;
            let adapter = open.adapter(chosen).map_err(|error| sorted(name, "find", error))?;
            if !adapter.is_powered().await.unwrap_or(false) {
                adapter.set_powered(true).await.map_err(|error| sorted(name, "switch on", error))?;
            }
            *session = Some(open);
            Ok(adapter)
        });
        let late = LinkError::Timeout { name: name.to_owned(), waited_ms: ANSWER_WITHIN.as_millis() };
        found.await.unwrap_or(Err(late))
    }

    /// Whoever asks from now on speaks to BlueZ over a new session; links that stand keep theirs.
    pub(super) async fn renew(&self) {
        self.session.lock().await.take();
    }

    /// Says why no connection can be made at all, if so.
    pub async fn check(&self, adapter: Option<&str>) -> Result<(), LinkError> {
        self.adapter("Bluetooth", adapter).await.map(drop)
    }

    /// Waits a little while for all connections to end: a battery whose connection outlives the process is heard by nobody.
    /// Whoever is to be waited for has dropped its link. Tells how many are left; the next process finds them stale.
    pub async fn closed(&self) -> usize {
        let all = u32::try_from(self.connections).unwrap_or(u32::MAX);
        match timeout(DISCONNECT_WITHIN, self.slots.acquire_many(all)).await {
            Ok(_) => 0,
            Err(_) => self.in_use(),
        }
    }

    async fn slot(&self, name: &str) -> Result<OwnedSemaphorePermit, LinkError> {
        let busy = || LinkError::Busy { name: name.to_owned() };
        if let Ok(free) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(free);
        }
        let _waiting = Waiting::new(&self.waiting);
        timeout(SLOT_WITHIN, Arc::clone(&self.slots).acquire_owned())
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or_else(busy)
    }

    /// Ends a connection that nobody here holds: left by a process that was killed, or by BlueZ itself, it keeps the
    /// battery from advertising until somebody reboots.
    async fn end_stale(&self, name: &str, device: &Device) {
        if device.is_connected().await.unwrap_or(false) {
            tracing::info!(link = name, "ending a connection that nobody holds");
            self.health.lock().stale += 1;
            // What can't be ended is forgotten after a few failures.
            drop(timeout(ANSWER_WITHIN, device.disconnect()).await);
        }
    }

    fn succeeded(&self, adapter: &str, address: BleAddress) -> Arc<()> {
        self.health.lock().connected += 1;
        self.failures.lock().remove(&address);
        let mut adapters = self.adapters.lock();
        let condition = adapters.entry(adapter.to_owned()).or_default();
        condition.failures_in_a_row = 0;
        Arc::clone(&condition.standing)
    }

    async fn failed(&self, adapter: &Adapter, address: BleAddress) {
        self.health.lock().failed += 1;
        self.adapters.lock().entry(adapter.name().to_owned()).or_default().failures_in_a_row += 1;
        let of_device = {
            let mut failures = self.failures.lock();
            let of_device = failures.entry(address).or_default();
            *of_device += 1;
            *of_device
        };
        if of_device.is_multiple_of(FAILURES_TO_FORGET) {
            self.health.lock().forgotten += 1;
            tracing::info!(%address, failures = of_device, "making BlueZ forget a device that can't be connected");
            // It is found anew by the next scan; if BlueZ knows it no more, so much the better.
            drop(timeout(ANSWER_WITHIN, adapter.remove_device(Address(address.0))).await);
        }
    }

    /// Switches every adapter off and on with which too many connections in a row have failed and none stands; tells how
    /// many those were. A dead pack is to cost the living ones nothing.
    pub async fn heal(&self) -> Result<usize, LinkError> {
        let hopeless: Vec<String> = {
            let adapters = self.adapters.lock();
            adapters
                .iter()
                .filter(|(_, condition)| condition.is_hopeless())
                .map(|(name, _)| name.clone())
                .collect()
        };
        for name in &hopeless {
            self.cycle(name).await?;
        }
        Ok(hopeless.len())
    }

    async fn cycle(&self, name: &str) -> Result<(), LinkError> {
        const NAME: &str = "the Bluetooth adapter";
        // Whatever comes of it, the next try is due after as many failures again.
        if let Some(condition) = self.adapters.lock().get_mut(name) {
            condition.failures_in_a_row = 0;
        }
        let adapter = self.adapter(NAME, Some(name)).await?;
        let cycle = async {
            adapter.set_powered(false).await?;
            adapter.set_powered(true).await
        };
        match timeout(ANSWER_WITHIN * 2, cycle).await {
            Ok(Ok(())) => {
                self.health.lock().cycled += 1;
                tracing::warn!(adapter = name, "switched off and on, as no connection could be made");
                Ok(())
            }
            Ok(Err(error)) => Err(sorted(NAME, "switch", error)),
            Err(_) => Err(LinkError::Timeout { name: NAME.to_owned(), waited_ms: ANSWER_WITHIN.as_millis() }),
        }
    }
}

async fn establish(name: &str, connection: Connection, places: &[Gatt]) -> Result<BleLink, LinkError> {
    let device = &connection.device;
    device.connect().await.map_err(|error| sorted(name, "connect to", error))?;
    let characteristics = characteristics(device).await.map_err(|error| sorted(name, "look into", error))?;
    let mut refused = None;
    for place in places {
        let of = |uuid, wanted| {
            let found = characteristics.iter().find(|found| {
                found.service == Uuid::from_u128(place.service)
                    && found.uuid == Uuid::from_u128(uuid)
                    && found.can(wanted)
            });
            found.map(|found| (found.characteristic.clone(), found.flags))
        };
        let (Some((notify, _)), Some((write, flags))) =
            (of(place.notify, Way::Out), of(place.write, Way::In))
        else {
            continue;
        };
        match notify.notify().await {
            Ok(heard) => {
                let op = if flags.write_without_response { WriteOp::Command } else { WriteOp::Request };
                let mtu = write.mtu().await.unwrap_or_default();
                let chunk = mtu.saturating_sub(WRITE_OVERHEAD).max(SMALLEST_WRITE);
                let (name, heard) = (name.to_owned(), Box::pin(heard));
                return Ok(BleLink { name, heard, write, op, chunk, rest: Vec::new(), connection });
            }
            Err(error) => refused = Some(sorted(name, "subscribe to", error)),
        }
    }
    Err(refused.unwrap_or_else(|| LinkError::NoService { name: name.to_owned() }))
}

/// The way of bytes through a characteristic, as the device sees it.
#[derive(Clone, Copy)]
enum Way {
    In,
    Out,
}

struct Found {
    service: Uuid,
    uuid: Uuid,
    flags: CharacteristicFlags,
    characteristic: Characteristic,
}

impl Found {
    /// Two characteristics may share a UUID, one for each way.
    const fn can(&self, way: Way) -> bool {
        match way {
            Way::In => self.flags.write || self.flags.write_without_response,
            Way::Out => self.flags.notify || self.flags.indicate,
        }
    }
}

async fn characteristics(device: &Device) -> bluer::Result<Vec<Found>> {
    let mut all = Vec::new();
    for service in device.services().await? {
        let of = service.uuid().await?;
        for characteristic in service.characteristics().await? {
            let (uuid, flags) = (characteristic.uuid().await?, characteristic.flags().await?);
            all.push(Found { service: of, uuid, flags, characteristic });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_hopeless_only_while_nothing_stands_on_it() {
        let radio = Radio::default();
        let address: BleAddress = "C8:47:80:00:00:01".parse().unwrap();
        let hopeless = |name: &str| radio.adapters.lock().get(name).is_some_and(Condition::is_hopeless);
        let fail = |name: &str, times| {
            let mut adapters = radio.adapters.lock();
            adapters.entry(name.to_owned()).or_default().failures_in_a_row += times;
        };
        let standing = radio.succeeded("hci0", address);
        fail("hci0", FAILURES_TO_CYCLE);
        fail("hci1", FAILURES_TO_CYCLE - 1);
        assert!(!hopeless("hci0") && !hopeless("hci1"), "one has a link, the other failed too seldom");
        drop(standing);
        fail("hci1", 1);
        assert!(hopeless("hci0") && hopeless("hci1"));
        drop(radio.succeeded("hci1", address));
        assert!(hopeless("hci0") && !hopeless("hci1"), "adapters are looked at one by one");
        assert_eq!((radio.in_use(), radio.waiting()), (0, 0));
    }
}
