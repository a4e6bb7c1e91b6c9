use super::*;
use crate::mqtt::subscriptions::{Granted, RetainHandling};
use crate::mqtt::{ConnectProperties, LastWillProperties, SubscribeExtras, SubscribeOptions};

fn open_5(properties: ConnectProperties, admission: Admission) -> (Session, Vec<Effect>) {
    let now = start();
    let mut session = Session::new(Limits::default(), "spare", now);
    let packet = connect(|c| c.last_will = Some(LastWill::new("w", "gone", QoS::AtLeastOnce, false)));
    let will = LastWillProperties {
        delay_interval: Some(30),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: Some("text/plain".to_owned()),
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    };
    let extras = Extras::Connect(Box::new(properties), Some(Box::new(will)));
    assert!(matches!(session.on_packet(Received { packet, extras }, now)[..], [Effect::Admit(_)]));
    let effects = session.accept(admission, now);
    (session, effects)
}

fn open_plain() -> Session {
    open_5(ConnectProperties::new(), Admission::default()).0
}

fn aliased(topic: &str, alias: u16) -> Received {
    let mut publish = Publish::new(topic, QoS::AtMostOnce, "x");
    publish.pkid = 0;
    let properties = PublishProperties { topic_alias: Some(alias), ..PublishProperties::default() };
    Received { packet: Packet::Publish(publish), extras: Extras::Publish(Box::new(properties)) }
}

fn topic_of(effects: &[Effect]) -> &str {
    match effects {
        [Effect::Ingest { topic, properties: Some(said), .. }] if said.topic_alias.is_none() => topic,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_topic_that_was_named_once_may_be_named_by_its_number() {
    let (mut session, now) = (open_plain(), start());
    assert_eq!(topic_of(&session.on_packet(aliased("devices/a/telemetry", 3), now)), "devices/a/telemetry");
    assert_eq!(topic_of(&session.on_packet(aliased("", 3), now)), "devices/a/telemetry");
    assert_eq!(topic_of(&session.on_packet(aliased("devices/b/status", 3), now)), "devices/b/status");
    assert_eq!(topic_of(&session.on_packet(aliased("", 3), now)), "devices/b/status");
}

#[test]
fn a_number_that_means_nothing_or_was_not_offered_ends_the_connection() {
    for (alias, reason) in [
        (0, CloseReason::TopicAlias),
        (TOPIC_ALIAS_MAXIMUM + 1, CloseReason::TopicAlias),
        (TOPIC_ALIAS_MAXIMUM, CloseReason::UnexpectedPacket),
    ] {
        let mut session = open_plain();
        let told = Effect::Disconnect(reason.disconnect_code().unwrap());
        assert_eq!(session.on_packet(aliased("", alias), start()), [told, Effect::Close(reason)]);
    }
}

#[test]
fn an_acknowledgement_says_why_and_a_no_frees_the_packet_id() {
    let (mut session, now) = (open_plain(), start());
    let ticket = ingest(&mut session, qos_1(1), now);
    let no = |packet, reason| Effect::Answer { packet, reasons: vec![reason] };
    let expected = no(Packet::PubAck(PubAck::new(1)), reason_code::PAYLOAD_FORMAT_INVALID);
    assert_eq!(session.on_committed(ticket, reason_code::PAYLOAD_FORMAT_INVALID, now), [expected]);
    let ticket = ingest(&mut session, Packet::Publish(publish(QoS::ExactlyOnce, 2)), now);
    let expected = no(Packet::PubRec(PubRec::new(2)), reason_code::NOT_AUTHORIZED);
    assert_eq!(session.on_committed(ticket, reason_code::NOT_AUTHORIZED, now), [expected]);
    assert!(session.unreleased().is_empty());
    let ticket = ingest(&mut session, Packet::Publish(publish(QoS::ExactlyOnce, 2)), now);
    let expected = no(Packet::PubRec(PubRec::new(2)), reason_code::NO_MATCHING_SUBSCRIBERS);
    assert_eq!(session.on_committed(ticket, reason_code::NO_MATCHING_SUBSCRIBERS, now), [expected]);
    assert_eq!(session.unreleased().len(), 1, "that was a yes");
}

#[test]
fn a_client_of_3_1_1_is_told_no_reasons() {
    let now = start();
    let mut session = open(now);
    let ticket = ingest(&mut session, qos_1(1), now);
    assert_eq!(session.on_committed(ticket, reason_code::NOT_AUTHORIZED, now), [puback(1)]);
}

fn subscribe(filters: &[(&str, SubscribeOptions)], id: Option<u32>) -> Received {
    let named = filters.iter().map(|(path, _)| SubscribeFilter::new((*path).to_owned(), QoS::AtLeastOnce));
    let mut packet = Subscribe::new_many(named);
    packet.pkid = 5;
    let options = filters.iter().map(|(_, options)| *options).collect();
    let extras = Extras::Subscribe(Box::new(SubscribeExtras { id, options }));
    Received { packet: Packet::Subscribe(packet), extras }
}

#[test]
fn a_subscription_is_granted_with_its_options_and_refused_with_a_reason() {
    let now = start();
    let allowed = Some(vec![Filter::parse("a/#").unwrap()]);
    let subscribed = [Filter::parse("a/old").unwrap()].into();
    let admission = Admission { may_subscribe: allowed, subscribed, ..Admission::default() };
    let (mut session, _) = open_5(ConnectProperties::new(), admission);
    let if_new = SubscribeOptions { retained: RetainHandling::IfNew, ..SubscribeOptions::default() };
    let deaf =
        SubscribeOptions { no_local: true, retain_as_published: true, retained: RetainHandling::Never };
    let filters = [("a/old", if_new), ("a/new", if_new), ("a/deaf", deaf), ("b", deaf), ("a/#/b", deaf)];
    let effects = session.on_packet(subscribe(&filters, Some(7)), now);
    let [Effect::Answer { packet: Packet::SubAck(_), reasons }, Effect::Subscribed { filters }] =
        &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!(reasons, &[1, 1, 1, reason_code::NOT_AUTHORIZED, reason_code::TOPIC_FILTER_INVALID]);
    let owed: Vec<_> = filters.iter().map(|s| (s.filter.as_str(), s.owed_retained)).collect();
    assert_eq!(owed, [("a/old", false), ("a/new", true), ("a/deaf", false)]);
    let (qos, id) = (QoS::AtLeastOnce, Some(7));
    assert_eq!(filters[2].granted, Granted { qos, no_local: true, retain_as_published: true, id });
}

#[test]
fn a_shared_subscription_can_not_be_deaf_to_its_own_client() {
    let mut session = open_plain();
    let deaf = SubscribeOptions { no_local: true, ..SubscribeOptions::default() };
    session.on_packet(subscribe(&[("$share/g/a", deaf)], None), start());
    assert!(session.is_closed());
}

#[test]
fn a_session_has_no_more_filters_than_it_may() {
    let now = start();
    let limits = Limits { max_subscriptions: 1, ..Limits::default() };
    let mut session = open_with(limits, Admission::default(), now);
    let mut answer = |path| session.on_packet(subscribe(&[(path, SubscribeOptions::default())], None), now);
    assert_eq!(answer("a").len(), 2);
    assert_eq!(answer("a").len(), 2, "a known one is replaced");
    let refused = SubAck::new(5, vec![SubscribeReasonCode::Failure]);
    assert_eq!(answer("b"), [Effect::Send(Packet::SubAck(refused))]);
}

#[test]
fn an_unsubscribe_says_which_filters_there_were() {
    let (mut session, now) = (open_plain(), start());
    session.on_packet(subscribe(&[("a", SubscribeOptions::default())], None), now);
    let unsubscribe = Unsubscribe { pkid: 6, topics: ["a", "b", "a/#/b"].map(str::to_owned).to_vec() };
    let effects = session.on_packet(Packet::Unsubscribe(unsubscribe), now);
    let [Effect::Answer { reasons, .. }, Effect::Unsubscribed { filters }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(reasons, &[0, reason_code::NO_SUBSCRIPTION_EXISTED, reason_code::TOPIC_FILTER_INVALID]);
    assert_eq!(filters.len(), 2);
}

#[test]
fn what_is_larger_than_the_client_takes_is_not_sent_to_it() {
    let small = ConnectProperties { max_packet_size: Some(40), ..ConnectProperties::new() };
    let (mut session, _) = open_5(small.clone(), Admission::default());
    let mut deliver = |payload: &'static [u8], said: Option<&PublishProperties>| {
        session.deliver("a", Bytes::from_static(payload), QoS::AtLeastOnce, false, said)
    };
    assert!(deliver(b"small", None).is_ok());
    assert_eq!(deliver(&[0; 40], None), Err(NotDelivered::TooLarge));
    let said = PublishProperties { content_type: Some("x".repeat(40)), ..PublishProperties::default() };
    assert_eq!(deliver(b"small", Some(&said)), Err(NotDelivered::TooLarge), "properties count");
    let mut large = Publish::new("a", QoS::AtLeastOnce, vec![0; 40]);
    large.pkid = 9;
    let open = vec![OpenDelivery::Sent(large, None)];
    let (_, effects) = open_5(small, Admission { open, ..Admission::default() });
    assert_eq!(effects[1..], [Effect::TooLarge { pkid: 9 }]);
}

#[test]
fn a_repeated_delivery_keeps_its_properties() {
    let mut session = open_plain();
    let said = PublishProperties { content_type: Some("t".to_owned()), ..PublishProperties::default() };
    session.deliver("a", Bytes::new(), QoS::AtLeastOnce, false, Some(&said)).unwrap();
    let open = session.open_deliveries().cloned().collect();
    let (_, effects) = open_5(ConnectProperties::new(), Admission { open, ..Admission::default() });
    assert!(
        matches!(&effects[1..], [Effect::Repeat { publish, properties }] if publish.dup && **properties == said)
    );
}

#[test]
fn a_will_is_due_when_its_delay_or_its_session_ends() {
    let of = |seconds| {
        let lasting =
            ConnectProperties { session_expiry_interval: Some(seconds), ..ConnectProperties::new() };
        let terms = open_5(lasting, Admission::default()).0.will_terms().clone();
        assert_eq!(terms.properties.unwrap().content_type.as_deref(), Some("text/plain"));
        terms.delay
    };
    assert_eq!([of(0), of(10), of(3_600)], [Duration::ZERO, 10 * SECOND, 30 * SECOND]);
}

#[test]
fn a_disconnect_may_change_how_long_the_session_lasts_and_ask_for_the_will() {
    let bye = |seconds, with_will| Received {
        packet: Packet::Disconnect,
        extras: Extras::Disconnect(Farewell { with_will, session_expiry_s: seconds }),
    };
    let lasting = ConnectProperties { session_expiry_interval: Some(60), ..ConnectProperties::new() };
    let (mut session, _) = open_5(lasting, Admission::default());
    assert_eq!(
        session.on_packet(bye(Some(5), true), start()),
        [Effect::Close(CloseReason::DisconnectedWithWill)]
    );
    assert_eq!((session.session_expiry(), session.has_will()), (Some(5 * SECOND), true));
    let mut session = open_plain();
    let effects = session.on_packet(bye(Some(5), false), start());
    assert_eq!(effects.last(), Some(&Effect::Close(CloseReason::UnexpectedPacket)), "it was to end now");
}
