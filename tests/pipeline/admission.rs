//! Who may become a device by publishing: the unknown wait, are listed, are adopted or sent away, and that outlives the node.

use serde_json::json;
use std::process::Command;

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{BOUND, Node, Site, VOLTREE};
use crate::support::{now_ms, until};

fn voltree(node: &Node, args: &[&str]) -> (Option<i32>, String) {
    let http = node.http.trim_start_matches("http://");
    let output = Command::new(VOLTREE).arg("device").args(args).args(["--http", http]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

async fn send(publisher: &mut Publisher, number: u64, device: &str) {
    let payload = telemetry(device, now_ms(), &[("n", number as f64)]);
    publisher.publish(number, &topic(device), &payload).await.unwrap();
    publisher.settle().await.unwrap();
}

async fn turned_away(node: &Node, wanted: u64) {
    until(&format!("{wanted} messages of no device are turned away"), BOUND, || async {
        let own = node.ledger(None).await;
        if own.rejected == wanted { Ok(()) } else { Err(format!("{own:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_unknown_waits_until_an_operator_decides_and_the_decision_outlives_the_node() {
    let site = Site::new().quarantine().mqtt_sections("[devices]\nadopt = [\"pack-*\"]\ndeny = [\"bad*\"]\n");
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "shed").await.unwrap();
    send(&mut publisher, 1, "shed").await;
    send(&mut publisher, 2, "shed").await;
    send(&mut publisher, 3, "bad-one").await;
    send(&mut publisher, 4, "pack-1").await;
    assert_eq!(node.ledger_settled("pack-1", 1).await.stored, 1, "a rule adopts it");
    turned_away(&node, 3).await;
    let waiting = node.query("{ deviceCandidates { id messages ignored } devices { id } }", json!({})).await;
    assert_eq!(waiting["deviceCandidates"], json!([{ "id": "shed", "messages": 2, "ignored": false }]));
    assert_eq!(waiting["devices"], json!([{ "id": "pack-1" }]));
    let metrics = node.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("actors_readings_rejected_total{reason=\"not_adopted\"} 3"), "{metrics}");

    let (code, said) = voltree(&node, &["list"]);
    assert!(
        code == Some(0) && said.contains("waiting") && said.contains("2 message(s) turned away"),
        "{said}"
    );
    let (code, said) = voltree(&node, &["adopt", "shed"]);
    assert_eq!((code, said.as_str()), (Some(0), "shed (shed) is a device now\n"));
    send(&mut publisher, 5, "shed").await;
    assert_eq!(node.ledger_settled("shed", 1).await.stored, 1);
    let (code, said) = voltree(&node, &["ignore", "pack-1"]);
    assert_eq!(code, Some(0), "{said}");
    send(&mut publisher, 6, "pack-1").await;
    turned_away(&node, 4).await;

    node.kill();
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "shed").await.unwrap();
    send(&mut publisher, 7, "shed").await;
    send(&mut publisher, 8, "pack-1").await;
    turned_away(&node, 5).await;
    assert_eq!(node.ledger_settled("shed", 2).await.stored, 2);
    assert_eq!(
        node.ledger(Some("pack-1")).await.received,
        1,
        "what it sent before stays, and nothing comes to it"
    );
    let (_, said) = voltree(&node, &["list"]);
    assert!(said.lines().any(|line| line.starts_with("pack-1") && line.contains("ignored")), "{said}");
    assert_eq!(node.stop().await, Some(0));
}
