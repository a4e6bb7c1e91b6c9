//! Listening to the air: whether a battery is there, and which ones are.
//!
//! BlueZ remembers devices that left long ago; only one whose strength it knows was heard in this scan.

use std::collections::BTreeMap;
use std::time::Duration;

use bluer::{Adapter, Device, DiscoveryFilter, DiscoveryTransport};
use futures::StreamExt;
use tokio::time::{Instant, interval, timeout};

use super::{Radio, sorted};
use crate::link::LinkError;
use crate::link::gatt::BleAddress;

/// How long a battery may be silent on the air before it counts as not there; they advertise once a second or more often.
const SIGHT_WITHIN: Duration = Duration::from_secs(5);
/// How often BlueZ is asked whether it has heard it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long an adapter may pause its scan; it does so while it makes a connection.
const DEAF_AFTER: Duration = Duration::from_secs(2);

/// What a device says of itself on the air.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Its name.
    pub name: Option<String>,
    /// The services that it says it has.
    pub services: Vec<u128>,
    /// Makers whose data it carries.
    pub makers: Vec<u16>,
    /// How strong it is heard, in dBm.
    pub rssi: Option<i16>,
}

/// A device and what it says of itself.
pub type Heard = BTreeMap<BleAddress, Sighting>;

impl Radio {
    /// Waits until the device is heard. Scanning is shared by all who wait, and ends with the last of them.
    ///
    /// An adapter that was switched off meanwhile scans no more, and nobody starts it again as long as one of those who
    /// wait holds the old scan: then all of it begins anew, on another session.
    pub(super) async fn in_the_air(
        &self,
        name: &str,
        adapter: &Adapter,
        device: &Device,
    ) -> Result<(), LinkError> {
        let absent = || LinkError::NotFound { name: name.to_owned() };
        let scanned = timeout(SIGHT_WITHIN, async {
            let _scan = adapter.discover_devices().await.map_err(|error| sorted(name, "scan for", error))?;
            let mut looks = interval(LOOK_EVERY);
            let mut last_scanned = Instant::now();
            while device.rssi().await.ok().flatten().is_none() {
                let now = looks.tick().await;
                if adapter.is_discovering().await.unwrap_or(false) {
                    last_scanned = now;
                } else if now.duration_since(last_scanned) >= DEAF_AFTER {
                    tracing::info!(
                        adapter = adapter.name(),
                        "scanning has ended by itself; it is begun anew"
                    );
                    self.renew().await;
                    return Err(absent());
                }
            }
            Ok(())
        });
        scanned.await.unwrap_or_else(|_| Err(absent()))
    }

    /// Listens for a while and tells who was heard.
    pub async fn listen(&self, adapter: Option<&str>, within: Duration) -> Result<Heard, LinkError> {
        const NAME: &str = "the Bluetooth adapter";
        let adapter = self.adapter(NAME, adapter).await?;
        let filter = DiscoveryFilter { transport: DiscoveryTransport::Le, ..DiscoveryFilter::default() };
        // A filter spares us classic devices; BlueZ without it hears the same batteries.
        drop(adapter.set_discovery_filter(filter).await);
        let mut scan =
            Box::pin(adapter.discover_devices().await.map_err(|error| sorted(NAME, "scan with", error))?);
        let until = Instant::now() + within;
        while let Ok(Some(_)) = tokio::time::timeout_at(until, scan.next()).await {}
        tokio::time::sleep_until(until).await;
        let mut heard = Heard::new();
        for address in adapter.device_addresses().await.map_err(|error| sorted(NAME, "scan with", error))? {
            let Ok(device) = adapter.device(address) else { continue };
            let sighting = sighting(&device).await;
            if sighting.rssi.is_some() {
                heard.insert(BleAddress(address.0), sighting);
            }
        }
        drop(scan);
        Ok(heard)
    }
}

/// What can't be read is not said: a device may leave while it is asked.
async fn sighting(device: &Device) -> Sighting {
    let services = device.uuids().await.ok().flatten().unwrap_or_default();
    let makers = device.manufacturer_data().await.ok().flatten().unwrap_or_default();
    let mut makers: Vec<_> = makers.into_keys().collect();
    makers.sort_unstable();
    Sighting {
        name: device.name().await.ok().flatten(),
        services: services.into_iter().map(|uuid| uuid.as_u128()).collect(),
        makers,
        rssi: device.rssi().await.ok().flatten(),
    }
}
