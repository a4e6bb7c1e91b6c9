//! An MQTT device of a chaos run that keeps its own books: what it measured, what it wrote, and what was acknowledged.
//! It publishes at QoS 1 and sends again whatever a lost connection left unacknowledged, so in the end every reading of
//! its own was acknowledged, and the ledger must say what became of each.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rumqttc::{Connect, ConnectReturnCode, Packet, Publish, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use voltree_model::{DeviceId, Metric, MetricName, Reading, Timestamp};
use voltree_protocols::mqtt::{PacketCodec, telemetry_json};
use voltree_runtime::clock;

/// How many publishes may be under way.
const WINDOW: usize = 100;
/// How long an answer may take before the connection counts as lost: longer than any pause a plan makes on purpose.
const PATIENCE: Duration = Duration::from_secs(10);
const RECONNECT_AFTER: Duration = Duration::from_millis(20);

/// What one device counted itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Books {
    /// Readings it measured, each once.
    pub(super) readings: u64,
    /// Publishes it wrote, repetitions included.
    pub(super) sent: u64,
    /// Readings that were acknowledged.
    pub(super) acknowledged: u64,
    /// How long it took to be connected again, each time.
    pub(super) reconnects: Vec<Duration>,
}

/// What a device measures: the number of the reading decides its values.
pub(super) type Measure = fn(u64) -> Vec<(&'static str, f64)>;

/// One device.
pub(super) struct Device {
    pub(super) id: DeviceId,
    pub(super) period: Duration,
    pub(super) measure: Measure,
    pub(super) books: Arc<Mutex<Books>>,
    /// Told of every reading as it is first sent: when it was measured, and its number.
    pub(super) on_sent: Box<dyn Fn(Timestamp, u64) + Send + Sync>,
}

struct Line {
    stream: TcpStream,
    codec: PacketCodec,
    incoming: BytesMut,
    next_packet: u16,
    /// Written on this connection and not acknowledged, in order.
    written: VecDeque<u16>,
}

struct State {
    device: Device,
    /// What is not acknowledged, in order.
    unacknowledged: VecDeque<Bytes>,
    last_at: i64,
}

/// Publishes until told to stop, and then until everything is acknowledged.
pub(super) async fn run(device: Device, broker: SocketAddr, mut stop: watch::Receiver<bool>) {
    let mut state = State { device, unacknowledged: VecDeque::new(), last_at: 0 };
    let mut lost: Option<Instant> = None;
    loop {
        if let Ok(line) = Line::connect(broker, state.device.id.as_str()).await {
            if let Some(lost) = lost.take() {
                state.device.books.lock().reconnects.push(lost.elapsed());
            }
            if state.talk(line, &mut stop).await.is_ok() {
                return;
            }
        }
        lost.get_or_insert_with(clock::monotonic);
        // Nobody listens for a moment.
        timeout(RECONNECT_AFTER, std::future::pending::<()>()).await.ok();
    }
}

impl State {
    /// Publishes over one connection; an error means that it is lost.
    async fn talk(&mut self, mut line: Line, stop: &mut watch::Receiver<bool>) -> io::Result<()> {
        for payload in self.unacknowledged.clone() {
            self.write(&mut line, payload).await?;
        }
        let mut ticks = interval(self.device.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stopping = *stop.borrow();
            if stopping && self.unacknowledged.is_empty() {
                return Ok(());
            }
            tokio::select! {
                _ = ticks.tick(), if !stopping && self.unacknowledged.len() < WINDOW => {
                    let payload = self.measure();
                    self.write(&mut line, payload).await?;
                }
                packet = line.read() => self.take(&mut line, packet?)?,
                // Whoever started this device is gone: so is it.
                changed = stop.changed(), if !stopping => changed.map_err(io::Error::other)?,
            }
        }
    }

    fn measure(&mut self) -> Bytes {
        let number = {
            let mut books = self.device.books.lock();
            books.readings += 1;
            books.readings
        };
        // No two readings of a device have the same time, so each is one of its own to the store.
        self.last_at = clock::now_ms().max(self.last_at + 1);
        let at = Timestamp::from_millis(self.last_at);
        let metrics = (self.device.measure)(number).into_iter().filter_map(|(name, value)| {
            Some(Metric { name: MetricName::new(name).ok()?, value, unit: None })
        });
        let reading = Reading {
            device: self.device.id.clone(),
            at,
            metrics: metrics.collect(),
            attributes: Vec::new(),
            left_out: Vec::new(),
        };
        let payload = Bytes::from(telemetry_json(&reading));
        self.unacknowledged.push_back(payload.clone());
        (self.device.on_sent)(at, number);
        payload
    }

    async fn write(&mut self, line: &mut Line, payload: Bytes) -> io::Result<()> {
        line.next_packet = line.next_packet.checked_add(1).unwrap_or(1);
        let topic = format!("devices/{}/telemetry", self.device.id);
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        publish.pkid = line.next_packet;
        line.written.push_back(line.next_packet);
        // Counted before it is written: what is received can then never be more.
        self.device.books.lock().sent += 1;
        line.send(Packet::Publish(publish)).await
    }

    fn take(&mut self, line: &mut Line, packet: Packet) -> io::Result<()> {
        let Packet::PubAck(ack) = packet else { return Ok(()) };
        if line.written.pop_front() != Some(ack.pkid) || self.unacknowledged.pop_front().is_none() {
            return Err(io::Error::other("acknowledged what was not sent"));
        }
        self.device.books.lock().acknowledged += 1;
        Ok(())
    }
}

impl Line {
    async fn connect(broker: SocketAddr, client: &str) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(broker)).await??;
        stream.set_nodelay(true)?;
        let mut line = Self {
            stream,
            codec: PacketCodec::default(),
            incoming: BytesMut::new(),
            next_packet: 0,
            written: VecDeque::new(),
        };
        line.send(Packet::Connect(Connect::new(client))).await?;
        let answer = timeout(PATIENCE, line.read()).await??;
        if matches!(&answer, Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success) {
            return Ok(line);
        }
        Err(io::Error::other(format!("not let in: {answer:?}")))
    }

    async fn send(&mut self, packet: Packet) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        self.codec.encode(packet, &mut bytes).map_err(io::Error::other)?;
        timeout(PATIENCE, self.stream.write_all(&bytes)).await?
    }

    /// The next packet; nothing is lost when the wait for it is given up.
    async fn read(&mut self) -> io::Result<Packet> {
        loop {
            if let Some(packet) = self.codec.decode(&mut self.incoming).map_err(io::Error::other)? {
                return Ok(packet);
            }
            if self.stream.read_buf(&mut self.incoming).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
