//! This room's metrics.

/// Counter of supervision events by event, kind of actor and reason.
pub const SUPERVISION_EVENTS: &str = "runtime_supervision_events_total";
