//! Gaps in a device's time line, from this node's own store and logs.

use std::sync::Arc;
use std::time::Duration;

use voltree_model::Timestamp;

use super::{Asked, LocalFleet};
use crate::fleet::{Answer, FleetError, GapRange, StateChange, TimelineGap, Timelines};
use crate::now;
use crate::registry::DeviceEntry;
use crate::timeline::{Evidence, Range, Silences};

impl Timelines for LocalFleet {
    fn gaps(&self, range: GapRange, limit: usize) -> Answer<'_, Vec<TimelineGap>> {
        Box::pin(async move {
            let entry = self.known(&range.device)?;
            let now = now();
            let evidence = Evidence::new(&self.states(&entry, now), &self.uptime.lives(now));
            let silences = self.silences(&range, self.view(&entry, now).created_at, now, limit);
            let asked = Asked::default();
            let (store, cancel) = (Arc::clone(&self.store), asked.0.clone());
            let found = tokio::task::spawn_blocking(move || {
                let mut silences = silences;
                let times = |times: &[i64]| silences.take(times);
                store.times(&range.device, (range.from, range.to), &cancel, times)?;
                Ok::<_, voltree_storage::Error>(silences.finish())
            });
            let found = found.await.map_err(|error| FleetError::Store(error.to_string()))?;
            let found = found.map_err(|error| FleetError::Store(error.to_string()))?;
            Ok(found.iter().flat_map(|silence| evidence.explain(silence)).take(limit).collect())
        })
    }
}

impl LocalFleet {
    /// The states of a device, the present one included even if presence has not noticed it yet.
    fn states(&self, entry: &DeviceEntry, now: Timestamp) -> Vec<StateChange> {
        let mut states = self.presence.states(&entry.id);
        let state = self.registry.state(entry, now);
        if states.first().is_none_or(|newest| newest.state != state) {
            // A moment ago, so that a silence that lasts until now ends in it.
            let since = now.minus(Duration::from_millis(1));
            states.push(StateChange { state, since, reason: String::new() });
        }
        states
    }

    /// What looks for silences, with the readings that are not sealed yet: the head is asked before the store, so that
    /// none is missed that moves from one to the other.
    fn silences(&self, range: &GapRange, known_since: Timestamp, now: Timestamp, most: usize) -> Silences {
        let head = self.head(Some(&range.device));
        let open = head.map_or_else(Vec::new, |head| head.with(|head| head.open_times(&range.device)));
        let looked_at = Range { from: range.from, to: range.to.min(now), known_since: Some(known_since) };
        Silences::new(looked_at, range.least, most, open)
    }
}
