//! Brokers that Voltree does not run: what is published there arrives here, and nothing is acknowledged before it is on
//! disk. The outside broker of these tests is a second Voltree; tests/externals does the same with Mosquitto.

use std::time::Duration;

use serde_json::json;

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{BOUND, Node, Site};
use crate::support::{now_ms, until};

/// Waits until the node hears the outside broker.
async fn hears(node: &Node, brokers: &str) {
    until("the outside broker is heard", BOUND, || async {
        let metrics = node.get("/metrics").await.text().await.unwrap();
        let line = metrics.lines().find(|line| line.starts_with("actors_mqtt_outside_brokers_connected"));
        let wanted = format!("actors_mqtt_outside_brokers_connected {brokers}");
        if line == Some(&wanted) { Ok(()) } else { Err(format!("{line:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_at_an_outside_broker_is_stored_here_across_kills_and_the_brokers_restart() {
    let outside_site = Site::new();
    let outside = outside_site.start().await;
    let port = outside.mqtt.port();
    let outside_site = outside_site.mqtt_port(port);
    let site = Site::new().broker("house", port);
    let node = site.start().await;
    hears(&node, "1").await;

    let base = now_ms() - 100_000;
    let mut publisher = Publisher::connect(outside.mqtt, "far").await.unwrap();
    let send = async |publisher: &mut Publisher, numbers: std::ops::Range<u64>| {
        for number in numbers {
            let payload = telemetry("far", base + number as i64, &[("n", number as f64)]);
            publisher.publish(number, &topic("far"), &payload).await.unwrap();
        }
        publisher.settle().await.unwrap();
    };
    send(&mut publisher, 0..50).await;
    until("fifty arrived", BOUND, || async { stored(&node, 50).await }).await;
    node.kill_actor("node/mqtt/brokers/house").await.unwrap();
    until("its client is back", BOUND, || async {
        let tree = node.try_tree().await?;
        let client = tree.into_iter().find(|actor| actor.path == "node/mqtt/brokers/house");
        if client.as_ref().is_some_and(|c| c.incarnation == 2) { Ok(()) } else { Err(format!("{client:?}")) }
    })
    .await;
    hears(&node, "1").await;
    send(&mut publisher, 50..100).await;
    until("a hundred arrived", BOUND, || async { stored(&node, 100).await }).await;

    outside.kill();
    hears(&node, "0").await;
    let outside = outside_site.start().await;
    hears(&node, "1").await;
    let mut publisher = Publisher::connect(outside.mqtt, "far").await.unwrap();
    send(&mut publisher, 100..150).await;
    let ledger = {
        until("everything arrived", BOUND, || async { stored(&node, 150).await }).await;
        node.ledger_at_rest(Some("far")).await
    };
    assert_eq!((ledger.stored, ledger.rejected), (150, 0), "{ledger:?}");
    let log = std::fs::read_to_string(&node.log).unwrap();
    let lost = log.lines().filter(|line| line.contains("mqtt.broker.lost")).count();
    assert_eq!(lost, 1, "a broker that goes is told once");
    assert_eq!(node.stop().await, Some(0));
    assert_eq!(outside.stop().await, Some(0));
}

async fn stored(node: &Node, wanted: u64) -> Result<(), String> {
    let answer = node.query("{ device(id: \"far\") { readings } }", json!({})).await;
    if answer["device"]["readings"] == json!(wanted) { Ok(()) } else { Err(answer.to_string()) }
}

/// Nobody listens on the port, and the node does its work all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_disturbs_nobody() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let site = Site::new().broker("nobody", free);
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "near").await.unwrap();
    publisher.publish(1, &topic("near"), &telemetry("near", now_ms(), &[("n", 1.0)])).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), publisher.settle()).await.unwrap().unwrap();
    assert_eq!(node.stop().await, Some(0), "and it stops in order");
}
