//! The console and GraphiQL in chromium: scripts of tests/console, each with a node of its own. A script says in one line of JSON
//! what it saw, and why it failed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::json;

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{BOUND, Node, Site, VOLTREE};
use crate::support::{external, now_ms, until};

/// Where chromium and node are, or `None` with a word about the skip.
struct Browser {
    chromium: PathBuf,
    node_js: PathBuf,
}

impl Browser {
    fn find() -> Option<Self> {
        let (Some(chromium), Some(node_js)) = (external("chromium"), external("node")) else { return None };
        let modules = repository().join("api/console/node_modules/playwright-core");
        if modules.is_dir() {
            return Some(Self { chromium, node_js });
        }
        assert!(std::env::var_os("VOLTREE_REQUIRE_EXTERNALS").is_none(), "run npm ci in api/console first");
        println!("skipped: api/console/node_modules is not installed");
        None
    }

    /// Runs a script of tests/console, which must say that all was well.
    fn run(&self, script: &str, environment: &[(&str, &str)]) {
        let seen = Command::new(&self.node_js)
            .arg(repository().join("tests/console").join(script))
            .envs(environment.iter().copied())
            .env("CHROMIUM", &self.chromium)
            .output()
            .unwrap();
        println!("{}", String::from_utf8_lossy(&seen.stdout));
        assert!(seen.status.success(), "{}", String::from_utf8_lossy(&seen.stderr));
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A demo with all its devices online.
async fn demo(dir: &Path) -> Node {
    let data = dir.join("data");
    let args = ["demo", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let begun = Instant::now();
    let node = Node::start(&args, &dir.join("log")).await;
    until("12 devices are online and their readings rise", BOUND, || async {
        let data = node.query("{ devices { id state readings } }", json!({})).await;
        let devices = data["devices"].as_array().unwrap();
        let online =
            devices.iter().filter(|d| d["state"] == "ONLINE" && d["readings"].as_u64() > Some(1)).count();
        if online == 12 { Ok(()) } else { Err(data.to_string()) }
    })
    .await;
    println!("12 devices ONLINE {:?} after the start", begun.elapsed());
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_of_the_demo_lives_and_kills_from_a_browser() {
    let Some(browser) = Browser::find() else { return };
    let dir = tempfile::tempdir().unwrap();
    let node = demo(dir.path()).await;
    browser.run("fleet.mjs", &[("VOLTREE_URL", &node.http)]);
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_speaks_french_fits_a_phone_and_needs_no_mouse() {
    let Some(browser) = Browser::find() else { return };
    let dir = tempfile::tempdir().unwrap();
    let node = demo(dir.path()).await;
    browser.run("pages.mjs", &[("VOLTREE_URL", &node.http)]);
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn graphiql_asks_and_watches_and_nothing_leaves_the_node() {
    let Some(browser) = Browser::find() else { return };
    let dir = tempfile::tempdir().unwrap();
    let node = demo(dir.path()).await;
    browser.run("graphiql.mjs", &[("VOLTREE_URL", &node.http)]);
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_unknown_is_adopted_from_a_browser() {
    let Some(browser) = Browser::find() else { return };
    let site = Site::new().quarantine();
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "shed").await.unwrap();
    for (number, id) in [(1, "shed"), (2, "barn")] {
        let payload = telemetry(id, now_ms(), &[("n", 1.0)]);
        publisher.publish(number, &topic(id), &payload).await.unwrap();
    }
    publisher.settle().await.unwrap();
    browser.run("adoption.mjs", &[("VOLTREE_URL", &node.http), ("VOLTREE_CANDIDATES", "shed,barn")]);
    for (number, id) in [(3, "shed"), (4, "barn")] {
        let payload = telemetry(id, now_ms(), &[("n", 2.0)]);
        publisher.publish(number, &topic(id), &payload).await.unwrap();
        publisher.settle().await.unwrap();
        assert_eq!(node.ledger_settled(id, 1).await.stored, 1, "{id}");
    }
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_disabled_enabled_and_removed_from_a_browser() {
    let Some(browser) = Browser::find() else { return };
    let site = Site::new();
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "shed").await.unwrap();
    let payload = telemetry("shed", now_ms(), &[("n", 1.0)]);
    publisher.publish(1, &topic("shed"), &payload).await.unwrap();
    publisher.settle().await.unwrap();
    browser.run("lifecycle.mjs", &[("VOLTREE_URL", &node.http), ("VOLTREE_DEVICE", "shed")]);
    let devices = node.query("{ devices { id } }", json!({})).await;
    assert_eq!(devices["devices"], json!([]));
    assert_eq!(node.stop().await, Some(0));
}

#[test]
fn a_devices_page_moves_shows_a_kill_and_heals_after_the_node_died() {
    let Some(browser) = Browser::find() else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    browser.run("device.mjs", &[("VOLTREE_BINARY", VOLTREE), ("VOLTREE_DATA", data.to_str().unwrap())]);
}
