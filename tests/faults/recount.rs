//! `voltree ledger` counts the stored frames again, and says so when they are not what the fold says.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{Site, VOLTREE};
use crate::support::now_ms;

const READINGS: u64 = 500;

fn ledger(site: &Site) -> Output {
    Command::new(VOLTREE)
        .args(["ledger", "--json", "--data", site.data().to_str().unwrap()])
        .output()
        .unwrap()
}

fn row(output: &Output) -> Value {
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    let rows = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.into_iter().find(|row| row["device"] == "sensor").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_counted_again_and_a_bucket_that_went_missing_is_told() {
    let site = Site::new();
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "sensor").await.unwrap();
    // Over the last two days, so that there are several buckets.
    let (base, step) = (now_ms() - 2 * 86_400_000, 2 * 86_400_000 / i64::try_from(READINGS).unwrap());
    for number in 1..=READINGS {
        let at = base + i64::try_from(number).unwrap() * step - step;
        let payload = telemetry("sensor", at, &[("number", number as f64)]);
        publisher.publish(number, &topic("sensor"), &payload).await.unwrap();
    }
    publisher.settle().await.unwrap();
    node.ledger_settled("sensor", READINGS).await;
    let running = ledger(&site);
    assert!(running.status.success());
    assert_eq!(row(&running)["in_frames"], Value::Null, "a running node keeps its frames to itself");
    assert_eq!(node.stop().await, Some(0));

    let stopped = ledger(&site);
    assert!(stopped.status.success(), "{}", String::from_utf8(stopped.stderr).unwrap());
    assert_eq!(row(&stopped)["stored"], READINGS);
    assert_eq!(row(&stopped)["in_frames"], READINGS);

    let raw = site.data().join("buckets/raw");
    let oldest = std::fs::read_dir(&raw).unwrap().map(|day| day.unwrap().path()).min().unwrap();
    std::fs::remove_dir_all(&oldest).unwrap();
    let robbed = ledger(&site);
    let said = String::from_utf8(robbed.stderr.clone()).unwrap();
    assert!(!robbed.status.success() && said.contains("fold and frames disagree"), "{said}");
    let left = row(&robbed)["in_frames"].as_u64().unwrap();
    assert!(
        said.contains(&format!("sensor: the fold says {READINGS} stored, the frames hold {left}")),
        "{said}"
    );
    assert!(left > 0 && left < READINGS);
}
