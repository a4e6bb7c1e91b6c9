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
pub(super) fn push(bytes: &mut Vec<u8>, numbers: impl Iterator<Item = i64> + Clone) {
    let mut last = 0_i64;
    let mut rest =
        numbers.clone().map(move |number| number.wrapping_sub(std::mem::replace(&mut last, number)));
    // The first difference is the first number itself, and stands alone.
    let first = rest.next().unwrap_or_default();
    if size(rest.clone()) + size(std::iter::once(first)) < size(numbers.clone()) {
        bytes.push(DIFFERENCES);
        push_varint(bytes, first);
        push_blocks(bytes, rest);
    } else {
        bytes.push(AS_THEY_ARE);
        push_blocks(bytes, numbers);
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

/// One block's numbers, in a buffer.
struct Block {
    numbers: [i64; BLOCK],
    len: usize,
}

impl Block {
    /// The next numbers; `None` if there are no more.
    fn next(numbers: &mut impl Iterator<Item = i64>) -> Option<Self> {
        let mut block = Self { numbers: [0; BLOCK], len: 0 };
        for (place, number) in block.numbers.iter_mut().zip(numbers) {
            *place = number;
            block.len += 1;
        }
        (block.len > 0).then_some(block)
    }

    fn numbers(&self) -> &[i64] {
        self.numbers.get(..self.len).unwrap_or_default()
    }

    /// The smallest number, and how many bits the others take above it.
    fn base_and_width(&self) -> (i64, u32) {
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        for number in self.numbers() {
            (min, max) = (min.min(*number), max.max(*number));
        }
        (min, u64::BITS - max.abs_diff(min).leading_zeros())
    }
}

fn packed_bytes(width: u32, len: usize) -> usize {
    (usize::try_from(width).unwrap_or_default() * len).div_ceil(8)
}

/// How many bytes the blocks of these numbers take.
fn size(mut numbers: impl Iterator<Item = i64>) -> usize {
    let mut bytes = 0;
    while let Some(block) = Block::next(&mut numbers) {
        let (base, width) = block.base_and_width();
        bytes += 1 + varint_bytes(base) + packed_bytes(width, block.len);
    }
    bytes
}

fn push_blocks(bytes: &mut Vec<u8>, mut numbers: impl Iterator<Item = i64>) {
    while let Some(block) = Block::next(&mut numbers) {
        let (base, width) = block.base_and_width();
        push_varint(bytes, base);
        bytes.push(u8::try_from(width).unwrap_or(u8::MAX));
        let (mut word, mut used) = (0_u64, 0);
        for number in block.numbers() {
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
            push(&mut bytes, numbers.iter().copied());
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
        push(&mut bytes, (0..600).map(|n| 1_700_000_000_000 + n * 1_000 + n % 3));
        assert!(bytes.len() < 300, "{}", bytes.len());
    }
}
