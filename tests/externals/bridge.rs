//! A bridge to a real Mosquitto: what is forwarded is there in the end, whoever was away meanwhile, and nothing goes in
//! circles. The witness is a subscriber of Mosquitto that knows nothing of the node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::mosquitto::Mosquitto;
use crate::support::mqtt::{Publisher, topic};
use crate::support::node::{BOUND, Node, Site};
use crate::support::witness::Witness;
use crate::support::{external, until};

const WAITING: &str = "actors_mqtt_forward_waiting_messages";

/// Publishes until everything is acknowledged, across every loss of the connection.
async fn publish_all(publisher: &mut Publisher, node: std::net::SocketAddr, numbers: std::ops::Range<u64>) {
    let mut left: Vec<u64> = numbers.collect();
    while !left.is_empty() {
        let mut lost = false;
        for (index, number) in left.iter().enumerate() {
            let payload =
                format!("{{\"device_id\":\"far\",\"metrics\":[{{\"name\":\"n\",\"value\":{number}}}]}}");
            lost = publisher.publish(*number, &topic("far"), payload.as_bytes()).await.is_err();
            if lost {
                break;
            }
            if index % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        lost = lost || publisher.settle().await.is_err();
        left.retain(|number| !publisher.acked.contains(number));
        if lost {
            let back = async {
                while publisher.reconnect(node).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(BOUND, back).await.expect("the node comes back");
        }
    }
}

fn numbers(witness: &Witness) -> BTreeMap<u64, u32> {
    let mut counted = BTreeMap::new();
    for publish in witness.heard() {
        let payload: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
        *counted.entry(payload["metrics"][0]["value"].as_u64().unwrap()).or_default() += 1;
    }
    counted
}

async fn acknowledged(publisher: &parking_lot::Mutex<u64>, at_least: u64) {
    until("enough is acknowledged", BOUND, || async {
        let acked = *publisher.lock();
        if acked >= at_least { Ok(()) } else { Err(acked.to_string()) }
    })
    .await;
}

async fn waits(node: &Node, at_least: f64) {
    until("enough waits", BOUND, || async {
        let waiting = node.metric(WAITING).await;
        if waiting >= at_least { Ok(()) } else { Err(waiting.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_the_node_acknowledged_is_missing_at_mosquitto_across_kills_and_absences() {
    const ALL: u64 = 3_000;
    let Some(program) = external("mosquitto") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(&program, dir.path()).await;
    let witness = Witness::subscribe(mosquitto.address, "witness", "site/devices/+/telemetry").await;
    let keys = "topics = []\nforward = [\"devices/+/telemetry\"]\nprefix = \"site/\"\n";
    let site = Site::new().bridge("house", mosquitto.address.port(), keys);
    let node = site.start().await;
    let address = node.mqtt;
    let site = site.mqtt_port(address.port());

    let progress = parking_lot::Mutex::new(0_u64);
    let publishing = async {
        let mut publisher = Publisher::connect(address, "far").await.unwrap();
        for begin in (0..ALL).step_by(100) {
            publish_all(&mut publisher, address, begin..begin + 100).await;
            *progress.lock() = publisher.acked.len() as u64;
        }
        publisher.acked
    };
    let crashing = async {
        // Mosquitto goes in the middle of the stream; the node is killed while it waits for it.
        acknowledged(&progress, 500).await;
        let was_at = mosquitto.stop();
        acknowledged(&progress, 1_000).await;
        waits(&node, 400.0).await;
        node.kill();
        let node = site.start().await;
        acknowledged(&progress, 2_000).await;
        // And once more while it sends what had gathered.
        let mosquitto = Mosquitto::start_at(&program, dir.path(), was_at).await;
        until("it sends what had gathered", BOUND, || async {
            let heard = numbers(&witness).len();
            if heard >= 800 { Ok(()) } else { Err(heard.to_string()) }
        })
        .await;
        node.kill();
        (site.start().await, mosquitto)
    };
    let (acked, (node, mosquitto)) = tokio::join!(publishing, crashing);
    assert_eq!(acked.len() as u64, ALL);
    node.metric_is(WAITING, 0.0).await;
    let missing = || {
        let heard = numbers(&witness);
        acked.iter().copied().filter(|number| !heard.contains_key(number)).collect::<BTreeSet<_>>()
    };
    until("the witness has heard everything", BOUND, || async {
        let missing = missing();
        if missing.is_empty() { Ok(()) } else { Err(format!("{} are missing: {missing:?}", missing.len())) }
    })
    .await;
    let heard = numbers(&witness);
    let twice = heard.values().filter(|times| **times > 1).count();
    println!("{} messages, {twice} of them more than once", heard.len());
    drop(mosquitto);
    assert_eq!(node.stop().await, Some(0));
}

/// Everything is forwarded and everything is fetched, so that Mosquitto has every reason to send the node its own words.
async fn nothing_goes_in_circles(protocol: &str, returned: f64) {
    let Some(program) = external("mosquitto") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(&program, dir.path()).await;
    let there = Witness::subscribe(mosquitto.address, "there", "devices/#").await;
    let keys = format!(
        "topics = []\nforward = [\"devices/#\"]\nfetch = [\"devices/#\"]\nprotocol = \"{protocol}\"\n"
    );
    let site = Site::new().bridge("house", mosquitto.address.port(), &keys);
    let node = site.start().await;
    node.metric_is("actors_mqtt_outside_brokers_connected", 1.0).await;
    let here = Witness::subscribe(node.mqtt, "here", "devices/#").await;
    let topic = "devices/lamp/commands";
    for (address, who) in [(node.mqtt, "node"), (mosquitto.address, "house")] {
        let mut publisher = Publisher::connect(address, who).await.unwrap();
        for number in 0..20 {
            publisher.publish(number, topic, format!("{who} {number}").as_bytes()).await.unwrap();
        }
        publisher.settle().await.unwrap();
    }
    for witness in [&here, &there] {
        witness.hears("node 19").await;
        witness.hears("house 19").await;
    }
    node.metric_is("actors_mqtt_messages_returned_total", returned).await;
    // Whatever still went round would be heard before this.
    for (address, who) in [(node.mqtt, "node"), (mosquitto.address, "house")] {
        let mut publisher = Publisher::connect(address, who).await.unwrap();
        publisher.publish(0, topic, format!("{who} last").as_bytes()).await.unwrap();
        publisher.settle().await.unwrap();
    }
    for witness in [&here, &there] {
        witness.hears("node last").await;
        witness.hears("house last").await;
        let payloads = witness.payloads();
        assert!(payloads.len() == 42 && payloads.values().all(|times| *times == 1), "{payloads:?}");
    }
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_does_not_send_a_client_of_5_0_what_it_published() {
    nothing_goes_in_circles("5.0", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mosquitto_sends_back_over_3_1_1_is_known_and_left_alone() {
    nothing_goes_in_circles("3.1.1", 20.0).await;
}
