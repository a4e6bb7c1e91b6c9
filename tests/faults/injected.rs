//! Faults on demand: the node loses nothing while its disk, its lines and its handlers fail, and what a handler can't
//! stand is set aside, listed and replayed.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{BOUND, Node, Site};
use crate::support::{hush, now_ms, pack, until};

async fn trips(node: &Node, point: &str) -> u64 {
    let data = node.query("{ faultPoints { name trips } }", json!({})).await;
    let points = data["faultPoints"].as_array().unwrap();
    points.iter().find(|known| known["name"] == point).unwrap()["trips"].as_u64().unwrap()
}

async fn letters(node: &Node) -> Vec<Value> {
    let data = node.query("{ deadLetters { id deviceId failures reason } }", json!({})).await;
    data["deadLetters"].as_array().unwrap().clone()
}

/// Publishes these numbers and waits for every PUBACK.
async fn publish(node: &Node, device: &str, numbers: std::ops::RangeInclusive<u64>) {
    let mut publisher = Publisher::connect(node.mqtt, device).await.unwrap();
    let base = now_ms() - 3_000_000;
    for number in numbers.clone() {
        let at = base + i64::try_from(number).unwrap();
        let payload = telemetry(device, at, &[("number", number as f64)]);
        publisher.publish(number, &topic(device), &payload).await.unwrap();
    }
    publisher.settle().await.unwrap();
    assert_eq!(publisher.acked, numbers.collect::<BTreeSet<_>>());
}

async fn numbers(node: &Node, device: &str) -> Vec<u64> {
    let mut numbers: Vec<_> =
        node.samples(device, "number").await.into_iter().map(|(_, number)| number as u64).collect();
    numbers.sort_unstable();
    numbers
}

async fn restarts(node: &Node, path: &str) -> u64 {
    let tree = node.try_tree().await.unwrap();
    tree.iter().find(|actor| actor.path == path).unwrap().restarts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_message_is_set_aside_after_three_panics_and_replayed_after_a_restart() {
    let site = Site::new();
    let node = site.start().await;
    node.inject(&json!({ "point": "device.handle", "kind": "PANIC", "target": "sensor:7" })).await.unwrap();
    publish(&node, "sensor", 1..=20).await;

    assert_eq!(restarts(&node, "node/devices/sensor").await, 3);
    let found = letters(&node).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let reason = found[0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("panicked: injected fault 1 at device.handle (at "), "{reason}");
    assert_eq!((found[0]["id"].as_str(), found[0]["failures"].as_u64()), (Some("sensor:7"), Some(3)));
    let ledger = node.ledger_settled("sensor", 20).await;
    assert_eq!((ledger.received, ledger.stored, ledger.dead), (20, 19, 1), "{ledger:?}");
    node.kill();

    let node = site.start().await;
    assert_eq!(letters(&node).await, found, "it is listed as it was");
    assert_eq!(numbers(&node, "sensor").await, (1..=20).filter(|n| *n != 7).collect::<Vec<_>>());
    let replay = "mutation { replayDeadLetter(id: \"sensor:7\", reason: \"fixed\") { id } }";
    node.query(replay, json!({})).await;
    assert!(letters(&node).await.is_empty());
    let again = node.ask(replay, json!({})).await.unwrap();
    assert_eq!(again["errors"][0]["extensions"]["code"], "NOT_FOUND", "{again}");
    let ledger = node.ledger_settled("sensor", 21).await;
    assert_eq!((ledger.received, ledger.stored, ledger.dead), (21, 20, 1), "{ledger:?}");
    assert_eq!(numbers(&node, "sensor").await, (1..=20).collect::<Vec<_>>());
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_over_a_message_are_not_its_fault() {
    let site = Site::new();
    let node = site.start().await;
    // Its actor freezes over a message and is killed with it in hand, more often than the message may fail.
    let freeze =
        json!({ "point": "device.handle", "kind": "FREEZE", "target": "sensor:7", "forSeconds": 3600 });
    node.inject(&freeze).await.unwrap();
    let publishing = publish(&node, "sensor", 1..=20);
    let killing = async {
        for round in 1..=5 {
            until("the device's actor runs", BOUND, || async {
                let tree = node.try_tree().await?;
                let running = tree.iter().any(|actor| {
                    actor.path == "node/devices/sensor"
                        && actor.status == "running"
                        && actor.incarnation == round
                });
                if running { Ok(()) } else { Err(format!("{tree:?}")) }
            })
            .await;
            until("it is frozen", BOUND, || async {
                match trips(&node, "device.handle").await {
                    struck if struck >= round => Ok(()),
                    struck => Err(format!("{struck} of {round}")),
                }
            })
            .await;
            node.kill_actor("node/devices/sensor").await.unwrap();
        }
        node.clear_faults().await.unwrap();
    };
    tokio::join!(publishing, killing);
    assert!(letters(&node).await.is_empty());
    let ledger = node.ledger_settled("sensor", 20).await;
    assert_eq!(numbers(&node, "sensor").await, (1..=20).collect::<Vec<_>>());
    assert_eq!((ledger.received, ledger.stored, ledger.dead), (20, 20, 0), "{ledger:?}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_device_refuses_by_name_and_loses_nothing_that_it_took_in() {
    let site = Site::new();
    let node = site.start().await;
    // Two messages that nobody can stand make six panics in a minute, and that is one too many.
    for number in [1, 2] {
        let target = format!("sensor:{number}");
        node.inject(&json!({ "point": "device.handle", "kind": "PANIC", "target": target })).await.unwrap();
    }
    let mut early = Publisher::connect(node.mqtt, "early").await.unwrap();
    let base = now_ms() - 3_000_000;
    for number in 1..=5_i64 {
        let payload = telemetry("sensor", base + number, &[("number", number as f64)]);
        early.publish(number.unsigned_abs(), &topic("sensor"), &payload).await.unwrap();
    }
    until("it is parked", BOUND, || async {
        let tree = node.try_tree().await?;
        let parked = tree.iter().any(|a| a.path == "node/devices/sensor" && a.status == "parked");
        if parked { Ok(()) } else { Err(format!("{tree:?}")) }
    })
    .await;
    let pending = node.ledger(Some("sensor")).await.pending;
    assert_eq!(pending, 4, "the first is set aside, all others wait");

    publish(&node, "late", 1..=3).await;
    let mut late = Publisher::connect(node.mqtt, "late-2").await.unwrap();
    for number in 6..=8_i64 {
        let payload = telemetry("sensor", base + number, &[("number", number as f64)]);
        late.publish(number.unsigned_abs(), &topic("sensor"), &payload).await.unwrap();
    }
    late.settle().await.unwrap();
    let query = "{ ledger(deviceId: \"sensor\") { rejectedByReason { reason count } } }";
    until("the refusals are in the ledger", BOUND, || async {
        let data = node.query(query, json!({})).await;
        let reasons = &data["ledger"][0]["rejectedByReason"];
        if *reasons == json!([{ "reason": "parked", "count": 3 }]) {
            Ok(())
        } else {
            Err(reasons.to_string())
        }
    })
    .await;

    node.order("resumeActor", "node/devices/sensor").await.unwrap();
    tokio::time::timeout(BOUND, early.settle()).await.unwrap().unwrap();
    let ledger = node.ledger_settled("sensor", 8).await;
    assert_eq!((ledger.received, ledger.stored, ledger.dead, ledger.rejected), (8, 3, 2, 3), "{ledger:?}");
    assert_eq!(numbers(&node, "sensor").await, [3, 4, 5]);
    assert_eq!(node.stop().await, Some(0));
}

/// Gives an order that names an actor and a reason.
async fn status(node: &Node, path: &str, wanted: &str) {
    until(&format!("{path} is {wanted}"), BOUND, || async {
        let tree = node.try_tree().await?;
        let actor = tree.into_iter().find(|actor| actor.path == path);
        if actor.as_ref().is_some_and(|actor| actor.status == wanted) {
            Ok(())
        } else {
            Err(format!("{actor:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_parks_stays_so_until_it_is_resumed_whatever_is_killed_meanwhile() {
    let site = Site::new();
    let node = site.start().await;
    publish(&node, "sensor", 1..=3).await;
    node.order("parkActor", "node/devices/sensor").await.unwrap();
    status(&node, "node/devices/sensor", "parked").await;
    node.kill_actor("node/devices").await.unwrap();
    status(&node, "node/devices", "running").await;
    let again = node.order("parkActor", "node/devices/sensor").await.unwrap_err();
    assert!(again.contains("parked already, by operator") && again.contains("NOT_NOW"), "{again}");
    let data = node.query("{ device(id: \"sensor\") { state } }", json!({})).await;
    assert_eq!(data["device"]["state"], "PARKED");
    node.order("resumeActor", "node/devices/sensor").await.unwrap();
    status(&node, "node/devices/sensor", "running").await;
    publish(&node, "sensor", 4..=6).await;
    let ledger = node.ledger_settled("sensor", 6).await;
    assert_eq!((ledger.stored, ledger.rejected), (6, 0), "{ledger:?}");
    for path in ["node/edges/http", "node/edges", "node"] {
        let refused = node.order("parkActor", path).await.unwrap_err();
        assert!(refused.contains("stop the node instead"), "{refused}");
    }
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_and_fills_up_costs_nothing_that_was_acknowledged() {
    let site = Site::new();
    let node = site.start().await;
    for (point, kind) in [
        ("journal.fsync", "FSYNC_ERROR"),
        ("journal.before_commit", "DISK_FULL"),
        ("journal.before_commit", "ERROR"),
        ("journal.before_commit", "PANIC"),
    ] {
        node.inject(&json!({ "point": point, "kind": kind, "times": 2, "probability": 0.2 })).await.unwrap();
    }
    let delay = json!({ "point": "journal.fsync", "kind": "DELAY", "delayMs": 30, "forSeconds": 600 });
    node.inject(&delay).await.unwrap();
    let devices = ["sensor-0", "sensor-1", "sensor-2"];
    let publishing = devices.map(|device| publish(&node, device, 1..=600));
    futures::future::join_all(publishing).await;
    let struck = trips(&node, "journal.fsync").await + trips(&node, "journal.before_commit").await;
    assert!(struck > 6, "only {struck} faults struck");
    assert!(restarts(&node, "node/storage/journal").await >= 6);
    for device in devices {
        let ledger = node.ledger_settled(device, 600).await;
        assert_eq!((ledger.received, ledger.stored), (600, 600), "{device}: {ledger:?}");
        assert_eq!(numbers(&node, device).await, (1..=600).collect::<Vec<_>>(), "{device}");
    }
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_cut_and_lies_and_a_decoder_that_panics_are_overcome() {
    let packs = [pack(1), pack(2)];
    let site = Site::new().pack("pack-1", packs[0].path(), 600).pack("pack-2", packs[1].path(), 600);
    let node = site.start().await;
    for fault in [
        json!({ "point": "bms.link", "kind": "DROP_LINK", "target": "pack-1", "times": 3, "probability": 0.2 }),
        json!({ "point": "bms.poll.before_decode", "kind": "CORRUPT_FRAME", "target": "pack-1", "times": 5,
                "probability": 0.2 }),
        json!({ "point": "bms.poll.before_decode", "kind": "PANIC", "target": "pack-1", "times": 2,
                "probability": 0.1 }),
    ] {
        node.inject(&fault).await.unwrap();
    }
    let struck = || async { trips(&node, "bms.link").await + trips(&node, "bms.poll.before_decode").await };
    until("every fault has struck", BOUND, || async {
        match struck().await {
            10 => Ok(()),
            some => Err(format!("{some} of 10")),
        }
    })
    .await;
    let before: Vec<_> = packs.iter().map(|pack| pack.stats().cycles_completed()).collect();
    until("both packs go on", BOUND, || async {
        let now: Vec<_> = packs.iter().map(|pack| pack.stats().cycles_completed()).collect();
        if now.iter().zip(&before).all(|(now, before)| *now > before + 3) {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    hush(&packs).await;
    assert_eq!(restarts(&node, "node/devices/pack-1").await, 2, "a cut line and a bad frame are no faults");
    let panicked = node.log_lines().into_iter().filter(|line| line["target"] == "panic").count();
    assert_eq!(panicked, 2, "each panic is one line of the log");
    for (pack, id, struck) in [(&packs[0], "pack-1", 10), (&packs[1], "pack-2", 0)] {
        let cycles = pack.stats().cycles_completed();
        let ledger = node.ledger_settled(id, cycles.saturating_sub(struck)).await;
        println!("{id}: {cycles} polls answered, {struck} faults, {ledger:?}");
        // A fault in the middle of a poll may cost the answer to that poll, never one that was taken in.
        assert!(ledger.stored <= cycles && cycles <= ledger.stored + struck, "{id}: {cycles}, {ledger:?}");
        assert_eq!(node.samples(id, "pack_voltage").await.len() as u64, ledger.stored, "{id}");
        assert_eq!(ledger.received, ledger.stored, "{id}: {ledger:?}");
    }
    assert_eq!(node.stop().await, Some(0));
}
