//! The flight recorder on whole nodes: what was said before a crash is on disk with the reason, and led again it comes to
//! the same.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{BOUND, Node, Site, VOLTREE};
use crate::support::{now_ms, pack, until};

fn postmortem(report: &Path) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        Command::new(VOLTREE).arg("postmortem").arg(report).output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

async fn readings(node: &Node, device: &str, wanted: u64) {
    until(&format!("{wanted} readings of {device}"), BOUND, || async {
        match node.ledger(Some(device)).await.received {
            received if received >= wanted => Ok(()),
            received => Err(format!("{received} of {wanted}")),
        }
    })
    .await;
}

async fn inject(node: &Node, point: &str, kind: &str, target: &str) {
    let fault = json!({ "point": point, "kind": kind, "target": target, "times": 1 });
    node.inject(&fault).await.unwrap();
}

/// The node's crash reports once there are so many.
async fn reports(node: &Node, wanted: usize) -> Vec<Value> {
    until(&format!("{wanted} crash reports"), BOUND, || async {
        let data =
            node.query("{ crashReports { id deviceId reason reasonKind incarnation url } }", json!({})).await;
        let reports = data["crashReports"].as_array().unwrap().clone();
        if reports.len() == wanted { Ok(reports) } else { Err(format!("{reports:?}")) }
    })
    .await
}

/// Writes a copy of a report in which something is changed.
fn changed(report: &Path, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let mut value: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    change(&mut value);
    let path = report.with_file_name(name);
    std::fs::write(&path, value.to_string()).unwrap();
    path
}

/// A byte in the middle of the first answer of the first recorded cycle.
fn flip_a_byte(report: &mut Value) {
    let calls = report["flight"]["cycles"][0]["calls"].as_array_mut().unwrap();
    let heard = calls.iter_mut().find_map(|call| call.get_mut("heard")).unwrap();
    let mut bytes = hex(heard["bytes"].as_str().unwrap());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    heard["bytes"] = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
}

fn hex(digits: &str) -> Vec<u8> {
    voltree_protocols::decode::parse_hex(digits).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoder_that_panics_leaves_a_report_that_comes_to_the_same_and_a_changed_byte_does_not() {
    let board = pack(1);
    let site = Site::new().pack("pack-1", board.path(), 300);
    let node = site.start().await;
    readings(&node, "pack-1", 3).await;
    inject(&node, "bms.poll.before_decode", "PANIC", "pack-1").await;
    let found = reports(&node, 1).await;
    let said =
        (found[0]["deviceId"].as_str(), found[0]["reasonKind"].as_str(), found[0]["incarnation"].as_u64());
    assert_eq!(said, (Some("pack-1"), Some("panic"), Some(1)));

    let id = found[0]["id"].as_str().unwrap();
    let file = site.data().join("crashes").join(format!("{id}.json"));
    let (code, told) = postmortem(&file);
    assert_eq!(code, Some(0), "{told}");
    for line in [
        "build     same: voltree ",
        "readings  same: ",
        "reason    same: at this place of the conversation struck injected fault 1 at bms.poll.before_decode",
    ] {
        assert!(told.contains(line), "{line:?} in {told}");
    }
    let downloaded = node.get(found[0]["url"].as_str().unwrap()).await;
    assert_eq!(
        downloaded.headers()["content-disposition"],
        format!("attachment; filename=\"voltree-{id}.json\"")
    );
    assert_eq!(downloaded.bytes().await.unwrap(), std::fs::read(&file).unwrap());

    let (code, told) = postmortem(&changed(&file, "byte", flip_a_byte));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("readings  DIFFERENT: ") && told.contains("cycle 1 of "), "{told}");
    let (code, told) = postmortem(&changed(&file, "build", |report| report["build"]["commit"] = "0f".into()));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.starts_with("build     DIFFERENT: the report is of voltree "), "{told}");
    let (code, told) = postmortem(&changed(&file, "reason", |report| {
        report["crash"]["reason"]["message"] = "index out of bounds".into();
    }));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("reason    DIFFERENT: it panicked: index out of bounds"), "{told}");

    // An operator's kill is no crash, and reports survive the node.
    node.kill_actor("node/devices/pack-1").await.unwrap();
    readings(&node, "pack-1", 6).await;
    assert_eq!(reports(&node, 1).await, found);
    assert_eq!(node.stop().await, Some(0));
    let node = site.start().await;
    assert_eq!(reports(&node, 1).await, found);
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_of_devices_that_run_well_comes_to_the_same_too() {
    let board = pack(2);
    let site = Site::new().pack("pack-1", board.path(), 300);
    let node = site.start().await;
    inject(&node, "bms.poll.before_decode", "CORRUPT_FRAME", "pack-1").await;
    inject(&node, "bms.link", "DROP_LINK", "pack-1").await;
    let mut publisher = Publisher::connect(node.mqtt, "sensor").await.unwrap();
    for number in 1..=5_u64 {
        let at = now_ms() + i64::try_from(number).unwrap();
        let payload = telemetry("sensor", at, &[("number", number as f64)]);
        publisher.publish(number, &topic("sensor"), &payload).await.unwrap();
    }
    publisher.settle().await.unwrap();
    readings(&node, "pack-1", 4).await;

    for (device, least) in [("pack-1", 4), ("sensor", 5)] {
        let report = node.get(&format!("/api/v1/devices/{device}/flight-record")).await;
        assert_eq!(report.headers()["content-type"], "application/json");
        let file = site.dir.path().join(format!("{device}.json"));
        std::fs::write(&file, report.bytes().await.unwrap()).unwrap();
        let (code, told) = postmortem(&file);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("reason    none"), "{told}");
        let readings = told.split(" led again, ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        assert!(readings.parse::<u64>().unwrap() >= least, "{told}");
    }
    assert_eq!(node.get("/api/v1/devices/nobody/flight-record").await.status(), 404);
    assert_eq!(node.get("/api/v1/crash-reports/..%2Fdevices").await.status(), 404);
    let nothing = site.dir.path().join("nothing.json");
    std::fs::write(&nothing, "{}").unwrap();
    let (code, told) = postmortem(&nothing);
    assert!(code == Some(1) && told.contains("no flight report of voltree"), "{told}");
    assert_eq!(node.stop().await, Some(0));
}
