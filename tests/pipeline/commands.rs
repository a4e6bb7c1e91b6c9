//! Commands to devices that publish: written down before they leave, published once, answered by the device, and known
//! after a restart. The devices are plain MQTT clients over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::{Value, json};

use crate::live::{begin, hear};
use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{BOUND, Node, Site};
use crate::support::{now_ms, until};

/// Longer than an answer needs to be on its way: what has not come by then was not sent.
const QUIET: Duration = Duration::from_millis(1_500);

/// A device that hears its commands.
struct Device {
    id: &'static str,
    client: AsyncClient,
    events: EventLoop,
}

impl Device {
    async fn connect(mqtt: SocketAddr, id: &'static str, filter: &str) -> Self {
        let options = MqttOptions::new(id, mqtt.ip().to_string(), mqtt.port());
        let (client, mut events) = AsyncClient::new(options, 10);
        client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
        Self { id, client, events }
    }

    /// One that follows the contract.
    async fn native(node: &Node, id: &'static str) -> Self {
        Self::connect(node.mqtt, id, &format!("devices/{id}/commands")).await
    }

    /// The next message, and its topic.
    async fn hears(&mut self) -> (String, String) {
        let hearing = async {
            loop {
                if let Event::Incoming(Packet::Publish(publish)) = self.events.poll().await.unwrap() {
                    return (publish.topic, String::from_utf8(publish.payload.to_vec()).unwrap());
                }
            }
        };
        tokio::time::timeout(BOUND, hearing).await.expect("no command came")
    }

    async fn command(&mut self) -> Value {
        serde_json::from_str(&self.hears().await.1).unwrap()
    }

    async fn hears_nothing(&mut self) {
        let hearing = async {
            while !matches!(self.events.poll().await.unwrap(), Event::Incoming(Packet::Publish(_))) {}
        };
        assert!(tokio::time::timeout(QUIET, hearing).await.is_err(), "a command came twice");
    }

    async fn answers(&mut self, answer: Value) {
        let topic = format!("devices/{}/commands/ack", self.id);
        self.client.publish(topic, QoS::AtLeastOnce, false, answer.to_string()).await.unwrap();
        let acknowledged = async {
            while !matches!(self.events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
        };
        tokio::time::timeout(BOUND, acknowledged).await.expect("the answer was not acknowledged");
    }
}

/// Makes the node know a device: it publishes once.
async fn introduce(node: &Node, device: &str) {
    let mut publisher = Publisher::connect(node.mqtt, &format!("{device}-sensor")).await.unwrap();
    let payload = telemetry(device, now_ms(), &[("n", 1.0)]);
    publisher.publish(1, &topic(device), &payload).await.unwrap();
    publisher.settle().await.unwrap();
}

const FIELDS: &str = "id status error params acknowledgedAt executedAt expiresAt";

/// The command, or the error's code and text.
async fn send(node: &Node, device: &str, input: &str) -> Result<Value, (String, String)> {
    let query =
        format!("mutation {{ sendCommand(input: {{ deviceId: \"{device}\", {input} }}) {{ {FIELDS} }} }}");
    let answer = node.ask(&query, json!({})).await.unwrap();
    let error = &answer["errors"][0];
    match error["extensions"]["code"].as_str() {
        Some(code) => Err((code.to_owned(), error["message"].as_str().unwrap().to_owned())),
        None => Ok(answer["data"]["sendCommand"].clone()),
    }
}

async fn becomes(node: &Node, command: &Value, status: &str) -> Value {
    let query = format!("query($id: ID!) {{ command(id: $id) {{ {FIELDS} }} }}");
    until(&format!("the command is {status}"), BOUND, || async {
        let answer = node.ask(&query, json!({ "id": command["id"] })).await?;
        let found = answer["data"]["command"].clone();
        if found["status"] == status { Ok(found) } else { Err(answer.to_string()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_reaches_its_device_once_and_its_answers_are_kept() {
    let site = Site::new();
    let node = site.start().await;
    introduce(&node, "pump").await;
    let mut pump = Device::native(&node, "pump").await;
    let input = "action: \"set_config\", params: { interval: 30 }, idempotencyKey: \"a\"";
    let sent = send(&node, "pump", input).await.unwrap();
    assert_eq!((&sent["status"], &sent["error"]), (&json!("SENT"), &Value::Null), "{sent}");
    let heard = pump.command().await;
    assert_eq!((&heard["command_id"], &heard["action"]), (&sent["id"], &json!("set_config")));
    assert_eq!((&heard["params"], &heard["expires_at"]), (&json!({ "interval": 30 }), &sent["expiresAt"]));
    assert!(heard["timestamp"].is_string(), "{heard}");
    pump.answers(json!({ "command_id": sent["id"], "status": "acknowledged" })).await;
    let acknowledged = becomes(&node, &sent, "ACKNOWLEDGED").await;
    assert!(acknowledged["acknowledgedAt"].is_string() && acknowledged["executedAt"].is_null());
    // The same one again is answered from the books, and another one under its key is refused.
    assert_eq!(send(&node, "pump", input).await.unwrap()["status"], "ACKNOWLEDGED");
    let other = "action: \"set_config\", params: { interval: 31 }, idempotencyKey: \"a\"";
    assert_eq!(send(&node, "pump", other).await.unwrap_err().0, "BAD_USER_INPUT");
    pump.hears_nothing().await;
    // What others answer in its name, or what it answers for nobody, changes nothing.
    pump.answers(json!({ "command_id": "none", "status": "executed" })).await;
    pump.answers(json!({ "command_id": 7 })).await;
    pump.answers(json!({ "command_id": sent["id"], "status": "executed" })).await;
    let executed = becomes(&node, &sent, "EXECUTED").await;
    assert!(executed["executedAt"].is_string() && executed["error"].is_null());

    let refused = send(&node, "pump", "action: \"explode\"").await.unwrap();
    assert_eq!(pump.command().await["params"], json!({}));
    pump.answers(json!({ "command_id": refused["id"], "status": "failed", "error": "never" })).await;
    assert_eq!(becomes(&node, &refused, "FAILED").await["error"], "never");
    let nobody = send(&node, "nobody", "action: \"x\"").await.unwrap_err();
    assert_eq!(nobody.0, "NOT_FOUND");
    let odd = send(&node, "pump", "action: \"x\", params: [1]").await.unwrap_err();
    assert!(odd.0 == "BAD_USER_INPUT" && odd.1.contains("params: expected an object"), "{odd:?}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_a_device_that_does_not_listen_and_expires_without_an_answer() {
    let site = Site::new();
    let node = site.start().await;
    introduce(&node, "pump").await;
    let late = "action: \"x\", expiresAt: \"2020-01-01T00:00:00Z\"";
    let late = send(&node, "pump", late).await.unwrap();
    let expired = becomes(&node, &late, "EXPIRED").await;
    assert!(expired["error"].as_str().unwrap().contains("not sent"), "{expired}");
    let waits = send(&node, "pump", "action: \"wait\"").await.unwrap();
    assert_eq!(waits["status"], "PENDING", "{waits}");
    let mut pump = Device::native(&node, "pump").await;
    assert_eq!(pump.command().await["command_id"], waits["id"]);
    becomes(&node, &waits, "SENT").await;

    let soon = voltree_model::Timestamp::from_millis(now_ms() + 3_000);
    let brief = format!("action: \"brief\", expiresAt: \"{soon}\"");
    let unanswered = send(&node, "pump", &brief).await.unwrap();
    assert_eq!(pump.command().await["command_id"], unanswered["id"]);
    let expired = becomes(&node, &unanswered, "EXPIRED").await;
    assert!(expired["error"].as_str().unwrap().contains("no answer came"), "{expired}");
    pump.answers(json!({ "command_id": unanswered["id"], "status": "executed" })).await;
    becomes(&node, &unanswered, "EXECUTED").await;
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_not_sent_again_by_a_node_that_was_killed_and_its_late_answer_counts() {
    let site = Site::new();
    let node = site.start().await;
    introduce(&node, "pump").await;
    introduce(&node, "sleeper").await;
    let mut pump = Device::native(&node, "pump").await;
    let hour = voltree_model::Timestamp::from_millis(now_ms() + 3_600_000);
    let input = format!("action: \"once\", expiresAt: \"{hour}\", idempotencyKey: \"k\"");
    let sent = send(&node, "pump", &input).await.unwrap();
    let heard = pump.command().await;
    let waiting = send(&node, "sleeper", &input).await.unwrap();
    assert_eq!((&sent["status"], &waiting["status"]), (&json!("SENT"), &json!("PENDING")));
    node.kill();

    let node = site.start().await;
    let mut pump = Device::native(&node, "pump").await;
    let mut sleeper = Device::native(&node, "sleeper").await;
    // What never left is sent now; what may have left is not.
    assert_eq!(sleeper.command().await["command_id"], waiting["id"]);
    pump.hears_nothing().await;
    assert_eq!(send(&node, "pump", &input).await.unwrap()["id"], sent["id"]);
    pump.hears_nothing().await;
    becomes(&node, &sent, "SENT").await;
    pump.answers(json!({ "command_id": heard["command_id"], "status": "executed" })).await;
    becomes(&node, &sent, "EXECUTED").await;

    // A messenger that is killed sends nothing twice either.
    let second = send(&node, "pump", "action: \"second\"").await.unwrap();
    assert_eq!(pump.command().await["command_id"], second["id"]);
    node.kill_actor("node/mqtt/messenger").await.unwrap();
    pump.hears_nothing().await;
    assert_eq!(node.stop().await, Some(0));
}

/// The node is killed between the command's leaving and the answer, which never comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_answer_is_missing_after_a_kill_9_ends_and_whoever_watches_is_told() {
    let site = Site::new();
    let node = site.start().await;
    introduce(&node, "pump").await;
    let mut pump = Device::native(&node, "pump").await;
    let soon = voltree_model::Timestamp::from_millis(now_ms() + 8_000);
    let sent = send(&node, "pump", &format!("action: \"once\", expiresAt: \"{soon}\"")).await.unwrap();
    assert_eq!((&sent["status"], &pump.command().await["command_id"]), (&json!("SENT"), &sent["id"]));
    node.kill();

    let node = site.start().await;
    let query =
        format!("subscription {{ commandStatusChanged(commandId: {}) {{ status error }} }}", sent["id"]);
    let mut watcher = begin(&node, &query).await;
    let mut pump = Device::native(&node, "pump").await;
    let last = loop {
        let heard = hear(&mut watcher).await["payload"]["data"]["commandStatusChanged"].clone();
        if heard["status"] != "SENT" {
            break heard;
        }
    };
    let why = "it was sent, and no answer came before it expired";
    assert_eq!(last, json!({ "status": "EXPIRED", "error": why }));
    pump.hears_nothing().await;
    assert_eq!(becomes(&node, &sent, "EXPIRED").await["error"], why);
    assert_eq!(node.stop().await, Some(0));
}

const TASMOTA: &str = "[[mapping]]\npreset = \"tasmota\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_mapped_switch_is_told_in_its_own_words_and_never_what_it_does_not_take() {
    let site = Site::new().mqtt_sections(TASMOTA);
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "bridge").await.unwrap();
    publisher.publish(1, "tele/lamp/STATE", br#"{"POWER":"OFF"}"#).await.unwrap();
    publisher.settle().await.unwrap();
    let mut lamp = Device::connect(node.mqtt, "lamp", "cmnd/lamp/#").await;
    let sent = send(&node, "lamp", "action: \"set_power\", params: { on: true }").await.unwrap();
    assert_eq!(sent["status"], "SENT");
    assert!(sent["error"].as_str().unwrap().contains("have no answer"), "{sent}");
    assert_eq!(lamp.hears().await, ("cmnd/lamp/POWER".to_owned(), "ON".to_owned()));
    for (input, named) in [
        ("action: \"melt\"", "it has: set_power, set_relay, set_dimmer"),
        ("action: \"set_dimmer\", params: { percent: 101 }", "a whole number from 0 to 100"),
        ("action: \"set_dimmer\", params: { percent: 2.5 }", "a whole number from 0 to 100"),
        ("action: \"set_power\", params: { on: \"maybe\" }", "params.on may be one of: false, true"),
        ("action: \"set_power\"", "params.on is missing"),
    ] {
        let (code, why) = send(&node, "lamp", input).await.unwrap_err();
        assert!(code == "BAD_USER_INPUT" && why.contains(named), "{input}: {why}");
    }
    lamp.hears_nothing().await;
    assert_eq!(node.stop().await, Some(0));
}

const DISCOVERY: &str = "discovery_prefix = \"homeassistant\"\n";
const HEATER: &str = r#"{"name":"Heater","uniq_id":"h1","dev":{"ids":"heater","name":"Heater"},"stat_t":"heater/state","cmd_t":"heater/set"}"#;
const TARGET: &str = r#"{"name":"Target","uniq_id":"h2","dev":{"ids":"heater","name":"Heater"},"stat_t":"heater/target","cmd_t":"heater/target/set","min":5,"max":30}"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_announced_itself_is_told_by_entity_and_value() {
    let site = Site::new().mqtt_sections(DISCOVERY);
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "bridge").await.unwrap();
    for (number, topic, payload) in [
        (1, "homeassistant/switch/heater/main/config", HEATER),
        (2, "homeassistant/number/heater/target/config", TARGET),
        (3, "heater/state", "OFF"),
    ] {
        publisher.publish(number, topic, payload.as_bytes()).await.unwrap();
    }
    publisher.settle().await.unwrap();
    let mut heater = Device::connect(node.mqtt, "heater", "heater/+/#").await;
    let on = "action: \"set\", params: { entity: \"main\", value: true }";
    assert_eq!(send(&node, "heater", on).await.unwrap()["status"], "SENT");
    assert_eq!(heater.hears().await, ("heater/set".to_owned(), "ON".to_owned()));
    let warm = "action: \"set\", params: { entity: \"target\", value: 21.5 }";
    assert_eq!(send(&node, "heater", warm).await.unwrap()["status"], "SENT");
    assert_eq!(heater.hears().await, ("heater/target/set".to_owned(), "21.5".to_owned()));
    for (input, named) in [
        ("action: \"set\", params: { entity: \"target\", value: 99 }", "a number from 5 to 30"),
        ("action: \"set\", params: { entity: \"flame\", value: 1 }", "entity: expected one of"),
        ("action: \"burn\"", "is no command"),
    ] {
        let (code, why) = send(&node, "heater", input).await.unwrap_err();
        assert!(code == "BAD_USER_INPUT" && why.contains(named), "{input}: {why}");
    }
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_behind_an_outside_broker_is_told_there_and_answers_there() {
    let outside_site = Site::new();
    let outside = outside_site.start().await;
    let site = Site::new().broker("house", outside.mqtt.port());
    let node = site.start().await;
    let mut pump = Device::native(&outside, "pump").await;
    until("the outside broker's device is known", BOUND, || async {
        introduce(&outside, "pump").await;
        let answer = node.ask("{ device(id: \"pump\") { id } }", json!({})).await?;
        if answer["data"]["device"].is_object() { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let sent = send(&node, "pump", "action: \"far\"").await.unwrap();
    assert_eq!(sent["status"], "SENT", "{sent}");
    let heard = pump.command().await;
    assert_eq!((&heard["command_id"], &heard["action"]), (&sent["id"], &json!("far")));
    pump.answers(json!({ "command_id": sent["id"], "status": "executed" })).await;
    becomes(&node, &sent, "EXECUTED").await;
    pump.hears_nothing().await;
    assert_eq!(node.stop().await, Some(0));
    assert_eq!(outside.stop().await, Some(0));
}

/// Waits until a command says why it waits.
async fn waits_because(node: &Node, command: &Value, why: &str) {
    until("it says why it waits", BOUND, || async {
        let query = "query($id: ID!) { command(id: $id) { status error } }";
        let answer = node.ask(query, json!({ "id": command["id"] })).await?;
        let found = &answer["data"]["command"];
        let told = found["error"].as_str().is_some_and(|error| error.contains(why));
        if told && found["status"] == "PENDING" { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

/// Both outside brokers have somebody who hears every command there; the device was heard through one of them alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_goes_to_the_broker_its_device_was_heard_through_also_after_a_restart_and_says_if_that_is_away()
 {
    let (east_site, west) = (Site::new(), Site::new());
    let (east, west) = (east_site.start().await, west.start().await);
    let port = east.mqtt.port();
    let east_site = east_site.mqtt_port(port);
    let site = Site::new().broker("east", port).broker("west", west.mqtt.port());
    let node = site.start().await;
    let mut pump = Device::native(&east, "pump").await;
    let mut other = Device::connect(west.mqtt, "pump", "devices/+/commands").await;
    until("the device is known", BOUND, || async {
        introduce(&east, "pump").await;
        let answer = node.ask("{ device(id: \"pump\") { id } }", json!({})).await?;
        if answer["data"]["device"].is_object() { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    node.metric_is("actors_mqtt_outside_brokers_connected", 2.0).await;
    let first = send(&node, "pump", "action: \"first\"").await.unwrap();
    assert_eq!(pump.command().await["command_id"], first["id"]);
    other.hears_nothing().await;

    // The device says nothing after the restart: where it is is known from before.
    node.kill();
    let node = site.start().await;
    node.metric_is("actors_mqtt_outside_brokers_connected", 2.0).await;
    let second = send(&node, "pump", "action: \"second\"").await.unwrap();
    assert_eq!(second["status"], "SENT", "{second}");
    assert_eq!(pump.command().await["command_id"], second["id"]);
    other.hears_nothing().await;

    drop(pump);
    east.kill();
    node.metric_is("actors_mqtt_outside_brokers_connected", 1.0).await;
    let soon = voltree_model::Timestamp::from_millis(now_ms() + 10_000);
    let away = send(&node, "pump", &format!("action: \"away\", expiresAt: \"{soon}\"")).await.unwrap();
    let why = "the device was heard through east, and this node is not connected there now";
    waits_because(&node, &away, why).await;
    let expired = becomes(&node, &away, "EXPIRED").await;
    assert_eq!(expired["error"], format!("it expired and was not sent: {why}"));
    other.hears_nothing().await;
    // What waits leaves when the broker is back.
    let waits = send(&node, "pump", "action: \"waits\"").await.unwrap();
    assert_eq!(waits["status"], "PENDING", "{waits}");
    let east = east_site.start().await;
    let mut pump = Device::native(&east, "pump").await;
    assert_eq!(pump.command().await["command_id"], waits["id"]);
    assert_eq!(becomes(&node, &waits, "SENT").await["error"], Value::Null);

    introduce(&node, "shed").await;
    let nobody = send(&node, "shed", "action: \"x\"").await.unwrap();
    waits_because(&node, &nobody, "no outside broker brought the device's last message").await;
    for node in [node, east, west] {
        assert_eq!(node.stop().await, Some(0));
    }
}
