//! Line protocol over HTTP: what writers are told.

use std::io::Write as _;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use voltree_actors::fleet::Precision;

use crate::support::{Answer, Api};

async fn post(api: &Api, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let request = Request::post(path).header("host", "127.0.0.1:8000");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    api.send(request.body(body.into()).unwrap()).await
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn what_telegraf_asks_before_it_writes_is_answered() {
    let api = Api::new();
    let ping = api.get("/ping").await;
    assert_eq!((ping.status, ping.header("x-influxdb-version")), (StatusCode::NO_CONTENT, "1.8-voltree"));
    let created = json!({ "results": [{ "statement_id": 0 }] });
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = post(&api, "/query", &form, "q=CREATE+DATABASE+%22telegraf%22").await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, created.clone()));
    let answer = post(&api, "/query?q=create%20database%20x", &[], "").await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, created));
    let answer = api.get("/query?q=SELECT%201").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.json()["error"].as_str().unwrap().contains("/graphql"), "{}", answer.body);
}

#[tokio::test]
async fn both_versions_write_and_gzip_is_unpacked() {
    let api = Api::new();
    let v1 = post(&api, "/write?db=x&precision=s&u=ann&p=secret", &[], "a,b=c d=1").await;
    assert_eq!((v1.status, v1.body.as_str()), (StatusCode::NO_CONTENT, ""));
    let token = [("authorization", "Token ann:secret"), ("content-encoding", "gzip")];
    let v2 = post(&api, "/api/v2/write?org=o&bucket=b&precision=ms", &token, gzip(b"a,b=c d=12")).await;
    assert_eq!(v2.status, StatusCode::NO_CONTENT, "{}", v2.body);
    let basic = [("authorization", "Basic YW5uOnNlY3JldA==")];
    post(&api, "/write", &basic, "a,b=c d=1").await;
    let login = || Some("ann secret".to_owned());
    let expected = [
        (9, Precision::Seconds, login()),
        (10, Precision::Milliseconds, login()),
        (9, Precision::Nanoseconds, login()),
    ];
    assert_eq!(api.fleet.written.lock()[..], expected);
}

#[tokio::test]
async fn every_refusal_says_what_is_wrong_and_whether_to_come_again() {
    let api = Api::new();
    let bad = post(&api, "/write", &[], "bad").await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    let message = "partial write: 1 of 5 lines were rejected: line 3: it has no fields";
    let expected = json!({ "error": message, "code": "invalid", "message": message, "line": 3,
        "lines": [{ "line": 3, "error": "it has no fields" }] });
    assert_eq!(bad.json(), expected);
    for (body, status) in [("busy", StatusCode::TOO_MANY_REQUESTS), ("slow", StatusCode::SERVICE_UNAVAILABLE)]
    {
        let answer = post(&api, "/write", &[], body).await;
        assert_eq!((answer.status, answer.header("retry-after")), (status, "5"));
    }
    let who = post(&api, "/write", &[], "who").await;
    assert_eq!(who.status, StatusCode::UNAUTHORIZED);
    assert!(who.header("www-authenticate").starts_with("Basic"));
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], StatusCode);
    let cases: [Case<'_>; 5] = [
        ("/write?precision=fortnight", &[], StatusCode::BAD_REQUEST),
        ("/write", &[("authorization", "Digest x")], StatusCode::UNAUTHORIZED),
        ("/write", &[("content-encoding", "br")], StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("/write", &[("content-encoding", "gzip")], StatusCode::BAD_REQUEST),
        ("/write", &[("origin", "http://evil.example")], StatusCode::FORBIDDEN),
    ];
    let before = api.fleet.written.lock().len();
    for (path, headers, status) in cases {
        let answer = post(&api, path, headers, "a,b=c d=1").await;
        assert_eq!(answer.status, status, "{path} {headers:?}");
        assert!(!answer.json()["error"].as_str().unwrap().is_empty());
    }
    assert_eq!(api.fleet.written.lock().len(), before, "nothing of them got to the door");
}

#[tokio::test]
async fn a_body_that_unpacks_to_more_than_is_read_is_refused() {
    let api = Api::new();
    let bomb = gzip(&vec![b'\n'; 17 * 1024 * 1024]);
    let answer = post(&api, "/write", &[("content-encoding", "gzip")], bomb).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let answer = post(&api, "/write", &[], vec![b'\n'; 17 * 1024 * 1024]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn how_far_back_a_device_is_kept_is_told_and_only_a_clear_wish_changes_it() {
    let api = Api::new();
    let path = |device: &str| format!("/api/v1/devices/{device}/retention");
    let answer = api.get(&path("pack-1")).await;
    assert_eq!(answer.json(), json!({ "device": "pack-1", "oldest": "2026-01-15T10:00:00Z" }));
    assert_eq!(api.get(&path("other")).await.json()["oldest"], json!(null));
    assert_eq!(api.get(&path("a%20b")).await.status, StatusCode::BAD_REQUEST);
    let put = async |body: &'static str| {
        let request = Request::put(path("pack-1")).header("host", "127.0.0.1").body(Body::from(body));
        api.send(request.unwrap()).await.status
    };
    assert_eq!(put("{\"keep\": \"forever\"}").await, StatusCode::OK);
    for wrong in ["", "{}", "{\"keep\": \"never\"}", "{\"keep\": \"forever\", \"more\": 1}"] {
        assert_eq!(put(wrong).await, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let request =
        Request::put(path("pack-1")).header("host", "127.0.0.1").header("origin", "http://evil.example");
    let foreign = api.send(request.body(Body::from("{\"keep\": \"forever\"}")).unwrap()).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
}
