//! Bytes to packets and back, on rumqttc's codec, with the checks of MQTT 3.1.1 that it leaves out.
//!
//! rumqttc frames and parses; this wrapper looks at each whole frame first: protocol level, reserved flags, lengths
//! and packet ids. After a [`DecodeError`] the stream has lost its framing, so the connection must be closed.
//! It never waits for more than one packet of the permitted size, whatever the length prefix promises.

use bytes::BytesMut;
use rumqttc::{Codec, Error, Packet, PacketType};
use tokio_util::codec::{Decoder, Encoder};

/// The largest payload of one message.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

/// The largest packet after its fixed header: a full payload and room for topic and packet id.
pub const MAX_PACKET_BYTES: usize = MAX_PAYLOAD_BYTES + 1024;

const PROTOCOL_LEVEL_3_1_1: u8 = 4;

/// Why bytes are no packet that this listener takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A CONNECT of another MQTT version; there is a CONNACK code for it.
    #[error("protocol level {level} is not offered, only 4 (MQTT 3.1.1)")]
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
#[error("could not encode a packet")]
pub struct EncodeError(#[source] Error);

/// Reads and writes the packets of one connection.
#[derive(Debug, Clone)]
pub struct PacketCodec(Codec);

impl Default for PacketCodec {
    fn default() -> Self {
        Self(Codec { max_incoming_size: MAX_PACKET_BYTES, max_outgoing_size: MAX_PACKET_BYTES })
    }
}

impl PacketCodec {
    /// Takes the next whole packet off the front of `bytes`; `None` while it isn't whole yet.
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
        let packet = self.0.decode(bytes)?;
        packet.map(check_packet).transpose()
    }

    /// Appends the packet's bytes.
    pub fn encode(&mut self, packet: Packet, bytes: &mut BytesMut) -> Result<(), EncodeError> {
        self.0.encode(packet, bytes).map_err(EncodeError)
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
