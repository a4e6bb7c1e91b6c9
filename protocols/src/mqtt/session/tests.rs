use bytes::BytesMut;
use proptest::prelude::*;
use rumqttc::{
    LastWill, PubAck, PubComp, PubRec, PubRel, SubAck, Subscribe, SubscribeFilter, SubscribeReasonCode,
    UnsubAck, Unsubscribe,
};

use super::*;
use crate::mqtt::{PacketCodec, TopicError};

mod level_5;
mod mutations;
mod pace;

const SECOND: Duration = Duration::from_secs(1);

/// Any instant does: the session only compares the ones it is handed.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other source, and no test depends on which it is"
)]
fn start() -> Instant {
    Instant::now()
}

fn connect(change: impl FnOnce(&mut Connect)) -> Packet {
    let mut connect = Connect::new("pack-1");
    connect.keep_alive = 10;
    change(&mut connect);
    Packet::Connect(connect)
}

fn publish(qos: QoS, pkid: u16) -> Publish {
    let mut publish = Publish::new("devices/pack-1/telemetry", qos, format!("payload {pkid}"));
    publish.pkid = pkid;
    publish
}

fn qos_1(pkid: u16) -> Packet {
    Packet::Publish(publish(QoS::AtLeastOnce, pkid))
}

fn puback(pkid: u16) -> Effect {
    Effect::Send(Packet::PubAck(PubAck::new(pkid)))
}

fn open_with(limits: Limits, admission: Admission, now: Instant) -> Session {
    let mut session = Session::new(limits, "spare", now);
    assert!(matches!(session.on_packet(connect(|_| {}), now)[..], [Effect::Admit(_)]));
    assert!(matches!(session.accept(admission, now)[0], Effect::Send(Packet::ConnAck(_))));
    session
}

fn open(now: Instant) -> Session {
    open_with(Limits::default(), Admission::default(), now)
}

/// Hands in a publish that must be ingested and returns its ticket.
fn ingest(session: &mut Session, packet: Packet, now: Instant) -> u64 {
    match &session.on_packet(packet, now)[..] {
        [Effect::Ingest { ticket, .. }] => *ticket,
        other => panic!("not ingested: {other:?}"),
    }
}

fn assert_closes(effects: &[Effect], reason: &CloseReason) {
    assert_eq!(effects, [Effect::Close(reason.clone())]);
}

#[test]
fn a_connect_is_judged_by_the_caller_and_then_answered() {
    let now = start();
    let mut session = Session::new(Limits::default(), "spare", now);
    let will = LastWill::new("devices/pack-1/status", "offline", QoS::AtLeastOnce, true);
    let packet = connect(|c| {
        c.last_will = Some(will.clone());
        c.set_login("user", "secret");
    });
    let expected = ConnectRequest {
        client_id: "pack-1".to_owned(),
        clean_session: true,
        session_expiry: Some(Duration::ZERO),
        keep_alive: Some(10 * SECOND),
        credentials: Some(Credentials { username: "user".to_owned(), password: "secret".to_owned() }),
        will: Some(will),
    };
    let effects = session.on_packet(packet, now);
    assert!(!format!("{effects:?}").contains("secret"), "a password never reaches a log");
    assert_eq!(effects, [Effect::Admit(expected)]);
    assert!(!session.wants_read());
    let admission = Admission { session_present: true, ..Admission::default() };
    let answer = ConnAck::new(ConnectReturnCode::Success, true);
    assert_eq!(session.accept(admission, now), [Effect::Send(Packet::ConnAck(answer))]);
    assert!(session.wants_read());
}

#[test]
fn a_refused_client_learns_why_and_leaves_no_will() {
    for (refusal, code) in [
        (Refusal::BadCredentials, ConnectReturnCode::BadUserNamePassword),
        (Refusal::NotAuthorized, ConnectReturnCode::NotAuthorized),
        (Refusal::Unavailable, ConnectReturnCode::ServiceUnavailable),
    ] {
        let now = start();
        let mut session = Session::new(Limits::default(), "spare", now);
        let will = LastWill::new("a", "gone", QoS::AtMostOnce, false);
        session.on_packet(connect(|c| c.last_will = Some(will)), now);
        let expected = [Effect::Send(connack(code, false)), Effect::Close(CloseReason::Refused(refusal))];
        assert_eq!(session.refuse(refusal), expected);
        assert!(!session.has_will());
        assert_eq!(session.accept(Admission::default(), now), []);
    }
}

#[test]
fn the_first_packet_must_be_connect_and_no_other_may_be() {
    let now = start();
    for packet in [qos_1(1), Packet::PingReq, Packet::Disconnect] {
        let mut session = Session::new(Limits::default(), "spare", now);
        assert_closes(&session.on_packet(packet, now), &CloseReason::FirstPacketNotConnect);
    }
    assert_closes(&open(now).on_packet(connect(|_| {}), now), &CloseReason::SecondConnect);
}

#[test]
fn an_empty_client_id_needs_a_clean_session() {
    let now = start();
    let mut session = Session::new(Limits::default(), "spare", now);
    match &session.on_packet(connect(|c| c.client_id.clear()), now)[..] {
        [Effect::Admit(request)] => assert_eq!(request.client_id, "spare"),
        other => panic!("{other:?}"),
    }
    let mut session = Session::new(Limits::default(), "spare", now);
    let packet = connect(|c| {
        c.client_id.clear();
        c.clean_session = false;
    });
    let expected = [
        Effect::Send(connack(ConnectReturnCode::BadClientId, false)),
        Effect::Close(CloseReason::Refused(Refusal::ClientIdRejected)),
    ];
    assert_eq!(session.on_packet(packet, now), expected);
}

#[test]
fn another_mqtt_version_is_told_so_if_it_comes_first() {
    let error = DecodeError::UnsupportedProtocol { level: 5 };
    let mut session = Session::new(Limits::default(), "spare", start());
    let expected = [
        Effect::Send(connack(ConnectReturnCode::RefusedProtocolVersion, false)),
        Effect::Close(CloseReason::UnsupportedProtocol { level: 5 }),
    ];
    assert_eq!(session.on_bad_packet(error.clone()), expected);
    assert_closes(&open(start()).on_bad_packet(error.clone()), &CloseReason::BadPacket(error));
}

#[test]
fn what_comes_before_the_connack_waits_for_it() {
    let now = start();
    let mut session = Session::new(Limits::default(), "spare", now);
    session.on_packet(connect(|_| {}), now);
    assert_eq!(session.on_packet(qos_1(1), now), []);
    assert_eq!(session.on_packet(Packet::PingReq, now), []);
    let effects = session.accept(Admission::default(), now);
    assert!(
        matches!(
            effects[..],
            [
                Effect::Send(Packet::ConnAck(_)),
                Effect::Ingest { pkid: 1, .. },
                Effect::Send(Packet::PingResp)
            ]
        ),
        "{effects:?}"
    );
}

#[test]
fn a_connection_without_connect_ends_in_time() {
    let now = start();
    let mut session = Session::new(Limits::default(), "spare", now);
    assert_eq!(session.poll_timeout(), Some(now + 10 * SECOND));
    assert_eq!(session.on_timeout(now + 9 * SECOND), []);
    assert_closes(&session.on_timeout(now + 10 * SECOND), &CloseReason::ConnectTimeout);
    assert_eq!(session.poll_timeout(), None);
}

#[test]
fn silence_ends_the_connection_after_one_and_a_half_keep_alives() {
    let now = start();
    let mut session = open(now);
    assert_eq!(session.poll_timeout(), Some(now + 15 * SECOND));
    let pinged = now + 12 * SECOND;
    assert_eq!(session.on_packet(Packet::PingReq, pinged), [Effect::Send(Packet::PingResp)]);
    assert_eq!(session.on_timeout(now + 15 * SECOND), []);
    assert_closes(&session.on_timeout(pinged + 15 * SECOND), &CloseReason::KeepAliveTimeout);
}

#[test]
fn a_client_without_keep_alive_may_be_silent_for_ever() {
    let now = start();
    let mut session = Session::new(Limits::default(), "spare", now);
    session.on_packet(connect(|c| c.keep_alive = 0), now);
    session.accept(Admission::default(), now);
    assert_eq!(session.poll_timeout(), None);
    assert_eq!(session.on_timeout(now + 1_000_000 * SECOND), []);
}

#[test]
fn a_puback_leaves_only_after_the_commit() {
    let now = start();
    let mut session = open(now);
    let effects = session.on_packet(qos_1(7), now);
    let [
        Effect::Ingest { ticket, topic, payload, qos, dup, retain, pkid, properties: None, over_rate: false },
    ] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((topic.as_str(), &payload[..]), ("devices/pack-1/telemetry", &b"payload 7"[..]));
    assert_eq!((*qos, *dup, *retain, *pkid), (QoS::AtLeastOnce, false, false, 7));
    assert_eq!(session.on_committed(*ticket, 0, now), [puback(7)]);
    assert_eq!(session.on_committed(*ticket, 0, now), [], "an answer is given once");
}

#[test]
fn pubacks_leave_in_the_order_of_the_publishes() {
    let now = start();
    let mut session = open(now);
    let tickets: Vec<_> = [5, 3, 9].map(|pkid| ingest(&mut session, qos_1(pkid), now)).to_vec();
    assert_eq!(session.on_committed(tickets[2], 0, now), []);
    assert_eq!(session.on_committed(tickets[1], 0, now), []);
    assert_eq!(session.on_committed(tickets[0], 0, now), [puback(5), puback(3), puback(9)]);
}

#[test]
fn qos_0_is_never_answered_and_holds_nothing_back() {
    let now = start();
    let mut session = open(now);
    let first = ingest(&mut session, Packet::Publish(publish(QoS::AtMostOnce, 0)), now);
    let second = ingest(&mut session, qos_1(1), now);
    assert_eq!(session.unacked(), 1);
    assert_eq!(session.on_committed(second, 0, now), [puback(1)]);
    assert_eq!(session.on_committed(first, 0, now), []);
}

#[test]
fn a_repetition_of_a_waiting_publish_is_taken_in_once() {
    let now = start();
    let mut session = open(now);
    let ticket = ingest(&mut session, qos_1(4), now);
    let repetition = || {
        let mut again = publish(QoS::AtLeastOnce, 4);
        again.dup = true;
        Packet::Publish(again)
    };
    assert_eq!(session.on_packet(repetition(), now), []);
    assert_eq!(session.on_committed(ticket, 0, now), [puback(4)]);
    // Answered, so we know nothing of it any more: the same id may be a repetition whose PUBACK was lost.
    assert_ne!(ingest(&mut session, repetition(), now), ticket);
}

#[test]
fn a_packet_id_reused_too_early_loses_no_message() {
    let now = start();
    let mut session = open(now);
    let first = ingest(&mut session, qos_1(1), now);
    let second = ingest(&mut session, qos_1(1), now);
    assert_eq!(session.on_committed(second, 0, now), []);
    assert_eq!(session.on_committed(first, 0, now), [puback(1), puback(1)]);
}

#[test]
fn reading_stops_while_too_many_publishes_wait_and_the_clock_stands_still() {
    let now = start();
    let mut session = open_with(Limits { max_unacked: 2, ..Limits::default() }, Admission::default(), now);
    let first = ingest(&mut session, qos_1(1), now);
    assert!(session.wants_read());
    ingest(&mut session, qos_1(2), now);
    assert!(!session.wants_read());
    assert_eq!(session.poll_timeout(), None);
    let much_later = now + 100 * SECOND;
    assert_eq!(session.on_timeout(much_later), []);
    assert_eq!(session.on_committed(first, 0, much_later), [puback(1)]);
    assert!(session.wants_read());
    assert_eq!(session.poll_timeout(), Some(much_later + 15 * SECOND));
}

#[test]
fn reading_stops_while_the_caller_holds_it() {
    let now = start();
    let mut session = open(now);
    session.hold();
    assert!(!session.wants_read());
    assert_eq!(session.on_timeout(now + 100 * SECOND), []);
    session.release(now + 100 * SECOND);
    assert_eq!(session.poll_timeout(), Some(now + 115 * SECOND));
    session.release(now + 110 * SECOND);
    assert_eq!(session.poll_timeout(), Some(now + 115 * SECOND), "nothing was held, so nothing restarts");
}

#[test]
fn what_can_not_be_served_closes_the_connection() {
    let now = start();
    let with_topic = |topic: &str| Packet::Publish(Publish::new(topic, QoS::AtMostOnce, "x"));
    let cases = [
        (Packet::PingResp, CloseReason::UnexpectedPacket),
        (with_topic("a/#"), CloseReason::BadTopic(TopicError::Wildcard { found: '#' })),
        (with_topic(""), CloseReason::BadTopic(TopicError::Empty)),
        (with_topic("a\0"), CloseReason::BadTopic(TopicError::Nul)),
    ];
    for (packet, reason) in cases {
        let mut session = open(now);
        assert_closes(&session.on_packet(packet, now), &reason);
        assert_eq!(session.on_packet(qos_1(1), now), [], "nothing comes after the end");
    }
}

#[test]
fn a_will_stands_unless_the_client_says_goodbye() {
    let now = start();
    let will = LastWill::new("devices/pack-1/status", "offline", QoS::AtLeastOnce, true);
    let with_will = || {
        let mut session = Session::new(Limits::default(), "spare", now);
        session.on_packet(connect(|c| c.last_will = Some(will.clone())), now);
        session.accept(Admission::default(), now);
        session
    };
    let mut polite = with_will();
    assert_closes(&polite.on_packet(Packet::Disconnect, now), &CloseReason::Disconnected);
    assert!(!polite.has_will());
    let mut lost = with_will();
    assert_closes(&lost.close(CloseReason::ConnectionLost), &CloseReason::ConnectionLost);
    assert!(lost.has_will());
    assert_eq!(lost.close(CloseReason::ShuttingDown), [], "it ends once");
    let mut session = Session::new(Limits::default(), "spare", now);
    let bad = connect(|c| c.last_will = Some(LastWill::new("a/+", "x", QoS::AtMostOnce, false)));
    let wildcard = CloseReason::BadTopic(TopicError::Wildcard { found: '+' });
    assert_closes(&session.on_packet(bad, now), &wildcard);
}

#[test]
fn no_puback_leaves_after_the_end() {
    let now = start();
    let mut session = open(now);
    let ticket = ingest(&mut session, qos_1(1), now);
    session.on_packet(Packet::Disconnect, now);
    assert_eq!(session.on_committed(ticket, 0, now), []);
}

fn subscription(text: &str, qos: QoS) -> Subscription {
    Subscription { filter: Filter::parse(text).unwrap(), granted: qos.into(), owed_retained: true }
}

#[test]
fn a_subscription_is_answered_filter_by_filter() {
    let now = start();
    let filter = |text: &str| Filter::parse(text).unwrap();
    let admission =
        Admission { may_subscribe: Some(vec![filter("devices/pack-1/#")]), ..Admission::default() };
    let mut session = open_with(Limits::default(), admission, now);
    let requested = [
        ("devices/pack-1/commands", QoS::ExactlyOnce),
        ("devices/pack-2/commands", QoS::AtLeastOnce),
        ("devices/pack-1/#/x", QoS::AtLeastOnce),
        ("devices/pack-1/config", QoS::AtMostOnce),
        (NODE_TOPIC, QoS::AtMostOnce),
    ];
    let mut subscribe =
        Subscribe::new_many(requested.map(|(path, qos)| SubscribeFilter::new(path.to_owned(), qos)));
    subscribe.pkid = 12;
    let codes = vec![
        SubscribeReasonCode::Success(QoS::ExactlyOnce),
        SubscribeReasonCode::Failure,
        SubscribeReasonCode::Failure,
        SubscribeReasonCode::Success(QoS::AtMostOnce),
        SubscribeReasonCode::Success(QoS::AtMostOnce),
    ];
    let filters = vec![
        subscription("devices/pack-1/commands", QoS::ExactlyOnce),
        subscription("devices/pack-1/config", QoS::AtMostOnce),
        subscription(NODE_TOPIC, QoS::AtMostOnce),
    ];
    let expected = [Effect::Send(Packet::SubAck(SubAck::new(12, codes))), Effect::Subscribed { filters }];
    assert_eq!(session.on_packet(Packet::Subscribe(subscribe), now), expected);
}

#[test]
fn a_client_without_limits_may_subscribe_to_everything() {
    let mut subscribe = Subscribe::new("#", QoS::AtLeastOnce);
    subscribe.pkid = 1;
    let effects = open(start()).on_packet(Packet::Subscribe(subscribe), start());
    assert!(matches!(&effects[1], Effect::Subscribed { filters } if filters.len() == 1));
}

#[test]
fn an_unsubscribe_is_always_answered() {
    let now = start();
    let mut session = open(now);
    let mut unsubscribe = Unsubscribe::new("never/had");
    unsubscribe.pkid = 3;
    unsubscribe.topics.push("bad#".to_owned());
    let expected = [
        Effect::Send(Packet::UnsubAck(UnsubAck::new(3))),
        Effect::Unsubscribed { filters: vec![Filter::parse("never/had").unwrap()] },
    ];
    assert_eq!(session.on_packet(Packet::Unsubscribe(unsubscribe), now), expected);
}

/// Delivers at QoS 1 and returns the packet id.
fn delivered(session: &mut Session) -> Result<u16, NotDelivered> {
    let payload = Bytes::from_static(b"{}");
    let packet = session.deliver("devices/pack-1/commands", payload, QoS::AtLeastOnce, false, None)?;
    let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
    assert_eq!((publish.qos, publish.dup), (QoS::AtLeastOnce, false));
    Ok(publish.pkid)
}

#[test]
fn deliveries_have_a_window_and_free_it_when_acknowledged() {
    let now = start();
    let mut session = open_with(Limits { max_in_flight: 2, ..Limits::default() }, Admission::default(), now);
    assert_eq!((delivered(&mut session), delivered(&mut session)), (Ok(1), Ok(2)));
    assert_eq!(delivered(&mut session), Err(NotDelivered::WindowFull));
    let loose = session.deliver("a", Bytes::new(), QoS::AtMostOnce, true, None).unwrap();
    assert!(matches!(loose, Packet::Publish(p) if p.pkid == 0 && p.retain), "QoS 0 needs no room");
    assert_eq!(session.on_packet(Packet::PubAck(PubAck::new(9)), now), [], "a stray answer means nothing");
    assert_eq!(session.on_packet(Packet::PubAck(PubAck::new(1)), now), [Effect::Delivered { pkid: 1 }]);
    assert_eq!(delivered(&mut session), Ok(3));
    assert_eq!(session.open_deliveries().map(OpenDelivery::pkid).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn packet_ids_go_round_without_touching_one_in_use() {
    let now = start();
    let mut session = open(now);
    assert_eq!(delivered(&mut session), Ok(1));
    for expected in 2..=u16::MAX {
        assert_eq!(delivered(&mut session), Ok(expected));
        session.on_packet(Packet::PubAck(PubAck::new(expected)), now);
    }
    assert_eq!(delivered(&mut session), Ok(2), "0 is no id and 1 is in use");
}

#[test]
fn a_message_is_delivered_only_to_a_client_that_is_in() {
    let now = start();
    let mut session = Session::new(Limits::default(), "spare", now);
    assert_eq!(delivered(&mut session), Err(NotDelivered::NotConnected));
    let mut session = open(now);
    let bad = session.deliver("a/#", Bytes::new(), QoS::AtMostOnce, false, None);
    assert_eq!(bad, Err(NotDelivered::BadTopic(TopicError::Wildcard { found: '#' })));
    session.close(CloseReason::TakenOver);
    assert_eq!(delivered(&mut session), Err(NotDelivered::NotConnected));
}

#[test]
fn what_an_earlier_connection_left_open_is_sent_again_under_its_id() {
    let now = start();
    let mut earlier = open(now);
    for _ in 0..3 {
        delivered(&mut earlier).unwrap();
    }
    earlier.on_packet(Packet::PubAck(PubAck::new(2)), now);
    earlier.close(CloseReason::ConnectionLost);
    let open: Vec<_> = earlier.open_deliveries().cloned().collect();

    let mut later = Session::new(Limits::default(), "spare", now);
    later.on_packet(connect(|c| c.clean_session = false), now);
    let effects = later.accept(Admission { open, ..Admission::default() }, now);
    let sent: Vec<_> = effects
        .iter()
        .filter_map(|effect| {
            let Effect::Send(Packet::Publish(publish)) = effect else { return None };
            Some((publish.pkid, publish.dup))
        })
        .collect();
    assert_eq!(sent, [(1, true), (3, true)]);
    assert_eq!(delivered(&mut later), Ok(4));
    assert_eq!(later.on_packet(Packet::PubAck(PubAck::new(3)), now), [Effect::Delivered { pkid: 3 }]);
}

#[test]
fn a_publish_of_qos_2_is_taken_in_once_until_it_is_released() {
    let now = start();
    let mut session = open(now);
    let qos_2 = |pkid| Packet::Publish(publish(QoS::ExactlyOnce, pkid));
    let send = |packet| [Effect::Send(packet)];
    let ticket = ingest(&mut session, qos_2(7), now);
    assert_eq!(session.on_packet(qos_2(7), now), [], "its PUBREC will answer both");
    assert_eq!(session.on_committed(ticket, 0, now), send(Packet::PubRec(PubRec::new(7))));
    assert_eq!(session.on_packet(qos_2(7), now), send(Packet::PubRec(PubRec::new(7))), "the answer was lost");
    assert_eq!(session.unreleased().iter().collect::<Vec<_>>(), [&7]);

    let mut later = Session::new(Limits::default(), "spare", now);
    later.on_packet(connect(|c| c.clean_session = false), now);
    later.accept(Admission { unreleased: session.unreleased().clone(), ..Admission::default() }, now);
    assert_eq!(
        later.on_packet(qos_2(7), now),
        send(Packet::PubRec(PubRec::new(7))),
        "across a connection too"
    );
    assert_eq!(later.on_packet(Packet::PubRel(PubRel::new(7)), now), send(Packet::PubComp(PubComp::new(7))));
    assert_eq!(later.on_packet(Packet::PubRel(PubRel::new(7)), now), send(Packet::PubComp(PubComp::new(7))));
    ingest(&mut later, qos_2(7), now);
    assert_closes(&later.on_packet(Packet::PubRel(PubRel::new(7)), now), &CloseReason::UnexpectedPacket);
}

#[test]
fn a_delivery_of_qos_2_ends_with_pubcomp_and_its_payload_is_never_sent_twice_after_pubrec() {
    let now = start();
    let mut session = open(now);
    session.deliver("a", Bytes::from_static(b"x"), QoS::ExactlyOnce, false, None).unwrap();
    let rel = Packet::PubRel(PubRel::new(1));
    assert_eq!(session.on_packet(Packet::PubAck(PubAck::new(1)), now), [], "PUBACK does not end it");
    assert_eq!(session.on_packet(Packet::PubComp(PubComp::new(1)), now), [], "nor PUBCOMP before PUBREC");
    assert_eq!(session.on_packet(Packet::PubRec(PubRec::new(1)), now), [Effect::Send(rel.clone())]);
    let open: Vec<_> = session.open_deliveries().cloned().collect();
    assert_eq!(open, [OpenDelivery::Released(1)]);

    let mut later = Session::new(Limits::default(), "spare", now);
    later.on_packet(connect(|c| c.clean_session = false), now);
    let effects = later.accept(Admission { open, ..Admission::default() }, now);
    assert_eq!(effects[1..], [Effect::Send(rel)]);
    assert_eq!(later.on_packet(Packet::PubComp(PubComp::new(1)), now), [Effect::Delivered { pkid: 1 }]);
    assert_eq!(later.open_deliveries().count(), 0);
}

/// What may happen to an open session, in any order.
#[derive(Debug, Clone)]
enum Step {
    Packet(Packet),
    /// Commits one of the tickets given out so far.
    Commit(prop::sample::Index),
    Deliver(QoS),
    Hold,
    Release,
    Wait(u32),
}

fn some_qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn some_publish() -> impl Strategy<Value = Packet> {
    (some_qos(), 1_u16..8, any::<bool>()).prop_map(|(qos, pkid, dup)| {
        let mut publish = publish(qos, if qos == QoS::AtMostOnce { 0 } else { pkid });
        publish.dup = dup;
        Packet::Publish(publish)
    })
}

fn some_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => some_publish().prop_map(Step::Packet),
        8 => any::<prop::sample::Index>().prop_map(Step::Commit),
        2 => some_qos().prop_map(Step::Deliver),
        2 => (1_u16..8).prop_map(|pkid| Step::Packet(Packet::PubAck(PubAck::new(pkid)))),
        2 => (1_u16..8).prop_map(|pkid| Step::Packet(Packet::PubRec(PubRec::new(pkid)))),
        2 => (1_u16..8).prop_map(|pkid| Step::Packet(Packet::PubComp(PubComp::new(pkid)))),
        1 => Just(Step::Packet(Packet::PingReq)),
        1 => Just(Step::Hold),
        1 => Just(Step::Release),
        1 => (0_u32..4).prop_map(Step::Wait),
    ]
}

/// Notes from outside what went in and what came out, and judges each answer against it.
#[derive(Default)]
struct Witness {
    /// Ticket, the answer it is owed, and whether it was committed, for every ingested publish of QoS 1 and 2.
    taken: Vec<(u64, Packet, bool)>,
    tickets: Vec<u64>,
    answered: usize,
}

impl Witness {
    fn see(&mut self, effects: &[Effect]) -> Result<(), TestCaseError> {
        for effect in effects {
            match effect {
                Effect::Ingest { ticket, qos, pkid, .. } => {
                    prop_assert!(self.tickets.last().is_none_or(|last| last < ticket));
                    self.tickets.push(*ticket);
                    match qos {
                        QoS::AtMostOnce => {}
                        QoS::AtLeastOnce => {
                            self.taken.push((*ticket, Packet::PubAck(PubAck::new(*pkid)), false))
                        }
                        QoS::ExactlyOnce => {
                            self.taken.push((*ticket, Packet::PubRec(PubRec::new(*pkid)), false))
                        }
                    }
                }
                Effect::Send(answer @ (Packet::PubAck(_) | Packet::PubRec(_))) => {
                    let again = self.taken.iter().take(self.answered).any(|taken| taken.1 == *answer);
                    let Some((_, owed, committed)) = self.taken.get(self.answered) else {
                        prop_assert!(again, "an answer without a publish");
                        continue;
                    };
                    if owed == answer && *committed {
                        self.answered += 1;
                    } else {
                        prop_assert!(
                            again,
                            "answers keep the order of the publishes, and none comes before its commit"
                        );
                        prop_assert!(matches!(answer, Packet::PubRec(_)), "only PUBREC is repeated");
                    }
                }
                Effect::Close(reason) => prop_assert_eq!(reason, &CloseReason::KeepAliveTimeout),
                Effect::Admit(_)
                | Effect::Send(_)
                | Effect::Answer { .. }
                | Effect::Repeat { .. }
                | Effect::TooLarge { .. }
                | Effect::Disconnect(_)
                | Effect::Subscribed { .. }
                | Effect::Unsubscribed { .. }
                | Effect::Delivered { .. } => {}
            }
        }
        Ok(())
    }

    fn commit(&mut self, ticket: u64) {
        self.taken.iter_mut().filter(|taken| taken.0 == ticket).for_each(|taken| taken.2 = true);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_committed_publish_is_answered_once_and_in_order(
        steps in prop::collection::vec(some_step(), 0..120),
    ) {
        let mut now = start();
        let limits = Limits { max_unacked: 5, max_in_flight: 3, rate: None, ..Limits::default() };
        let mut session = open_with(limits, Admission::default(), now);
        let mut witness = Witness::default();
        for step in steps {
            let effects = match step {
                Step::Packet(packet) if session.wants_read() => session.on_packet(packet, now),
                Step::Packet(_) => vec![],
                Step::Commit(_) if witness.tickets.is_empty() => vec![],
                Step::Commit(which) => {
                    let ticket = *which.get(&witness.tickets);
                    witness.commit(ticket);
                    session.on_committed(ticket, 0, now)
                }
                Step::Deliver(qos) => {
                    if let Err(error) = session.deliver("a", Bytes::new(), qos, false, None) {
                        prop_assert!(matches!(error, NotDelivered::WindowFull | NotDelivered::NotConnected));
                    }
                    vec![]
                }
                Step::Hold => { session.hold(); vec![] }
                Step::Release => { session.release(now); vec![] }
                Step::Wait(seconds) => { now += seconds * SECOND; session.on_timeout(now) }
            };
            witness.see(&effects)?;
            prop_assert!(session.unacked() <= 5);
            prop_assert!(session.open_deliveries().count() <= 3);
            if !session.is_closed() {
                prop_assert_eq!(session.unacked(), witness.taken.len() - witness.answered);
            }
        }
        if session.is_closed() {
            return Ok(());
        }
        for ticket in witness.tickets.clone() {
            witness.commit(ticket);
            let effects = session.on_committed(ticket, 0, now);
            witness.see(&effects)?;
        }
        prop_assert_eq!(witness.answered, witness.taken.len(), "at rest everything is answered");
    }

    #[test]
    fn random_bytes_through_codec_and_session_never_panic(
        connect_first in any::<bool>(),
        frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..30),
    ) {
        let now = start();
        let (mut codec, mut bytes) = (PacketCodec::default(), BytesMut::new());
        if connect_first {
            codec.encode(connect(|_| {}), &mut bytes).unwrap();
        }
        for (first, body) in frames {
            bytes.extend_from_slice(&[first, u8::try_from(body.len()).unwrap()]);
            bytes.extend_from_slice(&body);
        }
        let mut session = Session::new(Limits::default(), "spare", now);
        while !session.is_closed() {
            let effects = match codec.decode(&mut bytes) {
                Ok(Some(packet)) => session.on_packet(packet, now),
                Ok(None) => break,
                Err(error) => session.on_bad_packet(error),
            };
            let closes = effects.iter().filter(|effect| matches!(effect, Effect::Close(_))).count();
            prop_assert_eq!(closes, usize::from(session.is_closed()), "the end is told once");
            if effects.iter().any(|effect| matches!(effect, Effect::Admit(_))) {
                session.accept(Admission::default(), now);
            }
        }
    }
}
