//! The time line of a device, pure: where it was silent for too long, and why.
//!
//! Two steps: [`Silences`] finds the stretches without readings, [`Evidence`] says what each stretch was due to. Nothing
//! here reads a clock or a disk. A gap is never listed twice, never reaches beyond the range that was asked for, and with
//! the stretches between them the gaps make up the whole of it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use voltree_model::{DeviceState, Timestamp};

use crate::fleet::StateChange;
use crate::uptime::Life;

const HOUR_MS: i64 = 3_600_000;
/// How many of its usual periods a device may be silent before it counts as a gap, as for the store's rollups.
const PERIODS_TO_A_GAP: i64 = 3;
/// No silence that is shorter counts as a gap, unless somebody asks for it.
pub const LEAST_GAP: Duration = Duration::from_secs(60);

/// Why there are no readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// The device could not be heard.
    LinkDown,
    /// Its actor was parked, or the device was set aside or switched off.
    Parked,
    /// The node did not run.
    NodeDown,
    /// Nothing is known that explains it.
    None,
}

impl GapCause {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LinkDown => "link_down",
            Self::Parked => "parked",
            Self::NodeDown => "node_down",
            Self::None => "none",
        }
    }
}

/// A stretch of a device's time line without readings, and why there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineGap {
    /// The last reading before it, or where the cause before this one ended.
    pub from: Timestamp,
    /// The first reading after it, or where the next cause begins.
    pub to: Timestamp,
    /// Why.
    pub cause: GapCause,
}

impl TimelineGap {
    /// How long it is.
    pub fn length(&self) -> Duration {
        self.to.since(self.from)
    }
}

/// A stretch without readings that is longer than the device usually leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    from: i64,
    to: i64,
    /// What would have been too short to count.
    patience: i64,
}

/// The part of a time line that is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The first moment that counts.
    pub from: Timestamp,
    /// The first moment that no longer counts.
    pub to: Timestamp,
    /// When the device was first known, if that is known: nothing is missed before, nor before its first reading.
    pub known_since: Option<Timestamp>,
}

/// Finds silences in times that are handed over in ascending order, in memory for an hour of them.
///
/// As in the store's rollups a device may be silent for three of its usual periods, the median of the hour, and for
/// `least` in any case. A silence that the range cuts counts with the part inside.
#[derive(Debug)]
pub struct Silences {
    range: Range,
    least_ms: i64,
    most: usize,
    /// Times that come from elsewhere and are not handed over.
    open: BTreeSet<i64>,
    hour: Vec<i64>,
    last: Option<(i64, i64)>,
    found: Vec<Silence>,
}

impl Silences {
    /// Looks for the first `most` silences that are longer than `least`. `open` are further times, in any order.
    pub fn new(range: Range, least: Duration, most: usize, open: impl IntoIterator<Item = i64>) -> Self {
        let least_ms = i64::try_from(least.as_millis()).unwrap_or(i64::MAX);
        let open = open.into_iter().collect();
        Self { range, least_ms, most, open, hour: Vec::new(), last: None, found: Vec::new() }
    }

    /// Takes the next times, ascending.
    pub fn take(&mut self, times: &[i64]) {
        for at in times {
            while self.open.first().is_some_and(|open| open <= at) {
                let open = self.open.pop_first();
                open.into_iter().for_each(|open| self.push(open));
            }
            self.push(*at);
        }
    }

    /// The silences, in the order of time, and the one at the end.
    pub fn finish(mut self) -> Vec<Silence> {
        while let Some(open) = self.open.pop_first() {
            self.push(open);
        }
        self.close_hour();
        let end = self.range.to.as_millis();
        match self.last {
            Some((last, patience)) => self.note(last, end, patience),
            None => {
                let known = self.range.known_since.unwrap_or(self.range.to);
                self.note(self.range.from.max(known).as_millis(), end, self.least_ms);
            }
        }
        self.found
    }

    fn push(&mut self, at: i64) {
        let wanted = self.range.from.as_millis()..self.range.to.as_millis();
        if !wanted.contains(&at) || self.hour.last().is_some_and(|last| *last == at) {
            return;
        }
        if self.hour.first().is_some_and(|first| first.div_euclid(HOUR_MS) != at.div_euclid(HOUR_MS)) {
            self.close_hour();
        }
        self.hour.push(at);
    }

    fn close_hour(&mut self) {
        let hour = std::mem::take(&mut self.hour);
        let Some(first) = hour.first().copied() else { return };
        let patience = self.patience(&hour);
        match self.last {
            Some((last, before)) => self.note(last, first, patience.max(before)),
            None => {
                let known = self.range.known_since.map_or(first, |known| known.as_millis().min(first));
                self.note(self.range.from.as_millis().max(known), first, patience);
            }
        }
        for pair in hour.windows(2) {
            if let [a, b] = pair {
                self.note(*a, *b, patience);
            }
        }
        self.last = hour.last().map(|last| (*last, patience));
    }

    fn patience(&self, hour: &[i64]) -> i64 {
        let mut periods: Vec<i64> =
            hour.iter().zip(hour.iter().skip(1)).map(|(a, b)| b.saturating_sub(*a)).collect();
        let middle = periods.len() / 2;
        let period = if periods.is_empty() { 0 } else { *periods.select_nth_unstable(middle).1 };
        period.saturating_mul(PERIODS_TO_A_GAP).max(self.least_ms)
    }

    fn note(&mut self, from: i64, to: i64, patience: i64) {
        if to.saturating_sub(from) > patience && self.found.len() < self.most {
            self.found.push(Silence { from, to, patience });
        }
    }
}

/// What is known of a device and its node that may explain a silence.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// From when on the device was in which state, in the order of time.
    states: Vec<(i64, DeviceState)>,
    /// When the node did not run: disjoint, in the order of time.
    down: Vec<(i64, i64)>,
}

/// A part of a silence with one cause.
#[derive(Debug, Clone, Copy)]
struct Part {
    from: i64,
    to: i64,
    cause: GapCause,
}

impl Part {
    fn len(&self) -> i64 {
        self.to.saturating_sub(self.from)
    }
}

impl Evidence {
    /// From a device's states and the lives of its node, in any order. Before the first of the lives nothing is known of
    /// the node.
    pub fn new(states: &[StateChange], lives: &[Life]) -> Self {
        let mut states: Vec<_> =
            states.iter().map(|change| (change.since.as_millis(), change.state)).collect();
        states.sort_by_key(|(since, _)| *since);
        let mut lives: Vec<_> = lives.to_vec();
        lives.sort_by_key(|life| life.started);
        let mut down = Vec::new();
        let mut alive: Option<i64> = None;
        for life in &lives {
            let started = life.started.as_millis();
            down.extend(alive.filter(|alive| *alive < started).map(|alive| (alive, started)));
            // A clock that was set back must not make a life end before it began, nor before the one before.
            alive = alive.max(Some(life.alive.as_millis().max(started)));
        }
        Self { states, down }
    }

    /// Splits a silence by what it was due to.
    pub fn explain(&self, silence: &Silence) -> Vec<TimelineGap> {
        let mut parts = self.parts(silence);
        noticed_late(&mut parts);
        merge_alike(&mut parts);
        while let Some(index) = too_short(&parts, silence.patience) {
            give_away(&mut parts, index);
            merge_alike(&mut parts);
        }
        let gap = |part: Part| TimelineGap {
            from: Timestamp::from_millis(part.from),
            to: Timestamp::from_millis(part.to),
            cause: part.cause,
        };
        parts.into_iter().map(gap).collect()
    }

    /// The silence cut wherever something changed.
    fn parts(&self, silence: &Silence) -> Vec<Part> {
        let inside = |at: i64| silence.from < at && at < silence.to;
        let first = self.states.partition_point(|(since, _)| *since <= silence.from);
        let states = self.states.iter().skip(first).map(|(since, _)| *since);
        let first = self.down.partition_point(|(_, up)| *up <= silence.from);
        let down = self.down.iter().skip(first).flat_map(|(down, up)| [*down, *up]);
        let cuts: BTreeSet<i64> = [silence.from, silence.to]
            .into_iter()
            .chain(states.take_while(|at| inside(*at)))
            .chain(down.take_while(|at| *at < silence.to).filter(|at| inside(*at)))
            .collect();
        let ends = cuts.iter().skip(1);
        cuts.iter()
            .zip(ends)
            .map(|(from, to)| Part { from: *from, to: *to, cause: self.cause(*from) })
            .collect()
    }

    /// The cause from this moment on.
    fn cause(&self, at: i64) -> GapCause {
        let next = self.down.partition_point(|(_, up)| *up <= at);
        if self.down.get(next).is_some_and(|(down, _)| *down <= at) {
            return GapCause::NodeDown;
        }
        let next = self.states.partition_point(|(since, _)| *since <= at);
        match next.checked_sub(1).and_then(|index| self.states.get(index)) {
            Some((_, DeviceState::Offline)) => GapCause::LinkDown,
            Some((_, DeviceState::Parked | DeviceState::Quarantined | DeviceState::Disabled)) => {
                GapCause::Parked
            }
            Some((_, DeviceState::Online)) | None => GapCause::None,
        }
    }
}

/// That a device can't be heard is noticed a while after it was heard last, and was so from there on.
fn noticed_late(parts: &mut [Part]) {
    for index in (1..parts.len()).rev() {
        let link_down = parts.get(index).is_some_and(|part| part.cause == GapCause::LinkDown);
        if let Some(before) =
            parts.get_mut(index - 1).filter(|part| link_down && part.cause == GapCause::None)
        {
            before.cause = GapCause::LinkDown;
        }
    }
}

fn merge_alike(parts: &mut Vec<Part>) {
    parts.dedup_by(|later, earlier| {
        let alike = later.cause == earlier.cause;
        if alike {
            earlier.to = later.to;
        }
        alike
    });
}

/// The shortest part, if it would not count as a gap and there are others.
fn too_short(parts: &[Part], patience: i64) -> Option<usize> {
    let shortest = parts.iter().enumerate().min_by_key(|(_, part)| part.len());
    shortest.filter(|(_, part)| parts.len() > 1 && part.len() <= patience).map(|(index, _)| index)
}

/// Gives a part to the one beside it that says more: one with a cause, then the longer, then the later.
fn give_away(parts: &mut Vec<Part>, index: usize) {
    let part = parts.remove(index);
    let weight = |part: &Part| (part.cause != GapCause::None, part.len());
    let before = index.checked_sub(1).filter(|before| *before < parts.len());
    let to_before = match (before.and_then(|before| parts.get(before)), parts.get(index)) {
        (Some(before), Some(after)) => weight(before) > weight(after),
        (Some(_), None) => true,
        (None, _) => false,
    };
    if to_before {
        if let Some(before) = before.and_then(|before| parts.get_mut(before)) {
            before.to = part.to;
        }
    } else if let Some(after) = parts.get_mut(index) {
        after.from = part.from;
    }
}

#[cfg(test)]
mod tests;
