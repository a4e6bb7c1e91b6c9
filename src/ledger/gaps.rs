//! The gaps in the devices' time lines, from the files of a node that does not run: its frames, its journal, and what it
//! wrote down of its devices' states and its own lives. Nothing is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use voltree_actors::presence::SavedStates;
use voltree_actors::timeline::{Evidence, Range, Silences, TimelineGap};
use voltree_actors::uptime::{Life, read_lives};
use voltree_model::{DeviceId, Timestamp};
use voltree_storage::Head;

/// The most silences that are listed for one device.
const MOST: usize = 10_000;

/// The gaps of each device.
pub(super) type Gaps = BTreeMap<DeviceId, Vec<TimelineGap>>;

/// Gathers them while the frames are counted.
#[derive(Debug)]
pub(super) struct GapFinder {
    devices: BTreeMap<DeviceId, Silences>,
    states: SavedStates,
    lives: Vec<Life>,
}

impl GapFinder {
    /// Reads what explains gaps, and which readings no frame has yet.
    pub(super) fn open(data: &Path, head: &Head, least: Duration) -> anyhow::Result<Self> {
        let (states, lives) = (SavedStates::read(&data.join("presence"))?, read_lives(data)?);
        let alive = lives.iter().map(|life| life.alive).max();
        let silences = |device: &DeviceId| {
            let last_seen = head.device(device).and_then(|device| device.last_seen);
            let after = last_seen.map(|last| Timestamp::from_millis(last.as_millis().saturating_add(1)));
            let from = Timestamp::from_millis(i64::MIN);
            let range = Range { from, to: alive.max(after).unwrap_or(from), known_since: None };
            Silences::new(range, least, MOST, head.open_times(device))
        };
        let devices = head.devices().map(|device| (device.clone(), silences(device))).collect();
        Ok(Self { devices, states, lives })
    }

    /// Takes the times of a day of a device.
    pub(super) fn take(&mut self, device: &DeviceId, times: &[i64]) {
        if let Some(silences) = self.devices.get_mut(device) {
            silences.take(times);
        }
    }

    /// The gaps, up to when the node was last alive.
    pub(super) fn finish(self) -> Gaps {
        let Self { devices, states, lives } = self;
        let explained = devices.into_iter().map(|(device, silences)| {
            let evidence = Evidence::new(&states.of(&device), &lives);
            let gaps = silences.finish().iter().flat_map(|silence| evidence.explain(silence)).collect();
            (device, gaps)
        });
        explained.collect()
    }
}

/// A gap as a line of text.
pub(super) fn line(gap: &TimelineGap) -> String {
    let cause = gap.cause.as_str().replace('_', " ");
    format!("  gap {} to {}: {:.3} s, {cause}", gap.from, gap.to, gap.length().as_secs_f64())
}

/// A gap as a JSON value.
pub(super) fn json(gap: &TimelineGap) -> serde_json::Value {
    serde_json::json!({
        "from": gap.from.to_string(),
        "to": gap.to.to_string(),
        "seconds": gap.length().as_secs_f64(),
        "cause": gap.cause.as_str(),
    })
}
