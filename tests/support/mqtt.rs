//! An MQTT publisher that keeps its own books: the outside witness of what was sent and what was acknowledged.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use voltree_model::Timestamp;
use voltree_protocols::mqtt::{Packet, PacketCodec, Publish, QoS};

/// How many publishes may be under way.
const WINDOW: usize = 100;

/// A connection to the node's listener.
pub(crate) struct Publisher {
    client_id: String,
    stream: TcpStream,
    incoming: BytesMut,
    codec: PacketCodec,
    next_pkid: u16,
    in_flight: VecDeque<(u16, u64)>,
    /// Acknowledged, by the number the sender gave.
    pub(crate) acked: BTreeSet<u64>,
    /// How many publishes were written, repetitions included.
    pub(crate) sent: u64,
}

impl Publisher {
    pub(crate) async fn connect(address: SocketAddr, client_id: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut this = Self {
            client_id: client_id.to_owned(),
            stream,
            incoming: BytesMut::new(),
            codec: PacketCodec::default(),
            next_pkid: 0,
            in_flight: VecDeque::new(),
            acked: BTreeSet::new(),
            sent: 0,
        };
        this.hello().await?;
        Ok(this)
    }

    /// Connects again after the connection was lost; the numbers that were under way must be sent again.
    pub(crate) async fn reconnect(&mut self, address: SocketAddr) -> std::io::Result<Vec<u64>> {
        self.stream = TcpStream::connect(address).await?;
        self.stream.set_nodelay(true)?;
        self.incoming.clear();
        self.hello().await?;
        Ok(self.in_flight.drain(..).map(|(_, number)| number).collect())
    }

    async fn hello(&mut self) -> std::io::Result<()> {
        let id = self.client_id.as_bytes();
        let mut bytes = vec![0x10, u8::try_from(12 + id.len()).unwrap()];
        bytes.extend([0, 4]);
        bytes.extend(b"MQTT");
        bytes.extend([4, 2, 0, 60, 0, u8::try_from(id.len()).unwrap()]);
        bytes.extend(id);
        self.stream.write_all(&bytes).await?;
        match self.read().await? {
            Packet::ConnAck(ack) if ack.code == rumqttc::ConnectReturnCode::Success => Ok(()),
            other => Err(std::io::Error::other(format!("not let in: {other:?}"))),
        }
    }

    async fn read(&mut self) -> std::io::Result<Packet> {
        loop {
            if let Some(packet) = self.codec.decode(&mut self.incoming).map_err(std::io::Error::other)? {
                return Ok(packet);
            }
            if self.stream.read_buf(&mut self.incoming).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Publishes at QoS 1 under the caller's own number; waits only while the window is full.
    pub(crate) async fn publish(&mut self, number: u64, topic: &str, payload: &[u8]) -> std::io::Result<()> {
        while self.in_flight.len() >= WINDOW {
            self.take_ack().await?;
        }
        self.next_pkid = self.next_pkid.checked_add(1).unwrap_or(1);
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        publish.pkid = self.next_pkid;
        let mut bytes = BytesMut::new();
        self.codec.encode(Packet::Publish(publish), &mut bytes).map_err(std::io::Error::other)?;
        self.in_flight.push_back((self.next_pkid, number));
        self.sent += 1;
        self.stream.write_all(&bytes).await
    }

    async fn take_ack(&mut self) -> std::io::Result<()> {
        if let Packet::PubAck(ack) = self.read().await? {
            let (pkid, number) = self.in_flight.pop_front().expect("an ack answers a publish");
            assert_eq!(pkid, ack.pkid, "acks come in the order of the publishes");
            self.acked.insert(number);
        }
        Ok(())
    }

    /// Waits until the other side closes the connection.
    pub(crate) async fn hear_the_end(&mut self) -> std::io::Result<()> {
        let bound = Duration::from_secs(60);
        loop {
            match tokio::time::timeout(bound, self.read()).await.map_err(std::io::Error::other)? {
                Ok(_) => {}
                Err(_) => return Ok(()),
            }
        }
    }

    /// Publishes one number of a device, measured now, and waits until that is acknowledged.
    pub(crate) async fn tell(&mut self, number: u64, device: &str) {
        let payload = telemetry(device, crate::support::now_ms(), &[("n", number as f64)]);
        self.publish(number, &topic(device), &payload).await.unwrap();
        self.settle().await.unwrap();
    }

    /// Waits until everything under way is acknowledged.
    pub(crate) async fn settle(&mut self) -> std::io::Result<()> {
        while !self.in_flight.is_empty() {
            let bound = Duration::from_secs(60);
            tokio::time::timeout(bound, self.take_ack()).await.map_err(std::io::Error::other)??;
        }
        Ok(())
    }
}

/// The contract's telemetry.
pub(crate) fn telemetry(device: &str, at_ms: i64, metrics: &[(&str, f64)]) -> Vec<u8> {
    let metrics: Vec<Value> =
        metrics.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let timestamp = Timestamp::from_millis(at_ms).to_string();
    serde_json::to_vec(&json!({ "device_id": device, "timestamp": timestamp, "metrics": metrics })).unwrap()
}

pub(crate) fn topic(device: &str) -> String {
    format!("devices/{device}/telemetry")
}
