//! How far back a device's readings are kept, for whoever wants to bring old ones.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use voltree_model::DeviceId;

use super::{Served, refusal};

/// What may be asked for: `{"keep": "forever"}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    keep: Keep,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Keep {
    Forever,
}

/// The first moment of which a reading is not refused as too old; null if none is.
pub(super) async fn oldest(State(served): State<Served>, Path(device): Path<String>) -> Response {
    match DeviceId::new(&device) {
        Ok(device) => answer(&served, &device),
        Err(error) => refusal(StatusCode::BAD_REQUEST, "bad_device_id", error.to_string()),
    }
}

/// Keeps everything of a device for ever.
pub(super) async fn keep(State(served): State<Served>, Path(device): Path<String>, body: Bytes) -> Response {
    let device = match DeviceId::new(&device) {
        Ok(device) => device,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, "bad_device_id", error.to_string()),
    };
    match serde_json::from_slice(&body) {
        Ok(Wish { keep: Keep::Forever }) => {}
        Err(error) => {
            let message = format!("the body must be {{\"keep\": \"forever\"}}: {error}");
            return refusal(StatusCode::BAD_REQUEST, "bad_body", message);
        }
    }
    match served.fleet.writes.keep_for_ever(device.clone()).await {
        Ok(()) => {
            tracing::warn!(event = "retention.kept", %device, "everything of this device is kept for ever from now on");
            answer(&served, &device)
        }
        Err(error) => {
            tracing::error!(%error, "a device could not be kept");
            refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "it could not be written down; the log says why",
            )
        }
    }
}

fn answer(served: &Served, device: &DeviceId) -> Response {
    let oldest = served.fleet.writes.oldest_kept(device);
    let body = json!({ "device": device.as_str(), "oldest": oldest.map(|at| at.to_string()) });
    Json(body).into_response()
}
