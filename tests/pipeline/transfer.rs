//! What one node holds is exported, imported into another and exported there: byte for byte the same.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::RowAccessor as _;
use serde_json::json;
use voltree_model::Timestamp;

use crate::storage_tools::{text, voltree};
use crate::support::node::{BOUND, Node, Site, VOLTREE};
use crate::support::{now_ms, until};

const FORMATS: [&str; 4] = ["line", "csv-long", "csv-wide", "parquet"];
/// What only line protocol says.
const TEXTS: &str = "voltree,device=pack-1 firmware=\"1.2 \\\"b\\\", é\",place=\"shed\" ";

async fn post(node: &Node, body: String) {
    let client = reqwest::Client::new();
    let answer = client.post(format!("{}/write?precision=ms", node.http)).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 204, "{}", answer.text().await.unwrap());
}

fn export(data: &Path, format: &str, out: &Path, more: &[&str]) -> Vec<u8> {
    let args =
        ["export", "--data", data.to_str().unwrap(), "--format", format, "--out", out.to_str().unwrap()];
    let output = voltree(&[args.as_slice(), more].concat());
    assert!(output.status.success(), "{format}: {output:?}");
    std::fs::read(out).unwrap()
}

/// Three days of two devices, with odd names, odd units and values that are easily bent.
fn body(base: i64) -> String {
    let values = ["0.1", "-0", "1e-300", "123456789.12345679", "5", "0.30000000000000004", "-17.25"];
    let mut body = String::new();
    for n in 0..600_i64 {
        let at = base + n * 432_000 + n % 7;
        let value = |k: i64| values[usize::try_from((n + k) % 7).unwrap()];
        body += &format!("voltree,device=pack-1,unit=V voltage={},cell\\ 1={} {at}\n", value(0), value(1));
        body += &format!("voltree,device=pack-1,unit=°C temp={} {at}\n", value(2));
        body += &format!("voltree,device=pack-1 \"odd\"={},soc={}i {at}\n", value(3), n % 100);
        if n % 3 == 0 {
            body += &format!("meter,device=m.2,phase=L1 power={} {at}\n", value(4));
        }
    }
    body += &format!("{TEXTS}{}\n", base + 599 * 432_000 + 599 % 7);
    body
}

/// The rows of a Parquet file as the long form of CSV has them.
fn as_csv(file: &Path) -> String {
    let reader = SerializedFileReader::new(std::fs::File::open(file).unwrap()).unwrap();
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["time", "device", "metric", "value", "unit"]).unwrap();
    for row in reader.get_row_iter(None).unwrap() {
        let row = row.unwrap();
        let at = Timestamp::from_millis(row.get_timestamp_millis(0).unwrap()).to_string();
        let text = |column| row.get_string(column).map_or("", String::as_str);
        let value = row.get_double(3).unwrap().to_string();
        csv.write_record([&at, text(1), text(2), &value, text(4)]).unwrap();
    }
    String::from_utf8(csv.into_inner().unwrap()).unwrap()
}

/// An export in one form as it is after an import of another.
fn after_import(exported: &[u8], format: &str, imported: &str) -> Vec<u8> {
    if format != "line" || imported == "line" {
        return exported.to_owned();
    }
    let text = text(exported);
    let lines = text.split_inclusive('\n').filter(|line| !line.starts_with(TEXTS));
    lines.collect::<String>().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_imported_and_exported_again_is_the_same_byte_for_byte() {
    let first = Site::new();
    let node = first.start().await;
    let base = now_ms() - 3 * 86_400_000;
    post(&node, body(base)).await;
    node.ledger_settled("pack-1", 600).await;
    // What no seal covers is exported too: nothing waits for these.
    post(&node, format!("voltree,device=pack-1,unit=V voltage=9.75 {}\n", base + 999_999_999 / 4)).await;
    node.ledger_settled("pack-1", 601).await;
    let (files, running) =
        (FORMATS.map(|format| first.dir.path().join(format)), first.dir.path().join("running"));
    let while_it_runs: Vec<_> = FORMATS
        .iter()
        .map(|format| export(&first.data(), format, &running, &["--node", &node.http]))
        .collect();
    let data = first.data();
    let nobody = voltree(&["export", "--data", data.to_str().unwrap(), "--node", "http://127.0.0.1:1"]);
    let why = text(&nobody.stderr);
    assert!(!nobody.status.success() && why.contains("a node runs on") && why.contains("--node"), "{why}");
    node.kill();
    let exported: Vec<_> =
        FORMATS.iter().zip(&files).map(|(format, file)| export(&first.data(), format, file, &[])).collect();
    assert!(while_it_runs == exported, "a node that runs is exported as one that does not");
    let left = std::fs::read_dir(first.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_str().unwrap().starts_with(".voltree")).collect();
    assert!(left.is_empty(), "the copies are gone: {left:?}");
    let lines = text(&exported[0]);
    assert_eq!(lines.lines().count(), 600 * 3 + 200 + 1 + 1, "{}", &lines[..500]);
    assert_eq!(lines.lines().filter(|line| line.starts_with(TEXTS)).count(), 1);
    assert!(as_csv(&files[3]) == text(&exported[1]), "Parquet says what CSV says");
    assert!(text(&exported[2]).starts_with("time,device,"), "{}", &text(&exported[2])[..200]);

    for (index, file) in files.iter().enumerate() {
        let second = Site::new();
        let node = second.start().await;
        let output = voltree(&["import", file.to_str().unwrap(), "--to", &node.http]);
        assert!(output.status.success(), "{}: {output:?}", file.display());
        assert!(text(&output.stdout).contains("readings of 2 device(s) imported"), "{output:?}");
        node.ledger_at_rest(Some("pack-1")).await;
        assert_eq!(node.stop().await, Some(0));
        for (format, expected) in FORMATS.iter().zip(&exported) {
            let again = export(&second.data(), format, &second.dir.path().join("again"), &[]);
            let expected = after_import(expected, format, FORMATS[index]);
            assert!(again == expected, "imported as {}, exported as {format}", FORMATS[index]);
        }
    }

    let some = ["--device", "m.2", "--from", "2000-01-01T00:00:00Z", "--series", "meter.power{phase=L1}"];
    let one = text(&export(&first.data(), "csv-long", &first.dir.path().join("one"), &some));
    assert_eq!(one.lines().count(), 201, "{one}");
    assert!(one.lines().skip(1).all(|line| line.contains(",m.2,meter.power{phase=L1},")), "{one}");
    let unknown = voltree(&["export", "--data", first.data().to_str().unwrap(), "--device", "nobody"]);
    assert!(text(&unknown.stderr).contains("nothing of this device"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_what_is_too_old_stops_first_and_names_the_count_and_both_ways_out() {
    let site = Site::new();
    let node = site.start().await;
    let file = site.dir.path().join("cell.csv");
    let rows: String =
        (0..500).map(|n| format!("{},{}\n", 1_239_121_861 + n * 10, 3.0 + f64::from(n) / 512.0)).collect();
    std::fs::write(&file, format!("epoch_s,voltage_v\n{rows}")).unwrap();
    let import =
        |more: &[&str]| voltree(&[&["import", file.to_str().unwrap(), "--to", &node.http], more].concat());

    let refused = import(&[]);
    assert!(!refused.status.success());
    let told = text(&refused.stderr);
    for word in ["cell: 500 of 500 readings", "Nothing was sent", "--retention keep", "--shift end-now"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert_eq!(node.ledger(Some("cell")).await.received, 0);

    let moved = import(&["--device", "moved", "--shift", "end-now"]);
    assert!(moved.status.success(), "{moved:?}");
    node.ledger_settled("moved", 500).await;
    let samples = node.samples("moved", "voltage").await;
    assert_eq!(samples.len(), 500);
    assert!(now_ms() - samples[499].0 < 120_000);
    let kept = import(&["--retention", "keep"]);
    assert!(kept.status.success(), "{kept:?}");
    node.ledger_settled("cell", 500).await;
    assert_eq!(node.stop().await, Some(0));

    let node = site.start().await;
    node.ledger_settled("cell", 500).await;
    let samples = node.samples("cell", "voltage").await;
    assert_eq!((samples.len(), samples[0]), (500, (1_239_121_861_000, 3.0)));
    // What it once promised to keep it takes again.
    let again = voltree(&["import", file.to_str().unwrap(), "--to", &node.http]);
    assert!(again.status.success(), "{again:?}");
    assert_eq!(node.ledger_settled("cell", 1000).await.duplicate, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_stopped_says_how_to_go_on() {
    let site = Site::new();
    let node = site.start().await;
    let fault = json!({ "point": "journal.before_commit", "kind": "DISK_FULL", "forSeconds": 600 });
    node.inject(&fault).await.unwrap();
    let file = site.dir.path().join("lines");
    let base = now_ms() - 3_600_000;
    let lines: String = (0..3000).map(|n| format!("voltree,device=a v={n} {}000000\n", base + n)).collect();
    std::fs::write(&file, lines).unwrap();
    let import = ["import", file.to_str().unwrap(), "--to", &node.http];
    let child =
        Command::new(VOLTREE).args(import).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the batch waits at the door", BOUND, || async {
        let pending = node.ledger(Some("a")).await.pending;
        if pending > 0 { Ok(()) } else { Err("nothing is pending".to_owned()) }
    })
    .await;
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let output = tokio::time::timeout(Duration::from_secs(60), output).await.expect("it stops").unwrap();
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("0 of 3000 readings are on the node's disk"), "{output:?}");
    assert!(text(&output.stderr).contains("--skip-readings 0"), "{output:?}");
    node.clear_faults().await.unwrap();
    let rest = voltree(&[import.as_slice(), &["--skip-readings", "1000"]].concat());
    assert!(rest.status.success() && text(&rest.stdout).starts_with("2000 readings"), "{rest:?}");
}
