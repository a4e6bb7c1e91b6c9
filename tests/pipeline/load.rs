//! `voltree simulate mqtt` as its user runs it: what it says was acknowledged is what the node stored.

use std::process::Command;

use serde_json::Value;

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{Site, VOLTREE};

#[tokio::test(flavor = "multi_thread")]
async fn every_message_that_the_load_counts_as_acknowledged_is_stored() {
    let site = Site::new();
    let node = site.start().await;
    for qos in ["1", "2"] {
        let prefix = format!("q{qos}");
        let broker = node.mqtt.to_string();
        let arguments = [
            "simulate",
            "mqtt",
            "--to",
            &broker,
            "--devices",
            "5",
            "--rate",
            "500",
            "--seconds",
            "2",
            "--json",
        ];
        let output =
            Command::new(VOLTREE).args(arguments).args(["--qos", qos, "--prefix", &prefix]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let acknowledged = report["acknowledged"].as_u64().unwrap();
        assert!(acknowledged > 0 && report["sent"] == report["acknowledged"], "{report}");
        let mut stored = 0;
        for device in 0..5 {
            let device = format!("{prefix}-{device:05}");
            let ledger = node.ledger_at_rest(Some(&device)).await;
            let numbers: Vec<_> =
                node.samples(&device, "sequence").await.iter().map(|(_, n)| *n as u64).collect();
            assert_eq!(numbers, (1..=ledger.stored).collect::<Vec<_>>(), "{device}");
            stored += ledger.stored;
        }
        assert_eq!(stored, acknowledged, "{report}");
    }
    assert_eq!(node.stop().await, Some(0));
    let data = site.data();
    let check =
        || Command::new(VOLTREE).args(["ledger", "--check-sequence", "--data"]).arg(&data).output().unwrap();
    let checked = check();
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && told.starts_with("10 devices, "), "{told}");
    assert!(told.contains(" 0 lost, 0 stored twice"), "{told}");
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "gap").await.unwrap();
    for (at, number) in [(0, 1.0), (1, 2.0), (2, 2.0), (3, 5.0)] {
        let payload = telemetry("gap", crate::support::now_ms() + at, &[("sequence", number)]);
        publisher.publish(at.unsigned_abs(), &topic("gap"), &payload).await.unwrap();
    }
    publisher.settle().await.unwrap();
    assert_eq!(node.stop().await, Some(0));
    let checked = check();
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(!checked.status.success(), "a gap is a failure");
    assert!(told.contains("gap: 4 messages, numbered up to 5, 2 lost, 1 stored twice"), "{told}");
}

#[test]
fn a_broker_that_is_not_there_is_named_with_the_next_step() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = Command::new(VOLTREE).args(["simulate", "mqtt", "--to", &free]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains(&free) && told.contains("is the broker up?"), "{told}");
}
