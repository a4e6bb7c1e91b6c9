//! Everything beside GraphQL.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;

use crate::fleet::REPORT;
use crate::support::{Answer, Api};

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

/// What Firefox and Chromium send when somebody goes to an address.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn browse(api: &Api, path: &str) -> Answer {
    let request = Request::get(path).header("host", "127.0.0.1").header("accept", BROWSER);
    api.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn browsers_get_graphiql_where_programs_ask_and_its_files_are_the_nodes_own() {
    let api = Api::new();
    for path in ["/graphql", "/graphiql", "/graphiql/"] {
        let page = browse(&api, path).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (StatusCode::OK, "text/html; charset=utf-8"),
            "{path}"
        );
        let sources: Vec<_> = page
            .body
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("src=\"").or_else(|| word.strip_prefix("href=\"")))
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        assert!(sources.len() >= 2, "a script and a style sheet: {}", page.body);
        for source in sources {
            assert!(source.starts_with("/graphiql/assets/"), "{source}");
            let file = api.get(source).await;
            assert_eq!(file.status, StatusCode::OK, "{source}");
            assert_eq!(file.header("cache-control"), "public, max-age=31536000, immutable");
        }
    }
    assert_eq!(browse(&api, "/graphql").await.header("vary"), "accept");
    assert!(api.get("/graphiql/LICENSES.md").await.body.contains("GraphQL Contributors"));
}

#[tokio::test]
async fn programs_at_the_endpoint_never_get_a_page() {
    let api = Api::new();
    for accept in ["*/*", "application/json", "application/graphql-response+json"] {
        let request = Request::get("/graphql").header("host", "127.0.0.1").header("accept", accept);
        let answer = api.send(request.body(Body::empty()).unwrap()).await;
        assert!(answer.header("content-type").starts_with("text/plain"), "{accept}");
    }
    let link = browse(&api, "/graphql?query=%7B%20node%20%7B%20name%20%7D%20%7D").await;
    assert_eq!(link.status, StatusCode::METHOD_NOT_ALLOWED, "a link must not be able to ask");
    assert_eq!(api.get("/graphiql/assets/gone.js").await.status, StatusCode::NOT_FOUND);
    assert_eq!(api.get("/graphiql/..%2fpackage.json").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn flight_records_and_crash_reports_are_files_to_take_along() {
    let api = Api::new();
    for (path, name) in [
        ("/api/v1/devices/pack-1/flight-record", "voltree-pack-1-flight.json"),
        ("/api/v1/crash-reports/pack-1-1768471200000", "voltree-pack-1-1768471200000.json"),
    ] {
        let answer = api.get(path).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, REPORT), "{path}");
        assert_eq!(answer.header("content-disposition"), format!("attachment; filename=\"{name}\""));
    }
    for (path, status) in [
        ("/api/v1/devices/nobody/flight-record", StatusCode::NOT_FOUND),
        ("/api/v1/devices/no%20id/flight-record", StatusCode::BAD_REQUEST),
        ("/api/v1/crash-reports/..%2F..%2Fdevices", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(api.get(path).await.status, status, "{path}");
    }
    let foreign = Request::get("/api/v1/devices/pack-1/flight-record")
        .header("host", "127.0.0.1:8080")
        .header("origin", "http://evil.example");
    let answer = api.send(foreign.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "a foreign page may not have it");
}
