use proptest::prelude::*;
use voltree_model::{DeviceId, RejectReason, Timestamp};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn lines(body: &str) -> Vec<(usize, Result<Line<'_>, LineError>)> {
    Lines::new(body.as_bytes()).collect()
}

fn line(body: &str) -> Line<'_> {
    let mut lines = lines(body);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0).1.unwrap()
}

fn reading(body: &str) -> Result<voltree_model::Reading, LineRejection> {
    let mapping = Mapping::default();
    let line = line(body);
    let device = mapping.device(&line)?;
    mapping.reading(&device, line, Precision::Nanoseconds, NOW, || NOW, &mut KnownNames::default())
}

#[test]
fn a_line_is_taken_apart() {
    let line = line(
        "weather,location=us\\ midwest,k\\=1=a\\,b t=82,n=-3i,u=7u,ok=true,s=\"a \\\"b\\\" \\\\ c, d\" 1465839830100400200\r\n",
    );
    assert_eq!(line.measurement, "weather");
    assert_eq!(line.tags, [("location".into(), "us midwest".into()), ("k=1".into(), "a,b".into())]);
    let fields = [
        ("t".into(), FieldValue::Float(82.0)),
        ("n".into(), FieldValue::Integer(-3)),
        ("u".into(), FieldValue::Unsigned(7)),
        ("ok".into(), FieldValue::Boolean(true)),
        ("s".into(), FieldValue::Text("a \"b\" \\ c, d".into())),
    ];
    assert_eq!(line.fields, fields);
    assert_eq!(line.time, Some(1_465_839_830_100_400_200));
}

#[test]
fn bad_lines_are_named_by_number_and_the_others_are_read() {
    let body = "# comment\n\na b=1 5\na,b c=1\na\na b\na b=\na b=x\na b=1 x\na b=\"one\ntwo\" 6\n a b=nan\n,t=1 a=1\na b=1i\n";
    let found: Vec<_> =
        lines(body).into_iter().map(|(number, line)| (number, line.map(|line| line.time))).collect();
    let expected = [
        (3, Ok(Some(5))),
        (4, Err(LineError::BadTag)),
        (5, Err(LineError::NoFields)),
        (6, Err(LineError::BadField)),
        (7, Err(LineError::BadValue)),
        (8, Err(LineError::BadValue)),
        (9, Err(LineError::BadTime)),
        (10, Ok(Some(6))),
        (12, Err(LineError::BadValue)),
        (13, Err(LineError::NoMeasurement)),
        (14, Ok(None)),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_text_that_does_not_end_and_bytes_that_are_no_text_cost_their_line() {
    let mut found = Lines::new(b"a b=\"open\na b=1\na\xff b=1\n");
    assert_eq!(found.next(), Some((1, Err(LineError::OpenQuote))));
    assert!(matches!(found.next(), Some((2, Ok(_)))));
    assert_eq!(found.next(), Some((3, Err(LineError::NotUtf8))));
    assert_eq!(found.next(), None);
}

#[test]
fn a_series_is_named_by_measurement_field_and_the_tags_that_are_left() {
    let reading =
        reading("cpu,host=pi,cpu=cpu0,a=b usage=1.5,on=t,mode=\"eco\" 1600000000123456789").unwrap();
    assert_eq!(reading.device.as_str(), "pi");
    assert_eq!(reading.at, Timestamp::from_millis(1_600_000_000_123));
    let metrics: Vec<_> = reading.metrics.iter().map(|m| (m.name.as_str(), m.value)).collect();
    assert_eq!(metrics, [("cpu.usage{a=b,cpu=cpu0}", 1.5), ("cpu.on{a=b,cpu=cpu0}", 1.0)]);
    assert_eq!(reading.attributes[0].1, "eco");
}

#[test]
fn our_own_lines_keep_names_and_units() {
    let reading = reading("voltree,device=a,unit=V x=1,y=2,x=3 0").unwrap();
    let metrics: Vec<_> = reading
        .metrics
        .iter()
        .map(|m| (m.name.as_str(), m.value, m.unit.as_ref().unwrap().as_str()))
        .collect();
    assert_eq!(metrics, [("y", 2.0, "V"), ("x", 3.0, "V")], "of two fields with one name the later counts");
}

#[test]
fn rejections_have_the_ledgers_reasons() {
    let reason = |body: &str| reading(body).unwrap_err().reason;
    assert_eq!(reason("a b=1"), RejectReason::BadPayload);
    assert_eq!(reason("a,device=x/y b=1"), RejectReason::BadName);
    assert_eq!(reason("a,device=x b=1 9000000000000000000"), RejectReason::FutureTimestamp);
    assert_eq!(reason(&format!("a,device=x {}=1", "n".repeat(200))), RejectReason::BadName);
    let many: Vec<_> = (0..513).map(|n| format!("f{n}=1")).collect();
    assert_eq!(reason(&format!("a,device=x {}", many.join(","))), RejectReason::TooManyMetrics);
    let overflow = Mapping::default().reading(
        &DeviceId::new("x").unwrap(),
        line("a b=1 9000000000000000000"),
        Precision::Seconds,
        NOW,
        || NOW,
        &mut KnownNames::default(),
    );
    assert_eq!(overflow.unwrap_err().reason, RejectReason::BadTimestamp);
}

/// Lines of few kinds in any order, among them some with a field twice, with texts, escapes and names that are too long.
fn similar_lines() -> impl Strategy<Value = String> {
    let names = prop_oneof![8 => "[abc]", 1 => Just("a\\ b".to_owned()), 1 => Just("n".repeat(130))];
    let value = prop_oneof![6 => "-?[0-9]{1,3}(\\.[0-9]{1,3})?", 1 => Just("\"text\"".to_owned()), 1 => Just("7i".to_owned()), 1 => Just("t".to_owned())];
    let fields = proptest::collection::vec((names, value), 1..4).prop_map(|fields| {
        fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
    });
    let tags = prop_oneof![
        Just(",device=x"),
        Just(",dev=y,host=z"),
        Just(",host=x,k=1"),
        Just(",k=2,device=x,unit=V")
    ];
    let measurement = prop_oneof![Just("m"), Just("voltree"), Just("mm")];
    let line = (measurement, tags, fields).prop_map(|(m, tags, fields)| format!("{m}{tags} {fields} 5\n"));
    proptest::collection::vec(line, 1..40).prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn what_is_remembered_of_other_lines_changes_no_reading(body in similar_lines()) {
        let (mapping, mut known) = (Mapping::default(), KnownNames::default());
        let device = DeviceId::new("x").unwrap();
        let alone = body.lines();
        for ((_, line), alone) in Lines::new(body.as_bytes()).zip(alone) {
            let [(_, alone)] = <[_; 1]>::try_from(lines(alone)).unwrap();
            prop_assert_eq!(&line, &alone);
            let read = |line: Line<'_>, known: &mut KnownNames| {
                mapping.reading(&device, line, Precision::Nanoseconds, NOW, || NOW, known)
            };
            let (line, alone) = (line.unwrap(), alone.unwrap());
            prop_assert_eq!(read(line, &mut known), read(alone, &mut KnownNames::default()));
        }
    }

    #[test]
    fn no_bytes_panic_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for (number, line) in Lines::new(&bytes) {
            prop_assert!(number >= 1);
            drop(line);
        }
    }

    #[test]
    fn almost_lines_never_panic(body in "[ab,= \\\\\"\n\r0-9i.#-]{0,80}") {
        Lines::new(body.as_bytes()).for_each(drop);
    }

    #[test]
    fn what_is_written_is_read_again(
        measurement in "[^\\\\\n#\r\t ][^\\\\\n\r]{0,10}",
        tags in proptest::collection::vec(("[^\\\\\n\r]{1,8}", "[^\\\\\n\r]{1,8}"), 0..3),
        texts in proptest::collection::vec(("[^\\\\\n\r]{1,8}", "[^\r]{0,12}"), 0..3),
        value in proptest::num::f64::NORMAL,
        whole in any::<i64>(),
        time in proptest::option::of(any::<i64>()),
    ) {
        let mut fields: Vec<(Cow<'_, str>, FieldValue<'_>)> =
            vec![("f".into(), FieldValue::Float(value)), ("i".into(), FieldValue::Integer(whole))];
        fields.extend(texts.iter().map(|(key, text)| (key.as_str().into(), FieldValue::Text(text.as_str().into()))));
        let tags = tags.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect();
        let written = Line { measurement: measurement.as_str().into(), tags, fields, time };
        let mut body = String::new();
        write_line(&mut body, &written);
        let mut read = Lines::new(body.as_bytes());
        let (_, line) = read.next().unwrap();
        prop_assert_eq!(line, Ok(written), "{}", body);
        prop_assert!(read.next().is_none());
    }
}
