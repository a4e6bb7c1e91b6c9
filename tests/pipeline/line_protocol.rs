//! InfluxDB line protocol as writers send it: every line is accounted for, 204 comes after the commit, and who must wait
//! is told so.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::mqtt_login::site_with_users;
use crate::support::node::{BOUND, Node, Site};
use crate::support::{now_ms, until};

struct Told {
    status: StatusCode,
    retry_after: Option<String>,
    body: Value,
}

async fn post(node: &Node, path: &str, login: Option<&str>, body: impl Into<reqwest::Body>) -> Told {
    let client = reqwest::Client::new();
    let mut request = client.post(format!("{}{path}", node.http)).body(body);
    if let Some(token) = login {
        request = request.header("authorization", format!("Token {token}"));
    }
    if path.contains("gzip") {
        request = request.header("content-encoding", "gzip");
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
    let retry_after = headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    Told { status, retry_after, body }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A line for each number, a millisecond apart.
fn numbered(device: &str, base: i64, numbers: std::ops::RangeInclusive<i64>) -> String {
    numbers.fold(String::new(), |mut body, number| {
        writeln!(body, "meter,device={device} number={number}i {}", base + number).unwrap();
        body
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_stored_or_counted_and_the_bad_ones_are_named() {
    let site = Site::new();
    let node = site.start().await;
    let base = now_ms() - 3_000_000;
    let told =
        post(&node, "/write?db=telegraf&precision=ms&gzip", None, gzip(&numbered("meter-1", base, 1..=3000)))
            .await;
    assert_eq!((told.status, told.body), (StatusCode::NO_CONTENT, Value::Null));

    let nanoseconds = format!("cpu,host=pi,cpu=cpu0 usage=1.5,mode=\"eco\",on=t {}000000\n", base);
    let body = format!(
        "{nanoseconds}cpu,host=pi usage\n# a comment\n\ncpu,rack=1 usage=1\ncpu,host=pi usage=2 9000000000000000000\n\
         cpu,host=pi usage=3 1000\n"
    );
    let told = post(&node, "/api/v2/write?org=o&bucket=b", None, body).await;
    assert_eq!(told.status, StatusCode::BAD_REQUEST);
    assert_eq!((&told.body["code"], &told.body["line"]), (&json!("invalid"), &json!(2)), "{}", told.body);
    let lines: Vec<_> =
        told.body["lines"].as_array().unwrap().iter().map(|line| line["line"].as_u64()).collect();
    assert_eq!(lines, [Some(2), Some(5), Some(6), Some(7)], "{}", told.body);
    assert!(told.body["error"].as_str().unwrap().starts_with("partial write: 4 of 5 lines"), "{}", told.body);
    let own =
        format!("voltree,device=own,unit=V a=1 {base}000000\nvoltree,device=own,unit=A b=2 {base}000000\n");
    let told = post(&node, "/write", None, format!("{own}{own}")).await;
    assert_eq!(told.status, StatusCode::NO_CONTENT, "{}", told.body);
    node.kill();

    let node = site.start().await;
    let own = node.ledger_settled("own", 2).await;
    assert_eq!(
        (own.stored, own.duplicate),
        (1, 1),
        "lines of one moment are one reading, said again a second"
    );
    let meter = node.ledger_settled("meter-1", 3000).await;
    assert_eq!((meter.received, meter.stored), (3000, 3000), "{meter:?}");
    let samples = node.samples("meter-1", "meter.number").await;
    let expected: Vec<_> = (1..=3000).map(|number| (base + number, number as f64)).collect();
    assert!(samples == expected, "{} samples", samples.len());
    let pi = node.ledger_settled("pi", 3).await;
    assert_eq!((pi.received, pi.stored, pi.rejected), (3, 1, 2), "{pi:?}");
    assert_eq!(node.samples("pi", "cpu.usage{cpu=cpu0}").await, [(base, 1.5)]);
    assert_eq!(node.samples("pi", "cpu.on{cpu=cpu0}").await, [(base, 1.0)]);
    let nobody = node.ledger_at_rest(None).await;
    assert_eq!((nobody.received, nobody.rejected), (2, 2), "{nobody:?}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_publish_may_write_and_nobody_else() {
    let site = site_with_users();
    let node = site.start().await;
    for wrong in [None, Some("pack:wrong"), Some("nobody:pack's")] {
        let told = post(&node, "/write", wrong, "a,device=pack-1 v=1").await;
        assert_eq!(told.status, StatusCode::UNAUTHORIZED, "{wrong:?}");
    }
    let told = post(&node, "/write", Some("pack:pack's"), "a,device=pack-1 v=1\na,device=pack-2 v=1\n").await;
    assert_eq!((told.status, &told.body["line"]), (StatusCode::BAD_REQUEST, &json!(2)), "{}", told.body);
    let told = post(&node, "/write?u=hub&p=hub's", None, "a,device=pack-2 v=1\n").await;
    assert_eq!(told.status, StatusCode::NO_CONTENT, "{}", told.body);
    for device in ["pack-1", "pack-2"] {
        let ledger = node.ledger_settled(device, 1).await;
        assert_eq!((ledger.received, ledger.stored), (1, 1), "{device}: {ledger:?}");
    }
    let nobody = node.ledger_at_rest(None).await;
    assert_eq!((nobody.received, nobody.rejected), (1, 1), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_journal_has_no_space_writers_are_told_to_come_again_and_nothing_is_lost() {
    let site = Site::new();
    let node = site.start().await;
    let fault = json!({ "point": "journal.before_commit", "kind": "DISK_FULL", "forSeconds": 600 });
    node.inject(&fault).await.unwrap();
    let body = numbered("meter", now_ms() - 3_000_000, 1..=2000);
    let told = post(&node, "/write?precision=ms", None, body.clone()).await;
    assert_eq!(told.status, StatusCode::TOO_MANY_REQUESTS, "{}", told.body);
    assert_eq!(told.retry_after.as_deref(), Some("5"));
    node.clear_faults().await.unwrap();

    until("the batch is taken", BOUND, || async {
        let told = post(&node, "/write?precision=ms", None, body.clone()).await;
        if told.status == StatusCode::NO_CONTENT {
            Ok(())
        } else {
            Err(format!("{}: {}", told.status, told.body))
        }
    })
    .await;
    let ledger = node.ledger_settled("meter", 2000).await;
    assert_eq!(ledger.stored, 2000, "{ledger:?}");
    assert_eq!(ledger.received, ledger.stored + ledger.duplicate, "{ledger:?}");
    let numbers: BTreeSet<_> =
        node.samples("meter", "meter.number").await.into_iter().map(|(_, number)| number as i64).collect();
    assert!(numbers == (1..=2000).collect(), "{} numbers", numbers.len());
    tokio::time::timeout(Duration::from_secs(60), node.stop()).await.unwrap();
}
