use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::json;
use voltree_model::{RejectReason, Timestamp};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_768_473_000_000);

fn preset(name: &str) -> Mapping {
    Mapping::preset(name, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"))
}

/// What a recording becomes, a line for each thing that is said.
fn told(mapping: &Mapping, text: &str) -> String {
    let mut told = String::new();
    for message in captured(text) {
        writeln!(told, "{}", message.topic).unwrap();
        match mapping.read(message.topic, message.payload.as_bytes()) {
            None => writeln!(told, "  none of its topics").unwrap(),
            Some(meaning) => told.push_str(&meaning.explain(NOW)),
        }
    }
    told
}

#[test]
fn every_preset_reads_its_recordings_as_before() {
    for Preset { name, .. } in PRESETS {
        let file = format!("{}/tests/mappings/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let recording = std::fs::read_to_string(file).unwrap();
        insta::assert_snapshot!(name, told(&preset(name), &recording));
    }
}

#[test]
fn all_mistakes_are_reported_together_with_their_keys() {
    let text = r#"
name = "bad"
device = "{nobody}"
[[message]]
topic = "a/{x}/{x}"
[[message]]
topic = "a/{x}"
format = "hex"
metrics = [{ name = "v", path = "a" }, { name = "w", type = "u16be", scale = 0 }]
[[message]]
topic = "${base}/{nobody}"
metrics = [{ name = "{what}", path = "a..b", unit = "an unusually long name for a unit of anything" }]
[[availability]]
topic = "b/{nobody}"
online = "x"
offline = "x"
"#;
    let MappingError::Mistakes { mistakes, .. } = Mapping::from_toml(text).unwrap_err() else { panic!() };
    insta::assert_snapshot!(mistakes.join("\n"));
    let error = Mapping::from_toml("name = \"x\"\nscript = \"1\"").unwrap_err().to_string();
    assert!(error.contains("unknown field `script`"), "{error}");
    let error = Mapping::preset("tuya", &BTreeMap::new()).unwrap_err().to_string();
    assert!(error.starts_with("\"tuya\" is no preset; there are: esphome, "), "{error}");
    let set = [("root".to_owned(), "z".to_owned())].into();
    let error = Mapping::preset("zigbee2mqtt", &set).unwrap_err().to_string();
    assert!(error.contains("set.root: is no variable of zigbee2mqtt; it has: base"), "{error}");
}

#[test]
fn a_list_is_fanned_out_into_devices_times_and_values() {
    let mapping = Mapping::from_toml(
        r#"
name = "gateway"
device = "{id}"
[[message]]
topic = "gw/{gw}/batch"
each = "rows"
capture = { id = "dev" }
timestamp = { path = "ts", format = "epoch_ms" }
metrics = [{ name = "volts", path = "mv", unit = "V", scale = 0.001 }]
[[message]]
topic = "gw/{gw}/cells"
device = "{gw}"
each = "cells"
metrics = [{ name = "cell_{key}", path = "", unit = "V" }]
"#,
    )
    .unwrap();
    let rows = r#"{"rows":[{"dev":"a","ts":1000,"mv":3300},{"dev":"b","ts":1000,"mv":3400},
        {"dev":"a","ts":2000,"mv":3301},{"ts":1,"mv":1},{"dev":"c","ts":"noon","mv":1}]}"#;
    let message = format!("gw/g1/batch\t{}\ngw/g1/cells {{\"cells\":[3.3,3.4]}}\n", rows.replace('\n', ""));
    insta::assert_snapshot!(told(&mapping, &message));
}

#[test]
fn bytes_are_read_by_place_and_type() {
    let mapping = Mapping::from_toml(
        r#"
name = "lora"
[[message]]
topic = "lora/{device}/up"
format = "hex"
metrics = [
    { name = "temperature", type = "i16be", unit = "°C", scale = 0.1 },
    { name = "battery", at = 2, type = "u8", unit = "%" },
    { name = "beyond", at = 9, type = "u8" },
]
"#,
    )
    .unwrap();
    let readings = mapping.read("lora/n1/up", b"FF 9C 64").unwrap().readings;
    let reading = readings[0].clone().unwrap().finish(NOW, || NOW).unwrap();
    assert_eq!(reading.metrics.values(), [-10.0, 100.0]);
    assert_eq!(reading.left_out.len(), 1);
    let turned = mapping.read("lora/n1/up", b"xyz").unwrap().readings[0].clone().unwrap_err();
    assert_eq!(turned.rejection.reason, RejectReason::BadPayload);
    assert_eq!(turned.device.unwrap().as_str(), "n1");
}

#[test]
fn a_command_is_said_in_the_devices_own_words_and_cannot_break_out_of_them() {
    let captures = |topic: &str, preset: &Mapping| preset.subject(topic).unwrap().1;
    let tasmota = preset("tasmota");
    let lamp = captures("tele/lamp/STATE", &tasmota);
    let say = |action: &str, params| tasmota.command(&lamp, action, &params);
    assert_eq!(say("set_power", json!({ "on": true })), Ok(("cmnd/lamp/POWER".to_owned(), b"ON".to_vec())));
    assert_eq!(say("set_relay", json!({ "on": false, "relay": 2 })).unwrap().0, "cmnd/lamp/POWER2");
    for (action, params) in [
        ("reset", json!({})),
        ("set_power", json!({})),
        ("set_power", json!({ "on": "maybe" })),
        ("set_relay", json!({ "on": true, "relay": "1/../x" })),
        ("set_relay", json!({ "on": true, "relay": "#" })),
        ("set_dimmer", json!({ "percent": [1] })),
        ("set_dimmer", json!({ "percent": 101 })),
        ("set_dimmer", json!({ "percent": 2.5 })),
    ] {
        assert!(say(action, params.clone()).is_err(), "{action} {params}");
    }
    let shelly = preset("shelly-gen2");
    let plug = captures("shellyplus1pm-a8/online", &shelly);
    let say = |params| shelly.command(&plug, "set_relay", &params);
    let (topic, payload) = say(json!({ "on": true, "channel": 0 })).unwrap();
    let payload: Json = serde_json::from_slice(&payload).unwrap();
    assert_eq!(
        (topic.as_str(), &payload["params"]),
        ("shellyplus1pm-a8/rpc", &json!({ "id": 0, "on": true }))
    );
    let refused = say(json!({ "on": "true", "channel": 0 })).unwrap_err().to_string();
    assert_eq!(refused, "params.on: expected true or false");
    assert!(say(json!({ "on": true, "channel": "0\",\"evil\":\"1" })).is_err());
    let zigbee = preset("zigbee2mqtt");
    let plug = captures("zigbee2mqtt/plug/availability", &zigbee);
    let params = json!({ "state": "ON\",\"evil\":\"1" });
    let (_, payload) = zigbee.command(&plug, "set_state", &params).unwrap();
    let payload: Json = serde_json::from_slice(&payload).unwrap();
    assert_eq!(payload, params, "it stays one value");
}

#[test]
fn the_mapping_that_the_page_shows_reads_what_the_page_says() {
    let page = include_str!("../../../docs/mqtt-devices.md");
    let blocks = page.split("```toml\n").filter_map(|rest| rest.split("```").next());
    let example = blocks.into_iter().find(|block| block.starts_with("name = ")).unwrap();
    let mapping = Mapping::from_toml(example).unwrap_or_else(|error| panic!("{error}"));
    let recording = "pumps/h/p1/state\t{\"ts\":1768473000000,\"hydraulics\":{\"flow\":750},\"mode\":\"RUN\",\"info\":{\"fw\":\"1.2\"}}\n\
                     pumps/h/p1/cells\t{\"cells\":[{\"v\":3.3},{\"v\":3.4}]}\npumps/h/p1/raw\tFFFF0102\npumps/h/p1/lwt\tdown\n\
                     pumps/h/p1/debug\tx\npumps/h/p1\tx\n";
    insta::assert_snapshot!(told(&mapping, recording));
    let (device, captures) = mapping.subject("pumps/h/p1/lwt").unwrap();
    assert_eq!(device.as_str(), "h-p1");
    let told = mapping.command(&captures, "set_target", &json!({ "celsius": 45 })).unwrap();
    assert_eq!(told, ("pumps/h/p1/set".to_owned(), b"{\"target\":45}".to_vec()));
}

#[test]
fn a_topic_template_of_its_own_takes_the_place_of_a_presets() {
    let set = [("tele".to_owned(), "home/{device}/tele".to_owned())].into();
    let mapping = Mapping::preset("tasmota", &set).unwrap();
    assert!(mapping.read("home/x/tele/SENSOR", b"{\"A\":{\"Temperature\":1}}").is_some());
    assert!(mapping.read("tele/x/SENSOR", b"{}").is_none());
}

proptest! {
    #[test]
    fn no_message_makes_a_preset_panic(topic in "[a-z{}/é$:0]{0,20}", payload in ".{0,60}", which in 0..PRESETS.len()) {
        let mapping = preset(PRESETS[which].name);
        mapping.read(&topic, payload.as_bytes());
        for (known, _) in [("tele/a/SENSOR", 0), ("zigbee2mqtt/a/b", 1), ("a/events/rpc", 2), ("a/light/b/state", 3)] {
            if let Some(meaning) = mapping.read(known, payload.as_bytes()) {
                meaning.explain(NOW);
            }
        }
    }
}
