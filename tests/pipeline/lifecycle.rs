//! The life of a device after it was taken in: disabled, enabled, removed and found anew, for batteries and publishers
//! alike, and across a kill -9 of the node.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use voltree_protocols::sim::HasPack;

use crate::support::mqtt::Publisher;
use crate::support::node::{BOUND, Node, Site};
use crate::support::{daly, serve, until};

async fn rejected(node: &Node, device: &str, wanted: u64) {
    until(&format!("{wanted} messages of {device} are rejected"), BOUND, || async {
        let ledger = node.ledger(Some(device)).await;
        if ledger.rejected == wanted { Ok(()) } else { Err(format!("{ledger:?}")) }
    })
    .await;
}

async fn status_of(node: &Node, path: &str) -> Value {
    let tree = node.query("{ supervisionTree { path status } }", json!({})).await;
    let actors = tree["supervisionTree"].as_array().unwrap().clone();
    actors
        .into_iter()
        .find(|actor| actor["path"] == path)
        .map_or(Value::Null, |actor| actor["status"].clone())
}

/// Waits until the device has active alerts, or none.
async fn alerts(node: &Node, device: &str, any: bool) {
    until(&format!("{device} has alerts: {any}"), BOUND, || async {
        let query = "query($d: ID!) { activeAlerts(deviceId: $d) { title } }";
        let answer = node.ask(query, json!({ "d": device })).await?;
        let active = answer["data"]["activeAlerts"].as_array().is_some_and(|active| !active.is_empty());
        if active == any { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_publisher_is_rejected_and_counted_until_it_is_enabled_also_across_a_kill() {
    let site = Site::new();
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "shed").await.unwrap();
    publisher.tell(1, "shed").await;
    assert_eq!(node.ledger_settled("shed", 1).await.stored, 1);
    let (code, said) = node.device_command(&["disable", "nobody", "--reason", "x"]);
    assert!(code != Some(0) && said.contains("no device nobody is known"), "{said}");
    let (code, said) = node.device_command(&["disable", "shed", "--reason", "noisy"]);
    assert_eq!(code, Some(0), "{said}");
    node.device_is("shed", "DISABLED").await;
    publisher.tell(2, "shed").await;
    rejected(&node, "shed", 1).await;
    let metrics = node.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("actors_readings_rejected_total{reason=\"disabled\"} 1"), "{metrics}");
    let command = "mutation { sendCommand(input: { deviceId: \"shed\", action: \"x\" }) { id } }";
    let refused = node.ask(command, json!({})).await.unwrap();
    assert_eq!(refused["errors"][0]["extensions"]["code"], "NOT_ALLOWED");
    let resume = "mutation { resumeActor(path: \"node/devices/shed\", reason: \"x\") { path } }";
    let refused = node.ask(resume, json!({})).await.unwrap();
    assert_eq!(refused["errors"][0]["extensions"]["code"], "NOT_NOW");
    node.kill();

    let node = site.start().await;
    node.device_is("shed", "DISABLED").await;
    assert_eq!(status_of(&node, "node/devices/shed").await, "parked");
    let mut publisher = Publisher::connect(node.mqtt, "shed").await.unwrap();
    publisher.tell(3, "shed").await;
    rejected(&node, "shed", 2).await;
    let (code, said) = node.device_command(&["enable", "shed"]);
    assert_eq!(code, Some(0), "{said}");
    publisher.tell(4, "shed").await;
    until("what it sends is stored again", BOUND, || async {
        let ledger = node.ledger(Some("shed")).await;
        if ledger.stored == 2 { Ok(()) } else { Err(format!("{ledger:?}")) }
    })
    .await;
    node.device_is("shed", "ONLINE").await;
    let (code, said) = node.device_command(&["enable", "shed"]);
    assert!(code != Some(0) && said.contains("is not disabled"), "{said}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_publisher_leaves_the_list_keeps_its_history_and_is_discovered_anew() {
    let site = Site::new().quarantine().mqtt_sections("[devices]\nunknown = \"quarantine\"\n");
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "shed").await.unwrap();
    node.device_command(&["adopt", "shed"]);
    publisher.tell(1, "shed").await;
    assert_eq!(node.ledger_settled("shed", 1).await.stored, 1);
    let (code, said) = node.device_command(&["remove", "shed"]);
    assert_eq!(code, Some(0), "{said}");
    let list = || async { node.query("{ devices { id } deviceCandidates { id } }", json!({})).await };
    assert_eq!(list().await, json!({ "devices": [], "deviceCandidates": [] }));
    assert_eq!(status_of(&node, "node/devices/shed").await, Value::Null);
    node.kill();

    let node = site.start().await;
    let list = || async { node.query("{ devices { id } deviceCandidates { id } }", json!({})).await };
    assert_eq!(list().await, json!({ "devices": [], "deviceCandidates": [] }));
    let mut publisher = Publisher::connect(node.mqtt, "shed").await.unwrap();
    publisher.tell(2, "shed").await;
    assert_eq!(list().await, json!({ "devices": [], "deviceCandidates": [{ "id": "shed" }] }));
    node.device_command(&["adopt", "shed"]);
    publisher.tell(3, "shed").await;
    until("its history goes on", BOUND, || async {
        let samples = node.samples("shed", "n").await;
        let values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
        if values == [1.0, 3.0] { Ok(()) } else { Err(format!("{values:?}")) }
    })
    .await;
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_battery_is_disabled_with_its_alerts_and_can_be_removed_only_from_the_configuration() {
    let held = Arc::new(Mutex::new(daly(1)));
    let board = serve(Arc::clone(&held));
    let site = Site::new().battery("pack", "daly_bms", board.path(), "");
    let node = site.start().await;
    node.device_is("pack", "ONLINE").await;
    let (code, said) = node.device_command(&["remove", "pack"]);
    assert!(code != Some(0) && said.contains("the configuration names pack"), "{said}");
    held.lock().pack_mut().set_temperature(1, 75.0);
    alerts(&node, "pack", true).await;
    let (code, said) = node.device_command(&["disable", "pack", "--reason", "winter"]);
    assert_eq!(code, Some(0), "{said}");
    node.device_is("pack", "DISABLED").await;
    until("its actor stands still", BOUND, || async {
        let status = status_of(&node, "node/devices/pack").await;
        if status == "parked" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let before = node.ledger(Some("pack")).await.received;
    alerts(&node, "pack", false).await;
    let (code, said) = node.device_command(&["enable", "pack"]);
    assert_eq!(code, Some(0), "{said}");
    node.device_is("pack", "ONLINE").await;
    until("it is read again", BOUND, || async {
        let received = node.ledger(Some("pack")).await.received;
        if received > before { Ok(()) } else { Err(received.to_string()) }
    })
    .await;
    assert_eq!(node.stop().await, Some(0));
}
