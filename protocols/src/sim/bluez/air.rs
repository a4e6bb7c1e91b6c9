//! The simulated adapter and the batteries around it: calls in, replies and signals out.
//!
//! Every change of state goes through here, one event after the other. What takes time (a connection, a first
//! advertisement) comes back as an event of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dbus::arg::Variant;
use dbus::channel::Sender as _;
use dbus::message::Message;
use dbus::nonblock::SyncConnection;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::objects::{Boxed, BoxedProps, Interfaces, Prop, Props, boxed, boxed_all, uuid};
use super::{AdapterStats, AirFaults, AirStats};
use crate::link::gatt::{BleAddress, Gatt};

const ADAPTER_PATH: &str = "/org/bluez/hci0";
const ADAPTER: &str = "org.bluez.Adapter1";
const DEVICE: &str = "org.bluez.Device1";
const SERVICE: &str = "org.bluez.GattService1";
const CHARACTERISTIC: &str = "org.bluez.GattCharacteristic1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const MANAGER: &str = "org.freedesktop.DBus.ObjectManager";

/// From the start of a scan to the first advertisement, and from a call to a connection.
const ADVERTISED_AFTER: Duration = Duration::from_millis(120);
const CONNECTED_AFTER: Duration = Duration::from_millis(80);

#[derive(Debug)]
pub(super) enum Event {
    Call(Message),
    Said(usize, Vec<u8>),
    Advertise,
    Connect(usize),
    PowerCycle,
}

#[derive(Debug)]
pub(super) struct Battery {
    path: String,
    address: BleAddress,
    name: String,
    makers: BTreeMap<u16, Vec<u8>>,
    gatt: Gatt,
    dead: bool,
    requests: mpsc::UnboundedSender<Vec<u8>>,
    stats: Arc<AirStats>,
    known: bool,
    rssi: Option<i16>,
    /// The call that asked for a connection, until there is one.
    connecting: Option<Message>,
    connected: bool,
    notifying: bool,
}

impl Battery {
    pub(super) fn new(
        address: BleAddress,
        name: String,
        makers: BTreeMap<u16, Vec<u8>>,
        gatt: Gatt,
        dead: bool,
        requests: mpsc::UnboundedSender<Vec<u8>>,
        stats: Arc<AirStats>,
    ) -> Self {
        let path = format!("{ADAPTER_PATH}/dev_{}", address.to_string().replace(':', "_"));
        Self {
            path,
            address,
            name,
            makers,
            gatt,
            dead,
            requests,
            stats,
            known: false,
            rssi: None,
            connecting: None,
            connected: false,
            notifying: false,
        }
    }

    fn device(&self) -> Props {
        let mut props = Props::from([
            ("Address", Prop::text(self.address.to_string())),
            ("AddressType", Prop::text("public")),
            ("Name", Prop::text(&self.name)),
            ("Alias", Prop::text(&self.name)),
            ("Adapter", Prop::Path(ADAPTER_PATH.to_owned())),
            ("UUIDs", Prop::Texts(vec![uuid(self.gatt.service)])),
            ("Paired", Prop::Flag(false)),
            ("Bonded", Prop::Flag(false)),
            ("Trusted", Prop::Flag(false)),
            ("Blocked", Prop::Flag(false)),
            ("LegacyPairing", Prop::Flag(false)),
            ("Connected", Prop::Flag(self.connected)),
            ("ServicesResolved", Prop::Flag(self.connected)),
        ]);
        if !self.makers.is_empty() {
            props.insert("ManufacturerData", Prop::Makers(self.makers.clone()));
        }
        if let Some(rssi) = self.rssi {
            props.insert("RSSI", Prop::Strength(rssi));
        }
        props
    }

    fn service_path(&self) -> String {
        format!("{}/service0010", self.path)
    }

    fn notify_path(&self) -> String {
        format!("{}/char0011", self.service_path())
    }

    /// One characteristic both ways where the UUID is one.
    fn write_path(&self) -> String {
        if self.gatt.notify == self.gatt.write {
            self.notify_path()
        } else {
            format!("{}/char0014", self.service_path())
        }
    }

    fn characteristic(&self, bits: u128, flags: &[&str]) -> Props {
        Props::from([
            ("UUID", Prop::text(uuid(bits))),
            ("Service", Prop::Path(self.service_path())),
            ("Value", Prop::Bytes(Vec::new())),
            ("Notifying", Prop::Flag(self.notifying)),
            ("MTU", Prop::Unit(131)),
            ("Flags", Prop::Texts(flags.iter().map(|&flag| flag.to_owned()).collect())),
        ])
    }

    fn gatt_objects(&self) -> BTreeMap<String, Interfaces> {
        let service = Props::from([
            ("UUID", Prop::text(uuid(self.gatt.service))),
            ("Primary", Prop::Flag(true)),
            ("Device", Prop::Path(self.path.clone())),
            ("Includes", Prop::Texts(Vec::new())),
        ]);
        let mut objects = BTreeMap::from([(self.service_path(), Interfaces::from([(SERVICE, service)]))]);
        let mut add = |path, bits, flags: &[&str]| {
            objects.insert(path, Interfaces::from([(CHARACTERISTIC, self.characteristic(bits, flags))]));
        };
        if self.gatt.notify == self.gatt.write {
            add(self.notify_path(), self.gatt.notify, &["notify", "write-without-response"]);
        } else {
            add(self.notify_path(), self.gatt.notify, &["notify"]);
            add(self.write_path(), self.gatt.write, &["write", "write-without-response"]);
        }
        objects
    }

    fn objects(&self) -> BTreeMap<String, Interfaces> {
        if !self.known {
            return BTreeMap::new();
        }
        let mut objects = if self.connected { self.gatt_objects() } else { BTreeMap::new() };
        objects.insert(self.path.clone(), Interfaces::from([(DEVICE, self.device())]));
        objects
    }
}

pub(super) struct Air {
    bus: Arc<SyncConnection>,
    batteries: Vec<Battery>,
    faults: AirFaults,
    random: fastrand::Rng,
    stats: Arc<AdapterStats>,
    later: mpsc::UnboundedSender<Event>,
    tasks: JoinSet<()>,
    powered: bool,
    /// Who scans.
    scanning: BTreeSet<String>,
    /// Whether the next advertisement is on its way.
    advertising: bool,
}

/// What a call is answered with.
type Answer = Result<Message, (&'static str, String)>;

fn failed(why: &str) -> (&'static str, String) {
    ("org.bluez.Error.Failed", why.to_owned())
}

impl Air {
    pub(super) fn new(
        bus: Arc<SyncConnection>,
        batteries: Vec<Battery>,
        faults: AirFaults,
        stats: Arc<AdapterStats>,
        later: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let random = fastrand::Rng::with_seed(faults.seed);
        let (tasks, scanning) = (JoinSet::new(), BTreeSet::new());
        Self {
            bus,
            batteries,
            faults,
            random,
            stats,
            later,
            tasks,
            powered: true,
            scanning,
            advertising: false,
        }
    }

    pub(super) async fn serve(mut self, mut events: mpsc::UnboundedReceiver<Event>) {
        if let Some(wait) = self.faults.power_cycle_after {
            self.after(wait, Event::PowerCycle);
        }
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.handle(event),
                    None => return,
                },
                Some(_ended) = self.tasks.join_next() => {}
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Call(call) => self.called(call),
            Event::Said(index, bytes) => self.said(index, bytes),
            Event::Advertise => self.advertise(),
            Event::PowerCycle => {
                self.power(false);
                self.power(true);
            }
            Event::Connect(index) => {
                // Whoever asked may have thought better of it.
                if let Some(call) = self.batteries[index].connecting.take() {
                    let answer = self.connect(index, &call);
                    self.answer(&call, answer);
                }
            }
        }
    }

    fn after(&mut self, wait: Duration, event: Event) {
        let later = self.later.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep_until(tokio::time::Instant::now() + wait).await;
            // Nobody listens only once the simulator ends.
            drop(later.send(event));
        });
    }

    fn send(&self, message: Message) {
        // A bus that is gone is noticed by the task that reads it.
        self.bus.send(message).ok();
    }

    fn answer(&self, call: &Message, answer: Answer) {
        self.send(match answer {
            Ok(reply) => reply,
            Err((name, text)) => {
                let text = std::ffi::CString::new(text).unwrap_or_default();
                call.error(&dbus::strings::ErrorName::from(name), &text)
            }
        });
    }

    fn objects(&self) -> BTreeMap<String, Interfaces> {
        let adapter = Props::from([
            ("Address", Prop::text("00:00:00:00:00:01")),
            ("AddressType", Prop::text("public")),
            ("Name", Prop::text("simulated")),
            ("Alias", Prop::text("simulated")),
            ("Class", Prop::Class(0)),
            ("Powered", Prop::Flag(self.powered)),
            ("Discoverable", Prop::Flag(false)),
            ("Pairable", Prop::Flag(false)),
            ("Discovering", Prop::Flag(!self.scanning.is_empty())),
            ("UUIDs", Prop::Texts(Vec::new())),
            ("Roles", Prop::Texts(vec!["central".to_owned()])),
        ]);
        let mut objects = BTreeMap::from([(ADAPTER_PATH.to_owned(), Interfaces::from([(ADAPTER, adapter)]))]);
        objects.extend(self.batteries.iter().flat_map(Battery::objects));
        objects
    }

    fn called(&mut self, call: Message) {
        let path = call.path().map(|path| path.to_string()).unwrap_or_default();
        let interface = call.interface().map(|name| name.to_string()).unwrap_or_default();
        let member = call.member().map(|name| name.to_string()).unwrap_or_default();
        let answer = match (interface.as_str(), member.as_str()) {
            (MANAGER, "GetManagedObjects") => {
                let objects = self.objects().into_iter();
                let objects: HashMap<dbus::Path<'static>, _> = objects
                    .filter_map(|(path, interfaces)| {
                        Some((dbus::Path::new(path).ok()?, boxed_all(&interfaces)))
                    })
                    .collect();
                Ok(call.method_return().append1(objects))
            }
            (PROPERTIES, _) => self.property(&call, &path, &member),
            (ADAPTER, _) if path == ADAPTER_PATH => self.adapter_called(&call, &member),
            (DEVICE, "Connect") => match self.battery(&path) {
                Some(index) if self.batteries[index].connecting.is_some() => {
                    Err(("org.bluez.Error.InProgress", "Operation already in progress".to_owned()))
                }
                Some(index) => {
                    self.batteries[index].connecting = Some(call);
                    // A dead one never answers.
                    if !self.batteries[index].dead {
                        self.after(CONNECTED_AFTER, Event::Connect(index));
                    }
                    return;
                }
                None => Err(unknown(&path)),
            },
            (DEVICE, "Disconnect") => match self.battery(&path) {
                Some(index) => {
                    self.disconnect(index);
                    Ok(call.method_return())
                }
                None => Err(unknown(&path)),
            },
            (CHARACTERISTIC, _) => self.characteristic_called(&call, &path, &member),
            _ => Err(("org.freedesktop.DBus.Error.UnknownMethod", format!("{interface}.{member}"))),
        };
        if !call.get_no_reply() {
            self.answer(&call, answer);
        }
    }

    fn battery(&self, path: &str) -> Option<usize> {
        self.batteries.iter().position(|battery| battery.known && path.starts_with(&battery.path))
    }

    fn property(&mut self, call: &Message, path: &str, member: &str) -> Answer {
        let objects = self.objects();
        let interfaces = objects.get(path).ok_or_else(|| unknown(path))?;
        let (interface, name): (Option<String>, Option<String>) = call.get2();
        let interface = interface.unwrap_or_default();
        let none = || ("org.freedesktop.DBus.Error.InvalidArgs", "no such property".to_owned());
        let props = interfaces.get(interface.as_str()).ok_or_else(none)?;
        match member {
            "GetAll" => Ok(call.method_return().append1(boxed(props))),
            "Get" => {
                let prop = props.get(name.unwrap_or_default().as_str()).ok_or_else(none)?;
                Ok(call.method_return().append1(prop.boxed()))
            }
            _ => {
                let (_, _, value): (Option<String>, Option<String>, Option<Variant<bool>>) = call.get3();
                if name.as_deref() == Some("Powered") && path == ADAPTER_PATH {
                    self.power(value.is_some_and(|value| value.0));
                }
                Ok(call.method_return())
            }
        }
    }

    /// An adapter that is switched off has no connections and hears nothing.
    fn power(&mut self, on: bool) {
        if self.powered && !on {
            self.stats.power_cycles.fetch_add(1, Ordering::AcqRel);
            self.faults.wedged = false;
            (0..self.batteries.len()).for_each(|index| self.disconnect(index));
            self.scanning.clear();
            self.discovering(false);
            self.forget_strengths();
        }
        self.powered = on;
        self.changed(ADAPTER_PATH, ADAPTER, &Props::from([("Powered", Prop::Flag(on))]), &[]);
    }

    fn adapter_called(&mut self, call: &Message, member: &str) -> Answer {
        let sender = call.sender().map(|name| name.to_string()).unwrap_or_default();
        match member {
            "StartDiscovery" if !self.powered => {
                return Err(("org.bluez.Error.NotReady", "Resource Not Ready".to_owned()));
            }
            "StartDiscovery" => {
                self.scanning.insert(sender);
                self.discovering(true);
                self.advertise_soon();
            }
            "StopDiscovery" => {
                self.scanning.remove(&sender);
                if self.scanning.is_empty() {
                    self.discovering(false);
                    self.forget_strengths();
                }
            }
            "RemoveDevice" => {
                let path: Option<dbus::Path<'_>> = call.read1().ok();
                let path = path.map(|path| path.to_string()).unwrap_or_default();
                let index = self.battery(&path).ok_or_else(|| unknown(&path))?;
                self.disconnect(index);
                self.batteries[index].known = false;
                self.removed(&path, &[DEVICE]);
            }
            _ => {}
        }
        Ok(call.method_return())
    }

    fn discovering(&self, on: bool) {
        self.changed(ADAPTER_PATH, ADAPTER, &Props::from([("Discovering", Prop::Flag(on))]), &[]);
    }

    fn forget_strengths(&mut self) {
        for index in 0..self.batteries.len() {
            if self.batteries[index].rssi.take().is_some() {
                self.changed(&self.batteries[index].path, DEVICE, &Props::new(), &["RSSI"]);
            }
        }
    }

    fn advertise_soon(&mut self) {
        if !std::mem::replace(&mut self.advertising, true) {
            self.after(ADVERTISED_AFTER, Event::Advertise);
        }
    }

    /// Whoever is not connected is heard, as long as somebody listens.
    fn advertise(&mut self) {
        self.advertising = false;
        if self.scanning.is_empty() {
            return;
        }
        for index in 0..self.batteries.len() {
            let rssi = -45 - i16::from(self.random.u8(0..30));
            let battery = &mut self.batteries[index];
            if battery.connected {
                continue;
            }
            battery.rssi = Some(rssi);
            if battery.known {
                self.changed(
                    &self.batteries[index].path,
                    DEVICE,
                    &Props::from([("RSSI", Prop::Strength(rssi))]),
                    &[],
                );
            } else {
                battery.known = true;
                self.added(&self.batteries[index].objects());
            }
        }
        self.advertise_soon();
    }

    fn connect(&mut self, index: usize, call: &Message) -> Answer {
        let standing = self.stats.standing();
        let refused = self.random.f64() < self.faults.refuse || self.faults.wedged;
        let battery = &mut self.batteries[index];
        if !self.powered || !battery.known {
            return Err(("org.bluez.Error.NotReady", "Resource Not Ready".to_owned()));
        }
        if refused || (self.faults.most > 0 && standing >= self.faults.most) {
            battery.stats.refused.fetch_add(1, Ordering::AcqRel);
            return Err(failed("le-connection-abort-by-local"));
        }
        battery.stats.connects.fetch_add(1, Ordering::AcqRel);
        self.stats.standing.fetch_add(1, Ordering::AcqRel);
        self.stats.peak.fetch_max(standing + 1, Ordering::AcqRel);
        (battery.connected, battery.rssi) = (true, None);
        let objects = battery.gatt_objects();
        self.added(&objects);
        let now = Props::from([("Connected", Prop::Flag(true)), ("ServicesResolved", Prop::Flag(true))]);
        self.changed(&self.batteries[index].path, DEVICE, &now, &["RSSI"]);
        Ok(call.method_return())
    }

    /// Ends a connection, or the making of one.
    fn disconnect(&mut self, index: usize) {
        if let Some(call) = self.batteries[index].connecting.take() {
            self.answer(&call, Err(failed("br-connection-canceled")));
        }
        let battery = &mut self.batteries[index];
        if !battery.connected {
            return;
        }
        self.stats.standing.fetch_sub(1, Ordering::AcqRel);
        (battery.connected, battery.notifying) = (false, false);
        let now = Props::from([("Connected", Prop::Flag(false)), ("ServicesResolved", Prop::Flag(false))]);
        let objects = self.batteries[index].gatt_objects();
        self.changed(&self.batteries[index].path, DEVICE, &now, &[]);
        for (path, interfaces) in objects.iter().rev() {
            self.removed(path, &interfaces.keys().copied().collect::<Vec<_>>());
        }
    }

    fn characteristic_called(&mut self, call: &Message, path: &str, member: &str) -> Answer {
        let index = self.battery(path).ok_or_else(|| unknown(path))?;
        let battery = &mut self.batteries[index];
        if !battery.connected {
            return Err(failed("Not connected"));
        }
        match member {
            "StartNotify" => battery.notifying = true,
            "StopNotify" => battery.notifying = false,
            "WriteValue" => {
                let bytes: Vec<u8> = call.read1().map_err(|_| failed("no bytes"))?;
                // The board lives as long as this does.
                drop(battery.requests.send(bytes));
            }
            _ => return Err(("org.bluez.Error.NotSupported", member.to_owned())),
        }
        Ok(call.method_return())
    }

    /// What a board says is heard only by whoever subscribed.
    fn said(&mut self, index: usize, mut bytes: Vec<u8>) {
        let cut = self.random.f64() < self.faults.cut;
        let battery = &self.batteries[index];
        if !battery.connected || !battery.notifying {
            return;
        }
        if cut {
            battery.stats.cuts.fetch_add(1, Ordering::AcqRel);
            bytes.truncate(bytes.len() / 2);
        }
        let value = Props::from([("Value", Prop::Bytes(bytes))]);
        self.changed(&battery.notify_path(), CHARACTERISTIC, &value, &[]);
        if cut {
            self.disconnect(index);
        }
    }

    fn changed(&self, path: &str, interface: &str, props: &Props, gone: &[&str]) {
        let Ok(message) = Message::new_signal(path, PROPERTIES, "PropertiesChanged") else { return };
        let props: BoxedProps = boxed(props);
        let gone: Vec<String> = gone.iter().map(|&name| name.to_owned()).collect();
        self.send(message.append3(interface, props, gone));
    }

    fn added(&self, objects: &BTreeMap<String, Interfaces>) {
        for (path, interfaces) in objects {
            let (Ok(message), Ok(path)) =
                (Message::new_signal("/", MANAGER, "InterfacesAdded"), dbus::Path::new(path.clone()))
            else {
                continue;
            };
            let interfaces: HashMap<String, HashMap<String, Boxed>> = boxed_all(interfaces);
            self.send(message.append2(path, interfaces));
        }
    }

    fn removed(&self, path: &str, interfaces: &[&str]) {
        let (Ok(message), Ok(path)) =
            (Message::new_signal("/", MANAGER, "InterfacesRemoved"), dbus::Path::new(path.to_owned()))
        else {
            return;
        };
        let interfaces: Vec<String> = interfaces.iter().map(|&name| name.to_owned()).collect();
        self.send(message.append2(path, interfaces));
    }
}

fn unknown(path: &str) -> (&'static str, String) {
    ("org.freedesktop.DBus.Error.UnknownObject", format!("{path} is not known"))
}
