//! Everything beside GraphQL.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;

use crate::support::Api;

#[tokio::test]
async fn the_process_lives_whatever_its_checks_say() {
    let api = Api::new();
    api.fleet.healthy.store(false, Ordering::Relaxed);
    let answer = api.get("/health/live").await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({ "status": "live" })));
}

#[tokio::test]
async fn readiness_names_the_check_that_fails() {
    let api = Api::new();
    let ready = api.get("/health/ready").await;
    assert_eq!((ready.status, &ready.json()["status"]), (StatusCode::OK, &json!("ready")));
    api.fleet.healthy.store(false, Ordering::Relaxed);
    let answer = api.get("/health/ready").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let expected = json!({ "status": "not_ready", "checks": [
        { "name": "journal", "ok": false, "detail": "the journal actor is parked" },
        { "name": "mqtt", "ok": true, "detail": "listening" },
    ]});
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let answer = Api::new().get("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(answer.body.ends_with("up 1\n"));
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_by_path() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let recording = metrics::set_default_local_recorder(&recorder);
    let api = Api::new();
    api.get("/health/live").await;
    api.get("/secret-path").await;
    api.ask("{ node { name } }").await;
    drop(recording);
    let text = recorder.handle().render();
    for line in [
        "http_requests_total{method=\"GET\",route=\"/health/live\",status=\"200\"} 1",
        "http_requests_total{method=\"GET\",route=\"other\",status=\"404\"} 1",
        "http_requests_total{method=\"POST\",route=\"/graphql\",status=\"200\"} 1",
        "http_request_duration_seconds_count{method=\"POST\",route=\"/graphql\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn an_unknown_path_is_json_and_a_wrong_method_too() {
    let api = Api::new();
    let answer = api.get("/nothing/here.txt").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(
        answer.json(),
        json!({ "error": "not_found", "message": "there is nothing at /nothing/here.txt" })
    );
    let answer = api.send(Request::put("/health/live").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.json()["error"], "method_not_allowed");
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_guard_browsers() {
    let api = Api::new();
    for path in ["/", "/health/live", "/metrics", "/graphql", "/nothing.txt"] {
        let answer = api.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert!(answer.header("content-security-policy").starts_with("default-src 'self';"), "{path}");
        let cached = answer.header("cache-control");
        assert!(["no-store", "no-cache"].contains(&cached), "{path}: {cached}");
    }
}

#[tokio::test]
async fn the_endpoint_explains_itself_to_whoever_opens_it() {
    let answer = Api::new().get("/graphql").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.contains("graphql-transport-ws"));
}
