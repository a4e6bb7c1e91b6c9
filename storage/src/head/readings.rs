//! The open readings of one device, in the order of time, and what the next ones are held against.
//!
//! They come nearly always in that order, so they stand in a line; one that is late is put in its place.

use std::collections::VecDeque;

use voltree_model::{Origin, Reading, Timestamp};

use super::OpenReading;
use crate::Lsn;

/// So many readings are held against one of them.
pub(super) const BASE_SERVES: u32 = 64;
/// So many at least, if most of their values are new each time.
const BASE_SERVES_AT_LEAST: u32 = 32;
/// So many sets of series are known of a device that says now this and now that.
const MOST_KINDS: usize = 4;

#[derive(Debug, Default)]
pub(super) struct OpenReadings {
    /// Ordered by time and then by LSN.
    readings: VecDeque<OpenReading>,
    /// The last kinds of readings, sealed or not, the latest first: the next one is mostly of one of these.
    kinds: Vec<Kind>,
    /// What the readings take.
    bytes: usize,
}

#[derive(Debug)]
struct Kind {
    last: OpenReading,
    /// How many are held against its base.
    served: u32,
}

impl OpenReadings {
    /// Takes in a reading, and says how it is held.
    pub(super) fn push(&mut self, lsn: Lsn, origin: Origin, reading: &Reading) -> &OpenReading {
        let kind = self.kinds.iter().position(|kind| kind.last.series() == reading.metrics.series());
        match kind {
            Some(index) => {
                self.kinds[..=index].rotate_right(1);
                self.kinds[0].follow(lsn, origin, reading);
            }
            None => {
                self.kinds.truncate(MOST_KINDS - 1);
                self.kinds.insert(0, Kind::new(OpenReading::as_base(lsn, origin, reading, None)));
            }
        }
        let open = self.kinds[0].last.clone();
        self.bytes += open.bytes();
        let place = (open.at, lsn);
        let at = match self.readings.back() {
            Some(last) if (last.at, last.lsn) > place => {
                self.readings.partition_point(|other| (other.at, other.lsn) < place)
            }
            _ => self.readings.len(),
        };
        self.readings.insert(at, open);
        &self.readings[at]
    }

    /// Those of a stretch of time; `from` is inside, `to` is not.
    pub(super) fn between(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = &OpenReading> {
        let begin = self.readings.partition_point(|reading| reading.at < from);
        let end = self.readings.partition_point(|reading| reading.at < to);
        self.readings.range(begin..end.max(begin))
    }

    /// All, in the order of time and then of their LSNs.
    pub(super) fn iter(&self) -> impl Iterator<Item = &OpenReading> {
        self.readings.iter()
    }

    /// Lets go of those up to an LSN.
    pub(super) fn forget(&mut self, up_to: Lsn) {
        self.readings.retain(|reading| reading.lsn > up_to);
        self.readings.shrink_to_fit();
        self.bytes = self.readings.iter().map(OpenReading::bytes).sum();
    }

    /// The earliest.
    pub(super) fn first(&self) -> Option<&OpenReading> {
        self.readings.front()
    }

    pub(super) fn len(&self) -> usize {
        self.readings.len()
    }

    /// What they take, in bytes of memory; what they are held against is a tenth of it or less.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Kind {
    fn new(last: OpenReading) -> Self {
        Self { last, served: 1 }
    }

    /// Takes in the next reading, which has the series of the last one.
    fn follow(&mut self, lsn: Lsn, origin: Origin, reading: &Reading) {
        let enough = if self.last.is_far_from_base() { BASE_SERVES_AT_LEAST } else { BASE_SERVES };
        if self.served >= enough {
            *self = Self::new(OpenReading::as_base(lsn, origin, reading, Some(&self.last)));
            return;
        }
        self.last = OpenReading::alike(lsn, origin, reading, &self.last);
        self.served += 1;
    }
}

#[cfg(test)]
mod tests {
    use voltree_model::{DeviceId, Metric, MetricName, Metrics};

    use super::*;

    fn reading(at: i64, names: &[&str]) -> Reading {
        let value = |n: &str| {
            f64::from(u32::try_from(n.len()).unwrap()) + 0.001 * f64::from(i32::try_from(at).unwrap())
        };
        let metric = |n: &&str| Metric { name: MetricName::new(n).unwrap(), value: value(n), unit: None };
        Reading {
            device: DeviceId::new("d").unwrap(),
            at: Timestamp::from_millis(at),
            metrics: names.iter().map(metric).collect(),
            attributes: Vec::new(),
            left_out: Vec::new(),
        }
    }

    const KINDS: [&[&str]; 5] = [&["a", "b"], &["a"], &[], &["c"], &["c", "d"]];

    #[test]
    fn readings_of_several_kinds_in_any_order_come_out_as_they_went_in_and_in_order() {
        let mut open = OpenReadings::default();
        let mut all = Vec::new();
        for n in 0..500_u64 {
            let kind = KINDS[usize::try_from(n * n % 7 % 5).unwrap()];
            // Every tenth is late, and some are of one moment.
            let at = i64::try_from(if n % 10 == 0 { n / 2 } else { n / 3 * 3 }).unwrap();
            let reading = reading(at, kind);
            open.push(Lsn(n + 1), Origin { epoch: 0, sequence: 3 * n }, &reading);
            all.push((reading.at, Lsn(n + 1), 3 * n, reading.metrics));
        }
        all.sort_by_key(|(at, lsn, ..)| (*at, *lsn));
        let shown =
            |reading: &OpenReading| (reading.at, reading.lsn, reading.origin().sequence, reading.metrics());
        assert_eq!(open.iter().map(shown).collect::<Vec<_>>(), all);
        let (from, to) = (Timestamp::from_millis(90), Timestamp::from_millis(270));
        let within: Vec<_> = all.iter().filter(|(at, ..)| (from..to).contains(at)).cloned().collect();
        assert_eq!(open.between(from, to).map(shown).collect::<Vec<_>>(), within);
        assert_eq!(open.between(to, from).count(), 0);
        open.forget(Lsn(400));
        all.retain(|(_, lsn, ..)| lsn.0 > 400);
        assert_eq!(open.iter().map(shown).collect::<Vec<_>>(), all);
        assert_eq!(open.bytes(), open.iter().map(OpenReading::bytes).sum::<usize>());
    }

    #[test]
    fn what_says_nearly_the_same_each_time_takes_little() {
        let names: Vec<String> = (0..16).map(|n| format!("cell_{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut open = OpenReadings::default();
        for n in 0..600 {
            let mut reading = reading(1_000, &names);
            let mut values = reading.metrics.values().to_vec();
            values[3] = f64::from(n) / 1_000.0;
            reading.metrics = Metrics::new(reading.metrics.series().clone(), values).unwrap();
            let n = u64::try_from(n).unwrap();
            open.push(Lsn(n + 1), Origin { epoch: 0, sequence: n }, &reading);
        }
        let each = open.bytes() / open.len();
        assert!(each <= 72, "{each} bytes a reading, 16 values are 128");
    }
}
