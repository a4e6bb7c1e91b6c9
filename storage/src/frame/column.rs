//! The blocks that frames and rollups are made of: a length and then bytes, most of them a compressed column of numbers.
//!
//! The only file that knows pco. Every column says how it was encoded, so that each can have what suits it: what
//! devices say is mostly decimal, and decimals shrink best as integers. Whatever the codec, bits come back as they were.

mod order;
mod packed;

use pco::data_types::Number;
use pco::errors::PcoError;
use pco::standalone;
use pco::{ChunkConfig, DeltaSpec, ModeSpec};

use crate::Error;
use crate::frame::corrupt;

/// All numbers are the one that follows.
const CONSTANT: u8 = 0;
/// pco's own choice for 64-bit floats.
const FLOATS: u8 = 1;
/// A power of ten, then 32-bit integers that many times as large as the values.
const DECIMALS_32: u8 = 2;
/// A power of ten, then 64-bit integers that many times as large as the values.
const DECIMALS_64: u8 = 3;
/// 64-bit integers.
const INTEGERS: u8 = 4;
/// Numbers of 64 bits as they are. Still read.
const PLAIN: u8 = 5;
/// A power of ten, then packed integers that many times as large as the values.
const PACKED_DECIMALS: u8 = 6;
/// Packed integers.
const PACKED_INTEGERS: u8 = 7;
/// The bits of floats as packed integers.
const PACKED_FLOATS: u8 = 8;

/// Values with more digits after the point are no decimals to us.
const POWERS_OF_TEN: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// A float of this size has no digits after the point: three halves of 2^52.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// Integers beyond this have gaps as floats.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// What pco is asked to do; more effort shortens the columns of devices by little.
const LEVEL: usize = 8;
/// From so many numbers on pco is worth what it costs.
const LONG: usize = 1_024;

/// What matters of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Its size.
    Tight,
    /// How fast it is written: it will soon be written again, with others.
    Quick,
}

/// What is left to read of a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// All that is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(|| corrupt("it is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(u8::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Error> {
        self.array().map(i64::from_le_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N)?.try_into().map_err(|_| corrupt("it is cut short"))
    }

    /// The next block's bytes.
    pub(crate) fn block(&mut self) -> Result<&'a [u8], Error> {
        let len = usize::try_from(self.u32()?).map_err(|_| corrupt("a block is too long"))?;
        self.take(len)
    }

    /// The next block as exactly `count` numbers of pco's, as the first version wrote all of them.
    pub(crate) fn numbers<T: Number + Default>(&mut self, count: usize) -> Result<Vec<T>, Error> {
        decompress(self.block()?, count)
    }

    /// The next block as exactly `count` values.
    pub(crate) fn floats(&mut self, count: usize) -> Result<Vec<f64>, Error> {
        let mut column = Reader::new(self.block()?);
        match column.u8()? {
            CONSTANT => Ok(vec![f64::from_bits(column.i64()?.cast_unsigned()); count]),
            FLOATS => decompress(column.0, count),
            PLAIN => Ok(column.plain(count)?.map(f64::from_bits).collect()),
            PACKED_FLOATS => {
                let bits = packed::read(column, count)?;
                Ok(bits.into_iter().map(|bits| f64::from_bits(bits.cast_unsigned())).collect())
            }
            PACKED_DECIMALS => {
                let power = column.power_of_ten()?;
                let integers = packed::read(column, count)?;
                Ok(integers.into_iter().map(|integer| to_float(integer) / power).collect())
            }
            DECIMALS_32 => {
                let power = column.power_of_ten()?;
                let integers = decompress::<i32>(column.0, count)?;
                Ok(integers.into_iter().map(|integer| f64::from(integer) / power).collect())
            }
            DECIMALS_64 => {
                let power = column.power_of_ten()?;
                let integers = decompress::<i64>(column.0, count)?;
                Ok(integers.into_iter().map(|integer| to_float(integer) / power).collect())
            }
            _ => Err(corrupt("a column's codec is not known here")),
        }
    }

    /// The next block as exactly `count` integers.
    pub(crate) fn integers(&mut self, count: usize) -> Result<Vec<i64>, Error> {
        let mut column = Reader::new(self.block()?);
        match column.u8()? {
            CONSTANT => Ok(vec![column.i64()?; count]),
            INTEGERS => decompress(column.0, count),
            PACKED_INTEGERS => packed::read(column, count),
            PLAIN => Ok(column.plain(count)?.map(u64::cast_signed).collect()),
            _ => Err(corrupt("a column's codec is not known here")),
        }
    }

    fn plain(&self, count: usize) -> Result<impl Iterator<Item = u64> + 'a, Error> {
        let (numbers, rest) = self.0.as_chunks::<8>();
        if numbers.len() != count || !rest.is_empty() {
            return Err(corrupt("a column has another length than the frame"));
        }
        Ok(numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)))
    }

    fn power_of_ten(&mut self) -> Result<f64, Error> {
        let exponent = usize::from(self.u8()?);
        POWERS_OF_TEN.get(exponent).copied().ok_or_else(|| corrupt("a column has an impossible scale"))
    }
}

fn decompress<T: Number + Default>(bytes: &[u8], count: usize) -> Result<Vec<T>, Error> {
    let mut numbers = vec![T::default(); count];
    let progress = standalone::simple_decompress_into(bytes, &mut numbers)
        .map_err(|_| corrupt("a column can't be decompressed"))?;
    if progress.n_processed != count || !progress.finished {
        return Err(corrupt("a column has another length than the frame"));
    }
    Ok(numbers)
}

/// Adds a block.
pub(crate) fn push(bytes: &mut Vec<u8>, block: &[u8]) {
    let len = u32::try_from(block.len()).expect("a block is bounded by the rows of a frame");
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(block);
}

/// Adds a block of values.
pub(crate) fn push_floats(bytes: &mut Vec<u8>, values: &[f64], packing: Packing) -> Result<(), Error> {
    let pack = packing.is_for(values.len());
    let begin = begin_block(bytes);
    if let Some(constant) = constant(values.iter().map(|value| value.to_bits())) {
        push_constant(bytes, constant);
    } else if let Some(Decimals { exponent, integers }) = Decimals::of(values) {
        match integers {
            Integers::Narrow(integers) if pack => {
                bytes.extend_from_slice(&[PACKED_DECIMALS, exponent]);
                packed::push(bytes, &integers.iter().map(|integer| i64::from(*integer)).collect::<Vec<_>>());
            }
            Integers::Wide(integers) if pack => {
                bytes.extend_from_slice(&[PACKED_DECIMALS, exponent]);
                packed::push(bytes, &integers);
            }
            Integers::Narrow(integers) => {
                bytes.extend_from_slice(&[DECIMALS_32, exponent]);
                compress_integers(bytes, &integers)?;
            }
            Integers::Wide(integers) => {
                bytes.extend_from_slice(&[DECIMALS_64, exponent]);
                compress_integers(bytes, &integers)?;
            }
        }
    } else if pack {
        bytes.push(PACKED_FLOATS);
        packed::push(bytes, &values.iter().map(|value| value.to_bits().cast_signed()).collect::<Vec<_>>());
    } else {
        bytes.push(FLOATS);
        compress(bytes, values, &ChunkConfig::default())?;
    }
    end_block(bytes, begin);
    Ok(())
}

/// Adds a block of integers.
pub(crate) fn push_integers(bytes: &mut Vec<u8>, integers: &[i64], packing: Packing) -> Result<(), Error> {
    let begin = begin_block(bytes);
    if let Some(constant) = constant(integers.iter().map(|integer| integer.cast_unsigned())) {
        push_constant(bytes, constant);
    } else if packing.is_for(integers.len()) {
        bytes.push(PACKED_INTEGERS);
        packed::push(bytes, integers);
    } else {
        bytes.push(INTEGERS);
        compress_integers(bytes, integers)?;
    }
    end_block(bytes, begin);
    Ok(())
}

impl Packing {
    /// Whether a column of so many numbers is packed rather than compressed.
    fn is_for(self, count: usize) -> bool {
        self == Self::Quick || count < LONG
    }
}

/// The number that all of them are.
fn constant(mut numbers: impl Iterator<Item = u64>) -> Option<u64> {
    let first = numbers.next().unwrap_or_default();
    numbers.all(|number| number == first).then_some(first)
}

fn push_constant(bytes: &mut Vec<u8>, constant: u64) {
    bytes.push(CONSTANT);
    bytes.extend_from_slice(&constant.to_le_bytes());
}

/// Leaves room for a block's length.
fn begin_block(bytes: &mut Vec<u8>) -> usize {
    bytes.extend_from_slice(&[0; 4]);
    bytes.len()
}

fn end_block(bytes: &mut [u8], begin: usize) {
    let len = u32::try_from(bytes.len() - begin).expect("a block is bounded by the rows of a frame");
    bytes[begin - 4..begin].copy_from_slice(&len.to_le_bytes());
}

/// Decimal values as integers.
struct Decimals {
    exponent: u8,
    integers: Integers,
}

enum Integers {
    Narrow(Vec<i32>),
    Wide(Vec<i64>),
}

impl Decimals {
    /// The smallest scale that brings every value back bit by bit; `None` if there is none.
    fn of(values: &[f64]) -> Option<Self> {
        let mut exponent = 0;
        // Mostly the first few values show all digits that there are.
        for value in values.iter().take(16) {
            exponent = exponent_of(*value, exponent)?;
        }
        loop {
            let power = *POWERS_OF_TEN.get(exponent)?;
            if let Some(integers) = narrow(values, power) {
                return Some(Self {
                    exponent: u8::try_from(exponent).ok()?,
                    integers: Integers::Narrow(integers),
                });
            }
            let Some(unlike) = values.iter().find(|value| scaled(**value, power).is_none()) else {
                let integers = values.iter().map(|value| scaled(*value, power)).collect::<Option<_>>()?;
                return Some(Self {
                    exponent: u8::try_from(exponent).ok()?,
                    integers: Integers::Wide(integers),
                });
            };
            exponent = exponent_of(*unlike, exponent)?;
        }
    }
}

/// The smallest scale from one on that brings a value back.
fn exponent_of(value: f64, from: usize) -> Option<usize> {
    (from..POWERS_OF_TEN.len()).find(|exponent| scaled(value, POWERS_OF_TEN[*exponent]).is_some())
}

/// The values at a scale if each fits and comes back bit by bit; without a branch for each, as all of them mostly do.
fn narrow(values: &[f64], power: f64) -> Option<Vec<i32>> {
    let mut same = true;
    let integer = |value: &f64| {
        // Adding this makes a float round to a whole number, which then stands in its last bits as integers do. What is
        // too large for that is not brought back.
        let rounded = value * power + ROUND;
        #[expect(clippy::cast_possible_truncation, reason = "compared with what it came from")]
        let integer = rounded.to_bits() as i32;
        same &= (f64::from(integer) / power).to_bits() == value.to_bits();
        integer
    };
    let integers = values.iter().map(integer).collect();
    same.then_some(integers)
}

fn scaled(value: f64, power: f64) -> Option<i64> {
    let scaled = (value * power).round();
    if scaled.abs() >= EXACT || scaled.is_nan() {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it was just found to be a small integer")]
    let integer = scaled as i64;
    ((to_float(integer) / power).to_bits() == value.to_bits()).then_some(integer)
}

#[expect(clippy::cast_precision_loss, reason = "only integers that floats hold exactly are written")]
fn to_float(integer: i64) -> f64 {
    integer as f64
}

/// Adds the numbers as they are or by their differences, whichever promises to be shorter: pco's own guess is wrong on
/// noisy columns, and to try both takes twice as long.
fn compress_integers<T: Number + Into<i64>>(bytes: &mut Vec<u8>, numbers: &[T]) -> Result<(), Error> {
    let delta = match order::differences_are_shorter(numbers) {
        true => DeltaSpec::TryConsecutive(1),
        false => DeltaSpec::NoOp,
    };
    let config = ChunkConfig::default().with_compression_level(LEVEL).with_mode_spec(ModeSpec::Classic);
    compress(bytes, numbers, &config.with_delta_spec(delta))
}

fn compress<T: Number>(bytes: &mut Vec<u8>, numbers: &[T], config: &ChunkConfig) -> Result<(), Error> {
    let failed = |error: PcoError| Error::Compress { why: error.to_string() };
    standalone::simple_compress_into(numbers, config, bytes).map(drop).map_err(failed)
}

/// A bit for each row, set where the ascending `rows` name it.
pub(crate) fn presence(rows: impl Iterator<Item = usize>, count: usize) -> Vec<u8> {
    let mut bits = vec![0_u8; count.div_ceil(8)];
    for row in rows {
        if let Some(byte) = bits.get_mut(row / 8) {
            *byte |= 1 << (row % 8);
        }
    }
    bits
}

/// The rows whose bit is set.
pub(crate) fn present_rows(bits: &[u8], count: usize) -> Vec<usize> {
    let set = |row: &usize| bits.get(row / 8).is_some_and(|byte| byte & (1 << (row % 8)) != 0);
    (0..count).filter(set).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-1_000_000_i32..1_000_000, 0..10_usize).prop_map(|(n, e)| f64::from(n) / POWERS_OF_TEN[e]),
            1 => any::<u64>().prop_map(f64::from_bits),
            1 => prop_oneof![Just(-0.0), Just(0.0), Just(f64::INFINITY), Just(9_007_199_254_740_993.0)],
        ]
    }

    /// Some of them repeated until they are a long column.
    fn values() -> impl Strategy<Value = Vec<f64>> {
        prop_oneof![9 => vec(value(), 1..200), 1 => vec(value(), 1..20).prop_map(|values| values.repeat(LONG.div_ceil(values.len())))]
    }

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn decimals_take_a_fraction_of_what_floats_take() {
        let values: Vec<f64> = (0..3_600_u32).map(|n| f64::from(3_300 + n % 7) / 1_000.0).collect();
        let mut block = Vec::new();
        push_floats(&mut block, &values, Packing::Tight).unwrap();
        assert!(block[4] == DECIMALS_32 && block.len() < 3_600 / 2, "{} bytes", block.len());
    }

    proptest! {
        #[test]
        fn values_come_back_bit_by_bit(values in values(), quick in any::<bool>()) {
            let packing = if quick { Packing::Quick } else { Packing::Tight };
            let mut block = Vec::new();
            push_floats(&mut block, &values, packing).unwrap();
            let back = Reader::new(&block).floats(values.len()).unwrap();
            prop_assert_eq!(bits(&back), bits(&values));
        }

        #[test]
        fn decimals_of_any_scale_come_back(digits in vec(-2_000_000_000_i64..2_000_000_000, 1..200), e in 0..10_usize) {
            let values: Vec<f64> = digits.iter().map(|digits| to_float(*digits) / POWERS_OF_TEN[e]).collect();
            let mut block = Vec::new();
            push_floats(&mut block, &values, Packing::Tight).unwrap();
            prop_assert_eq!(bits(&Reader::new(&block).floats(values.len()).unwrap()), bits(&values));
        }

        #[test]
        fn integers_come_back(integers in vec(any::<i64>(), 1..200), long in any::<bool>(), quick in any::<bool>()) {
            let packing = if quick { Packing::Quick } else { Packing::Tight };
            let integers = if long { integers.repeat(LONG.div_ceil(integers.len())) } else { integers };
            let mut block = Vec::new();
            push_integers(&mut block, &integers, packing).unwrap();
            prop_assert_eq!(Reader::new(&block).integers(integers.len()).unwrap(), integers);
        }

        #[test]
        fn random_blocks_never_panic(codec in 0..10_u8, bytes in vec(any::<u8>(), 0..100)) {
            let mut block = Vec::new();
            push(&mut block, &[&[codec], bytes.as_slice()].concat());
            Reader::new(&block).floats(10).ok();
            Reader::new(&block).integers(10).ok();
        }
    }
}
