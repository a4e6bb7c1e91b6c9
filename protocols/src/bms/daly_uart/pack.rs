//! From one cycle's answers to a `PackReading`: the current's sign, and what is too odd to be believed.
//!
//! Boards send corrupt values now and then, with a good checksum. A value outside of what its quantity can be is
//! withheld with its reason, never clamped or zero-filled, and the values beside it are kept.

use serde::{Deserialize, Serialize};
use voltree_model::{
    AmpHours, Amps, Celsius, Millivolts, PackReading, PackState, Percent, Volts, Withheld, WithheldReason,
};

use super::{
    Answer, BalanceAnswer, FaultsAnswer, MAX_CELLS, MAX_SENSORS, PackAnswer, Severity, StatusAnswer,
    SwitchesAnswer,
};

const MAX_AMPS: f64 = 1000.0;
const MAX_AMP_HOURS: f64 = 10_000.0;
const CELL_VOLTS: std::ops::RangeInclusive<f64> = 1.0..=5.0;
const PACK_VOLTS: std::ops::RangeInclusive<f64> = 2.0..=240.0;
/// What an open sense wire reads.
const OPEN_WIRE_MV: u16 = 5000;
/// Below this a cell is not there, or its wire is not.
const MIN_CELL_MV: u16 = 1400;
const MAX_CELSIUS: f64 = 125.0;
const TEMPERATURE_OFFSET: f64 = 40.0;
/// Below this the state says nothing about the sign of the current.
const MIN_AMPS_FOR_SIGN: f64 = 1.0;
/// A remembered sign is given up after as many contradictions in a row: 0x90 and 0x93 are not read at the same time.
const CONTRADICTIONS_TO_RELEARN: u8 = 3;

/// How a board's current is to be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CurrentSign {
    /// Learned from the board's own state.
    #[default]
    Auto,
    /// Above 30000 charges.
    Normal,
    /// Above 30000 discharges.
    Inverted,
}

/// What was learned of a board's sign.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignMemory {
    inverted: Option<bool>,
    contradictions: u8,
}

impl SignMemory {
    /// Looks at a current and the state beside it, and remembers what they tell.
    pub fn observe(&mut self, wire_amps: f64, state: Option<PackState>) {
        let Some(seen) = sign_of_current(wire_amps, state) else { return };
        if self.inverted == Some(seen.inverted()) {
            self.contradictions = 0;
            return;
        }
        self.contradictions += 1;
        if self.inverted.is_none() || self.contradictions >= CONTRADICTIONS_TO_RELEARN {
            *self = Self { inverted: Some(seen.inverted()), contradictions: 0 };
        }
    }

    /// The sign as far as it is known.
    pub fn learned(&self) -> Option<CurrentSign> {
        self.inverted.map(|inverted| if inverted { CurrentSign::Inverted } else { CurrentSign::Normal })
    }
}

impl CurrentSign {
    fn inverted(self) -> bool {
        self == Self::Inverted
    }

    /// Turns a current as sent into ours: positive while charging.
    pub fn apply(self, wire_amps: f64) -> Amps {
        // The sum turns a negative zero into a plain one.
        Amps(if self.inverted() { -wire_amps + 0.0 } else { wire_amps })
    }
}

/// Tells from the board's state which sign its current has; `None` where they don't tell.
pub fn sign_of_current(wire_amps: f64, state: Option<PackState>) -> Option<CurrentSign> {
    if wire_amps.abs() < MIN_AMPS_FOR_SIGN {
        return None;
    }
    let positive_means_charging = match state? {
        PackState::Idle => return None,
        PackState::Charging => wire_amps > 0.0,
        PackState::Discharging => wire_amps < 0.0,
    };
    Some(if positive_means_charging { CurrentSign::Normal } else { CurrentSign::Inverted })
}

impl SwitchesAnswer {
    /// The state, where the board gave one that is known.
    pub fn state(&self) -> Option<PackState> {
        match self.state_raw {
            0 => Some(PackState::Idle),
            1 => Some(PackState::Charging),
            2 => Some(PackState::Discharging),
            _ => None,
        }
    }
}

/// An answer in several frames, as far as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Several<T> {
    /// Nothing came.
    #[default]
    Silent,
    /// Some frames came.
    Incomplete,
    /// All values.
    Whole(Vec<T>),
}

/// What a board answered in one cycle.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    pub(super) status: Option<StatusAnswer>,
    pub(super) pack: Option<PackAnswer>,
    pub(super) switches: Option<SwitchesAnswer>,
    pub(super) cells: Several<u16>,
    pub(super) temperatures: Several<u8>,
    pub(super) balance: Option<BalanceAnswer>,
    pub(super) faults: Option<FaultsAnswer>,
}

/// Tells whether an answer is worth reading; asked again if not.
pub(super) fn plausible(answer: &Answer) -> bool {
    match answer {
        Answer::Pack(pack) => {
            PACK_VOLTS.contains(&pack.volts())
                && pack.wire_amps().abs() < MAX_AMPS
                && (0.0..=100.0).contains(&pack.soc_percent())
        }
        Answer::Status(status) => (1..=MAX_CELLS).contains(&status.cells) && status.sensors <= MAX_SENSORS,
        Answer::CellExtremes(_)
        | Answer::TemperatureExtremes(_)
        | Answer::Switches(_)
        | Answer::Cells(_)
        | Answer::Temperatures(_)
        | Answer::Balance(_)
        | Answer::Faults(_)
        | Answer::Other { .. } => true,
    }
}

/// Writes down a reading and what it leaves out.
#[derive(Default)]
struct Sieve {
    withheld: Vec<Withheld>,
}

impl Sieve {
    fn withhold<T>(&mut self, metric: impl Into<String>, reason: WithheldReason) -> Option<T> {
        self.withheld.push(Withheld { metric: metric.into(), reason });
        None
    }

    fn in_range(&mut self, metric: &str, value: f64, range: &std::ops::RangeInclusive<f64>) -> Option<f64> {
        if range.contains(&value) { Some(value) } else { self.withhold(metric, WithheldReason::OutOfRange) }
    }

    fn cells(&mut self, cells: Several<u16>) -> Vec<Option<Millivolts>> {
        let Several::Whole(cells) = self.whole("cell_voltage", cells) else { return Vec::new() };
        let believed = |(index, mv): (usize, u16)| {
            let metric = || format!("cell_voltage_{}", index + 1);
            match mv {
                OPEN_WIRE_MV | 0..MIN_CELL_MV => self.withhold(metric(), WithheldReason::SensorMissing),
                OPEN_WIRE_MV.. => self.withhold(metric(), WithheldReason::OutOfRange),
                mv => Some(Millivolts(mv)),
            }
        };
        cells.into_iter().enumerate().map(believed).collect()
    }

    fn temperatures(&mut self, temperatures: Several<u8>) -> Vec<Option<Celsius>> {
        let Several::Whole(raw) = self.whole("temperature", temperatures) else { return Vec::new() };
        let believed = |(index, raw): (usize, u8)| {
            let metric = || format!("temperature_{}", index + 1);
            let celsius = f64::from(raw) - TEMPERATURE_OFFSET;
            match raw {
                0 | 0xFF => self.withhold(metric(), WithheldReason::SensorMissing),
                _ if celsius > MAX_CELSIUS => self.withhold(metric(), WithheldReason::OutOfRange),
                _ => Some(Celsius(celsius)),
            }
        };
        raw.into_iter().enumerate().map(believed).collect()
    }

    fn whole<T>(&mut self, metric: &str, several: Several<T>) -> Several<T> {
        if matches!(several, Several::Incomplete) {
            self.withheld.push(Withheld { metric: metric.to_owned(), reason: WithheldReason::Incomplete });
        }
        several
    }

    fn pack(&mut self, pack: &PackAnswer, cells: Option<u8>, sign: CurrentSign, reading: &mut PackReading) {
        let volts = match cells.map(f64::from) {
            Some(cells) => cells * CELL_VOLTS.start()..=cells * CELL_VOLTS.end(),
            None => PACK_VOLTS,
        };
        reading.pack_voltage = self.in_range("pack_voltage", pack.volts(), &volts).map(Volts);
        let amps = self.in_range("pack_current", pack.wire_amps(), &(-MAX_AMPS..=MAX_AMPS));
        reading.pack_current = amps.map(|amps| sign.apply(amps));
        reading.soc = self.in_range("soc_percent", pack.soc_percent(), &(0.0..=100.0)).map(Percent);
    }

    fn switches(&mut self, switches: &SwitchesAnswer, reading: &mut PackReading) {
        let amp_hours = f64::from(switches.remaining_mah) / 1000.0;
        reading.remaining_capacity =
            self.in_range("remaining_capacity", amp_hours, &(0.0..=MAX_AMP_HOURS)).map(AmpHours);
        reading.state = match switches.state() {
            Some(state) => Some(state),
            None => self.withhold("state", WithheldReason::OutOfRange),
        };
        reading.charge_enabled = Some(switches.charge_closed);
        reading.discharge_enabled = Some(switches.discharge_closed);
    }
}

/// Makes the reading of one cycle. `cells` is the cell count as last heard.
pub(super) fn reading(answers: Answers, cells: Option<u8>, sign: CurrentSign) -> PackReading {
    let mut sieve = Sieve::default();
    let mut reading = PackReading::default();
    if let Some(pack) = &answers.pack {
        sieve.pack(pack, cells, sign, &mut reading);
    }
    if let Some(switches) = &answers.switches {
        sieve.switches(switches, &mut reading);
    }
    reading.cycles = answers.status.map(|status| u32::from(status.cycles));
    reading.cell_voltages = sieve.cells(answers.cells);
    reading.temperatures = sieve.temperatures(answers.temperatures);
    reading.cells_balancing = answers.balance.map(|balance| {
        balance.cells().into_iter().filter(|cell| cells.is_none_or(|count| *cell <= count)).collect()
    });
    if let Some(faults) = &answers.faults {
        reading.faults = faults.names(Severity::Fault);
        reading.warnings = faults.names(Severity::Warning);
    }
    reading.withheld = sieve.withheld;
    reading
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(voltage_raw: u16, current_raw: u16, soc_raw: u16) -> Answers {
        let pack = PackAnswer { voltage_raw, gather_voltage_raw: 0, current_raw, soc_raw };
        Answers { pack: Some(pack), ..Answers::default() }
    }

    fn withheld(reading: &PackReading) -> Vec<(&str, WithheldReason)> {
        reading.withheld.iter().map(|w| (w.metric.as_str(), w.reason)).collect()
    }

    #[test]
    fn values_that_can_not_be_true_are_withheld_one_by_one() {
        let reading = reading(pack(528, 0, 1001), Some(16), CurrentSign::Normal);
        assert_eq!(reading.pack_voltage, Some(Volts(52.8)));
        assert_eq!((reading.pack_current, reading.soc), (None, None));
        let out = WithheldReason::OutOfRange;
        assert_eq!(withheld(&reading), [("pack_current", out), ("soc_percent", out)]);
    }

    #[test]
    fn the_pack_voltage_must_suit_the_cell_count() {
        let of = |cells| reading(pack(528, 30_000, 500), cells, CurrentSign::Normal).pack_voltage;
        assert_eq!(of(Some(16)), Some(Volts(52.8)));
        assert_eq!(of(Some(4)), None);
        assert_eq!(of(None), Some(Volts(52.8)));
    }

    #[test]
    fn open_wires_and_missing_sensors_leave_a_gap_with_a_reason() {
        let answers = Answers {
            cells: Several::Whole(vec![3301, 5000, 0, 5001]),
            temperatures: Several::Whole(vec![61, 0, 0xFF, 200]),
            ..Answers::default()
        };
        let reading = reading(answers, Some(4), CurrentSign::Normal);
        assert_eq!(reading.cell_voltages, [Some(Millivolts(3301)), None, None, None]);
        assert_eq!(reading.temperatures, [Some(Celsius(21.0)), None, None, None]);
        let (missing, out) = (WithheldReason::SensorMissing, WithheldReason::OutOfRange);
        let expected = [
            ("cell_voltage_2", missing),
            ("cell_voltage_3", missing),
            ("cell_voltage_4", out),
            ("temperature_2", missing),
            ("temperature_3", missing),
            ("temperature_4", out),
        ];
        assert_eq!(withheld(&reading), expected);
    }

    #[test]
    fn an_incomplete_set_gives_no_array() {
        let reading =
            reading(Answers { cells: Several::Incomplete, ..Answers::default() }, None, CurrentSign::Auto);
        assert!(reading.cell_voltages.is_empty());
        assert_eq!(withheld(&reading), [("cell_voltage", WithheldReason::Incomplete)]);
    }

    #[test]
    fn the_sign_is_learned_from_the_state_and_kept_while_idle() {
        let mut memory = SignMemory::default();
        memory.observe(0.9, Some(PackState::Discharging));
        assert_eq!(memory.learned(), None);
        memory.observe(50.0, Some(PackState::Discharging));
        memory.observe(25.0, Some(PackState::Idle));
        assert_eq!(memory.learned(), Some(CurrentSign::Inverted));
        assert_eq!(CurrentSign::Inverted.apply(50.0), Amps(-50.0));
    }

    #[test]
    fn one_contradiction_does_not_turn_a_learned_sign_three_do() {
        let mut memory = SignMemory::default();
        memory.observe(50.0, Some(PackState::Charging));
        for _ in 0..2 {
            memory.observe(50.0, Some(PackState::Discharging));
        }
        memory.observe(50.0, Some(PackState::Charging));
        for _ in 0..2 {
            memory.observe(50.0, Some(PackState::Discharging));
        }
        assert_eq!(memory.learned(), Some(CurrentSign::Normal));
        memory.observe(50.0, Some(PackState::Discharging));
        assert_eq!(memory.learned(), Some(CurrentSign::Inverted));
    }

    #[test]
    fn no_current_has_no_sign() {
        assert!(CurrentSign::Inverted.apply(0.0).0.is_sign_positive());
    }
}
