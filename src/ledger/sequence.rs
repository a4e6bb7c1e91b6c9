//! Whether the numbered messages of `voltree simulate mqtt` are all in the store, once each.
//!
//! Every device counts its messages from one in the metric `sequence`. A number that is missing below the highest one was
//! lost, one that stands at two times was stored twice. Nothing is written.

use std::collections::BTreeMap;

use voltree_model::{DeviceId, MetricName};
use voltree_storage::{Archive, DataDir};

/// What the numbers of a device say.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) messages: u64,
    pub(super) highest: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
}

/// The numbers of each device that counts its messages.
pub(super) fn check(data: &DataDir) -> anyhow::Result<BTreeMap<DeviceId, Sequence>> {
    let archive = Archive::open(data)?;
    let name = MetricName::new("sequence")?;
    let counting: Vec<_> =
        archive.devices().filter(|device| archive.series(device).contains_key(&name)).cloned().collect();
    let mut seen: BTreeMap<DeviceId, Vec<u64>> = BTreeMap::new();
    for day in archive.days()? {
        let mut day = archive.day(day)?;
        for device in &counting {
            let numbers = seen.entry(device.clone()).or_default();
            for row in day.rows(device).values() {
                numbers.extend(row.samples.iter().filter(|s| s.name == name).filter_map(|s| number(s.value)));
            }
        }
        if let Some(damage) = day.damages().first() {
            anyhow::bail!("{} can't be read, so nothing can be said: {}", damage.what, damage.why);
        }
    }
    Ok(seen.into_iter().map(|(device, numbers)| (device, Sequence::of(numbers))).collect())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a number that counts"
)]
fn number(value: f64) -> Option<u64> {
    ((1.0..9.0e15).contains(&value) && value.fract() == 0.0).then_some(value as u64)
}

impl Sequence {
    fn of(mut numbers: Vec<u64>) -> Self {
        let messages = u64::try_from(numbers.len()).unwrap_or(u64::MAX);
        numbers.sort_unstable();
        let highest = numbers.last().copied().unwrap_or_default();
        numbers.dedup();
        let different = u64::try_from(numbers.len()).unwrap_or(u64::MAX);
        Self { messages, highest, lost: highest - different, doubled: messages - different }
    }

    pub(super) fn line(&self, device: &DeviceId) -> String {
        let Self { messages, highest, lost, doubled } = self;
        format!(
            "{device}: {messages} messages, numbered up to {highest}, {lost} lost, {doubled} stored twice"
        )
    }

    pub(super) fn json(&self, device: &DeviceId) -> String {
        let Self { messages, highest, lost, doubled } = self;
        serde_json::json!({
            "device": device.as_str(), "messages": messages, "highest": highest, "lost": lost, "doubled": doubled,
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_lost_and_repetitions_are_doubled() {
        let of = |numbers: &[u64]| {
            let Sequence { messages, highest, lost, doubled } = Sequence::of(numbers.to_vec());
            (messages, highest, lost, doubled)
        };
        assert_eq!(of(&[]), (0, 0, 0, 0));
        assert_eq!(of(&[1, 2, 3]), (3, 3, 0, 0));
        assert_eq!(of(&[5, 1, 1, 2]), (4, 5, 2, 1));
    }
}
