//! Bytes to packets and back, on rumqttc's codec, with the checks of MQTT 3.1.1 that it leaves out.
//!
//! rumqttc frames and parses; this wrapper looks at each whole frame first: protocol level, reserved flags, lengths
//! and packet ids. After a [`DecodeError`] the stream has lost its framing, so the connection must be closed.
//! It never waits for more than one packet of the permitted size, whatever the length prefix promises.

use std::collections::VecDeque;

use bytes::BytesMut;
use rumqttc::{Codec, ConnAck, Error, Packet, PacketType, Publish};
use tokio_util::codec::{Decoder, Encoder};

pub(super) use v5::publish_size;
pub use v5::{
    ConnectProperties, Extras, Farewell, LastWillProperties, Offer, PublishProperties, Received,
    SubscribeExtras, SubscribeOptions,
};

mod v5;

/// The largest payload of one message.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

/// The largest packet after its fixed header: a full payload and room for topic and packet id.
pub const MAX_PACKET_BYTES: usize = MAX_PAYLOAD_BYTES + 1024;

const PROTOCOL_LEVEL_3_1_1: u8 = 4;

/// Why bytes are no packet that this listener takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A CONNECT of another MQTT version; there is a CONNACK code for it.
    #[error("protocol level {level} is not offered, only 4 (MQTT 3.1.1) and 5 (MQTT 5.0)")]
    UnsupportedProtocol {
        /// What the client asked for.
        level: u8,
    },
    /// The length prefix announces more than is allowed.
    #[error("a packet of {bytes} bytes is over the limit of {limit}", limit = MAX_PACKET_BYTES)]
    TooLarge {
        /// What was announced.
        bytes: usize,
    },
    /// Not what the standard describes.
    #[error("malformed packet: {what}")]
    Malformed {
        /// What is wrong, without any of the client's own text.
        what: String,
    },
}

/// A packet that can't be put into bytes.
#[derive(Debug, thiserror::Error)]
#[error("could not encode a packet: {0}")]
pub struct EncodeError(String);

/// Reads and writes the packets of one connection.
#[derive(Debug, Clone)]
pub struct PacketCodec {
    level_4: Codec,
    /// Whether the client came with 5.0.
    level_5: bool,
    /// How many filters each UNSUBSCRIBE named that is not answered yet: 5.0 answers each.
    unsubscribing: VecDeque<usize>,
}

impl Default for PacketCodec {
    fn default() -> Self {
        let level_4 = Codec { max_incoming_size: MAX_PACKET_BYTES, max_outgoing_size: MAX_PACKET_BYTES };
        Self { level_4, level_5: false, unsubscribing: VecDeque::new() }
    }
}

impl PacketCodec {
    /// Takes the next whole packet of a client that may speak 3.1.1 or 5.0; its CONNECT decides. `None` while it isn't whole.
    pub fn receive(&mut self, bytes: &mut BytesMut) -> Result<Option<Received>, DecodeError> {
        let header = match rumqttc::check(bytes.iter(), MAX_PACKET_BYTES) {
            Ok(header) => header,
            Err(Error::InsufficientBytes(missing)) => {
                bytes.reserve(missing);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let packet_type = header.packet_type()?;
        let frame = bytes.get(..header.frame_length()).unwrap_or(bytes);
        if packet_type == PacketType::Connect && !self.level_5 {
            self.level_5 = is_level_5(frame);
        }
        if !self.level_5 {
            return Ok(self.decode(bytes)?.map(Received::from));
        }
        check_flags(packet_type, frame.first().unwrap_or(&0) & 0x0F)?;
        let mut frame = bytes.split_to(header.frame_length());
        let Received { packet, extras } = v5::decode(packet_type, &mut frame)?;
        let packet = check_packet(packet)?;
        if let Packet::Unsubscribe(unsubscribe) = &packet {
            self.unsubscribing.push_back(unsubscribe.topics.len());
        }
        Ok(Some(Received { packet, extras }))
    }

    /// Takes the next whole packet of 3.1.1 off the front of `bytes`; `None` while it isn't whole yet.
    pub fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        match rumqttc::check(bytes.iter(), MAX_PACKET_BYTES) {
            Ok(header) => {
                check_frame(header.packet_type()?, bytes.get(..header.frame_length()).unwrap_or(bytes))?
            }
            Err(Error::InsufficientBytes(missing)) => {
                bytes.reserve(missing);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        let packet = self.level_4.decode(bytes)?;
        packet.map(check_packet).transpose()
    }

    /// Appends the packet's bytes.
    pub fn encode(&mut self, packet: Packet, bytes: &mut BytesMut) -> Result<(), EncodeError> {
        match packet {
            Packet::ConnAck(ack) if self.level_5 => {
                self.encode_connack(ack, Offer { receive_maximum: u16::MAX, ..Offer::default() }, bytes)
            }
            Packet::Publish(publish) if self.level_5 => self.encode_publish(publish, None, bytes),
            Packet::SubAck(ack) if self.level_5 => {
                v5::encode_suback(ack.pkid, &ack.return_codes, bytes);
                Ok(())
            }
            Packet::UnsubAck(ack) if self.level_5 => {
                let codes = vec![0; self.unsubscribing.pop_front().unwrap_or(1)];
                v5::encode_unsuback(ack.pkid, &codes, bytes);
                Ok(())
            }
            // The short forms of the others are the same in both levels.
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::Publish(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::Subscribe(_)
            | Packet::SubAck(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_)
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Disconnect => {
                self.level_4.encode(packet, bytes).map_err(|error| EncodeError(error.to_string()))
            }
        }
    }

    /// Appends CONNACK; what it says beyond its code is only for 5.0.
    pub fn encode_connack(
        &mut self,
        ack: ConnAck,
        offer: Offer,
        bytes: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        if self.level_5 {
            return v5::encode_connack(ack, offer, bytes);
        }
        self.encode(Packet::ConnAck(ack), bytes)
    }

    /// Appends a publish; its properties are only for 5.0.
    pub fn encode_publish(
        &mut self,
        publish: Publish,
        properties: Option<PublishProperties>,
        bytes: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        if self.level_5 {
            return v5::encode_publish(publish, properties, bytes);
        }
        self.encode(Packet::Publish(publish), bytes)
    }

    /// Appends an acknowledgement with reason codes of 5.0; other packets, and to a client of 3.1.1, without.
    pub fn encode_reasons(
        &mut self,
        packet: Packet,
        reasons: &[u8],
        bytes: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let first = reasons.first().copied().unwrap_or_default();
        match &packet {
            Packet::PubAck(ack) if self.level_5 => v5::encode_acknowledgement(0x40, ack.pkid, first, bytes),
            Packet::PubRec(rec) if self.level_5 => v5::encode_acknowledgement(0x50, rec.pkid, first, bytes),
            Packet::SubAck(ack) if self.level_5 => v5::encode_suback_codes(ack.pkid, reasons, bytes),
            Packet::UnsubAck(ack) if self.level_5 => {
                self.unsubscribing.pop_front();
                v5::encode_unsuback(ack.pkid, reasons, bytes);
            }
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::Publish(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::Subscribe(_)
            | Packet::SubAck(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_)
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Disconnect => return self.encode(packet, bytes),
        }
        Ok(())
    }

    /// Appends DISCONNECT with a reason code, which a server can send in 5.0 alone.
    pub fn encode_disconnect(&self, reason: u8, bytes: &mut BytesMut) {
        if self.level_5 {
            v5::encode_disconnect(reason, bytes);
        }
    }
}

impl From<Error> for DecodeError {
    fn from(error: Error) -> Self {
        if let Error::PayloadSizeLimitExceeded(bytes) = error {
            Self::TooLarge { bytes }
        } else {
            malformed(error.to_string())
        }
    }
}

/// Checks what rumqttc skips over while it parses. `frame` is one whole packet.
fn check_frame(packet_type: PacketType, frame: &[u8]) -> Result<(), DecodeError> {
    let Some((first, rest)) = frame.split_first() else { return Ok(()) };
    let length_bytes = 1 + rest.iter().take_while(|byte| **byte & 0x80 != 0).count();
    let body = rest.get(length_bytes..).unwrap_or_default();
    check_flags(packet_type, first & 0x0F)?;
    match packet_type {
        PacketType::Connect => check_connect(body),
        PacketType::Subscribe => check_subscribe_options(body),
        PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp
            if body.len() != 2 =>
        {
            Err(malformed("PUBACK, PUBREC, PUBREL and PUBCOMP must have 2 bytes"))
        }
        PacketType::PingReq | PacketType::Disconnect if !body.is_empty() => {
            Err(malformed("PINGREQ and DISCONNECT have no body"))
        }
        PacketType::ConnAck
        | PacketType::Publish
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubRel
        | PacketType::PubComp
        | PacketType::SubAck
        | PacketType::Unsubscribe
        | PacketType::UnsubAck
        | PacketType::PingReq
        | PacketType::PingResp
        | PacketType::Disconnect => Ok(()),
    }
}

/// A receiver must close on flags that are not the reserved ones (2.2.2): they are the cheapest sign of lost framing.
fn check_flags(packet_type: PacketType, flags: u8) -> Result<(), DecodeError> {
    let reserved = match packet_type {
        PacketType::Publish => return Ok(()),
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
        PacketType::Connect
        | PacketType::ConnAck
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubComp
        | PacketType::SubAck
        | PacketType::UnsubAck
        | PacketType::PingReq
        | PacketType::PingResp
        | PacketType::Disconnect => 0,
    };
    if flags == reserved { Ok(()) } else { Err(malformed("reserved flags of the fixed header are wrong")) }
}

/// Looks at the protocol level before anything else is parsed: rumqttc takes level 5 for 3.1.1 and misreads the rest.
fn check_connect(body: &[u8]) -> Result<(), DecodeError> {
    let mut rest = body;
    let name = take_text(&mut rest).ok_or_else(|| malformed("CONNECT has no protocol name"))?;
    let level = take_byte(&mut rest).ok_or_else(|| malformed("CONNECT has no protocol level"))?;
    // MQIsdp is what version 3.1 called itself, the one older protocol that deserves an answer.
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(malformed("CONNECT names another protocol"));
    }
    if name != b"MQTT" || level != PROTOCOL_LEVEL_3_1_1 {
        return Err(DecodeError::UnsupportedProtocol { level });
    }
    let flags = take_byte(&mut rest).ok_or_else(|| malformed("CONNECT has no flags"))?;
    let (will, password, user) = (flags & 0x04 != 0, flags & 0x40 != 0, flags & 0x80 != 0);
    if flags & 0x01 != 0 {
        return Err(malformed("the reserved CONNECT flag is set"));
    }
    if password && !user {
        return Err(malformed("CONNECT has a password and no user name"));
    }
    rest = rest.get(2..).ok_or_else(|| malformed("CONNECT has no keep-alive"))?;
    let texts = 1 + 2 * usize::from(will) + usize::from(user) + usize::from(password);
    for _ in 0..texts {
        take_text(&mut rest).ok_or_else(|| malformed("CONNECT ends early"))?;
    }
    if rest.is_empty() { Ok(()) } else { Err(malformed("CONNECT has bytes after its end")) }
}

/// Whether a CONNECT frame is of 5.0.
fn is_level_5(frame: &[u8]) -> bool {
    let length_bytes = 1 + frame.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count();
    let mut body = frame.get(1 + length_bytes..).unwrap_or_default();
    take_text(&mut body) == Some(b"MQTT") && take_byte(&mut body) == Some(5)
}

fn check_subscribe_options(body: &[u8]) -> Result<(), DecodeError> {
    let mut rest = body.get(2..).unwrap_or_default();
    while take_text(&mut rest).is_some() {
        if take_byte(&mut rest).is_some_and(|options| options & 0xFC != 0) {
            return Err(malformed("reserved bits of a requested QoS are set"));
        }
    }
    Ok(())
}

fn check_packet(packet: Packet) -> Result<Packet, DecodeError> {
    let problem = match &packet {
        Packet::Connect(connect) if connect.client_id.contains('\0') => Some("the client id contains NUL"),
        Packet::Subscribe(subscribe) if subscribe.pkid == 0 => Some("SUBSCRIBE has packet id 0"),
        Packet::Unsubscribe(unsubscribe) if unsubscribe.pkid == 0 => Some("UNSUBSCRIBE has packet id 0"),
        Packet::Unsubscribe(unsubscribe) if unsubscribe.topics.is_empty() => {
            Some("UNSUBSCRIBE has no filter")
        }
        Packet::Publish(publish) if publish.payload.len() > MAX_PAYLOAD_BYTES => {
            return Err(DecodeError::TooLarge { bytes: publish.payload.len() });
        }
        Packet::Connect(_)
        | Packet::ConnAck(_)
        | Packet::Publish(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::Subscribe(_)
        | Packet::SubAck(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubAck(_)
        | Packet::PingReq
        | Packet::PingResp
        | Packet::Disconnect => None,
    };
    problem.map_or(Ok(packet), |what| Err(malformed(what)))
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (byte, after) = rest.split_first()?;
    *rest = after;
    Some(*byte)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let (text, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *rest = after;
    Some(text)
}

fn malformed(what: impl Into<String>) -> DecodeError {
    DecodeError::Malformed { what: what.into() }
}

#[cfg(test)]
mod tests;
