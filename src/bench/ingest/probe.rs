//! How soon a message can be queried: one device more publishes while the others do, and asks until it sees its number.

use std::net::SocketAddr;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rumqttc::{AsyncClient, MqttOptions, QoS};
use serde_json::{Value, json};
use voltree_model::Timestamp;
use voltree_runtime::clock;

use super::{Load, generator, report};
use crate::bench::node::BenchNode;

const DEVICE: &str = "probe";
/// How long a message may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many messages of the begin don't count: connections are still being made.
const WARM_UP: usize = 10;
/// How often a number is asked for.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// The 99th percentile of the time from the publish to an answer that has it.
pub(super) fn p99_ms(load: Load) -> anyhow::Result<f64> {
    let node = BenchNode::start()?;
    let mut generator = generator(&node, load, 0)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let probed = runtime.block_on(probe(node.mqtt, node.http, &mut generator));
    report(generator)?;
    let mut times = probed?.split_off(WARM_UP);
    times.sort_by(f64::total_cmp);
    times.get(times.len().saturating_sub(1) * 99 / 100).copied().context("the load was over too soon")
}

/// Publishes one message after the other while the load lasts.
async fn probe(mqtt: SocketAddr, http: SocketAddr, load: &mut Child) -> anyhow::Result<Vec<f64>> {
    let options = MqttOptions::new(DEVICE, mqtt.ip().to_string(), mqtt.port());
    let (client, mut events) = AsyncClient::new(options, 10);
    let web = reqwest::Client::builder().timeout(PATIENCE).build().context("preparing HTTP")?;
    let mut times = Vec::new();
    let probing = async {
        for number in 1_u64.. {
            if load.try_wait()?.is_some() {
                break;
            }
            let begun = clock::monotonic();
            let payload = json!({
                "device_id": DEVICE,
                "timestamp": Timestamp::from_millis(clock::now_ms()).to_string(),
                "metrics": [{ "name": "sequence", "value": number }],
            });
            let topic = format!("devices/{DEVICE}/telemetry");
            client.publish(topic, QoS::AtLeastOnce, false, payload.to_string()).await?;
            while newest(&web, http).await? != Some(number) {
                if begun.elapsed() > PATIENCE {
                    bail!("message {number} could not be queried within {} s", PATIENCE.as_secs());
                }
                tokio::time::timeout(ASK_EVERY, std::future::pending::<()>()).await.ok();
            }
            times.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        anyhow::Ok(())
    };
    // It ends only with an error.
    let driving = async {
        loop {
            if let Err(error) = events.poll().await {
                return error;
            }
        }
    };
    tokio::select! {
        probed = probing => probed?,
        lost = driving => return Err(lost).context("the probe lost its connection"),
    }
    Ok(times)
}

/// The number that the node answers.
async fn newest(web: &reqwest::Client, http: SocketAddr) -> anyhow::Result<Option<u64>> {
    let query = format!("{{ device(id: \"{DEVICE}\") {{ latest(names: [\"sequence\"]) {{ value }} }} }}");
    let answer = web.post(format!("http://{http}/graphql")).json(&json!({ "query": query })).send().await?;
    let answer: Value = answer.json().await?;
    let value = answer.pointer("/data/device/latest/0/value").and_then(Value::as_f64);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was a number that counts"
    )]
    Ok(value.map(|value| value as u64))
}
