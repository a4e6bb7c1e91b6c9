//! Commands to devices as clients give them.

use serde_json::json;

use crate::support::Api;

fn send(input: &str) -> String {
    format!(
        "mutation {{ sendCommand(input: {{ {input} }}) {{ id deviceId action params status error executedAt acknowledgedAt }} }}"
    )
}

#[tokio::test]
async fn a_command_is_answered_with_what_came_of_it() {
    let api = Api::new();
    let query = send("deviceId: \"pack-1\", action: \"set_discharge\", params: { on: false }");
    let data = api.data(&query).await;
    let expected = json!({
        "id": "c-1", "deviceId": "pack-1", "action": "set_discharge", "params": { "on": false },
        "status": "EXECUTED", "error": null, "executedAt": "2026-01-15T10:00:00Z", "acknowledgedAt": null
    });
    assert_eq!(data["sendCommand"], expected);
}

#[tokio::test]
async fn what_is_no_command_is_refused_before_anything_is_sent() {
    let api = Api::new();
    for (input, named) in [
        ("action: \"\"", "action: "),
        ("action: \"set_soc\", params: { percent: 50 }, expiresAt: \"soon\"", "expiresAt: "),
        ("action: \"set_soc\", params: { percent: 50 }, idempotencyKey: \"\"", "idempotencyKey: "),
    ] {
        let (code, message) = api.error(&send(&format!("deviceId: \"pack-1\", {input}"))).await;
        assert_eq!(code, "BAD_USER_INPUT", "{input}");
        assert!(message.starts_with(named), "{input}: {message}");
    }
    let long = format!("action: \"{}\"", "x".repeat(65));
    assert_eq!(api.error(&send(&format!("deviceId: \"pack-1\", {long}"))).await.0, "BAD_USER_INPUT");
    let refused = send("deviceId: \"pack-2\", action: \"set_charge\", params: { on: true }");
    assert_eq!(api.error(&refused).await.0, "NOT_ALLOWED");
}

#[tokio::test]
async fn what_is_remembered_of_commands_can_be_asked_for() {
    let api = Api::new();
    let data = api
        .data("{ command(id: \"c-2\") { status acknowledgedAt } none: command(id: \"c-9\") { id } \
               commands(deviceId: \"pack-1\") { id action params } others: commands(deviceId: \"pack-2\") { id } }")
        .await;
    assert_eq!(
        data["command"],
        json!({ "status": "ACKNOWLEDGED", "acknowledgedAt": "2026-01-15T10:00:00Z" })
    );
    assert_eq!((&data["none"], &data["others"]), (&json!(null), &json!([])));
    assert_eq!(data["commands"], json!([{ "id": "c-2", "action": "blink", "params": { "times": 3 } }]));
    assert_eq!(api.error("{ commands(limit: 501) { id } }").await.0, "BAD_USER_INPUT");
}

#[tokio::test]
async fn a_device_and_its_entities_are_disabled_enabled_and_deleted_with_a_reason() {
    let api = Api::new();
    let data = api
        .data(
            "mutation { disableDevice(id: \"shed\", reason: \"noisy\") { name state } \
             enableDevice(id: \"pack-1\") { state } deleteDevice(id: \"shed\") { success id } \
             disableEntity(deviceId: \"pack-1\", key: \"soc_percent\", reason: \"why\") { state reason } \
             enableEntity(deviceId: \"pack-1\", key: \"soc_percent\") { state } }",
        )
        .await;
    assert_eq!(data["disableDevice"], json!({ "name": "noisy", "state": "DISABLED" }));
    assert_eq!(data["enableDevice"]["state"], "ONLINE");
    assert_eq!(data["deleteDevice"], json!({ "success": true, "id": "shed" }));
    assert_eq!(data["disableEntity"], json!({ "state": "DISABLED", "reason": "why" }));
    assert_eq!(data["enableEntity"]["state"], "ENABLED");
    for (mutation, code) in [
        ("disableDevice(id: \"nobody\", reason: \"x\") { id }", "NOT_FOUND"),
        ("disableDevice(id: \"shed\", reason: \" \") { id }", "BAD_USER_INPUT"),
        ("enableDevice(id: \"shed\") { id }", "NOT_NOW"),
        ("deleteDevice(id: \"pack-1\") { id }", "NOT_ALLOWED"),
        ("disableEntity(deviceId: \"pack-1\", key: \"z\", reason: \"x\") { key }", "NOT_FOUND"),
    ] {
        assert_eq!(api.error(&format!("mutation {{ {mutation} }}")).await.0, code, "{mutation}");
    }
    let data = api.data("{ device(id: \"pack-1\") { entities { key unit kind source writable } } }").await;
    let entity =
        json!({ "key": "soc_percent", "unit": "%", "kind": "NUMBER", "source": "DRIVER", "writable": true });
    assert_eq!(data["device"]["entities"], json!([entity]));
}
