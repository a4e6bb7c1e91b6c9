use proptest::prelude::*;

use super::*;

const NOON: Timestamp = Timestamp::from_millis(1_768_478_400_000); // 2026-01-15T12:00:00Z

fn pack(number: u8) -> DeviceId {
    DeviceId::new(format!("pack-{number}")).unwrap()
}

fn telemetry(id: &DeviceId, time: &str, values: &[impl std::fmt::Display]) -> String {
    let metrics: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(index, value)| format!(r#"{{"name":"m{index}","value":{value},"unit":"V"}}"#))
        .collect();
    format!(r#"{{"device_id":"{id}","timestamp":"{time}","metrics":[{}]}}"#, metrics.join(","))
}

fn learned(payload: &str) -> Option<Template> {
    Template::of(&parse_telemetry(&pack(1), payload.as_bytes(), NOON, || NOON).unwrap(), payload)
}

/// Reads one payload after the other, each as it is and as it should be read.
fn read_like_parsed(payloads: impl IntoIterator<Item = String>) -> Templates {
    let (templates, last) = (Templates::default(), LastTemplate::default());
    for payload in payloads {
        let read = templates.read(&last, &pack(1), payload.as_bytes(), NOON, || NOON);
        assert_eq!(read, parse_telemetry(&pack(1), payload.as_bytes(), NOON, || NOON), "{payload}");
    }
    templates
}

#[test]
fn the_next_payload_of_the_same_kind_fits() {
    let template = learned(&telemetry(&pack(1), "2026-01-15T11:00:00Z", &["1", "-2.50", "3e2"])).unwrap();
    let next = telemetry(&pack(2), "2026-01-15T11:00:01.5+01:00", &["-0.125", "7", "0"]);
    let Fit { time, metrics } = template.fit(&pack(2), &next).unwrap();
    assert_eq!(time, Some("2026-01-15T11:00:01.5+01:00"));
    assert_eq!(metrics.values(), [-0.125, 7.0, 0.0]);
    assert!(template.fit(&pack(1), &next).is_none(), "another device's");
}

#[test]
fn what_else_it_says_and_in_which_order_is_part_of_the_template() {
    let payload = "{ \"metrics\" : [ {\"unit\":\"°C\", \"value\": 21.5 , \"name\":\"t\"} ],\n \"rssi\":-60, \
                   \"device_id\":\"pack-1\" }";
    let template = learned(payload).unwrap();
    assert!(template.fit(&pack(1), &payload.replace("21.5", "-3")).is_some_and(|fit| fit.time.is_none()));
    assert!(template.fit(&pack(1), &payload.replace("-60", "-61")).is_none());
}

#[test]
fn what_is_more_than_numbers_makes_no_template() {
    for metrics in [
        r#"{"name":"a","value":true}"#,
        r#"{"name":"a","value":"on"},{"name":"b","value":1}"#,
        r#"{"name":"a","value":1},{"name":"a","value":2}"#,
        r#"{"name":"a","value":1},{"name":"b","value":null}"#,
        r#"{"name":"a","value":1},{"name":"b"}"#,
    ] {
        let payload = format!(r#"{{"device_id":"pack-1","metrics":[{metrics}]}}"#);
        assert_eq!(learned(&payload), None, "{payload}");
    }
    assert_eq!(learned(r#"{"device_id":"pack\u002d1","metrics":[{"name":"a","value":1}]}"#), None);
}

#[test]
fn numbers_are_those_of_json_and_nothing_else() {
    for (text, value, behind) in
        [("0,", 0.0, ","), ("-0.5e-3}", -0.5e-3, "}"), ("10E2 ", 1000.0, " "), ("7", 7.0, "")]
    {
        assert_eq!(number(text), Some((value, behind)), "{text}");
    }
    for text in ["", "-", "+1", "01", ".5", "5.", "1e", "1e+", "1e999", "inf", "NaN", "-x", "é"] {
        assert_eq!(number(text), None, "{text}");
    }
}

#[test]
fn devices_that_say_the_same_share_a_template() {
    let templates = Templates::default();
    for device in 1..=9 {
        let payload = telemetry(&pack(device), "2026-01-15T11:00:00Z", &[device]);
        let last = LastTemplate::default();
        templates.read(&last, &pack(device), payload.as_bytes(), NOON, || NOON).unwrap();
    }
    assert_eq!(templates.0.read().len(), 1);
}

#[test]
fn a_device_that_never_says_the_same_is_learned_from_ever_more_rarely() {
    let strange = (0..1_000).map(|count| {
        format!(r#"{{"device_id":"pack-1","count":{count},"metrics":[{{"name":"a","value":1}}]}}"#)
    });
    assert_eq!(read_like_parsed(strange).0.read().len(), 10);
}

#[test]
fn what_fits_and_is_to_be_turned_away_is_turned_away() {
    let times =
        ["2026-01-15T11:00:00Z", "2026-01-15T13:00:00Z", "yesterday", "", r"2026-01-15T11:00:00\u005a"];
    read_like_parsed(times.map(|time| telemetry(&pack(1), time, &[1])));
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<f64>().prop_map(|value| format!("{value:e}")),
        (-1e6..1e6).prop_map(|value: f64| format!("{value:.3}")),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<u64>().prop_map(|value| value.to_string()),
        "-?[0-9]{1,25}(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
        Just("true".to_owned()),
        Just("\"on\"".to_owned()),
    ]
}

/// A payload, mostly as it should be, with a byte or two changed now and then.
fn payload() -> impl Strategy<Value = String> {
    let values = prop::collection::vec(value(), 2);
    let time =
        prop_oneof![Just("2026-01-15T11:00:00Z"), Just("2026-01-15T11:00:00.123+00:00"), Just("x\\\"y")];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), "[\"\\\\,:{}a0 ]"), 0..2);
    (values, time, changes).prop_map(|(values, time, changes)| {
        let mut payload = telemetry(&pack(1), time, &values);
        for (index, with) in changes {
            let at = index.index(payload.len());
            payload.replace_range(at..=at, &with);
        }
        payload
    })
}

proptest! {
    #[test]
    fn it_is_read_as_it_is_parsed_whatever_came_before(payloads in prop::collection::vec(payload(), 1..12)) {
        read_like_parsed(payloads);
    }

    #[test]
    fn a_number_is_the_one_that_json_has(text in value()) {
        let parsed = serde_json::from_str::<f64>(&text).ok().filter(|value| value.is_finite());
        prop_assert_eq!(number(&text).filter(|(_, behind)| behind.is_empty()).map(|(value, _)| value), parsed);
    }
}
