//! From a pack's quantities to the whole numbers of a wire, and what simulated boards complain of.
//!
//! A value that does not fit is clamped: a simulated board never sends nonsense by accident.

use super::pack::SimPack;
use super::protection::Protection;

/// How far the cells may differ before boards complain.
const IMBALANCE_MV: u16 = 300;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded and clamped to the type's range"
)]
pub(super) fn to_u32(value: f64) -> u32 {
    value.round().clamp(0.0, f64::from(u32::MAX)) as u32
}

pub(super) fn to_u16(value: f64) -> u16 {
    u16::try_from(to_u32(value)).unwrap_or(u16::MAX)
}

pub(super) fn to_u8(value: f64) -> u8 {
    u8::try_from(to_u32(value)).unwrap_or(u8::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "rounded and clamped to the type's range")]
pub(super) fn to_i16(value: f64) -> i16 {
    value.round().clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16
}

pub(super) fn count(items: usize) -> u8 {
    u8::try_from(items).unwrap_or(u8::MAX)
}

pub(super) fn millivolts(pack: &SimPack) -> Vec<u16> {
    pack.cell_volts().into_iter().map(|volts| to_u16(volts * 1000.0)).collect()
}

/// What a board would complain about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Complaints {
    pub(super) overvoltage: bool,
    pub(super) undervoltage: bool,
    pub(super) imbalance: bool,
    pub(super) hot: bool,
    pub(super) cold: bool,
}

impl Complaints {
    pub(super) fn of(pack: &SimPack) -> Self {
        let cells = millivolts(pack);
        let (max, min) = (cells.iter().copied().max(), cells.iter().copied().min());
        let complains = |of: [Protection; 2]| {
            pack.protections().any(|(which, warns, tripped)| of.contains(&which) && (warns || tripped))
        };
        Self {
            overvoltage: complains([Protection::CellOvervoltage; 2]),
            undervoltage: complains([Protection::CellUndervoltage; 2]),
            imbalance: max.zip(min).is_some_and(|(max, min)| max - min >= IMBALANCE_MV),
            hot: complains([Protection::ChargeOvertemperature, Protection::DischargeOvertemperature]),
            cold: complains([Protection::ChargeUndertemperature, Protection::DischargeUndertemperature]),
        }
    }

    /// Puts the complaints at the given bits of a word.
    pub(super) fn bits(self, places: [u32; 5]) -> u32 {
        let found = [self.overvoltage, self.undervoltage, self.imbalance, self.hot, self.cold];
        found.into_iter().zip(places).fold(0, |word, (set, bit)| word | u32::from(set) << bit)
    }
}
