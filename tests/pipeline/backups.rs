//! Backups of a node that runs and of one that does not: restored they hold the same readings and the same ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::storage_tools::{send, text, voltree, write};
use crate::support::node::{Node, Site, VOLTREE};
use crate::support::now_ms;

fn backup(site: &Site, to: &Path, node: Option<&Node>) -> Output {
    let mut args = vec!["backup", to.to_str().unwrap(), "--json", "--data"];
    let data = site.data();
    args.push(data.to_str().unwrap());
    args.extend(node.iter().flat_map(|node| ["--node", &node.http]));
    voltree(&args)
}

fn taken(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn restore(from: &Path, to: &Path) -> Output {
    voltree(&["restore", from.to_str().unwrap(), "--data", to.to_str().unwrap()])
}

/// Every value of a directory, as an export says it, and its ledger as one that was counted again.
fn contents(data: &Path) -> (String, BTreeMap<String, Value>) {
    let exported = voltree(&["export", "--data", data.to_str().unwrap(), "--format", "csv-long"]);
    assert!(exported.status.success(), "{exported:?}");
    let ledger = voltree(&["ledger", "--data", data.to_str().unwrap(), "--json"]);
    assert!(ledger.status.success(), "{ledger:?}");
    let rows = text(&ledger.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .collect::<Vec<_>>();
    let received =
        rows.into_iter().map(|row| (row["device"].as_str().unwrap().to_owned(), row["received"].clone()));
    (text(&exported.stdout), received.collect())
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
async fn a_backup_beside_a_running_node_restores_to_what_was_there_and_the_next_writes_only_what_changed() {
    let site = Site::new();
    let node = site.start().await;
    let base = now_ms() - 3 * 86_400_000;
    write(&node, "pack-1", 20_000, base).await;
    let to = site.dir.path().join("backup");
    let first = taken(&backup(&site, &to, Some(&node)));
    assert!(
        first["buckets"].as_u64().unwrap() >= 3 && first["buckets"] == first["buckets_copied"],
        "{first}"
    );
    let again = taken(&backup(&site, &to, Some(&node)));
    assert!(again["buckets_copied"].as_u64().unwrap() < first["buckets"].as_u64().unwrap(), "{again}");

    // While readings come in without a pause, nothing that was acknowledged before it began may be missing.
    let url = format!("{}/write?precision=ms", node.http);
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let writer = tokio::spawn(async move {
        let (client, mut written) = (reqwest::Client::new(), 0_i64);
        while !*stopped.borrow_and_update() {
            let line = format!("voltree,device=busy n={written} {}\n", base + written);
            let answer = client.post(&url).body(line).send().await.unwrap();
            assert_eq!(answer.status(), 204);
            written += 1;
        }
        written
    });
    send(&node, "pack-2", 3_000, base).await;
    let third = taken(&backup(&site, &to, Some(&node)));
    stop.send(true).unwrap();
    let written = writer.await.unwrap();
    assert!(written > 0, "{third}");
    node.kill();

    let restored = site.dir.path().join("restored");
    let output = restore(&to, &restored);
    assert!(output.status.success(), "{output:?}");
    let (exported, ledger) = contents(&restored);
    assert_eq!(ledger["pack-1"], 20_000);
    assert_eq!(ledger["pack-2"], 3_000);
    let count = |device: &str| exported.lines().filter(|line| line.contains(&format!(",{device},"))).count();
    assert_eq!((count("pack-1"), count("pack-2")), (20_000, 3_000));
    let busy = i64::try_from(count("busy")).unwrap();
    assert!(busy <= written && ledger["busy"] == busy, "{busy} of {written}: {}", ledger["busy"]);

    // A node takes it over and goes on.
    let second = Site::new();
    std::fs::rename(&restored, second.data()).unwrap();
    let node = second.start().await;
    write(&node, "pack-2", 3_100, base + 7).await;
    assert_eq!(node.samples("pack-1", "voltage").await.len(), 20_000);
    let ledger = node.ledger_settled("pack-2", 6_100).await;
    assert_eq!((ledger.stored, ledger.duplicate), (6_100, 0), "{ledger:?}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_a_node_that_is_killed_is_taken_again_and_a_damaged_one_is_not_restored() {
    let site = Site::new();
    let node = site.start().await;
    write(&node, "pack-1", 20_000, now_ms() - 3 * 86_400_000).await;
    assert_eq!(node.stop().await, Some(0));
    let to = site.dir.path().join("backup");
    let data = site.data();
    // Killed at some moment in its middle, again and again: whatever it left is no hindrance.
    for round in 0..5 {
        let args = ["backup", to.to_str().unwrap(), "--data", data.to_str().unwrap()];
        let mut child =
            Command::new(VOLTREE).args(args).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let begun = std::time::Instant::now();
        while child.try_wait().unwrap().is_none() && begun.elapsed().as_millis() < 30 + round * 40 {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    taken(&backup(&site, &to, None));
    let restored = site.dir.path().join("restored");
    assert!(restore(&to, &restored).status.success());
    assert_eq!(contents(&restored), contents(&data));
    let refused = restore(&to, &restored);
    assert!(text(&refused.stderr).contains("must be empty"), "{refused:?}");
    let unchanged = taken(&backup(&site, &to, None));
    assert!(unchanged["buckets_copied"].as_u64().unwrap() <= unchanged["buckets"].as_u64().unwrap());

    for file in files(&to).into_iter().filter(|file| !file.ends_with("LOCK")) {
        let whole = std::fs::read(&file).unwrap();
        let mut bytes = whole.clone();
        let Some(byte) = bytes.last_mut() else { continue };
        *byte ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let place = site.dir.path().join("never");
        let refused = restore(&to, &place);
        assert!(!refused.status.success() && !place.exists(), "{}: {refused:?}", file.display());
        assert!(text(&refused.stderr).contains(file.to_str().unwrap()), "{refused:?}");
        std::fs::write(&file, whole).unwrap();
    }
    let inside = backup(&site, &data.join("backup"), None);
    assert!(text(&inside.stderr).contains("data directory itself"), "{inside:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_not_write_into_the_data_directory_can_not_order_a_backup() {
    let site = Site::new();
    let node = site.start().await;
    for request in ["", "nothing", "../config", "/etc"] {
        let client = reqwest::Client::new();
        let body = serde_json::json!({ "request": request });
        let answer = client.post(format!("{}/api/v1/backup", node.http)).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 409, "{request:?}");
    }
}
