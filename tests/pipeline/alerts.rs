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

async fn history(node: &Node) -> Vec<Value> {
    let query = "{ alertHistory(deviceId: \"bank\", from: \"2000-01-01T00:00:00Z\", to: \"2100-01-01T00:00:00Z\") \
                 { id status resolvedBecause } }";
    node.query(query, json!({})).await["alertHistory"].as_array().unwrap().clone()
}

async fn change(node: &Node, change: &str) {
    node.query(&format!("mutation {{ {change} }}"), json!({})).await;
}

/// The alerts actor stands still meanwhile, so that the word is on disk and nothing has followed from it yet.
#[tokio::test(flavor = "multi_thread")]
async fn the_alerts_of_what_an_operator_disables_end_also_after_a_kill_9_and_come_back_when_it_is_enabled() {
    let site = Site::new();
    let mut node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "bank").await.unwrap();
    publish(&mut publisher, 1, 4.4).await;
    active(&node, 1).await;
    let device = "disableDevice(id: \"bank\", reason: \"winter\") { id }";
    let entity = "disableEntity(deviceId: \"bank\", key: \"cell_voltage_2\", reason: \"a bad wire\") { key }";
    let back = [
        "enableDevice(id: \"bank\") { id }",
        "enableEntity(deviceId: \"bank\", key: \"cell_voltage_2\") { key }",
    ];
    let whys = [
        "an operator disabled the device: winter",
        "an operator disabled the entity cell_voltage_2: a bad wire",
    ];
    for (number, ((disable, enable), why)) in [device, entity].into_iter().zip(back).zip(whys).enumerate() {
        change(&node, "parkActor(path: \"node/analysis/alerts\", reason: \"a test\") { path }").await;
        change(&node, disable).await;
        assert_eq!(active(&node, 1).await[0]["status"], "ACTIVE");
        node.kill();
        node = site.start().await;
        active(&node, 0).await;
        let last = &history(&node).await[0];
        assert_eq!((&last["status"], &last["resolvedBecause"]), (&json!("RESOLVED"), &json!(why)));
        // What comes meanwhile raises nothing.
        let mut publisher = Publisher::connect(node.mqtt, "bank").await.unwrap();
        publish(&mut publisher, 10, 4.5).await;
        node.ledger_at_rest(Some("bank")).await;
        assert_eq!((active(&node, 0).await.len(), history(&node).await.len()), (0, number + 1));
        change(&node, enable).await;
        publish(&mut publisher, 11, 4.5).await;
        active(&node, 1).await;
        publish(&mut publisher, 12, 4.6).await;
        node.ledger_at_rest(Some("bank")).await;
        let open = history(&node).await.iter().filter(|alert| alert["status"] == "ACTIVE").count();
        assert_eq!(
            (open, history(&node).await.len()),
            (1, number + 2),
            "never two at once, and none too many"
        );
    }
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_sent_away_or_removed_has_no_alerts_any_more() {
    let site = Site::new();
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "bank").await.unwrap();
    for (number, (word, why)) in [
        ("ignoreDevice(id: \"bank\")", "an operator sent the device away"),
        ("deleteDevice(id: \"bank\") { id }", "an operator removed the device: "),
    ]
    .into_iter()
    .enumerate()
    {
        change(&node, "adoptDevice(id: \"bank\") { id }").await;
        publish(&mut publisher, number as u64, 4.4).await;
        active(&node, 1).await;
        change(&node, word).await;
        active(&node, 0).await;
        let last = history(&node).await.remove(0);
        assert!(last["resolvedBecause"].as_str().unwrap().starts_with(why), "{last}");
    }
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
