//! The blocks that a frame is made of: a length and then bytes, most of them a compressed column of numbers.
//!
//! The only file that knows pco.

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::standalone;

use super::corrupt;
use crate::Error;

/// What is left to read of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(|| corrupt("it is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        let bytes = self.take(4)?.try_into().map_err(|_| corrupt("it is cut short"))?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(super) fn i64(&mut self) -> Result<i64, Error> {
        let bytes = self.take(8)?.try_into().map_err(|_| corrupt("it is cut short"))?;
        Ok(i64::from_le_bytes(bytes))
    }

    /// The next block's bytes.
    pub(super) fn block(&mut self) -> Result<&'a [u8], Error> {
        let len = usize::try_from(self.u32()?).map_err(|_| corrupt("a block is too long"))?;
        self.take(len)
    }

    /// The next block as exactly `count` numbers.
    pub(super) fn numbers<T: Number + Default>(&mut self, count: usize) -> Result<Vec<T>, Error> {
        let mut numbers = vec![T::default(); count];
        let progress = standalone::simple_decompress_into(self.block()?, &mut numbers)
            .map_err(|_| corrupt("a column can't be decompressed"))?;
        if progress.n_processed != count || !progress.finished {
            return Err(corrupt("a column has another length than the frame"));
        }
        Ok(numbers)
    }
}

/// Adds a block.
pub(super) fn push(bytes: &mut Vec<u8>, block: &[u8]) {
    let len = u32::try_from(block.len()).expect("a block is bounded by the rows of a frame");
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(block);
}

/// Adds a block of compressed numbers.
pub(super) fn push_numbers<T: Number>(bytes: &mut Vec<u8>, numbers: &[T]) -> Result<(), Error> {
    let compressed = standalone::simple_compress(numbers, &ChunkConfig::default())
        .map_err(|error| Error::Compress { why: error.to_string() })?;
    push(bytes, &compressed);
    Ok(())
}

/// A bit for each row, set where the ascending `rows` name it.
pub(super) fn presence(rows: &[usize], count: usize) -> Vec<u8> {
    let mut bits = vec![0_u8; count.div_ceil(8)];
    for row in rows {
        if let Some(byte) = bits.get_mut(row / 8) {
            *byte |= 1 << (row % 8);
        }
    }
    bits
}

/// The rows whose bit is set.
pub(super) fn present_rows(bits: &[u8], count: usize) -> Vec<usize> {
    let set = |row: &usize| bits.get(row / 8).is_some_and(|byte| byte & (1 << (row % 8)) != 0);
    (0..count).filter(set).collect()
}
