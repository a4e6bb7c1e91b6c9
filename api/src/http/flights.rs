//! Flight records and crash reports as files to take along, for `voltree postmortem` and for bug reports.
//!
//! They hold what was said on a device's wire, so only the node's own pages and programs may fetch them.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use voltree_actors::fleet::FleetError;
use voltree_model::DeviceId;

use super::{Served, refusal};

/// A device's flight record as of now.
pub(super) async fn record(State(served): State<Served>, Path(device): Path<String>) -> Response {
    let device = match DeviceId::new(&device) {
        Ok(device) => device,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, "bad_device_id", error.to_string()),
    };
    answer(&format!("{device}-flight"), served.fleet.flights.flight_record(&device).await)
}

/// A crash report.
pub(super) async fn crash_report(State(served): State<Served>, Path(id): Path<String>) -> Response {
    let report = served.fleet.flights.crash_report(&id).await;
    answer(&id, report)
}

fn answer(name: &str, report: Result<Vec<u8>, FleetError>) -> Response {
    let text = match report {
        Ok(text) => text,
        Err(error @ (FleetError::UnknownDevice(_) | FleetError::UnknownReport(_))) => {
            return refusal(StatusCode::NOT_FOUND, "not_found", error.to_string());
        }
        Err(error) => {
            tracing::error!(%error, "a flight record could not be served");
            let why = "the report could not be read; the node's log says why";
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", why);
        }
    };
    // Whoever asks for a name that a header can't carry has been told that there is no such report.
    let disposition = format!("attachment; filename=\"voltree-{name}.json\"");
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, text).into_response()
}
