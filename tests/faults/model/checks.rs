//! What the model test asks a node about its own past: who lived when, and which alerts there were.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use voltree_model::Timestamp;

use super::witness::Witness;
use crate::support::node::{BOUND, Node};
use crate::support::until;

struct Event {
    path: String,
    event: String,
    incarnation: u64,
}

/// What happened in the tree since this moment, oldest first.
async fn events(node: &Node, since_ms: i64) -> Vec<Event> {
    let query = "{ supervisionEvents(limit: 10000) { time event path incarnation } }";
    let data = until("the events can be read", BOUND, || async {
        let answer = node.ask(query, json!({})).await?;
        answer.pointer("/data/supervisionEvents").cloned().ok_or_else(|| answer.to_string())
    })
    .await;
    let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    let since = |event: &&Value| millis(&event["time"]) >= since_ms;
    let told = data.as_array().unwrap().iter().rev().filter(since);
    told.map(|event| Event {
        path: text(event, "path"),
        event: text(event, "event"),
        incarnation: event["incarnation"].as_u64().unwrap(),
    })
    .collect()
}

fn millis(time: &Value) -> i64 {
    Timestamp::parse_rfc3339(time.as_str().unwrap()).unwrap().as_millis()
}

/// How often this actor ended that should not have, or was told to.
pub(super) async fn ends(node: &Node, path: &str, since_ms: i64) -> u64 {
    let events = events(node, since_ms).await;
    let ended = |event: &&Event| event.path == path && is_end(&event.event);
    events.iter().filter(ended).count() as u64
}

fn is_end(event: &str) -> bool {
    matches!(event, "failed" | "parked" | "stopped" | "escalated")
}

/// Every place of the tree held one living incarnation at most, and each was newer than the one before.
pub(super) async fn one_incarnation_at_a_time(node: &Node, since_ms: i64) {
    let mut lives: BTreeMap<String, (u64, bool)> = BTreeMap::new();
    let events = events(node, since_ms).await;
    assert!(events.len() < 10_000, "there may have been more events than are kept");
    for Event { path, event, incarnation } in events {
        let (newest, alive) = lives.entry(path.clone()).or_default();
        match event.as_str() {
            "started" | "restarted" => {
                assert!(!*alive, "{path}: {incarnation} {event} while {newest} lived");
                assert!(incarnation > *newest, "{path}: {incarnation} {event} after {newest}");
                (*newest, *alive) = (incarnation, true);
            }
            // Its thread is lost, and its end was told before.
            "stuck" => {}
            end => {
                assert!(is_end(end), "an event that this test does not know: {end}");
                assert!(
                    !*alive || incarnation == *newest,
                    "{path}: {incarnation} {end} while {newest} lived"
                );
                *alive = false;
            }
        }
    }
    assert!(lives.values().any(|(_, alive)| *alive), "nobody was ever started");
}

/// Every reading that had to raise an alert raised one.
pub(super) async fn every_alert_was_raised_once(node: &Node, probe: &Witness) {
    let query = "query($id: ID!) { alertHistory(deviceId: $id, limit: 10000, from: \"2000-01-01T00:00:00Z\", \
                 to: \"2100-01-01T00:00:00Z\") { metricName triggeredAt } }";
    let hot = probe.hot();
    until("every alert is raised, once", BOUND, || async {
        let data = node.query(query, json!({ "id": probe.device })).await;
        let alerts = data["alertHistory"].as_array().unwrap().iter();
        let of_metric = alerts.filter(|alert| alert["metricName"] == "temperature_1");
        let mut raised: Vec<_> = of_metric.map(|alert| millis(&alert["triggeredAt"])).collect();
        raised.sort_unstable();
        if raised == hot { Ok(()) } else { Err(format!("{} of {} alerts", raised.len(), hot.len())) }
    })
    .await;
}
