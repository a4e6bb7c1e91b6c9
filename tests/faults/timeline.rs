//! The gaps in a device's time line: a link is cut, a device parked, the node killed, and each gap has its cause.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::node::{BOUND, Node, Site, VOLTREE};
use crate::support::{hush, now_ms, pack, until};
use voltree_model::Timestamp;

/// What is longer than this counts as a gap here, so that the test does not take minutes.
const LEAST_SECONDS: u32 = 3;
/// How long each silence is made, at the least.
const SILENCE: Duration = Duration::from_secs(5);

/// A stretch of time, in UTC milliseconds, in which a device is known to have been silent, and why.
struct Known {
    device: &'static str,
    from: i64,
    to: i64,
    cause: &'static str,
}

async fn act(node: &Node, order: &str, device: &str) {
    node.order(order, &format!("node/devices/{device}")).await.unwrap();
}

/// Waits until a device is polled again, so often that its usual period is known whatever its silences were.
async fn talks(node: &Node, device: &str) {
    let readings = || async {
        let answer =
            node.ask("query($d: ID!) { device(id: $d) { readings } }", json!({ "d": device })).await?;
        answer["data"]["device"]["readings"].as_u64().ok_or_else(|| answer.to_string())
    };
    let before = until("its readings are known", BOUND, readings).await;
    until(&format!("{device} talks"), BOUND, || async {
        let now = readings().await?;
        if now >= before + 8 { Ok(()) } else { Err(format!("{now} readings")) }
    })
    .await;
}

/// Waits until a silence that began then is long enough.
async fn long_enough(since: i64) {
    let needed = i64::try_from(SILENCE.as_millis()).unwrap();
    until("the silence is long enough", BOUND, || async {
        if now_ms() - since >= needed { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
}

/// Gaps as `(from, to, cause)`, whoever lists them.
fn parse(gaps: &Value) -> Vec<(i64, i64, String)> {
    let time =
        |gap: &Value, key: &str| Timestamp::parse_rfc3339(gap[key].as_str().unwrap()).unwrap().as_millis();
    let gaps = gaps.as_array().unwrap().iter();
    gaps.map(|gap| (time(gap, "from"), time(gap, "to"), gap["cause"].as_str().unwrap().to_lowercase()))
        .collect()
}

async fn gaps(node: &Node, device: &str) -> Vec<(i64, i64, String)> {
    let query = "query($d: ID!, $n: Int!) { device(id: $d) { gaps(from: \"2000-01-01T00:00:00Z\", \
                 to: \"2100-01-01T00:00:00Z\", leastSeconds: $n) { from to cause } } }";
    parse(&node.query(query, json!({ "d": device, "n": LEAST_SECONDS })).await["device"]["gaps"])
}

/// The gap that most of a known silence lies in has its cause; and no two gaps overlap.
fn assert_told(gaps: &[(i64, i64, String)], known: &Known) {
    let middle = i64::midpoint(known.from, known.to);
    let found: Vec<_> = gaps.iter().filter(|(from, to, _)| *from <= middle && middle < *to).collect();
    let causes: Vec<_> = found.iter().map(|(_, _, cause)| cause.as_str()).collect();
    assert_eq!(causes, [known.cause], "{} at {middle}: {gaps:?}", known.device);
    assert!(gaps.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{gaps:?}");
    assert!(gaps.iter().all(|(from, to, _)| from < to), "{gaps:?}");
}

/// The gaps of a device as `voltree ledger` lists them from the files of a node that has stopped.
fn from_files(site: &Site, device: &str) -> Vec<(i64, i64, String)> {
    let least = LEAST_SECONDS.to_string();
    let data = site.data();
    let args = ["ledger", "--json", "--least-gap", &least, "--data", data.to_str().unwrap()];
    let output = Command::new(VOLTREE).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut rows = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    parse(&rows.find(|row| row["device"] == device).unwrap()["gaps"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_link_a_parked_device_and_a_dead_node_are_told_apart() {
    let boards = [pack(1), pack(2)];
    let site = Site::new().pack("cut", boards[0].path(), 300).pack("parked", boards[1].path(), 300);
    let node = site.start().await;
    for device in ["cut", "parked"] {
        talks(&node, device).await;
    }
    let mut known = Vec::new();

    hush(&boards[..1]).await;
    let from = now_ms();
    act(&node, "parkActor", "parked").await;
    node.device_is("cut", "OFFLINE").await;
    node.device_is("parked", "PARKED").await;
    long_enough(from).await;
    let to = now_ms();
    known.push(Known { device: "cut", from, to, cause: "link_down" });
    known.push(Known { device: "parked", from, to, cause: "parked" });
    // While it lasts it is listed already.
    for known in &known {
        assert_told(&gaps(&node, known.device).await, known);
    }
    boards[0].resume();
    act(&node, "resumeActor", "parked").await;
    for device in ["cut", "parked"] {
        talks(&node, device).await;
    }

    node.kill();
    let from = now_ms();
    long_enough(from).await;
    let to = now_ms();
    let node = site.start().await;
    for device in ["cut", "parked"] {
        talks(&node, device).await;
        known.push(Known { device, from, to, cause: "node_down" });
    }
    for known in &known {
        assert_told(&gaps(&node, known.device).await, known);
    }
    assert_eq!(node.stop().await, Some(0));
    for known in &known {
        assert_told(&from_files(&site, known.device), known);
    }
}
