//! `voltree replay`: a recorded battery as one more device. Its rows go through the MQTT door like anybody's readings, as
//! fast as they are acknowledged.

mod recording;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::time::Instant;
use voltree_model::{DeviceId, Reading, Secret, Timestamp};
use voltree_protocols::mqtt::telemetry_json;
use voltree_runtime::clock;
use voltree_storage::KeepDays;

use self::recording::Columns;
pub(crate) use self::recording::Recording;
use crate::cli::say;
use crate::login::LoginOptions;

/// How many rows may be under way.
const WINDOW: u16 = 100;
/// How long the listener may take to let us in, and to answer.
const PATIENCE: Duration = Duration::from_secs(30);
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What to replay, and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReplayOptions {
    /// The recording: CSV with a header line. Every column of numbers becomes a series, named without its unit
    /// (voltage_v becomes voltage, in V); text becomes an attribute of the device.
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    #[command(flatten)]
    columns: ColumnOptions,
    /// Where MQTT is served.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
    mqtt: SocketAddr,
    #[command(flatten)]
    login: LoginOptions,
}

/// How the columns of a recording are understood.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ColumnOptions {
    /// The device to replay as [default: the file's name].
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// The column that holds the time: seconds, since 1970 or since the start, or RFC 3339
    /// [default: the first of epoch_s, time_s, timestamp, time].
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// Give a column another name and unit, as in --column Ecell=voltage:V. May be given several times.
    #[arg(long, value_name = "COLUMN=NAME[:UNIT]")]
    column: Vec<String>,
    /// Leave a column out. May be given several times.
    #[arg(long, value_name = "COLUMN")]
    skip: Vec<String>,
    /// Keep the recorded times instead of moving the recording so that it ends now.
    #[arg(long)]
    keep_time: bool,
}

impl ColumnOptions {
    /// The same, but the recorded times stay.
    pub(crate) fn keeping_time(&self) -> Self {
        Self { keep_time: true, ..self.clone() }
    }
}

/// What a replay came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replayed {
    rows: usize,
    took: Duration,
}

/// Replays a file into a running node.
pub(crate) fn run(options: &ReplayOptions) -> anyhow::Result<()> {
    let recording = load(&options.file, &options.columns)?;
    let device = recording.device().clone();
    let old = recording.older_than(kept_since());
    let runtime = tokio::runtime::Runtime::new().context("starting the async runtime")?;
    let login = options.login.read()?;
    let replayed = runtime.block_on(publish(recording, options.mqtt, login, true))?;
    let rate = replayed.rows as f64 / replayed.took.as_secs_f64().max(0.001);
    say(&format!(
        "{} rows of {device} acknowledged in {:.1} s ({rate:.0}/s)",
        replayed.rows,
        replayed.took.as_secs_f64()
    ));
    if old > 0 {
        say(&format!(
            "{old} of them are more than {} days old: unless the node's retention.raw_days is longer, it rejected them as \
             too_old (the ledger counts them); without --keep-time a recording is moved so that it ends now",
            KeepDays::default().raw
        ));
    }
    Ok(())
}

/// From when on a node keeps readings unless its configuration says otherwise.
fn kept_since() -> Timestamp {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    voltree_actors::now().minus(DAY * KeepDays::default().raw)
}

/// Reads a recording whole, so that a mistake in it is found before anything is sent.
pub(crate) fn load(file: &std::path::Path, options: &ColumnOptions) -> anyhow::Result<Recording> {
    let device = match &options.device {
        Some(id) => DeviceId::new(id).context("--device")?,
        None => named_after(file)?,
    };
    let columns = Columns::new(options.time.as_deref(), &options.column, &options.skip)?;
    let source = std::fs::File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let mut recording =
        Recording::read(source, device, &columns).with_context(|| format!("reading {}", file.display()))?;
    if !options.keep_time {
        recording.end_at(voltree_actors::now());
    }
    Ok(recording)
}

fn named_after(file: &std::path::Path) -> anyhow::Result<DeviceId> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("recording");
    let usable = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '-' };
    let id: String = stem.chars().map(usable).take(64).collect();
    DeviceId::new(id).context("the file's name makes no device id; give one with --device")
}

/// Publishes all rows at QoS 1 and waits for the last acknowledgement.
pub(crate) async fn publish(
    recording: Recording,
    broker: SocketAddr,
    login: Option<(String, Secret)>,
    progress: bool,
) -> anyhow::Result<Replayed> {
    let device = recording.device().clone();
    let mut options = MqttOptions::new(format!("replay-{device}"), broker.ip().to_string(), broker.port());
    options.set_inflight(WINDOW);
    if let Some((user, password)) = login {
        options.set_credentials(user, password.reveal());
    }
    let (client, events) = AsyncClient::new(options, usize::from(WINDOW));
    let rows = recording.into_rows();
    let (total, begun) = (rows.len(), clock::monotonic());
    let (sent, acknowledged) =
        tokio::join!(send(client, &device, rows), count(events, total, begun, progress));
    acknowledged.with_context(|| {
        format!(
            "replaying to mqtt://{broker}; what was acknowledged is stored, and counts as duplicate if it is sent again. A \
             node slows down and sends away who publishes more than [mqtt] rate_per_s for half a minute; 0 there is no limit"
        )
    })?;
    sent?;
    Ok(Replayed { rows: total, took: begun.elapsed() })
}

async fn send(client: AsyncClient, device: &DeviceId, rows: Vec<Reading>) -> anyhow::Result<()> {
    let topic = format!("devices/{device}/telemetry");
    for row in rows {
        client
            .publish(&topic, QoS::AtLeastOnce, false, telemetry_json(&row))
            .await
            .context("the connection ended")?;
    }
    Ok(())
}

/// Drives the connection until everything is acknowledged.
async fn count(mut events: EventLoop, total: usize, begun: Instant, progress: bool) -> anyhow::Result<()> {
    let (mut acknowledged, mut told) = (0, begun);
    while acknowledged < total {
        let event = tokio::time::timeout(PATIENCE, events.poll()).await;
        match event.context("no answer for 30 s")? {
            Ok(Event::Incoming(Packet::PubAck(_))) => acknowledged += 1,
            Ok(Event::Incoming(_) | Event::Outgoing(_)) => {}
            Err(error) => bail!("after {acknowledged} of {total} rows: {error}"),
        }
        if progress && told.elapsed() >= PROGRESS_EVERY {
            told = clock::monotonic();
            let percent = acknowledged * 100 / total;
            // Progress is a courtesy; a terminal that is gone does not need it.
            writeln!(std::io::stderr(), "{acknowledged} of {total} rows ({percent} %)").ok();
        }
    }
    Ok(())
}
