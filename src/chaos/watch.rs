//! What a chaos run sees of the node from outside its actors: who fails, how soon it is back, and how late alerts are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use voltree_actors::fleet::AlertView;
use voltree_model::Timestamp;
use voltree_runtime::{ActorPath, EventKind, Events, ExitReason, SupervisionEvent, clock};

/// What was seen so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// How often an incarnation ended that should not have, by the kind of reason.
    pub(super) failures: BTreeMap<&'static str, u64>,
    /// How often a new incarnation ran in its place.
    pub(super) restarts: u64,
    /// How often an actor was parked.
    pub(super) parked: u64,
    /// From each end to the next incarnation's start.
    pub(super) recoveries: Vec<Duration>,
    /// Since when an actor is down.
    pub(super) down: BTreeMap<ActorPath, Moment>,
    /// When each actor ended last.
    ends: BTreeMap<ActorPath, Moment>,
    /// From the sending of a reading to the alert that it had to raise.
    pub(super) alert_delays: Vec<Duration>,
    /// Events that came too fast to be seen.
    pub(super) missed: u64,
}

/// When an event was noted, and when it was told. Events that came at once are noted at once, so the time between two is
/// the longer of both accounts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    noted: Instant,
    told_ms: i64,
}

impl Moment {
    fn since(self, earlier: Self) -> Duration {
        let told = u64::try_from(self.told_ms.saturating_sub(earlier.told_ms)).unwrap_or_default();
        self.noted.saturating_duration_since(earlier.noted).max(Duration::from_millis(told))
    }
}

/// Notes supervision events until the node ends. The stream only wakes it: the end of a supervisor of a thousand is told
/// faster than a subscriber can follow, so the events themselves are taken from those that are kept.
pub(super) async fn events(events: Events, seen: Arc<Mutex<Seen>>) {
    let mut stream = events.subscribe();
    let (_, mut noted) = events.after(u64::MAX);
    loop {
        let (new, last) = events.after(noted);
        seen.lock().note_all(&new, last - noted);
        noted = last;
        if matches!(stream.recv().await, Err(RecvError::Closed)) {
            return;
        }
    }
}

/// Notes how late the probe's alerts are until the node ends.
pub(super) async fn alerts(
    mut alerts: Receiver<Arc<AlertView>>,
    probes: Arc<Mutex<BTreeMap<Timestamp, Instant>>>,
    seen: Arc<Mutex<Seen>>,
) {
    loop {
        match alerts.recv().await {
            Ok(alert) if alert.device.as_str() == super::fleet::PROBE && alert.metric.is_some() => {
                // An alert that is told twice after a kill counts by its first telling.
                if let Some(sent) = probes.lock().remove(&alert.triggered_at) {
                    seen.lock().alert_delays.push(sent.elapsed());
                }
            }
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => seen.lock().missed += missed,
            Err(RecvError::Closed) => return,
        }
    }
}

impl Seen {
    /// When it ended: whoever was taken along by its supervisor is told of only once that one is back.
    fn ended(&self, event: &SupervisionEvent, now: Moment) -> Moment {
        match event.reason {
            Some(ExitReason::ParentEnded) => {
                event.path.parent().and_then(|parent| self.ends.get(&parent).copied()).unwrap_or(now)
            }
            Some(_) | None => now,
        }
    }

    fn note_all(&mut self, new: &[Arc<SupervisionEvent>], there_were: u64) {
        let noted = clock::monotonic();
        new.iter().for_each(|event| self.note(event, Moment { noted, told_ms: event.at_ms }));
        self.missed += there_were.saturating_sub(u64::try_from(new.len()).unwrap_or(u64::MAX));
    }

    fn note(&mut self, event: &SupervisionEvent, now: Moment) {
        match event.kind {
            EventKind::Failed | EventKind::Parked | EventKind::Escalated => {
                let reason = event.reason.as_ref().map_or("unknown", |reason| reason.as_str());
                *self.failures.entry(reason).or_default() += 1;
                self.parked += u64::from(event.kind == EventKind::Parked);
                // A session ends with its connection and has no successor of its own.
                if event.actor_kind != "mqtt_client" {
                    let since = self.ended(event, now);
                    self.ends.insert(event.path.clone(), since);
                    self.down.entry(event.path.clone()).or_insert(since);
                }
            }
            EventKind::Started | EventKind::Restarted => {
                self.restarts += u64::from(event.kind == EventKind::Restarted);
                if let Some(since) = self.down.remove(&event.path) {
                    self.recoveries.push(now.since(since));
                }
            }
            // Its thread is lost; its successor's start is told by itself.
            EventKind::Stuck => {}
            EventKind::Stopped => {
                self.down.remove(&event.path);
            }
        }
    }
}
