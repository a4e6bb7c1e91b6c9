//! The node seen through other people's programs: mosquitto_pub, promtool, chromium, dalybms. Each test says that it is skipped
//! where its program is absent, and fails instead under VOLTREE_REQUIRE_EXTERNALS.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::float_cmp,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, look at clocks, run its own tasks and say what it saw"
)]

mod bluetooth;
mod boards;
mod bridge;
mod console;
mod dalybms;
mod home_assistant;
mod mosquitto;
mod paho;
#[path = "../support/mod.rs"]
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use support::node::Site;
use support::{external, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_qos_1_message_of_mosquitto_pub_is_the_latest_metric_within_a_second() {
    let Some(mosquitto_pub) = external("mosquitto_pub") else { return };
    let site = Site::new();
    let node = site.start().await;
    let payload = "{\"device_id\":\"new-sensor\",\"metrics\":[{\"name\":\"temperature\",\"value\":23.5,\"unit\":\"°C\"}]}";
    let (host, port) = (node.mqtt.ip().to_string(), node.mqtt.port().to_string());
    let sent = Command::new(mosquitto_pub)
        .args(["-h", &host, "-p", &port, "-q", "1", "-t", "devices/new-sensor/telemetry", "-m", payload])
        .status()
        .unwrap();
    assert!(sent.success());
    let acknowledged = Instant::now();
    let query =
        "{ deviceLatestMetric(deviceId: \"new-sensor\", metricName: \"temperature\") { value unit } }";
    let latest = until("the latest metric is there", Duration::from_secs(1), || async {
        let latest = node.ask(query, json!({})).await?["data"]["deviceLatestMetric"].clone();
        if latest.is_null() { Err(latest.to_string()) } else { Ok(latest) }
    })
    .await;
    println!("in GraphQL {:?} after mosquitto_pub ended", acknowledged.elapsed());
    assert_eq!(latest, json!({ "value": 23.5, "unit": "°C" }));
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_own_checker_finds_nothing_wrong_with_the_metrics() {
    let Some(promtool) = external("promtool") else { return };
    let site = Site::new();
    let node = site.start().await;
    node.query("{ devices { id } }", json!({})).await;
    let metrics = node.get("/metrics").await.text().await.unwrap();
    let file = site.dir.path().join("metrics");
    std::fs::write(&file, &metrics).unwrap();
    let checked = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    for name in
        ["http_requests_total", "http_request_duration_seconds_bucket", "runtime_supervision_events_total"]
    {
        assert!(metrics.contains(name), "{name} is not served:\n{metrics}");
    }
    assert_eq!(node.stop().await, Some(0));
}
