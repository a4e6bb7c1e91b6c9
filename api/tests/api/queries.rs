//! Each question, with everything it can answer.

use serde_json::json;

use crate::fleet::REPORT;
use crate::support::Api;

#[tokio::test]
async fn a_device_has_every_field() {
    let query =
        "{ device(id: \"pack-1\") { id name type state site labels lastSeen createdAt updatedAt readings
        latest(names: [\"soc_percent\", \"unheard_of\"]) { name value unit time } attributes
        actorPath stateHistory(limit: 1) { state since reason } } }";
    let expected = json!({ "device": {
        "id": "pack-1", "name": "The pack-1", "type": "daly_bms", "state": "ONLINE", "site": "barn",
        "labels": { "row": "3" }, "lastSeen": "2026-01-15T10:00:00Z", "createdAt": "2026-01-15T09:00:00Z",
        "updatedAt": "2026-01-15T09:59:00Z", "readings": 5_000_000_000_u64,
        "latest": [{ "name": "soc_percent", "value": 81.5, "unit": "%", "time": "2026-01-15T10:00:00Z" }],
        "attributes": { "state": "charging" }, "actorPath": "node/devices/pack-1",
        "stateHistory": [{ "state": "ONLINE", "since": "2026-01-15T09:59:00Z", "reason": "it answers" }]
    }});
    assert_eq!(Api::new().data(query).await, expected);
}

#[tokio::test]
async fn whoever_waits_is_listed_and_can_be_adopted_or_sent_away() {
    let api = Api::new();
    let listed = api.data("{ deviceCandidates { id name firstSeen lastSeen messages ignored } }").await;
    let seen = "2026-01-15T10:00:00Z";
    let expected = json!([
        { "id": "lamp", "name": "The lamp", "firstSeen": seen, "lastSeen": seen, "messages": 7, "ignored": false },
        { "id": "noise", "name": "The noise", "firstSeen": null, "lastSeen": null, "messages": 0, "ignored": true },
    ]);
    assert_eq!(listed["deviceCandidates"], expected);
    let adopted = api.data("mutation { adoptDevice(id: \"lamp\") { id state } }").await;
    assert_eq!(adopted, json!({ "adoptDevice": { "id": "lamp", "state": "ONLINE" } }));
    assert_eq!(
        api.data("mutation { ignoreDevice(id: \"noise\") }").await,
        json!({ "ignoreDevice": "noise" })
    );
    let (code, _) = api.error("mutation { adoptDevice(id: \"a b\") { id } }").await;
    assert_eq!(code, "BAD_USER_INPUT");
    let (code, message) = api.error("mutation { ignoreDevice(id: \"full-disk\") }").await;
    assert!(code == "INTERNAL" && !message.contains("no space"), "{code} {message}");
}

#[tokio::test]
async fn gaps_are_listed_with_their_length_and_cause() {
    let api = Api::new();
    let query = "{ device(id: \"pack-1\") { gaps(from: \"2026-01-15T08:00:00Z\", to: \"2026-01-15T10:00:00Z\", \
                 leastSeconds: 30) { from to seconds cause } } }";
    let gaps = api.data(query).await["device"]["gaps"].clone();
    let first = json!({ "from": "2026-01-15T08:00:00Z", "to": "2026-01-15T08:00:30Z", "seconds": 30.0,
                        "cause": "NODE_DOWN" });
    assert_eq!(gaps[0], first);
    let causes: Vec<_> = gaps.as_array().unwrap().iter().map(|gap| gap["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["NODE_DOWN", "LINK_DOWN", "PARKED", "NONE"]);
    let (code, message) = api.error(&query.replace("30", "0")).await;
    assert_eq!(code, "BAD_USER_INPUT");
    assert!(message.contains("leastSeconds"), "{message}");
}

#[tokio::test]
async fn a_device_that_nobody_knows_is_null() {
    assert_eq!(Api::new().data("{ device(id: \"nobody\") { id } }").await, json!({ "device": null }));
}

#[tokio::test]
async fn devices_are_listed_with_all_their_latest_values() {
    let data = Api::new().data("{ devices { id state lastSeen latest { name } } }").await;
    let latest = json!([{ "name": "pack_voltage" }, { "name": "soc_percent" }]);
    let expected = json!({ "devices": [
        { "id": "pack-1", "state": "ONLINE", "lastSeen": "2026-01-15T10:00:00Z", "latest": latest },
        { "id": "shed", "state": "OFFLINE", "lastSeen": null, "latest": latest },
    ]});
    assert_eq!(data, expected);
}

#[tokio::test]
async fn telemetry_is_the_first_samples_of_the_range_and_times_may_come_from_any_zone() {
    let query = "{ deviceTelemetry(deviceId: \"pack-1\", metricName: \"pack_voltage\",
        from: \"2026-01-15T12:00:00+02:00\", to: \"2026-01-15T11:00:00Z\", limit: 2) {
        metricName points { time value unit metricName } } }";
    let point =
        |time, value| json!({ "time": time, "value": value, "unit": "V", "metricName": "pack_voltage" });
    let expected = json!({ "deviceTelemetry": { "metricName": "pack_voltage", "points": [
        point("2026-01-15T10:00:00Z", 0.0), point("2026-01-15T10:00:01Z", 1.0),
    ]}});
    assert_eq!(Api::new().data(query).await, expected);
}

#[tokio::test]
async fn telemetry_has_a_thousand_samples_unless_told_otherwise() {
    let count = async |limit: &str| {
        let query = format!(
            "{{ deviceTelemetry(deviceId: \"pack-1\", metricName: \"m\", from: \"2026-01-01T00:00:00Z\",
             to: \"2026-02-01T00:00:00Z\" {limit}) {{ points {{ value }} }} }}"
        );
        Api::new().data(&query).await["deviceTelemetry"]["points"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 1_000);
    assert_eq!(count(", limit: null").await, 1_000);
    assert_eq!(count(", limit: 100000").await, 100_000);
}

#[tokio::test]
async fn telemetry_is_aggregated_by_the_interval_asked_for() {
    let query = "{ deviceTelemetryAggregated(deviceId: \"pack-1\", metricName: \"pack_voltage\",
        from: \"2026-01-15T10:00:00Z\", to: \"2026-01-15T11:00:00Z\", interval: \"15 minutes\") {
        bucket avg min max count } }";
    let bucket =
        json!({ "bucket": "2026-01-15T10:00:00Z", "avg": 52.0, "min": 51.5, "max": 52.5, "count": 900 });
    assert_eq!(Api::new().data(query).await, json!({ "deviceTelemetryAggregated": [bucket] }));
}

#[tokio::test]
async fn the_latest_sample_and_the_names_of_a_devices_metrics() {
    let query = "{ deviceMetrics(deviceId: \"shed\")
        known: deviceLatestMetric(deviceId: \"shed\", metricName: \"pack_voltage\") { value unit time metricName }
        unknown: deviceLatestMetric(deviceId: \"shed\", metricName: \"humidity\") { value } }";
    let expected = json!({
        "deviceMetrics": ["pack_voltage", "soc_percent"],
        "known": { "value": 52.5, "unit": "V", "time": "2026-01-15T10:00:00Z", "metricName": "pack_voltage" },
        "unknown": null,
    });
    assert_eq!(Api::new().data(query).await, expected);
}

#[tokio::test]
async fn an_alert_has_every_field() {
    let query =
        "{ activeAlerts(deviceId: \"pack-1\") { id deviceId device { name } severity status title message
        metricName metricValue threshold triggeredAt acknowledgedAt acknowledgedBy resolvedAt resolvedBy } }";
    let expected = json!({ "activeAlerts": [{
        "id": "a-2", "deviceId": "pack-1", "device": { "name": "The pack-1" }, "severity": "CRITICAL",
        "status": "ACTIVE", "title": "High temperature", "message": "temperature_1 is 61 °C, above 55 °C",
        "metricName": "temperature_1", "metricValue": 61.0, "threshold": 55.0,
        "triggeredAt": "2026-01-15T10:00:00Z", "acknowledgedAt": null, "acknowledgedBy": null,
        "resolvedAt": null, "resolvedBy": null,
    }]});
    assert_eq!(Api::new().data(query).await, expected);
}

#[tokio::test]
async fn active_alerts_are_filtered_by_device_and_severity() {
    let query = "{ all: activeAlerts { id device { id } } warnings: activeAlerts(severity: WARNING) { id }
        none: activeAlerts(deviceId: \"pack-1\", severity: WARNING) { id } }";
    let expected = json!({
        "all": [{ "id": "a-2", "device": { "id": "pack-1" } }, { "id": "a-1", "device": null }],
        "warnings": [{ "id": "a-1" }],
        "none": [],
    });
    assert_eq!(Api::new().data(query).await, expected);
}

#[tokio::test]
async fn alert_history_is_filtered_by_range_and_device_and_then_cut() {
    let query = "query($from: String!, $to: String!) {
        all: alertHistory(from: $from, to: $to) { id status resolvedAt }
        pack: alertHistory(deviceId: \"pack-1\", from: $from, to: $to) { id }
        one: alertHistory(from: $from, to: $to, limit: 1) { id }
        before: alertHistory(from: \"2025-01-01T00:00:00Z\", to: $from) { id } }";
    let variables = json!({ "from": "2026-01-15T00:00:00Z", "to": "2026-01-16T00:00:00Z" });
    let body = json!({ "query": query, "variables": variables }).to_string();
    let answer = Api::new().send(crate::support::question(&body)).await.json();
    let active = |id| json!({ "id": id, "status": "ACTIVE", "resolvedAt": null });
    let resolved = json!({ "id": "a-0", "status": "RESOLVED", "resolvedAt": "2026-01-15T10:01:00Z" });
    let expected = json!({
        "all": [active("a-2"), active("a-1"), resolved],
        "pack": [{ "id": "a-2" }, { "id": "a-0" }],
        "one": [{ "id": "a-2" }],
        "before": [],
    });
    assert_eq!(answer["data"], expected, "{answer}");
}

#[tokio::test]
async fn the_tree_shows_every_actor_with_its_supervisor() {
    let query = "{ supervisionTree { path parent kind supervisor status incarnation restarts since nextTry
        lastReason } }";
    let tree = Api::new().data(query).await["supervisionTree"].take();
    assert_eq!(tree.as_array().unwrap().len(), 4);
    assert_eq!(tree[0]["parent"], json!(null));
    let parked = json!({
        "path": "node/devices/pack-2", "parent": "node/devices", "kind": "daly_bms", "supervisor": false,
        "status": "parked", "incarnation": 2, "restarts": 1, "since": null, "nextTry": "2026-01-15T10:01:00Z",
        "lastReason": "panicked: out of cells",
    });
    assert_eq!(tree[3], parked);
}

#[tokio::test]
async fn supervision_events_say_what_happened_and_why() {
    let query = "{ supervisionEvents(limit: 1) { time event path kind incarnation restarts reason reasonKind
        delayMs } default: supervisionEvents { time }
        one: supervisionEvents(limit: 3, path: \"node/devices/pack-1\") { path }
        none: supervisionEvents(path: \"node/devices/pack-2\") { path } }";
    let data = Api::new().data(query).await;
    let expected = json!([{
        "time": "2026-01-15T10:00:00Z", "event": "failed", "path": "node/devices/pack-1", "kind": "daly_bms",
        "incarnation": 2, "restarts": 1, "reason": "killed by operator", "reasonKind": "killed", "delayMs": 250,
    }]);
    assert_eq!(data["supervisionEvents"], expected);
    assert_eq!(data["default"].as_array().unwrap().len(), 100);
    assert_eq!(data["one"].as_array().unwrap().len(), 3);
    assert_eq!(data["none"], json!([]));
}

#[tokio::test]
async fn the_ledger_balances_and_names_its_reasons() {
    let query = "{ ledger { deviceId received } one: ledger(deviceId: \"pack-1\") { deviceId received stored
        duplicate rejected rejectedByReason { reason count } deadLettered pending
        metricsLeftOut { reason count } } }";
    let data = Api::new().data(query).await;
    let rows = json!([{ "deviceId": null, "received": 4 }, { "deviceId": "pack-1", "received": 100 }]);
    assert_eq!(data["ledger"], rows);
    let row = json!([{
        "deviceId": "pack-1", "received": 100, "stored": 90, "duplicate": 3, "rejected": 3,
        "rejectedByReason": [{ "reason": "bad_payload", "count": 2 }, { "reason": "busy", "count": 1 }],
        "deadLettered": 1, "pending": 3, "metricsLeftOut": [{ "reason": "bad_value", "count": 7 }],
    }]);
    assert_eq!(data["one"], row);
}

#[tokio::test]
async fn the_node_says_who_it_is_and_whether_it_is_ready() {
    let api = Api::new();
    let node = api.data("{ node { name version startedAt ready } }").await["node"].take();
    let expected =
        json!({ "name": "barn-1", "version": "0.1.0", "startedAt": "2026-01-15T10:00:00Z", "ready": true });
    assert_eq!(node, expected);
    api.fleet.healthy.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(api.data("{ node { ready } }").await, json!({ "node": { "ready": false } }));
}

#[tokio::test]
async fn a_kill_names_the_operator_and_answers_how_the_actor_stood() {
    let api = Api::new();
    let data =
        api.data("mutation { killActor(path: \"node/devices/pack-1\") { path status restarts } }").await;
    let expected =
        json!({ "killActor": { "path": "node/devices/pack-1", "status": "running", "restarts": 1 } });
    assert_eq!(data, expected);
    assert_eq!(*api.fleet.kills.lock(), [("node/devices/pack-1".to_owned(), "operator".to_owned())]);
}

#[tokio::test]
async fn parking_names_the_operator_and_the_reason_and_resuming_answers_who_was_parked() {
    let api = Api::new();
    let park = "mutation { parkActor(path: \"node/devices/pack-1\", reason: \"new cells\") { path status } }";
    let expected = json!({ "parkActor": { "path": "node/devices/pack-1", "status": "running" } });
    assert_eq!(api.data(park).await, expected);
    let told = "operator parks: new cells".to_owned();
    assert_eq!(*api.fleet.kills.lock(), [("node/devices/pack-1".to_owned(), told)]);
    let resume = |pack: u8| {
        format!(
            "mutation {{ resumeActor(path: \"node/devices/pack-{pack}\", reason: \"done\") {{ status }} }}"
        )
    };
    assert_eq!(api.data(&resume(2)).await, json!({ "resumeActor": { "status": "parked" } }));
    let (code, message) = api.error(&resume(1)).await;
    assert_eq!((code.as_str(), message.as_str()), ("NOT_NOW", "node/devices/pack-1 needs no resuming"));
}

#[tokio::test]
async fn what_the_console_asks_every_second_is_allowed() {
    let data = Api::new()
        .data(
            "{ node { name version startedAt ready } devices { id name type state lastSeen readings
             latest { name value unit time } attributes } supervisionTree { path parent kind supervisor status
             incarnation restarts since nextTry lastReason } supervisionEvents(limit: 30) { time event path kind
             incarnation restarts reason reasonKind delayMs } ledger { deviceId received stored duplicate rejected
             rejectedByReason { reason count } deadLettered pending } }",
        )
        .await;
    assert_eq!(data["supervisionEvents"].as_array().unwrap().len(), 30);
}

#[tokio::test]
async fn dead_letters_are_listed_with_their_reason_and_replayed_with_one() {
    let api = Api::new();
    let letter = "id deviceId number time measuredAt metrics reason failures";
    let query = format!("{{ deadLetters {{ {letter} }} none: deadLetters(deviceId: \"shed\") {{ id }} }}");
    let data = api.data(&query).await;
    let expected = json!({
        "id": "pack-1:17", "deviceId": "pack-1", "number": 17, "time": "2026-01-15T10:00:00Z",
        "measuredAt": "2026-01-15T10:00:00Z", "metrics": 2, "failures": 3,
        "reason": "panicked: out of cells (at bms.rs:1:1)",
    });
    assert_eq!(data, json!({ "deadLetters": [expected], "none": [] }));
    let replay = "mutation { replayDeadLetter(id: \"pack-1:17\", reason: \"fixed in 0.2\") { id } }";
    assert_eq!(api.data(replay).await["replayDeadLetter"]["id"], "pack-1:17");
    let (code, _) = api.error(&replay.replace("1:17", "1:18")).await;
    assert_eq!(code, "NOT_FOUND");
    let (code, message) = api.error(&replay.replace("fixed in 0.2", " ")).await;
    assert_eq!((code.as_str(), message.starts_with("reason: ")), ("BAD_USER_INPUT", true), "{message}");
}

#[tokio::test]
async fn messages_that_a_broker_hangs_up_on_are_listed_and_sent_again() {
    let api = Api::new();
    let fields = "id broker topic payload payloadBytes time reason hangUps";
    let query =
        format!("{{ setAsideMessages {{ {fields} }} none: setAsideMessages(broker: \"x\") {{ id }} }}");
    let expected = json!({
        "id": "centre/00000000000000000007", "broker": "centre", "topic": "devices/pack-1/telemetry",
        "payload": "{}", "payloadBytes": 2, "time": "2026-01-15T10:00:00Z", "hangUps": 3,
        "reason": "connection closed by peer",
    });
    assert_eq!(api.data(&query).await, json!({ "setAsideMessages": [expected], "none": [] }));
    let again =
        "mutation { forwardAgain(id: \"centre/00000000000000000007\", reason: \"mended\") { topic } }";
    assert_eq!(api.data(again).await["forwardAgain"]["topic"], "devices/pack-1/telemetry");
    assert_eq!(api.error(&again.replace("007", "008")).await.0, "NOT_FOUND");
}

#[tokio::test]
async fn orders_are_limited_in_their_rate() {
    let api = Api::new();
    let kill = "mutation { killActor(path: \"node/devices/pack-1\", reason: \"a test\") { path } }";
    let mut refused = None;
    for _ in 0..200 {
        let answer = api.ask(kill).await;
        if let Some(error) = answer.get("errors") {
            refused = Some(error[0]["extensions"]["code"].as_str().unwrap().to_owned());
            break;
        }
    }
    assert_eq!(refused.as_deref(), Some("TOO_MANY_ORDERS"));
    let kills = api.fleet.kills.lock().len();
    assert!((60..200).contains(&kills), "{kills} before the first refusal");
}

#[tokio::test]
async fn faults_are_injected_with_a_reason_and_only_where_they_are_possible() {
    let api = Api::new();
    let points = api.data("{ faultPoints { name kinds about trips } }").await;
    let expected = json!([{
        "name": "bms.link", "kinds": ["DROP_LINK"], "about": "The wire to a battery.", "trips": 3
    }]);
    assert_eq!(points["faultPoints"], expected);
    let inject = "mutation { injectFault(fault: { point: \"bms.link\", kind: DROP_LINK, target: \"pack-1\" },
        reason: \"a drill\") { id point kind target } }";
    let fault = json!({ "id": 1, "point": "bms.link", "kind": "DROP_LINK", "target": "pack-1" });
    assert_eq!(api.data(inject).await["injectFault"], fault);
    assert_eq!(api.data("{ activeFaults { id point kind target } }").await["activeFaults"], json!([fault]));
    for (from, to, problem) in [
        ("bms.link", "bms.lynk", "there is no fault point \"bms.lynk\"; there are bms.link"),
        ("DROP_LINK", "PANIC", "panic is not possible at bms.link"),
        ("a drill", "", "reason: expected 1 to 200 characters"),
        ("kind:", "forSeconds: 0, kind:", "forSeconds: 0 is out of range"),
    ] {
        let (code, message) = api.error(&inject.replace(from, to)).await;
        assert_eq!((code.as_str(), message.contains(problem)), ("BAD_USER_INPUT", true), "{message}");
    }
    let cleared = api.data("mutation { clearFaults(reason: \"the drill is over\") }").await;
    assert_eq!(cleared["clearFaults"], 1);
}

#[tokio::test]
async fn crash_reports_and_flight_records_are_found() {
    let api = Api::new();
    let data =
        api.data("{ crashReports { id deviceId time incarnation reason reasonKind bytes url } }").await;
    let expected = json!({ "crashReports": [{
        "id": "pack-1-1768471200000", "deviceId": "pack-1", "time": "2026-01-15T10:00:00Z", "incarnation": 2,
        "reason": "panicked: boom", "reasonKind": "panic", "bytes": 14,
        "url": "/api/v1/crash-reports/pack-1-1768471200000"
    }]});
    assert_eq!(data, expected);
    assert_eq!(api.data("{ crashReports(deviceId: \"other\") { id } }").await["crashReports"], json!([]));
    assert_eq!(api.data("{ flightRecord(deviceId: \"pack-1\") }").await["flightRecord"], REPORT);
    assert_eq!(api.error("{ flightRecord(deviceId: \"nobody\") }").await.0, "NOT_FOUND");
}
