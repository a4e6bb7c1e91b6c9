//! Bad input gets a clear error or is counted with its reason, and disturbs nothing else.

use std::process::{Command, Output};

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{BOUND, Site, VOLTREE};
use crate::support::{daly, now_ms, pack, serve, until};
use serde_json::json;
use voltree_protocols::sim::Flaky;

fn voltree(args: &[&str]) -> Output {
    Command::new(VOLTREE).args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_configuration_with_mistakes_exits_64_and_names_every_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "[http]\nlisten = \"nowhere\"\n[mqtt]\nlissten = \"127.0.0.1:1\"\n").unwrap();
    for args in
        [["check-config", file.to_str().unwrap()].as_slice(), &["run", "--config", file.to_str().unwrap()]]
    {
        let output = voltree(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {}", stderr(&output));
        let text = stderr(&output);
        assert!(text.contains("http.listen: \"nowhere\" is not"), "{text}");
        assert!(text.contains("mqtt.lissten: unknown key"), "{text}");
    }
}

#[test]
fn a_command_line_that_makes_no_sense_exits_64_and_help_does_not() {
    assert_eq!(voltree(&["demo", "--devices", "none"]).status.code(), Some(64));
    assert_eq!(voltree(&["nonsense"]).status.code(), Some(64));
    for command in ["demo", "run", "check-config", "simulate", "decode", "probe", "ledger"] {
        let output = voltree(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains("Usage: voltree"), "{command}");
    }
}

#[test]
fn decode_tells_what_frames_say_and_what_is_wrong_with_those_that_are_none() {
    let output = voltree(&["decode", "--protocol", "daly_uart", "--hex", "a501900802120000 75300200f9"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["decoded"]["voltage_v"], 53.0);
    let output = voltree(&["decode", "--protocol", "daly_uart", "--hex", "a5zz"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("hex"), "{}", stderr(&output));
    let output = voltree(&["decode", "--protocol", "jbd", "--hex", "dd0400080f450f3d0f370f3dfec677"]);
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["decoded"]["cell_voltages_mv"], serde_json::json!([3909, 3901, 3895, 3901]));
    let output = voltree(&["decode", "--help"]);
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for protocol in ["daly_uart", "jbd", "jk", "pylontech", "seplos", "sunspec_modbus"] {
        assert!(help.contains(protocol), "{protocol} is missing in {help}");
    }
    let output = voltree(&["decode", "--protocol", "morse", "--hex", "a5"]);
    assert!(
        stderr(&output).contains("daly_uart"),
        "an unknown protocol's error lists the known: {}",
        stderr(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_in_use_is_refused_with_the_process_that_has_it() {
    let site = Site::new();
    let node = site.start().await;
    let output = voltree(&["run", "--config", site.config().to_str().unwrap()]);
    assert!(!output.status.success());
    let text = stderr(&output);
    assert!(text.contains(&node.pid().to_string()) && text.contains("data"), "{text}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_with_its_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Site::new();
    let config = site.config();
    let address = taken.local_addr().unwrap().to_string();
    let output = voltree(&["run", "--config", config.to_str().unwrap(), "--http", &address]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("http.listen"), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_publishes_are_acknowledged_and_counted_with_their_reason_and_good_ones_go_on() {
    let site = Site::new();
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "mixed").await.unwrap();
    let good = |n: i64| telemetry("mixed", now_ms() - 10_000 + n, &[("n", n as f64)]);
    let topic = topic("mixed");
    let publishes: [(&str, Vec<u8>); 9] = [
        (&topic, good(1)),
        (&topic, b"{\"device_id\":\"mixed\",\"metrics\":".to_vec()),
        (&topic, telemetry("other", now_ms(), &[("n", 1.0)])),
        (&topic, b"{\"device_id\":\"mixed\",\"metrics\":[{\"name\":\"n\",\"value\":NaN}]}".to_vec()),
        (&topic, b"{\"device_id\":\"mixed\",\"timestamp\":\"noon\",\"metrics\":[{\"name\":\"n\",\"value\":1}]}".to_vec()),
        (&topic, b"{\"device_id\":\"mixed\",\"metrics\":[]}".to_vec()),
        ("devices/mixed/telemetri", good(2)),
        ("elsewhere/énergie", good(3)),
        (&topic, b"{\"device_id\":\"mixed\",\"metrics\":[{\"name\":\"n\",\"value\":4},{\"name\":\"bad\",\"value\":null}]}".to_vec()),
    ];
    for (number, (topic, payload)) in publishes.iter().enumerate() {
        publisher.publish(number as u64, topic, payload).await.unwrap();
    }
    publisher.settle().await.unwrap();
    assert_eq!(
        publisher.acked.len(),
        publishes.len(),
        "every publish is acknowledged, so that none comes again for ever"
    );

    let ledger = node.ledger_settled("mixed", 7).await;
    assert_eq!((ledger.received, ledger.stored, ledger.rejected), (7, 2, 5), "{ledger:?}");
    let nodes_own = node.ledger_settled(None, 2).await;
    assert_eq!((nodes_own.received, nodes_own.rejected), (2, 2), "{nodes_own:?}");
    let query = "{ ledger(deviceId: \"mixed\") { rejectedByReason { reason count } metricsLeftOut { reason count } } }";
    let data = node.query(query, json!({})).await;
    let mut reasons: Vec<String> = data["ledger"][0]["rejectedByReason"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} {}", row["reason"].as_str().unwrap(), row["count"]))
        .collect();
    reasons.sort();
    assert_eq!(reasons, ["bad_payload 2", "bad_timestamp 1", "device_mismatch 1", "no_metrics 1"]);
    assert_eq!(data["ledger"][0]["metricsLeftOut"], json!([{ "reason": "bad_value", "count": 1 }]));
    assert_eq!(node.samples("mixed", "n").await.len(), 2);
    assert!(node.samples("mixed", "bad").await.is_empty());
    ledger_command_agrees(&site);
    assert_eq!(node.stop().await, Some(0));
    ledger_command_agrees(&site);
}

/// Whether the node runs or not.
fn ledger_command_agrees(site: &Site) {
    let output = voltree(&["ledger", "--json", "--data", site.data().to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    let row = text.lines().find(|line| line.contains("\"mixed\"")).unwrap();
    let row: serde_json::Value = serde_json::from_str(row).unwrap();
    assert_eq!((row["received"].as_u64(), row["stored"].as_u64()), (Some(7), Some(2)), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_mqtt_end_only_their_own_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let site = Site::new();
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "steady").await.unwrap();
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff], &[0; 64]] {
        let mut stream = tokio::net::TcpStream::connect(node.mqtt).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(BOUND, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{bytes:?} did not end its connection");
    }
    publisher.publish(1, &topic("steady"), &telemetry("steady", now_ms(), &[("n", 1.0)])).await.unwrap();
    publisher.settle().await.unwrap();
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_wire_is_counted_and_the_sibling_pack_never_notices() {
    let noisy = serve(Flaky::new(daly(1), "garbage=0.8,corrupt=0.15".parse().unwrap(), 1));
    let clean = pack(2);
    let site = Site::new().pack("noisy", noisy.path(), 300).pack("clean", clean.path(), 300);
    let node = site.start().await;
    until("both packs are stored and bad frames are counted", BOUND, || async {
        let metrics = node.get("/metrics").await.text().await.map_err(|error| error.to_string())?;
        let bad = metrics
            .lines()
            .find_map(|line| line.strip_prefix("actors_bms_bad_frames_total "))
            .and_then(|count| count.parse::<f64>().ok())
            .unwrap_or(0.0);
        let (noisy, clean) = (node.ledger(Some("noisy")).await, node.ledger(Some("clean")).await);
        if bad > 0.0 && noisy.received > 0 && clean.received > 5 {
            Ok(())
        } else {
            Err(format!("{bad} bad frames, noisy {noisy:?}, clean {clean:?}"))
        }
    })
    .await;
    let tree = node.try_tree().await.unwrap();
    assert!(tree.iter().all(|actor| actor.restarts == 0), "bad input is no fault: {tree:?}");
    assert_eq!(node.stop().await, Some(0));
}
