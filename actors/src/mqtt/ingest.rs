//! From a publish to a device's door: topic, payload, device, and the promise that a PUBACK waits for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::QoS;
use voltree_model::{DeviceId, RejectReason, Timestamp};
use voltree_protocols::mqtt::DeviceTopic;
use voltree_protocols::mqtt::{PayloadRejection, ReportedState, parse_status, parse_telemetry};
use voltree_runtime::{Receipt, Refused};
use voltree_storage::Entry;

use super::Broker;
use super::broker::Said;
use crate::intake::{self, Inbound};
use crate::registry::LinkState;

/// How long a publish without acknowledgement may wait for space before it is rejected as busy.
const QOS_0_PATIENCE: Duration = Duration::from_secs(2);

/// Resolves when a publish is committed, stored or rejected alike; false if that can't be promised.
pub(super) type Committed = Pin<Box<dyn Future<Output = bool> + Send + Sync>>;

/// A publish as the session handed it over.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    /// Whether later subscribers are to hear it too.
    pub(super) retain: bool,
    /// Whether this node's own subscribers are to hear it.
    pub(super) relay: bool,
    /// What its sender said in properties of 5.0.
    pub(super) said: Option<Arc<Said>>,
    /// Whether its sender may publish to this topic.
    pub(super) allowed: bool,
}

/// Takes a publish in. Waits while the device's inbox is full: that is the back-pressure on this client.
pub(super) async fn ingest(broker: &Arc<Broker>, incoming: Incoming, now: Timestamp) -> Committed {
    let Incoming { topic, payload, qos, retain, relay, said, allowed } = incoming;
    if !allowed {
        let reason = RejectReason::NotAuthorized;
        return reject(broker, None, reason, format!("{topic:?}"), qos, now).await;
    }
    let subject = match DeviceTopic::parse(&topic) {
        Ok(subject) => subject,
        Err(error) => {
            return reject(broker, None, RejectReason::BadTopic, format!("{topic:?}: {error}"), qos, now)
                .await;
        }
    };
    if relay {
        broker.route(&topic, &payload, qos, said);
    }
    let retained = (retain && relay).then(|| broker.retain(&topic, &payload, qos));
    let committed = match subject {
        // An empty retained message only takes the last one away.
        DeviceTopic::Telemetry(_) if retain && payload.is_empty() => at_once(),
        DeviceTopic::Telemetry(device) => telemetry(broker, &device, &payload, qos, now).await,
        DeviceTopic::Status(device) => {
            status(broker, &device, &payload);
            at_once()
        }
        DeviceTopic::Commands(_) | DeviceTopic::CommandAck(_) | DeviceTopic::Config(_) => at_once(),
    };
    match retained {
        None => committed,
        Some(retained) => Box::pin(async move { committed.await && retained.await }),
    }
}

async fn telemetry(
    broker: &Arc<Broker>,
    device: &DeviceId,
    payload: &[u8],
    qos: QoS,
    now: Timestamp,
) -> Committed {
    let entry = broker.registry.adopt(device, now);
    let parsed = parse_telemetry(device, payload, now, || entry.own_time(now));
    entry.publishes.record(now, payload, &parsed);
    let inbound = match parsed {
        Ok(reading) if broker.registry.is_too_old(device, reading.at, now) => Inbound::Rejected {
            at: now,
            reason: RejectReason::TooOld,
            detail: format!("{} is older than readings of this device are kept", reading.at),
        },
        Ok(reading) => Inbound::Reading(reading),
        Err(PayloadRejection { reason, detail }) => Inbound::Rejected { at: now, reason, detail },
    };
    let accepting = entry.intake.accept(inbound);
    let accepted = match qos {
        QoS::AtMostOnce => tokio::time::timeout(QOS_0_PATIENCE, accepting).await,
        QoS::AtLeastOnce | QoS::ExactlyOnce => Ok(accepting.await),
    };
    let (reason, detail) = match accepted {
        Ok(Ok(receipt)) => {
            entry.arrived(now);
            return settled(receipt);
        }
        Ok(Err(refused @ Refused::Closed(_))) => (RejectReason::Parked, refused.to_string()),
        Ok(Err(Refused::Busy(_))) | Err(_) => {
            (RejectReason::Busy, "the device's inbox stayed full".to_owned())
        }
    };
    reject(broker, Some(device.clone()), reason, detail, qos, now).await
}

fn status(broker: &Broker, device: &DeviceId, payload: &[u8]) {
    let Some(entry) = broker.registry.get(device) else {
        tracing::debug!(%device, "a status of a device that has never sent telemetry");
        return;
    };
    match parse_status(payload) {
        Ok(status) => match status.state {
            ReportedState::Online => entry.set_link(LinkState::Up, "it said that it is online"),
            ReportedState::Offline => entry.set_link(LinkState::Down, "it said that it is offline"),
            ReportedState::Other(word) => tracing::debug!(%device, word, "a status word of its own"),
        },
        Err(rejection) => tracing::debug!(%device, %rejection, "an unreadable status"),
    }
}

/// Counts a rejection in the journal, where the ledger finds it. What will not be acknowledged is waited for here, so
/// that a flood of it slows its sender down instead of filling the journal's queue.
async fn reject(
    broker: &Arc<Broker>,
    device: Option<DeviceId>,
    reason: RejectReason,
    detail: String,
    qos: QoS,
    now: Timestamp,
) -> Committed {
    let detail = detail.chars().filter(|c| !c.is_control()).take(200).collect();
    let entry = Entry::Rejected { device, origin: None, at: now, reason, detail };
    let committed = intake::submit(&broker.journal, vec![entry]);
    let committed = async move { matches!(committed.await, Ok(Ok(_))) };
    if qos == QoS::AtMostOnce {
        committed.await;
        return at_once();
    }
    Box::pin(committed)
}

fn settled(receipt: Receipt) -> Committed {
    Box::pin(async move { receipt.await.is_ok() })
}

fn at_once() -> Committed {
    Box::pin(std::future::ready(true))
}
