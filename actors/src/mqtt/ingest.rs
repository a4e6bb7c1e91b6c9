//! From a publish to a device's door: topic, payload, device, and the promise that a PUBACK waits for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::QoS;
use voltree_model::{DeviceId, Reading, RejectReason, Timestamp};
use voltree_protocols::mapping::Turned;
use voltree_protocols::mqtt::{DeviceTopic, TopicError};
use voltree_protocols::mqtt::{PayloadRejection, ReportedState, parse_status, reason_code};
use voltree_runtime::{Receipt, Refused};
use voltree_storage::Entry;

use super::broker::{Routed, Routing, Said};
use super::mapped::Understood;
use super::outbox::Kept;
use super::{Broker, answer, bridge};
use crate::intake::{self, Inbound};
use crate::metrics;
use crate::mqtt_device;
use crate::registry::{DeviceEntry, LinkState, NotAdmitted};

pub(super) use batch::ingest_all;
pub(super) use commit::Commit;

mod batch;
mod commit;

/// How long a publish without acknowledgement may wait for space before it is rejected as busy.
const QOS_0_PATIENCE: Duration = Duration::from_secs(2);

/// Resolves when a publish is committed, stored or rejected alike, with the reason code that says which; `None` if that
/// can't be promised.
pub(super) type Committed = Pin<Box<dyn Future<Output = Option<u8>> + Send + Sync>>;

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
    /// Which client of ours published it, if one did.
    pub(super) publisher: Option<Arc<str>>,
    /// Why its sender may not publish it now, if so.
    pub(super) refused: Option<RejectReason>,
}

/// Takes a publish in. Waits while the device's inbox is full: that is the back-pressure on this client.
pub(super) async fn ingest(broker: &Arc<Broker>, incoming: Incoming, now: Timestamp) -> Committed {
    let Incoming { topic, payload, qos, retain, relay, said, publisher, refused } = incoming;
    if let Some(reason) = refused {
        return reject(broker, None, reason, format!("{topic:?}"), qos, now).await;
    }
    let subject = match subject(broker, &topic, &payload, now) {
        Ok(subject) => subject,
        Err(error) => {
            return reject(broker, None, RejectReason::BadTopic, format!("{topic:?}: {error}"), qos, now)
                .await;
        }
    };
    // What an outside broker brought has our mark by now, and was looked at before.
    let of_client = publisher.as_ref().is_none_or(|publisher| !bridge::is_outside(publisher));
    if of_client && said.as_ref().is_some_and(|said| said.came_by(broker.node())) {
        metrics::mqtt_returned();
        return at_once_with(reason_code::SUCCESS);
    }
    let retained = (retain && relay).then(|| broker.retain(&topic, &payload, qos, said.as_deref()));
    let routing = Routing { publisher: publisher.as_deref(), retain, said };
    let Routed { heard, mut kept } =
        if relay { broker.route(&topic, &payload, qos, routing) } else { Routed::default() };
    kept.extend(retained.map(|retained| Box::pin(retained) as Kept));
    if let Some(house) = publisher.as_deref().and_then(bridge::house).filter(|_| !relay) {
        subject.speakers().for_each(|device| broker.ways_out.note(device, house, now));
    }
    let committed = match subject {
        Subject::Native(topic) => {
            native(broker, topic, &payload, Passage { qos, retain, relay, heard }, now).await
        }
        // What an outside broker kept was said at a time that nobody knows.
        Subject::Mapped(understood) => mapped(broker, understood, qos, retain && !relay, now).await,
        Subject::Foreign if heard || !kept.is_empty() => at_once_with(reason_code::SUCCESS),
        Subject::Foreign => {
            let detail = format!("{topic:?}: no device's topic, and nobody subscribes to it");
            reject(broker, None, RejectReason::BadTopic, detail, qos, now).await
        }
    };
    all_of(committed, kept)
}

/// A commit that waits also for what is kept of the message for others.
fn all_of(committed: Committed, kept: Vec<Kept>) -> Committed {
    if kept.is_empty() {
        return committed;
    }
    Box::pin(async move {
        let reason = committed.await?;
        for kept in kept {
            kept.await.then_some(())?;
        }
        Some(reason)
    })
}

/// What a message is about.
enum Subject {
    Native(DeviceTopic),
    Mapped(Understood),
    /// Nothing that this node reads: it is passed on to who subscribes to it and kept if it is retained, as by any broker.
    Foreign,
}

impl Subject {
    /// The devices that it is about.
    fn speakers(&self) -> impl Iterator<Item = &DeviceId> {
        let (native, mapped) = match self {
            Self::Native(topic) => (Some(topic.device()), None),
            Self::Mapped(understood) => (None, Some(&understood.meaning)),
            Self::Foreign => (None, None),
        };
        let measured = mapped.into_iter().flat_map(|meaning| meaning.readings.iter().flatten());
        let present = mapped.into_iter().flat_map(|meaning| meaning.presence.iter());
        let mapped = measured.map(|draft| &draft.device).chain(present.map(|(device, _)| device));
        native.into_iter().chain(mapped)
    }
}

fn subject(broker: &Broker, topic: &str, payload: &[u8], now: Timestamp) -> Result<Subject, TopicError> {
    match DeviceTopic::parse(topic) {
        Ok(topic) => Ok(Subject::Native(topic)),
        Err(error @ TopicError::NotADeviceTopic) => match broker.conventions.read(topic, payload, now) {
            Some(understood) => Ok(Subject::Mapped(understood)),
            // Those are the contract's and the broker's own, where others have no business.
            None if topic.starts_with("devices/") || topic.starts_with('$') => Err(error),
            None => Ok(Subject::Foreign),
        },
        Err(error) => Err(error),
    }
}

/// How a message came and went on.
#[derive(Debug, Clone, Copy)]
struct Passage {
    qos: QoS,
    retain: bool,
    relay: bool,
    /// Whether anybody subscribes to it.
    heard: bool,
}

async fn native(
    broker: &Arc<Broker>,
    topic: DeviceTopic,
    payload: &[u8],
    Passage { qos, retain, relay, heard }: Passage,
    now: Timestamp,
) -> Committed {
    match topic {
        // An empty retained message only takes the last one away.
        DeviceTopic::Telemetry(_) if retain && payload.is_empty() => at_once_with(reason_code::SUCCESS),
        DeviceTopic::Telemetry(device) => telemetry(broker, &device, payload, qos, now).await,
        DeviceTopic::Status(device) => at_once_with(status(broker, &device, payload)),
        DeviceTopic::Commands(device) if relay => {
            let mapped = order(broker, device, payload, now);
            at_once_with(reached(heard || mapped))
        }
        DeviceTopic::CommandAck(device) => {
            let other = reached(heard || !relay);
            let kept = answer::answered(broker, &device, payload, other, now).await;
            Box::pin(std::future::ready(kept))
        }
        DeviceTopic::Commands(_) | DeviceTopic::Config(_) => at_once_with(reached(heard || !relay)),
    }
}

/// Says a command for a mapped device in its own words, and tells whoever gave it what became of it; false if the device
/// is none of those.
fn order(broker: &Broker, device: DeviceId, payload: &[u8], now: Timestamp) -> bool {
    let Some(ordered) = broker.conventions.order(&device, payload, now) else { return false };
    if let Some((topic, payload)) = ordered.told {
        broker.route(&topic, &payload.into(), QoS::AtLeastOnce, Routing::default());
    }
    let answer = DeviceTopic::CommandAck(device).to_string();
    broker.route(&answer, &ordered.answer.into(), QoS::AtLeastOnce, Routing::default());
    true
}

/// Takes in what a message of another convention says; it is committed when all of it is.
async fn mapped(
    broker: &Arc<Broker>,
    understood: Understood,
    qos: QoS,
    stale: bool,
    now: Timestamp,
) -> Committed {
    let Understood { meaning, offline_after, gone, request } = understood;
    if let Some((topic, payload)) = request {
        broker.route(&topic, &payload.into(), QoS::AtMostOnce, Routing::default());
    }
    for entry in gone.iter().filter_map(|device| broker.registry.get(device)) {
        entry.set_link(LinkState::Down, "its announcement was taken back");
    }
    let mut commits = Vec::with_capacity(meaning.readings.len());
    for reading in meaning.readings {
        commits.push(match reading {
            Ok(draft) if stale && draft.at.is_none() => continue,
            Ok(draft) => {
                let admitted = broker.registry.admit_mapped(&draft.device, &draft.name, offline_after, now);
                let entry = match admitted {
                    Ok(entry) => entry,
                    Err(error) => {
                        commits.push(not_admitted(broker, &draft.device, error, qos, now).await);
                        continue;
                    }
                };
                let parsed = if entry.kind == mqtt_device::KIND {
                    draft.finish(now, || entry.own_time(now))
                } else {
                    Err(taken(&entry))
                };
                take_in(broker, &entry, parsed, qos, now).await
            }
            Err(Turned { device, rejection: PayloadRejection { reason, detail } }) => {
                let known = device.and_then(|device| broker.registry.get(&device));
                reject(broker, known.map(|entry| entry.id.clone()), reason, detail, qos, now).await
            }
        });
    }
    for (device, online) in meaning.presence {
        let Some(entry) = broker.registry.get(&device) else { continue };
        match online {
            true => entry.set_link(LinkState::Up, "it said that it is online"),
            false => entry.set_link(LinkState::Down, "it said that it is offline"),
        }
    }
    Box::pin(async move {
        let mut reason = reason_code::SUCCESS;
        for commit in commits {
            // Of several that were turned away the first says why.
            let of_one = commit.await?;
            reason = if reason == reason_code::SUCCESS { of_one } else { reason };
        }
        Some(reason)
    })
}

/// Counts what a device sent that is not heard.
async fn not_admitted(
    broker: &Arc<Broker>,
    device: &DeviceId,
    error: NotAdmitted,
    qos: QoS,
    now: Timestamp,
) -> Committed {
    reject(broker, error.row(device), error.reason(), format!("{device}: {error}"), qos, now).await
}

/// A name that somebody else's convention gives must not write into the history of a configured battery.
fn taken(entry: &DeviceEntry) -> PayloadRejection {
    let detail = format!("{} is a configured device of type {}", entry.id, entry.kind);
    PayloadRejection { reason: RejectReason::DeviceMismatch, detail }
}

async fn telemetry(
    broker: &Arc<Broker>,
    device: &DeviceId,
    payload: &[u8],
    qos: QoS,
    now: Timestamp,
) -> Committed {
    let entry = match broker.registry.admit(device, now) {
        Ok(entry) => entry,
        Err(error) => return not_admitted(broker, device, error, qos, now).await,
    };
    let parsed = broker.templates.read(&entry.template, device, payload, now, || entry.own_time(now));
    entry.publishes.record(now, payload, &parsed);
    take_in(broker, &entry, parsed, qos, now).await
}

/// Brings what was read to the device's door.
async fn take_in(
    broker: &Arc<Broker>,
    entry: &Arc<DeviceEntry>,
    parsed: Result<Reading, PayloadRejection>,
    qos: QoS,
    now: Timestamp,
) -> Committed {
    let (reason, inbound) = judge(broker, entry, parsed, now);
    bring(broker, entry, inbound, reason, qos, now).await
}

/// Brings what a device's door is told there, waiting for room.
async fn bring(
    broker: &Arc<Broker>,
    entry: &Arc<DeviceEntry>,
    inbound: Inbound,
    reason: u8,
    qos: QoS,
    now: Timestamp,
) -> Committed {
    let accepting = entry.intake.accept(inbound);
    let accepted = match qos {
        QoS::AtMostOnce => tokio::time::timeout(QOS_0_PATIENCE, accepting).await,
        QoS::AtLeastOnce | QoS::ExactlyOnce => Ok(accepting.await),
    };
    let (reason, detail) = match accepted {
        Ok(Ok(receipt)) => {
            entry.arrived(now);
            return settled(receipt, reason);
        }
        Ok(Err(refused @ Refused::Closed(_))) => (RejectReason::Parked, refused.to_string()),
        Ok(Err(Refused::Busy(_))) | Err(_) => {
            (RejectReason::Busy, "the device's inbox stayed full".to_owned())
        }
    };
    reject(broker, Some(entry.id.clone()), reason, detail, qos, now).await
}

/// What a device's door is told of a publish, and with which reason code its sender is answered.
fn judge(
    broker: &Broker,
    entry: &DeviceEntry,
    parsed: Result<Reading, PayloadRejection>,
    now: Timestamp,
) -> (u8, Inbound) {
    let reason =
        parsed.as_ref().map_or_else(|rejected| reason_code_of(rejected.reason), |_| reason_code::SUCCESS);
    let inbound = match parsed {
        Ok(reading) if broker.registry.is_too_old(&entry.id, reading.at, now) => Inbound::Rejected {
            at: now,
            reason: RejectReason::TooOld,
            detail: format!("{} is older than readings of this device are kept", reading.at),
        },
        Ok(reading) => entry.inbound(reading, now),
        Err(PayloadRejection { reason, detail }) => Inbound::Rejected { at: now, reason, detail },
    };
    (reason, inbound)
}

/// Takes what a device says of itself; answers the reason code for it.
fn status(broker: &Broker, device: &DeviceId, payload: &[u8]) -> u8 {
    let Some(entry) = broker.registry.get(device) else {
        tracing::debug!(%device, "a status of a device that has never sent telemetry");
        return reason_code::SUCCESS;
    };
    match parse_status(payload) {
        Ok(status) => match status.state {
            ReportedState::Online => entry.set_link(LinkState::Up, "it said that it is online"),
            ReportedState::Offline => entry.set_link(LinkState::Down, "it said that it is offline"),
            ReportedState::Other(word) => tracing::debug!(%device, word, "a status word of its own"),
        },
        Err(rejection) => {
            tracing::debug!(%device, %rejection, "an unreadable status");
            return reason_code::PAYLOAD_FORMAT_INVALID;
        }
    }
    reason_code::SUCCESS
}

/// A message that the node only passes on.
fn reached(heard: bool) -> u8 {
    if heard { reason_code::SUCCESS } else { reason_code::NO_MATCHING_SUBSCRIBERS }
}

/// How a rejection is told to a client of 5.0.
fn reason_code_of(reason: RejectReason) -> u8 {
    match reason {
        RejectReason::NotAuthorized | RejectReason::NotAdopted | RejectReason::Disabled => {
            reason_code::NOT_AUTHORIZED
        }
        RejectReason::BadTopic => reason_code::TOPIC_NAME_INVALID,
        RejectReason::BadPayload
        | RejectReason::DeviceMismatch
        | RejectReason::BadTimestamp
        | RejectReason::FutureTimestamp
        | RejectReason::NoMetrics
        | RejectReason::TooManyMetrics
        | RejectReason::BadName
        | RejectReason::BadValue => reason_code::PAYLOAD_FORMAT_INVALID,
        RejectReason::Busy | RejectReason::Rate => reason_code::QUOTA_EXCEEDED,
        RejectReason::Parked | RejectReason::TooOld => reason_code::IMPLEMENTATION_SPECIFIC_ERROR,
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
    let code = reason_code_of(reason);
    let committed = async move { matches!(committed.await, Ok(Ok(_))).then_some(code) };
    if qos == QoS::AtMostOnce {
        committed.await;
        return at_once_with(code);
    }
    Box::pin(committed)
}

fn settled(receipt: Receipt, reason: u8) -> Committed {
    Box::pin(async move { receipt.await.ok().map(|_| reason) })
}

fn at_once_with(reason: u8) -> Committed {
    Box::pin(std::future::ready(Some(reason)))
}
