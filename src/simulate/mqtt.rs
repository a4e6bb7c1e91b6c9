//! `voltree simulate mqtt`: many devices that publish the contract's telemetry, each over a connection of its own, and
//! keep books of what was acknowledged and how long that took.
//!
//! Every message carries a rising `sequence`, so that loss and doubling can be counted where the messages end up. One
//! thread drives all devices: it must not take the node's share of the machine.

mod connection;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use voltree_runtime::clock;

use self::connection::{Books, Connection, Plan};
use crate::cli::say;
use crate::login::LoginOptions;

/// How many devices, how fast, how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct MqttOptions {
    /// The broker.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
    to: SocketAddr,
    #[command(flatten)]
    login: LoginOptions,
    /// How many devices, each with a connection of its own.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    devices: u32,
    /// Messages a second, of all devices together; with 0 they only connect.
    #[arg(long, value_name = "PER_S", default_value_t = 1_000)]
    rate: u32,
    /// How long to publish.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How long to stay connected after the last message.
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=60))]
    stay: u32,
    /// Quality of service: 0, 1 or 2.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Messages that one device may have under way.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    window: u16,
    /// Metrics in each message, the sequence number among them.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=512))]
    metrics: u16,
    /// What the devices' ids begin with.
    #[arg(long, default_value = "load")]
    prefix: String,
    /// Print the report as one JSON object.
    #[arg(long)]
    json: bool,
}

/// How long a connection may take to be made, and the last acknowledgements may take to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a line tells how far it is.
const PROGRESS: Duration = Duration::from_secs(2);

/// What came of it all.
#[derive(Debug, Default)]
struct Report {
    sent: u64,
    acknowledged: u64,
    lost_connections: u32,
    elapsed: Duration,
    latencies_us: Vec<u32>,
}

/// Publishes and reports.
pub(crate) fn run(options: &MqttOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(load(options))?;
    say(&if options.json { report.json(options) } else { report.text() });
    if report.lost_connections > 0 {
        bail!("{} of {} connections were lost", report.lost_connections, options.devices);
    }
    let missing = report.sent - report.acknowledged;
    if options.qos > 0 && missing > 0 {
        bail!("{missing} messages were not acknowledged within {} s after the last", PATIENCE.as_secs());
    }
    Ok(())
}

async fn load(options: &MqttOptions) -> anyhow::Result<Report> {
    let connections = connect(options).await?;
    let begin = clock::monotonic() + Duration::from_millis(100);
    let end = begin + Duration::from_secs(u64::from(options.seconds));
    let period = (Duration::from_secs(1) * options.devices).checked_div(options.rate);
    let stay = Duration::from_secs(u64::from(options.stay));
    let mut devices = JoinSet::new();
    for (number, connection) in (0..options.devices).zip(connections) {
        // Spread over one period, so that the devices don't publish all at once.
        let first = period.map_or(end, |period| begin + period * number / options.devices);
        let period = period.unwrap_or(Duration::MAX);
        let plan = Plan { first, period, end, last_answer: end + PATIENCE, stay };
        devices.spawn(connection.run(plan));
    }
    let mut report = Report::default();
    let mut progress = tokio::time::interval_at(begin + PROGRESS, PROGRESS);
    loop {
        tokio::select! {
            ended = devices.join_next() => match ended {
                Some(books) => report.add(books?),
                None => break,
            },
            now = progress.tick(), if !options.json => tell_progress(now.min(end) - begin, options),
        }
    }
    report.elapsed = clock::monotonic().min(end) - begin;
    report.latencies_us.sort_unstable();
    Ok(report)
}

async fn connect(options: &MqttOptions) -> anyhow::Result<Vec<Connection>> {
    let login = options.login.read()?;
    let mut connections = Vec::new();
    for number in 0..options.devices {
        let device = format!("{}-{number:05}", options.prefix);
        let connecting = Connection::open(device, login.as_ref(), options);
        let connection = tokio::time::timeout(PATIENCE, connecting).await;
        let connection = connection.map_err(|_| anyhow::anyhow!("no answer within {} s", PATIENCE.as_secs()));
        connections.push(connection.and_then(|made| made).with_context(|| {
            format!(
                "connecting device {} of {} to {}; is the broker up?",
                number + 1,
                options.devices,
                options.to
            )
        })?);
    }
    Ok(connections)
}

fn tell_progress(since: Duration, options: &MqttOptions) {
    say(&format!("{:>4} of {} s", since.as_secs(), options.seconds));
}

impl Report {
    fn add(&mut self, books: Books) {
        self.sent += books.sent;
        self.acknowledged += books.acknowledged;
        self.lost_connections += u32::from(books.lost);
        self.latencies_us.extend(books.latencies_us);
    }

    /// A quantile of the latencies, in milliseconds.
    fn latency_ms(&self, per_mille: usize) -> f64 {
        let last = self.latencies_us.len().saturating_sub(1);
        let at = self.latencies_us.get(last * per_mille / 1_000);
        at.map_or(0.0, |us| f64::from(*us) / 1_000.0)
    }

    #[expect(clippy::cast_precision_loss, reason = "no run sends 2^53 messages")]
    fn rate(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64().max(0.001)
    }

    fn text(&self) -> String {
        format!(
            "sent          {}\nacknowledged  {}\nrate          {:.0}/s over {:.1} s\nPUBACK after  p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
            self.sent,
            self.acknowledged,
            self.rate(),
            self.elapsed.as_secs_f64(),
            self.latency_ms(500),
            self.latency_ms(990),
            self.latency_ms(1_000),
        )
    }

    fn json(&self, options: &MqttOptions) -> String {
        json!({
            "devices": options.devices,
            "qos": options.qos,
            "metrics": options.metrics,
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "lost_connections": self.lost_connections,
            "rate_per_s": self.rate(),
            "elapsed_s": self.elapsed.as_secs_f64(),
            "latency_ms": { "p50": self.latency_ms(500), "p99": self.latency_ms(990), "max": self.latency_ms(1_000) },
        })
        .to_string()
    }
}

/// A deadline in the past is now.
fn until(at: Instant) -> Duration {
    at.saturating_duration_since(clock::monotonic())
}
