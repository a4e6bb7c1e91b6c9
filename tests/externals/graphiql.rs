//! GraphiQL in a browser: asked, answered, live, and from files of the node alone.

use std::path::Path;
use std::process::Command;

use crate::support::external;
use crate::support::node::Node;

#[tokio::test(flavor = "multi_thread")]
async fn graphiql_asks_and_watches_from_a_browser_and_nothing_leaves_the_node() {
    let (Some(chromium), Some(node_js)) = (external("chromium"), external("node")) else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !root.join("api/console/node_modules/playwright-core").is_dir() {
        assert!(std::env::var_os("VOLTREE_REQUIRE_EXTERNALS").is_none(), "run npm ci in api/console first");
        println!("skipped: api/console/node_modules is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let args = ["demo", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let node = Node::start(&args, &dir.path().join("log")).await;
    let seen = Command::new(node_js)
        .arg(root.join("tests/console/graphiql.mjs"))
        .env("VOLTREE_URL", &node.http)
        .env("CHROMIUM", chromium)
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&seen.stdout));
    assert!(seen.status.success(), "{}", String::from_utf8_lossy(&seen.stderr));
    assert_eq!(node.stop().await, Some(0));
}
