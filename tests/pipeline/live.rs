//! What is committed reaches whoever watches: a GraphQL subscription over graphql-transport-ws, and an MQTT subscriber.

use std::time::Duration;

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{BOUND, Node, Site};
use crate::support::now_ms;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn hear(socket: &mut Socket) -> Value {
    let heard = tokio::time::timeout(BOUND, socket.next()).await.expect("nothing came").unwrap().unwrap();
    serde_json::from_str(heard.to_text().unwrap()).unwrap()
}

async fn say(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

pub(crate) async fn begin(node: &Node, query: &str) -> Socket {
    let mut request =
        format!("{}/graphql", node.http.replace("http://", "ws://")).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    say(&mut socket, json!({ "type": "connection_init" })).await;
    assert_eq!(hear(&mut socket).await["type"], "connection_ack");
    say(&mut socket, json!({ "type": "subscribe", "id": "1", "payload": { "query": query } })).await;
    socket
}

async fn subscribe(node: &Node, query: &str) -> Socket {
    let mut socket = begin(node, query).await;
    say(&mut socket, json!({ "type": "ping" })).await;
    // The subscription stands before anything else is published; what was published before may still be on its way.
    while hear(&mut socket).await["type"] != "pong" {}
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_hears_each_committed_value_once_even_across_a_kill_of_the_bus() {
    let site = Site::new();
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "watched").await.unwrap();
    let mut others = Publisher::connect(node.mqtt, "other").await.unwrap();
    let base = now_ms();
    // A device must be known before it can be watched.
    publisher.publish(0, &topic("watched"), &telemetry("watched", base, &[("n", 0.0)])).await.unwrap();
    publisher.settle().await.unwrap();
    let query = "subscription { telemetryReceived(deviceId: \"watched\") { metricName time value } }";
    let mut socket = subscribe(&node, query).await;
    for number in 1..=20_u64 {
        let at = base + number as i64;
        publisher
            .publish(number, &topic("watched"), &telemetry("watched", at, &[("n", number as f64)]))
            .await
            .unwrap();
        others.publish(number, &topic("other"), &telemetry("other", at, &[("n", -1.0)])).await.unwrap();
        if number == 10 {
            publisher.settle().await.unwrap();
            node.kill_actor("node/live/bus").await.unwrap();
        }
    }
    for number in 1..=20_u64 {
        let mut heard = hear(&mut socket).await;
        if number == 1 && heard["payload"]["data"]["telemetryReceived"]["value"] == json!(0.0) {
            heard = hear(&mut socket).await;
        }
        let point = &heard["payload"]["data"]["telemetryReceived"];
        assert_eq!(point["value"], json!(number as f64), "{heard}");
        assert_eq!(point["metricName"], "n");
    }
    let silence = tokio::time::timeout(Duration::from_millis(500), socket.next()).await;
    assert!(silence.is_err(), "something was heard twice: {silence:?}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mqtt_subscriber_hears_what_others_publish() {
    let site = Site::new();
    let node = site.start().await;
    let mut options = rumqttc::MqttOptions::new("watcher", node.mqtt.ip().to_string(), node.mqtt.port());
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
    client.subscribe("devices/+/telemetry", rumqttc::QoS::AtLeastOnce).await.unwrap();
    let next = async |events: &mut rumqttc::EventLoop| {
        tokio::time::timeout(BOUND, events.poll()).await.expect("nothing came").unwrap()
    };
    while !matches!(next(&mut events).await, rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_))) {}
    let mut publisher = Publisher::connect(node.mqtt, "talker").await.unwrap();
    let payload = telemetry("talker", now_ms(), &[("n", 1.0)]);
    publisher.publish(1, &topic("talker"), &payload).await.unwrap();
    publisher.settle().await.unwrap();
    loop {
        if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) = next(&mut events).await {
            assert_eq!(publish.topic, "devices/talker/telemetry");
            assert_eq!(publish.payload, payload);
            break;
        }
    }
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_same_id_takes_over_and_nothing_it_sent_is_lost() {
    let site = Site::new();
    let node = site.start().await;
    let mut first = Publisher::connect(node.mqtt, "twin").await.unwrap();
    first.publish(1, &topic("twin"), &telemetry("twin", now_ms(), &[("n", 1.0)])).await.unwrap();
    first.settle().await.unwrap();
    let mut second = Publisher::connect(node.mqtt, "twin").await.unwrap();
    second.publish(2, &topic("twin"), &telemetry("twin", now_ms() + 1, &[("n", 2.0)])).await.unwrap();
    second.settle().await.unwrap();
    let closed = first.hear_the_end().await;
    assert!(closed.is_ok(), "the first connection is still open");
    assert_eq!(node.ledger_at_rest(Some("twin")).await.stored, 2);
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_says_it_is_offline_is_online_again_when_it_publishes() {
    let site = Site::new();
    let node = site.start().await;
    let mut device = Publisher::connect(node.mqtt, "moody").await.unwrap();
    let state = async || {
        node.query("{ device(id: \"moody\") { state } }", json!({})).await["device"]["state"].clone()
    };
    device.publish(1, &topic("moody"), &telemetry("moody", now_ms(), &[("n", 1.0)])).await.unwrap();
    device.settle().await.unwrap();
    assert_eq!(state().await, "ONLINE");
    device.publish(2, "devices/moody/status", b"{\"status\":\"offline\"}").await.unwrap();
    device.settle().await.unwrap();
    assert_eq!(state().await, "OFFLINE");
    device.publish(3, &topic("moody"), &telemetry("moody", now_ms() + 1, &[("n", 2.0)])).await.unwrap();
    device.settle().await.unwrap();
    assert_eq!(state().await, "ONLINE");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_watched_as_it_comes_and_goes_and_its_history_outlives_the_node() {
    let site = Site::new();
    let node = site.start().await;
    let mut device = Publisher::connect(node.mqtt, "moody").await.unwrap();
    device.publish(1, &topic("moody"), &telemetry("moody", now_ms(), &[("n", 1.0)])).await.unwrap();
    device.settle().await.unwrap();
    let mut socket =
        subscribe(&node, "subscription { deviceUpdated(deviceId: \"moody\") { state readings } }").await;
    let mut hear_state = async |wanted: &str| {
        loop {
            let heard = hear(&mut socket).await;
            if heard["payload"]["data"]["deviceUpdated"]["state"] == wanted {
                return;
            }
        }
    };
    device.publish(2, &topic("moody"), &telemetry("moody", now_ms() + 1, &[("n", 2.0)])).await.unwrap();
    hear_state("ONLINE").await;
    device.publish(3, "devices/moody/status", b"{\"status\":\"offline\"}").await.unwrap();
    hear_state("OFFLINE").await;
    device.publish(4, &topic("moody"), &telemetry("moody", now_ms() + 2, &[("n", 3.0)])).await.unwrap();
    hear_state("ONLINE").await;
    node.kill_actor("node/live/presence").await.unwrap();
    device.publish(5, "devices/moody/status", b"{\"status\":\"offline\"}").await.unwrap();
    hear_state("OFFLINE").await;
    assert_eq!(node.stop().await, Some(0));

    let node = site.start().await;
    let query = "{ device(id: \"moody\") { stateHistory { state reason } } }";
    let history = node.query(query, json!({})).await["device"]["stateHistory"].clone();
    let states: Vec<_> = history.as_array().unwrap().iter().map(|c| c["state"].as_str().unwrap()).collect();
    // Nothing was heard since the node started, so it still is what it was.
    assert_eq!(states, ["OFFLINE", "ONLINE", "OFFLINE", "ONLINE"], "{history}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_heard_as_it_begins() {
    let site = Site::new();
    let node = site.start().await;
    let mut socket = subscribe(&node, "subscription { alertTriggered { deviceId title metricValue } }").await;
    let mut publisher = Publisher::connect(node.mqtt, "hot").await.unwrap();
    let payload = telemetry("hot", now_ms(), &[("temperature_1", 71.5)]);
    publisher.publish(1, &topic("hot"), &payload).await.unwrap();
    publisher.settle().await.unwrap();
    let heard = hear(&mut socket).await;
    let expected = json!({ "deviceId": "hot", "title": "Over-temperature", "metricValue": 71.5 });
    assert_eq!(heard["payload"]["data"]["alertTriggered"], expected);
    assert_eq!(node.stop().await, Some(0));
}
