//! Kill anything under load: it comes back, the log says so, and the ledger agrees with what simulators and publishers
//! counted themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{Actor, BOUND, Node, Site};
use crate::support::{hush, now_ms, pack, until};
use voltree_protocols::sim::SimHandle;

/// The kinds of actor that a node is made of. A kind that is not named here, or that is not there, fails the test.
const KINDS: [&str; 20] = [
    "aggregator",
    "alerts",
    "ble_adapter",
    "crash_reporter",
    "daly_bms",
    "event_log",
    "http",
    "journal",
    "live",
    "mqtt_client",
    "mqtt_device",
    "mqtt_keeper",
    "mqtt_listener",
    "mqtt_messenger",
    "mqtt_outside",
    "node",
    "presence",
    "recorder",
    "supervisor",
    "uptime",
];
const PUBLISHERS: usize = 3;
/// How many more acknowledgements each publisher gets between two kills.
const MORE_ACKS: u64 = 50;

struct Books {
    device: String,
    /// Distinct readings: numbered from 1, every one acknowledged in the end.
    readings: u64,
    /// Every PUBLISH that was written, repetitions included.
    sent: u64,
}

/// Publishes numbered readings until told to stop, and again whatever a lost connection left unacknowledged.
async fn publish(address: SocketAddr, device: String, stop: Arc<AtomicBool>, acked: Arc<AtomicU64>) -> Books {
    let base = now_ms() - 3_000_000;
    let topic = topic(&device);
    let mut publisher = Publisher::connect(address, &device).await.unwrap();
    let mut readings = 0;
    let mut again = VecDeque::new();
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        let number = match again.pop_front() {
            Some(number) => number,
            None if stopping => {
                if publisher.settle().await.is_ok() {
                    return Books { device, readings, sent: publisher.sent };
                }
                again.extend(come_back(&mut publisher, address).await);
                continue;
            }
            None => {
                readings += 1;
                readings
            }
        };
        acked.store(publisher.acked.len() as u64, Ordering::Relaxed);
        let at = base + i64::try_from(number).unwrap();
        let payload = telemetry(&device, at, &[("number", number as f64)]);
        if publisher.publish(number, &topic, &payload).await.is_err() {
            again.extend(come_back(&mut publisher, address).await);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn come_back(publisher: &mut Publisher, address: SocketAddr) -> Vec<u64> {
    let begun = Instant::now();
    loop {
        match publisher.reconnect(address).await {
            Ok(unacknowledged) => return unacknowledged,
            Err(error) => assert!(begun.elapsed() < BOUND, "the listener did not come back: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn tree(node: &Node) -> Vec<Actor> {
    until("the tree can be read", BOUND, || async { node.try_tree().await }).await
}

/// Kills one actor and waits until it, or what takes its place, runs again; says how long that took.
async fn kill(node: &Node, victim: &Actor) -> Duration {
    let begun = Instant::now();
    // The answer to a kill of what carries the answer may be lost; the tree tells what happened.
    node.kill_actor(&victim.path).await.ok();
    until(&format!("{} is back", victim.path), BOUND, || async {
        let tree = node.try_tree().await?;
        let all_run = tree.iter().all(|actor| actor.status == "running");
        let back = match victim.kind.as_str() {
            "mqtt_client" => {
                tree.iter().all(|actor| actor.path != victim.path) && clients(&tree) == PUBLISHERS
            }
            _ => tree.iter().any(|a| a.path == victim.path && a.incarnation > victim.incarnation),
        };
        if all_run && back { Ok(()) } else { Err(format!("{tree:#?}")) }
    })
    .await;
    begun.elapsed()
}

/// The load is real between any two kills: everyone gets further readings through.
async fn the_fleet_goes_on(acked: &[Arc<AtomicU64>], packs: &[SimHandle]) {
    let progress = || {
        let publishers = acked.iter().map(|acked| acked.load(Ordering::Relaxed) / MORE_ACKS);
        publishers.chain(packs.iter().map(|pack| pack.stats().cycles_completed())).collect::<Vec<_>>()
    };
    let before = progress();
    until("everyone gets further readings through", BOUND, || async {
        let now = progress();
        if now.iter().zip(&before).all(|(now, before)| now > before) {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
}

fn clients(tree: &[Actor]) -> usize {
    tree.iter().filter(|actor| actor.kind == "mqtt_client").count()
}

/// Whether the log has the line of this actor's end, with who asked for it.
fn told(node: &Node, path: &str) -> bool {
    node.log_lines().iter().any(|line| {
        line["target"] == "supervision"
            && line["actor"] == path
            && line["event"] == "actor.failed"
            && line["reason"].as_str().is_some_and(|reason| reason.starts_with("killed by operator"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_actor_can_be_killed_under_load_and_nothing_is_lost() {
    let packs = [pack(1), pack(2)];
    let site = Site::new().pack("pack-1", packs[0].path(), 300).pack("pack-2", packs[1].path(), 300);
    let site = site.out_of_reach();
    let node = site.start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let acked: Vec<Arc<AtomicU64>> = (0..PUBLISHERS).map(|_| Arc::default()).collect();
    let publishers: Vec<_> = acked
        .iter()
        .enumerate()
        .map(|(n, acked)| {
            tokio::spawn(publish(node.mqtt, format!("sensor-{n}"), Arc::clone(&stop), Arc::clone(acked)))
        })
        .collect();
    until("the whole fleet is in the tree", BOUND, || async {
        let tree = node.try_tree().await?;
        let devices = tree.iter().filter(|a| matches!(a.kind.as_str(), "daly_bms" | "mqtt_device")).count();
        if devices == 3 + PUBLISHERS && clients(&tree) == PUBLISHERS {
            Ok(())
        } else {
            Err(format!("{tree:?}"))
        }
    })
    .await;

    let victims = tree(&node).await;
    let kinds: BTreeSet<&str> = victims.iter().map(|actor| actor.kind.as_str()).collect();
    assert_eq!(
        kinds,
        KINDS.into_iter().collect(),
        "the kinds in the tree are not those that this test knows"
    );
    let mut kills: BTreeMap<String, u64> = BTreeMap::new();
    for victim in &victims {
        // Earlier kills may have moved this one: what is killed is whoever stands at its place now.
        let now = tree(&node).await;
        let standing = now.iter().find(|actor| actor.path == victim.path);
        let Some(standing) = standing.or_else(|| now.iter().find(|actor| actor.kind == victim.kind)) else {
            panic!("nobody of kind {} is left", victim.kind);
        };
        let took = kill(&node, standing).await;
        println!("{:<28} {:<14} back after {took:?}", standing.path, standing.kind);
        *kills.entry(standing.path.clone()).or_default() += 1;
        until("the kill is in the log", BOUND, || async {
            if told(&node, &standing.path) { Ok(()) } else { Err(standing.path.clone()) }
        })
        .await;
        the_fleet_goes_on(&acked, &packs).await;
    }

    stop.store(true, Ordering::Relaxed);
    hush(&packs).await;
    for publisher in publishers {
        let books = publisher.await.unwrap();
        let ledger = node.ledger_at_rest(Some(&books.device)).await;
        println!("{}: {} readings, {} sent, {ledger:?}", books.device, books.readings, books.sent);
        let numbers: Vec<f64> =
            node.samples(&books.device, "number").await.into_iter().map(|(_, n)| n).collect();
        let expected: Vec<f64> = (1..=books.readings).map(|n| n as f64).collect();
        assert_eq!(numbers, expected, "{}: samples", books.device);
        assert_eq!(ledger.stored, books.readings, "{}", books.device);
        assert!(ledger.received <= books.sent, "{}: received more than was sent", books.device);
        assert_eq!((ledger.rejected, ledger.dead), (0, 0), "{}", books.device);
    }
    for (pack, id) in packs.iter().zip(["pack-1", "pack-2"]) {
        let ledger = node.ledger_at_rest(Some(id)).await;
        let cycles = pack.stats().cycles_completed();
        // A kill in the middle of a poll may cost the answer to that poll, never one that was taken in.
        let struck: u64 = kills
            .iter()
            .filter(|(path, _)| format!("node/devices/{id}").starts_with(*path))
            .map(|(_, n)| n)
            .sum();
        println!("{id}: {cycles} polls answered, {struck} kills from above, {ledger:?}");
        assert!(
            ledger.stored <= cycles && cycles <= ledger.stored + struck,
            "{id}: {cycles} polls, {ledger:?}"
        );
        assert_eq!(node.samples(id, "pack_voltage").await.len() as u64, ledger.stored, "{id}");
        assert_eq!((ledger.duplicate, ledger.rejected, ledger.dead), (0, 0, 0), "{id}");
    }
    assert_eq!(node.stop().await, Some(0));
}
