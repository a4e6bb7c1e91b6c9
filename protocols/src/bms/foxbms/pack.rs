//! From the frames that foxBMS broadcasts to a `PackReading`.
//!
//! Nothing is asked, so this collects: what a frame said stands until the next of its kind. Cells and sensors come a few
//! at a time and are told only once a whole round was heard; a round with a gap is dropped.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use voltree_model::{PackReading, PackState, WithheldReason};

use super::dbc::DbcTable;
use super::messages::{
    CELL_TEMPERATURES, CELL_VOLTAGES, CELLS_PER_FRAME, Dialect, Message, SENSORS_PER_FRAME, message,
};
use super::signal::Signal;
use super::wire::read;
use crate::bms::alarms::Severity;
use crate::bms::sieve::Sieve;
use crate::can::{CanFrame, CanId};

/// So many frames of an id in which the layouts differ, and none that only newer releases send: an older release.
const OLDER_AFTER_FRAMES: u8 = 3;

/// How one foxBMS is spoken to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoxbmsConfig {
    /// Which releases it is of.
    pub dialect: Dialect,
    /// Whether its current is positive while discharging, as projects have it unless they changed it.
    pub positive_is_discharge: bool,
    /// Where the project's own DBC file puts the values, if it was given; the dialect is of no account then.
    pub dbc: Option<Box<DbcTable>>,
}

impl Default for FoxbmsConfig {
    fn default() -> Self {
        Self { dialect: Dialect::Auto, positive_is_discharge: true, dbc: None }
    }
}

/// What is known of one pack.
#[derive(Debug, Clone, Default)]
pub struct FoxbmsPack {
    config: FoxbmsConfig,
    dialect: Dialect,
    undecided: u8,
    words: BTreeMap<u16, u64>,
    strings: BTreeMap<i64, u64>,
    cells: Round<CELLS_PER_FRAME>,
    sensors: Round<SENSORS_PER_FRAME>,
    refused: u64,
}

impl FoxbmsPack {
    /// Knows nothing yet.
    pub fn new(config: FoxbmsConfig) -> Self {
        Self { dialect: config.dialect, config, ..Self::default() }
    }

    /// Takes one frame. Ids that are not foxBMS' are none of its business; a frame of a wrong length is counted.
    pub fn take(&mut self, frame: &CanFrame) {
        let CanId::Standard(id) = frame.id() else { return };
        self.settle(id);
        let (message, word) = match read(frame, self.dialect) {
            Ok(known) => known,
            Err(_) => {
                self.refused += u64::from(message(id, self.dialect).is_some());
                return;
            }
        };
        match message.id {
            0x240 => {
                self.strings.insert(mux(message, word), word);
            }
            0x250 => self.cells.take(CELL_VOLTAGES, word),
            0x260 => self.sensors.take(CELL_TEMPERATURES, word),
            id => {
                self.words.insert(id, word);
            }
        }
    }

    /// Starts to listen anew: what was heard before is old, but for rounds of cells that are under way.
    pub fn begin(&mut self) {
        self.words.clear();
        self.strings.clear();
        self.cells.age();
        self.sensors.age();
    }

    /// Whether the pack's own voltage and current were heard.
    pub fn has_values(&self) -> bool {
        self.words.contains_key(&0x233)
    }

    /// Whether cells or sensors are being told and no round of them is whole yet.
    pub fn awaits_round(&self) -> bool {
        self.cells.is_awaited() || self.sensors.is_awaited()
    }

    /// What stays from one cycle to the next.
    pub(super) fn kept(&self) -> Kept {
        let Self { dialect, undecided, .. } = *self;
        Kept { dialect, undecided, cells: self.cells.clone(), sensors: self.sensors.clone() }
    }

    /// Takes back what was kept.
    pub(super) fn keep(&mut self, kept: Kept) {
        let Kept { dialect, undecided, cells, sensors } = kept;
        (self.dialect, self.undecided, self.cells, self.sensors) = (dialect, undecided, cells, sensors);
    }

    /// The dialect, as far as it is known.
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Frames whose id is known and whose length is wrong.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    fn settle(&mut self, id: u16) {
        if self.dialect != Dialect::Auto && (self.config.dialect != Dialect::Auto || !Dialect::only_v1_11(id))
        {
            return;
        }
        if Dialect::only_v1_11(id) {
            self.dialect = Dialect::V1_11;
        } else if Dialect::differs(id) {
            self.undecided += 1;
            if self.undecided >= OLDER_AFTER_FRAMES {
                self.dialect = Dialect::V1_7;
            }
        }
    }

    fn value(&self, id: u16, name: &str) -> Option<f64> {
        message(id, self.dialect)?.signal(name)?.value(*self.words.get(&id)?)
    }

    /// Makes a reading of what was heard so far.
    pub fn reading(&self) -> PackReading {
        let mut sieve = Sieve::default();
        sieve.pack_voltage(self.value(0x233, "BatteryVoltage"), None);
        let sign = if self.config.positive_is_discharge { -1.0 } else { 1.0 };
        sieve.pack_current(self.value(0x233, "Current").map(|amps| amps * sign));
        // Of several strings the emptiest says how far the pack goes.
        sieve.soc(self.value(0x235, "MinimumSoc"));
        sieve.soh(self.value(0x235, "Soh"));
        sift(&mut sieve, &self.cells, &self.sensors);
        let mut reading = sieve.reading;
        self.state(&mut reading);
        self.alarms(&mut reading);
        reading
    }

    fn state(&self, reading: &mut PackReading) {
        let (Some(word), Some(state)) = (self.words.get(&0x220), message(0x220, self.dialect)) else {
            return;
        };
        let raw = |name| state.signal(name).map(|signal| signal.raw(*word));
        reading.state = match raw("BmsState") {
            Some(3..=5) => Some(PackState::Idle),
            Some(8) => Some(PackState::Discharging),
            Some(9) => Some(PackState::Charging),
            _ => None,
        };
        // One pair of contactors carries both directions.
        let connected = raw("NumberOfConnectedStrings").map(|strings| strings > 0);
        (reading.charge_enabled, reading.discharge_enabled) = (connected, connected);
    }

    fn alarms(&self, reading: &mut PackReading) {
        let pack = self.words.get(&0x220).map(|word| (0x220, word));
        for (id, word) in pack.into_iter().chain(self.strings.values().map(|word| (0x240, word))) {
            if let Some(message) = message(id, self.dialect) {
                add_alarms(message, *word, reading);
            }
        }
    }
}

fn add_alarms(message: &Message, word: u64, reading: &mut PackReading) {
    let set = message.signals.iter().filter(|signal| signal.raw(word) != 0);
    let known = set.filter_map(|signal| signal.alarm).map(|(name, severity)| (Cow::Borrowed(name), severity));
    let unknown = message.unknown_bits(word).into_iter();
    let unknown =
        unknown.map(|bit| (format!("unknown_{:03x}_bit_{bit}", message.id).into(), Severity::Warning));
    for (name, severity) in known.chain(unknown) {
        let names = match severity {
            Severity::Fault => &mut reading.faults,
            Severity::Warning => &mut reading.warnings,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
}

fn mux(message: &Message, word: u64) -> i64 {
    message.signals.first().map_or(0, |signal| signal.raw(word))
}

/// What one cycle leaves to the next.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    dialect: Dialect,
    undecided: u8,
    cells: Round<CELLS_PER_FRAME>,
    sensors: Round<SENSORS_PER_FRAME>,
}

/// A round that was heard whole counts for the cycle in which it ended and the next.
const ROUND_CYCLES: u8 = 2;

/// Tells the cells and temperatures of the last whole rounds.
pub(super) fn sift(sieve: &mut Sieve, cells: &Round<CELLS_PER_FRAME>, sensors: &Round<SENSORS_PER_FRAME>) {
    for cell in cells.whole() {
        match cell.and_then(|mv| u32::try_from(mv).ok()) {
            Some(mv) => sieve.cell(mv),
            None => sieve.no_cell(WithheldReason::SensorMissing),
        }
    }
    for sensor in sensors.whole() {
        sieve.temperature(sensor.and_then(|celsius| i32::try_from(celsius).ok()).map(f64::from));
    }
}

/// Values that come N at a time, from the first group on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Round<const N: usize> {
    groups: Vec<Vec<Option<i64>>>,
    in_order: bool,
    last_groups: usize,
    whole: Vec<Vec<Option<i64>>>,
    /// For how many cycles the whole round still counts.
    fresh: u8,
    /// Any group was heard in this cycle.
    heard: bool,
}

impl<const N: usize> Default for Round<N> {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            in_order: false,
            last_groups: 0,
            whole: Vec::new(),
            fresh: 0,
            heard: false,
        }
    }
}

impl<const N: usize> Round<N> {
    /// The last whole round, place by place.
    pub(super) fn whole(&self) -> impl Iterator<Item = &Option<i64>> {
        self.whole.iter().flatten()
    }

    pub(super) fn age(&mut self) {
        self.fresh = self.fresh.saturating_sub(1);
        self.heard = false;
        if self.fresh == 0 {
            self.whole.clear();
        }
    }

    pub(super) const fn is_awaited(&self) -> bool {
        self.heard && self.fresh == 0
    }

    fn take(&mut self, signals: &[Signal], word: u64) {
        let Some((mux, places)) = signals.split_first() else { return };
        let number = usize::try_from(mux.raw(word)).unwrap_or(usize::MAX);
        let (flags, values) = places.split_at(N);
        let group = flags.iter().zip(values);
        let group = group.map(|(flag, value)| (flag.raw(word) == 1).then(|| value.raw(word)));
        self.take_group(number, group.collect());
    }

    /// Takes the group of this number.
    pub(super) fn take_group(&mut self, number: usize, places: Vec<Option<i64>>) {
        self.heard = true;
        if number == 0 {
            self.close();
        }
        if number != self.groups.len() {
            self.in_order = false;
            return;
        }
        self.groups.push(places);
    }

    /// The first group comes again: what was heard since it came last is a whole round, unless one was lost. A round
    /// that is shorter than the last may have lost its end and counts only when it comes twice.
    fn close(&mut self) {
        let heard = std::mem::take(&mut self.groups);
        let groups = heard.len();
        if self.in_order && groups > 0 && (groups >= self.whole.len() || groups == self.last_groups) {
            self.whole = heard;
            self.fresh = ROUND_CYCLES;
        }
        self.last_groups = groups;
        self.in_order = true;
    }
}

#[cfg(test)]
mod tests;
