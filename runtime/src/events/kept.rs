//! The last events, numbered from 1, so that whoever stores them can tell what it has already.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{EVENTS_KEPT, SupervisionEvent};

#[derive(Debug, Default)]
pub(super) struct Kept {
    events: VecDeque<Arc<SupervisionEvent>>,
    /// How many there ever were: the number of the last.
    last: u64,
}

impl Kept {
    pub(super) fn push(&mut self, event: Arc<SupervisionEvent>) {
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.last += 1;
    }

    pub(super) fn latest(&self, limit: usize, path: Option<&str>) -> Vec<Arc<SupervisionEvent>> {
        let wanted = |event: &&Arc<SupervisionEvent>| path.is_none_or(|path| event.path.as_str() == path);
        self.events.iter().rev().filter(wanted).take(limit).cloned().collect()
    }

    pub(super) fn after(&self, number: u64) -> (Vec<Arc<SupervisionEvent>>, u64) {
        let new = usize::try_from(self.last.saturating_sub(number)).unwrap_or(usize::MAX);
        let skipped = self.events.len().saturating_sub(new);
        (self.events.iter().skip(skipped).cloned().collect(), self.last)
    }

    pub(super) fn restore(&mut self, earlier: Vec<SupervisionEvent>) -> u64 {
        let mut own = std::mem::take(&mut self.events);
        self.events.extend(earlier.into_iter().map(Arc::new));
        let restored = u64::try_from(self.events.len()).unwrap_or(u64::MAX);
        self.events.append(&mut own);
        while self.events.len() > EVENTS_KEPT {
            self.events.pop_front();
        }
        self.last += restored;
        restored
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActorPath, EventKind};

    fn event(name: &str, at_ms: i64) -> SupervisionEvent {
        SupervisionEvent {
            at_ms,
            kind: EventKind::Started,
            path: ActorPath::root("node").child(name),
            actor_kind: "worker".into(),
            incarnation: 1,
            restarts: 0,
            reason: None,
            delay: None,
        }
    }

    fn times(events: &[Arc<SupervisionEvent>]) -> Vec<i64> {
        events.iter().map(|event| event.at_ms).collect()
    }

    #[test]
    fn whoever_knows_a_number_is_given_what_came_after_it_once() {
        let mut kept = Kept::default();
        let begun = kept.restore(vec![event("a", 1), event("a", 2)]);
        (3..6).for_each(|at| kept.push(Arc::new(event("b", at))));
        let (new, last) = kept.after(begun);
        assert_eq!((times(&new), last), (vec![3, 4, 5], 5));
        assert!(kept.after(last).0.is_empty());
        assert_eq!(times(&kept.latest(10, None)), [5, 4, 3, 2, 1]);
        assert_eq!(times(&kept.latest(1, Some("node/a"))), [2]);
    }

    #[test]
    fn the_oldest_give_way_and_an_earlier_life_never_pushes_out_this_one() {
        let mut kept = Kept::default();
        kept.push(Arc::new(event("own", -1)));
        let begun = kept.restore((0..20_000).map(|at| event("old", at)).collect());
        assert_eq!(kept.events.len(), EVENTS_KEPT);
        assert_eq!(times(&kept.latest(2, None)), [-1, 19_999]);
        assert_eq!(times(&kept.after(begun).0), [-1]);
    }
}
