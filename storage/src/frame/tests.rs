use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use voltree_model::{DeviceId, Metric, Metrics, Reading};

use super::*;
use crate::head::OpenReading;
use crate::{Lsn, Sample};

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-100_000_i64..100_000).prop_map(|tenths| f64::from(i32::try_from(tenths).unwrap()) / 10.0),
        2 => any::<u64>().prop_map(f64::from_bits),
        1 => prop_oneof![Just(-0.0), Just(0.0), Just(f64::INFINITY), Just(f64::NEG_INFINITY)],
        1 => Just(f64::from_bits(0x7ff8_dead_beef_0001)),
    ]
}

fn metric() -> impl Strategy<Value = Metric> {
    let unit = proptest::option::of(prop_oneof![Just("V"), Just("°C")]);
    ("[a-e]", value(), unit).prop_map(|(name, value, unit)| Metric {
        name: MetricName::new(name).unwrap(),
        value,
        unit: unit.map(|unit| Unit::new(unit).unwrap()),
    })
}

fn row() -> impl Strategy<Value = Row> {
    let reading = (0..3_u32, 0..1_000_u64, vec(metric(), 0..6).prop_map(Metrics::from));
    vec(reading, 1..4).prop_map(|readings| {
        let mut readings = readings.into_iter();
        let (epoch, sequence, metrics) = readings.next().unwrap();
        let mut row = Row::new(Origin { epoch, sequence }, &metrics);
        for (epoch, sequence, metrics) in readings {
            row.absorb(Origin { epoch, sequence }, &metrics);
        }
        row
    })
}

fn rows() -> impl Strategy<Value = BTreeMap<Timestamp, Row>> {
    btree_map(any::<i64>().prop_map(Timestamp::from_millis), row(), 1..40)
}

/// A row such that equality tells NaNs apart, and -0 from 0.
type Exact = (Timestamp, Origin, Vec<Origin>, Vec<(String, u64, Option<Unit>)>);

fn exact(rows: &BTreeMap<Timestamp, Row>) -> Vec<Exact> {
    let sample = |s: &Sample| (s.name.to_string(), s.value.to_bits(), s.unit.clone());
    let row = |(at, row): (&Timestamp, &Row)| {
        (*at, row.origin, row.stored.clone(), row.samples.iter().map(sample).collect())
    };
    rows.iter().map(row).collect()
}

fn with_checksum(mut body: Vec<u8>) -> Vec<u8> {
    body.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    body
}

proptest! {
    #[test]
    fn rows_come_back_bit_by_bit(rows in rows()) {
        let bytes = Frame::encode(&rows).unwrap();
        prop_assert_eq!(exact(&Frame::open(&bytes).unwrap().rows().unwrap()), exact(&rows));
        let span = FrameSpan::peek(&bytes).unwrap();
        prop_assert_eq!(span.rows, rows.len());
        prop_assert!(rows.keys().all(|at| span.covers(*at)));
    }

    #[test]
    fn one_series_reads_the_same_as_from_the_rows(rows in rows()) {
        let bytes = Frame::encode(&rows).unwrap();
        let frame = Frame::open(&bytes).unwrap();
        for name in ["a", "c", "z"].map(|name| MetricName::new(name).unwrap()) {
            let points = frame.series(&name).unwrap();
            let points: Vec<_> = points.iter().map(|p| (p.at, p.value.to_bits(), p.unit.clone(), p.origin)).collect();
            let expected: Vec<_> = rows
                .iter()
                .filter_map(|(at, row)| row.sample(&name).map(|s| (*at, s.value.to_bits(), s.unit.clone(), row.origin)))
                .collect();
            prop_assert_eq!(points, expected);
        }
    }

    #[test]
    fn tables_are_split_and_joined_like_rows(rows in rows(), at in any::<prop::sample::Index>()) {
        let mut lower = Table::of_rows(&rows);
        prop_assert_eq!(exact(&lower.clone().into_rows()), exact(&rows));
        let upper = lower.split_off(at.index(rows.len()));
        prop_assert_eq!(lower.len() + upper.len(), rows.len());
        let (mut each_second, mut others) = (BTreeMap::new(), rows.clone());
        for at in rows.keys().step_by(2) {
            each_second.extend(others.remove_entry(at));
        }
        let apart = Table::join(vec![upper, lower]);
        prop_assert_eq!(exact(&apart.into_rows()), exact(&rows));
        let entangled = Table::join(vec![Table::of_rows(&each_second), Table::of_rows(&others)]);
        prop_assert_eq!(exact(&entangled.into_rows()), exact(&rows));
    }

    #[test]
    fn readings_make_the_same_table_as_their_rows(metrics in vec(vec(metric(), 0..6).prop_map(Metrics::from), 1..20), alike in any::<bool>()) {
        let mut readings: Vec<OpenReading> = Vec::new();
        let mut rows = BTreeMap::new();
        for (at, number) in (0..).zip(1..=metrics.len()) {
            let metrics = metrics[if alike { 0 } else { number - 1 }].clone();
            let origin = Origin { epoch: 0, sequence: u64::try_from(number).unwrap() };
            let at = Timestamp::from_millis(at);
            rows.insert(at, Row::new(origin, &metrics));
            let device = DeviceId::new("d").unwrap();
            let reading = Reading { device, at, metrics, attributes: Vec::new(), left_out: Vec::new() };
            readings.push(OpenReading::new(Lsn(origin.sequence), origin, &reading, readings.last()));
        }
        let table = Table::of_readings(&readings.iter().collect::<Vec<_>>());
        prop_assert_eq!(exact(&table.into_rows()), exact(&rows));
    }

    #[test]
    fn random_bytes_never_panic(body in vec(any::<u8>(), 0..300)) {
        prop_assert!(Frame::open(&body).is_err());
        let framed = [MAGIC.as_slice(), &[VERSION], &body].concat();
        if let Ok(frame) = Frame::open(&with_checksum(framed)) {
            frame.rows().ok();
        }
    }

    #[test]
    fn a_damaged_frame_with_a_good_checksum_never_panics(rows in rows(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut body = Frame::encode(&rows).unwrap();
        body.truncate(body.len() - CHECKSUM_BYTES);
        let index = at.index(body.len());
        body[index] = to;
        if let Ok(frame) = Frame::open(&with_checksum(body)) {
            frame.rows().ok();
            frame.series(&MetricName::new("a").unwrap()).ok();
        }
    }

    #[test]
    fn any_flipped_byte_is_noticed(rows in rows(), at in any::<prop::sample::Index>()) {
        let mut bytes = Frame::encode(&rows).unwrap();
        let index = at.index(bytes.len());
        bytes[index] = !bytes[index];
        prop_assert!(Frame::open(&bytes).is_err());
    }
}

#[test]
fn no_rows_make_no_frame() {
    assert!(Frame::encode(&BTreeMap::new()).is_err());
}
