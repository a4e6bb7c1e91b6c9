use super::*;

fn slow() -> Limits {
    Limits { rate: Some(Rate { per_second: 2, burst: 3 }), ..Limits::default() }
}

#[test]
fn a_client_that_is_too_fast_is_read_more_slowly_and_loses_nothing() {
    let now = start();
    let mut session = open_with(slow(), Admission::default(), now);
    for pkid in 1..=3 {
        ingest(&mut session, qos_1(pkid), now);
        assert!(session.wants_read());
    }
    let ticket = ingest(&mut session, qos_1(4), now);
    assert!(!session.wants_read() && session.is_slowed());
    assert_eq!(session.poll_timeout(), Some(now + SECOND / 2));
    (1..=ticket).for_each(|ticket| assert_eq!(session.on_committed(ticket, 0, now).len(), 1));
    assert!(!session.wants_read(), "its acknowledgement does not make up for it");
    assert_eq!(session.on_timeout(now + SECOND / 2), []);
    assert!(session.wants_read());
}

#[test]
fn without_an_acknowledgement_that_could_be_late_a_publish_too_many_is_refused() {
    let now = start();
    let mut session = open_with(slow(), Admission::default(), now);
    let mut refused = || match &session.on_packet(Packet::Publish(publish(QoS::AtMostOnce, 0)), now)[..] {
        [Effect::Ingest { over_rate, .. }] => *over_rate,
        other => panic!("{other:?}"),
    };
    assert_eq!([refused(), refused(), refused(), refused()], [false, false, false, true]);
    assert!(session.wants_read());
}

#[test]
fn a_backlog_of_half_a_minute_ends_the_connection() {
    let mut now = start();
    let mut session = open_with(slow(), Admission::default(), now);
    let begin = now;
    for pkid in 1..1_000 {
        let effects = session.on_packet(qos_1(pkid), now);
        if session.is_closed() {
            assert_eq!(effects.last(), Some(&Effect::Close(CloseReason::Backlog)));
            assert!(now >= begin + 30 * SECOND && now < begin + 32 * SECOND);
            return;
        }
        session.on_committed(u64::from(pkid), 0, now);
        now = session.poll_timeout().filter(|_| session.is_slowed()).unwrap_or(now);
        session.on_timeout(now);
    }
    panic!("it went on for ever");
}
