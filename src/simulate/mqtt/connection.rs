//! One simulated device's connection: publishes on time, as far as its window allows, and notes each acknowledgement.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::bail;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use voltree_model::{Secret, Timestamp};
use voltree_protocols::mqtt::{Connect, ConnectReturnCode, Packet, PacketCodec, PubRel, Publish, QoS};
use voltree_runtime::clock;

use super::{MqttOptions, until};

/// When to publish.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) first: Instant,
    pub(super) period: Duration,
    pub(super) end: Instant,
    pub(super) last_answer: Instant,
    /// How long it stays connected then.
    pub(super) stay: Duration,
}

/// What became of a device's messages.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) lost: bool,
    pub(super) latencies_us: Vec<u32>,
}

pub(super) struct Connection {
    stream: TcpStream,
    codec: PacketCodec,
    incoming: BytesMut,
    outgoing: BytesMut,
    device: String,
    topic: String,
    qos: QoS,
    window: usize,
    metrics: u16,
    last_pkid: u16,
    last_ms: i64,
    under_way: VecDeque<(u16, Instant)>,
    books: Books,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else a broker says is the same surprise")]
impl Connection {
    /// Connects and waits until the broker lets the device in.
    pub(super) async fn open(
        device: String,
        login: Option<&(String, Secret)>,
        options: &MqttOptions,
    ) -> anyhow::Result<Self> {
        let &MqttOptions { to, qos, window, metrics, .. } = options;
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let mut this = Self {
            stream,
            codec: PacketCodec::default(),
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            topic: format!("devices/{device}/telemetry"),
            qos: [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos.min(2))],
            window: usize::from(window),
            metrics,
            last_pkid: 0,
            last_ms: 0,
            under_way: VecDeque::new(),
            books: Books::default(),
            device,
        };
        let mut connect = Connect::new(&this.device);
        connect.keep_alive = 60;
        if let Some((user, password)) = login {
            connect.set_login(user, password.reveal());
        }
        this.write(Packet::Connect(connect)).await?;
        loop {
            if let Some(packet) = this.codec.decode(&mut this.incoming)? {
                match packet {
                    Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => return Ok(this),
                    other => bail!("the broker answers {other:?}"),
                }
            }
            if this.stream.read_buf(&mut this.incoming).await? == 0 {
                bail!("the broker hangs up");
            }
        }
    }

    /// Publishes until the plan ends and the last acknowledgement came, or the connection is lost.
    #[expect(clippy::disallowed_methods, reason = "it was told to stay connected for so long")]
    pub(super) async fn run(mut self, plan: Plan) -> Books {
        let stay = plan.stay;
        self.books.lost = self.publish(plan).await.is_err();
        tokio::time::sleep(stay).await;
        self.books
    }

    async fn publish(&mut self, plan: Plan) -> anyhow::Result<()> {
        let mut due = plan.first;
        loop {
            let now = clock::monotonic();
            while due <= now && due < plan.end && self.under_way.len() < self.window {
                self.enqueue(now)?;
                due += plan.period;
            }
            self.flush().await?;
            let ended = now >= plan.end;
            if ended && (self.under_way.is_empty() || now >= plan.last_answer) {
                return Ok(());
            }
            let wake = match (ended, self.under_way.len() < self.window) {
                (true, _) => plan.last_answer,
                (false, true) => due.min(plan.end),
                // Only an acknowledgement makes room; what is due meanwhile is sent late, not dropped.
                (false, false) => plan.end,
            };
            match tokio::time::timeout(until(wake), self.stream.read_buf(&mut self.incoming)).await {
                Ok(Ok(0)) => bail!("the broker hangs up"),
                Ok(read) => drop(read?),
                Err(_due) => {}
            }
            self.hear()?;
        }
    }

    fn hear(&mut self) -> anyhow::Result<()> {
        while let Some(packet) = self.codec.decode(&mut self.incoming)? {
            match packet {
                Packet::PubAck(ack) => self.acknowledged(ack.pkid),
                Packet::PubComp(comp) => self.acknowledged(comp.pkid),
                Packet::PubRec(rec) => {
                    self.codec.encode(Packet::PubRel(PubRel::new(rec.pkid)), &mut self.outgoing)?;
                }
                other => bail!("the broker says {other:?}"),
            }
        }
        Ok(())
    }

    fn acknowledged(&mut self, pkid: u16) {
        let Some(index) = self.under_way.iter().position(|(known, _)| *known == pkid) else { return };
        let Some((_, sent)) = self.under_way.remove(index) else { return };
        self.books.acknowledged += 1;
        let took = clock::monotonic().saturating_duration_since(sent).as_micros();
        self.books.latencies_us.push(u32::try_from(took).unwrap_or(u32::MAX));
    }

    fn enqueue(&mut self, now: Instant) -> anyhow::Result<()> {
        self.books.sent += 1;
        let payload = self.payload();
        let mut publish = Publish::new(&self.topic, self.qos, payload);
        if self.qos != QoS::AtMostOnce {
            self.last_pkid = self.last_pkid.checked_add(1).unwrap_or(1);
            publish.pkid = self.last_pkid;
            self.under_way.push_back((self.last_pkid, now));
        }
        self.codec.encode(Packet::Publish(publish), &mut self.outgoing)?;
        Ok(())
    }

    /// Each message has a millisecond of its own, so that none is taken for another one again.
    fn payload(&mut self) -> String {
        self.last_ms = clock::now_ms().max(self.last_ms + 1);
        let (number, device) = (self.books.sent, &self.device);
        let time = Timestamp::from_millis(self.last_ms);
        let mut text = format!(
            "{{\"device_id\":\"{device}\",\"timestamp\":\"{time}\",\"metrics\":[{{\"name\":\"sequence\",\"value\":{number}}}"
        );
        for metric in 1..self.metrics {
            let value = (number * 7 + u64::from(metric) * 131) % 1_000;
            // Writing into a String can't fail.
            write!(
                text,
                ",{{\"name\":\"value_{metric}\",\"value\":{}.{value:03},\"unit\":\"V\"}}",
                3 + metric % 2
            )
            .ok();
        }
        text.push_str("]}");
        text
    }

    async fn write(&mut self, packet: Packet) -> anyhow::Result<()> {
        self.codec.encode(packet, &mut self.outgoing)?;
        self.flush().await
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        while !self.outgoing.is_empty() {
            self.stream.write_buf(&mut self.outgoing).await?;
        }
        Ok(())
    }
}
