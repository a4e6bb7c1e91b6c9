//! What states a device has been in, pure: a bounded list of changes for each device, none of which repeats the last.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, DeviceState, Timestamp};

use crate::fleet::StateChange;

/// How many changes are kept of each device.
const KEPT: usize = 100;

/// The changes of every device.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct StateHistory {
    devices: BTreeMap<DeviceId, VecDeque<StateChange>>,
}

impl StateHistory {
    /// Notes the state of a device; whether it differs from the last one. Only then is the reason asked for.
    pub(super) fn note(
        &mut self,
        device: &DeviceId,
        state: DeviceState,
        now: Timestamp,
        reason: impl FnOnce() -> String,
    ) -> bool {
        if self.devices.get(device).and_then(VecDeque::back).is_some_and(|last| last.state == state) {
            return false;
        }
        let changes = self.devices.entry(device.clone()).or_default();
        if changes.len() == KEPT {
            changes.pop_front();
        }
        changes.push_back(StateChange { state, since: now, reason: reason() });
        true
    }

    /// The last changes of a device, newest first.
    pub(super) fn of(&self, device: &DeviceId, limit: usize) -> Vec<StateChange> {
        let changes = self.devices.get(device).into_iter().flatten();
        changes.rev().take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> DeviceId {
        DeviceId::new("pack-1").unwrap()
    }

    #[test]
    fn only_changes_are_noted_newest_first() {
        let mut history = StateHistory::default();
        for (second, state) in
            [DeviceState::Offline, DeviceState::Online, DeviceState::Online].iter().enumerate()
        {
            let at = Timestamp::from_millis(i64::try_from(second).unwrap() * 1_000);
            history.note(&device(), *state, at, || format!("reason {second}"));
        }
        let noted = history.of(&device(), 10);
        let noted: Vec<_> = noted.iter().map(|c| (c.state, c.since.as_millis(), c.reason.as_str())).collect();
        assert_eq!(noted, [(DeviceState::Online, 1_000, "reason 1"), (DeviceState::Offline, 0, "reason 0")]);
        assert_eq!(history.of(&device(), 1).len(), 1);
    }

    #[test]
    fn a_device_that_flaps_for_ever_keeps_its_last_hundred_changes() {
        let mut history = StateHistory::default();
        for n in 0..1_001 {
            let state = if n % 2 == 0 { DeviceState::Online } else { DeviceState::Offline };
            assert!(history.note(&device(), state, Timestamp::from_millis(n), String::new));
        }
        let noted = history.of(&device(), usize::MAX);
        assert_eq!((noted.len(), noted[0].since.as_millis()), (KEPT, 1_000));
    }
}
