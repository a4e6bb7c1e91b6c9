//! What happened in the tree is remembered across restarts, whether the node was told to stop or killed.

use serde_json::json;

use crate::support::node::{BOUND, Node, Site};
use crate::support::until;

async fn events(node: &Node, path: &str) -> Vec<(String, String, Option<String>)> {
    let query = "query($path: String) { supervisionEvents(limit: 1000, path: $path) { event time reason } }";
    let data = node.query(query, json!({ "path": path })).await;
    let events = data["supervisionEvents"].as_array().unwrap().iter().map(|event| {
        let text = |key: &str| event[key].as_str().map(str::to_owned);
        (text("event").unwrap(), text("time").unwrap(), text("reason"))
    });
    events.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn supervision_events_survive_a_restart_and_a_kill_9() {
    let path = "node/live/bus";
    let site = Site::new();
    let node = site.start().await;
    node.kill_actor(path).await.unwrap();
    let first = until("the kill is told", BOUND, || async {
        let events = events(&node, path).await;
        if events.len() == 3 { Ok(events) } else { Err(format!("{events:?}")) }
    })
    .await;
    assert_eq!(first[1].2.as_deref(), Some("killed by operator"));
    assert_eq!(node.stop().await, Some(0));

    let node = site.start().await;
    let second = events(&node, path).await;
    assert_eq!(second[2..], first, "the earlier life is told as it was, times and all");
    let kinds: Vec<_> = second.iter().map(|event| event.0.as_str()).collect();
    assert_eq!(kinds, ["started", "stopped", "restarted", "failed", "started"]);
    node.kill_actor(path).await.unwrap();
    let journal = site.data().join("journal");
    // The witness is the file itself: what stands there when the process is shot must be told by the next one.
    until("the second kill is in the journal", BOUND, || async {
        let told = times_in(&journal, path);
        if told == 7 { Ok(()) } else { Err(format!("{told} lines")) }
    })
    .await;
    node.kill();

    let node = site.start().await;
    let third = events(&node, path).await;
    let kinds: Vec<_> = third.iter().map(|event| event.0.as_str()).collect();
    assert_eq!(
        kinds,
        ["started", "restarted", "failed", "started", "stopped", "restarted", "failed", "started"]
    );
    assert_eq!(node.stop().await, Some(0));
}

/// How often the files of a directory have these words.
fn times_in(dir: &std::path::Path, words: &str) -> usize {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    let words = words.as_bytes();
    files.map(|bytes| bytes.windows(words.len()).filter(|found| *found == words).count()).sum()
}
