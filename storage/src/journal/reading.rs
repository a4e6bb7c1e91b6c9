//! A reading as the journal writes it: names and units once a segment, and then only where in it they stand.
//!
//! Most of what a device says is the same each time but for its numbers. A reading with names that the segment has not seen
//! carries them itself, so a segment never needs another one to be read. The first version wrote every reading with all
//! its names, as it writes other entries still.

use std::collections::HashMap;
use std::sync::Arc;

use voltree_model::{
    DeviceId, MetricName, MetricRejection, Metrics, Origin, Reading, Series, SeriesSet, Timestamp,
};

use crate::Entry;
use crate::record::{self, MAX_RECORD_BYTES, RecordError};

/// What such a record begins with; others begin with the version of [`record`].
const VERSION: u8 = 2;
/// No record stands at the beginning of a segment, so this says that the names follow.
const HERE: u32 = 0;
/// Version, where the names are, lengths of the beginning and of the names.
const HEADER_BYTES: usize = 1 + 4 + 4 + 4;
/// So many sets of names are remembered for a segment.
const MOST_KNOWN: usize = 4_096;

/// What a reading says besides its values and their names.
type Begin = (Origin, DeviceId, Timestamp, Vec<(MetricName, String)>, Vec<MetricRejection>);

/// What a series takes at most besides its texts, of which none is long: two lengths, and whether there is a unit.
const MOST_BYTES_AROUND: usize = 4;

/// Where in a segment which names stand.
#[derive(Debug, Default)]
pub(super) struct KnownNames {
    places: HashMap<SeriesSet, u32>,
    last: Option<(SeriesSet, u32)>,
}

/// The names of readings by the place in their segment, as far as they were read.
pub(super) type ReadNames = HashMap<u32, SeriesSet>;

/// A record of this kind in its pieces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parsed<'a> {
    begin: &'a [u8],
    names_at: u32,
    names: &'a [u8],
    values: &'a [u8],
}

/// Adds the beginning of a reading's record, which is all that has to be encoded ahead; says how long the record is at
/// most.
pub(super) fn push_begin(
    origin: Origin,
    reading: &Reading,
    bytes: &mut Vec<u8>,
) -> Result<usize, RecordError> {
    let Reading { device, at, metrics, attributes, left_out } = reading;
    let begin = bytes.len();
    record::push(&(origin, device, at, attributes, left_out), bytes)?;
    let series = metrics.series();
    let names = MOST_BYTES_AROUND * (1 + series.len()) + series.text_bytes();
    let most = HEADER_BYTES + (bytes.len() - begin) + names + size_of_val(metrics.values());
    if most > MAX_RECORD_BYTES {
        return Err(RecordError::TooLarge { bytes: most, limit: MAX_RECORD_BYTES });
    }
    Ok(most)
}

/// Adds the record of a reading that is to begin at `offset` of its segment, given its beginning.
pub(super) fn push(
    begin: &[u8],
    metrics: &Metrics,
    offset: u64,
    known: &mut KnownNames,
    bytes: &mut Vec<u8>,
) {
    let series = metrics.series();
    let names_at = known.place(series, offset);
    let names = if names_at == HERE { encoded_names(series) } else { Vec::new() };
    bytes.push(VERSION);
    bytes.extend_from_slice(&names_at.to_le_bytes());
    bytes.extend_from_slice(&short(begin.len()).to_le_bytes());
    bytes.extend_from_slice(&short(names.len()).to_le_bytes());
    bytes.extend_from_slice(begin);
    bytes.extend_from_slice(&names);
    for value in metrics.values() {
        bytes.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

fn encoded_names(series: &[Series]) -> Vec<u8> {
    record::encode(&series).expect("a reading that was encoded is not too long, and so neither are its names")
}

fn short(len: usize) -> u32 {
    u32::try_from(len).expect("an encoded entry is limited to a few MiB")
}

impl KnownNames {
    /// Where names stand already; if nowhere, they will at `offset`.
    fn place(&mut self, names: &SeriesSet, offset: u64) -> u32 {
        if let Some((last, place)) = &self.last
            && last == names
        {
            return *place;
        }
        let known = self.places.get(names).copied();
        let place = known.or_else(|| u32::try_from(offset).ok());
        let Some(place) = place.filter(|_| known.is_some() || self.places.len() < MOST_KNOWN) else {
            return HERE;
        };
        self.last = Some((names.clone(), place));
        if known.is_none() {
            self.places.insert(names.clone(), place);
            return HERE;
        }
        place
    }
}

impl<'a> Parsed<'a> {
    /// Takes a record apart; `None` if it is of another kind.
    pub(super) fn of(payload: &'a [u8]) -> Result<Option<Self>, RecordError> {
        let Some((&VERSION, rest)) = payload.split_first() else { return Ok(None) };
        let number = |rest: &'a [u8]| {
            let (number, rest) = rest.split_first_chunk::<4>().ok_or(RecordError::Malformed)?;
            Ok::<_, RecordError>((u32::from_le_bytes(*number), rest))
        };
        let part = |rest: &'a [u8], len: u32| {
            let len = usize::try_from(len).map_err(|_| RecordError::Malformed)?;
            rest.split_at_checked(len).ok_or(RecordError::Malformed)
        };
        let (names_at, rest) = number(rest)?;
        let (begin, rest) = number(rest)?;
        let (names, rest) = number(rest)?;
        let (begin, rest) = part(rest, begin)?;
        let (names, values) = part(rest, names)?;
        Ok(Some(Self { begin, names_at, names, values }))
    }

    /// Whose it is and which number it has.
    pub(super) fn owner(&self) -> Result<(Origin, DeviceId), RecordError> {
        record::decode_begin(self.begin)
    }

    /// Where in the segment the names are, if not here.
    pub(super) fn names_at(&self) -> Option<u32> {
        (self.names_at != HERE).then_some(self.names_at)
    }

    /// The names that it carries.
    pub(super) fn names(&self) -> Result<SeriesSet, RecordError> {
        let series: Vec<Series> = record::decode(self.names)?;
        Ok(series.as_slice().into())
    }

    /// The entry, given its names.
    pub(super) fn entry(&self, series: &SeriesSet) -> Result<Entry, RecordError> {
        let (origin, device, at, attributes, left_out): Begin = record::decode(self.begin)?;
        let (values, rest) = self.values.as_chunks::<8>();
        let values: Box<[f64]> =
            values.iter().map(|bits| f64::from_bits(u64::from_le_bytes(*bits))).collect();
        let metrics = Metrics::new(series.clone(), values).filter(|_| rest.is_empty());
        let metrics = metrics.ok_or(RecordError::Malformed)?;
        let reading = Reading { device, at, metrics, attributes, left_out };
        Ok(Entry::Reading { origin, reading: Arc::new(reading) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use voltree_model::Metric;

    use super::*;

    fn reading(names: &[&str], value: f64) -> Reading {
        let metric = |name: &&str| Metric { name: MetricName::new(name).unwrap(), value, unit: None };
        Reading {
            device: DeviceId::new("pack-01").unwrap(),
            at: Timestamp::from_millis(-5),
            metrics: names.iter().map(metric).collect(),
            attributes: vec![(MetricName::new("firmware").unwrap(), "1.2".to_owned())],
            left_out: Vec::new(),
        }
    }

    fn record_of(
        origin: Origin,
        reading: &Reading,
        offset: u64,
        known: &mut KnownNames,
        bytes: &mut Vec<u8>,
    ) -> usize {
        let mut begin = Vec::new();
        let most = push_begin(origin, reading, &mut begin).unwrap();
        push(&begin, &reading.metrics, offset, known, bytes);
        most
    }

    #[test]
    fn names_are_written_once_and_a_reading_comes_back() {
        let mut known = KnownNames::default();
        let mut offset = 24;
        let mut places: ReadNames = HashMap::new();
        let mut inline = Vec::new();
        let sets: [&[&str]; 5] = [&["a", "b"], &["a", "b"], &["c"], &["a", "b"], &[]];
        for (sequence, names) in (1..).zip(sets) {
            let origin = Origin { epoch: 2, sequence };
            let reading = reading(names, f64::NAN);
            let mut bytes = Vec::new();
            record_of(origin, &reading, offset, &mut known, &mut bytes);
            let parsed = Parsed::of(&bytes).unwrap().unwrap();
            assert_eq!(parsed.owner().unwrap(), (origin, reading.device.clone()));
            inline.push(parsed.names_at().is_none());
            let names = match parsed.names_at() {
                Some(place) => places.get(&place).unwrap().clone(),
                None => parsed.names().unwrap(),
            };
            let back = parsed.entry(&names).unwrap();
            assert_eq!(
                format!("{back:?}"),
                format!("{:?}", Entry::Reading { origin, reading: reading.into() })
            );
            places.insert(u32::try_from(offset).unwrap(), names);
            offset += 100;
        }
        assert_eq!(inline, [true, false, true, false, true]);
    }

    #[test]
    fn a_record_is_never_longer_than_its_reading_says() {
        let origin = Origin { epoch: u32::MAX, sequence: u64::MAX };
        let long: Vec<String> = (0..300).map(|number| format!("{number:0>128}")).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        for names in [&[][..], &["a"], &long] {
            let reading = reading(names, 1.0);
            let mut bytes = Vec::new();
            let most = record_of(origin, &reading, 24, &mut KnownNames::default(), &mut bytes);
            assert!(bytes.len() <= most, "{}", bytes.len());
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let bytes = [&[VERSION], bytes.as_slice()].concat();
            if let Ok(Some(parsed)) = Parsed::of(&bytes) {
                parsed.owner().ok();
                parsed.names().ok();
                parsed.entry(&SeriesSet::from([].as_slice())).ok();
            }
        }
    }
}
