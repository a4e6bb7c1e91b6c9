//! MQTT 5.0 on the wire, seen as the 3.1.1 packet that says the same and the properties beside it.
//!
//! That way one session serves both levels. Long packets are parsed and written by rumqttc; acknowledgements and
//! DISCONNECT here, because rumqttc refuses a DISCONNECT without a body and writes one byte more than it announces.

use std::str;

use bytes::{BufMut, BytesMut};
use rumqttc::v5::mqttbytes::v5 as wire;
use rumqttc::v5::mqttbytes::{self, QoS as WireQoS};
use rumqttc::{
    ConnAck, Connect, ConnectReturnCode, LastWill, Login, Packet, PacketType, PubAck, PubComp, PubRec,
    PubRel, Publish, QoS, Subscribe, SubscribeFilter, SubscribeReasonCode, Unsubscribe,
};

use super::{DecodeError, EncodeError, MAX_PACKET_BYTES, malformed, take_byte};
use crate::mqtt::subscriptions::RetainHandling;

pub use wire::{ConnectProperties, LastWillProperties, PublishProperties};

/// DISCONNECT's way of saying that the will is to be published all the same.
const DISCONNECT_WITH_WILL: u8 = 0x04;
const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
const FAILURE: u8 = 0x80;

/// A packet of either level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What both levels can say.
    pub packet: Packet,
    /// What only 5.0 can.
    pub extras: Extras,
}

/// What a packet of 5.0 says beyond one of 3.1.1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Extras {
    /// Nothing.
    #[default]
    None,
    /// It is a CONNECT of 5.0, which may have properties, and so may its will.
    Connect(Box<ConnectProperties>, Option<Box<LastWillProperties>>),
    /// A publish's properties, to be passed on to its subscribers.
    Publish(Box<PublishProperties>),
    /// What a SUBSCRIBE asks for beyond a QoS.
    Subscribe(Box<SubscribeExtras>),
    /// A DISCONNECT of 5.0.
    Disconnect(Farewell),
}

/// What a SUBSCRIBE of 5.0 asks for beyond a QoS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscribeExtras {
    /// What messages that come by these filters are to be marked with.
    pub id: Option<u32>,
    /// The options of each filter, in their order.
    pub options: Vec<SubscribeOptions>,
}

/// The options of one filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// What the client publishes itself is not for it.
    pub no_local: bool,
    /// Messages keep the retain flag that they were published with.
    pub retain_as_published: bool,
    /// When the messages that are retained are owed.
    pub retained: RetainHandling,
}

/// How a client of 5.0 takes its leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Farewell {
    /// Its will is to be published all the same.
    pub with_will: bool,
    /// How long its session is to last from now on, in seconds, where that changes.
    pub session_expiry_s: Option<u32>,
}

/// What CONNACK tells a client of 5.0 about this server and its session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// The id that was chosen for the client.
    pub assigned_client_id: Option<String>,
    /// How many publishes it may have unanswered.
    pub receive_maximum: u16,
    /// How many topics it may name by a number.
    pub topic_alias_maximum: u16,
}

impl From<Packet> for Received {
    fn from(packet: Packet) -> Self {
        Self { packet, extras: Extras::None }
    }
}

/// Reads one whole frame whose fixed header was checked.
pub(super) fn decode(packet_type: PacketType, frame: &mut BytesMut) -> Result<Received, DecodeError> {
    let header = 1 + frame.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let body = frame.get(header..).unwrap_or_default();
    let packet = match packet_type {
        PacketType::Connect | PacketType::Publish | PacketType::Subscribe | PacketType::Unsubscribe => {
            let packet = wire::Packet::read(frame, None).map_err(|error| malformed(error.to_string()))?;
            return translate(packet);
        }
        PacketType::PubAck => Packet::PubAck(PubAck::new(packet_id(body)?)),
        PacketType::PubRec => Packet::PubRec(PubRec::new(packet_id(body)?)),
        PacketType::PubRel => Packet::PubRel(PubRel::new(packet_id(body)?)),
        PacketType::PubComp => Packet::PubComp(PubComp::new(packet_id(body)?)),
        PacketType::PingReq if body.is_empty() => Packet::PingReq,
        PacketType::PingReq => return Err(malformed("PINGREQ has no body")),
        PacketType::Disconnect => {
            let extras = Extras::Disconnect(farewell(body)?);
            return Ok(Received { packet: Packet::Disconnect, extras });
        }
        PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck | PacketType::PingResp => {
            return Err(malformed("a packet that only a server sends"));
        }
    };
    Ok(packet.into())
}

/// Reads a DISCONNECT, whose reason code and properties may both be left out.
fn farewell(mut body: &[u8]) -> Result<Farewell, DecodeError> {
    let Some(reason) = take_byte(&mut body) else { return Ok(Farewell::default()) };
    let mut farewell = Farewell { with_will: reason == DISCONNECT_WITH_WILL, session_expiry_s: None };
    let Some(length) = take_byte(&mut body) else { return Ok(farewell) };
    // The expiry is 5 bytes; whatever else is said is for people to read.
    if length >= 5 && body.first() == Some(&SESSION_EXPIRY_INTERVAL) {
        let seconds = body.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        farewell.session_expiry_s = seconds;
    }
    if usize::from(length & 0x7F) > body.len() {
        return Err(malformed("DISCONNECT ends within its properties"));
    }
    Ok(farewell)
}

fn packet_id(mut body: &[u8]) -> Result<u16, DecodeError> {
    let (high, low) = (take_byte(&mut body), take_byte(&mut body));
    high.zip(low)
        .map(|(high, low)| u16::from_be_bytes([high, low]))
        .ok_or_else(|| malformed("an acknowledgement without a packet id"))
}

fn translate(packet: wire::Packet) -> Result<Received, DecodeError> {
    match packet {
        wire::Packet::Connect(connect, will, login) => connect_of(connect, will, login),
        wire::Packet::Publish(publish) => publish_of(publish),
        wire::Packet::Subscribe(subscribe) => subscribe_of(subscribe),
        wire::Packet::Unsubscribe(unsubscribe) => {
            let packet = Unsubscribe { pkid: unsubscribe.pkid, topics: unsubscribe.filters };
            Ok(Packet::Unsubscribe(packet).into())
        }
        wire::Packet::Auth(_)
        | wire::Packet::ConnAck(_)
        | wire::Packet::PubAck(_)
        | wire::Packet::PingReq(_)
        | wire::Packet::PingResp(_)
        | wire::Packet::SubAck(_)
        | wire::Packet::PubRec(_)
        | wire::Packet::PubRel(_)
        | wire::Packet::PubComp(_)
        | wire::Packet::UnsubAck(_)
        | wire::Packet::Disconnect(_) => Err(malformed("a packet of another kind than its header says")),
    }
}

fn subscribe_of(subscribe: wire::Subscribe) -> Result<Received, DecodeError> {
    let id = subscribe.properties.and_then(|properties| properties.id);
    if id == Some(0) {
        return Err(malformed("a subscription identifier of 0"));
    }
    let options = subscribe.filters.iter().map(|filter| SubscribeOptions {
        no_local: filter.nolocal,
        retain_as_published: filter.preserve_retain,
        retained: match filter.retain_forward_rule {
            wire::RetainForwardRule::OnEverySubscribe => RetainHandling::Always,
            wire::RetainForwardRule::OnNewSubscribe => RetainHandling::IfNew,
            wire::RetainForwardRule::Never => RetainHandling::Never,
        },
    });
    let extras = SubscribeExtras { id: id.and_then(|id| u32::try_from(id).ok()), options: options.collect() };
    let filters = subscribe.filters.into_iter().map(|f| SubscribeFilter::new(f.path, level_4(f.qos)));
    let mut packet = Subscribe::new_many(filters);
    packet.pkid = subscribe.pkid;
    Ok(Received { packet: Packet::Subscribe(packet), extras: Extras::Subscribe(Box::new(extras)) })
}

fn connect_of(
    connect: wire::Connect,
    will: Option<wire::LastWill>,
    login: Option<wire::Login>,
) -> Result<Received, DecodeError> {
    let mut packet = Connect::new(connect.client_id);
    packet.keep_alive = connect.keep_alive;
    packet.clean_session = connect.clean_start;
    packet.login = login.map(|login| Login::new(login.username, login.password));
    let mut will_properties = None;
    if let Some(will) = will {
        packet.last_will =
            Some(LastWill::new(text(&will.topic)?, will.message, level_4(will.qos), will.retain));
        will_properties = will.properties.map(Box::new);
    }
    let extras = Extras::Connect(Box::new(connect.properties.unwrap_or_default()), will_properties);
    Ok(Received { packet: Packet::Connect(packet), extras })
}

fn publish_of(publish: wire::Publish) -> Result<Received, DecodeError> {
    let mut packet = Publish::from_bytes(text(&publish.topic)?, level_4(publish.qos), publish.payload);
    (packet.dup, packet.retain, packet.pkid) = (publish.dup, publish.retain, publish.pkid);
    let extras = publish.properties.map_or(Extras::None, |properties| Extras::Publish(Box::new(properties)));
    Ok(Received { packet: Packet::Publish(packet), extras })
}

fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    str::from_utf8(bytes).map_err(|_| malformed("a topic that is no UTF-8"))
}

fn level_4(qos: WireQoS) -> QoS {
    match qos {
        WireQoS::AtMostOnce => QoS::AtMostOnce,
        WireQoS::AtLeastOnce => QoS::AtLeastOnce,
        WireQoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn level_5(qos: QoS) -> WireQoS {
    match qos {
        QoS::AtMostOnce => WireQoS::AtMostOnce,
        QoS::AtLeastOnce => WireQoS::AtLeastOnce,
        QoS::ExactlyOnce => WireQoS::ExactlyOnce,
    }
}

/// Appends CONNACK with what this server offers.
pub(super) fn encode_connack(ack: ConnAck, offer: Offer, bytes: &mut BytesMut) -> Result<(), EncodeError> {
    use wire::ConnectReturnCode as Code;
    let code = match ack.code {
        ConnectReturnCode::Success => Code::Success,
        ConnectReturnCode::RefusedProtocolVersion => Code::UnsupportedProtocolVersion,
        ConnectReturnCode::BadClientId => Code::ClientIdentifierNotValid,
        ConnectReturnCode::ServiceUnavailable => Code::ServerUnavailable,
        ConnectReturnCode::BadUserNamePassword => Code::BadUserNamePassword,
        ConnectReturnCode::NotAuthorized => Code::NotAuthorized,
    };
    let properties = wire::ConnAckProperties {
        session_expiry_interval: None,
        receive_max: Some(offer.receive_maximum),
        max_qos: None,
        retain_available: None,
        max_packet_size: u32::try_from(MAX_PACKET_BYTES).ok(),
        assigned_client_identifier: offer.assigned_client_id,
        topic_alias_max: Some(offer.topic_alias_maximum),
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    };
    let connack = wire::ConnAck { session_present: ack.session_present, code, properties: Some(properties) };
    write(&wire::Packet::ConnAck(connack), bytes)
}

/// Appends a publish with its properties.
pub(super) fn encode_publish(
    publish: Publish,
    properties: Option<PublishProperties>,
    bytes: &mut BytesMut,
) -> Result<(), EncodeError> {
    let mut packet = wire::Publish::new(publish.topic, level_5(publish.qos), publish.payload, properties);
    (packet.dup, packet.retain, packet.pkid) = (publish.dup, publish.retain, publish.pkid);
    write(&wire::Packet::Publish(packet), bytes)
}

fn write(packet: &wire::Packet, bytes: &mut BytesMut) -> Result<(), EncodeError> {
    packet.write(bytes, None).map(drop).map_err(|error: mqttbytes::Error| EncodeError(error.to_string()))
}

/// Appends SUBACK.
pub(super) fn encode_suback(pkid: u16, codes: &[SubscribeReasonCode], bytes: &mut BytesMut) {
    let codes = codes.iter().map(|code| match code {
        SubscribeReasonCode::Success(qos) => *qos as u8,
        SubscribeReasonCode::Failure => FAILURE,
    });
    encode_answer(0x90, pkid, codes, bytes);
}

/// Appends SUBACK with the reason codes of 5.0.
pub(super) fn encode_suback_codes(pkid: u16, codes: &[u8], bytes: &mut BytesMut) {
    encode_answer(0x90, pkid, codes.iter().copied(), bytes);
}

/// Appends UNSUBACK, which answers each filter.
pub(super) fn encode_unsuback(pkid: u16, codes: &[u8], bytes: &mut BytesMut) {
    encode_answer(0xB0, pkid, codes.iter().copied(), bytes);
}

/// Appends PUBACK or PUBREC with a reason code; the short form means success.
pub(super) fn encode_acknowledgement(first: u8, pkid: u16, reason: u8, bytes: &mut BytesMut) {
    bytes.extend_from_slice(&[first, 3]);
    bytes.put_u16(pkid);
    bytes.put_u8(reason);
}

/// How many bytes a publish takes.
pub(crate) fn publish_size(publish: &Publish, properties: Option<&PublishProperties>) -> usize {
    let mut packet = wire::Publish::new(
        publish.topic.clone(),
        level_5(publish.qos),
        publish.payload.clone(),
        properties.cloned(),
    );
    packet.pkid = publish.pkid;
    packet.size()
}

fn encode_answer(first: u8, pkid: u16, codes: impl ExactSizeIterator<Item = u8>, bytes: &mut BytesMut) {
    bytes.put_u8(first);
    let mut left = 3 + codes.len();
    while left >= 0x80 {
        bytes.put_u8(u8::try_from(left & 0x7F).unwrap_or_default() | 0x80);
        left >>= 7;
    }
    bytes.put_u8(u8::try_from(left).unwrap_or_default());
    bytes.put_u16(pkid);
    bytes.put_u8(0);
    bytes.extend(codes);
}

/// Appends DISCONNECT with a reason code.
pub(super) fn encode_disconnect(reason: u8, bytes: &mut BytesMut) {
    bytes.extend_from_slice(&[0xE0, 2, reason, 0]);
}
