//! Devices that do not follow the contract: recorded messages of Tasmota and Zigbee2MQTT against a whole node, at its own
//! listener and through an outside broker, and a command on its way back.

use std::path::PathBuf;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use voltree_protocols::mapping::{Captured, captured};

use crate::support::mqtt::Publisher;
use crate::support::node::{BOUND, Node, Site, VOLTREE};
use crate::support::until;

const PRESETS: &str = "[[mapping]]\npreset = \"tasmota\"\n[[mapping]]\npreset = \"zigbee2mqtt\"\n";

fn recording(preset: &str) -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.join(format!("protocols/tests/mappings/{preset}.txt"))
}

/// Publishes a recording and waits until all of it is acknowledged.
async fn play(publisher: &mut Publisher, preset: &str) {
    let text = std::fs::read_to_string(recording(preset)).unwrap();
    for Captured { line, topic, payload } in captured(&text) {
        publisher.publish(line as u64, topic, payload.as_bytes()).await.unwrap();
    }
    publisher.settle().await.unwrap();
}

async fn device(node: &Node, id: &str) -> Value {
    let query =
        "query($id: ID!) { device(id: $id) { name type state attributes latest { name value unit } } }";
    node.query(query, json!({ "id": id })).await["device"].clone()
}

/// Waits until one message that nobody understands is counted on the node.
async fn one_turned_away(node: &Node) {
    until("a message of no device is turned away", BOUND, || async {
        let own = node.ledger(None).await;
        if own.rejected == 1 { Ok(()) } else { Err(format!("{own:?}")) }
    })
    .await;
}

fn latest(device: &Value, metric: &str) -> Option<(f64, Option<String>)> {
    let metrics = device["latest"].as_array()?;
    let found = metrics.iter().find(|found| found["name"] == json!(metric))?;
    Some((found["value"].as_f64()?, found["unit"].as_str().map(str::to_owned)))
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_messages_of_other_conventions_become_devices_with_a_ledger() {
    let site = Site::new().mqtt_sections(PRESETS);
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "bridge").await.unwrap();
    play(&mut publisher, "tasmota").await;
    play(&mut publisher, "zigbee2mqtt").await;

    let ledger = node.ledger_settled("livingroom-lamp", 4).await;
    assert_eq!((ledger.stored, ledger.rejected), (3, 1), "{ledger:?}");
    let lamp = until("the lamp's power is there", BOUND, || async {
        let lamp = device(&node, "livingroom-lamp").await;
        if latest(&lamp, "POWER") == Some((0.0, None)) { Ok(lamp) } else { Err(lamp.to_string()) }
    })
    .await;
    assert_eq!(latest(&lamp, "ENERGY.Total"), Some((3.705, Some("kWh".to_owned()))), "{lamp}");
    assert_eq!((&lamp["type"], &lamp["state"]), (&json!("mqtt"), &json!("OFFLINE")), "its last will came");
    let plug = node.ledger_settled("Hue-SmartPlug-56dbeae9", 1).await;
    assert_eq!(plug.stored, 1);
    assert_eq!(device(&node, "Hue-SmartPlug-56dbeae9").await["name"], json!("Hue SmartPlug"));
    let printer = node.ledger_settled("temp_3d_printer", 2).await;
    assert_eq!((printer.stored, printer.rejected), (1, 1), "{printer:?}");

    publisher.publish(99, "some/other/topic", b"1").await.unwrap();
    publisher.settle().await.unwrap();
    one_turned_away(&node).await;
    assert_eq!(node.stop().await, Some(0));
}

/// The next message that this client hears.
async fn hear(events: &mut EventLoop) -> (String, String) {
    let hearing = async {
        loop {
            if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.unwrap() {
                return (publish.topic, String::from_utf8(publish.payload.to_vec()).unwrap());
            }
        }
    };
    tokio::time::timeout(BOUND, hearing).await.expect("nothing came")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_the_contract_reaches_a_mapped_device_in_its_own_words() {
    let site = Site::new().mqtt_sections(PRESETS);
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "bridge").await.unwrap();
    play(&mut publisher, "tasmota").await;
    let options = MqttOptions::new("lamp", node.mqtt.ip().to_string(), node.mqtt.port());
    let (client, mut events) = AsyncClient::new(options, 10);
    for filter in ["cmnd/livingroom-lamp/#", "devices/+/commands/ack"] {
        client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
    }
    let mut granted = 0;
    while granted < 2 {
        granted += usize::from(matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))));
    }
    let order = json!({ "command_id": "17", "action": "set_power", "params": { "on": true } }).to_string();
    publisher.publish(1, "devices/livingroom-lamp/commands", order.as_bytes()).await.unwrap();
    publisher.settle().await.unwrap();
    assert_eq!(hear(&mut events).await, ("cmnd/livingroom-lamp/POWER".to_owned(), "ON".to_owned()));
    let (topic, answer) = hear(&mut events).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(topic, "devices/livingroom-lamp/commands/ack");
    assert_eq!(answer, json!({ "command_id": "17", "status": "acknowledged" }));
    publisher.publish(2, "devices/livingroom-lamp/commands", b"{\"action\":\"melt\"}").await.unwrap();
    let (_, answer) = hear(&mut events).await;
    assert!(answer.contains("is no command of this mapping; it has: set_power"), "{answer}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outside_broker_is_heard_by_the_mappings_filters() {
    let outside_site = Site::new().mqtt_sections(PRESETS);
    let outside = outside_site.start().await;
    let site = Site::new().mqtt_sections(PRESETS).broker("house", outside.mqtt.port());
    let node = site.start().await;
    until("the outside broker is heard", BOUND, || async {
        let metrics = node.get("/metrics").await.text().await.unwrap();
        let heard = metrics.contains("actors_mqtt_outside_brokers_connected 1");
        if heard { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let mut publisher = Publisher::connect(outside.mqtt, "bridge").await.unwrap();
    play(&mut publisher, "tasmota").await;
    let ledger = node.ledger_settled("livingroom-lamp", 4).await;
    assert_eq!((ledger.stored, ledger.rejected), (3, 1), "{ledger:?}");
    assert_eq!(node.stop().await, Some(0));
    assert_eq!(outside.stop().await, Some(0));
}

const DISCOVERY: &str = "discovery_prefix = \"homeassistant\"\n";
const INVERTER: &str = r#"{"name":"Battery voltage","uniq_id":"100177_v","dev":{"ids":"100177","name":"Inverter"},"~":"inverter","stat_t":"~/state","avty_t":"~/status","val_tpl":"{{ value_json.v | float }}","unit_of_meas":"V"}"#;
const CONFIG: &str = "homeassistant/sensor/inverter/voltage/config";

async fn publish_retained(node: &Node, messages: &[(&str, &str)]) {
    let options = MqttOptions::new("announcer", node.mqtt.ip().to_string(), node.mqtt.port());
    let (client, mut events) = AsyncClient::new(options, 10);
    for (topic, payload) in messages {
        client.publish(*topic, QoS::AtLeastOnce, true, payload.as_bytes()).await.unwrap();
        while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_announces_itself_to_home_assistant_is_a_device_until_that_is_taken_back() {
    let site = Site::new().mqtt_sections(DISCOVERY);
    let node = site.start().await;
    publish_retained(&node, &[(CONFIG, INVERTER)]).await;
    let mut publisher = Publisher::connect(node.mqtt, "inverter").await.unwrap();
    publisher.publish(1, "inverter/state", br#"{"v":"52.4"}"#).await.unwrap();
    publisher.publish(2, "inverter/status", b"online").await.unwrap();
    publisher.settle().await.unwrap();
    assert_eq!(node.ledger_settled("100177", 1).await.stored, 1);
    until("it is there under its name", BOUND, || async {
        let inverter = device(&node, "100177").await;
        let is_there = (&inverter["name"], &inverter["state"]) == (&json!("Inverter"), &json!("ONLINE"));
        if is_there { Ok(()) } else { Err(inverter.to_string()) }
    })
    .await;

    // The announcement is retained, so a node that starts again knows what the topic means.
    node.kill();
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "inverter").await.unwrap();
    publisher.publish(3, "inverter/state", br#"{"v":"52.5"}"#).await.unwrap();
    publisher.settle().await.unwrap();
    let ledger = node.ledger_settled("100177", 2).await;
    assert_eq!((ledger.stored, ledger.rejected), (2, 0), "{ledger:?}");
    until("its voltage is there", BOUND, || async {
        let inverter = device(&node, "100177").await;
        let voltage = latest(&inverter, "voltage");
        if voltage == Some((52.5, Some("V".to_owned()))) { Ok(()) } else { Err(inverter.to_string()) }
    })
    .await;

    publish_retained(&node, &[(CONFIG, "")]).await;
    assert_eq!(device(&node, "100177").await["state"], json!("OFFLINE"));
    publisher.publish(4, "inverter/state", br#"{"v":"52.6"}"#).await.unwrap();
    publisher.settle().await.unwrap();
    one_turned_away(&node).await;
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_announced_at_an_outside_broker_are_heard_there() {
    let outside_site = Site::new().mqtt_sections(DISCOVERY);
    let outside = outside_site.start().await;
    let site = Site::new().mqtt_sections(DISCOVERY).broker("house", outside.mqtt.port());
    let node = site.start().await;
    publish_retained(&outside, &[(CONFIG, INVERTER)]).await;
    let mut publisher = Publisher::connect(outside.mqtt, "inverter").await.unwrap();
    let begun = std::time::Instant::now();
    let mut number = 0;
    while node.ledger(Some("100177")).await.received == 0 {
        assert!(begun.elapsed() < BOUND, "no state reached the node");
        number += 1;
        let payload = format!("{{\"v\":{number}}}");
        publisher.publish(number, "inverter/state", payload.as_bytes()).await.unwrap();
        publisher.settle().await.unwrap();
    }
    assert_eq!(device(&node, "100177").await["name"], json!("Inverter"));
    assert_eq!(node.stop().await, Some(0));
    assert_eq!(outside.stop().await, Some(0));
}

/// A birth with one alias, and data of that alias, as Protocol Buffers encode them: timestamp, metrics, sequence.
fn sparkplug(at_ms: i64, metric: &[u8], seq: u8) -> Vec<u8> {
    let mut payload = vec![0x08];
    let mut rest = at_ms.cast_unsigned();
    while rest >= 0x80 {
        payload.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    payload.push(rest as u8);
    payload.extend([0x12, metric.len() as u8]);
    payload.extend(metric);
    payload.extend([0x18, seq]);
    payload
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_node_of_sparkplug_is_asked_for_its_birth_when_a_message_is_missing() {
    let site = Site::new().mqtt_sections("sparkplug = \"heard\"\n");
    let node = site.start().await;
    let options = MqttOptions::new("gw", node.mqtt.ip().to_string(), node.mqtt.port());
    let (client, mut events) = AsyncClient::new(options, 10);
    client.subscribe("spBv1.0/site/NCMD/gw", QoS::AtLeastOnce).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
    let mut publisher = Publisher::connect(node.mqtt, "edge").await.unwrap();
    let now = crate::support::now_ms() - 10_000;
    let (birth, value) = ([0x0A, 1, b'V', 0x10, 1, 0x20, 7, 0x50, 52], [0x10, 1, 0x50, 53]);
    publisher.publish(1, "spBv1.0/site/NBIRTH/gw", &sparkplug(now, &birth, 0)).await.unwrap();
    publisher.publish(2, "spBv1.0/site/NDATA/gw", &sparkplug(now + 1, &value, 1)).await.unwrap();
    publisher.publish(3, "spBv1.0/site/NDATA/gw", &sparkplug(now + 2, &value, 3)).await.unwrap();
    publisher.settle().await.unwrap();
    let request = async {
        loop {
            if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.unwrap() {
                return publish.payload;
            }
        }
    };
    let request = tokio::time::timeout(BOUND, request).await.expect("no rebirth was asked for");
    assert!(request.windows(20).any(|name| name == b"Node Control/Rebirth"), "{request:?}");
    let ledger = node.ledger_settled("site.gw", 3).await;
    assert_eq!((ledger.stored, ledger.rejected), (3, 0), "{ledger:?}");
    assert_eq!(node.samples("site.gw", "V").await, [(now, 52.0), (now + 1, 53.0), (now + 2, 53.0)]);
    publisher.publish(4, "spBv1.0/site/NDEATH/gw", &[]).await.unwrap();
    publisher.settle().await.unwrap();
    assert_eq!(device(&node, "site.gw").await["state"], json!("OFFLINE"));
    assert_eq!(node.stop().await, Some(0));
}

#[test]
fn a_mapping_is_tried_on_a_recording_without_a_node() {
    let run = |args: &[&str]| {
        let output = std::process::Command::new(VOLTREE).arg("mapping").args(args).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let file = recording("tasmota");
    let (code, told, _) = run(&["test", "tasmota", file.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert!(
        told.contains("    ENERGY.Power = 5 W\n") && told.contains("  livingroom-lamp is offline\n"),
        "{told}"
    );
    let (code, _, complaint) = run(&["test", "nothing", file.to_str().unwrap()]);
    assert!(code == Some(1) && complaint.contains("no preset (esphome, "), "{complaint}");
    let (_, listed, _) = run(&["list"]);
    assert_eq!(listed.lines().count(), 5, "{listed}");
    let (_, shown, _) = run(&["show", "shelly-gen2"]);
    assert!(shown.starts_with("name = \"shelly-gen2\""), "{shown}");
}
