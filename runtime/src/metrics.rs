//! How metrics are described, and this room's own. Each room has such a list; the root joins them into one table.

use metrics::Unit;
pub use metrics_exporter_prometheus::PrometheusHandle as MetricsHandle;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder};

use crate::{ActorStatus, Directory};

/// Counter of supervision events by event, kind of actor and reason.
pub const SUPERVISION_EVENTS: &str = "runtime_supervision_events_total";
/// Gauge of running actors.
pub const ACTORS: &str = "runtime_actors";
/// Gauge of threads that actors hold which were given up.
pub const STUCK_THREADS: &str = "runtime_stuck_threads";

/// Counter of injected faults that struck.
pub const FAULTS: &str = "runtime_faults_injected_total";

/// This room's metrics.
pub const METRICS: &[MetricInfo] = &[
    MetricInfo {
        name: SUPERVISION_EVENTS,
        kind: MetricKind::Counter,
        unit: Unit::Count,
        help: "Supervision events since the process started.",
        labels: &["event", "kind", "reason"],
    },
    MetricInfo {
        name: ACTORS,
        kind: MetricKind::Gauge,
        unit: Unit::Count,
        help: "Actors in the tree, by status.",
        labels: &["status"],
    },
    MetricInfo {
        name: FAULTS,
        kind: MetricKind::Counter,
        unit: Unit::Count,
        help: "Injected faults that struck, by point and kind.",
        labels: &["point", "kind"],
    },
    MetricInfo {
        name: STUCK_THREADS,
        kind: MetricKind::Gauge,
        unit: Unit::Count,
        help: "Threads held by actors that spin and were given up.",
        labels: &[],
    },
];

/// What Prometheus makes of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only ever rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets.
    Histogram,
}

/// One line of the metric table.
#[derive(Debug, Clone, Copy)]
pub struct MetricInfo {
    /// Its name as scraped.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// What it counts in.
    pub unit: Unit,
    /// One sentence for whoever reads /metrics.
    pub help: &'static str,
    /// Its labels, each from a closed set.
    pub labels: &'static [&'static str],
}

/// Counts the actors by status, for a scrape.
pub fn observe(directory: &Directory) {
    for (status, count) in ActorStatus::ALL.into_iter().zip(directory.count_by_status()) {
        metrics::gauge!(ACTORS, "status" => status.as_str()).set(gauge(count));
    }
    metrics::gauge!(STUCK_THREADS).set(gauge(directory.stuck_threads()));
}

fn gauge(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Installs the process's recorder once and describes every metric of the table.
pub fn install(table: &[&[MetricInfo]]) -> Result<MetricsHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])?
        .install_recorder()?;
    for metric in table.iter().copied().flatten() {
        describe(metric);
    }
    Ok(handle)
}

fn describe(metric: &MetricInfo) {
    match metric.kind {
        MetricKind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
        MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
        MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
    }
}
