//! Sending readings to a node as batches of line protocol. A node that is busy is asked again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::runtime::Runtime;
use voltree_model::{DeviceId, Reading, Secret, Timestamp, Unit};
use voltree_protocols::influx::{FieldValue, Line, OWN_MEASUREMENT, write_line};

/// How many readings a batch has.
const BATCH: u64 = 2_000;
/// And how many bytes, about.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How long a node may take for one batch.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a node that is busy is asked again.
const MOST_TRIES: u32 = 60;

/// A running node.
#[derive(Debug)]
pub(super) struct Node {
    url: String,
    login: Option<(String, Secret)>,
    client: reqwest::Client,
}

/// Gathers readings until a batch is full.
#[derive(Debug)]
pub(super) struct Batcher<'a> {
    runtime: &'a Runtime,
    node: &'a Node,
    stopping: Arc<AtomicBool>,
    lines: String,
    waiting: u64,
    committed: u64,
}

impl Node {
    pub(super) fn new(url: &str, login: Option<(String, Secret)>) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(PATIENCE).build().context("preparing HTTP")?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), login, client })
    }

    /// The first moment of which the node would keep a reading; `None` if it keeps all.
    pub(super) async fn oldest_kept(&self, device: &DeviceId) -> anyhow::Result<Option<Timestamp>> {
        let url = self.retention(device);
        let answer = self.client.get(&url).send().await.with_context(|| self.unreachable())?;
        let answer: Value = json(answer, &url).await?;
        Ok(answer["oldest"].as_str().map(Timestamp::parse_rfc3339).transpose()?)
    }

    pub(super) async fn keep_for_ever(&self, device: &DeviceId) -> anyhow::Result<()> {
        let url = self.retention(device);
        let wish = serde_json::json!({ "keep": "forever" });
        let answer = self.client.put(&url).json(&wish).send().await.with_context(|| self.unreachable())?;
        json(answer, &url).await.map(drop)
    }

    fn retention(&self, device: &DeviceId) -> String {
        format!("{}/api/v1/devices/{device}/retention", self.url)
    }

    fn unreachable(&self) -> String {
        format!("there is no answer from {}; is the node up, and does it serve HTTP there?", self.url)
    }

    /// Sends a batch until it is on the node's disk.
    async fn write(&self, lines: &str, stopping: &AtomicBool) -> anyhow::Result<()> {
        for _ in 0..MOST_TRIES {
            let mut request =
                self.client.post(format!("{}/write?precision=ms", self.url)).body(lines.to_owned());
            if let Some((name, password)) = &self.login {
                request = request.basic_auth(name, Some(password.reveal()));
            }
            let answer = request.send().await.with_context(|| self.unreachable())?;
            match answer.status() {
                StatusCode::NO_CONTENT => return Ok(()),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    let seconds = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
                    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(5).min(60);
                    wait(Duration::from_secs(seconds), stopping).await?;
                }
                status => {
                    let body: Value = answer.json().await.unwrap_or_default();
                    bail!(
                        "the node answered {status}: {}",
                        body["message"].as_str().unwrap_or("without a reason")
                    );
                }
            }
        }
        bail!("the node stayed too busy to take a batch")
    }
}

/// Waits as long as the node said, unless it is asked to end.
async fn wait(mut left: Duration, stopping: &AtomicBool) -> anyhow::Result<()> {
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    while !left.is_zero() {
        if stopping.load(Ordering::Acquire) {
            bail!("stopped while the node was busy");
        }
        #[expect(clippy::disallowed_methods, reason = "the node said how long to wait")]
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
        left = left.saturating_sub(LOOK_EVERY);
    }
    Ok(())
}

async fn json(answer: reqwest::Response, url: &str) -> anyhow::Result<Value> {
    let status = answer.status();
    let body: Value = answer.json().await.with_context(|| format!("{url} is no page of a Voltree node"))?;
    if !status.is_success() {
        bail!("{url} answered {status}: {}", body["message"].as_str().unwrap_or("without a reason"));
    }
    Ok(body)
}

impl<'a> Batcher<'a> {
    pub(super) const fn new(runtime: &'a Runtime, node: &'a Node, stopping: Arc<AtomicBool>) -> Self {
        Self { runtime, node, stopping, lines: String::new(), waiting: 0, committed: 0 }
    }

    /// How many readings are on the node's disk.
    pub(super) const fn committed(&self) -> u64 {
        self.committed
    }

    pub(super) fn add(&mut self, reading: &Reading) -> anyhow::Result<()> {
        push(&mut self.lines, reading);
        self.waiting += 1;
        if self.waiting >= BATCH || self.lines.len() >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        if self.waiting > 0 {
            self.runtime.block_on(self.node.write(&self.lines, &self.stopping))?;
            self.committed += std::mem::take(&mut self.waiting);
            self.lines.clear();
        }
        Ok(())
    }
}

/// A line for each unit; texts go with what has none.
fn push(out: &mut String, reading: &Reading) {
    let mut by_unit: BTreeMap<Option<&str>, Vec<_>> = BTreeMap::new();
    for metric in reading.metrics.iter() {
        let field = (Cow::Borrowed(metric.name.as_str()), FieldValue::Float(metric.value));
        by_unit.entry(metric.unit.map(Unit::as_str)).or_default().push(field);
    }
    for (name, text) in &reading.attributes {
        let field = (Cow::Borrowed(name.as_str()), FieldValue::Text(Cow::Borrowed(text)));
        by_unit.entry(None).or_default().push(field);
    }
    for (unit, fields) in by_unit {
        let mut tags = vec![(Cow::Borrowed("device"), Cow::Borrowed(reading.device.as_str()))];
        tags.extend(unit.map(|unit| (Cow::Borrowed("unit"), Cow::Borrowed(unit))));
        let time = Some(reading.at.as_millis());
        write_line(out, &Line { measurement: OWN_MEASUREMENT.into(), tags, fields, time });
    }
}
