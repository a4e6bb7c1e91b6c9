//! The fleet's readings over a socket: line protocol in batches to `/write`, as a collector sends them.
//!
//! What counts is the processor time of whoever takes them in, from the first batch until it is at rest again; neither
//! the generator nor the client is in it. A node answers a batch when it is committed; the others do not say when.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use reqwest::{Client, StatusCode};
use tokio::runtime::Runtime;
use voltree_runtime::clock;

use super::Sizes;
use super::dump::line;
use super::measure::{Figure, Place, count, figure};
use super::workload::{BEGIN_MS, Battery, METRICS};
use crate::account::Account;
use crate::bench::node::{BenchNode, wait_until_idle};
use crate::bench::peers::Peer;

/// How many lines a batch has.
const LINES: usize = 5_000;
/// How often a batch that is to wait is sent again.
const TRIES: u32 = 600;
/// For how long it waits.
const WAIT: Duration = Duration::from_millis(100);

/// What it took to take the fleet in.
#[derive(Debug, Clone, Copy)]
struct Cost {
    cpu_s_per_million: f64,
    samples_per_s: f64,
}

/// Measures the node, and the others beside it if asked to.
pub(super) fn measure(place: &Place, sizes: Sizes, peers: bool) -> anyhow::Result<Vec<Figure>> {
    let node = BenchNode::start()?;
    let ours = send(sizes, node.account(), &format!("http://{}/write?db=bench", node.http))?;
    let stored = node.stop_and_count()?;
    let sent = f64::from(sizes.devices) * f64::from(sizes.socket_seconds);
    if stored < sent {
        bail!("{sent} lines were sent and {stored} readings stored");
    }
    let (unit, of) = ("s/M samples", format!("{} devices, {} s", sizes.devices, sizes.socket_seconds));
    let mut figures = vec![
        figure(format!("processor time of POST /write ({of})"), ours.cpu_s_per_million, unit, None),
        figure("the same, wall", ours.samples_per_s / 1e6, "M samples/s", None),
    ];
    for peer in Peer::ALL.into_iter().filter(|_| peers) {
        let name = peer.name();
        let Some(running) = peer.start(&place.fresh(name)?)? else {
            tracing::warn!(peer = name, "it is not installed, so it is not measured");
            continue;
        };
        let theirs = send(sizes, running.account(), &running.write)?;
        let (theirs_cpu, ratio) =
            (theirs.cpu_s_per_million, ours.cpu_s_per_million / theirs.cpu_s_per_million);
        figures.push(figure(processor_time_of(peer), theirs_cpu, unit, None));
        figures.push(figure("the same, wall", theirs.samples_per_s / 1e6, "M samples/s", None));
        figures.push(figure(format!("ours over a socket, of {name}'s"), ratio, "", peer.bar()));
    }
    Ok(figures)
}

/// Sends all of it, batch after batch on one connection.
fn send(sizes: Sizes, process: Account, url: &str) -> anyhow::Result<Cost> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new();
    let mut batteries: Vec<_> = (0..sizes.devices).map(Battery::new).collect();
    // What is older than retention would be turned away, so the fleet's time ends now.
    let shift = clock::now_ms() - BEGIN_MS - i64::from(sizes.socket_seconds) * 1_000;
    let (before, mut wall) = (process.cpu_s()?, Duration::ZERO);
    let (mut batch, mut lines) = (Vec::new(), 0);
    for second in 1..=sizes.socket_seconds {
        for (index, battery) in batteries.iter_mut().enumerate() {
            let mut sampled = battery.sample();
            sampled.at += shift;
            line(&mut batch, battery, &sampled)?;
            lines += 1;
            let last = second == sizes.socket_seconds && index + 1 == count_of(sizes);
            if lines == LINES || last {
                let begun = clock::monotonic();
                post(&runtime, &client, url, std::mem::take(&mut batch))?;
                wall += begun.elapsed();
                lines = 0;
            }
        }
    }
    wait_until_idle(process)?;
    let samples = f64::from(sizes.devices) * f64::from(sizes.socket_seconds) * count(METRICS);
    Ok(Cost {
        cpu_s_per_million: (process.cpu_s()? - before) / samples * 1e6,
        samples_per_s: samples / wall.as_secs_f64(),
    })
}

/// How the figure is called.
pub(super) fn processor_time_of(peer: Peer) -> String {
    format!("processor time of {}", peer.name())
}

fn count_of(sizes: Sizes) -> usize {
    usize::try_from(sizes.devices).unwrap_or(usize::MAX)
}

/// Sends a batch until there is room for it.
fn post(runtime: &Runtime, client: &Client, url: &str, batch: Vec<u8>) -> anyhow::Result<()> {
    let batch = Bytes::from(batch);
    for _ in 0..TRIES {
        let answer = runtime.block_on(client.post(url).body(batch.clone()).send());
        let answer = answer.with_context(|| format!("sending a batch to {url}"))?;
        match answer.status() {
            StatusCode::TOO_MANY_REQUESTS => std::thread::sleep(WAIT),
            status if status.is_success() => return Ok(()),
            status => bail!("{url} answered {status}: {}", runtime.block_on(answer.text())?),
        }
    }
    bail!("{url} had no room for a batch within {} s", (WAIT * TRIES).as_secs())
}
