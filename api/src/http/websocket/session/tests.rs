use super::*;
use async_graphql::{PathSegment, Pos, ServerError};

const INIT: &str = r#"{"type":"connection_init","payload":{"token":"x"}}"#;

fn introduced() -> Session {
    let mut session = Session::default();
    session.receive(INIT);
    session
}

fn subscribe(id: &str) -> String {
    json!({ "type": "subscribe", "id": id, "payload": { "query": "{ node { name } }", "variables": {} } })
        .to_string()
}

fn close_code(step: Step) -> u16 {
    let Step::Close(reason) = step else { panic!("expected a close, got {step:?}") };
    reason.code
}

fn error(path: Vec<PathSegment>) -> Answer {
    Answer::from_errors(vec![ServerError::new("no", Some(Pos::default())).with_path(path)])
}

#[test]
fn a_client_introduces_itself_once_and_then_subscribes() {
    let mut session = Session::default();
    assert!(matches!(session.receive(INIT), Step::Send(text) if text == r#"{"type":"connection_ack"}"#));
    let Step::Start { id, request } = session.receive(&subscribe("a")) else { panic!("did not start") };
    assert_eq!((id.as_str(), request.query.as_str()), ("a", "{ node { name } }"));
    assert_eq!(close_code(session.receive(INIT)), 4429);
}

#[test]
fn who_subscribes_before_introducing_itself_must_leave() {
    assert_eq!(close_code(Session::default().receive(&subscribe("a"))), 4401);
}

#[test]
fn what_is_no_message_of_the_protocol_ends_the_connection() {
    let no_query = r#"{"type":"subscribe","id":"a","payload":{}}"#;
    let no_id = r#"{"type":"subscribe","payload":{"query":"{ node { name } }"}}"#;
    for text in ["", "[]", "{", r#"{"type":"start"}"#, r#"{"id":"a"}"#, no_query, no_id, &subscribe("")] {
        assert_eq!(close_code(introduced().receive(text)), 4400, "{text}");
    }
}

#[test]
fn an_id_in_use_can_not_be_used_again_until_it_is_free() {
    let mut session = introduced();
    session.receive(&subscribe("a"));
    assert!(matches!(session.receive(r#"{"type":"complete","id":"a"}"#), Step::Stop(id) if id == "a"));
    assert!(matches!(session.receive(r#"{"type":"complete","id":"a"}"#), Step::Nothing));
    assert!(matches!(session.receive(&subscribe("a")), Step::Start { .. }));
    assert_eq!(close_code(session.receive(&subscribe("a"))), 4409);
}

#[test]
fn a_long_id_still_fits_into_a_close_frame() {
    let mut session = introduced();
    let id = "é".repeat(200);
    session.receive(&subscribe(&id));
    let Step::Close(reason) = session.receive(&subscribe(&id)) else { panic!("did not close") };
    assert!(reason.text.len() <= MAX_REASON_BYTES);
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let mut session = introduced();
    assert!(
        matches!(session.receive(r#"{"type":"ping"}"#), Step::Send(text) if text == r#"{"type":"pong"}"#)
    );
    let Step::Send(pong) = session.receive(r#"{"type":"ping","payload":{"at":1}}"#) else {
        panic!("no pong")
    };
    assert_eq!(pong, r#"{"payload":{"at":1},"type":"pong"}"#);
}

#[test]
fn a_question_that_can_not_run_is_one_error_and_a_failing_event_is_not_the_end() {
    let mut session = introduced();
    session.receive(&subscribe("a"));
    session.receive(&subscribe("b"));
    let failed =
        session.answered("a", &error(vec![PathSegment::Field("telemetryReceived".to_owned())])).unwrap();
    assert!(failed.contains(r#""type":"next""#), "{failed}");
    assert!(session.is_open("a"));
    let invalid = session.answered("b", &error(Vec::new())).unwrap();
    assert!(invalid.contains(r#""type":"error""#), "{invalid}");
    assert!(!session.is_open("b"));
    assert_eq!(session.ended("b"), None);
    assert_eq!(session.ended("a").as_deref(), Some(r#"{"id":"a","type":"complete"}"#));
}

#[test]
fn a_client_that_said_complete_hears_no_more_of_it() {
    let mut session = introduced();
    session.receive(&subscribe("a"));
    session.receive(r#"{"type":"complete","id":"a"}"#);
    assert_eq!(session.answered("a", &Answer::new(async_graphql::Value::Null)), None);
    assert_eq!(session.ended("a"), None);
}

#[test]
fn one_connection_watches_only_so_much() {
    let mut session = introduced();
    for number in 0..MAX_OPEN {
        assert!(matches!(session.receive(&subscribe(&number.to_string())), Step::Start { .. }));
    }
    let Step::Send(refused) = session.receive(&subscribe("more")) else { panic!("not refused") };
    assert!(refused.contains("TOO_MANY_SUBSCRIPTIONS"), "{refused}");
    assert!(!session.is_open("more"));
}
