//! `voltree chaos` as its user runs it: a plan, a fleet of its own, a score, and an exit code that means something.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::node::VOLTREE;

const PLAN: &str = r#"
[fleet]
packs = 2
poll_interval_ms = 400
publishers = 3
publish_per_second = 50

[plan]
name = "short"
about = "A short storm."
seed = 1
duration_ms = 6000

[[plan.step]]
at_ms = 500
every_ms = 100
kill = "node/*"

[[plan.step]]
at_ms = 1000
inject = { point = "journal.fsync", kind = "fsync_error", times = 1 }

[[plan.step]]
at_ms = 0
inject = { point = "device.handle", kind = "panic", target = "sensor-01:60" }

[[plan.step]]
at_ms = 2000
inject = { point = "recorder.seal", kind = "error", times = 2 }
"#;

fn chaos(dir: &Path, plan: &str) -> std::process::Output {
    let file = dir.join("plan.toml");
    std::fs::write(&file, plan).unwrap();
    let report = dir.join("score");
    let args = ["chaos", file.to_str().unwrap(), "--report", report.to_str().unwrap()];
    Command::new(VOLTREE).args(args).output().unwrap()
}

#[test]
fn a_storm_is_scored_and_its_ledger_balances() {
    let temp = tempfile::tempdir().unwrap();
    let output = chaos(temp.path(), PLAN);
    let said = String::from_utf8(output.stdout).unwrap();
    println!("{said}");
    assert!(output.status.success(), "{}", String::from_utf8(output.stderr).unwrap());
    assert!(said.contains("kills,"), "it tells how far it is");
    let score: Value =
        serde_json::from_slice(&std::fs::read(temp.path().join("score.json")).unwrap()).unwrap();
    let page = std::fs::read_to_string(temp.path().join("score.md")).unwrap();
    assert!(page.contains("**The ledger balances**"), "{page}");
    let number = |pointer: &str| score.pointer(pointer).and_then(Value::as_u64).unwrap();
    assert_eq!(number("/ledger_difference"), 0);
    assert!(number("/kills") > 40, "{score}");
    for fault in ["journal.fsync fsync_error", "device.handle panic", "recorder.seal error"] {
        let struck = score["faults"][fault].as_u64();
        assert!(struck.is_some_and(|struck| struck > 0), "{fault}: {}", score["faults"]);
    }
    assert_eq!((number("/dead_letters"), number("/faults/device.handle panic")), (1, 3));
    assert!(number("/recovery/count") > 40, "{score}");
    assert!(number("/alert_delay/count") > 0 && number("/alerts_missing") == 0, "{score}");
    assert!(number("/rss/peak_kib") > 0);
    let rows = score["ledger"].as_array().unwrap();
    assert_eq!(rows.len(), 2 + 3 + 1);
    for row in rows {
        assert!(row["witnessed"].as_u64() > Some(0) && row["stored"].as_u64() > Some(0), "{row}");
    }
}

#[test]
fn a_plan_that_asks_for_nonsense_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let output = chaos(temp.path(), &PLAN.replace("every_ms", "evry_ms"));
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("evry_ms") && said.contains("every_ms"), "{said}");
}
