//! Alerts: raised once, kept across kills and restarts, ended when the value is well inside again.

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{BOUND, Node, Site};
use crate::support::{now_ms, until};
use serde_json::{Value, json};

async fn publish(publisher: &mut Publisher, number: u64, volts: f64) {
    let payload = telemetry("bank", now_ms(), &[("cell_voltage_1", 3.3), ("cell_voltage_2", volts)]);
    publisher.publish(number, &topic("bank"), &payload).await.unwrap();
    publisher.settle().await.unwrap();
}

async fn active(node: &Node, count: usize) -> Vec<Value> {
    let query =
        "{ activeAlerts(deviceId: \"bank\") { id title severity status metricName metricValue threshold } }";
    until(&format!("{count} active alerts"), BOUND, || async {
        let answer = node.ask(query, json!({})).await?;
        let alerts = answer["data"]["activeAlerts"].as_array().cloned().ok_or_else(|| answer.to_string())?;
        if alerts.len() == count { Ok(alerts) } else { Err(answer.to_string()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_raised_once_and_survives_kills_and_a_kill_9() {
    let site = Site::new();
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "bank").await.unwrap();
    publish(&mut publisher, 1, 3.3).await;
    active(&node, 0).await;
    publish(&mut publisher, 2, 4.4).await;
    let raised = active(&node, 1).await;
    let alert = &raised[0];
    assert_eq!(alert["title"], "Cell over-voltage");
    assert_eq!(alert["severity"], "CRITICAL");
    assert_eq!((&alert["metricName"], &alert["metricValue"]), (&json!("cell_voltage_2"), &json!(4.4)));

    node.kill_actor("node/analysis/alerts").await.unwrap();
    publish(&mut publisher, 3, 4.5).await;
    node.ledger_at_rest(Some("bank")).await;
    assert_eq!(active(&node, 1).await, raised, "the same alert, not another one");

    drop(publisher);
    node.kill();
    let node = site.start().await;
    assert_eq!(active(&node, 1).await, raised, "the same alert after a kill -9");
    let mut publisher = Publisher::connect(node.mqtt, "bank").await.unwrap();
    publish(&mut publisher, 4, 4.4).await;
    node.ledger_at_rest(Some("bank")).await;
    assert_eq!(active(&node, 1).await, raised);
    publish(&mut publisher, 5, 3.4).await;
    active(&node, 0).await;
    let query = "{ alertHistory(deviceId: \"bank\", from: \"2000-01-01T00:00:00Z\", to: \"2100-01-01T00:00:00Z\") { id status } }";
    let history = node.query(query, json!({})).await;
    assert_eq!(history["alertHistory"], json!([{ "id": alert["id"], "status": "RESOLVED" }]));
    assert_eq!(node.stop().await, Some(0));
}

async fn storage_alerts(node: &Node, count: usize) -> Vec<Value> {
    until(&format!("{count} active alerts of the storage"), BOUND, || async {
        let query = "{ activeAlerts { deviceId device { id } title severity status } }";
        let answer = node.ask(query, json!({})).await?;
        let alerts = answer["data"]["activeAlerts"].as_array().cloned().ok_or_else(|| answer.to_string())?;
        if alerts.len() == count { Ok(alerts) } else { Err(answer.to_string()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_is_nearly_full_is_an_alert_until_there_is_space_again() {
    let site = Site::new().max_mib(64);
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "bank").await.unwrap();
    publish(&mut publisher, 1, 3.3).await;
    node.ledger_at_rest(Some("bank")).await;
    storage_alerts(&node, 0).await;
    assert_eq!(node.stop().await, Some(0));

    let raw = site.data().join("buckets/raw");
    let bucket = std::fs::read_dir(&raw).unwrap().next().unwrap().unwrap().path();
    let filler = bucket.join("filler");
    std::fs::write(&filler, vec![1; 63 * 1024 * 1024]).unwrap();
    let node = site.start().await;
    let alerts = storage_alerts(&node, 1).await;
    let expected = json!({ "deviceId": "node.storage", "device": null, "title": "Storage nearly full",
                           "severity": "WARNING", "status": "ACTIVE" });
    assert_eq!(alerts, [expected]);
    assert_eq!(node.stop().await, Some(0));

    std::fs::remove_file(&filler).unwrap();
    let node = site.start().await;
    storage_alerts(&node, 0).await;
    assert_eq!(node.stop().await, Some(0));
}
