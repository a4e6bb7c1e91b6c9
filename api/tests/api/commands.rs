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
