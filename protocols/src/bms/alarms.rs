//! Alarm words: what a vendor calls each bit, what we call it, and how bad it is.
//!
//! Our names begin with the condition ("overvoltage"), and a suffix says where it was seen ("_pack", "_charge"), so a
//! prefix finds every kind of it. A bit that no table knows keeps a name of its own; none is dropped.

use std::borrow::Cow;

/// How bad an alarm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Someone should look.
    Warning,
    /// The board protects itself, or a part of it is broken.
    Fault,
}

/// One bit of an alarm word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlarmBit {
    /// Its name in the wire's view.
    pub wire: &'static str,
    /// Its name in a reading; several bits may share one.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
}

pub(super) const fn warning(wire: &'static str, name: &'static str) -> AlarmBit {
    AlarmBit { wire, name, severity: Severity::Warning }
}

pub(super) const fn fault(wire: &'static str, name: &'static str) -> AlarmBit {
    AlarmBit { wire, name, severity: Severity::Fault }
}

fn set_bits(word: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |bit| word & (1 << bit) != 0)
}

/// The vendor's names of the bits that are set, lowest first; `table` begins with bit 0.
pub(super) fn wire_names(word: u32, table: &[AlarmBit]) -> Vec<Cow<'static, str>> {
    let name = |bit: usize| match table.get(bit) {
        Some(known) => Cow::Borrowed(known.wire),
        None => Cow::Owned(format!("bit{bit}")),
    };
    set_bits(word).map(name).collect()
}

/// Adds our names of the bits that are set, each name once. A bit past the table is a warning of its own.
pub(super) fn sort_names(
    word: u32,
    table: &[AlarmBit],
    faults: &mut Vec<Cow<'static, str>>,
    warnings: &mut Vec<Cow<'static, str>>,
) {
    for bit in set_bits(word) {
        let (name, severity) = match table.get(bit) {
            Some(known) => (Cow::Borrowed(known.name), known.severity),
            None => (Cow::Owned(format!("unknown_bit_{bit}")), Severity::Warning),
        };
        let names = match severity {
            Severity::Fault => &mut *faults,
            Severity::Warning => &mut *warnings,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [AlarmBit; 3] =
        [fault("cell_high", "overvoltage"), fault("pack_high", "overvoltage"), warning("low", "soc_low")];

    #[test]
    fn bits_become_names_each_once_and_unknown_ones_stay() {
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        sort_names(0b1_0111, &TABLE, &mut faults, &mut warnings);
        assert_eq!(faults, ["overvoltage"]);
        assert_eq!(warnings, ["soc_low", "unknown_bit_4"]);
        assert_eq!(wire_names(0b1_0101, &TABLE), ["cell_high", "low", "bit4"]);
    }
}
