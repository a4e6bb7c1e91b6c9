//! `voltree bench ingest`: telemetry over MQTT into a node of its own: what a sample costs, what rate is held without loss,
//! how soon a message can be queried, what idle clients take.
//!
//! The node and the load generator are processes of this program on this machine, as they would be in use; the node's CPU time
//! is read from the system, so the generator's is not in it. What was stored is counted in the data directory afterwards.

mod chain;
mod mosquitto;
mod probe;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use self::mosquitto::Setting;
use super::node::BenchNode;
use crate::cli::say;

/// How telemetry over MQTT is measured.
#[derive(Debug, Args)]
pub(crate) struct IngestOptions {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Only see that everything runs: few devices, one short round. The figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// How many rounds to take the medians of.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Messages a second.
    #[arg(long, value_name = "PER_S", default_value_t = 44_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How long each round publishes.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How many devices, each with a connection of its own.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    devices: u32,
    /// Measure what is used for this today beside it: Mosquitto, a bridge in Python (with paho-mqtt and orjson; the Python
    /// of VOLTREE_PYTHON or the first on the path) and InfluxDB.
    #[arg(long)]
    peers: bool,
}

/// The rate at which it is measured how soon a message can be queried.
const PROBED_RATE: u32 = 3_000;
/// The rate at which Mosquitto passes the load on, and at which a chain behind it is measured.
const PASSED_RATE: u32 = 22_000;
/// Metrics in each message.
const METRICS: u32 = 8;
/// How many clients are idle when memory is measured.
const IDLE: u32 = 10_000;
/// How long they have been idle by then: what they published is sealed.
const IDLE_SECONDS: u32 = 15;

#[derive(Debug, Clone, Copy)]
struct Load {
    devices: u32,
    rate: u32,
    seconds: u32,
}

#[derive(Debug)]
struct Figure {
    name: &'static str,
    values: Vec<f64>,
    unit: &'static str,
    /// What the value should reach, or stay below.
    bar: f64,
}

/// Measures and prints.
pub(crate) fn run(options: &IngestOptions) -> anyhow::Result<()> {
    let (load, rounds) = match options.quick {
        true => (Load { devices: 20, rate: 500, seconds: 2 }, 1),
        false => {
            let &IngestOptions { devices, rate, seconds, rounds, .. } = options;
            (Load { devices, rate, seconds }, rounds)
        }
    };
    let mut figures = [
        Figure { name: "CPU of the node", values: vec![], unit: "s per million samples", bar: 1.4 },
        Figure { name: "rate held without loss", values: vec![], unit: "messages/s", bar: 44_000.0 },
        Figure { name: "PUBACK after, p99", values: vec![], unit: "ms", bar: f64::NAN },
        Figure { name: "publish to queryable at 3,000/s, p99", values: vec![], unit: "ms", bar: 55.0 },
        Figure { name: "memory, 10,000 idle sessions", values: vec![], unit: "MiB", bar: 150.0 },
        Figure { name: "memory, each with a device", values: vec![], unit: "MiB", bar: 250.0 },
        Figure { name: "through Mosquitto, stored", values: vec![], unit: "messages/s", bar: 22_000.0 },
        Figure { name: "through Mosquitto, lost", values: vec![], unit: "%", bar: 0.0 },
        Figure { name: "Mosquitto's defaults, stored", values: vec![], unit: "messages/s", bar: f64::NAN },
        Figure { name: "Mosquitto's defaults, lost", values: vec![], unit: "%", bar: f64::NAN },
        Figure {
            name: "CPU of Mosquitto, bridge, InfluxDB",
            values: vec![],
            unit: "s per million samples",
            bar: f64::NAN,
        },
        Figure { name: "lost by them", values: vec![], unit: "%", bar: f64::NAN },
        Figure { name: "CPU of the node, of theirs", values: vec![], unit: "", bar: 0.2 },
        Figure { name: "the same at their rate", values: vec![], unit: "", bar: f64::NAN },
    ];
    let mosquitto = mosquitto::program();
    if mosquitto.is_none() {
        tracing::warn!("mosquitto is not installed, so nothing is measured through it");
    }
    for round in 1..=rounds {
        tracing::info!(round, rounds, "measuring");
        let [cpu, rate, puback, queryable, sessions, devices, passed @ ..] = &mut figures;
        let held = hold(load)?;
        cpu.values.push(held.cpu_s_per_million);
        rate.values.push(held.rate);
        puback.values.push(held.puback_p99_ms);
        let probed = Load { rate: PROBED_RATE.min(load.rate), seconds: load.seconds.min(20), ..load };
        queryable.values.push(probe::p99_ms(probed)?);
        let idle = if options.quick { load.devices } else { IDLE };
        sessions.values.push(idle_memory(idle, false)?);
        devices.values.push(idle_memory(idle, true)?);
        if let Some(program) = &mosquitto {
            let load = Load { rate: PASSED_RATE.min(load.rate), ..load };
            let [stored, lost, stored_by_default, lost_by_default, ..] = passed;
            let open = mosquitto::pass(program, Setting::Open, load)?;
            stored.values.push(open.stored_per_s);
            lost.values.push(open.lost_percent);
            let default = mosquitto::pass(program, Setting::Default, load)?;
            stored_by_default.values.push(default.stored_per_s);
            lost_by_default.values.push(default.lost_percent);
        }
        if options.peers {
            let [.., theirs, lost, ratio, ratio_at_their_rate] = passed;
            let load = Load { rate: PASSED_RATE.min(load.rate), ..load };
            if let Some(chain) = chain::measure(load)? {
                theirs.values.push(chain.cpu_s_per_million);
                lost.values.push(chain.lost_percent);
                ratio.values.push(held.cpu_s_per_million / chain.cpu_s_per_million);
                ratio_at_their_rate.values.push(hold(load)?.cpu_s_per_million / chain.cpu_s_per_million);
            }
        }
    }
    let figures: Vec<_> = figures.into_iter().filter(|figure| !figure.values.is_empty()).collect();
    say(&if options.json { json(load, &figures) } else { table(&figures) });
    Ok(())
}

struct Held {
    cpu_s_per_million: f64,
    rate: f64,
    puback_p99_ms: f64,
}

/// Publishes at the rate, and counts in the store that nothing is missing.
fn hold(load: Load) -> anyhow::Result<Held> {
    let node = BenchNode::start()?;
    let before = node.account().cpu_s()?;
    let report = report(generator(&node, load, 0)?)?;
    node.wait_until_folded()?;
    let cpu = node.account().cpu_s()? - before;
    let messages = number(&report, "/sent")?;
    let stored = node.stop_and_count()?;
    if stored < messages {
        bail!("{messages} messages were sent and {stored} stored");
    }
    Ok(Held {
        cpu_s_per_million: cpu / (messages * f64::from(METRICS)) * 1e6,
        rate: number(&report, "/rate_per_s")?,
        puback_p99_ms: number(&report, "/latency_ms/p99")?,
    })
}

/// What a node takes in memory for clients that say nothing, or have published and say nothing more.
fn idle_memory(clients: u32, publish: bool) -> anyhow::Result<f64> {
    let node = BenchNode::start()?;
    let rate = if publish { clients } else { 0 };
    let mut generator = generator(&node, Load { devices: clients, rate, seconds: 2 }, IDLE_SECONDS)?;
    let mut last = 0.0;
    while generator.try_wait()?.is_none() {
        last = f64::from(u32::try_from(node.account().memory_kib("VmRSS")?)?) / 1_024.0;
        std::thread::sleep(Duration::from_millis(50));
    }
    report(generator)?;
    Ok(last)
}

/// Begins to publish, and stays connected for so many seconds; the report comes when it ends.
fn generator(node: &BenchNode, load: Load, stay: u32) -> anyhow::Result<Child> {
    generator_to(node.mqtt, load, stay)
}

fn generator_to(broker: SocketAddr, load: Load, stay: u32) -> anyhow::Result<Child> {
    let Load { devices, rate, seconds } = load;
    let numbers = [("--devices", devices), ("--rate", rate), ("--seconds", seconds), ("--stay", stay)];
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["simulate", "mqtt", "--json", "--to", &broker.to_string()]);
    for (name, number) in numbers {
        command.arg(name).arg(number.to_string());
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting the load generator")
}

fn report(generator: Child) -> anyhow::Result<Value> {
    let output = generator.wait_with_output()?;
    if !output.status.success() {
        bail!("the load generator ended with {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("reading the load generator's report")
}

fn number(report: &Value, pointer: &str) -> anyhow::Result<f64> {
    report.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("the report has no {pointer}"))
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn table(figures: &[Figure]) -> String {
    let head = format!("{:<40} {:>12}  {:<22} {:>10}", "figure", "median", "unit", "bar");
    let line = |figure: &Figure| {
        let bar = if figure.bar.is_nan() { String::new() } else { figure.bar.to_string() };
        let value = median(&figure.values);
        format!("{:<40} {value:>12.2}  {:<22} {bar:>10}", figure.name, figure.unit).trim_end().to_owned()
    };
    std::iter::once(head).chain(figures.iter().map(line)).collect::<Vec<_>>().join("\n")
}

fn json(load: Load, figures: &[Figure]) -> String {
    let of = |figure: &Figure| {
        let Figure { name, values, unit, bar } = figure;
        let bar = (!bar.is_nan()).then_some(bar);
        serde_json::json!({ "figure": name, "value": median(values), "all": values, "unit": unit, "bar": bar })
    };
    let Load { devices, rate, seconds } = load;
    serde_json::json!({
        "bench": "ingest",
        "workload": { "devices": devices, "rate_per_s": rate, "seconds": seconds, "metrics": METRICS, "qos": 1 },
        "figures": figures.iter().map(of).collect::<Vec<_>>(),
    })
    .to_string()
}
