//! Messages that pass between the brokers of two nodes: none is lost while either is away, and none goes in circles.
//! tests/externals does the same with Mosquitto.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rumqttc::QoS;
use serde_json::json;

use crate::support::link::Link;
use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{BOUND, Node, Site};
use crate::support::witness::Witness;
use crate::support::{now_ms, until};

const FORWARDED: &str = "actors_mqtt_messages_forwarded_total";
const WAITING: &str = "actors_mqtt_forward_waiting_messages";
const RETURNED: &str = "actors_mqtt_messages_returned_total";

async fn send(publisher: &mut Publisher, base: i64, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let payload = telemetry("pack", base + number as i64, &[("n", number as f64)]);
        publisher.publish(number, &topic("pack"), &payload).await.unwrap();
    }
    publisher.settle().await.unwrap();
}

async fn stored(node: &Node, wanted: u64) {
    until(&format!("{wanted} readings are stored"), BOUND, || async {
        let answer = node.ask("{ device(id: \"pack\") { readings } }", json!({})).await?;
        let readings = answer["data"]["device"]["readings"].as_u64().unwrap_or_default();
        if readings >= wanted { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forwarded_waits_on_disk_while_the_other_broker_is_away_and_the_node_is_killed() {
    let far_site = Site::new().node_id("far");
    let far = far_site.start().await;
    let link = Link::new().await;
    link.leads_to(far.mqtt);
    let keys = "topics = []\nforward = [\"devices/+/telemetry\", \"devices/+/config\"]\n";
    let site = Site::new().bridge("far", link.port(), keys);
    let near = site.start().await;
    let base = now_ms() - 100_000;
    let mut publisher = Publisher::connect(near.mqtt, "pack").await.unwrap();
    send(&mut publisher, base, 0..100).await;
    stored(&far, 100).await;
    near.metric_is(WAITING, 0.0).await;
    assert_eq!(near.metric(FORWARDED).await, 100.0);

    far.kill();
    near.metric_is("actors_mqtt_outside_brokers_connected", 0.0).await;
    send(&mut publisher, base, 100..300).await;
    near.metric_is(WAITING, 200.0).await;
    near.kill();
    let near = site.start().await;
    assert_eq!(near.metric(WAITING).await, 200.0, "what was acknowledged waits on disk");
    let mut publisher = Publisher::connect(near.mqtt, "pack").await.unwrap();
    send(&mut publisher, base, 300..350).await;

    let far = far_site.start().await;
    link.leads_to(far.mqtt);
    stored(&far, 350).await;
    near.metric_is(WAITING, 0.0).await;
    let ledger = far.ledger_at_rest(Some("pack")).await;
    assert_eq!((ledger.stored, ledger.rejected), (350, 0), "{ledger:?}");
    let expected: Vec<_> = (0..350).map(|number| (base + number, number as f64)).collect();
    assert_eq!(far.samples("pack", "n").await, expected);
    assert_eq!(near.stop().await, Some(0));
    assert_eq!(far.stop().await, Some(0));
}

/// That a message was written to the wire says nothing: only the other broker's PUBACK does.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_wire_swallowed_is_sent_again() {
    let far_site = Site::new().node_id("far");
    let far = far_site.start().await;
    let link = Link::new().await;
    link.leads_to(far.mqtt);
    let keys = "topics = []\nforward = [\"devices/+/telemetry\"]\n";
    let site = Site::new().bridge("far", link.port(), keys);
    let near = site.start().await;
    let base = now_ms() - 100_000;
    let mut publisher = Publisher::connect(near.mqtt, "pack").await.unwrap();
    send(&mut publisher, base, 0..20).await;
    stored(&far, 20).await;
    near.metric_is(WAITING, 0.0).await;
    link.swallow();
    send(&mut publisher, base, 20..70).await;
    let all = 50 * telemetry("pack", base, &[("n", 1.0)]).len();
    until("everything was swallowed", BOUND, || async {
        let swallowed = link.swallowed();
        if swallowed >= all { Ok(()) } else { Err(format!("{swallowed} of {all} bytes")) }
    })
    .await;
    link.cut();
    stored(&far, 70).await;
    near.metric_is(WAITING, 0.0).await;
    let expected: Vec<_> = (0..70).map(|number| (base + number, number as f64)).collect();
    assert_eq!(far.samples("pack", "n").await, expected);
    assert_eq!(near.stop().await, Some(0));
    assert_eq!(far.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_are_dropped_and_counted_when_too_much_waits() {
    let nowhere = Link::new().await;
    let site =
        Site::new().bridge("nobody", nowhere.port(), "forward = [\"devices/#\"]\nforward_queue = 100\n");
    let near = site.start().await;
    let mut publisher = Publisher::connect(near.mqtt, "pack").await.unwrap();
    send(&mut publisher, now_ms() - 100_000, 0..150).await;
    near.metric_is(WAITING, 100.0).await;
    near.metric_is("actors_mqtt_forward_dropped_total{reason=\"overflow\"}", 50.0).await;
    let told = near.log_lines().iter().filter(|line| line["event"] == "mqtt.forward.overflow").count();
    assert_eq!(told, 1, "once, not for each");
    assert_eq!(near.stop().await, Some(0));
    let near = site.start().await;
    assert_eq!(near.metric(WAITING).await, 100.0);
    assert_eq!(near.stop().await, Some(0));
}

/// Twenty commands are given at each of two nodes that pass them on to each other; who listened at each.
async fn both_hear_twenty_of_each(a: &Node, b: &Node) -> [Witness; 2] {
    let at_a = Witness::subscribe(a.mqtt, "listener", "devices/+/commands").await;
    let at_b = Witness::subscribe(b.mqtt, "listener", "devices/+/commands").await;
    command(a.mqtt, "boss", (0..20).map(|number| format!("from a {number:02}"))).await;
    command(b.mqtt, "boss", (0..20).map(|number| format!("from b {number:02}"))).await;
    for witness in [&at_a, &at_b] {
        witness.hears("from a 19").await;
        witness.hears("from b 19").await;
    }
    [at_a, at_b]
}

async fn command(address: SocketAddr, id: &str, payloads: impl IntoIterator<Item = String>) {
    let mut publisher = Publisher::connect(address, id).await.unwrap();
    for (number, payload) in payloads.into_iter().enumerate() {
        publisher.publish(number as u64, "devices/pack/commands", payload.as_bytes()).await.unwrap();
    }
    publisher.settle().await.unwrap();
}

fn once_each(payloads: &[&str]) -> BTreeMap<String, u32> {
    payloads.iter().map(|payload| ((*payload).to_owned(), 1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_come_from_the_other_broker_under_a_prefix_and_what_is_retained_goes_there() {
    let (far_site, link) = (Site::new().node_id("far"), Link::new().await);
    let keys = "topics = []\nforward = [\"devices/+/config\", \"devices/+/status\"]\nfetch = [\"devices/+/commands\"]\n";
    let near_site = Site::new().bridge("far", link.port(), keys);
    let near = near_site.start().await;
    let writer = Witness::subscribe(near.mqtt, "writer", "devices/none/status").await;
    writer.client.publish("devices/pack/config", QoS::AtLeastOnce, true, "{}").await.unwrap();
    near.metric_is("actors_mqtt_retained_messages", 1.0).await;
    let far = far_site.start().await;
    link.leads_to(far.mqtt);
    let there = Witness::subscribe(far.mqtt, "there", "devices/#").await;
    there.hears("{}").await;
    // A new subscriber there finds it retained.
    let later = Witness::subscribe(far.mqtt, "later", "devices/+/config").await;
    later.hears("{}").await;
    assert!(later.heard()[0].retain);

    let here = Witness::subscribe(near.mqtt, "here", "devices/+/commands").await;
    command(far.mqtt, "boss", ["go".to_owned()]).await;
    here.hears("go").await;
    assert_eq!(here.payloads(), once_each(&["go"]));
    assert_eq!(near.stop().await, Some(0));
    assert_eq!(far.stop().await, Some(0));
}

/// Each forwards everything to the other and fetches everything from it: every message has four ways to come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_does_not_go_in_circles_between_two_nodes_that_forward_and_fetch_everything() {
    let (to_a, to_b) = (Link::new().await, Link::new().await);
    let keys = "topics = []\nforward = [\"devices/#\"]\nfetch = [\"devices/#\"]\n";
    let named = |name: &str| format!("client_id = \"bridge-of-{name}\"\n{keys}");
    let a_site = Site::new().node_id("a").bridge("b", to_b.port(), &named("a"));
    let b_site = Site::new().node_id("b").bridge("a", to_a.port(), &named("b"));
    let (a, b) = tokio::join!(a_site.start(), b_site.start());
    to_a.leads_to(a.mqtt);
    to_b.leads_to(b.mqtt);
    for node in [&a, &b] {
        node.metric_is("actors_mqtt_outside_brokers_connected", 1.0).await;
    }
    let [at_a, at_b] = both_hear_twenty_of_each(&a, &b).await;
    // What is still under way would be heard before what is sent now.
    for node in [&a, &b] {
        node.metric_is(WAITING, 0.0).await;
    }
    command(a.mqtt, "boss", ["last".to_owned()]).await;
    for witness in [&at_a, &at_b] {
        witness.hears("last").await;
    }
    for node in [&a, &b] {
        node.metric_is(WAITING, 0.0).await;
    }
    let payloads = at_a.payloads();
    assert_eq!(payloads.len(), 41);
    println!("most often heard: {:?} and {:?}", payloads.values().max(), at_b.payloads().values().max());
    println!("came back: {} and {}", a.metric(RETURNED).await, b.metric(RETURNED).await);
    for witness in [&at_a, &at_b] {
        // Both nodes bring each message over: once by the one's forwarding, once by the other's fetching.
        assert!(witness.payloads().values().all(|times| *times <= 2), "{:?}", witness.payloads());
    }
    assert_eq!(a.stop().await, Some(0));
    assert_eq!(b.stop().await, Some(0));
}

/// Over 3.1.1 neither could tell what came round; they find out that they are both Voltrees.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_forward_everything_to_each_other_over_3_1_1_find_each_other_out() {
    let (to_a, to_b) = (Link::new().await, Link::new().await);
    let keys = "topics = []\nforward = [\"devices/#\"]\nprotocol = \"3.1.1\"\n";
    let a_site = Site::new().node_id("a").bridge("b", to_b.port(), keys);
    let b_site = Site::new().node_id("b").bridge("a", to_a.port(), keys);
    let (a, b) = tokio::join!(a_site.start(), b_site.start());
    to_a.leads_to(a.mqtt);
    to_b.leads_to(b.mqtt);
    for node in [&a, &b] {
        until("it knows that the other one is a Voltree", BOUND, || async {
            let told = node.log_lines().iter().any(|line| line["event"] == "mqtt.broker.is_voltree");
            if told { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        node.metric_is("actors_mqtt_outside_brokers_connected", 1.0).await;
    }
    let [at_a, at_b] = both_hear_twenty_of_each(&a, &b).await;
    // Each message comes back to where it was first, and ends there.
    for node in [&a, &b] {
        node.metric_is(RETURNED, 20.0).await;
        node.metric_is(WAITING, 0.0).await;
        assert_eq!(node.metric(FORWARDED).await, 40.0);
    }
    for witness in [&at_a, &at_b] {
        assert!(witness.payloads().values().all(|times| *times == 1), "{:?}", witness.payloads());
        assert_eq!(witness.payloads().len(), 40);
    }
    assert_eq!(a.stop().await, Some(0));
    assert_eq!(b.stop().await, Some(0));
}
