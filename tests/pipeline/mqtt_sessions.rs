//! What MQTT 3.1.1 promises beyond a publish: retained messages, QoS 2, last wills, sessions that outlive a connection.
//! The clients are rumqttc's, over real sockets.

use std::collections::BTreeSet;

use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, Publish, QoS};
use serde_json::json;

use crate::support::mqtt::telemetry;
use crate::support::node::{BOUND, Node, Site};
use crate::support::{now_ms, until};

struct Client {
    client: AsyncClient,
    events: EventLoop,
}

impl Client {
    /// Connects, and says whether the broker still knew the session.
    async fn connect(node: &Node, id: &str, change: impl FnOnce(&mut MqttOptions)) -> (Self, bool) {
        let mut options = MqttOptions::new(id, node.mqtt.ip().to_string(), node.mqtt.port());
        change(&mut options);
        let (client, events) = AsyncClient::new(options, 100);
        let mut this = Self { client, events };
        let present = this
            .hear(
                |packet| {
                    if let Packet::ConnAck(answer) = packet { Some(answer.session_present) } else { None }
                },
            )
            .await;
        (this, present)
    }

    /// Waits for the first packet that `wanted` takes.
    async fn hear<T>(&mut self, mut wanted: impl FnMut(Packet) -> Option<T>) -> T {
        let hearing = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await.unwrap()
                    && let Some(found) = wanted(packet)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(BOUND, hearing).await.expect("nothing came")
    }

    async fn hear_publish(&mut self) -> Publish {
        self.hear(|packet| if let Packet::Publish(publish) = packet { Some(publish) } else { None }).await
    }

    async fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.client.subscribe(filter, qos).await.unwrap();
        self.hear(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    }

    /// Publishes and waits for the last word of the exchange.
    async fn publish(&mut self, topic: &str, qos: QoS, retain: bool, payload: &str) {
        self.client.publish(topic, qos, retain, payload).await.unwrap();
        self.hear(|packet| matches!(packet, Packet::PubAck(_) | Packet::PubComp(_)).then_some(())).await;
    }

    async fn goodbye(mut self) {
        self.client.disconnect().await.unwrap();
        while self.events.poll().await.is_ok() {}
    }
}

fn lasting(options: &mut MqttOptions) {
    options.set_clean_session(false);
}

fn text(publish: &Publish) -> (&str, &[u8], bool) {
    (&publish.topic, &publish.payload, publish.retain)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_retained_message_is_there_for_later_subscribers_even_after_kill_9() {
    let site = Site::new();
    let node = site.start().await;
    let (mut writer, _) = Client::connect(&node, "writer", |_| {}).await;
    writer.publish("devices/a/config", QoS::AtLeastOnce, true, "old").await;
    writer.publish("devices/a/config", QoS::AtLeastOnce, true, "new").await;
    writer.publish("devices/b/config", QoS::AtLeastOnce, true, "gone").await;
    writer.publish("devices/b/config", QoS::AtLeastOnce, true, "").await;
    node.kill();
    let node = site.start().await;
    let (mut reader, _) = Client::connect(&node, "reader", |_| {}).await;
    reader.subscribe("devices/+/config", QoS::ExactlyOnce).await;
    assert_eq!(text(&reader.hear_publish().await), ("devices/a/config", &b"new"[..], true));
    let (mut writer, _) = Client::connect(&node, "writer", |_| {}).await;
    writer.publish("devices/b/config", QoS::AtLeastOnce, true, "live").await;
    let next = reader.hear_publish().await;
    assert_eq!(
        text(&next),
        ("devices/b/config", &b"live"[..], false),
        "b had none, and what is live is not marked"
    );
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_gets_every_retained_message_however_many_there_are() {
    const MANY: usize = 3_000;
    let site = Site::new();
    let node = site.start().await;
    let (mut writer, _) = Client::connect(&node, "writer", |_| {}).await;
    for n in 0..MANY {
        writer.client.publish(format!("devices/d{n}/config"), QoS::AtMostOnce, true, "{}").await.unwrap();
        if n % 50 == 0 {
            writer.publish("devices/last/config", QoS::AtLeastOnce, false, "").await;
        }
    }
    writer.publish("devices/last/config", QoS::AtLeastOnce, false, "").await;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let (mut reader, _) = Client::connect(&node, "reader", |_| {}).await;
        reader.subscribe("devices/+/config", qos).await;
        let mut heard = BTreeSet::new();
        while heard.len() < MANY {
            heard.insert(reader.hear_publish().await.topic);
        }
    }
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_of_qos_2_is_stored_once_and_delivered_once() {
    let site = Site::new();
    let node = site.start().await;
    let (mut reader, _) = Client::connect(&node, "reader", |_| {}).await;
    reader.subscribe("devices/exact/telemetry", QoS::ExactlyOnce).await;
    let (mut writer, _) = Client::connect(&node, "writer", |_| {}).await;
    let base = now_ms();
    for n in 0..20 {
        let payload = telemetry("exact", base + n, &[("n", n as f64)]);
        let payload = std::str::from_utf8(&payload).unwrap();
        writer.publish("devices/exact/telemetry", QoS::ExactlyOnce, false, payload).await;
    }
    for _ in 0..20 {
        let heard = reader.hear_publish().await;
        assert_eq!((heard.qos, heard.dup), (QoS::ExactlyOnce, false));
    }
    let ledger = node.ledger_at_rest(Some("exact")).await;
    assert_eq!((ledger.received, ledger.stored), (20, 20), "{ledger:?}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_is_published_when_its_client_is_lost_and_only_then() {
    let site = Site::new();
    let node = site.start().await;
    let with_will = |options: &mut MqttOptions| {
        options.set_last_will(LastWill::new("devices/mortal/status", "offline", QoS::AtLeastOnce, true));
    };
    let state = async || {
        node.query("{ device(id: \"mortal\") { state } }", json!({})).await["device"]["state"].clone()
    };
    let (mut client, _) = Client::connect(&node, "mortal", with_will).await;
    let payload = telemetry("mortal", now_ms(), &[("n", 1.0)]);
    client
        .publish("devices/mortal/telemetry", QoS::AtLeastOnce, false, std::str::from_utf8(&payload).unwrap())
        .await;
    assert_eq!(state().await, "ONLINE");
    client.goodbye().await;
    let (client, _) = Client::connect(&node, "mortal", with_will).await;
    assert_eq!(state().await, "ONLINE", "a goodbye is no loss");
    drop(client);
    until("the will made it offline", BOUND, || async {
        let state = state().await;
        if state == "OFFLINE" { Ok(()) } else { Err(state.to_string()) }
    })
    .await;
    let (mut reader, _) = Client::connect(&node, "reader", |_| {}).await;
    reader.subscribe("devices/+/status", QoS::AtLeastOnce).await;
    assert_eq!(text(&reader.hear_publish().await), ("devices/mortal/status", &b"offline"[..], true));

    // A client that is killed is lost too.
    let (_client, _) = Client::connect(&node, "mortal", with_will).await;
    let tree = node.try_tree().await.unwrap();
    let killed = tree.iter().rfind(|actor| actor.kind == "mqtt_client").unwrap();
    node.kill_actor(&killed.path).await.unwrap();
    assert_eq!(text(&reader.hear_publish().await), ("devices/mortal/status", &b"offline"[..], false));
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lasting_session_gets_what_came_while_its_client_was_away_even_across_a_restart() {
    let site = Site::new();
    let node = site.start().await;
    let (mut client, present) = Client::connect(&node, "gateway", lasting).await;
    assert!(!present);
    client.subscribe("devices/+/commands", QoS::AtLeastOnce).await;
    client.goodbye().await;
    let (mut writer, _) = Client::connect(&node, "writer", |_| {}).await;
    for n in 0..10 {
        writer.publish(&format!("devices/d{n}/commands"), QoS::AtLeastOnce, false, "go").await;
    }
    assert_eq!(node.stop().await, Some(0));

    let node = site.start().await;
    let (mut client, present) = Client::connect(&node, "gateway", lasting).await;
    assert!(present, "the node knows the session");
    for n in 0..10 {
        assert_eq!(client.hear_publish().await.topic, format!("devices/d{n}/commands"));
    }
    // The subscription stands without being made again.
    let (mut writer, _) = Client::connect(&node, "writer", |_| {}).await;
    writer.publish("devices/late/commands", QoS::AtLeastOnce, false, "go").await;
    assert_eq!(client.hear_publish().await.topic, "devices/late/commands");
    client.goodbye().await;
    let (_, present) = Client::connect(&node, "gateway", |_| {}).await;
    assert!(!present, "a clean session begins from nothing");
    let (_, present) = Client::connect(&node, "gateway", lasting).await;
    assert!(!present, "and leaves nothing behind");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_acknowledged_for_a_client_that_is_away_waits_for_it_even_after_kill_9() {
    let site = Site::new();
    let node = site.start().await;
    let (mut client, _) = Client::connect(&node, "gateway", lasting).await;
    client.subscribe("devices/+/commands", QoS::AtLeastOnce).await;
    client.goodbye().await;
    let (mut writer, _) = Client::connect(&node, "writer", |_| {}).await;
    for n in 0..10 {
        writer.publish(&format!("devices/d{n}/commands"), QoS::AtLeastOnce, false, "go").await;
    }
    node.kill();

    // It comes back for long enough to take three of them, and the node dies again.
    let node = site.start().await;
    let manual = |options: &mut MqttOptions| {
        lasting(options);
        options.set_manual_acks(true);
    };
    let (mut client, present) = Client::connect(&node, "gateway", manual).await;
    assert!(present, "the node knows the session");
    for n in 0..10 {
        let publish = client.hear_publish().await;
        assert_eq!(publish.topic, format!("devices/d{n}/commands"), "all are there, in their order");
        if n < 3 {
            client.client.ack(&publish).await.unwrap();
        }
    }
    node.kill();

    let node = site.start().await;
    let (mut client, present) = Client::connect(&node, "gateway", lasting).await;
    assert!(present);
    let mut again = Vec::new();
    while again.last().map(String::as_str) != Some("devices/d9/commands") {
        again.push(client.hear_publish().await.topic);
    }
    let unfinished: Vec<_> = (3..10).map(|n| format!("devices/d{n}/commands")).collect();
    assert!(again.ends_with(&unfinished), "{again:?}");
    client.goodbye().await;
    assert_eq!(node.stop().await, Some(0));

    // What it has finished with does not come again.
    let node = site.start().await;
    let (mut client, present) = Client::connect(&node, "gateway", lasting).await;
    assert!(present);
    let (mut writer, _) = Client::connect(&node, "writer", |_| {}).await;
    writer.publish("devices/late/commands", QoS::AtLeastOnce, false, "go").await;
    assert_eq!(client.hear_publish().await.topic, "devices/late/commands");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_shares_a_subscription_and_each_message_goes_to_one_of_it() {
    let site = Site::new();
    let node = site.start().await;
    let (mut publisher, _) = Client::connect(&node, "publisher", |_| {}).await;
    publisher.publish("devices/d0/config", QoS::AtLeastOnce, true, "retained").await;
    let (mut first, _) = Client::connect(&node, "first", |_| {}).await;
    let (mut second, _) = Client::connect(&node, "second", lasting).await;
    let (mut alone, _) = Client::connect(&node, "alone", |_| {}).await;
    first.subscribe("$share/readers/devices/+/config", QoS::AtLeastOnce).await;
    second.subscribe("$share/readers/devices/+/config", QoS::AtLeastOnce).await;
    alone.subscribe("devices/#", QoS::AtLeastOnce).await;
    assert_eq!(text(&alone.hear_publish().await).1, b"retained");
    for number in 1..=10 {
        publisher.publish(&format!("devices/d{number}/config"), QoS::AtLeastOnce, false, "x").await;
    }
    let mut heard = Vec::new();
    for _ in 0..5 {
        heard.push(first.hear_publish().await.topic);
        heard.push(second.hear_publish().await.topic);
    }
    heard.sort();
    let mut all: Vec<_> = (1..=10).map(|number| format!("devices/d{number}/config")).collect();
    all.sort();
    assert_eq!(heard, all, "each message once, and no retained one");
    for _ in 1..=10 {
        alone.hear_publish().await;
    }
    first.goodbye().await;
    second.goodbye().await;
    until("the group is away", BOUND, || async {
        let tree = node.try_tree().await?;
        let connected = tree.iter().filter(|actor| actor.kind == "mqtt_client").count();
        if connected == 2 { Ok(()) } else { Err(format!("{connected} clients")) }
    })
    .await;
    // What comes waits for the one whose session lasts.
    publisher.publish("devices/later/config", QoS::AtLeastOnce, false, "x").await;
    let (mut second, present) = Client::connect(&node, "second", lasting).await;
    assert!(present);
    assert_eq!(second.hear_publish().await.topic, "devices/later/config");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_its_session_over_gets_what_the_first_connection_left_open() {
    let site = Site::new();
    let node = site.start().await;
    let (mut first, _) = Client::connect(&node, "twin", |options| {
        lasting(options);
        options.set_manual_acks(true);
    })
    .await;
    first.subscribe("devices/+/commands", QoS::AtLeastOnce).await;
    let (mut writer, _) = Client::connect(&node, "writer", |_| {}).await;
    writer.publish("devices/x/commands", QoS::AtLeastOnce, false, "go").await;
    assert!(!first.hear_publish().await.dup, "it is not acknowledged");
    let (mut second, present) = Client::connect(&node, "twin", lasting).await;
    assert!(present);
    let again = second.hear_publish().await;
    assert_eq!((again.topic.as_str(), again.dup), ("devices/x/commands", true));
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_shares_a_subscription_takes_turns_and_goes_on_without_one_that_left() {
    let site = Site::new();
    let node = site.start().await;
    let (mut writer, _) = Client::connect(&node, "writer", |_| {}).await;
    writer.publish("devices/a/config", QoS::AtLeastOnce, true, "kept").await;
    let (mut first, _) = Client::connect(&node, "first", lasting).await;
    let (mut second, _) = Client::connect(&node, "second", lasting).await;
    let (mut alone, _) = Client::connect(&node, "alone", |_| {}).await;
    for member in [&mut first, &mut second] {
        member.subscribe("$share/workers/devices/+/commands", QoS::AtLeastOnce).await;
        member.subscribe("$share/workers/devices/+/config", QoS::AtLeastOnce).await;
    }
    alone.subscribe("devices/+/commands", QoS::AtLeastOnce).await;
    for n in 0..10 {
        writer.publish("devices/a/commands", QoS::AtLeastOnce, false, &n.to_string()).await;
    }
    let mut shared = BTreeSet::new();
    for n in 0..10 {
        assert_eq!(alone.hear_publish().await.payload, n.to_string());
        let publish = if n % 2 == 0 { first.hear_publish().await } else { second.hear_publish().await };
        assert_eq!(publish.topic, "devices/a/commands", "a group gets no retained message");
        shared.insert(publish.payload.to_vec());
    }
    assert_eq!(shared.len(), 10, "each message went to one of the two");
    first.goodbye().await;
    for n in 10..14 {
        writer.publish("devices/a/commands", QoS::AtLeastOnce, false, &n.to_string()).await;
        assert_eq!(second.hear_publish().await.payload, n.to_string());
    }
    assert_eq!(node.stop().await, Some(0));
}

/// What is neither the contract's nor any convention's goes to who asks for it, as by any broker; a topic that is only
/// mistaken is counted.
#[tokio::test(flavor = "multi_thread")]
async fn topics_of_others_are_passed_on_and_kept_and_those_that_nobody_hears_are_counted() {
    let site = Site::new();
    let node = site.start().await;
    let (mut ear, _) = Client::connect(&node, "ear", |_| {}).await;
    ear.subscribe("home/#", QoS::AtLeastOnce).await;
    let (mut mouth, _) = Client::connect(&node, "mouth", |_| {}).await;
    mouth.publish("home/door", QoS::AtLeastOnce, false, "open").await;
    mouth.publish("cellar/light", QoS::ExactlyOnce, true, "on").await;
    for mistaken in ["attic/light", "devices/attic/light", "$SYS/light"] {
        mouth.publish(mistaken, QoS::AtLeastOnce, false, "on").await;
    }
    let heard = ear.hear_publish().await;
    assert_eq!((&*heard.topic, &*heard.payload), ("home/door", &b"open"[..]));
    node.kill();
    let node = site.start().await;
    let (mut later, _) = Client::connect(&node, "later", |_| {}).await;
    later.subscribe("cellar/#", QoS::AtLeastOnce).await;
    let kept = later.hear_publish().await;
    assert_eq!((&*kept.payload, kept.retain), (&b"on"[..], true));
    let reasons =
        node.query("{ ledger { received stored rejectedByReason { reason count } } }", json!({})).await;
    let expected =
        json!([{ "received": 3, "stored": 0, "rejectedByReason": [{ "reason": "bad_topic", "count": 3 }] }]);
    assert_eq!(reasons["ledger"], expected);
}
