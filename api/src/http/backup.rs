//! Ordering a backup of the running node: `voltree backup` leaves word in the data directory where to, and names it here.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::{Served, refusal};

/// The name of the word.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    request: String,
}

/// Takes a backup and answers when it is whole; a client that hangs up calls it off.
pub(super) async fn take(State(served): State<Served>, body: Bytes) -> Response {
    let order: Order = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, "bad_body", error.to_string()),
    };
    match served.fleet.backups.back_up(&order.request).await {
        Ok(done) => Json(json!({
            "buckets": done.buckets,
            "buckets_copied": done.buckets_copied,
            "bytes": done.bytes,
            "bytes_written": done.bytes_written,
        }))
        .into_response(),
        Err(error) => refusal(StatusCode::CONFLICT, "no_backup", error.to_string()),
    }
}
