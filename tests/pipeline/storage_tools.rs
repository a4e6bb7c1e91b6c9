//! `voltree storage` as an operator runs it, on a directory that a node left behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::node::{Node, Site, VOLTREE};
use crate::support::now_ms;

pub(crate) fn voltree(args: &[&str]) -> Output {
    Command::new(VOLTREE).args(args).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn storage(what: &str, data: &Path, json: bool) -> Output {
    let data = data.to_str().unwrap();
    let args = ["storage", what, "--data", data];
    if json { voltree(&[args.as_slice(), &["--json"]].concat()) } else { voltree(&args) }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Writes this many readings of a device, ten seconds apart, and waits until they are stored.
pub(crate) async fn write(node: &Node, device: &str, readings: i64, base: i64) {
    send(node, device, readings, base).await;
    node.ledger_settled(device, u64::try_from(readings).unwrap()).await;
}

/// Writes this many readings of a device, ten seconds apart, which are committed then.
pub(crate) async fn send(node: &Node, device: &str, readings: i64, base: i64) {
    let lines: String = (0..readings)
        .map(|n| {
            format!(
                "voltree,device={device},unit=V voltage={} {}\n",
                50.0 + n as f64 / 8.0,
                base + n * 10_000
            )
        })
        .collect();
    let client = reqwest::Client::new();
    let answer = client.post(format!("{}/write?precision=ms", node.http)).body(lines).send().await.unwrap();
    assert_eq!(answer.status(), 204, "{}", answer.text().await.unwrap());
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_counted_verified_and_compacted_and_damage_is_named() {
    let site = Site::new();
    let node = site.start().await;
    // Two days ago, so that hours and days are over.
    write(&node, "pack-1", 2_000, now_ms() - 2 * 86_400_000).await;
    write(&node, "pack-2", 10, now_ms() - 3_600_000).await;
    let in_use = storage("stats", &site.data(), false);
    assert!(!in_use.status.success());
    assert!(text(&in_use.stderr).contains(&format!("in use by process {}", node.pid())), "{in_use:?}");
    assert_eq!(node.stop().await, Some(0));

    let stats = json(&storage("stats", &site.data(), true));
    assert_eq!(stats["totals"]["raw"]["rows"], 2_010, "{stats}");
    assert_eq!(stats["totals"]["raw"]["samples"], 2_010);
    assert!(stats["bytes_per_sample"].as_f64().unwrap() > 0.0);
    // Supervision events are entries as well.
    assert!(stats["journal"]["entries"].as_u64().unwrap() > 2_010, "{stats}");
    let table = text(&storage("stats", &site.data(), false).stdout);
    assert!(table.contains("rollup-1m") && table.contains("B/sample"), "{table}");

    for what in ["compact", "migrate"] {
        let output = storage(what, &site.data(), true);
        assert!(output.status.success(), "{what}: {output:?}");
        assert!(json(&output)["buckets"].as_u64().unwrap() > 0);
    }
    let sound = storage("verify", &site.data(), true);
    assert!(sound.status.success(), "{sound:?}");
    assert_eq!(json(&sound)["sound"], true);

    let node = site.start().await;
    assert_eq!(node.ledger(Some("pack-1")).await.stored, 2_000);
    assert_eq!(node.samples("pack-1", "voltage").await.len(), 2_000);
    assert_eq!(node.stop().await, Some(0));

    let journal = files(&site.data().join("journal")).remove(0);
    for damaged in [journal, site.data().join("checkpoint")] {
        let whole = std::fs::read(&damaged).unwrap();
        let mut bytes = whole.clone();
        bytes[60] ^= 1;
        std::fs::write(&damaged, bytes).unwrap();
        let found = storage("verify", &site.data(), false);
        assert_eq!(found.status.code(), Some(1), "{found:?}");
        assert!(text(&found.stdout).contains(damaged.to_str().unwrap()), "{found:?}");
        std::fs::write(&damaged, whole).unwrap();
    }
    // Every file of the frames in turn: what the engine overlooks, the ledger's count tells.
    let frames = files(&site.data().join("buckets/raw"));
    let big = frames.iter().filter(|file| file.ends_with("db") || file.ends_with("tail"));
    let mut noticed = 0;
    for file in big {
        let whole = std::fs::read(file).unwrap();
        let Some(at) = whole.windows(4).position(|window| window == b"VTFR") else { continue };
        let mut bytes = whole.clone();
        bytes[at + 40] ^= 1;
        std::fs::write(file, &bytes).unwrap();
        let found = storage("verify", &site.data(), false);
        assert_eq!(found.status.code(), Some(1), "{}: {found:?}", file.display());
        noticed += 1;
        std::fs::write(file, whole).unwrap();
    }
    assert!(noticed > 0, "{frames:?}");
    let nowhere = storage("verify", &site.dir.path().join("nowhere"), false);
    assert!(text(&nowhere.stderr).contains("is no data directory"), "{nowhere:?}");
}
