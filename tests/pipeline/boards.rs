//! Every type of battery on a serial line, from the configuration to the stored reading.

use serde_json::json;
use voltree_protocols::bms::daly_uart::CurrentSign;
use voltree_protocols::bms::telecom::Maker;
use voltree_protocols::sim::{JbdSim, JkSim, PackConfig, Profile, SimPack, SunspecSim, TelecomSim};

use crate::support::node::{BOUND, Node, Site, VOLTREE};
use crate::support::simulator::Simulator;
use crate::support::{serve, until};

/// The current of a SunSpec device whose registers begin at 0, read as if nothing else were known of it.
const REGISTERS: &str =
    "registers = [{ register = 114, type = \"i16\", scale = 0.1, field = \"pack_current\" }]";

/// The file from which cantools reads the same simulator in an external test.
const FOXBMS_DBC: &str = concat!("dbc = \"", env!("CARGO_MANIFEST_DIR"), "/tests/externals/foxbms.dbc\"");

fn pack(amps: f64) -> SimPack {
    let mut pack = SimPack::new(PackConfig { profile: Profile::Rest, ..PackConfig::default() });
    pack.set_current(amps);
    pack
}

async fn current(node: &Node, device: &str, kind: &str, amps: f64) {
    until(&format!("{device} says {amps} A"), BOUND, || async {
        let query = "query($d: ID!) { device(id: $d) { type state latest { name value } } }";
        let answer = node.ask(query, json!({ "d": device })).await?;
        let view = &answer["data"]["device"];
        let metrics = view["latest"].as_array().cloned().unwrap_or_default();
        let read = metrics.iter().find(|m| m["name"] == "pack_current").and_then(|m| m["value"].as_f64());
        if view["type"] == kind && view["state"] == "ONLINE" && read == Some(amps) {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batteries_of_every_type_are_read_by_one_node() {
    let jbd = serve(JbdSim::new(pack(12.5)).asleep());
    let jk = serve(JkSim::new(pack(-30.0)));
    let pylontech = serve(TelecomSim::new(pack(7.5), Maker::Pylontech, 5));
    let seplos = serve(TelecomSim::new(pack(-7.25), Maker::Seplos, 0));
    let sunspec = serve(SunspecSim::new(pack(20.5), 9, 40_000, CurrentSign::Inverted));
    let modbus = serve(SunspecSim::new(pack(3.5), 1, 0, CurrentSign::Normal));
    let site = Site::new()
        .battery("jbd", "jbd_bms", jbd.path(), "")
        .battery("jk", "jk_bms", jk.path(), "")
        .battery("pylontech", "pylontech_bms", pylontech.path(), "address = 5")
        .battery("modbus", "modbus_bms", modbus.path(), REGISTERS)
        .battery("seplos", "seplos_bms", seplos.path(), "")
        .battery("sunspec", "sunspec_bms", sunspec.path(), "unit = 9");
    let node = site.start().await;
    current(&node, "jbd", "jbd_bms", 12.5).await;
    current(&node, "jk", "jk_bms", -30.0).await;
    current(&node, "pylontech", "pylontech_bms", 7.5).await;
    current(&node, "seplos", "seplos_bms", -7.25).await;
    current(&node, "sunspec", "sunspec_bms", 20.5).await;
    current(&node, "modbus", "modbus_bms", 3.5).await;
    assert_eq!(node.stop().await, Some(0));
}

/// The charge of a simulator that is a process of its own, as it says itself.
async fn charge(node: &Node, device: &str, kind: &str, simulator: &Simulator) {
    let said = simulator.until_said("a pack", |said| said["boards"][0]["soc_percent"].is_f64()).await;
    let soc = said["boards"][0]["soc_percent"].as_f64().unwrap();
    until(&format!("{device} has {soc} %"), BOUND, || async {
        let query = "query($d: ID!) { device(id: $d) { type state latest { name value } } }";
        let answer = node.ask(query, json!({ "d": device })).await?;
        let view = &answer["data"]["device"];
        let metrics = view["latest"].as_array().cloned().unwrap_or_default();
        let read = metrics.iter().find(|m| m["name"] == "soc_percent").and_then(|m| m["value"].as_f64());
        let agrees = read.is_some_and(|read| (read - soc).abs() < 1.1);
        if view["type"] == kind && view["state"] == "ONLINE" && agrees {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_simulated_can_be_read() {
    let kinds: [(&str, &str, &str, &[&str], &str); 10] = [
        ("daly", "--slcan", "daly_bms", &[], ""),
        ("daly", "--pty", "daly_bms", &["--protocol", "d2"], "protocol = \"registers\""),
        ("daly", "--pty", "daly_bms", &["--protocol", "p81"], "protocol = \"p81\""),
        ("foxbms", "--slcan", "foxbms", &["--dialect", "v1_7"], ""),
        ("foxbms", "--slcan", "foxbms", &["--cells", "13"], FOXBMS_DBC),
        ("libre-solar", "--pty", "libre_solar", &[], ""),
        ("libre-solar", "--slcan", "libre_solar", &["--cells", "8"], "node = 1"),
        ("green", "--pty", "green_bms", &[], ""),
        ("jbd", "--pty", "jbd_bms", &[], ""),
        ("pylontech", "--pty", "pylontech_bms", &["--address", "3"], "address = 3"),
    ];
    let mut site = Site::new();
    let mut simulators = Vec::new();
    for (number, (device, wire, kind, args, keys)) in kinds.into_iter().enumerate() {
        let soc = (30 + 5 * number).to_string();
        let all = [&["--profile", "rest", "--start-soc", &soc], args].concat();
        let simulator = Simulator::of(device, wire, &all);
        let port = simulator.port().to_str().unwrap().to_owned();
        let port = if wire == "--slcan" { format!("slcan://{port}?bitrate=500000") } else { port };
        site = site.battery(&format!("battery-{number}"), kind, port.as_ref(), keys);
        simulators.push((kind, simulator));
    }
    let node = site.start().await;
    for (number, (kind, simulator)) in simulators.iter().enumerate() {
        charge(&node, &format!("battery-{number}"), kind, simulator).await;
    }
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_finds_a_bus_behind_an_adapter() {
    let simulator = Simulator::of("foxbms", "--slcan", &[]);
    let port = format!("slcan://{}?bitrate=500000", simulator.port().to_str().unwrap());
    let output = probe(port.as_ref()).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(&format!("type = \"foxbms\"\nport = {port:?}")), "{output:?}");
}

async fn probe(port: &std::path::Path) -> std::process::Output {
    let port = port.to_owned();
    let run = move || std::process::Command::new(VOLTREE).arg("probe").arg(port).output().unwrap();
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_tells_what_hangs_on_a_port() {
    let jk = serve(JkSim::new(pack(-30.0)));
    let pylontech = serve(TelecomSim::new(pack(7.5), Maker::Pylontech, 2));
    for (port, kind) in [(jk.path(), "jk_bms"), (pylontech.path(), "pylontech_bms")] {
        let output = probe(port).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        assert!(said.contains(&format!("type = {kind:?}\nport = {:?}", port.to_str().unwrap())), "{said}");
    }
    let missing = probe("/dev/no-such-port".as_ref()).await;
    assert!(!missing.status.success());
    assert!(String::from_utf8_lossy(&missing.stderr).contains("does not exist"), "{missing:?}");
}
