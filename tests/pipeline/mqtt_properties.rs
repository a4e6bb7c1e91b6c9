//! What MQTT 5.0 adds for subscribers, wills and answers, over real sockets: options and marks of subscriptions, delayed
//! wills, reason codes, aliases, the client's largest packet, properties that outlive a restart.

use std::time::{Duration, Instant};

use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, Filter, LastWill, Packet, PubAckReason, PubRecReason, PublishProperties,
    RetainForwardRule, UnsubAckReason,
};

use crate::mqtt_5_client::{Client, will_properties};
use crate::support::mqtt::telemetry;
use crate::support::node::{BOUND, Site};
use crate::support::{now_ms, until};

impl Client {
    async fn publish(&mut self, topic: &str, retain: bool, payload: &str) -> PubAckReason {
        self.publish_with(topic, retain, payload, PublishProperties::default()).await
    }

    async fn publish_with(
        &mut self,
        topic: &str,
        retain: bool,
        payload: &str,
        said: PublishProperties,
    ) -> PubAckReason {
        let payload = payload.to_owned();
        self.client.publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, said).await.unwrap();
        self.hear(|packet| if let Packet::PubAck(answer) = packet { Some(answer.reason) } else { None }).await
    }
}

fn plain(_: &mut MqttOptions) {}

fn lasting(options: &mut MqttOptions) {
    options.set_clean_start(false);
    options.set_connect_properties(ConnectProperties {
        session_expiry_interval: Some(3_600),
        ..ConnectProperties::new()
    });
}

fn filter(path: &str) -> Filter {
    Filter::new(path, QoS::AtLeastOnce)
}

fn said() -> PublishProperties {
    PublishProperties {
        content_type: Some("application/json".to_owned()),
        user_properties: vec![("site".to_owned(), "north".to_owned())],
        ..PublishProperties::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_has_its_options_and_its_mark() {
    let site = Site::new();
    let node = site.start().await;
    let (mut writer, _) = Client::connect(&node, "writer", plain).await;
    writer.publish("devices/a/config", true, "kept").await;
    let (mut reader, _) = Client::connect(&node, "reader", plain).await;
    let as_published = Filter { preserve_retain: true, ..filter("devices/a/config") };
    reader.subscribe(as_published.clone(), Some(5)).await;
    let heard = reader.hear_publish().await;
    assert_eq!((heard.retain, heard.properties.unwrap().subscription_identifiers), (true, vec![5]));
    let if_new = Filter { retain_forward_rule: RetainForwardRule::OnNewSubscribe, ..as_published };
    reader.subscribe(if_new, Some(6)).await;
    let never = Filter { retain_forward_rule: RetainForwardRule::Never, ..filter("devices/+/config") };
    reader.subscribe(never, Some(7)).await;
    let deaf = Filter { nolocal: true, ..filter("devices/b/commands") };
    reader.subscribe(deaf, None).await;
    reader.client.publish("devices/b/commands", QoS::AtMostOnce, false, "mine").await.unwrap();
    writer.publish("devices/a/config", true, "live").await;
    let heard = reader.hear_publish().await;
    let mut ids = heard.properties.unwrap().subscription_identifiers;
    ids.sort_unstable();
    assert_eq!((&heard.payload[..], heard.retain, ids), (&b"live"[..], true, vec![6, 7]));
    writer.publish("devices/b/commands", false, "theirs").await;
    assert_eq!(reader.hear_publish().await.payload, "theirs", "its own was not for it");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_what_became_of_a_message() {
    let site = Site::new();
    let node = site.start().await;
    let (mut client, _) = Client::connect(&node, "client", plain).await;
    let good = String::from_utf8(telemetry("a", now_ms(), &[("v", 1.0)])).unwrap();
    assert_eq!(client.publish("devices/a/telemetry", false, &good).await, PubAckReason::Success);
    assert_eq!(client.publish("devices/a/telemetry", false, "{").await, PubAckReason::PayloadFormatInvalid);
    assert_eq!(client.publish("nobody/knows", false, "x").await, PubAckReason::TopicNameInvalid);
    let unheard = client.publish("devices/a/commands", false, "{}").await;
    assert_eq!(unheard, PubAckReason::NoMatchingSubscribers);
    client.client.publish("devices/a/telemetry", QoS::ExactlyOnce, false, "{").await.unwrap();
    let answer =
        client.hear(|packet| if let Packet::PubRec(answer) = packet { Some(answer.reason) } else { None });
    assert_eq!(answer.await, PubRecReason::PayloadFormatInvalid);
    client.client.unsubscribe("never/had").await.unwrap();
    let answer = client
        .hear(|packet| if let Packet::UnsubAck(answer) = packet { Some(answer.reasons) } else { None })
        .await;
    assert_eq!(answer, [UnsubAckReason::NoSubscriptionExisted]);
    let ledger = node.ledger_at_rest(Some("a")).await;
    assert_eq!(ledger.stored, 1, "{ledger:?}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_waits_for_its_client_to_come_back_and_says_what_it_was_to_say() {
    let site = Site::new();
    let node = site.start().await;
    let (mut reader, _) = Client::connect(&node, "reader", plain).await;
    reader.subscribe(filter("devices/+/status"), None).await;
    let with_will = |device: &'static str, delay_s: u32| {
        move |options: &mut MqttOptions| {
            lasting(options);
            let properties = will_properties(delay_s);
            let topic = format!("devices/{device}/status");
            options.set_last_will(LastWill::new(topic, "offline", QoS::AtLeastOnce, false, Some(properties)));
        }
    };
    drop(Client::connect(&node, "back", with_will("back", 2)).await);
    let (_back, answer) = Client::connect(&node, "back", lasting).await;
    assert!(answer.session_present);
    let lost = Instant::now();
    drop(Client::connect(&node, "lost", with_will("lost", 2)).await);
    let heard = reader.hear_publish().await;
    assert_eq!(&heard.topic[..], b"devices/lost/status", "who came back took its will back");
    assert!(lost.elapsed() >= Duration::from_secs(2), "{:?}", lost.elapsed());
    let said = heard.properties.unwrap();
    assert_eq!(said.content_type.as_deref(), Some("text/plain"));
    assert_eq!(said.user_properties, [("why".to_owned(), "lost".to_owned())]);
    drop(Client::connect(&node, "anew", with_will("anew", 3_600)).await);
    let (_anew, answer) = Client::connect(&node, "anew", plain).await;
    assert!(!answer.session_present);
    assert_eq!(&reader.hear_publish().await.topic[..], b"devices/anew/status", "its session ended");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_a_client_takes_is_not_sent_to_it_and_counted() {
    let site = Site::new();
    let node = site.start().await;
    let small = |options: &mut MqttOptions| {
        options.set_connect_properties(ConnectProperties {
            max_packet_size: Some(100),
            ..ConnectProperties::new()
        });
    };
    let (mut reader, _) = Client::connect(&node, "reader", small).await;
    reader.subscribe(filter("devices/+/commands"), None).await;
    let (mut writer, _) = Client::connect(&node, "writer", plain).await;
    writer.publish("devices/a/commands", false, &"x".repeat(200)).await;
    writer.publish("devices/a/commands", false, "short").await;
    assert_eq!(reader.hear_publish().await.payload, "short");
    let metrics = node.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("actors_mqtt_messages_undelivered_total 1"), "{metrics}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_subscriptions_and_expiry_outlive_a_restart() {
    let site = Site::new();
    let node = site.start().await;
    let (mut reader, _) = Client::connect(&node, "reader", lasting).await;
    reader.subscribe(filter("devices/+/commands"), Some(9)).await;
    drop(reader);
    let brief = |options: &mut MqttOptions| {
        lasting(options);
        options.set_connect_properties(ConnectProperties {
            session_expiry_interval: Some(1),
            ..ConnectProperties::new()
        });
    };
    let (mut short, _) = Client::connect(&node, "short", brief).await;
    short.subscribe(filter("devices/+/commands"), None).await;
    drop(short);
    let gone = Instant::now();
    let (mut writer, _) = Client::connect(&node, "writer", plain).await;
    writer.publish_with("devices/a/config", true, "kept", said()).await;
    writer.publish_with("devices/a/commands", false, "waits", said()).await;
    assert_eq!(node.stop().await, Some(0));
    let node = site.start().await;
    let (mut reader, answer) = Client::connect(&node, "reader", lasting).await;
    assert!(answer.session_present);
    let heard = reader.hear_publish().await;
    let marked = PublishProperties { subscription_identifiers: vec![9], ..said() };
    assert_eq!((&heard.payload[..], heard.properties), (&b"waits"[..], Some(marked)));
    reader.subscribe(filter("devices/a/config"), None).await;
    let heard = reader.hear_publish().await;
    assert_eq!((&heard.payload[..], heard.retain, heard.properties), (&b"kept"[..], true, Some(said())));
    until("its session is over", BOUND, async || {
        let away = gone.elapsed();
        if away > Duration::from_millis(1_200) { Ok(()) } else { Err(format!("{away:?}")) }
    })
    .await;
    let (_short, answer) = Client::connect(&node, "short", brief).await;
    assert!(!answer.session_present, "it had ended meanwhile");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_may_be_named_by_a_number() {
    let site = Site::new();
    let node = site.start().await;
    let (mut client, _) = Client::connect(&node, "client", |options| {
        options.set_topic_alias_max(Some(4));
    })
    .await;
    let base = now_ms();
    let alias = PublishProperties { topic_alias: Some(4), ..PublishProperties::default() };
    for (n, topic) in ["devices/a/telemetry", "", ""].into_iter().enumerate() {
        let payload = telemetry("a", base + i64::try_from(n).unwrap(), &[("n", n as f64)]);
        let payload = String::from_utf8(payload).unwrap();
        assert_eq!(client.publish_with(topic, false, &payload, alias.clone()).await, PubAckReason::Success);
    }
    let ledger = node.ledger_at_rest(Some("a")).await;
    assert_eq!(ledger.stored, 3, "{ledger:?}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_too_fast_is_slowed_down_and_one_without_acknowledgements_refused() {
    let site = Site::new().mqtt_rate_per_s(50).mqtt_sections("burst = 5\n");
    let node = site.start().await;
    let (mut client, _) = Client::connect(&node, "client", plain).await;
    let (base, begin) = (now_ms(), Instant::now());
    for n in 0..30 {
        let payload = String::from_utf8(telemetry("a", base + n, &[("n", 1.0)])).unwrap();
        assert_eq!(client.publish("devices/a/telemetry", false, &payload).await, PubAckReason::Success);
    }
    assert!(begin.elapsed() >= Duration::from_millis(450), "24 more than a burst take 24 × 20 ms");
    let ledger = node.ledger_at_rest(Some("a")).await;
    assert_eq!(ledger.stored, 30, "slowed, not lost: {ledger:?}");
    for n in 0..50 {
        let payload = telemetry("b", base + n, &[("n", 1.0)]);
        client.client.publish("devices/b/telemetry", QoS::AtMostOnce, false, payload).await.unwrap();
    }
    let last = String::from_utf8(telemetry("c", base, &[("n", 1.0)])).unwrap();
    client.publish("devices/c/telemetry", false, &last).await;
    let metrics = node.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("actors_readings_rejected_total{reason=\"rate\"}"), "{metrics}");
    assert!(metrics.contains("actors_mqtt_publishes_slowed_total"), "{metrics}");
    assert_eq!(node.stop().await, Some(0));
}
