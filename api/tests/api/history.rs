//! Charts and balances: what is asked for, and what is refused.

use serde_json::json;

use crate::support::Api;

const RANGE: &str = "deviceId: \"pack-1\", from: \"2026-01-15T00:00:00Z\", to: \"2026-01-16T00:00:00Z\"";

#[tokio::test]
async fn many_series_are_charted_at_once() {
    let question = format!(
        "{{ deviceChart({RANGE}, metricNames: [\"a\", \"b\"], points: 2) {{ metricName points {{ time value }} }} }}"
    );
    let data = Api::new().data(&question).await;
    let points = json!([
        { "time": "2026-01-15T00:00:00Z", "value": 0.0 },
        { "time": "2026-01-15T00:01:00Z", "value": 1.0 },
    ]);
    let expected = json!([{ "metricName": "a", "points": points }, { "metricName": "b", "points": points }]);
    assert_eq!(data["deviceChart"], expected);
}

#[tokio::test]
async fn areas_are_in_hours_with_in_and_out_apart() {
    let question = format!(
        "{{ deviceIntegrals({RANGE}, metricNames: [\"power\"]) {{ metricName gaps {{ from to }} \
         intervals {{ start end count min max avg positiveHours negativeHours coveredSeconds }} }} }}"
    );
    let data = Api::new().data(&question).await;
    let (from, to) = ("2026-01-15T00:00:00Z", "2026-01-16T00:00:00Z");
    let interval = json!({ "start": from, "end": to, "count": 9, "min": -4.0, "max": 2.0, "avg": -1.0,
        "positiveHours": 2.0, "negativeHours": -2.0, "coveredSeconds": 5400.0 });
    let expected =
        json!([{ "metricName": "power", "intervals": [interval], "gaps": [{ "from": from, "to": to }] }]);
    assert_eq!(data["deviceIntegrals"], expected);
}

#[tokio::test]
async fn what_is_too_much_or_makes_no_sense_is_refused_with_what_is_expected() {
    let api = Api::new();
    let many: Vec<_> = (0..33).map(|n| format!("\"m{n}\"")).collect();
    let cases = [
        (
            "deviceChart",
            format!("metricNames: [{}]", many.join(",")),
            "metricNames: 33 metrics; expected 1 to 32",
        ),
        ("deviceChart", "metricNames: []".to_owned(), "metricNames: 0 metrics; expected 1 to 32"),
        ("deviceEnvelope", "metricNames: [\"a\",\"b\"], pixels: 10001".to_owned(), "expected 1 to 10000"),
        ("deviceChart", "metricNames: [\"a\"], points: 0".to_owned(), "expected 1 to 20000"),
        ("deviceIntegrals", "metricNames: [\"a\"], interval: \"1 h\"".to_owned(), "15 minutes"),
        (
            "deviceIntegrals",
            "metricNames: [\"a\"], interval: \"1 day\", localDaysIn: \"UTC\"".to_owned(),
            "can't be given together",
        ),
        ("deviceIntegrals", "metricNames: [\"a\"], localDaysIn: \"Moon\"".to_owned(), "is no time zone"),
    ];
    for (field, arguments, expected) in cases {
        let question = format!("{{ {field}({RANGE}, {arguments}) {{ metricName }} }}");
        let (code, message) = api.error(&question).await;
        assert_eq!(code, "BAD_USER_INPUT", "{arguments}: {message}");
        assert!(message.contains(expected), "{arguments}: {message}");
    }
}
