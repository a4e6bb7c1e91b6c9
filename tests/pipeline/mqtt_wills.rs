//! Last wills when it is the node that ends: clients that come back afterwards lose nothing, and of those that don't their
//! will is published, whether the node was stopped or killed.

use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS as QoSOf5;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, DisconnectReasonCode, LastWill as WillOf5};
use rumqttc::v5::{ConnectionError, StateError};
use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet as PacketOf3, QoS};

use crate::mqtt_5_client::{Client, will_properties};
use crate::support::node::{BOUND, Node, Site};
use crate::support::until;
use crate::support::witness::Witness;

/// How long clients have to come back here.
const PATIENCE: Duration = Duration::from_secs(12);
const KEYS: &str = "will_patience_s = 12\n";

fn status(device: &str) -> String {
    format!("devices/{device}/status")
}

/// A client of 3.1.1 without a session, which says that it is online and leaves the will to be offline.
async fn online(node: &Node, device: &str) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(device, node.mqtt.ip().to_string(), node.mqtt.port());
    options.set_last_will(LastWill::new(status(device), format!("{device} offline"), QoS::AtLeastOnce, true));
    let (client, mut events) = AsyncClient::new(options, 10);
    client.publish(status(device), QoS::AtLeastOnce, true, format!("{device} online")).await.unwrap();
    let acknowledged =
        async { while !matches!(events.poll().await.unwrap(), Event::Incoming(PacketOf3::PubAck(_))) {} };
    tokio::time::timeout(BOUND, acknowledged).await.expect("it is online");
    (client, events)
}

/// What a new subscriber hears of this status, retained.
async fn retained(node: &Node, device: &str, reader: &str) -> String {
    let witness = Witness::subscribe(node.mqtt, reader, &status(device)).await;
    until("something is retained", BOUND, || async {
        let first = witness.heard().into_iter().find(|message| message.retain);
        first.map(|message| String::from_utf8(message.payload.to_vec()).unwrap()).ok_or_else(String::new)
    })
    .await
}

async fn is_retained(node: &Node, device: &str, wanted: &str) {
    for attempt in 0.. {
        let found = retained(node, device, &format!("{device}-{attempt}")).await;
        if found == wanted {
            return;
        }
        assert!(attempt < 100, "{found}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn who_does_not_come_back_is_offline(end: impl AsyncFnOnce(Node)) {
    let site = Site::new().mqtt_sections(KEYS);
    let node = site.start().await;
    let witness = Witness::subscribe(node.mqtt, "witness", "devices/+/status").await;
    let (lost, back) = (online(&node, "lost").await, online(&node, "back").await);
    let (polite, mut farewell) = online(&node, "polite").await;
    polite.disconnect().await.unwrap();
    while farewell.poll().await.is_ok() {}
    // Whatever is acknowledged behind the farewell is on disk behind it.
    let other = online(&node, "other").await;
    drop(witness);
    end(node).await;
    drop((lost, back, other));

    let node = site.start().await;
    let started = Instant::now();
    let witness = Witness::subscribe(node.mqtt, "witness", "devices/+/status").await;
    let _back = online(&node, "back").await;
    let _other = online(&node, "other").await;
    assert_eq!(retained(&node, "lost", "early").await, "lost online", "it still has time to come back");
    witness.hears("lost offline").await;
    assert!(started.elapsed() + Duration::from_secs(1) >= PATIENCE, "{:?}", started.elapsed());
    is_retained(&node, "lost", "lost offline").await;
    for device in ["back", "other", "polite"] {
        assert_eq!(retained(&node, device, &format!("late-{device}")).await, format!("{device} online"));
        assert_eq!(witness.payloads().get(&format!("{device} offline")), None);
    }
    // Once published it is over: another start says nothing again.
    let _others = (online(&node, "lost").await, node.kill());
    let node = site.start().await;
    let _lost = online(&node, "lost").await;
    drop((_back, _other));
    let witness = Witness::subscribe(node.mqtt, "witness-2", "devices/+/status").await;
    witness.hears("back offline").await;
    witness.hears("other offline").await;
    assert_eq!(witness.payloads().get("lost offline"), None, "{:?}", witness.payloads());
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_9_the_status_of_clients_that_do_not_come_back_is_offline() {
    who_does_not_come_back_is_offline(async |node| node.kill()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_orderly_stop_the_status_of_clients_that_do_not_come_back_is_offline() {
    who_does_not_come_back_is_offline(async |node| assert_eq!(node.stop().await, Some(0))).await;
}

/// A client of 5.0 whose session and will last for so long after it went.
async fn with_delay(node: &Node, device: &str, delay_s: u32) -> Client {
    let set = |options: &mut rumqttc::v5::MqttOptions| {
        options.set_clean_start(false);
        options.set_connect_properties(ConnectProperties {
            session_expiry_interval: Some(3_600),
            ..ConnectProperties::new()
        });
        let properties = will_properties(delay_s);
        let words = format!("{device} offline");
        options.set_last_will(WillOf5::new(
            status(device),
            words,
            QoSOf5::AtLeastOnce,
            true,
            Some(properties),
        ));
    };
    Client::connect(node, device, set).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_that_waits_goes_on_waiting_after_a_kill_9_until_it_is_due_or_its_client_is_back() {
    let site = Site::new().mqtt_sections(KEYS);
    let node = site.start().await;
    drop((with_delay(&node, "lost", 16).await, with_delay(&node, "back", 16).await));
    let went = Instant::now();
    // What is acknowledged now is on disk behind what was noted of them.
    node.metric_is("actors_mqtt_connections", 0.0).await;
    drop(online(&node, "last").await);
    node.kill();
    let node = site.start().await;
    let witness = Witness::subscribe(node.mqtt, "witness", "devices/+/status").await;
    let _back = with_delay(&node, "back", 16).await;
    witness.hears("lost offline").await;
    assert!(went.elapsed() >= Duration::from_secs(15), "{:?}", went.elapsed());
    assert_eq!(witness.payloads().get("back offline"), None);
    let heard = Client::connect(&node, "reader", |_| {}).await;
    let (mut reader, _) = heard;
    let filter = rumqttc::v5::mqttbytes::v5::Filter::new(status("lost"), QoSOf5::AtLeastOnce);
    reader.subscribe(filter, None).await;
    let said = reader.hear_publish().await.properties.unwrap();
    assert_eq!(said.content_type.as_deref(), Some("text/plain"));
    assert_eq!(said.user_properties, [("why".to_owned(), "lost".to_owned())]);
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_5_0_is_told_that_the_node_shuts_down() {
    let site = Site::new().mqtt_sections(KEYS);
    let node = site.start().await;
    let mut told = with_delay(&node, "told", 0).await;
    let farewell = async {
        loop {
            if let Err(farewell) = told.events.poll().await {
                return farewell;
            }
        }
    };
    let (farewell, ended) = tokio::join!(tokio::time::timeout(BOUND, farewell), node.stop());
    let farewell = farewell.expect("it is told");
    let reason = DisconnectReasonCode::ServerShuttingDown;
    let expected = StateError::ServerDisconnect { reason_code: reason, reason_string: None };
    assert_eq!((farewell.to_string(), ended), (ConnectionError::MqttState(expected).to_string(), Some(0)));
}
