//! A project's own DBC file: where a foxBMS whose ids or layouts were edited puts its values.
//!
//! Messages and signals are found by the names that foxBMS' own file gives them; only their places, scales and signs are
//! taken from the file. In the messages of cells and sensors the multiplexor (or the first signal) numbers the group, signals
//! of one bit say whether a place counts, and the others are the places. A file without the pack's voltage is refused.

use std::collections::BTreeMap;

use can_dbc::{ByteOrder, Dbc, MessageId, MultiplexIndicator, Signal as DbcSignal, ValueType};
use serde::{Deserialize, Serialize};

use super::messages::{COMMON, Message};
use crate::bms::alarms::Severity;
use crate::can::{CanFrame, CanId};

/// Without these there is no reading.
const ESSENTIAL: (&str, &str) = ("PackValuesP0", "BatteryVoltage");
/// What else is read, by message and signal.
const WANTED: &[(&str, &str)] = &[
    ESSENTIAL,
    ("PackValuesP0", "Current"),
    ("PackStateEstimation", "MinimumSoc"),
    ("PackStateEstimation", "Soh"),
    ("BmsState", "BmsState"),
    ("BmsState", "NumberOfConnectedStrings"),
];

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DbcTableError {
    /// It is none.
    #[error("it is no DBC file: {0}")]
    Syntax(String),
    /// It has no pack values.
    #[error("it has no signal {1} in a message {0}, without which nothing can be read")]
    NoVoltage(&'static str, &'static str),
    /// A signal stands where no frame has bits.
    #[error("its signal {0} does not fit into a frame of eight bytes")]
    Misplaced(String),
}

/// Where one value stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    id: u32,
    extended: bool,
    start: u32,
    length: u32,
    big_endian: bool,
    signed: bool,
    factor: f64,
    offset: f64,
}

/// Places of a message that comes once for each group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Groups {
    pub(super) number: Place,
    /// Where there are none, every place counts.
    pub(super) valid: Vec<Place>,
    pub(super) values: Vec<Place>,
    /// From the file's unit to ours.
    pub(super) per_unit: f64,
}

/// What is taken from a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DbcTable {
    pub(super) values: BTreeMap<String, Place>,
    /// Bits that are alarms: where, our name, and whether it is a fault.
    pub(super) alarms: Vec<(Place, String, bool)>,
    pub(super) cells: Option<Groups>,
    pub(super) sensors: Option<Groups>,
}

impl DbcTable {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, DbcTableError> {
        let dbc = Dbc::try_from(text).map_err(|error| DbcTableError::Syntax(error.to_string()))?;
        let mut table = Self { values: BTreeMap::new(), alarms: Vec::new(), cells: None, sensors: None };
        for message in &dbc.messages {
            let plain = message.signals.iter().filter(|signal| !is_multiplexed(signal));
            for signal in plain {
                if WANTED.contains(&(message.name.as_str(), signal.name.as_str())) {
                    table.values.insert(signal.name.clone(), Place::of(message.id, signal)?);
                }
                if let Some((name, severity)) =
                    alarm(&message.name, &signal.name).filter(|_| signal.size == 1)
                {
                    let is_fault = severity == Severity::Fault;
                    table.alarms.push((Place::of(message.id, signal)?, name.to_owned(), is_fault));
                }
            }
            match message.name.as_str() {
                "CellVoltages" => table.cells = Groups::of(message)?,
                "CellTemperatures" => table.sensors = Groups::of(message)?,
                _ => {}
            }
        }
        let (message, signal) = ESSENTIAL;
        match table.values.contains_key(signal) {
            true => Ok(table),
            false => Err(DbcTableError::NoVoltage(message, signal)),
        }
    }
}

/// The alarm that a bit of this name is in foxBMS' own file.
fn alarm(message: &str, signal: &str) -> Option<(&'static str, Severity)> {
    let known: &Message = COMMON.iter().find(|known| known.name == message)?;
    known.signal(signal)?.alarm
}

fn is_multiplexed(signal: &DbcSignal) -> bool {
    matches!(
        signal.multiplexer_indicator,
        MultiplexIndicator::MultiplexedSignal(_) | MultiplexIndicator::MultiplexorAndMultiplexedSignal(_)
    )
}

impl Groups {
    fn of(message: &can_dbc::Message) -> Result<Option<Self>, DbcTableError> {
        let is_switch = |signal: &&DbcSignal| signal.multiplexer_indicator == MultiplexIndicator::Multiplexor;
        let Some(number) = message.signals.iter().find(is_switch).or(message.signals.first()) else {
            return Ok(None);
        };
        // Every group has the same places, so that those of the first tell all.
        let of_first = |signal: &&DbcSignal| match signal.multiplexer_indicator {
            MultiplexIndicator::MultiplexedSignal(group) => group == 0,
            MultiplexIndicator::Plain => signal.name != number.name,
            MultiplexIndicator::Multiplexor | MultiplexIndicator::MultiplexorAndMultiplexedSignal(_) => false,
        };
        let mut first: Vec<&DbcSignal> = message.signals.iter().filter(of_first).collect();
        first.sort_by(|a, b| a.name.cmp(&b.name));
        let places = |wanted: &[&DbcSignal]| {
            wanted.iter().map(|signal| Place::of(message.id, signal)).collect::<Result<Vec<_>, _>>()
        };
        let (flags, values): (Vec<&DbcSignal>, Vec<&DbcSignal>) =
            first.into_iter().partition(|signal| signal.size == 1);
        let per_unit = if values.iter().any(|signal| signal.unit == "V") { 1000.0 } else { 1.0 };
        let valid = if flags.len() == values.len() { places(&flags)? } else { Vec::new() };
        Ok(Some(Self { number: Place::of(message.id, number)?, valid, values: places(&values)?, per_unit }))
    }
}

impl Place {
    fn of(id: MessageId, signal: &DbcSignal) -> Result<Self, DbcTableError> {
        let (id, extended) = match id {
            MessageId::Standard(id) => (u32::from(id), false),
            MessageId::Extended(id) => (id, true),
        };
        let misplaced = || DbcTableError::Misplaced(signal.name.clone());
        let start = u32::try_from(signal.start_bit).map_err(|_| misplaced())?;
        let length = u32::try_from(signal.size).map_err(|_| misplaced())?;
        let big_endian = signal.byte_order == ByteOrder::BigEndian;
        let signed = signal.value_type == ValueType::Signed;
        let (factor, offset) = (signal.factor, signal.offset);
        let place = Self { id, extended, start, length, big_endian, signed, factor, offset };
        let fits = (1..=64).contains(&length) && start < 64 && place.first_bit() + length <= 64;
        if fits { Ok(place) } else { Err(misplaced()) }
    }

    /// The first bit in the order in which the bits of this byte order follow each other.
    const fn first_bit(&self) -> u32 {
        if self.big_endian { self.start / 8 * 8 + 7 - self.start % 8 } else { self.start }
    }

    /// Whether it stands in frames of this id.
    pub(super) fn is_in(&self, frame: &CanFrame) -> bool {
        match frame.id() {
            CanId::Standard(id) => !self.extended && u32::from(id) == self.id,
            CanId::Extended(id) => self.extended && id == self.id,
        }
    }

    /// The number as it stands there; none where the frame is too short or of another id.
    pub(super) fn raw(&self, frame: &CanFrame) -> Option<i64> {
        let last = (self.first_bit() + self.length - 1) / 8;
        let data = frame.data();
        if !self.is_in(frame) || usize::try_from(last).ok()? >= data.len() {
            return None;
        }
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        let bits = if self.big_endian {
            u64::from_be_bytes(bytes) >> (64 - self.first_bit() - self.length)
        } else {
            u64::from_le_bytes(bytes) >> self.start
        };
        let unused = 64 - self.length;
        let aligned = bits << unused;
        Some(if self.signed {
            aligned.cast_signed() >> unused
        } else {
            i64::try_from(aligned >> unused).unwrap_or(i64::MAX)
        })
    }

    /// The value in the unit of the file.
    pub(super) fn value(&self, frame: &CanFrame) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "no measured value has more than 52 bits")]
        self.raw(frame).map(|raw| (raw as f64).mul_add(self.factor, self.offset))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(signals: &str) -> String {
        format!("VERSION \"\"\n\nNS_ :\n\nBS_:\n\nBU_: BMS\n\nBO_ 291 PackValuesP0: 8 BMS\n{signals}\n")
    }

    fn frame(data: &[u8]) -> CanFrame {
        CanFrame::new(CanId::Standard(0x123), data).unwrap()
    }

    #[test]
    fn a_value_is_found_where_the_file_puts_it_in_either_byte_order() {
        let text = file(
            " SG_ BatteryVoltage : 8|16@1+ (0.01,0) [0|0] \"V\" BMS\n SG_ Current : 31|16@0- (0.1,5) [0|0] \"A\" BMS",
        );
        let table = DbcTable::parse(&text).unwrap();
        let frame = frame(&[0xFF, 0x10, 0x14, 0xFF, 0x9C, 0, 0, 0]);
        let value = |name: &str| table.values[name].value(&frame);
        let close =
            |name: &str, expected: f64| value(name).is_some_and(|value| (value - expected).abs() < 1e-9);
        assert!(close("BatteryVoltage", 51.36) && close("Current", -5.0), "{table:?}");
        let short = self::frame(&[0xFF, 0x10]);
        assert_eq!(table.values["BatteryVoltage"].raw(&short), None);
    }

    #[test]
    fn a_file_that_is_none_or_has_no_pack_is_refused() {
        assert!(matches!(DbcTable::parse("hello"), Err(DbcTableError::Syntax(_))));
        let other = file(" SG_ Voltage : 8|16@1+ (0.01,0) [0|0] \"V\" BMS");
        assert!(matches!(DbcTable::parse(&other), Err(DbcTableError::NoVoltage(..))));
        let outside = file(" SG_ BatteryVoltage : 56|16@1+ (1,0) [0|0] \"V\" BMS");
        assert!(matches!(DbcTable::parse(&outside), Err(DbcTableError::Misplaced(_))));
    }

    proptest! {
        #[test]
        fn no_text_and_no_frame_makes_it_panic(text: String, start in 0u64..70, size in 0u64..70, order in 0..2, sign in prop_oneof![Just('+'), Just('-')], data in proptest::collection::vec(any::<u8>(), 0..=8)) {
            drop(DbcTable::parse(&text));
            let line = format!(" SG_ BatteryVoltage : {start}|{size}@{order}{sign} (1,0) [0|0] \"V\" BMS");
            if let Ok(table) = DbcTable::parse(&file(&line)) {
                let read = table.values["BatteryVoltage"].raw(&frame(&data));
                prop_assert!(data.len() < 8 || read.is_some());
            }
        }
    }
}
