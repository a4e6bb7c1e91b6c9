//! A kill that counts is a failure like any other: the actor waits, then is parked. One that doesn't never is.

use serde_json::{Value, json};

use crate::support::node::{Actor, BOUND, Node, Site};
use crate::support::{pack, until};

const PATH: &str = "node/devices/pack";
/// How many failures a device may have in a minute.
const INTENSITY: u64 = 5;

async fn kill(node: &Node, counted: bool) -> Value {
    let mutation = "mutation($p: String!, $c: Boolean!) { killActor(path: $p, counted: $c) { incarnation } }";
    node.ask(mutation, json!({ "p": PATH, "c": counted })).await.unwrap()
}

async fn until_it(node: &Node, what: &str, so: impl Fn(&Actor) -> bool) -> Actor {
    until(what, BOUND, || async {
        let tree = node.try_tree().await?;
        let actor = tree.into_iter().find(|actor| actor.path == PATH).ok_or("it is not there")?;
        if so(&actor) { Ok(actor) } else { Err(format!("{actor:?}")) }
    })
    .await
}

/// Kills it so often, each time once it runs again; answers the last incarnation that was killed.
async fn kill_repeatedly(node: &Node, times: u64, counted: bool) -> u64 {
    let mut last = 0;
    for _ in 0..times {
        until_it(node, "it runs again", |actor| actor.status == "running" && actor.incarnation > last).await;
        let killed = kill(node, counted).await;
        last = killed["data"]["killActor"]["incarnation"].as_u64().unwrap_or_else(|| panic!("{killed}"));
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn counted_kills_park_a_device_and_uncounted_ones_never_do() {
    let board = pack(1);
    let site = Site::new().pack("pack", board.path(), 300);
    let node = site.start().await;
    let last = kill_repeatedly(&node, 3 * INTENSITY, false).await;
    let actor = until_it(&node, "it runs after kills that don't count", |actor| {
        actor.status == "running" && actor.incarnation > last
    })
    .await;
    assert_eq!(actor.restarts, 3 * INTENSITY, "{actor:?}");

    let last = kill_repeatedly(&node, INTENSITY + 1, true).await;
    let actor = until_it(&node, "it is parked", |actor| actor.status == "parked").await;
    assert_eq!(actor.incarnation, last, "no new incarnation came after the last kill: {actor:?}");
    let again = kill(&node, true).await;
    assert_eq!(again["errors"][0]["extensions"]["code"], "NOT_RUNNING", "{again}");

    node.order("resumeActor", PATH).await.unwrap();
    until_it(&node, "it runs once it is resumed", |actor| actor.status == "running").await;
    assert_eq!(node.stop().await, Some(0));
}
