//! kill -9 under load: whatever was acknowledged is there after the restart, once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::Site;
use crate::support::now_ms;

const CLIENTS: u64 = 20;
const RATE_PER_CLIENT: u64 = 400;

/// What one client sent and what it was promised: number → time stamp.
struct Books {
    device: String,
    sent: BTreeMap<u64, i64>,
    acked: Vec<u64>,
}

/// Publishes at a steady rate, each message with its own time stamp and number, until the connection dies.
async fn publish(
    address: std::net::SocketAddr,
    client: u64,
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
) -> Books {
    let device = format!("load-{client:02}");
    let topic = topic(&device);
    let mut sent = BTreeMap::new();
    let Ok(mut publisher) = Publisher::connect(address, &device).await else {
        return Books { device, sent, acked: Vec::new() };
    };
    let base = now_ms() - 3_000_000;
    let begun = Instant::now();
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let due = u64::try_from(begun.elapsed().as_millis()).unwrap() * RATE_PER_CLIENT / 1000;
        if number >= due {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        number += 1;
        let at = base + i64::try_from(number).unwrap();
        sent.insert(number, at);
        let value = f64::from(u32::try_from(number).unwrap());
        let payload = telemetry(
            &device,
            at,
            &[("number", value), ("client", f64::from(u32::try_from(client).unwrap()))],
        );
        if publisher.publish(number, &topic, &payload).await.is_err() {
            break;
        }
        acked.store(publisher.acked.len() as u64, Ordering::Relaxed);
    }
    // The node is dead or about to be: what it still answers counts, what it does not was never promised.
    publisher.settle().await.ok();
    Books { device, sent, acked: publisher.acked.into_iter().collect() }
}

async fn round(seed: u64) {
    let site = Site::new();
    let node = site.start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let counters: Vec<_> = (0..CLIENTS).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let begun = Instant::now();
    let clients: Vec<_> = counters
        .iter()
        .enumerate()
        .map(|(client, acked)| {
            tokio::spawn(publish(node.mqtt, client as u64, Arc::clone(&stop), Arc::clone(acked)))
        })
        .collect();
    // The moment is anybody's guess: between one and three seconds, a different one each round.
    let nanos =
        u64::from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos());
    tokio::time::sleep(Duration::from_millis(1_000 + (nanos + seed * 7_919) % 2_000)).await;
    node.kill();
    let ran = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    let mut books = Vec::new();
    for client in clients {
        books.push(client.await.unwrap());
    }
    let acked: usize = books.iter().map(|book| book.acked.len()).sum();
    let rate = acked as f64 / ran.as_secs_f64();
    println!("round {seed}: killed after {ran:?}, {acked} acknowledged, {rate:.0}/s");
    assert!(acked > 1_000, "there was load: {acked} acknowledged");

    let node = site.start().await;
    for book in &books {
        let samples = node.samples(&book.device, "number").await;
        let stored: BTreeMap<i64, f64> = samples.iter().copied().collect();
        assert_eq!(stored.len(), samples.len(), "{}: a sample is there twice", book.device);
        for number in &book.acked {
            let at = book.sent[number];
            let value = stored.get(&at).copied();
            assert_eq!(
                value,
                Some(*number as f64),
                "{}: number {number} was acknowledged and is lost",
                book.device
            );
        }
        for (at, value) in &samples {
            let number = *value as u64;
            assert_eq!(book.sent.get(&number), Some(at), "{}: stored what was never sent", book.device);
        }
        let ledger = node.ledger_at_rest(Some(&book.device)).await;
        assert_eq!(ledger.stored, samples.len() as u64, "{}: {ledger:?}", book.device);
        assert_eq!((ledger.duplicate, ledger.rejected, ledger.dead), (0, 0, 0), "{}", book.device);
    }
    assert_eq!(node.stop().await, Some(0));
}

/// `VOLTREE_CRASH_ROUNDS` asks for more.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_acknowledged_is_lost_by_a_kill_9_under_load() {
    let rounds = std::env::var("VOLTREE_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    for seed in 0..rounds {
        round(seed).await;
    }
}
