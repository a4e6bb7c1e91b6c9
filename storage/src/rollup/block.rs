//! Rollups as bytes: all series of one device for the minutes of an hour, the hours of a day, or the days of a month or so.
//!
//! Series that report together share their times, so these are kept once. A checksum covers the block, and bytes that
//! pass it are still not trusted: decoding never panics, and never allocates more than a block may hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use voltree_model::MetricName;

use super::{Gap, Moment, Patience, Rollup};
use crate::frame::column::{self, Packing, Reader};
use crate::frame::corrupt;
use crate::integral::Integral;
use crate::{Error, record};

const MAGIC: &[u8; 4] = b"VTRU";
/// The version that is written.
const VERSION: u8 = 2;
/// Has no packed columns. Still read.
const FIRST_VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// More stretches than any block has.
const MAX_STRETCHES: usize = 64;
/// The most gaps that are listed for a stretch of a block: one that is silent all the time has no more than minutes.
const MAX_GAPS: usize = 1_440;

/// The rollups of some series, each in the order of time.
pub(crate) type BySeries = BTreeMap<MetricName, Vec<Rollup>>;

/// Everything about the columns but their values.
#[derive(Debug, Serialize, Deserialize)]
struct Directory {
    clocks: Vec<ClockHead>,
    series: Vec<SeriesHead>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ClockHead {
    /// How many stretches have samples.
    stretches: u32,
    /// Where its columns begin, and how long they are.
    offset: u32,
    len: u32,
    /// By stretch, where there are any.
    gaps: Vec<(u32, Vec<(i64, i64)>)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SeriesHead {
    name: MetricName,
    clock: u32,
    offset: u32,
    len: u32,
}

/// What a rollup says of time alone.
#[derive(Debug, Clone, PartialEq)]
struct Tick {
    count: i64,
    first_at: i64,
    last_at: i64,
    covered_ms: i64,
    patience: Patience,
    gaps: Vec<Gap>,
}

/// A block whose checksum was found good.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    directory: Directory,
    columns: &'a [u8],
}

/// Encodes the rollups of a device.
pub(crate) fn encode(series: &BySeries) -> Result<Vec<u8>, Error> {
    let mut columns = Vec::new();
    let mut clocks: Vec<Vec<Tick>> = Vec::new();
    let mut directory = Directory { clocks: Vec::new(), series: Vec::new() };
    for (name, rollups) in series {
        let ticks: Vec<Tick> = rollups.iter().map(Tick::of).collect();
        let known = clocks.iter().position(|clock| *clock == ticks);
        let clock = known.unwrap_or(clocks.len());
        if known.is_none() {
            directory.clocks.push(push_clock(&mut columns, &ticks)?);
            clocks.push(ticks);
        }
        let offset = short(columns.len())?;
        push_values(&mut columns, rollups)?;
        let len = short(columns.len())? - offset;
        directory.series.push(SeriesHead { name: name.clone(), clock: short(clock)?, offset, len });
    }
    let directory = record::encode(&directory)
        .map_err(|source| Error::Encode { what: "a rollup's directory", source })?;
    let mut bytes = [MAGIC.as_slice(), &[VERSION]].concat();
    column::push(&mut bytes, &directory);
    bytes.extend_from_slice(&columns);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    Ok(bytes)
}

fn short(len: usize) -> Result<u32, Error> {
    u32::try_from(len).map_err(|_| Error::Compress { why: "a rollup has too many series".to_owned() })
}

impl Tick {
    fn of(rollup: &Rollup) -> Self {
        Self {
            count: rollup.count.cast_signed(),
            first_at: rollup.first.at,
            last_at: rollup.last.at,
            covered_ms: rollup.integral.covered_ms,
            patience: rollup.patience,
            gaps: rollup.gaps.clone(),
        }
    }
}

fn push_clock(columns: &mut Vec<u8>, ticks: &[Tick]) -> Result<ClockHead, Error> {
    let offset = short(columns.len())?;
    let mut push = |field: fn(&Tick) -> i64| {
        let numbers: Vec<i64> = ticks.iter().map(field).collect();
        column::push_integers(columns, &numbers, Packing::Tight)
    };
    push(|tick| tick.count)?;
    push(|tick| tick.first_at)?;
    push(|tick| tick.last_at)?;
    // Mostly all of the time between the first and the last sample is covered.
    push(|tick| tick.last_at.wrapping_sub(tick.first_at).wrapping_sub(tick.covered_ms))?;
    push(|tick| tick.patience.first_ms)?;
    push(|tick| tick.patience.last_ms)?;
    let with_gaps = (0..).zip(ticks).filter(|(_, tick)| !tick.gaps.is_empty());
    let gaps =
        with_gaps.map(|(index, tick)| (index, tick.gaps.iter().map(|gap| (gap.from, gap.to)).collect()));
    let gaps = gaps.collect();
    Ok(ClockHead { stretches: short(ticks.len())?, offset, len: short(columns.len())? - offset, gaps })
}

fn push_values(columns: &mut Vec<u8>, rollups: &[Rollup]) -> Result<(), Error> {
    let mut push = |field: fn(&Rollup) -> f64| {
        let values: Vec<f64> = rollups.iter().map(field).collect();
        column::push_floats(columns, &values, Packing::Tight)
    };
    push(|rollup| rollup.min)?;
    push(|rollup| rollup.max)?;
    push(|rollup| rollup.sum)?;
    push(|rollup| rollup.first.value)?;
    push(|rollup| rollup.last.value)?;
    push(|rollup| rollup.integral.positive)?;
    push(|rollup| rollup.integral.negative)
}

impl<'a> Block<'a> {
    /// Checks a block and reads its directory.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        let split = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(corrupt("it is too short"))?;
        let (body, checksum) = bytes.split_at(split);
        if checksum != crc32fast::hash(body).to_le_bytes() {
            return Err(corrupt("its checksum does not match"));
        }
        let mut reader = Reader::new(body);
        if reader.take(MAGIC.len())? != MAGIC || !matches!(reader.u8()?, FIRST_VERSION | VERSION) {
            return Err(corrupt("it does not begin like a rollup of a version that is known here"));
        }
        let directory =
            record::decode(reader.block()?).map_err(|_| corrupt("its directory can't be decoded"))?;
        Ok(Self { directory, columns: reader.rest() })
    }

    /// One series; empty if it has no samples here.
    pub(crate) fn series(&self, metric: &MetricName) -> Result<Vec<Rollup>, Error> {
        let head = self.directory.series.iter().find(|head| head.name == *metric);
        head.map_or_else(|| Ok(Vec::new()), |head| self.read(head))
    }

    /// All series.
    pub(crate) fn all(&self) -> Result<BySeries, Error> {
        self.directory.series.iter().map(|head| Ok((head.name.clone(), self.read(head)?))).collect()
    }

    fn read(&self, head: &SeriesHead) -> Result<Vec<Rollup>, Error> {
        let clock = usize::try_from(head.clock).ok().and_then(|clock| self.directory.clocks.get(clock));
        let clock = clock.ok_or(corrupt("a series has no times"))?;
        let ticks = self.ticks(clock)?;
        let mut reader = self.columns(head.offset, head.len)?;
        let mut columns = Vec::with_capacity(7);
        for _ in 0..7 {
            columns.push(reader.floats(ticks.len())?.into_iter());
        }
        let mut rollups = Vec::with_capacity(ticks.len());
        for tick in ticks {
            let mut next = columns.iter_mut().map(|column| column.next().unwrap_or_default());
            let mut value = || next.next().unwrap_or_default();
            rollups.push(Rollup {
                count: tick.count.cast_unsigned(),
                min: value(),
                max: value(),
                sum: value(),
                first: Moment { at: tick.first_at, value: value() },
                last: Moment { at: tick.last_at, value: value() },
                integral: Integral { positive: value(), negative: value(), covered_ms: tick.covered_ms },
                gaps: tick.gaps,
                patience: tick.patience,
            });
        }
        Ok(rollups)
    }

    fn ticks(&self, clock: &ClockHead) -> Result<Vec<Tick>, Error> {
        let count = usize::try_from(clock.stretches).ok().filter(|count| *count <= MAX_STRETCHES);
        let count = count.ok_or(corrupt("it has too many stretches"))?;
        let mut reader = self.columns(clock.offset, clock.len)?;
        let (counts, firsts) = (reader.integers(count)?, reader.integers(count)?);
        let (lasts, missing) = (reader.integers(count)?, reader.integers(count)?);
        let patience = reader.integers(count)?.into_iter().zip(reader.integers(count)?);
        let times = counts.into_iter().zip(firsts).zip(lasts.into_iter().zip(missing)).zip(patience);
        let mut ticks: Vec<Tick> = times
            .map(|(((count, first_at), (last_at, missing)), (first_ms, last_ms))| Tick {
                count,
                first_at,
                last_at,
                covered_ms: last_at.wrapping_sub(first_at).wrapping_sub(missing),
                patience: Patience { first_ms, last_ms },
                gaps: Vec::new(),
            })
            .collect();
        for (index, gaps) in &clock.gaps {
            let tick = usize::try_from(*index).ok().and_then(|index| ticks.get_mut(index));
            let tick = tick.ok_or(corrupt("its directory names a stretch that is not there"))?;
            tick.gaps = gaps.iter().take(MAX_GAPS).map(|(from, to)| Gap { from: *from, to: *to }).collect();
        }
        Ok(ticks)
    }

    fn columns(&self, offset: u32, len: u32) -> Result<Reader<'a>, Error> {
        let range = usize::try_from(offset).ok().zip(usize::try_from(len).ok());
        let columns = range.and_then(|(offset, len)| self.columns.get(offset..offset.checked_add(len)?));
        columns.map(Reader::new).ok_or_else(|| corrupt("it is cut short"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::rollup::{HOUR_MS, minutes_of};

    fn hour() -> impl Strategy<Value = Vec<Rollup>> {
        let value =
            prop_oneof![3 => (-9_999..9_999_i32).prop_map(|n| f64::from(n) / 10.0), 1 => any::<f64>()];
        btree_map(0..HOUR_MS, value, 0..100).prop_map(|points| {
            let points: Vec<_> = points.into_iter().map(|(at, value)| Moment { at, value }).collect();
            let mut minutes = minutes_of(&points);
            // What only hours and days have.
            let whole = Rollup::fold(minutes.iter().take(5).cloned());
            minutes.splice(..minutes.len().min(5), whole);
            minutes
        })
    }

    fn by_series() -> impl Strategy<Value = BySeries> {
        btree_map("[a-e]".prop_map(|name| MetricName::new(name).unwrap()), hour(), 0..4)
    }

    proptest! {
        #[test]
        fn rollups_come_back_as_they_were(series in by_series()) {
            let bytes = encode(&series).unwrap();
            let block = Block::open(&bytes).unwrap();
            // As text, because that tells 0 from -0.
            prop_assert_eq!(format!("{:?}", block.all().unwrap()), format!("{series:?}"));
            for (name, rollups) in &series {
                prop_assert_eq!(format!("{:?}", block.series(name).unwrap()), format!("{rollups:?}"));
            }
            prop_assert!(block.series(&MetricName::new("z").unwrap()).unwrap().is_empty());
        }

        #[test]
        fn a_damaged_block_is_noticed_and_one_with_a_good_checksum_never_panics(
            series in by_series(), at in any::<prop::sample::Index>(), to in any::<u8>(),
        ) {
            let mut bytes = encode(&series).unwrap();
            let index = at.index(bytes.len());
            bytes[index] = !bytes[index];
            prop_assert!(Block::open(&bytes).is_err());
            bytes[index] = to;
            bytes.truncate(bytes.len() - CHECKSUM_BYTES);
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            if let Ok(block) = Block::open(&bytes) {
                block.all().ok();
            }
        }

        #[test]
        fn random_bytes_never_panic(body in vec(any::<u8>(), 0..300)) {
            let mut bytes = [MAGIC.as_slice(), &[VERSION], &body].concat();
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            if let Ok(block) = Block::open(&bytes) {
                block.all().ok();
            }
        }
    }
}
