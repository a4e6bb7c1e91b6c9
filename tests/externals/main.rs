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

mod dalybms;
mod graphiql;
mod mosquitto;
#[path = "../support/mod.rs"]
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use support::node::{BOUND, Node, Site};
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

#[tokio::test(flavor = "multi_thread")]
async fn the_console_of_the_demo_lives_and_kills_from_a_browser() {
    let (Some(chromium), Some(node_js)) = (external("chromium"), external("node")) else { return };
    let modules =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("api/console/node_modules/playwright-core");
    if !modules.is_dir() {
        assert!(std::env::var_os("VOLTREE_REQUIRE_EXTERNALS").is_none(), "run npm ci in api/console first");
        println!("skipped: api/console/node_modules is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let args = ["demo", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let begun = Instant::now();
    let node = Node::start(&args, &dir.path().join("log")).await;
    until("12 devices are online and their readings rise", BOUND, || async {
        let data = node.query("{ devices { id state readings } }", json!({})).await;
        let devices = data["devices"].as_array().unwrap();
        let online =
            devices.iter().filter(|d| d["state"] == "ONLINE" && d["readings"].as_u64() > Some(1)).count();
        if online == 12 { Ok(()) } else { Err(data.to_string()) }
    })
    .await;
    println!("12 devices ONLINE {:?} after the start", begun.elapsed());
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console/fleet.mjs");
    let seen = Command::new(node_js)
        .arg(script)
        .env("VOLTREE_URL", &node.http)
        .env("CHROMIUM", chromium)
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&seen.stdout));
    assert!(seen.status.success(), "{}", String::from_utf8_lossy(&seen.stderr));
    assert_eq!(node.stop().await, Some(0));
}
