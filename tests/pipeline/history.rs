//! Charts, areas and local days of a node's history, asked through GraphQL.

use serde_json::{Value, json};

use crate::support::node::{BOUND, Node, Site};
use crate::support::{now_ms, until};
use voltree_model::Timestamp;

const HOUR: i64 = 3_600_000;

async fn write(node: &Node, lines: String) {
    let client = reqwest::Client::new();
    let answer = client.post(format!("{}/write?precision=ms", node.http)).body(lines).send().await.unwrap();
    assert_eq!(answer.status(), 204, "{}", answer.text().await.unwrap());
}

async fn ask(
    node: &Node,
    field: &str,
    metrics: &[&str],
    (from, to): (i64, i64),
    more: &str,
    wanted: &str,
) -> Value {
    let at = |ms: i64| Timestamp::from_millis(ms).to_string();
    let query = format!(
        "query($m: [String!]!, $f: String!, $t: String!) {{ \
         {field}(deviceId: \"house\", metricNames: $m, from: $f, to: $t{more}) {{ metricName {wanted} }} }}"
    );
    let data = node.query(&query, json!({ "m": metrics, "f": at(from), "t": at(to) })).await;
    data[field].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn energy_in_and_out_charts_and_local_days_are_answered_from_what_is_stored_and_what_is_open() {
    let site = Site::new();
    let node = site.start().await;
    // Two whole days, ending at a midnight of UTC before yesterday: charging at 120 W for the first half of each day,
    // discharging at 60 W for the second, a reading every 30 s.
    let end = (now_ms() / (24 * HOUR) - 1) * 24 * HOUR;
    let begin = end - 48 * HOUR;
    let watts = |at: i64| if at.rem_euclid(24 * HOUR) < 12 * HOUR { 120.0 } else { -60.0 };
    let mut lines = String::new();
    for at in (begin..=end).step_by(30_000) {
        lines += &format!("voltree,device=house,unit=W power={} {at}\n", watts(at));
        lines += &format!(
            "voltree,device=house,unit=V voltage={} {at}\n",
            if at == begin + HOUR { 99.0 } else { 52.5 }
        );
    }
    write(&node, lines).await;
    until("what was written is folded", BOUND, || async {
        let received = node.ledger(Some("house")).await.received;
        if received == 5_761 { Ok(()) } else { Err(format!("{received} readings")) }
    })
    .await;

    let wanted =
        "gaps { from to } intervals { start end count min max positiveHours negativeHours coveredSeconds }";
    let check = |answer: &Value, place: &str| {
        let days = answer[0]["intervals"].as_array().unwrap();
        assert_eq!(days.len(), 2, "{place}: {answer}");
        for day in days {
            let (charged, discharged) =
                (day["positiveHours"].as_f64().unwrap(), day["negativeHours"].as_f64().unwrap());
            // The line across each of the two edges takes at most half a minute of power.
            assert!((charged - 1440.0).abs() < 1.5 && (discharged + 720.0).abs() < 1.5, "{place}: {day}");
            assert_eq!(day["coveredSeconds"], 86_400.0, "{place}");
            assert_eq!(
                (day["count"].as_u64(), day["max"].as_f64()),
                (Some(2880), Some(120.0)),
                "{place}: {day}"
            );
        }
        assert_eq!(answer[0]["gaps"], json!([]), "{place}");
    };
    let days = ask(&node, "deviceIntegrals", &["power"], (begin, end), ", interval: \"1 day\"", wanted).await;
    check(&days, "open or sealed");
    node.ledger_settled("house", 5_761).await;
    let days = ask(&node, "deviceIntegrals", &["power"], (begin, end), ", interval: \"1 day\"", wanted).await;
    check(&days, "sealed");
    let zone = ", localDaysIn: \"UTC0\"";
    check(&ask(&node, "deviceIntegrals", &["power"], (begin, end), zone, wanted).await, "days of a zone");
    let east =
        ask(&node, "deviceIntegrals", &["power"], (begin, end), ", localDaysIn: \"XYZ-2\"", wanted).await;
    let counts: Vec<_> =
        east[0]["intervals"].as_array().unwrap().iter().map(|day| day["count"].as_u64()).collect();
    assert_eq!(
        counts,
        [Some(22 * 120), Some(24 * 120), Some(2 * 120)],
        "midnight is two hours earlier there"
    );
    let whole = ask(&node, "deviceIntegrals", &["power", "voltage"], (begin, end), "", wanted).await;
    assert_eq!(whole.as_array().unwrap().len(), 2);
    assert!((whole[0]["intervals"][0]["positiveHours"].as_f64().unwrap() - 2880.0).abs() < 3.0, "{whole}");

    let charts = ask(
        &node,
        "deviceChart",
        &["power", "voltage"],
        (begin, end),
        ", points: 200",
        "points { time value }",
    )
    .await;
    for (index, peak) in [(0, 120.0), (1, 99.0)] {
        let points = charts[index]["points"].as_array().unwrap();
        assert!((100..=200).contains(&points.len()), "{} points", points.len());
        let highest = points.iter().filter_map(|point| point["value"].as_f64()).fold(f64::MIN, f64::max);
        assert_eq!(highest, peak, "a peak is left out");
    }
    let envelope = ask(&node, "deviceEnvelope", &["voltage"], (begin, end), ", pixels: 100", wanted).await;
    let pixels = envelope[0]["intervals"].as_array().unwrap();
    assert!((90..=101).contains(&pixels.len()), "{} pixels", pixels.len());
    assert_eq!(pixels.iter().filter(|pixel| pixel["max"] == 99.0).count(), 1);

    let unknown = node
        .ask(
            "{ deviceIntegrals(deviceId: \"house\", metricNames: [\"power\"], from: \"2026-01-01T00:00:00Z\", \
             to: \"2026-01-02T00:00:00Z\", localDaysIn: \"Moon/Sea\") { metricName } }",
            json!({}),
        )
        .await
        .unwrap();
    assert_eq!(unknown["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{unknown}");
    assert!(unknown["errors"][0]["message"].as_str().unwrap().contains("Moon/Sea"), "{unknown}");
}
