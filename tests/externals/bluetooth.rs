//! Batteries on the air: real nodes and commands, a simulated BlueZ on a private dbus-daemon, nothing else between them.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::dalybms::{python_with, run_script};
use crate::support::node::{BOUND, Node, Site, VOLTREE};
use crate::support::{external, until};

const JK: &str = "C8:47:80:00:00:01";
const JBD: &str = "C8:47:80:00:00:02";
const D2: &str = "C8:47:80:00:00:03";
const P81: &str = "C8:47:80:00:00:04";
const A5: &str = "C8:47:80:00:00:05";
const JK24: &str = "C8:47:80:00:00:0A";
const DEAD: &str = "C8:47:80:00:00:06";
const ABSENT: &str = "C8:47:80:00:00:07";
const LIBRE: &str = "C8:47:80:00:00:08";
const DEAD_TOO: &str = "C8:47:80:00:00:09";
/// How long a connection to a dead pack is tried, which is how long it can hold a slot.
const SLOT: Duration = Duration::from_secs(8);

/// A dbus-daemon of our own; it ends with this.
struct Bus {
    daemon: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Bus {
    fn start() -> Option<Self> {
        external("dbus-daemon").map(Self::of)
    }

    fn of(program: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("bus.conf");
        let text = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig><type>custom</type>\
             <listen>unix:path={}</listen><policy context=\"default\"><allow send_destination=\"*\"/>\
             <allow receive_sender=\"*\"/><allow own=\"*\"/><allow user=\"*\"/></policy></busconfig>",
            dir.path().join("bus").display()
        );
        std::fs::write(&config, text).unwrap();
        let mut daemon = Command::new(program)
            .args(["--nofork", "--nopidfile", "--print-address"])
            .arg(format!("--config-file={}", config.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
        let address = lines.next().unwrap().unwrap();
        Self { daemon, address, _dir: dir }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // One that has ended already needs no killing.
        self.daemon.kill().ok();
        self.daemon.wait().ok();
    }
}

/// A simulated BlueZ in a process of its own, and the last thing it said.
struct Air {
    process: Child,
    said: Arc<Mutex<Value>>,
}

impl Air {
    fn start(bus: &Bus, args: &[&str]) -> Self {
        let mut process = Command::new(VOLTREE)
            .args(["simulate", "bluez", "--status-every", "0.1", "--bus", &bus.address])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.next().is_some_and(|line| line.contains("batteries")), "the simulator did not start");
        let said = Arc::new(Mutex::new(Value::Null));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines {
                *heard.lock() = serde_json::from_str(&line).unwrap();
            }
        });
        Self { process, said }
    }

    fn said(&self) -> Value {
        self.said.lock().clone()
    }

    fn counted(&self, address: &str, what: &str) -> u64 {
        let said = self.said();
        let batteries = said["batteries"].as_array().cloned().unwrap_or_default();
        let battery = batteries.into_iter().find(|battery| battery["address"] == address);
        battery.and_then(|battery| battery[what].as_u64()).unwrap_or_default()
    }
}

impl Drop for Air {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

async fn start(bus: &Bus, site: &Site) -> Node {
    let config = site.config();
    let environment = [("DBUS_SYSTEM_BUS_ADDRESS", bus.address.as_str())];
    let log = site.dir.path().join("log");
    Node::start_in(&["run", "--config", config.to_str().unwrap()], &log, &environment).await
}

fn battery(site: Site, id: &str, kind: &str, address: &str) -> Site {
    site.battery(id, kind, format!("ble://{address}").as_ref(), "")
}

/// Waits until so many readings of a device were taken in.
async fn until_heard(node: &Node, air: &Air, id: &str, address: &str, times: u64) {
    let from = air.counted(address, "measurements");
    until(&format!("{id} is read {times} times"), BOUND, || async {
        let read = air.counted(address, "measurements").saturating_sub(from);
        if read >= times { Ok(()) } else { Err(air.said().to_string()) }
    })
    .await;
    let query =
        "query($id: ID!) { deviceLatestMetric(deviceId: $id, metricName: \"pack_voltage\") { value } }";
    until(&format!("the voltage of {id} is stored"), BOUND, || async {
        let answer = node.ask(query, json!({ "id": id })).await?;
        let volts = answer["data"]["deviceLatestMetric"]["value"].as_f64();
        volts.filter(|volts| (40.0..60.0).contains(volts)).ok_or_else(|| answer.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_of_every_dialect_share_two_connections_across_dead_ones_and_a_reset_of_the_adapter() {
    let Some(bus) = Bus::start() else { return };
    let packs = [
        ("jk", JK),
        ("jbd", JBD),
        ("daly-d2", D2),
        ("daly-p81", P81),
        ("daly-a5", A5),
        ("libre-solar", LIBRE),
        ("dead", DEAD),
    ];
    let packs: Vec<String> = packs.iter().map(|(kind, address)| format!("{kind}@{address}")).collect();
    let reset = ["--power-cycle-after", "15"].into_iter();
    let args: Vec<&str> = reset.chain(packs.iter().map(String::as_str)).collect();
    let air = Air::start(&bus, &args);
    let types = [
        ("jk", "jk_bms", JK),
        ("jbd", "jbd_bms", JBD),
        ("d2", "daly_bms", D2),
        ("p81", "daly_bms", P81),
        ("a5", "daly_bms", A5),
        ("libre", "libre_solar", LIBRE),
    ];
    let mut site = Site::new();
    for (id, kind, address) in
        types.into_iter().chain([("dead", "daly_bms", DEAD), ("absent", "jk_bms", ABSENT)])
    {
        site = battery(site, id, kind, address);
    }
    // The node's directory goes with the site.
    let site = site.max_ble_connections(2);
    let node = start(&bus, &site).await;
    for (id, _, address) in types {
        until_heard(&node, &air, id, address, 3).await;
    }
    until("the adapter is reset", BOUND, || async {
        if air.said()["power_cycles"] == 1 { Ok(()) } else { Err(air.said().to_string()) }
    })
    .await;
    for (id, _, address) in types {
        until_heard(&node, &air, id, address, 3).await;
    }
    let peak = air.said()["peak"].as_u64().unwrap();
    assert!((1..=2).contains(&peak), "{peak} connections at once");
    assert_eq!(node.stop().await, Some(0));
}

/// Waits until so many connections stand.
async fn until_standing(air: &Air, connections: u64) {
    until(&format!("{connections} connections stand"), BOUND, || async {
        if air.said()["standing"] == connections { Ok(()) } else { Err(air.said().to_string()) }
    })
    .await;
}

/// Stops a node whose batteries answer; it lets go of all of them before it ends, so that others can hear them.
async fn stop_and_let_go(node: Node, site: &Site, air: &Air) {
    assert_eq!(node.stop().await, Some(0));
    let log = std::fs::read_to_string(site.dir.path().join("log")).unwrap();
    assert!(!log.contains("bluetooth.left_connected"), "{log}");
    until_standing(air, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_disabled_or_parked_is_let_go_of_for_others_to_hear() {
    let Some(bus) = Bus::start() else { return };
    let (jk, jbd) = (format!("jk@{JK}"), format!("jbd@{JBD}"));
    let air = Air::start(&bus, &[&jk, &jbd]);
    let site = battery(battery(Site::new(), "jk", "jk_bms", JK), "jbd", "jbd_bms", JBD);
    let node = start(&bus, &site).await;
    until_heard(&node, &air, "jk", JK, 1).await;
    until_heard(&node, &air, "jbd", JBD, 1).await;
    until_standing(&air, 2).await;
    let (code, said) = node.device_command(&["disable", "jk", "--reason", "looked at with the maker's app"]);
    assert_eq!(code, Some(0), "{said}");
    until_standing(&air, 1).await;
    until_heard(&node, &air, "jbd", JBD, 2).await;
    let (code, said) = node.device_command(&["enable", "jk"]);
    assert_eq!(code, Some(0), "{said}");
    until_heard(&node, &air, "jk", JK, 1).await;
    // What is restarted after a fault keeps its connection.
    let connects = air.counted(JK, "connects");
    node.kill_actor("node/devices/jk").await.unwrap();
    until_heard(&node, &air, "jk", JK, 2).await;
    assert_eq!(air.counted(JK, "connects"), connects, "{}", air.said());
    // What failed too often is not asked again for a minute or more.
    let fault = json!({ "point": "bms.poll.before_decode", "kind": "PANIC", "target": "jk", "times": 100 });
    node.inject(&fault).await.unwrap();
    node.device_is("jk", "PARKED").await;
    until_standing(&air, 1).await;
    node.clear_faults().await.unwrap();
    node.order("resumeActor", "node/devices/jk").await.unwrap();
    until_standing(&air, 2).await;
    stop_and_let_go(node, &site, &air).await;
}

/// What the node heard last of a battery, by the names of its series.
async fn heard_by(node: &Node, id: &str) -> Value {
    let query = "query($id: ID!) { device(id: $id) { latest { name value } } }";
    let device = node.query(query, json!({ "id": id })).await["device"].clone();
    let latest = device["latest"].as_array().cloned().unwrap_or_default();
    latest
        .iter()
        .map(|series| (series["name"].as_str().unwrap().to_owned(), series["value"].clone()))
        .collect()
}

fn close(what: &str, theirs: &Value, ours: &Value, within: f64) {
    let both = theirs.as_f64().or(theirs.as_bool().map(f64::from)).zip(ours.as_f64());
    let Some((theirs, ours)) = both else { panic!("{what}: aiobmsble says {theirs}, the node {ours}") };
    assert!((theirs - ours).abs() <= within, "{what}: aiobmsble says {theirs}, the node {ours}");
}

fn all_close(what: &str, theirs: &Value, ours: &Value, series: &str, within: f64) {
    let theirs = theirs.as_array().unwrap();
    assert!(!theirs.is_empty() && ours[format!("{series}_{}", theirs.len() + 1)].is_null(), "{what}: {ours}");
    for (number, theirs) in (1..).zip(theirs) {
        close(what, theirs, &ours[format!("{series}_{number}")], within);
    }
}

/// A Python that has aiobmsble, which needs 3.12: an older one is no failure.
fn python_with_aiobmsble() -> Option<PathBuf> {
    let python = python_with("sys", "")?;
    let version =
        Command::new(&python).args(["-c", "import sys; sys.exit(sys.version_info < (3, 12))"]).status();
    if !version.unwrap().success() {
        println!("skipped: {} is older than 3.12, which aiobmsble needs", python.display());
        return None;
    }
    python_with("aiobmsble", "aiobmsble")
}

/// At rest a pack says the same to either; each has read it by its own understanding of the same bytes. A node that has
/// stopped lets go of them, or the other would not find them on the air.
#[tokio::test(flavor = "multi_thread")]
async fn aiobmsble_reads_the_same_of_every_pack_as_a_node_does() {
    let Some(bus) = Bus::start() else { return };
    let Some(python) = python_with_aiobmsble() else { return };
    let packs = [
        ("jk", "jk_bms", "jikong", JK),
        ("jk24", "jk_bms", "jikong", JK24),
        ("jbd", "jbd_bms", "jbd", JBD),
        ("daly-d2", "daly_bms", "daly", D2),
        ("daly-p81", "daly_bms", "daly", P81),
    ];
    let args = packs.map(|(kind, _, _, address)| format!("{kind}@{address}"));
    let air = Air::start(&bus, &args.each_ref().map(String::as_str));
    let site =
        packs.iter().fold(Site::new(), |site, (id, kind, _, address)| battery(site, id, kind, address));
    let node = start(&bus, &site).await;
    let mut ours = serde_json::Map::new();
    for (id, _, _, address) in packs {
        until_heard(&node, &air, id, address, 1).await;
        ours.insert(address.to_owned(), heard_by(&node, id).await);
    }
    stop_and_let_go(node, &site, &air).await;
    let wanted = packs.map(|(_, _, module, address)| format!("{module}@{address}"));
    let args: Vec<&str> =
        [bus.address.as_str()].into_iter().chain(wanted.iter().map(String::as_str)).collect();
    let theirs = run_script(&python, "read_with_aiobmsble.py", &args);
    for (id, _, _, address) in packs {
        let (theirs, ours) = (&theirs[address], &ours[address]);
        all_close(id, &theirs["cell_voltages"], ours, "cell_voltage", 0.0015);
        for (name, series, within) in [
            ("voltage", "pack_voltage", 0.051),
            ("current", "pack_current", 0.051),
            ("battery_level", "soc_percent", 0.051),
            ("cycle_charge", "remaining_capacity", 0.051),
            ("cycles", "cycles", 0.0),
            ("chrg_mosfet", "charge_enabled", 0.0),
            ("dischrg_mosfet", "discharge_enabled", 0.0),
        ] {
            close(&format!("{name} of {id}"), &theirs[name], &ours[series], within);
        }
        let volts: Vec<f64> =
            theirs["cell_voltages"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        let spread = volts.iter().copied().reduce(f64::max).zip(volts.iter().copied().reduce(f64::min));
        let spread = spread.map(|(most, least)| most - least);
        close(&format!("spread of {id}"), &theirs["delta_voltage"], &spread.into(), 0.0011);
        assert_eq!(theirs["problem_code"], 0, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_dead_packs_as_slots_delay_the_living_by_little_more_than_a_slot() {
    let Some(bus) = Bus::start() else { return };
    let (jk, dead, too) = (format!("jk@{JK}"), format!("dead@{DEAD}"), format!("dead@{DEAD_TOO}"));
    let air = Air::start(&bus, &[&jk, &dead, &too]);
    let mut site = battery(Site::new(), "jk", "jk_bms", JK);
    for (id, address) in [("dead", DEAD), ("dead-too", DEAD_TOO)] {
        site = battery(site, id, "daly_bms", address);
    }
    let site = site.max_ble_connections(2);
    let node = start(&bus, &site).await;
    until_heard(&node, &air, "jk", JK, 1).await;
    let (begun, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    let mut read = air.counted(JK, "measurements");
    until("the dead had their chance again and again", BOUND, || {
        let now = air.counted(JK, "measurements");
        if now > read {
            longest = longest.max(last.elapsed());
            (read, last) = (now, Instant::now());
        }
        let over = begun.elapsed() > SLOT * 4;
        async move { if over { Ok(()) } else { Err("not yet".to_owned()) } }
    })
    .await;
    longest = longest.max(last.elapsed());
    println!("read {read} times, and {longest:?} apart at most");
    assert!(longest < SLOT * 2, "{longest:?} between two readings, {read} readings in all: {}", air.said());
    assert_eq!(air.said()["power_cycles"], 0, "the adapter works");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_and_cut_links_are_overcome_and_a_killed_node_leaves_nothing_stale() {
    let Some(bus) = Bus::start() else { return };
    let (jk, jbd) = (format!("jk@{JK}"), format!("jbd@{JBD}"));
    let air = Air::start(&bus, &["--refuse", "0.3", "--cut", "0.05", &jk, &jbd]);
    let site = battery(battery(Site::new(), "jk", "jk_bms", JK), "jbd", "jbd_bms", JBD);
    let node = start(&bus, &site).await;
    let cuts = || air.counted(JK, "cuts") + air.counted(JBD, "cuts");
    until("links were cut", BOUND, || async {
        if cuts() >= 3 { Ok(()) } else { Err(air.said().to_string()) }
    })
    .await;
    until_heard(&node, &air, "jk", JK, 3).await;
    until_heard(&node, &air, "jbd", JBD, 3).await;
    // BlueZ keeps the connections of a process that it has not missed yet.
    node.kill();
    let node = start(&bus, &site).await;
    until_heard(&node, &air, "jk", JK, 2).await;
    until_heard(&node, &air, "jbd", JBD, 2).await;
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_with_which_nothing_connects_is_switched_off_and_on_and_its_keeper_may_be_killed() {
    let Some(bus) = Bus::start() else { return };
    let jk = format!("jk@{JK}");
    let air = Air::start(&bus, &["--wedged", &jk]);
    // Named, as the adapter that is cured is the one that failed.
    let site = battery(Site::new(), "jk", "jk_bms", &format!("{JK}?adapter=hci0"));
    let node = start(&bus, &site).await;
    until("connections are refused", BOUND, || async {
        if air.counted(JK, "refused") > 0 { Ok(()) } else { Err(air.said().to_string()) }
    })
    .await;
    node.kill_actor("node/links/bluetooth").await.unwrap();
    until("the node switches the adapter off and on", BOUND, || async {
        if air.said()["power_cycles"] == 1 { Ok(()) } else { Err(air.said().to_string()) }
    })
    .await;
    until_heard(&node, &air, "jk", JK, 2).await;
    let metrics = node.get("/metrics").await.text().await.unwrap();
    for line in [
        "actors_ble_cures_total{cure=\"cycled_adapter\"} 1",
        "actors_ble_slots{state=\"in_use\"} 1",
        "actors_ble_slots{state=\"free\"} 3",
        "actors_ble_waiting_batteries 0",
    ] {
        assert!(metrics.contains(line), "{line} is missing:\n{metrics}");
    }
    let keeper = node.try_tree().await.unwrap().into_iter().find(|actor| actor.kind == "ble_adapter");
    assert_eq!(keeper.map(|actor| actor.restarts), Some(1));
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn batteries_in_the_air_are_listed_with_a_configuration_that_can_be_pasted() {
    let Some(bus) = Bus::start() else { return };
    let (jk, daly) = (format!("jk@{JK}"), format!("daly-d2@{D2}"));
    let _air = Air::start(&bus, &[&jk, &daly]);
    let scanned = Command::new(VOLTREE)
        .args(["scan", "ble", "--seconds", "2"])
        .env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&scanned.stdout);
    assert!(scanned.status.success(), "{}", String::from_utf8_lossy(&scanned.stderr));
    for part in ["type = \"jk_bms\"", "type = \"daly_bms\"", &format!("port = \"ble://{JK}\"")] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_bluetoothd_runs_and_says_so() {
    let site = battery(Site::new(), "jk", "jk_bms", JK);
    let nowhere = format!("unix:path={}", site.dir.path().join("no-bus").display());
    let log = site.dir.path().join("log");
    let config = site.config();
    let environment = [("DBUS_SYSTEM_BUS_ADDRESS", nowhere.as_str())];
    let node = Node::start_in(&["run", "--config", config.to_str().unwrap()], &log, &environment).await;
    until("the log says that Bluetooth is missing", Duration::from_secs(30), || async {
        let log = std::fs::read_to_string(&log).unwrap();
        if log.contains("bluetooth.unavailable") && log.contains("bluetoothd") { Ok(()) } else { Err(log) }
    })
    .await;
    assert_eq!(node.stop().await, Some(0));
}
