//! Every recorded frame decodes to the values that its record names: all fields, all records, none skipped.

use serde_json::Value;
use voltree_protocols::decode::decode_vectors;

/// Remarks in expectations, not fields.
const REMARKS: [&str; 3] = ["note", "secret", "text"];

/// Half a unit of the wire's scale. A float without a line here fails the test.
fn tolerance(field: &str) -> Option<f64> {
    Some(match field {
        "voltage_v" | "gather_voltage_v" | "current_wire_a" | "current_a_charge_positive" | "soc_pct" => 0.05,
        "max_cell_voltage_v" | "min_cell_voltage_v" | "remaining_capacity_ah" => 0.000_5,
        _ => return None,
    })
}

fn same(field: &str, expected: &Value, decoded: &Value) -> bool {
    if !expected.is_f64() {
        return expected == decoded;
    }
    match (tolerance(field), expected.as_f64(), decoded.as_f64()) {
        (Some(tolerance), Some(expected), Some(decoded)) => (expected - decoded).abs() < tolerance,
        _ => false,
    }
}

fn mismatches(expected: &Value, decoded: &Value) -> Vec<String> {
    let fields = expected.as_object().expect("expectations are an object");
    fields
        .iter()
        .filter(|(field, _)| !REMARKS.contains(&field.as_str()))
        .filter(|(field, expected)| !decoded.get(field.as_str()).is_some_and(|d| same(field, expected, d)))
        .map(|(field, expected)| {
            format!("{field}: expected {expected}, decoded {:?}", decoded.get(field.as_str()))
        })
        .collect()
}

#[test]
fn every_daly_uart_record_decodes_field_by_field() {
    let json = include_str!("vectors/daly_uart.json");
    let records: Vec<Value> = serde_json::from_str(json).unwrap();
    let lines = decode_vectors("daly_uart", json).unwrap();
    assert_eq!((records.len(), lines.len()), (16, 16));
    let mut failures = Vec::new();
    let mut fields = 0;
    for (record, line) in records.iter().zip(&lines) {
        assert_eq!(record["name"], Value::from(line.name.clone()));
        assert!(line.error.is_none() && line.skipped.is_empty(), "{line:?}");
        let decoded = line.decoded.as_ref().unwrap();
        fields += record["expected"].as_object().unwrap().len();
        failures.extend(
            mismatches(&record["expected"], decoded).into_iter().map(|m| format!("{}: {m}", line.name)),
        );
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(fields > 200, "only {fields} fields compared");
}

#[test]
fn a_wrong_value_would_be_noticed() {
    let expected = serde_json::json!({ "voltage_v": 53.0, "cell_count": 14, "alarms": [], "note": "x" });
    let decoded = serde_json::json!({ "voltage_v": 53.06, "cell_count": 15, "note": "y" });
    assert_eq!(mismatches(&expected, &decoded).len(), 3);
}
