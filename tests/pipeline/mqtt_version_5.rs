//! MQTT 5.0 beside 3.1.1 on the same port. The clients are rumqttc's, over real sockets.

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectProperties, DisconnectReasonCode, Filter, Packet, PublishProperties,
};
use rumqttc::v5::{Event, MqttOptions};

use crate::mqtt_5_client::Client;
use crate::support::node::{BOUND, Node, Site};

async fn connect(node: &Node, id: &str, clean_start: bool, expiry_s: Option<u32>) -> (Client, ConnAck) {
    let change = |options: &mut MqttOptions| {
        options.set_clean_start(clean_start);
        options.set_connect_properties(ConnectProperties {
            session_expiry_interval: expiry_s,
            ..ConnectProperties::new()
        });
    };
    Client::connect(node, id, change).await
}

impl Client {
    /// Publishes, and waits for the last word of the exchange.
    async fn publish_at(&mut self, topic: &str, qos: QoS, payload: &'static str, said: PublishProperties) {
        self.client.publish_with_properties(topic, qos, false, payload, said).await.unwrap();
        self.hear(|packet| matches!(packet, Packet::PubAck(_) | Packet::PubComp(_)).then_some(())).await;
    }
}

fn said() -> PublishProperties {
    PublishProperties {
        content_type: Some("application/json".to_owned()),
        response_topic: Some("answers/1".to_owned()),
        correlation_data: Some(Bytes::from_static(b"7")),
        user_properties: vec![("site".to_owned(), "north".to_owned())],
        ..PublishProperties::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_levels_hear_each_other_and_properties_reach_who_can_read_them() {
    let site = Site::new();
    let node = site.start().await;
    let (mut reader, answer) = connect(&node, "reader", true, None).await;
    let offered = answer.properties.expect("5.0 is told what is offered");
    assert_eq!((offered.receive_max, offered.subscription_identifiers_available), (Some(1024), None));
    reader.subscribe(Filter::new("devices/+/commands", QoS::ExactlyOnce), None).await;
    let mut options = rumqttc::MqttOptions::new("old", node.mqtt.ip().to_string(), node.mqtt.port());
    options.set_clean_session(true);
    let (old, mut old_events) = rumqttc::AsyncClient::new(options, 10);
    old.subscribe("devices/+/commands", rumqttc::QoS::AtLeastOnce).await.unwrap();
    let mut hear_old = async || loop {
        let polled = tokio::time::timeout(BOUND, old_events.poll()).await.expect("nothing came");
        if let rumqttc::Event::Incoming(packet) = polled.unwrap() {
            return packet;
        }
    };
    while !matches!(hear_old().await, rumqttc::Packet::SubAck(_)) {}
    let (mut writer, _) = connect(&node, "writer", true, None).await;
    writer.publish_at("devices/a/commands", QoS::ExactlyOnce, "new", said()).await;
    let heard = reader.hear_publish().await;
    assert_eq!(
        (heard.qos, &heard.payload[..], heard.properties),
        (QoS::ExactlyOnce, &b"new"[..], Some(said()))
    );
    let heard = loop {
        if let rumqttc::Packet::Publish(publish) = hear_old().await {
            break publish;
        }
    };
    assert_eq!((heard.topic.as_str(), &heard.payload[..]), ("devices/a/commands", &b"new"[..]));
    old.publish("devices/a/commands", rumqttc::QoS::AtMostOnce, false, "old").await.unwrap();
    while !matches!(hear_old().await, rumqttc::Packet::Publish(_)) {}
    assert_eq!(reader.hear_publish().await.payload, "old");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lasts_as_long_as_its_client_said_and_expired_messages_are_not_delivered() {
    let site = Site::new();
    let node = site.start().await;
    let (mut reader, answer) = connect(&node, "reader", true, Some(3_600)).await;
    assert!(!answer.session_present);
    reader.subscribe(Filter::new("devices/+/commands", QoS::AtLeastOnce), None).await;
    drop(reader);
    let (brief, _) = connect(&node, "brief", false, None).await;
    drop(brief);
    let (mut writer, _) = connect(&node, "writer", true, None).await;
    let expired = PublishProperties { message_expiry_interval: Some(0), ..said() };
    writer.publish_at("devices/a/commands", QoS::AtLeastOnce, "too late", expired).await;
    let lasting = PublishProperties { message_expiry_interval: Some(3_600), ..said() };
    writer.publish_at("devices/a/commands", QoS::AtLeastOnce, "in time", lasting).await;
    let (mut reader, answer) = connect(&node, "reader", false, Some(3_600)).await;
    assert!(answer.session_present);
    let heard = reader.hear_publish().await;
    assert_eq!(heard.payload, "in time");
    let left = heard.properties.unwrap().message_expiry_interval.unwrap();
    assert!((1..=3_600).contains(&left), "{left}");
    let (_brief, answer) = connect(&node, "brief", false, None).await;
    assert!(!answer.session_present, "no expiry means that it ends with the connection");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_its_new_id_and_why_it_has_to_go() {
    let site = Site::new();
    let node = site.start().await;
    let (_nameless, answer) = connect(&node, "", true, None).await;
    assert!(answer.properties.unwrap().assigned_client_identifier.is_some_and(|id| !id.is_empty()));
    let (mut first, _) = connect(&node, "twin", true, None).await;
    let (_second, _) = connect(&node, "twin", true, None).await;
    let told = async {
        loop {
            match first.events.poll().await {
                Ok(Event::Incoming(Packet::Disconnect(disconnect))) => return disconnect.reason_code,
                Err(rumqttc::v5::ConnectionError::MqttState(rumqttc::v5::StateError::ServerDisconnect {
                    reason_code,
                    ..
                })) => return reason_code,
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let reason = tokio::time::timeout(BOUND, told).await.expect("no DISCONNECT came");
    assert_eq!(reason, DisconnectReasonCode::SessionTakenOver);
    assert_eq!(node.stop().await, Some(0));
}
