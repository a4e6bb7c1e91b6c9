//! The values of a reading as what differs from those of another one: which ones do, and of these the bytes that do.
//!
//! A bit for each value says whether it differs. Each that does is the exclusive or of both, without the zero bytes at
//! either end: a count of those, then what is left. Whole numbers and numbers that were once of four bytes end in zeros.

/// How many bytes a value has.
const VALUE_BYTES: usize = size_of::<f64>();

/// How much so many values take at most.
pub(super) fn most_bytes(values: usize) -> usize {
    values.div_ceil(8) + values * (1 + VALUE_BYTES)
}

/// So many values that don't differ.
pub(super) fn none(values: usize) -> Vec<u8> {
    vec![0; values.div_ceil(8)]
}

/// Adds the differences of as many values as there are others.
pub(super) fn push(data: &mut Vec<u8>, base: &[f64], values: &[f64]) {
    let bits_at = data.len();
    data.resize(bits_at + base.len().div_ceil(8), 0);
    for (index, (base, value)) in base.iter().zip(values).enumerate() {
        let difference = base.to_bits() ^ value.to_bits();
        if difference == 0 {
            continue;
        }
        if let Some(bits) = data.get_mut(bits_at + index / 8) {
            *bits |= 1 << (index % 8);
        }
        let (before, after) = (difference.trailing_zeros() / 8, difference.leading_zeros() / 8);
        let bytes = (difference >> (8 * before)).to_le_bytes();
        let count = 8_u32.saturating_sub(before + after);
        data.push(u8::try_from(before << 4 | count).unwrap_or_default());
        // All eight, which takes one step, and then those that are not wanted are dropped.
        let end = data.len() + usize::try_from(count).unwrap_or_default();
        data.extend_from_slice(&bytes);
        data.truncate(end);
    }
}

/// Adds the values again, in their order: all of the others as they are, and then what differs.
pub(super) fn restore(base: &[f64], data: &[u8], values: &mut Vec<f64>) {
    let from = values.len();
    values.extend_from_slice(base);
    let mut rest = Values::new(base, data);
    for (byte, bits) in rest.bits.iter().enumerate() {
        let mut left = *bits;
        while left != 0 {
            let place = from + 8 * byte + usize::try_from(left.trailing_zeros()).unwrap_or_default();
            left &= left - 1;
            let (Some(value), Some(difference)) = (values.get_mut(place), rest.next_difference()) else {
                return values.truncate(place);
            };
            *value = f64::from_bits(value.to_bits() ^ difference);
        }
    }
}

/// The values again, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Values<'a> {
    base: std::iter::Enumerate<std::slice::Iter<'a, f64>>,
    bits: &'a [u8],
    differences: &'a [u8],
}

impl<'a> Values<'a> {
    pub(super) fn new(base: &'a [f64], data: &'a [u8]) -> Self {
        let (bits, differences) = data.split_at_checked(base.len().div_ceil(8)).unwrap_or((data, &[]));
        Self { base: base.iter().enumerate(), bits, differences }
    }

    fn next_difference(&mut self) -> Option<u64> {
        let (head, rest) = self.differences.split_first()?;
        let count = head & 0x0F;
        let (bytes, after) = rest.split_at_checked(usize::from(count))?;
        self.differences = after;
        let difference = match rest.first_chunk() {
            // Eight bytes at once, of which the later ones are of the next differences.
            Some(eight) => {
                let unused = u64::BITS.saturating_sub(8 * u32::from(count));
                u64::from_le_bytes(*eight) & u64::MAX.checked_shr(unused).unwrap_or_default()
            }
            None => bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)),
        };
        Some(difference << (8 * u32::from(head >> 4)))
    }
}

impl Iterator for Values<'_> {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        let (index, base) = self.base.next()?;
        let differs = self.bits.get(index / 8).is_some_and(|bits| bits >> (index % 8) & 1 == 1);
        if !differs {
            return Some(*base);
        }
        let difference = self.next_difference()?;
        Some(f64::from_bits(base.to_bits() ^ difference))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.base.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn differences(base: &[f64], values: &[f64]) -> Vec<u8> {
        let mut data = Vec::new();
        push(&mut data, base, values);
        data
    }

    #[test]
    fn what_is_the_same_takes_a_bit_and_what_is_not_what_differs() {
        assert_eq!(differences(&[3.3; 9], &[3.3; 9]), none(9));
        assert_eq!(differences(&[0.0, 1.0], &[1.0, 1.0]), [0b01, 0x62, 0xF0, 0x3F]);
        let cells = differences(&[3.312], &[3.313]);
        assert!(cells.len() <= 8, "{cells:x?}");
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-9_999_i32..9_999).prop_map(|thousandths| f64::from(thousandths) / 1_000.0),
            any::<f32>().prop_map(f64::from),
        ]
    }

    proptest! {
        #[test]
        fn every_value_comes_back_bit_for_bit(
            pairs in prop::collection::vec((value(), value(), any::<bool>()), 0..40),
        ) {
            let base: Vec<f64> = pairs.iter().map(|(base, _, _)| *base).collect();
            let values: Vec<f64> =
                pairs.iter().map(|(base, value, same)| if *same { *base } else { *value }).collect();
            let data = differences(&base, &values);
            prop_assert!(data.len() <= most_bytes(base.len()));
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            let back: Vec<f64> = Values::new(&base, &data).collect();
            prop_assert_eq!(bits(&back), bits(&values));
            let mut after_others = vec![7.0];
            restore(&base, &data, &mut after_others);
            prop_assert_eq!(bits(&after_others), bits(&[&[7.0], values.as_slice()].concat()));
        }
    }
}
