//! One device in a head: its state as of the last entry, and the readings that no seal covers yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use voltree_model::{DeviceId, Ledger, MetricName, Origin, Reading, Timestamp};

use super::readings::OpenReadings;
use super::{DeviceJob, OpenReading};
use crate::bucket::Hour;
use crate::checkpoint::{DeviceCheckpoint, LatestValue};
use crate::{Entry, Lsn, Row, SeriesPoint};

/// This many open readings are sealed without waiting for anything.
const SEAL_AT_READINGS: u64 = 4_096;
/// How old the oldest open reading may grow: long enough that an hour's frame is rewritten a few times only, short enough
/// that little of the journal is read again after a crash and an operator sees readings become stored.
const SEAL_AT_AGE: Duration = Duration::from_secs(10 * 60);
/// How long after the end of an hour what is open of it is sealed: before the store takes the hour for complete and packs
/// it for good.
const SEAL_AFTER_HOUR: Duration = Duration::from_secs(60);
/// The least time between two seals of a device whose stragglers keep coming.
const SEAL_PACE: Duration = Duration::from_secs(60);

/// What is known of a device besides its rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceSummary {
    /// The time of its first entry.
    pub created_at: Option<Timestamp>,
    /// The latest time of a reading.
    pub last_seen: Option<Timestamp>,
    /// The newest value of each series.
    pub latest: BTreeMap<MetricName, LatestValue>,
    /// The newest text values.
    pub attributes: BTreeMap<MetricName, String>,
    /// How many readings came, however they are counted.
    pub readings: u64,
}

#[derive(Debug)]
pub(super) struct DeviceHead {
    /// The device as of its last entry, but for what the store has to say.
    state: DeviceCheckpoint,
    /// Up to which entry the store has it.
    sealed: Lsn,
    open: OpenReadings,
    /// The last one, as long as its values are not in the state's latest: mostly the next one's take their place, and
    /// nobody has asked for them meanwhile.
    newest: Option<OpenReading>,
    /// The earliest time of an entry that is not sealed.
    unsealed_since: Option<Timestamp>,
    last_asked: Option<Timestamp>,
}

impl DeviceHead {
    pub(super) fn new(checkpoint: Arc<DeviceCheckpoint>) -> Self {
        Self {
            sealed: checkpoint.applied,
            state: Arc::unwrap_or_clone(checkpoint),
            open: OpenReadings::default(),
            newest: None,
            unsealed_since: None,
            last_asked: None,
        }
    }

    pub(super) fn apply(&mut self, lsn: Lsn, entry: &Entry) {
        if lsn <= self.state.applied {
            return;
        }
        self.state.applied = lsn;
        self.state.last_origin = self.state.last_origin.max(entry.origin());
        self.unsealed_since = Some(self.unsealed_since.map_or(entry.at(), |since| since.min(entry.at())));
        match entry {
            Entry::Reading { origin, reading } => self.apply_reading(lsn, *origin, reading),
            Entry::Rejected { reason, .. } => *self.state.ledger.rejected.entry(*reason).or_default() += 1,
            Entry::DeadLettered { .. } => self.state.ledger.dead_lettered += 1,
            // These never name a device.
            Entry::Record { .. } => {}
        }
    }

    fn apply_reading(&mut self, lsn: Lsn, origin: Origin, reading: &Reading) {
        let Reading { device: _, at, metrics: _, attributes, left_out } = reading;
        let state = &mut self.state;
        state.readings += 1;
        for rejection in left_out {
            *state.ledger.metrics_left_out.entry(rejection.reason).or_default() += 1;
        }
        if state.last_seen.is_none_or(|seen| *at >= seen) {
            state.last_seen = Some(*at);
            state.attributes.extend(attributes.iter().cloned());
        }
        let open = self.open.push(lsn, origin, reading).clone();
        self.keep_newest(open);
    }

    fn keep_newest(&mut self, open: OpenReading) {
        if let Some(before) = self.newest.take()
            && !(before.at <= open.at && before.series() == open.series())
        {
            take_over(&mut self.state.latest, &before);
        }
        self.newest = Some(open);
    }

    /// The device as of its last entry.
    fn state(&self) -> DeviceCheckpoint {
        let mut state = self.state.clone();
        if let Some(newest) = &self.newest {
            take_over(&mut state.latest, newest);
        }
        state
    }

    pub(super) fn seal_due(&self, now: Timestamp, at_rest: bool) -> bool {
        if self.state.applied <= self.sealed {
            return false;
        }
        at_rest || self.pending() >= SEAL_AT_READINGS || self.is_old(now) && self.paced(now)
    }

    pub(super) fn pending(&self) -> u64 {
        u64::try_from(self.open.len()).unwrap_or(u64::MAX)
    }

    /// How much memory the open readings take.
    pub(super) fn open_bytes(&self) -> usize {
        self.open.bytes()
    }

    fn is_old(&self, now: Timestamp) -> bool {
        self.unsealed_since.is_some_and(|since| {
            now.since(since) >= SEAL_AT_AGE || Hour::of(since).end().plus(SEAL_AFTER_HOUR) <= now
        })
    }

    fn paced(&self, now: Timestamp) -> bool {
        self.last_asked.is_none_or(|last| now.since(last) >= SEAL_PACE)
    }

    pub(super) fn job(&self, device: &DeviceId, now: Timestamp) -> Option<DeviceJob> {
        (self.state.applied > self.sealed).then(|| DeviceJob {
            device: device.clone(),
            readings: self.open.iter().cloned().collect(),
            state: self.state(),
            asked_at: now,
        })
    }

    pub(super) fn sealed(&mut self, checkpoint: &DeviceCheckpoint, asked_at: Timestamp) {
        if checkpoint.applied <= self.sealed {
            return;
        }
        self.sealed = checkpoint.applied;
        self.last_asked = Some(asked_at);
        if checkpoint.applied > self.state.applied {
            self.state = checkpoint.clone();
            self.newest = None;
        } else {
            self.state.ledger.stored = checkpoint.ledger.stored;
            self.state.ledger.duplicate = checkpoint.ledger.duplicate;
        }
        self.open.forget(checkpoint.applied);
        let oldest = self.open.first().map(|reading| reading.at);
        // What else is left came after the job was made.
        self.unsealed_since = oldest.or_else(|| (self.state.applied > self.sealed).then_some(asked_at));
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger { pending: self.pending(), ..self.state.ledger.clone() }
    }

    pub(super) fn latest(&self, metric: &MetricName) -> Option<LatestValue> {
        let known = self.state.latest.get(metric);
        let newest = self.newest.as_ref().filter(|newest| known.is_none_or(|known| known.at <= newest.at));
        let newest = newest.and_then(|newest| Some((newest.at, newest.value(metric)?)));
        let newest = newest.map(|(at, (value, unit))| LatestValue { at, value, unit });
        newest.or_else(|| known.cloned())
    }

    pub(super) fn summary(&self) -> DeviceSummary {
        let DeviceCheckpoint { created_at, last_seen, latest, attributes, readings, .. } = self.state();
        DeviceSummary { created_at: Some(created_at), last_seen, latest, attributes, readings }
    }

    pub(super) fn open_points(
        &self,
        metric: &MetricName,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<SeriesPoint> {
        let mut points: Vec<SeriesPoint> = Vec::new();
        for reading in self.open.between(from, to) {
            let Some((value, unit)) = reading.value(metric) else { continue };
            let point = SeriesPoint { at: reading.at, value, unit, origin: reading.origin() };
            // Of the readings of one moment the one with the highest origin counts.
            match points.last_mut().filter(|last| last.at == point.at) {
                Some(last) if last.origin > point.origin => {}
                Some(last) => *last = point,
                None => points.push(point),
            }
        }
        points
    }

    pub(super) fn open_rows(&self, from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Row)> {
        let row = |reading: &OpenReading| (reading.at, Row::new(reading.origin(), &reading.metrics()));
        self.open.between(from, to).map(row).collect()
    }

    pub(super) fn open_times(&self) -> Vec<i64> {
        let mut times: Vec<i64> = self.open.iter().map(|reading| reading.at.as_millis()).collect();
        times.dedup();
        times
    }
}

/// Takes over the values of a reading, but for series that have later ones.
fn take_over(latest: &mut BTreeMap<MetricName, LatestValue>, reading: &OpenReading) {
    let at = reading.at;
    for ((name, unit), value) in reading.series().iter().zip(reading.values()) {
        match latest.get_mut(name) {
            Some(latest) if at < latest.at => {}
            Some(latest) => {
                (latest.at, latest.value) = (at, value);
                latest.unit.clone_from(unit);
            }
            None => {
                let value = LatestValue { at, value, unit: unit.clone() };
                latest.insert(name.clone(), value);
            }
        }
    }
}
