use proptest::prelude::*;

use super::*;

const NOON: Timestamp = Timestamp::from_millis(1_768_478_400_000); // 2026-01-15T12:00:00Z

fn pack() -> DeviceId {
    DeviceId::new("pack-1").unwrap()
}

fn parse(payload: impl AsRef<[u8]>) -> Result<Reading, PayloadRejection> {
    parse_telemetry(&pack(), payload.as_ref(), NOON, || NOON)
}

/// Parses a payload with these metrics, which are the inside of the JSON list.
fn parse_metrics(metrics: &str) -> Result<Reading, PayloadRejection> {
    parse(format!(r#"{{"device_id":"pack-1","metrics":[{metrics}]}}"#))
}

fn reason(result: Result<Reading, PayloadRejection>) -> RejectReason {
    result.unwrap_err().reason
}

fn left_out_reasons(reading: &Reading) -> Vec<(&str, RejectReason)> {
    reading.left_out.iter().map(|l| (l.name.as_str(), l.reason)).collect()
}

#[test]
fn the_contracts_example_becomes_a_reading() {
    let payload = r#"{"device_id":"pack-1","timestamp":"2024-01-15T10:30:00Z","metrics":[
        {"name":"temperature","value":23.5,"unit":"°C"},{"name":"relay","value":true},{"name":"mode","value":"eco"}]}"#;
    let reading = parse(payload).unwrap();
    assert_eq!(reading.device, pack());
    assert_eq!(reading.at, Timestamp::parse_rfc3339("2024-01-15T10:30:00Z").unwrap());
    let metrics: Vec<_> =
        reading.metrics.iter().map(|m| (m.name.as_str(), m.value, m.unit.map(Unit::as_str))).collect();
    assert_eq!(metrics, [("temperature", 23.5, Some("°C")), ("relay", 1.0, None)]);
    assert_eq!(reading.attributes, [(MetricName::new("mode").unwrap(), "eco".to_owned())]);
    assert_eq!(reading.left_out, []);
}

#[test]
fn keys_may_come_in_any_order_and_unknown_keys_are_skipped() {
    let payload = r#"{"firmware":{"v":[1,2]},"metrics":[{"unit":"V","extra":[],"value":52,"name":"\u0076"}],
        "device_id":"pack\u002d1"}"#;
    let reading = parse(payload).unwrap();
    assert_eq!(reading.metrics.get(0).unwrap().name.as_str(), "v");
    assert!((reading.metrics.values()[0] - 52.0).abs() < f64::EPSILON);
}

#[test]
fn the_device_in_the_payload_must_be_the_topics() {
    let other = parse(r#"{"device_id":"pack-2","metrics":[{"name":"a","value":1}]}"#).unwrap_err();
    assert_eq!(other.reason, RejectReason::DeviceMismatch);
    assert!(other.detail.contains("pack-1") && other.detail.contains("pack-2"), "{}", other.detail);
    for missing in [
        r#"{"metrics":[{"name":"a","value":1}]}"#,
        r#"{"device_id":7,"metrics":[{"name":"a","value":1}]}"#,
        r#"{"device_id":null,"metrics":[{"name":"a","value":1}]}"#,
    ] {
        assert_eq!(reason(parse(missing)), RejectReason::BadPayload, "{missing}");
    }
}

#[test]
fn a_missing_time_is_the_time_of_arrival() {
    assert_eq!(parse_metrics(r#"{"name":"a","value":1}"#).unwrap().at, NOON);
}

#[test]
fn a_time_is_rfc_3339_or_refused() {
    let with_time = |time: &str| {
        parse(format!(r#"{{"device_id":"pack-1","timestamp":{time},"metrics":[{{"name":"a","value":1}}]}}"#))
    };
    for bad in [r#""yesterday""#, r#""""#, "1768478400000", "null", "true", "{}", r#""2026-01-15 12:00""#] {
        assert_eq!(reason(with_time(bad)), RejectReason::BadTimestamp, "{bad}");
    }
    assert_eq!(with_time(r#""2026-01-15T14:05:00+02:00""#).unwrap().at, NOON.plus(MAX_CLOCK_LEAD));
    assert_eq!(reason(with_time(r#""2026-01-15T12:05:00.001Z""#)), RejectReason::FutureTimestamp);
    assert!(with_time(r#""2019-06-01T00:00:00Z""#).is_ok(), "the past is welcome: devices catch up");
}

#[test]
fn one_bad_value_costs_that_metric_alone() {
    let reading = parse_metrics(
        r#"{"name":"good","value":1},{"name":"null","value":null},{"name":"list","value":[1]},
           {"name":"object","value":{"v":1}},{"name":"none"},{"name":"also good","value":-2.5e3}"#,
    )
    .unwrap();
    let names: Vec<_> = reading.metrics.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["good", "also good"]);
    let expected = ["null", "list", "object", "none"].map(|name| (name, RejectReason::BadValue));
    assert_eq!(left_out_reasons(&reading), expected);
}

#[test]
fn bad_names_and_units_cost_their_metric_alone() {
    let long = "x".repeat(129);
    let reading = parse_metrics(&format!(
        r#"{{"name":"good","value":1,"unit":""}},{{"name":"","value":1}},{{"name":"a\u0007b","value":1}},
           {{"value":1}},{{"name":5,"value":1}},{{"name":"{long}","value":1}},
           {{"name":"u","value":1,"unit":"{long}"}},{{"name":"w","value":1,"unit":3}}"#
    ))
    .unwrap();
    assert_eq!(reading.metrics.len(), 1);
    assert_eq!(reading.metrics.get(0).unwrap().unit, None);
    let shown = "x".repeat(64);
    let expected = ["", "ab", "", "", shown.as_str(), "u", "w"].map(|name| (name, RejectReason::BadName));
    assert_eq!(left_out_reasons(&reading), expected);
}

#[test]
fn numbers_that_json_does_not_know_refuse_the_payload_and_name_the_place() {
    for bad in ["NaN", "Infinity", "-Infinity", "1e999", "01", "+1", "'text'"] {
        let rejection = parse_metrics(&format!(r#"{{"name":"a","value":{bad}}}"#)).unwrap_err();
        assert_eq!(rejection.reason, RejectReason::BadPayload, "{bad}");
        assert!(rejection.detail.contains("line 1 column"), "{bad}: {}", rejection.detail);
    }
}

#[test]
fn what_is_not_the_contracts_json_is_a_bad_payload() {
    let deep = format!(r#"{{"device_id":"pack-1","metrics":[],"x":{}"#, "[".repeat(100_000));
    for bad in [
        "",
        "{",
        "[]",
        "7",
        "hello",
        r#"{"device_id":"pack-1"}"#,
        r#"{"device_id":"pack-1","metrics":null}"#,
        r#"{"device_id":"pack-1","metrics":{"a":1}}"#,
        r#"{"device_id":"pack-1","metrics":[1]}"#,
        r#"{"device_id":"pack-1","metrics":[{"name":"a","value":1}]} x"#,
        r#"{"device_id":"pack-1","device_id":"pack-1","metrics":[{"name":"a","value":1}]}"#,
        &deep,
    ] {
        assert_eq!(reason(parse(bad)), RejectReason::BadPayload, "{bad:.80}");
    }
    assert_eq!(reason(parse(b"{\"device_id\":\"pack-1\xff\"}")), RejectReason::BadPayload);
}

#[test]
fn a_reading_with_nothing_left_takes_the_first_metrics_reason() {
    assert_eq!(reason(parse_metrics("")), RejectReason::NoMetrics);
    assert_eq!(
        reason(parse_metrics(r#"{"name":"a","value":null},{"name":"","value":1}"#)),
        RejectReason::BadValue
    );
    assert_eq!(
        reason(parse_metrics(r#"{"name":"","value":1},{"name":"a","value":null}"#)),
        RejectReason::BadName
    );
    assert!(parse_metrics(r#"{"name":"mode","value":"eco"}"#).is_ok(), "a text alone is worth keeping");
}

#[test]
fn five_hundred_and_twelve_metrics_are_taken_and_one_more_refused() {
    let metrics = |count: usize| {
        (0..count).map(|i| format!(r#"{{"name":"m{i}","value":{i}}}"#)).collect::<Vec<_>>().join(",")
    };
    let full = parse_metrics(&metrics(512)).unwrap();
    assert_eq!(full.metrics.len(), 512);
    assert_eq!(full.metrics.get(511).unwrap().name.as_str(), "m511");
    let rejection = parse_metrics(&metrics(513)).unwrap_err();
    assert_eq!(rejection.reason, RejectReason::TooManyMetrics);
    assert!(rejection.detail.contains("513"));
}

#[test]
fn of_two_metrics_with_one_name_the_last_counts() {
    let reading = parse_metrics(
        r#"{"name":"a","value":1},{"name":"b","value":2},{"name":"a","value":3},
           {"name":"c","value":4},{"name":"c","value":null},{"name":"d","value":5},{"name":"d","value":"text"},
           {"name":"e","value":6},{"name":"e","value":7,"unit":8}"#,
    )
    .unwrap();
    let metrics: Vec<_> = reading.metrics.iter().map(|m| (m.name.as_str(), m.value)).collect();
    assert_eq!(metrics, [("b", 2.0), ("a", 3.0)]);
    assert_eq!(left_out_reasons(&reading), [("c", RejectReason::BadValue), ("e", RejectReason::BadName)]);
    assert_eq!(reading.attributes[0].1, "text");
}

#[test]
fn a_detail_is_short_and_safe_to_log() {
    let name = "\\u001b[31m".to_owned() + &"é".repeat(5000);
    let rejection = parse(format!(r#"{{"device_id":"{name}","metrics":[]}}"#)).unwrap_err();
    assert_eq!(rejection.reason, RejectReason::DeviceMismatch);
    assert!(rejection.detail.chars().count() <= 200);
    assert!(!rejection.detail.chars().any(char::is_control));
}

#[test]
fn a_status_is_an_object_or_one_word() {
    let state = |payload: &str| parse_status(payload.as_bytes()).unwrap();
    for online in ["online", " Online\n", r#""online""#, r#"{"status":"online"}"#] {
        assert_eq!(state(online), DeviceStatus { state: ReportedState::Online, at: None }, "{online}");
    }
    assert_eq!(
        state(r#"{"timestamp":"2026-01-15T12:00:00Z","status":"offline","why":[]}"#),
        DeviceStatus { state: ReportedState::Offline, at: Some(NOON) }
    );
    assert_eq!(state("sleeping").state, ReportedState::Other("sleeping".to_owned()));
}

#[test]
fn a_status_that_says_nothing_is_refused() {
    let long = "x".repeat(65);
    for bad in ["", "  ", "{}", r#"{"status":1}"#, r#"{"status":""}"#, r#"""#, "a\u{1}b", "{", &long] {
        assert_eq!(parse_status(bad.as_bytes()).unwrap_err().reason, RejectReason::BadPayload, "{bad:?}");
    }
    assert_eq!(parse_status(b"\xff\xfe").unwrap_err().reason, RejectReason::BadPayload);
    for bad in [r#"{"status":"online","timestamp":"x"}"#, r#"{"status":"online","timestamp":5}"#] {
        assert_eq!(parse_status(bad.as_bytes()).unwrap_err().reason, RejectReason::BadTimestamp, "{bad}");
    }
}

#[test]
fn a_value_without_a_json_form_is_left_out_by_its_name() {
    let metric = |name: &str, value| Metric { name: MetricName::new(name).unwrap(), value, unit: None };
    let reading = Reading {
        device: pack(),
        at: NOON,
        metrics: vec![metric("good", 1.0), metric("nan", f64::NAN), metric("inf", f64::INFINITY)].into(),
        attributes: vec![],
        left_out: vec![],
    };
    let read_back = parse(telemetry_json(&reading)).unwrap();
    let expected = [("nan", RejectReason::BadValue), ("inf", RejectReason::BadValue)];
    assert_eq!(left_out_reasons(&read_back), expected);
}

fn some_reading() -> impl Strategy<Value = Reading> {
    let name = "[a-zé°\"\\\\ ]{1,12}";
    let number = (-1_000_000_000_i32..1_000_000_000).prop_map(|thousandths| f64::from(thousandths) / 1000.0);
    let unit = prop::option::of("[A-Z°%]{1,4}".prop_map(|unit| Unit::new(unit).unwrap()));
    let metrics = prop::collection::btree_map(name, (number, unit), 1..20);
    let attributes = prop::collection::btree_map("[0-9]{1,6}", ".{0,40}", 0..4);
    (metrics, attributes, 0..NOON.as_millis()).prop_map(|(metrics, attributes, at)| Reading {
        device: pack(),
        at: Timestamp::from_millis(at),
        metrics: metrics
            .into_iter()
            .map(|(name, (value, unit))| Metric { name: MetricName::new(name).unwrap(), value, unit })
            .collect(),
        attributes: attributes.into_iter().map(|(n, text)| (MetricName::new(n).unwrap(), text)).collect(),
        left_out: vec![],
    })
}

proptest! {
    #[test]
    fn reading_what_was_written_is_the_identity(reading in some_reading()) {
        prop_assert_eq!(parse(telemetry_json(&reading)).unwrap(), reading);
    }

    #[test]
    fn random_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(rejection) = parse(&payload) {
            prop_assert!(rejection.detail.chars().count() <= 200);
            prop_assert!(!rejection.detail.chars().any(char::is_control));
        }
        if let Ok(DeviceStatus { state: ReportedState::Other(word), .. }) = parse_status(&payload) {
            prop_assert!(!word.is_empty());
        }
    }

    #[test]
    fn a_good_payload_with_one_byte_changed_never_panics(
        reading in some_reading(), at in any::<prop::sample::Index>(), to in any::<u8>(),
    ) {
        let mut payload = telemetry_json(&reading);
        let at = at.index(payload.len());
        payload[at] = to;
        if let Ok(parsed) = parse(&payload) {
            prop_assert_eq!(parsed.device, pack());
            prop_assert!(parsed.metrics.iter().all(|m| m.value.is_finite()));
        }
    }
}
