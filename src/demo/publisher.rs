//! The demo's MQTT devices: each a client of its own that publishes the contract's telemetry at QoS 1.

use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, QoS};
use tokio::task::JoinSet;
use voltree_model::{DeviceId, Metric, MetricName, Reading, Timestamp, Unit};
use voltree_protocols::mqtt::telemetry_json;
use voltree_runtime::clock;

use crate::replay::{self, Recording};

const PERIOD: Duration = Duration::from_secs(1);
const RECONNECT_AFTER: Duration = Duration::from_millis(500);

/// What a kind of device measures: name, unit, mean, swing, and how many seconds one swing takes.
type Quantity = (&'static str, &'static str, f64, f64, f64);

const KINDS: [(&str, &[Quantity]); 4] = [
    ("inverter", &[("power", "W", 820.0, 600.0, 90.0), ("temperature", "°C", 41.0, 4.0, 300.0)]),
    ("room", &[("temperature", "°C", 21.5, 1.5, 240.0), ("humidity", "%", 46.0, 6.0, 400.0)]),
    ("meter", &[("power", "W", -310.0, 450.0, 120.0), ("frequency", "Hz", 50.0, 0.03, 20.0)]),
    ("ups", &[("soc_percent", "%", 88.0, 9.0, 600.0), ("pack_voltage", "V", 26.4, 0.5, 600.0)]),
];

/// Starts this many devices; they end when the set is dropped.
pub(super) fn start(devices: u16, broker: SocketAddr) -> JoinSet<()> {
    let mut set = JoinSet::new();
    for number in 0..devices {
        set.spawn(publish(number, broker));
    }
    set
}

/// Adds a recorded device; it ends with its recording.
pub(super) fn replay(set: &mut JoinSet<()>, recording: Recording, broker: SocketAddr) {
    set.spawn(async move {
        if let Err(error) = replay::publish(recording, broker, None, false).await {
            tracing::warn!(error = format!("{error:#}"), "the replay ended early");
        }
    });
}

async fn publish(number: u16, broker: SocketAddr) {
    let (kind, quantities) = KINDS[usize::from(number) % KINDS.len()];
    let Ok(device) = DeviceId::new(format!("{kind}-{:02}", usize::from(number) / KINDS.len() + 1)) else {
        return;
    };
    let (client, events) = connect(&device, broker);
    tokio::join!(drive(events), tell(client, &device, quantities));
}

fn connect(device: &DeviceId, broker: SocketAddr) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(device.as_str(), broker.ip().to_string(), broker.port());
    options.set_keep_alive(Duration::from_secs(10));
    options.set_last_will(LastWill::new(
        format!("devices/{device}/status"),
        "offline",
        QoS::AtLeastOnce,
        false,
    ));
    AsyncClient::new(options, 16)
}

/// rumqttc moves only while its loop is polled, and reconnects by itself at the next poll.
#[expect(clippy::disallowed_methods, reason = "a client waits before it connects again")]
async fn drive(mut events: EventLoop) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(_) | Event::Outgoing(_)) => {}
            Err(_) => tokio::time::sleep(RECONNECT_AFTER).await,
        }
    }
}

async fn tell(client: AsyncClient, device: &DeviceId, quantities: &[Quantity]) {
    let mut ticks = tokio::time::interval(PERIOD);
    let topic = format!("devices/{device}/telemetry");
    loop {
        ticks.tick().await;
        let payload = telemetry_json(&measure(device, quantities, clock::now_ms()));
        // A client that is gone for good has nobody to tell.
        if client.publish(&topic, QoS::AtLeastOnce, false, payload).await.is_err() {
            return;
        }
    }
}

fn measure(device: &DeviceId, quantities: &[Quantity], now_ms: i64) -> Reading {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds fit a double for 285,000 years")]
    let seconds = now_ms as f64 / 1000.0;
    let metrics = quantities.iter().filter_map(|(name, unit, mean, swing, period_s)| {
        let wave = (seconds / period_s * std::f64::consts::TAU).sin();
        let value = ((mean + swing * wave) * 100.0).round() / 100.0;
        Some(Metric { name: MetricName::new(name).ok()?, value, unit: Unit::new(unit).ok() })
    });
    Reading {
        device: device.clone(),
        at: Timestamp::from_millis(now_ms),
        metrics: metrics.collect(),
        attributes: Vec::new(),
        left_out: Vec::new(),
    }
}
