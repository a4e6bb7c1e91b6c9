//! Integers packed into as many bits as they need, block by block: what short columns shrink best by, and any column fastest.
//!
//! A block of 64 numbers has its smallest as a base and the width of the others above it; where that is shorter, the numbers
//! are the differences between those of the column. pco does better from about a thousand numbers on, and before that its
//! own headers and tables cost more than they save. Decoding trusts nothing.

use super::Reader;
use crate::Error;
use crate::frame::corrupt;

/// How many numbers share a base and a width.
const BLOCK: usize = 64;
const AS_THEY_ARE: u8 = 0;
const DIFFERENCES: u8 = 1;

/// Adds a column of numbers.
pub(super) fn push(bytes: &mut Vec<u8>, numbers: &[i64]) {
    // The first difference is the first number itself, and stands alone.
    let first = numbers.first().copied().unwrap_or_default();
    let pairs = numbers.iter().zip(numbers.iter().skip(1));
    let differences: Vec<i64> = pairs.map(|(before, after)| after.wrapping_sub(*before)).collect();
    let (as_they_are, by_differences) = (Blocks::of(numbers), Blocks::of(&differences));
    if by_differences.size() + 1 + varint_bytes(first) < as_they_are.size() {
        bytes.push(DIFFERENCES);
        push_varint(bytes, first);
        by_differences.push_to(bytes);
    } else {
        bytes.push(AS_THEY_ARE);
        as_they_are.push_to(bytes);
    }
}

/// Reads exactly `count` numbers, which must be all that there is.
pub(super) fn read(mut reader: Reader<'_>, count: usize) -> Result<Vec<i64>, Error> {
    let mut numbers = Vec::with_capacity(count);
    match reader.u8()? {
        AS_THEY_ARE => read_blocks(&mut reader, count, &mut numbers)?,
        DIFFERENCES if count > 0 => {
            let mut number = read_varint(&mut reader)?;
            read_blocks(&mut reader, count - 1, &mut numbers)?;
            for difference in &mut numbers {
                let next = number.wrapping_add(*difference);
                *difference = std::mem::replace(&mut number, next);
            }
            numbers.push(number);
        }
        _ => return Err(corrupt("a column's order is not known here")),
    }
    if !reader.rest().is_empty() {
        return Err(corrupt("a column has another length than the frame"));
    }
    Ok(numbers)
}

/// Numbers with the base and the width of each of their blocks.
struct Blocks<'a> {
    numbers: &'a [i64],
    heads: Vec<(i64, u32)>,
}

impl<'a> Blocks<'a> {
    fn of(numbers: &'a [i64]) -> Self {
        let head = |block: &[i64]| {
            let (mut min, mut max) = (i64::MAX, i64::MIN);
            for number in block {
                (min, max) = (min.min(*number), max.max(*number));
            }
            (min, u64::BITS - max.abs_diff(min).leading_zeros())
        };
        Self { numbers, heads: numbers.chunks(BLOCK).map(head).collect() }
    }

    /// How many bytes they take.
    fn size(&self) -> usize {
        let blocks = self.heads.iter().zip(self.numbers.chunks(BLOCK));
        blocks.map(|((base, width), block)| 1 + varint_bytes(*base) + packed_bytes(*width, block.len())).sum()
    }

    fn push_to(&self, bytes: &mut Vec<u8>) {
        for ((base, width), block) in self.heads.iter().zip(self.numbers.chunks(BLOCK)) {
            push_varint(bytes, *base);
            bytes.push(u8::try_from(*width).unwrap_or(u8::MAX));
            push_above(bytes, block, *base, *width);
        }
    }
}

/// Adds what the numbers of a block are above its base, in `width` bits each.
fn push_above(bytes: &mut Vec<u8>, block: &[i64], base: i64, width: u32) {
    let (mut word, mut used) = (0_u64, 0);
    for number in block {
        let above = number.wrapping_sub(base).cast_unsigned();
        word |= above.checked_shl(used).unwrap_or_default();
        used += width;
        if used >= u64::BITS {
            bytes.extend_from_slice(&word.to_le_bytes());
            used -= u64::BITS;
            word = above.checked_shr(width - used).unwrap_or_default();
        }
    }
    let left = usize::try_from(used.div_ceil(8)).unwrap_or_default();
    bytes.extend(word.to_le_bytes().iter().take(left));
}

fn packed_bytes(width: u32, len: usize) -> usize {
    (usize::try_from(width).unwrap_or_default() * len).div_ceil(8)
}

fn read_blocks(reader: &mut Reader<'_>, count: usize, numbers: &mut Vec<i64>) -> Result<(), Error> {
    let mut left = count;
    while left > 0 {
        let len = left.min(BLOCK);
        left -= len;
        let base = read_varint(reader)?;
        let width = u32::from(reader.u8()?);
        if width > u64::BITS {
            return Err(corrupt("a column has an impossible width"));
        }
        let packed = reader.take(packed_bytes(width, len))?;
        let mut words = [0_u64; BLOCK + 1];
        for (word, bytes) in words.iter_mut().zip(packed.chunks(8)) {
            let mut whole = [0; 8];
            whole.iter_mut().zip(bytes).for_each(|(byte, from)| *byte = *from);
            *word = u64::from_le_bytes(whole);
        }
        let mask = 1_u64.checked_shl(width).map_or(u64::MAX, |bit| bit - 1);
        let mut at = 0;
        for _ in 0..len {
            let (place, shift) = (at / 64, u32::try_from(at % 64).unwrap_or_default());
            let low = words.get(place).copied().unwrap_or_default() >> shift;
            let high = words.get(place + 1).copied().unwrap_or_default();
            let high = high.checked_shl(u64::BITS - shift).unwrap_or_default();
            numbers.push(base.wrapping_add(((low | high) & mask).cast_signed()));
            at += usize::try_from(width).unwrap_or_default();
        }
    }
    Ok(())
}

/// Small numbers of either sign become small ones without.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn varint_bytes(number: i64) -> usize {
    let bits = u64::BITS - zigzag(number).leading_zeros();
    usize::try_from(bits.div_ceil(7).max(1)).unwrap_or_default()
}

fn push_varint(bytes: &mut Vec<u8>, number: i64) {
    let mut left = zigzag(number);
    loop {
        let low = u8::try_from(left & 0x7f).unwrap_or_default();
        left >>= 7;
        if left == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

fn read_varint(reader: &mut Reader<'_>) -> Result<i64, Error> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = reader.u8()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    Err(corrupt("a number is too long"))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = Vec<i64>> {
        let edges = prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), Just(-1), any::<i64>()];
        let small = (any::<i64>(), 0..63_u32).prop_flat_map(|(base, bits)| {
            vec((0..1_i64 << bits).prop_map(move |above| base.wrapping_add(above)), 0..300)
        });
        prop_oneof![vec(edges, 0..200), small]
    }

    proptest! {
        #[test]
        fn numbers_come_back(numbers in numbers()) {
            let mut bytes = Vec::new();
            push(&mut bytes, &numbers);
            prop_assert_eq!(read(Reader::new(&bytes), numbers.len()).unwrap(), numbers.clone());
            bytes.push(0);
            prop_assert!(read(Reader::new(&bytes), numbers.len()).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..100), count in 0..200_usize) {
            read(Reader::new(&bytes), count).ok();
        }
    }

    #[test]
    fn what_drifts_is_packed_by_its_differences() {
        let mut bytes = Vec::new();
        let drifts: Vec<i64> = (0..600).map(|n| 1_700_000_000_000 + n * 1_000 + n % 3).collect();
        push(&mut bytes, &drifts);
        assert!(bytes.len() < 300, "{}", bytes.len());
    }
}
