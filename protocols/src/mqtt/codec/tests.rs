use proptest::prelude::*;
use rumqttc::{Connect, LastWill, PubAck, Publish, QoS, Subscribe, Unsubscribe};

use super::*;

fn decode(bytes: &[u8]) -> Result<Option<Packet>, DecodeError> {
    PacketCodec::default().decode(&mut BytesMut::from(bytes))
}

fn encoded(packet: Packet) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    PacketCodec::default().encode(packet, &mut bytes).unwrap();
    bytes.to_vec()
}

fn connect() -> Connect {
    let mut connect = Connect::new("pack-1");
    connect.set_login("user", "secret");
    connect.last_will = Some(LastWill::new("devices/pack-1/status", "offline", QoS::AtLeastOnce, true));
    connect
}

fn assert_malformed(bytes: &[u8], expected: &str) {
    match decode(bytes) {
        Err(DecodeError::Malformed { what }) => {
            assert!(what.contains(expected), "{what:?}, not {expected:?}")
        }
        other => panic!("{bytes:x?} gave {other:?}, not {expected:?}"),
    }
}

#[test]
fn a_packet_survives_the_way_through_bytes() {
    let mut publish = Publish::new("é/x", QoS::AtLeastOnce, "payload");
    publish.pkid = 7;
    let mut subscribe = Subscribe::new("a/#", QoS::ExactlyOnce);
    subscribe.pkid = 8;
    let mut unsubscribe = Unsubscribe::new("a/#");
    unsubscribe.pkid = 9;
    for packet in [
        Packet::Connect(connect()),
        Packet::Publish(publish),
        Packet::Subscribe(subscribe),
        Packet::Unsubscribe(unsubscribe),
        Packet::PubAck(PubAck::new(3)),
        Packet::PingReq,
        Packet::Disconnect,
    ] {
        assert_eq!(decode(&encoded(packet.clone())).unwrap(), Some(packet));
    }
}

#[test]
fn another_mqtt_version_is_recognised_before_it_is_parsed() {
    // A real 5.0 CONNECT: its property length byte would be taken for the client id's first length byte.
    let version_5 = [0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, b'x'];
    assert_eq!(decode(&version_5), Err(DecodeError::UnsupportedProtocol { level: 5 }));
    let version_3_1 = [0x10, 15, 0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3, 2, 0, 60, 0, 1, b'x'];
    assert_eq!(decode(&version_3_1), Err(DecodeError::UnsupportedProtocol { level: 3 }));
    assert_malformed(&[0x10, 13, 0, 4, b'H', b'T', b'T', b'P', 4, 2, 0, 60, 0, 1, b'x'], "another protocol");
}

#[test]
fn a_connect_that_breaks_the_standard_is_malformed() {
    let flags_at = 9;
    let mut reserved = encoded(Packet::Connect(connect()));
    reserved[flags_at] |= 0x01;
    assert_malformed(&reserved, "reserved CONNECT flag");
    let mut no_user = encoded(Packet::Connect(connect()));
    no_user[flags_at] &= !0x80;
    assert_malformed(&no_user, "no user name");
    let mut no_will = encoded(Packet::Connect(connect()));
    no_will[flags_at] &= !0x3C;
    assert_malformed(&no_will, "after its end");
    assert_malformed(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 9, b'x'], "ends early");
    assert_malformed(&encoded(Packet::Connect(Connect::new("a\0b"))), "NUL");
}

#[test]
fn reserved_bits_and_empty_ids_are_malformed() {
    assert_malformed(&[0x41, 2, 0, 1], "reserved flags");
    assert_malformed(&[0x80, 6, 0, 1, 0, 1, b'a', 0], "reserved flags");
    assert_malformed(&[0x82, 6, 0, 1, 0, 1, b'a', 0x05], "requested QoS");
    assert_malformed(&[0x82, 6, 0, 0, 0, 1, b'a', 0], "packet id 0");
    assert_malformed(&[0xA2, 2, 0, 1], "no filter");
    assert_malformed(&[0xC0, 1, 0], "no body");
    assert_malformed(&[0x40, 3, 0, 1, 0], "2 bytes");
    assert_malformed(&[0x30, 4, 0, 9, b'a', b'b'], "boundary");
    assert_malformed(&[0xF0, 0], "Invalid packet type");
}

#[test]
fn a_packet_over_the_limit_is_refused_from_its_length_alone() {
    // 0x81 0x88 0x10 announces 263,169 bytes: one over the limit of 263,168.
    let announced = [0x30, 0x81, 0x88, 0x10];
    assert_eq!(decode(&announced), Err(DecodeError::TooLarge { bytes: MAX_PACKET_BYTES + 1 }));
    let full = Publish::new("a/b", QoS::AtMostOnce, vec![b'x'; MAX_PAYLOAD_BYTES]);
    assert!(matches!(decode(&encoded(Packet::Publish(full))), Ok(Some(Packet::Publish(_)))));
    let over = Publish::new("a/b", QoS::AtMostOnce, vec![b'x'; MAX_PAYLOAD_BYTES + 1]);
    let refused = decode(&encoded(Packet::Publish(over)));
    assert_eq!(refused, Err(DecodeError::TooLarge { bytes: MAX_PAYLOAD_BYTES + 1 }));
}

#[test]
fn bytes_fed_one_by_one_give_the_same_packets() {
    let mut wire = encoded(Packet::Connect(connect()));
    wire.extend(encoded(Packet::Publish(Publish::new("a/b", QoS::AtMostOnce, vec![1; 300]))));
    wire.extend(encoded(Packet::PingReq));
    let (mut codec, mut whole) = (PacketCodec::default(), BytesMut::from(&wire[..]));
    let mut expected = Vec::new();
    while let Some(packet) = codec.decode(&mut whole).unwrap() {
        expected.push(packet);
    }
    let (mut given, mut buffer) = (Vec::new(), BytesMut::new());
    for byte in wire {
        buffer.extend_from_slice(&[byte]);
        given.extend(codec.decode(&mut buffer).unwrap());
    }
    assert_eq!(given.len(), 3);
    assert_eq!(given, expected);
    assert!(buffer.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_never_panic_and_never_stall(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut codec, mut buffer) = (PacketCodec::default(), BytesMut::from(&bytes[..]));
        let mut left = buffer.len();
        while let Ok(Some(_)) = codec.decode(&mut buffer) {
            prop_assert!(buffer.len() < left, "a packet must consume bytes");
            left = buffer.len();
        }
    }

    #[test]
    fn a_framed_random_body_never_panics(first in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut frame = vec![first, u8::try_from(body.len()).unwrap()];
        frame.extend(&body);
        let framed_whole = !matches!(decode(&frame), Ok(None));
        prop_assert!(framed_whole, "a whole frame is a packet or an error");
    }

    #[test]
    fn a_connect_with_one_byte_changed_never_panics(at in 0_usize..60, to in any::<u8>()) {
        let mut bytes = encoded(Packet::Connect(connect()));
        let at = at % bytes.len();
        bytes[at] = to;
        if let Ok(Some(packet)) = decode(&bytes) {
            prop_assert!(matches!(packet, Packet::Connect(_)) || at == 0);
        }
    }
}
