//! This room's metrics: how many requests were answered, how, and how fast.
//!
//! Labels come from closed sets: a route is the pattern that matched, never the path that was asked for.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{Unit, counter, histogram};
use voltree_runtime::metrics::{MetricInfo, MetricKind};

const REQUESTS: &str = "http_requests_total";
const DURATION: &str = "http_request_duration_seconds";

/// This room's metrics.
pub const METRICS: &[MetricInfo] = &[
    MetricInfo {
        name: REQUESTS,
        kind: MetricKind::Counter,
        unit: Unit::Count,
        help: "HTTP requests answered, by method, route and status; files and unknown paths have the route \"other\".",
        labels: &["method", "route", "status"],
    },
    MetricInfo {
        name: DURATION,
        kind: MetricKind::Histogram,
        unit: Unit::Seconds,
        help: "Time from a request's head to its answer's head.",
        labels: &["method", "route"],
    },
];

/// Counts one answered request.
pub(crate) fn answered(method: &Method, route: &str, status: StatusCode, took: Duration) {
    let method = method_label(method);
    let route = route.to_owned();
    let status = status.as_str().to_owned();
    counter!(REQUESTS, "method" => method, "route" => route.clone(), "status" => status).increment(1);
    histogram!(DURATION, "method" => method, "route" => route).record(took);
}

/// A client may invent methods; the label set stays closed.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invented_method_gets_no_label_of_its_own() {
        assert_eq!(method_label(&Method::POST), "POST");
        assert_eq!(method_label(&Method::from_bytes(b"BREW").unwrap()), "other");
    }
}
