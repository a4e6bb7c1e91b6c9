//! What machines ask: does the process live, can it serve, and how does it do?

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Served;

/// The text format that Prometheus scrapes.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The process runs: that it answers is the answer.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// 200 if everything holds that the node needs in order to serve, 503 with what is missing otherwise.
pub(super) async fn ready(State(served): State<Served>) -> Response {
    let checks = served.fleet.health.checks();
    let ok = checks.iter().all(|check| check.ok);
    let (status, word) =
        if ok { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    let checks: Vec<_> = checks
        .iter()
        .map(|check| json!({ "name": check.name, "ok": check.ok, "detail": check.detail }))
        .collect();
    (status, Json(json!({ "status": word, "checks": checks }))).into_response()
}

/// The node's metrics. Measuring what the disk holds walks directories, so it is done where it may block.
pub(super) async fn metrics(State(served): State<Served>) -> Response {
    match tokio::task::spawn_blocking(move || (served.metrics)()).await {
        Ok(text) => ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "measuring for /metrics failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
