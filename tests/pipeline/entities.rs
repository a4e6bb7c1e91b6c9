//! What devices are made of: values that were told, mapped or announced, and one of them disabled, also across a restart.

use serde_json::{Value, json};

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{BOUND, Node, Site};
use crate::support::witness::Witness;
use crate::support::{daly, now_ms, serve, until};

const SECTIONS: &str = "discovery_prefix = \"homeassistant\"\n[[mapping]]\npreset = \"tasmota\"\n";
const HEATER: &str = r#"{"name":"Heater","uniq_id":"h1","dev":{"ids":"heater","name":"Heater"},"stat_t":"heater/state","cmd_t":"heater/set"}"#;
const REBOOT: &str =
    r#"{"name":"Reboot","uniq_id":"h3","dev":{"ids":"heater","name":"Heater"},"cmd_t":"heater/reboot"}"#;

/// The entities of a device once there is one of this key in this state.
async fn entities(node: &Node, device: &str, key: &str, state: &str) -> Value {
    let query = "query($d: ID!) { device(id: $d) { entities { key name unit kind source writable state } } }";
    until(&format!("{key} of {device} is {state}"), BOUND, || async {
        let answer = node.ask(query, json!({ "d": device })).await?;
        let entities = answer["data"]["device"]["entities"].clone();
        let found = entities.as_array().and_then(|all| all.iter().find(|entity| entity["key"] == key));
        if found.is_some_and(|found| found["state"] == state) {
            Ok(entities)
        } else {
            Err(answer.to_string())
        }
    })
    .await
}

/// A heater announces itself and a lamp speaks as Tasmota does.
async fn announce(node: &Node) {
    let mut publisher = Publisher::connect(node.mqtt, "bridge").await.unwrap();
    for (number, topic, payload) in [
        (1, "homeassistant/switch/heater/main/config", HEATER),
        (2, "homeassistant/button/heater/reboot/config", REBOOT),
        (3, "heater/state", "ON"),
        (4, "tele/lamp/STATE", r#"{"POWER":"OFF","Dimmer":7}"#),
    ] {
        publisher.publish(number, topic, payload.as_bytes()).await.unwrap();
    }
    publisher.settle().await.unwrap();
}

fn of(entities: &Value, key: &str) -> Value {
    let found = entities.as_array().unwrap().iter().find(|entity| entity["key"] == key);
    found.unwrap_or_else(|| panic!("no {key} in {entities}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_say_what_they_are_and_where_they_are_known_from() {
    let board = serve(daly(1));
    let site = Site::new().mqtt_sections(SECTIONS).battery("pack", "daly_bms", board.path(), "");
    let node = site.start().await;
    announce(&node).await;
    let heater = entities(&node, "heater", "main", "ENABLED").await;
    assert_eq!(
        of(&heater, "main"),
        json!({ "key": "main", "name": "Heater", "unit": null, "kind": "SWITCH", "source": "DISCOVERY",
            "writable": true, "state": "ENABLED" })
    );
    let reboot = of(&heater, "reboot");
    assert_eq!((&reboot["kind"], &reboot["state"]), (&json!("BUTTON"), &json!("DISCOVERED")));
    let lamp = entities(&node, "lamp", "POWER", "ENABLED").await;
    assert_eq!(
        (&of(&lamp, "POWER")["source"], &of(&lamp, "POWER")["writable"]),
        (&json!("MAPPING"), &json!(true))
    );
    assert_eq!((&of(&lamp, "Dimmer")["unit"], &of(&lamp, "Dimmer")["kind"]), (&json!("%"), &json!("NUMBER")));
    let pack = entities(&node, "pack", "charge_enabled", "ENABLED").await;
    let switch = of(&pack, "charge_enabled");
    assert_eq!(
        (&switch["kind"], &switch["source"], &switch["writable"]),
        (&json!("BINARY"), &json!("DRIVER"), &json!(false))
    );
    assert_eq!(
        (&of(&pack, "state")["kind"], &of(&pack, "pack_voltage")["unit"]),
        (&json!("TEXT"), &json!("V"))
    );
    assert_eq!(node.stop().await, Some(0));
}

async fn order(node: &Node, order: &str, key: &str) -> Value {
    let query = format!(
        "mutation {{ {order}(deviceId: \"shed\", key: \"{key}\", reason: \"noisy\") {{ key state reason }} }}"
    );
    node.ask(&query, json!({})).await.unwrap()
}

async fn send(publisher: &mut Publisher, number: u64, metrics: &[(&str, f64)]) {
    publisher.publish(number, &topic("shed"), &telemetry("shed", now_ms(), metrics)).await.unwrap();
    publisher.settle().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_entity_is_not_stored_and_is_counted_also_across_a_kill() {
    let site = Site::new();
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "shed").await.unwrap();
    send(&mut publisher, 1, &[("a", 1.0), ("b", 1.0)]).await;
    entities(&node, "shed", "b", "ENABLED").await;
    let disabled = order(&node, "disableEntity", "b").await;
    assert_eq!(
        disabled["data"]["disableEntity"],
        json!({ "key": "b", "state": "DISABLED", "reason": "noisy" }),
        "{disabled}"
    );
    assert_eq!(order(&node, "disableEntity", "z").await["errors"][0]["extensions"]["code"], "NOT_FOUND");
    node.kill();
    let node = site.start().await;
    entities(&node, "shed", "b", "DISABLED").await;
    let mut publisher = Publisher::connect(node.mqtt, "shed").await.unwrap();
    send(&mut publisher, 2, &[("a", 2.0), ("b", 2.0)]).await;
    send(&mut publisher, 3, &[("b", 3.0)]).await;
    until("one is stored in part and one is rejected", BOUND, || async {
        let row = node.query("{ ledger(deviceId: \"shed\") { stored rejectedByReason { reason count } metricsLeftOut { reason count } } }", json!({})).await;
        let one = json!([{ "reason": "disabled", "count": 1 }]);
        let wanted = json!([{ "stored": 2, "rejectedByReason": one, "metricsLeftOut": one }]);
        if row["ledger"] == wanted { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    order(&node, "enableEntity", "b").await;
    order(&node, "deleteEntity", "a").await;
    entities(&node, "shed", "a", "REMOVED").await;
    send(&mut publisher, 4, &[("a", 4.0), ("b", 4.0)]).await;
    entities(&node, "shed", "a", "ENABLED").await;
    until("both are stored", BOUND, || async {
        let of = |samples: Vec<(i64, f64)>| samples.into_iter().map(|(_, value)| value).collect::<Vec<_>>();
        let (a, b) = (of(node.samples("shed", "a").await), of(node.samples("shed", "b").await));
        if (a.as_slice(), b.as_slice()) == (&[1.0, 2.0, 4.0], &[1.0, 4.0]) {
            Ok(())
        } else {
            Err(format!("{a:?} {b:?}"))
        }
    })
    .await;
    assert_eq!(node.stop().await, Some(0));
}

/// Nobody retains what these announced, and they say nothing after the restart.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_announced_and_mapped_is_there_after_a_kill_9_and_takes_commands() {
    let site = Site::new().mqtt_sections(SECTIONS);
    let node = site.start().await;
    announce(&node).await;
    let before = entities(&node, "heater", "main", "ENABLED").await;
    let lamp = entities(&node, "lamp", "POWER", "ENABLED").await;
    let gone = r#"mutation { deleteEntity(deviceId: "heater", key: "reboot", reason: "no") { state } }"#;
    node.query(gone, json!({})).await;
    node.kill();

    let node = site.start().await;
    let after = entities(&node, "heater", "main", "ENABLED").await;
    assert_eq!(of(&after, "main"), of(&before, "main"));
    assert_eq!(of(&after, "reboot")["state"], "REMOVED", "it did not come back");
    assert_eq!(entities(&node, "lamp", "POWER", "ENABLED").await, lamp);
    let witness = Witness::subscribe(node.mqtt, "witness", "#").await;
    for (device, input, told) in [
        ("heater", r#"action: "set", params: { entity: "main", value: true }"#, "heater/set"),
        ("lamp", r#"action: "set_power", params: { on: true }"#, "cmnd/lamp/POWER"),
    ] {
        let order =
            format!("mutation {{ sendCommand(input: {{ deviceId: \"{device}\", {input} }}) {{ status }} }}");
        assert_eq!(node.query(&order, json!({})).await["sendCommand"]["status"], "SENT");
        until("it is told in its own words", BOUND, || async {
            let heard = witness.heard();
            if heard.iter().any(|message| message.topic == told) { Ok(()) } else { Err(format!("{heard:?}")) }
        })
        .await;
    }
    // What is announced anew stays removed until it tells something.
    let mut publisher = Publisher::connect(node.mqtt, "bridge").await.unwrap();
    let topic = "homeassistant/button/heater/reboot/config";
    publisher.publish(1, topic, REBOOT.as_bytes()).await.unwrap();
    publisher.settle().await.unwrap();
    entities(&node, "heater", "reboot", "REMOVED").await;
    assert_eq!(node.stop().await, Some(0));
}
