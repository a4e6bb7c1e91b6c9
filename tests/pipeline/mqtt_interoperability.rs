//! Subjects of Eclipse Paho's interoperability tests that no other test here has end to end; docs/mqtt.md lists them all.

use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::ConnectProperties;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeFilter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::node::{BOUND, Node, Site};

async fn connect(node: &Node, id: &str) -> (AsyncClient, EventLoop) {
    let options = MqttOptions::new(id, node.mqtt.ip().to_string(), node.mqtt.port());
    let (client, mut events) = AsyncClient::new(options, 100);
    hear(&mut events, |packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await;
    (client, events)
}

async fn hear<T>(events: &mut EventLoop, mut wanted: impl FnMut(Packet) -> Option<T>) -> T {
    let hearing = async {
        loop {
            if let Event::Incoming(packet) = events.poll().await.unwrap()
                && let Some(found) = wanted(packet)
            {
                return found;
            }
        }
    };
    tokio::time::timeout(BOUND, hearing).await.expect("nothing came")
}

async fn publish(client: &(AsyncClient, EventLoop), topic: &str, payload: &str) {
    client.0.publish(topic, QoS::ExactlyOnce, false, payload).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_subscriptions_deliver_once_at_the_highest_qos_and_unsubscribing_ends_it() {
    let site = Site::new();
    let node = site.start().await;
    let (reader, mut heard) = connect(&node, "reader").await;
    let filters = [("devices/#", QoS::AtMostOnce), ("devices/+/commands", QoS::ExactlyOnce)];
    let filters = filters.map(|(path, qos)| SubscribeFilter::new(path.to_owned(), qos));
    reader.subscribe_many(filters).await.unwrap();
    hear(&mut heard, |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    let mut writer = connect(&node, "writer").await;
    publish(&writer, "devices/a/commands", "1").await;
    publish(&writer, "devices/a/config", "2").await;
    let mut done = 0;
    hear(&mut writer.1, |packet| {
        done += u32::from(matches!(packet, Packet::PubComp(_)));
        (done == 2).then_some(())
    })
    .await;
    let next = |packet| if let Packet::Publish(p) = packet { Some((p.payload, p.qos)) } else { None };
    assert_eq!(hear(&mut heard, next).await, ("1".into(), QoS::ExactlyOnce));
    assert_eq!(hear(&mut heard, next).await, ("2".into(), QoS::AtMostOnce), "the first came once");
    reader.unsubscribe("devices/#").await.unwrap();
    hear(&mut heard, |packet| matches!(packet, Packet::UnsubAck(_)).then_some(())).await;
    publish(&writer, "devices/a/config", "3").await;
    publish(&writer, "devices/a/commands", "4").await;
    let mut done = 0;
    hear(&mut writer.1, |packet| {
        done += u32::from(matches!(packet, Packet::PubComp(_)));
        (done == 2).then_some(())
    })
    .await;
    assert_eq!(hear(&mut heard, next).await.0, "4", "the other filter stays");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_silent_for_one_and_a_half_keep_alives_is_lost_and_its_will_published() {
    let site = Site::new();
    let node = site.start().await;
    let (reader, mut heard) = connect(&node, "reader").await;
    reader.subscribe("devices/+/status", QoS::AtMostOnce).await.unwrap();
    hear(&mut heard, |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    let mut silent = TcpStream::connect(node.mqtt).await.unwrap();
    let begun = Instant::now();
    let mut bytes = vec![0x10, 42, 0, 4];
    bytes.extend(b"MQTT");
    // Clean session, a will, and a keep-alive of one second.
    bytes.extend([4, 0x06, 0, 1, 0, 1, b's', 0, 16]);
    bytes.extend(b"devices/x/status");
    bytes.extend([0, 7]);
    bytes.extend(b"offline");
    bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
    silent.write_all(&bytes).await.unwrap();
    let next = |packet| if let Packet::Publish(p) = packet { Some(p.topic) } else { None };
    assert_eq!(hear(&mut heard, next).await, "devices/x/status");
    assert!(begun.elapsed() >= Duration::from_millis(1_500), "{:?}", begun.elapsed());
    let mut rest = Vec::new();
    tokio::time::timeout(BOUND, silent.read_to_end(&mut rest)).await.expect("it stays open").unwrap();
    assert_eq!(rest, [0x20, 2, 0, 0], "CONNACK and then the end");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_under_way_to_a_client_than_it_said() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::Packet;
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};
    let site = Site::new();
    let node = site.start().await;
    let mut options = MqttOptions::new("reader", node.mqtt.ip().to_string(), node.mqtt.port());
    options.set_manual_acks(true);
    options
        .set_connect_properties(ConnectProperties { receive_maximum: Some(2), ..ConnectProperties::new() });
    let (reader, mut events) = AsyncClient::new(options, 100);
    let mut next = async || loop {
        let polled = tokio::time::timeout(BOUND, events.poll()).await.expect("nothing came");
        if let Event::Incoming(packet) = polled.unwrap() {
            return packet;
        }
    };
    reader.subscribe("devices/+/commands", QoS::AtLeastOnce).await.unwrap();
    while !matches!(next().await, Packet::SubAck(_)) {}
    let mut writer = connect(&node, "writer").await;
    for n in 0..3 {
        publish(&writer, "devices/a/commands", &n.to_string()).await;
    }
    let mut done = 0;
    hear(&mut writer.1, |packet| {
        done += u32::from(matches!(packet, rumqttc::Packet::PubComp(_)));
        (done == 3).then_some(())
    })
    .await;
    // Whatever was under way is here before this is answered.
    reader.subscribe("devices/+/config", QoS::AtLeastOnce).await.unwrap();
    let mut came = Vec::new();
    loop {
        match next().await {
            Packet::Publish(publish) => came.push(publish),
            Packet::SubAck(_) => break,
            _ => {}
        }
    }
    let payloads: Vec<_> = came.iter().map(|publish| publish.payload.clone()).collect();
    assert_eq!(payloads, ["0", "1"]);
    reader.ack(&came[0]).await.unwrap();
    let third = loop {
        if let Packet::Publish(publish) = next().await {
            break publish;
        }
    };
    assert_eq!(third.payload, "2");
    assert_eq!(node.stop().await, Some(0));
}
