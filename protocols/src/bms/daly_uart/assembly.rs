//! Joins the frames of one answer that spans several: cell voltages (0x95) and temperatures (0x96).
//!
//! Boards number their frames from 1, the vendor's papers from 0; which one it is shows in the numbers themselves.
//! Slots past the last cell or sensor hold leftovers, so the values are cut at the count that 0x94 gave, and a set
//! with a hole in it gives nothing at all.

use std::collections::BTreeMap;

/// The number that marks a frame as invalid.
const INVALID_NUMBER: u8 = 0xFF;

/// Frames of one answer, `N` values each.
#[derive(Debug, Clone)]
pub struct Assembly<T, const N: usize> {
    values: usize,
    frames: BTreeMap<u8, [T; N]>,
}

impl<T: Copy, const N: usize> Assembly<T, N> {
    /// Waits for as many frames as `values` need.
    pub fn new(values: u8) -> Self {
        Self { values: usize::from(values), frames: BTreeMap::new() }
    }

    /// Takes a frame; the last of several with the same number counts.
    pub fn push(&mut self, number: u8, values: [T; N]) {
        if number != INVALID_NUMBER {
            self.frames.insert(number, values);
        }
    }

    /// Tells whether nothing has arrived yet.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Hands out the values, cut at their count, once no frame is missing.
    pub fn complete(&self) -> Option<Vec<T>> {
        let base: u8 = if self.frames.contains_key(&0) { 0 } else { 1 };
        let frames = u8::try_from(self.values.div_ceil(N)).ok()?;
        let mut values = Vec::with_capacity(self.values);
        for number in base..base.saturating_add(frames) {
            values.extend_from_slice(self.frames.get(&number)?);
        }
        values.truncate(self.values);
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assembly(values: u8, numbers: &[u8]) -> Assembly<u16, 3> {
        let mut assembly = Assembly::new(values);
        for (index, number) in numbers.iter().enumerate() {
            let first = u16::try_from(index).unwrap() * 3;
            assembly.push(*number, [first, first + 1, first + 2]);
        }
        assembly
    }

    #[test]
    fn frames_may_be_numbered_from_one_or_from_zero() {
        let expected = Some((0..7).collect::<Vec<u16>>());
        assert_eq!(assembly(7, &[1, 2, 3]).complete(), expected);
        assert_eq!(assembly(7, &[0, 1, 2]).complete(), expected);
    }

    #[test]
    fn a_hole_gives_nothing() {
        assert_eq!(assembly(7, &[1, 3]).complete(), None);
        assert_eq!(assembly(7, &[0, 2]).complete(), None);
        assert_eq!(assembly(7, &[1, 2, 0xFF]).complete(), None);
        assert_eq!(assembly(7, &[]).complete(), None);
    }

    #[test]
    fn frames_past_the_count_are_ignored() {
        assert_eq!(assembly(2, &[1, 2, 3]).complete(), Some(vec![0, 1]));
    }
}
