//! Counting what is stored once more, from the frames themselves, to hold it against what the fold says.
//!
//! For inspection of a node that is not running: the buckets' engine lets only one process in. A bucket or frame that
//! can't be read is named and left as it is; nothing is repaired or set aside here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use voltree_model::{DeviceId, Origin, Timestamp};

use crate::error::FileContext;
use crate::store::{AgedOut, read_aged_out};
use crate::{DataDir, Engine, Error, Frame, Kv, SledEngine};

/// What the frames hold.
#[derive(Debug, Default)]
pub struct Recount {
    /// How many readings of each device are stored.
    pub stored: BTreeMap<DeviceId, u64>,
    /// How many of each device's were removed because their time was over, for certain and perhaps: a removal that was
    /// cut short may have taken them or not.
    pub aged_out: BTreeMap<DeviceId, (u64, u64)>,
    /// Buckets and frames that can't be read, and why.
    pub unreadable: Vec<String>,
}

/// Counts the stored readings of these devices, frame by frame. `data` must be held by this process.
///
/// On the way `times` is told, device by device and day by day, when the readings of a day are of: in UTC milliseconds,
/// ascending, each time once.
pub fn recount<'a>(
    data: &DataDir,
    devices: impl IntoIterator<Item = &'a DeviceId>,
    times: &mut dyn FnMut(&DeviceId, &[i64]),
) -> Result<Recount, Error> {
    let aged_out = read_aged_out(data)?.map(AgedOut::by_device).unwrap_or_default();
    let devices: Vec<_> = devices.into_iter().collect();
    let recount = recount_with(&data.buckets().join("raw"), &SledEngine, &devices, times)?;
    Ok(Recount { aged_out, ..recount })
}

fn recount_with(
    root: &Path,
    engine: &dyn Engine,
    devices: &[&DeviceId],
    times: &mut dyn FnMut(&DeviceId, &[i64]),
) -> Result<Recount, Error> {
    let mut recount = Recount::default();
    let mut names = engine.list(root).file("list", root)?;
    // They are named for their days, so this is the order of time.
    names.sort_unstable();
    for name in names {
        // What has an ending is on its way into a bucket or out of one.
        if name.contains('.') {
            continue;
        }
        match engine.open(&root.join(&name)) {
            Ok(kv) => recount.bucket(&name, kv.as_ref(), devices, times),
            Err(error) => recount.unreadable.push(format!("bucket {name}: {}", words(&error))),
        }
    }
    Ok(recount)
}

impl Recount {
    fn bucket(
        &mut self,
        name: &str,
        kv: &dyn Kv,
        devices: &[&DeviceId],
        times: &mut dyn FnMut(&DeviceId, &[i64]),
    ) {
        for device in devices {
            // A zero byte, which no id contains, ends the device's part of a key.
            let key = |end: u8| [device.as_str().as_bytes(), &[end]].concat();
            let mut stored = BTreeSet::new();
            match kv.scan(key(0)..key(1)) {
                Ok(frames) => {
                    frames.iter().for_each(|(_, frame)| self.frame(name, device, frame, &mut stored))
                }
                Err(error) => self.unreadable.push(format!("bucket {name}, {device}: {}", words(&error))),
            }
            if !stored.is_empty() {
                *self.stored.entry((*device).clone()).or_default() +=
                    u64::try_from(stored.len()).unwrap_or(u64::MAX);
                let mut of_day: Vec<i64> = stored.iter().map(|(at, _)| at.as_millis()).collect();
                of_day.dedup();
                times(device, &of_day);
            }
        }
    }

    fn frame(
        &mut self,
        bucket: &str,
        device: &DeviceId,
        bytes: &[u8],
        stored: &mut BTreeSet<(Timestamp, Origin)>,
    ) {
        // A row knows the readings that it counts. Until parts are merged a moment may have rows in two of them.
        match Frame::open(bytes).and_then(|frame| frame.rows()) {
            Ok(rows) => {
                let readings =
                    rows.iter().flat_map(|(at, row)| row.stored.iter().map(|origin| (*at, *origin)));
                stored.extend(readings);
            }
            Err(error) => {
                self.unreadable.push(format!("a frame of {device} in bucket {bucket}: {}", words(&error)));
            }
        }
    }
}

fn words(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryEngine, Row};
    use voltree_model::{Metric, MetricName, Origin, Timestamp};

    fn frame(times: std::ops::Range<i64>) -> Vec<u8> {
        let metrics = vec![Metric { name: MetricName::new("a").unwrap(), value: 1.0, unit: None }].into();
        let row = |at: i64| Row::new(Origin { epoch: 0, sequence: at.unsigned_abs() + 1 }, &metrics);
        let rows = times.map(|at| (Timestamp::from_millis(at), row(at))).collect();
        Frame::encode(&rows).unwrap()
    }

    #[test]
    fn frames_are_counted_by_device_and_a_damaged_one_is_named() {
        let (engine, root) = (MemoryEngine::default(), Path::new("raw"));
        let ids = ["a", "a.b", "c"].map(|id| DeviceId::new(id).unwrap());
        let mut damaged = frame(0..5);
        damaged[30] ^= 1;
        let key = |id: &str, part: u8| [id.as_bytes(), &[0, part]].concat();
        let kv = engine.open(&root.join("2026-01-15")).unwrap();
        let pairs =
            vec![(key("a", 0), frame(0..4)), (key("a", 1), frame(3..7)), (key("a.b", 0), frame(0..2))];
        kv.write(pairs, Vec::new()).unwrap();
        let next = engine.open(&root.join("2026-01-16")).unwrap();
        next.write(vec![(key("a", 0), frame(0..1)), (key("c", 0), damaged)], Vec::new()).unwrap();
        engine
            .open(&root.join("2026-01-17.removed"))
            .unwrap()
            .write(vec![(key("a", 0), frame(0..9))], Vec::new())
            .unwrap();
        drop((kv, next));
        let mut times: BTreeMap<DeviceId, Vec<i64>> = BTreeMap::new();
        let recount = {
            let mut each = |device: &DeviceId, of_day: &[i64]| {
                times.entry(device.clone()).or_default().extend_from_slice(of_day);
            };
            recount_with(root, &engine, &ids.iter().collect::<Vec<_>>(), &mut each).unwrap()
        };
        assert_eq!(times.get(&ids[0]).unwrap()[..], [0, 1, 2, 3, 4, 5, 6, 0], "day by day, each time once");
        assert_eq!(recount.stored, BTreeMap::from([(ids[0].clone(), 8), (ids[1].clone(), 2)]));
        assert_eq!(recount.unreadable.len(), 1, "{:?}", recount.unreadable);
        assert!(recount.unreadable[0].starts_with("a frame of c in bucket 2026-01-16: "));
    }
}
