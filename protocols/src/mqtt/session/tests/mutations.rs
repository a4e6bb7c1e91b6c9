//! Bytes of whole conversations with some of them changed, through codec and session, for both levels. Seconds by default;
//! `VOLTREE_MQTT_MUTATIONS=1000000` makes it a million packets a level.

use super::*;
use crate::mqtt::DecodeError;

/// What a client of 3.1.1 may say, CONNECT first.
fn conversation_of_3_1_1() -> BytesMut {
    let (mut codec, mut bytes) = (PacketCodec::default(), BytesMut::new());
    let mut subscribe = Subscribe::new("a/+/#", QoS::ExactlyOnce);
    subscribe.pkid = 8;
    let mut unsubscribe = Unsubscribe::new("a/b");
    unsubscribe.pkid = 9;
    let packets = [
        connect(|c| {
            c.last_will = Some(LastWill::new("w", "gone", QoS::AtLeastOnce, true));
            c.set_login("user", "secret");
        }),
        qos_1(1),
        Packet::Publish(publish(QoS::ExactlyOnce, 2)),
        Packet::PubRel(PubRel::new(2)),
        Packet::Subscribe(subscribe),
        Packet::Unsubscribe(unsubscribe),
        Packet::PubAck(PubAck::new(1)),
        Packet::PubRec(PubRec::new(2)),
        Packet::PubComp(PubComp::new(2)),
        Packet::PingReq,
        Packet::Disconnect,
    ];
    packets.into_iter().for_each(|packet| codec.encode(packet, &mut bytes).unwrap());
    bytes
}

/// What one of 5.0 may say.
fn conversation_of_5() -> BytesMut {
    use rumqttc::v5::mqttbytes::QoS as WireQoS;
    use rumqttc::v5::mqttbytes::v5 as wire;
    let properties = ConnectProperties {
        session_expiry_interval: Some(60),
        receive_maximum: Some(5),
        max_packet_size: Some(1_000),
        ..ConnectProperties::new()
    };
    let connect = wire::Connect {
        keep_alive: 10,
        client_id: "pack-1".to_owned(),
        clean_start: false,
        properties: Some(properties),
    };
    let will = wire::LastWill::new("w", "gone", WireQoS::AtLeastOnce, true, None);
    let said = |alias| PublishProperties {
        topic_alias: Some(alias),
        message_expiry_interval: Some(30),
        user_properties: vec![("k".to_owned(), "v".to_owned())],
        ..PublishProperties::default()
    };
    let publish = |topic: &str, pkid, alias| {
        let mut publish = wire::Publish::new(topic, WireQoS::ExactlyOnce, "payload", Some(said(alias)));
        publish.pkid = pkid;
        wire::Packet::Publish(publish)
    };
    let marked = wire::SubscribeProperties { id: Some(7), user_properties: Vec::new() };
    let filter = wire::Filter { nolocal: true, ..wire::Filter::new("a/#", WireQoS::AtLeastOnce) };
    let mut subscribe = wire::Subscribe::new(filter, Some(marked));
    subscribe.pkid = 8;
    let unsubscribe = wire::Unsubscribe { pkid: 9, filters: vec!["a/#".to_owned()], properties: None };
    let packets = [
        wire::Packet::Connect(connect, Some(will), Some(wire::Login::new("user", "secret"))),
        publish("é/x", 7, 3),
        publish("", 8, 3),
        wire::Packet::Subscribe(subscribe),
        wire::Packet::Unsubscribe(unsubscribe),
    ];
    let mut bytes = BytesMut::new();
    for packet in packets {
        packet.write(&mut bytes, None).unwrap();
    }
    // PUBACK with a reason, PUBREL, PINGREQ, and a DISCONNECT that changes the expiry.
    bytes.extend_from_slice(&[0x40, 3, 0, 3, 0x10, 0x62, 2, 0, 7, 0xC0, 0]);
    bytes.extend_from_slice(&[0xE0, 7, 4, 5, 0x11, 0, 0, 0, 9]);
    bytes
}

fn mutations() -> u32 {
    std::env::var("VOLTREE_MQTT_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000)
}

/// Lets a session hear these bytes to their end, with every publish committed at once.
fn hear(mut bytes: BytesMut) -> Result<(), TestCaseError> {
    let now = start();
    let mut codec = PacketCodec::default();
    let mut session = Session::new(Limits::default(), "spare", now);
    let mut left = bytes.len();
    while !session.is_closed() {
        let effects = match codec.receive(&mut bytes) {
            Ok(Some(packet)) => session.on_packet(packet, now),
            Ok(None) => break,
            Err(error) => session.on_bad_packet(error),
        };
        prop_assert!(session.is_closed() || bytes.len() < left, "a packet consumes bytes");
        left = bytes.len();
        for effect in effects {
            let mut written = BytesMut::new();
            match effect {
                Effect::Admit(_) => drop(session.accept(Admission::default(), now)),
                Effect::Ingest { ticket, .. } => {
                    session.on_committed(ticket, reason_code::NO_MATCHING_SUBSCRIBERS, now);
                }
                Effect::Send(packet) => prop_assert!(codec.encode(packet, &mut written).is_ok()),
                Effect::Answer { packet, reasons } => {
                    prop_assert!(codec.encode_reasons(packet, &reasons, &mut written).is_ok());
                }
                Effect::Repeat { .. }
                | Effect::Disconnect(_)
                | Effect::Subscribed { .. }
                | Effect::Unsubscribed { .. }
                | Effect::TooLarge { .. }
                | Effect::Delivered { .. }
                | Effect::Close(_) => {}
            }
        }
    }
    Ok(())
}

fn change(mut bytes: BytesMut, from: usize, changes: &[(prop::sample::Index, u8)]) -> BytesMut {
    for (at, to) in changes {
        let at = from + at.index(bytes.len() - from);
        bytes[at] = *to;
    }
    bytes
}

/// The CONNECT stays one in most cases, or little else would be looked at.
fn changes() -> impl Strategy<Value = (bool, Vec<(prop::sample::Index, u8)>)> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    (prop::bool::weighted(0.9), changes)
}

fn behind_connect(bytes: &BytesMut) -> usize {
    2 + usize::from(bytes[1])
}

#[test]
fn the_unchanged_conversations_are_heard_to_their_end() {
    for mut bytes in [conversation_of_3_1_1(), conversation_of_5()] {
        let mut codec = PacketCodec::default();
        let mut packets = 0;
        while let Some(_packet) =
            codec.receive(&mut bytes).unwrap_or_else(|error: DecodeError| panic!("{error}"))
        {
            packets += 1;
        }
        assert!(packets >= 9 && bytes.is_empty(), "{packets} packets");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(mutations()))]

    #[test]
    fn no_mutation_of_a_conversation_of_3_1_1_panics_or_stalls((after_connect, changes) in changes()) {
        let bytes = conversation_of_3_1_1();
        let from = if after_connect { behind_connect(&bytes) } else { 0 };
        hear(change(bytes, from, &changes))?;
    }

    #[test]
    fn no_mutation_of_a_conversation_of_5_panics_or_stalls((after_connect, changes) in changes()) {
        let bytes = conversation_of_5();
        let from = if after_connect { behind_connect(&bytes) } else { 0 };
        hear(change(bytes, from, &changes))?;
    }
}
