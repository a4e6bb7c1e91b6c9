//! Order among siblings: who starts after whom, and who goes down with whom.
//!
//! A failure in a group takes siblings down in reverse order, one after the other, and starts them again in order.
//! All of it follows from three sets (who leaves, who is queued, who is not ready yet), so a failure in the middle
//! of a regrouping only makes the sets larger.

use super::child::{Afterwards, Phase};
use super::{Action, Core, Key};
use crate::Strategy;

impl Core {
    /// Changes a child's phase; the only place that does, because the sets follow from it.
    pub(super) fn set(&mut self, key: Key, phase: Phase) {
        let Some(child) = self.children.get_mut(&key) else { return };
        let before = std::mem::replace(&mut child.phase, phase);
        self.alive = self.alive + usize::from(phase.is_alive()) - usize::from(before.is_alive());
        if !self.in_order {
            return;
        }
        let blocks = match phase {
            Phase::Starting => true,
            // Whoever starts after another in a group needs it.
            Phase::Waiting | Phase::Parked => self.strategy != Strategy::OneForOne,
            Phase::Queued | Phase::Running | Phase::Stopping | Phase::Killing | Phase::Held | Phase::Down => {
                false
            }
        };
        place(&mut self.unready, key, blocks);
        place(&mut self.queued, key, phase == Phase::Queued);
        if !phase.is_alive() {
            self.leaving.remove(&key);
        }
    }

    /// Marks the siblings that a failed child takes down with it.
    pub(super) fn dismiss_siblings(&mut self, failed: Key) {
        let from = match self.strategy {
            Strategy::OneForOne => return,
            Strategy::RestForOne => failed,
            Strategy::OneForAll => 0,
        };
        for (key, child) in self.children.range_mut(from..).filter(|(key, _)| **key != failed) {
            if child.phase.is_alive() && child.afterwards == Afterwards::Judge {
                child.afterwards = Afterwards::Queue;
                self.leaving.insert(*key);
            }
        }
    }

    /// Goes on with a regrouping or an ordered start, as far as it can.
    pub(super) fn advance(&mut self, actions: &mut Vec<Action>) {
        if !self.in_order || self.stopping.is_some() || self.escalated {
            return;
        }
        if let Some(&last) = self.leaving.last() {
            let phase = self.children.get(&last).map(|child| child.phase);
            if phase == Some(Phase::Running) {
                self.stop(last, actions);
            }
            return;
        }
        let Some(&first) = self.queued.first() else { return };
        let blocked = match self.strategy {
            Strategy::OneForOne | Strategy::OneForAll => !self.unready.is_empty(),
            Strategy::RestForOne => self.unready.first().is_some_and(|unready| *unready < first),
        };
        if !blocked {
            self.start(first, actions);
        }
    }
}

fn place(set: &mut std::collections::BTreeSet<Key>, key: Key, belongs: bool) {
    if belongs {
        set.insert(key);
    } else {
        set.remove(&key);
    }
}
