//! One face for rumqttc's two clients, of 3.1.1 and of 5.0: orders go in, [`Heard`] comes out.
//!
//! Nothing here waits: an order that finds no room in the client's queue is an error, because whoever gives it is the one
//! who polls the client, and would wait for itself.

use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS as QoSOf5;
use rumqttc::v5::mqttbytes::v5 as five;
use rumqttc::v5::{self, mqttbytes};
use rumqttc::{Packet, QoS, SubscribeFilter, SubscribeReasonCode};
use voltree_protocols::mqtt::{MAX_PACKET_BYTES, PublishProperties};

use super::{OutsideBroker, Protocol};

const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How large our packets may be: what a client may send us, with a longer topic and the names of nodes on its way.
const MAX_SENT_BYTES: usize = MAX_PACKET_BYTES + 128 * 1024;
/// More than are ever under way: packet ids that are not near each other don't collide.
const MOST_IN_FLIGHT: u16 = 1_000;
/// A session of 5.0 without an end.
const FOR_EVER: u32 = u32::MAX;

pub(super) type Broken = Box<dyn Error + Send + Sync>;
pub(super) type Polling = Pin<Box<dyn Future<Output = (Loop, Result<Heard, Broken>)> + Send>>;

/// The client's queue is full or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

/// What orders are given to.
pub(super) enum Client {
    Of3(rumqttc::AsyncClient),
    Of5(v5::AsyncClient),
}

/// What does the work.
pub(super) enum Loop {
    Of3(Box<rumqttc::EventLoop>),
    Of5(Box<v5::EventLoop>),
}

/// What happened on the wire, as far as it matters.
pub(super) enum Heard {
    /// The broker let us in.
    Connected(Welcome),
    /// Which filters of a SUBSCRIBE were granted.
    Granted(Vec<bool>),
    Publish(Box<Received>),
    /// A publish of QoS 1 went out under this packet id.
    Sent(u16),
    /// It is acknowledged; perhaps only to say that it was not taken.
    Acknowledged(u16, Option<String>),
    /// The client waits for an acknowledgement that may never come.
    Stuck,
    Nothing,
}

/// What the broker said when it let us in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Welcome {
    pub(super) session_present: bool,
    /// How many publishes it takes at once.
    pub(super) receive_maximum: Option<u16>,
    /// The largest packet that it takes.
    pub(super) largest: Option<usize>,
}

/// A message of the broker.
pub(super) struct Received {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) said: Option<PublishProperties>,
    whole: Whole,
}

enum Whole {
    Of3(rumqttc::Publish),
    Of5(five::Publish),
}

/// How a filter is subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) path: String,
    /// Whether its messages are for this node's own subscribers, who want them as they were published.
    pub(super) fetched: bool,
}

/// A message for the broker.
pub(super) struct Sending {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) properties: PublishProperties,
}

/// A client with its loop. `queue` orders may wait.
pub(super) fn client(outside: &OutsideBroker, queue: usize) -> (Client, Loop) {
    match outside.protocol {
        Protocol::V3 => {
            let mut options = rumqttc::MqttOptions::new(&outside.client_id, &outside.host, outside.port);
            options.set_keep_alive(KEEP_ALIVE);
            options.set_clean_session(false);
            options.set_manual_acks(true);
            options.set_inflight(MOST_IN_FLIGHT);
            options.set_max_packet_size(MAX_PACKET_BYTES, MAX_SENT_BYTES);
            if let Some((user, password)) = &outside.login {
                options.set_credentials(user, password.reveal());
            }
            let (client, event_loop) = rumqttc::AsyncClient::new(options, queue);
            (Client::Of3(client), Loop::Of3(Box::new(event_loop)))
        }
        Protocol::V5 => {
            let mut options = v5::MqttOptions::new(&outside.client_id, &outside.host, outside.port);
            options.set_keep_alive(KEEP_ALIVE);
            options.set_clean_start(false);
            options.set_session_expiry_interval(Some(FOR_EVER));
            options.set_manual_acks(true);
            options.set_outgoing_inflight_upper_limit(MOST_IN_FLIGHT);
            options.set_max_packet_size(u32::try_from(MAX_PACKET_BYTES).ok());
            if let Some((user, password)) = &outside.login {
                options.set_credentials(user, password.reveal());
            }
            let (client, event_loop) = v5::AsyncClient::new(options, queue);
            (Client::Of5(client), Loop::Of5(Box::new(event_loop)))
        }
    }
}

impl Client {
    pub(super) fn subscribe(&self, wanted: &[Wanted]) -> Result<(), NoRoom> {
        match self {
            Self::Of3(client) => {
                let filter = |wanted: &Wanted| SubscribeFilter::new(wanted.path.clone(), QoS::AtLeastOnce);
                client.try_subscribe_many(wanted.iter().map(filter)).map_err(|_| NoRoom)
            }
            Self::Of5(client) => {
                client.try_subscribe_many(wanted.iter().map(filter_of_5)).map_err(|_| NoRoom)
            }
        }
    }

    pub(super) fn publish(&self, sending: Sending) -> Result<(), NoRoom> {
        let Sending { topic, payload, qos, retain, properties } = sending;
        match self {
            Self::Of3(client) => client.try_publish(topic, qos, retain, payload).map_err(|_| NoRoom),
            Self::Of5(client) => client
                .try_publish_with_properties(topic, of_5(qos), retain, payload, properties)
                .map_err(|_| NoRoom),
        }
    }

    pub(super) fn acknowledge(&self, received: &Received) -> Result<(), NoRoom> {
        match (self, &received.whole) {
            (Self::Of3(client), Whole::Of3(publish)) => client.try_ack(publish).map_err(|_| NoRoom),
            (Self::Of5(client), Whole::Of5(publish)) => client.try_ack(publish).map_err(|_| NoRoom),
            // What another client received is not ours to acknowledge.
            (Self::Of3(_), Whole::Of5(_)) | (Self::Of5(_), Whole::Of3(_)) => Ok(()),
        }
    }
}

/// What we publish ourselves is not for us; the standard forbids to say so of a shared subscription (MQTT 5.0, 3.8.3.1).
fn filter_of_5(wanted: &Wanted) -> five::Filter {
    let retained = match wanted.fetched {
        true => five::RetainForwardRule::OnNewSubscribe,
        false => five::RetainForwardRule::OnEverySubscribe,
    };
    five::Filter {
        nolocal: !wanted.path.starts_with("$share/"),
        preserve_retain: true,
        retain_forward_rule: retained,
        ..five::Filter::new(wanted.path.clone(), QoSOf5::AtLeastOnce)
    }
}

/// Keeps one poll under way across turns, because a connection that is being made must not be begun anew at each turn.
pub(super) fn poll(event_loop: Loop) -> Polling {
    Box::pin(async move {
        match event_loop {
            Loop::Of3(mut event_loop) => {
                let event = event_loop.poll().await;
                let heard = event.map(heard_of_3).map_err(Broken::from);
                (Loop::Of3(event_loop), heard)
            }
            Loop::Of5(mut event_loop) => {
                let event = event_loop.poll().await;
                let heard = event.map_err(Broken::from).and_then(heard_of_5);
                (Loop::Of5(event_loop), heard)
            }
        }
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the event loop deals with every other packet itself")]
fn heard_of_3(event: rumqttc::Event) -> Heard {
    match event {
        rumqttc::Event::Incoming(Packet::ConnAck(ack)) => Heard::Connected(Welcome {
            session_present: ack.session_present,
            receive_maximum: None,
            largest: None,
        }),
        rumqttc::Event::Incoming(Packet::SubAck(answer)) => {
            Heard::Granted(answer.return_codes.iter().map(|c| *c != SubscribeReasonCode::Failure).collect())
        }
        rumqttc::Event::Incoming(Packet::Publish(publish)) => Heard::Publish(Box::new(Received {
            topic: publish.topic.clone(),
            payload: publish.payload.clone(),
            qos: publish.qos,
            retain: publish.retain,
            said: None,
            whole: Whole::Of3(publish),
        })),
        rumqttc::Event::Incoming(Packet::PubAck(ack)) => Heard::Acknowledged(ack.pkid, None),
        rumqttc::Event::Outgoing(rumqttc::Outgoing::Publish(pkid)) if pkid != 0 => Heard::Sent(pkid),
        rumqttc::Event::Outgoing(rumqttc::Outgoing::AwaitAck(_)) => Heard::Stuck,
        _ => Heard::Nothing,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the event loop deals with every other packet itself")]
fn heard_of_5(event: v5::Event) -> Result<Heard, Broken> {
    Ok(match event {
        v5::Event::Incoming(five::Packet::ConnAck(ack)) => {
            let said = ack.properties.as_ref();
            let largest = said.and_then(|said| said.max_packet_size);
            Heard::Connected(Welcome {
                session_present: ack.session_present,
                receive_maximum: said.and_then(|said| said.receive_max),
                largest: largest.and_then(|bytes| usize::try_from(bytes).ok()),
            })
        }
        v5::Event::Incoming(five::Packet::SubAck(answer)) => {
            let granted =
                |code: &five::SubscribeReasonCode| matches!(code, five::SubscribeReasonCode::Success(_));
            Heard::Granted(answer.return_codes.iter().map(granted).collect())
        }
        v5::Event::Incoming(five::Packet::Publish(publish)) => {
            let topic = String::from_utf8(publish.topic.to_vec())?;
            let said = publish.properties.clone().map(|said| PublishProperties {
                subscription_identifiers: Vec::new(),
                topic_alias: None,
                ..said
            });
            Heard::Publish(Box::new(Received {
                topic,
                payload: publish.payload.clone(),
                qos: of_3(publish.qos),
                retain: publish.retain,
                said: said.filter(|said| *said != PublishProperties::default()),
                whole: Whole::Of5(publish),
            }))
        }
        v5::Event::Incoming(five::Packet::PubAck(ack)) => {
            let taken =
                matches!(ack.reason, five::PubAckReason::Success | five::PubAckReason::NoMatchingSubscribers);
            Heard::Acknowledged(ack.pkid, (!taken).then(|| format!("{:?}", ack.reason)))
        }
        v5::Event::Outgoing(rumqttc::Outgoing::Publish(pkid)) if pkid != 0 => Heard::Sent(pkid),
        v5::Event::Outgoing(rumqttc::Outgoing::AwaitAck(_)) => Heard::Stuck,
        _ => Heard::Nothing,
    })
}

/// Whether it was the broker that ended the connection, as far as can be told: neither a broker that is not there nor one
/// that falls silent hangs up.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else there is ends no connection that was up")]
pub(super) fn hung_up(broken: &Broken) -> bool {
    let timed_out = |error: &std::io::Error| error.kind() == std::io::ErrorKind::TimedOut;
    if let Some(error) = broken.downcast_ref::<rumqttc::ConnectionError>() {
        return match error {
            rumqttc::ConnectionError::Io(error)
            | rumqttc::ConnectionError::MqttState(rumqttc::StateError::Io(error)) => !timed_out(error),
            // What is read as no packet is mostly an end of the connection in the middle of one.
            rumqttc::ConnectionError::MqttState(state) => {
                !matches!(state, rumqttc::StateError::AwaitPingResp | rumqttc::StateError::CollisionTimeout)
            }
            _ => false,
        };
    }
    match broken.downcast_ref::<v5::ConnectionError>() {
        Some(v5::ConnectionError::Io(error) | v5::ConnectionError::MqttState(v5::StateError::Io(error))) => {
            !timed_out(error)
        }
        Some(v5::ConnectionError::MqttState(state)) => {
            !matches!(state, v5::StateError::AwaitPingResp | v5::StateError::CollisionTimeout)
        }
        _ => false,
    }
}

fn of_5(qos: QoS) -> QoSOf5 {
    match qos {
        QoS::AtMostOnce => mqttbytes::QoS::AtMostOnce,
        QoS::AtLeastOnce => mqttbytes::QoS::AtLeastOnce,
        QoS::ExactlyOnce => mqttbytes::QoS::ExactlyOnce,
    }
}

fn of_3(qos: QoSOf5) -> QoS {
    match qos {
        mqttbytes::QoS::AtMostOnce => QoS::AtMostOnce,
        mqttbytes::QoS::AtLeastOnce => QoS::AtLeastOnce,
        mqttbytes::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}
