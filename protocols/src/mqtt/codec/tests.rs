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

/// A 5.0 client's packets as rumqttc writes them.
fn version_5(packets: &[rumqttc::v5::mqttbytes::v5::Packet]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for packet in packets {
        packet.write(&mut bytes, None).unwrap();
    }
    bytes
}

fn session_of_version_5() -> BytesMut {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{
        Connect, ConnectProperties, Filter, LastWill, Login, Packet, Publish, PublishProperties, Subscribe,
        Unsubscribe, UnsubscribeProperties,
    };
    let connect = Connect {
        keep_alive: 10,
        client_id: "pack-1".to_owned(),
        clean_start: false,
        properties: Some(ConnectProperties {
            session_expiry_interval: Some(60),
            receive_maximum: Some(5),
            user_properties: vec![("k".to_owned(), "v".to_owned())],
            ..ConnectProperties::new()
        }),
    };
    let will = LastWill::new("devices/pack-1/status", "offline", QoS::AtLeastOnce, true, None);
    let said = PublishProperties {
        message_expiry_interval: Some(30),
        content_type: Some("application/json".to_owned()),
        response_topic: Some("answers/1".to_owned()),
        correlation_data: Some("7".into()),
        user_properties: vec![("k".to_owned(), "v".to_owned())],
        ..PublishProperties::default()
    };
    let mut publish = Publish::new("é/x", QoS::ExactlyOnce, "payload", Some(said));
    publish.pkid = 7;
    let mut subscribe = Subscribe::new(Filter::new("a/#", QoS::AtLeastOnce), None);
    subscribe.pkid = 8;
    let properties = Some(UnsubscribeProperties { user_properties: Vec::new() });
    let unsubscribe = Unsubscribe { pkid: 9, filters: vec!["a/#".to_owned(), "b".to_owned()], properties };
    let mut bytes = version_5(&[
        Packet::Connect(connect, Some(will), Some(Login::new("user", "secret"))),
        Packet::Publish(publish),
        Packet::Subscribe(subscribe),
        Packet::Unsubscribe(unsubscribe),
    ]);
    // PUBACK with a reason, PINGREQ, and DISCONNECT in the three lengths that it may have.
    bytes.extend_from_slice(&[0x40, 3, 0, 3, 0x10, 0xC0, 0, 0xE0, 0, 0xE0, 1, 4, 0xE0, 2, 0, 0]);
    bytes
}

#[test]
fn a_client_of_version_5_is_understood_and_its_properties_are_kept() {
    let (mut codec, mut bytes) = (PacketCodec::default(), session_of_version_5());
    let mut received = Vec::new();
    while let Some(packet) = codec.receive(&mut bytes).unwrap() {
        received.push(packet);
    }
    let Extras::Connect(said, _) = &received[0].extras else { panic!("{:?}", received[0]) };
    assert_eq!((said.session_expiry_interval, said.receive_maximum), (Some(60), Some(5)));
    let mut expected = connect();
    (expected.keep_alive, expected.clean_session) = (10, false);
    assert_eq!(received[0].packet, Packet::Connect(expected));
    let Extras::Publish(said) = &received[1].extras else { panic!("{:?}", received[1]) };
    assert_eq!(said.content_type.as_deref(), Some("application/json"));
    assert_eq!(said.user_properties, [("k".to_owned(), "v".to_owned())]);
    assert!(matches!(&received[1].packet, Packet::Publish(p) if p.topic == "é/x" && p.pkid == 7));
    assert!(matches!(&received[2].packet, Packet::Subscribe(s) if s.filters[0].path == "a/#" && s.pkid == 8));
    let rest: Vec<_> = received[4..].iter().map(|received| received.packet.clone()).collect();
    let bye = Packet::Disconnect;
    assert_eq!(rest, [Packet::PubAck(PubAck::new(3)), Packet::PingReq, bye.clone(), bye.clone(), bye]);
    assert_eq!(received[7].extras, Extras::Disconnect(Farewell { with_will: true, session_expiry_s: None }));
    let mut answer = BytesMut::new();
    codec.encode(Packet::UnsubAck(rumqttc::UnsubAck::new(9)), &mut answer).unwrap();
    assert_eq!(&answer[..], [0xB0, 5, 0, 9, 0, 0, 0], "5.0 answers each filter");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_mutation_of_a_version_5_session_panics_or_stalls(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (mut codec, mut bytes) = (PacketCodec::default(), session_of_version_5());
        // The CONNECT must stay one, or nothing of 5.0 would be looked at.
        prop_assert!(codec.receive(&mut bytes).is_ok());
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        let mut left = bytes.len();
        while let Ok(Some(_)) = codec.receive(&mut bytes) {
            prop_assert!(bytes.len() < left, "a packet must consume bytes");
            left = bytes.len();
        }
    }
}
