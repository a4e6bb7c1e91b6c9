//! Real input, end to end: captured Daly frames over a pty, and a real cell's recording over MQTT.

use std::collections::BTreeMap;

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{BOUND, Node, Site, VOLTREE};
use crate::support::{fixture, now_ms, serve, until};
use serde_json::{Value, json};
use voltree_protocols::bms::daly_uart::command;
use voltree_protocols::sim::FrameReplay;

/// The captured boards whose recordings answer a whole poll.
const CAPTURES: [&str; 3] =
    ["daly_r24ts_14s_idle", "daly_14s_mock_with_leading_garbage", "daly_7s_idle_http_log"];

fn vector(name: &str) -> Value {
    let text = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("protocols/tests/vectors/daly_uart.json"),
    )
    .unwrap();
    let vectors: Vec<Value> = serde_json::from_str(&text).unwrap();
    vectors.into_iter().find(|vector| vector["name"] == name).unwrap()
}

fn frames(vector: &Value) -> Vec<Vec<u8>> {
    let hex = |text: &str| {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    };
    vector["frames_hex"].as_array().unwrap().iter().map(|frame| hex(frame.as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn captured_daly_frames_played_over_a_pty_arrive_in_the_store_with_their_values() {
    for name in CAPTURES {
        let vector = vector(name);
        // One of them sends two stray bytes before its status, as its note says.
        let board = serve(FrameReplay::new(&frames(&vector)).with_leading_bytes(command::STATUS, &[0, 0]));
        let node_site = Site::new().pack("captured", board.path(), 500);
        let node = node_site.start().await;
        let expected = &vector["expected"];
        let stored = until(&format!("{name} is stored"), BOUND, || async {
            let samples = node.samples("captured", "pack_voltage").await;
            if samples.len() >= 2 { Ok(samples) } else { Err(format!("{samples:?}")) }
        })
        .await;
        assert!(
            stored.iter().all(|(_, volts)| (volts - expected["voltage_v"].as_f64().unwrap()).abs() < 1e-9),
            "{name}"
        );
        let mut series: Vec<(String, f64)> = vec![
            ("pack_current".to_owned(), expected["current_a_charge_positive"].as_f64().unwrap()),
            ("soc_percent".to_owned(), expected["soc_pct"].as_f64().unwrap()),
            ("remaining_capacity".to_owned(), expected["remaining_capacity_ah"].as_f64().unwrap()),
        ];
        for (index, mv) in expected["cell_voltages_mv"].as_array().unwrap().iter().enumerate() {
            series.push((format!("cell_voltage_{}", index + 1), mv.as_f64().unwrap() / 1000.0));
        }
        for (index, celsius) in expected["temperatures_c"].as_array().unwrap().iter().enumerate() {
            series.push((format!("temperature_{}", index + 1), celsius.as_f64().unwrap()));
        }
        for (metric, value) in series {
            let samples = node.samples("captured", &metric).await;
            assert!(!samples.is_empty(), "{name}: {metric} is not stored");
            assert!(
                samples.iter().all(|(_, v)| (v - value).abs() < 1e-9),
                "{name}: {metric} should be {value}: {samples:?}"
            );
        }
        let cells = expected["cell_voltages_mv"].as_array().unwrap().len();
        assert!(
            node.samples("captured", &format!("cell_voltage_{}", cells + 1)).await.is_empty(),
            "{name}: stale cells"
        );
        assert_eq!(node.stop().await, Some(0));
    }
}

struct Row {
    at_ms: i64,
    cycle: u64,
    volts: f64,
    amps: f64,
    celsius: f64,
}

fn recording() -> Vec<Row> {
    let text = std::fs::read_to_string(fixture("nasa_B0029_timeseries.csv")).unwrap();
    text.lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            let number = |index: usize| cells[index].parse::<f64>().unwrap();
            let at_ms = (number(0) * 1000.0).round() as i64;
            Row { at_ms, cycle: number(1) as u64, volts: number(3), amps: number(4), celsius: number(5) }
        })
        .collect()
}

/// NASA's own capacity of each discharge, by cycle.
fn capacities() -> BTreeMap<u64, f64> {
    let text = std::fs::read_to_string(fixture("nasa_B0029_cycle_truth.csv")).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    rows.filter(|cells| cells[1] == "discharge")
        .map(|cells| (cells[0].parse().unwrap(), cells[5].parse().unwrap()))
        .collect()
}

/// The rule of the recording's publishers: the discharged charge from the step's first sample to the first one below
/// 2.7 V after the load came on, by trapezoids. Samples: time, volts, amperes.
fn capacity_ah(samples: &[(i64, f64, f64)]) -> f64 {
    let (mut amp_ms, mut loaded) = (0.0, false);
    for pair in samples.windows(2) {
        let [(t0, _, i0), (t1, volts, i1)] = pair else { unreachable!("windows of two") };
        amp_ms += (t1 - t0) as f64 * ((-i0).max(0.0) + (-i1).max(0.0)) / 2.0;
        loaded |= i1.abs() > 0.5;
        if loaded && *volts < 2.7 {
            break;
        }
    }
    amp_ms / 3_600_000.0
}

/// Works out each discharge's capacity from the stored samples alone and holds it against NASA's.
async fn assert_nasas_capacities(node: &Node, device: &str) {
    let cycles = node.samples(device, "cycle_index").await;
    let (volts, amps) = (node.samples(device, "voltage").await, node.samples(device, "current").await);
    let capacities = capacities();
    assert_eq!(capacities.len(), 40);
    let mut worst = 0.0_f64;
    for (cycle, truth) in capacities {
        let rows = (0..cycles.len()).filter(|row| cycles[*row].1 as u64 == cycle);
        let samples: Vec<(i64, f64, f64)> =
            rows.map(|row| (cycles[row].0, volts[row].1, amps[row].1)).collect();
        let deviation = (capacity_ah(&samples) - truth).abs() / truth * 100.0;
        assert!(deviation < 0.001, "cycle {cycle}: {deviation} % off");
        worst = worst.max(deviation);
    }
    println!("40 discharges, worst deviation from NASA's capacity: {worst:.5} %");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_cells_recording_over_mqtt_is_stored_sample_for_sample_and_gives_nasas_capacities() {
    let rows = recording();
    assert_eq!(rows.len(), 23_601);
    let shift = now_ms() - rows.last().unwrap().at_ms;
    let site = Site::new();
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "nasa-b0029").await.unwrap();
    let topic = topic("nasa-b0029");
    let begun = std::time::Instant::now();
    for (number, row) in rows.iter().enumerate() {
        let metrics = [
            ("voltage", row.volts),
            ("current", row.amps),
            ("temperature", row.celsius),
            ("cycle_index", row.cycle as f64),
        ];
        let payload = telemetry("nasa-b0029", row.at_ms + shift, &metrics);
        publisher.publish(number as u64, &topic, &payload).await.unwrap();
    }
    publisher.settle().await.unwrap();
    println!("23,601 rows published and acknowledged in {:?}", begun.elapsed());
    assert_eq!(publisher.acked.len(), rows.len());

    let ledger = node.ledger_at_rest(Some("nasa-b0029")).await;
    assert_eq!((ledger.received, ledger.stored), (23_601, 23_601), "{ledger:?}");
    let columns = [
        ("voltage", rows.iter().map(|row| row.volts).collect::<Vec<_>>()),
        ("current", rows.iter().map(|row| row.amps).collect()),
        ("temperature", rows.iter().map(|row| row.celsius).collect()),
        ("cycle_index", rows.iter().map(|row| row.cycle as f64).collect()),
    ];
    for (metric, expected) in columns {
        let samples = node.samples("nasa-b0029", metric).await;
        let expected: Vec<(i64, f64)> = rows.iter().map(|row| row.at_ms + shift).zip(expected).collect();
        assert_eq!(samples, expected, "{metric} is not stored sample for sample");
    }

    assert_nasas_capacities(&node, "nasa-b0029").await;

    let from = voltree_model::Timestamp::from_millis(rows[0].at_ms + shift).to_string();
    let to = voltree_model::Timestamp::from_millis(rows.last().unwrap().at_ms + shift + 1).to_string();
    let query = "query($f: String!, $t: String!) { deviceTelemetryAggregated(deviceId: \"nasa-b0029\", \
                 metricName: \"voltage\", from: $f, to: $t, interval: \"1 day\") { count } }";
    let data = node.query(query, json!({ "f": from, "t": to })).await;
    let buckets = data["deviceTelemetryAggregated"].as_array().unwrap();
    let counted: u64 = buckets.iter().map(|bucket| bucket["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, 23_601);
    assert_eq!(node.stop().await, Some(0));
}

/// Runs `voltree replay` against a node and gives back what it said.
fn replay(node: &Node, file: &std::path::Path, device: &str) -> String {
    replay_with(node, file, device, &[])
}

fn replay_with(node: &Node, file: &std::path::Path, device: &str, more: &[&str]) -> String {
    let mqtt = node.mqtt.to_string();
    let args = ["replay", file.to_str().unwrap(), "--mqtt", &mqtt, "--device", device];
    let output = std::process::Command::new(VOLTREE).args(args).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_keeps_its_time_is_refused_as_far_as_it_is_older_than_readings_are_kept() {
    let site = Site::new();
    let node = site.start().await;
    let file = site.dir.path().join("old.csv");
    let seconds = now_ms() / 1_000;
    let old = seconds - 200 * 86_400;
    std::fs::write(&file, format!("epoch_s,v\n{old},1\n{},2\n{},3\n", old + 1, seconds - 60)).unwrap();
    let said = replay_with(&node, &file, "old", &["--keep-time"]);
    assert!(said.contains("2 of them are more than 90 days old") && said.contains("too_old"), "{said}");
    let ledger = node.ledger_settled("old", 3).await;
    assert_eq!((ledger.stored, ledger.rejected), (1, 2), "{ledger:?}");
    let said = replay(&node, &file, "moved");
    assert!(said.contains("2 of them are more than 90 days old"), "it spans more than what is kept: {said}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replay_command_brings_a_recording_into_the_store_whole_and_only_once() {
    let site = Site::new();
    let node = site.start().await;
    let file = fixture("nasa_B0029_timeseries.csv");
    print!("{}", replay(&node, &file, "b0029"));
    let ledger = node.ledger_at_rest(Some("b0029")).await;
    assert_eq!((ledger.received, ledger.stored), (23_601, 23_601), "{ledger:?}");
    assert_nasas_capacities(&node, "b0029").await;
    let query = "{ activeAlerts { id } }";
    assert_eq!(node.query(query, json!({})).await["activeAlerts"], json!([]), "the past raises no alerts");
    assert_eq!(node.stop().await, Some(0));
}

/// Charge and discharge of the cycles that the recording holds whole, as its lab summed them up.
fn lab_cycles(summary: &std::path::Path) -> BTreeMap<u64, (f64, f64)> {
    let text = std::fs::read_to_string(summary).unwrap();
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let (cycle, charge, discharge) = (column("Cycle_Index"), column("Q_chg"), column("Q_dis"));
    let rows = text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    rows.filter_map(|cells| {
        let number = |index: usize| cells[index].parse::<f64>().ok();
        Some((number(cycle)? as u64, (number(charge)?, number(discharge)?)))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_cells_recording_gives_its_charge_and_discharge_per_cycle() {
    let datasets = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/datasets");
    let file = datasets.join("nrel_p492-13_timeseries_9cycles.csv");
    if !file.is_file() {
        println!("skipped: the NREL recording is not beside the project");
        return;
    }
    let site = Site::new();
    let node = site.start().await;
    print!("{}", replay(&node, &file, "p492-13"));
    let ledger = node.ledger_at_rest(Some("p492-13")).await;
    // Four rows repeat the time of the row before. Three say again what that said, and the later one stays; the fourth
    // brings the temperature that an impedance row did not have.
    assert_eq!((ledger.received, ledger.stored, ledger.duplicate), (2_021, 2_018, 3), "{ledger:?}");
    let cycles = node.samples("p492-13", "cycle_index").await;
    let charge = node.samples("p492-13", "charge_capacity").await;
    let discharge = node.samples("p492-13", "discharge_capacity").await;
    let most = |samples: &[(i64, f64)], cycle: u64| {
        let rows = (0..cycles.len()).filter(|row| cycles[*row].1 as u64 == cycle);
        rows.map(|row| samples[row].1).fold(0.0, f64::max)
    };
    let lab = lab_cycles(&datasets.join("nrel_p492-13_cycle_summary.csv"));
    let held: Vec<u64> = (1..=9).filter(|cycle| lab.contains_key(cycle)).collect();
    assert!(held.len() >= 3, "{held:?}");
    for cycle in held {
        let (charged, discharged) = lab[&cycle];
        assert!(
            (most(&charge, cycle) - charged).abs() < 1e-7,
            "cycle {cycle}: {} Ah in",
            most(&charge, cycle)
        );
        assert!(
            (most(&discharge, cycle) - discharged).abs() < 1e-7,
            "cycle {cycle}: {} Ah out",
            most(&discharge, cycle)
        );
        println!("cycle {cycle}: {charged} Ah in, {discharged} Ah out");
    }
    assert_eq!(node.stop().await, Some(0));
}
