//! One value in a frame of eight bytes, most significant byte first, as a DBC file places it.
//!
//! The start is the place of the most significant bit, numbered byte × 8 + bit with bit 7 as the top of its byte; from
//! there a value runs down and on into the top of the next byte.

use serde_json::{Value, json};

use crate::bms::alarms::Severity;
use crate::bms::fields::float;

/// How a value is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shown {
    /// As a number in its unit.
    Scaled(f64),
    /// By a word for each number; one past the words stays a number.
    Words(&'static [&'static str]),
    /// As the string's number.
    StringNumber,
    /// As the first and last of a group of so many, with this name in front.
    Group(&'static str, u8),
}

/// Where a value stands and what it means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signal {
    /// Its name in foxBMS' own DBC file.
    pub name: &'static str,
    /// The place of its most significant bit, as in a DBC file.
    pub start: u8,
    /// How many bits it has, 1 to 32.
    pub length: u8,
    /// Whether the top bit is a sign.
    pub signed: bool,
    /// How it is shown.
    pub shown: Shown,
    pub(super) alarm: Option<(&'static str, Severity)>,
}

const fn signal(name: &'static str, start: u8, length: u8, signed: bool, shown: Shown) -> Signal {
    Signal { name, start, length, signed, shown, alarm: None }
}

pub(super) const fn unsigned(name: &'static str, start: u8, length: u8, scale: f64) -> Signal {
    signal(name, start, length, false, Shown::Scaled(scale))
}

pub(super) const fn signed(name: &'static str, start: u8, length: u8, scale: f64) -> Signal {
    signal(name, start, length, true, Shown::Scaled(scale))
}

pub(super) const fn words(
    name: &'static str,
    start: u8,
    length: u8,
    words: &'static [&'static str],
) -> Signal {
    signal(name, start, length, false, Shown::Words(words))
}

pub(super) const fn string_number(name: &'static str, start: u8, length: u8) -> Signal {
    signal(name, start, length, false, Shown::StringNumber)
}

pub(super) const fn group(name: &'static str, shown: &'static str, size: u8) -> Signal {
    signal(name, 7, 8, false, Shown::Group(shown, size))
}

impl Signal {
    /// This bit is an alarm where it is set.
    pub(super) const fn alarm(mut self, name: &'static str, severity: Severity) -> Self {
        self.alarm = Some((name, severity));
        self
    }

    /// Bits behind the value in the frame.
    const fn shift(&self) -> u32 {
        let first = (self.start / 8) * 8 + (7 - self.start % 8);
        (64u8.saturating_sub(first).saturating_sub(self.length)) as u32
    }

    /// The bits that the value has in a frame.
    pub(super) const fn mask(&self) -> u64 {
        ((1u64 << self.length) - 1) << self.shift()
    }

    /// Reads the whole number as it stands in the frame.
    pub fn raw(&self, frame: u64) -> i64 {
        let bits = (frame & self.mask()) >> self.shift();
        let bits = i64::try_from(bits).unwrap_or(i64::MAX);
        let top = 1i64 << (self.length - 1);
        if self.signed && bits >= top { bits - 2 * top } else { bits }
    }

    /// Writes a whole number into a frame; bits that do not fit are cut off.
    pub fn put(&self, frame: &mut u64, raw: i64) {
        let bits = u64::from_be_bytes(raw.to_be_bytes());
        *frame = *frame & !self.mask() | bits << self.shift() & self.mask();
    }

    /// Reads the value in its unit; words and the like have none.
    pub fn value(&self, frame: u64) -> Option<f64> {
        match self.shown {
            Shown::Scaled(scale) => Some(float(self.raw(frame))? * scale),
            Shown::Words(_) | Shown::StringNumber | Shown::Group(..) => None,
        }
    }

    pub(super) fn show(&self, frame: u64) -> Value {
        let raw = self.raw(frame);
        match self.shown {
            Shown::Scaled(scale) if (scale - 1.0).abs() < f64::EPSILON => json!(raw),
            Shown::Scaled(_) => json!(self.value(frame)),
            Shown::StringNumber => json!(format!("String{raw}")),
            Shown::Group(name, size) => {
                let first = raw * i64::from(size);
                json!(format!("{name}_{first:03}_{:03}", first + i64::from(size) - 1))
            }
            Shown::Words(words) => {
                let word = usize::try_from(raw).ok().and_then(|index| words.get(index));
                word.map_or(json!(raw), |word| json!(word))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_runs_on_into_the_next_byte() {
        let frame = 0x00C7_C800_0000_0000;
        assert_eq!(unsigned("v", 4, 18, 0.01).raw(frame), 6393);
        let frame = 0x1B88_3704_1820_223D;
        assert_eq!(
            (unsigned("v", 7, 15, 0.1).raw(frame), signed("a", 40, 17, 0.01).raw(frame)),
            (3524, 8765)
        );
    }

    proptest! {
        #[test]
        fn a_value_survives_the_frame_and_leaves_its_neighbours(frame: u64, row in 0u8..4, bit in 0u8..8, length in 1u8..=25, is_signed: bool, raw: u32) {
            let signal = signal("x", row * 8 + bit, length, is_signed, Shown::Scaled(1.0));
            let low = i64::from(raw) & ((1 << length) - 1);
            let raw = if is_signed && low >= 1 << (length - 1) { low - (1 << length) } else { low };
            let mut written = frame;
            signal.put(&mut written, raw);
            prop_assert_eq!(signal.raw(written), raw);
            prop_assert_eq!(written & !signal.mask(), frame & !signal.mask());
        }
    }
}
