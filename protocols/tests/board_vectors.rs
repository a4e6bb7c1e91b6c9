//! Every recorded frame of the boards on serial lines decodes to the values that its record names: all fields, all
//! records, none skipped.

use serde_json::Value;
use voltree_protocols::decode::{decode, decode_vectors, parse_hex};

/// Remarks in expectations, not fields.
const REMARKS: [&str; 3] = ["note", "secret", "text"];
/// Far below half a unit of any wire's scale, far above what floats lose.
const TOLERANCE: f64 = 1e-6;

fn same(expected: &Value, decoded: &Value) -> bool {
    match (expected, decoded) {
        (Value::Array(expected), Value::Array(decoded)) => {
            expected.len() == decoded.len() && expected.iter().zip(decoded).all(|(e, d)| same(e, d))
        }
        (Value::Number(expected), Value::Number(decoded)) => match (expected.as_f64(), decoded.as_f64()) {
            (Some(expected), Some(decoded)) => (expected - decoded).abs() < TOLERANCE,
            _ => false,
        },
        (Value::Object(expected), Value::Object(decoded)) => {
            let field = |(name, e)| decoded.get(name).is_some_and(|d| same(e, d));
            expected.len() == decoded.len() && expected.iter().all(field)
        }
        (expected, decoded) => expected == decoded,
    }
}

fn mismatches(expected: &Value, decoded: &Value) -> Vec<String> {
    let fields = expected.as_object().expect("expectations are an object");
    fields
        .iter()
        .filter(|(field, _)| !REMARKS.contains(&field.as_str()))
        .filter(|(field, expected)| !decoded.get(field.as_str()).is_some_and(|d| same(expected, d)))
        .map(|(field, expected)| {
            format!("{field}: expected {expected}, decoded {:?}", decoded.get(field.as_str()))
        })
        .collect()
}

/// Decodes a whole file and compares it; gives the number of fields that were compared.
fn compare(protocol: &str, json: &str) -> usize {
    let records: Vec<Value> = serde_json::from_str(json).expect("the vectors are JSON");
    let lines = decode_vectors(protocol, json).expect("the protocol is known");
    assert_eq!(records.len(), lines.len());
    let (mut fields, mut failures) = (0, Vec::new());
    for (record, line) in records.iter().zip(&lines) {
        assert_eq!(record["name"], Value::from(line.name.clone()));
        assert!(line.error.is_none() && line.skipped.is_empty(), "{line:?}");
        let decoded = line.decoded.as_ref().expect("no error means a view");
        assert_eq!(decoded["valid"] == Value::Bool(true), record["kind"] != "negative", "{line:?}");
        fields += record["expected"].as_object().map_or(0, serde_json::Map::len);
        failures.extend(
            mismatches(&record["expected"], decoded).into_iter().map(|m| format!("{}: {m}", line.name)),
        );
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    fields
}

#[test]
fn every_daly_bluetooth_record_decodes_field_by_field() {
    assert_eq!(compare("daly_bluetooth", include_str!("vectors/daly_bluetooth.json")), 385);
}

#[test]
fn every_daly_can_record_decodes_field_by_field() {
    assert_eq!(compare("daly_can", include_str!("vectors/daly_can.json")), 84);
}

#[test]
fn every_foxbms_record_decodes_field_by_field() {
    assert_eq!(compare("foxbms", include_str!("vectors/foxbms.json")), 200);
}

#[test]
fn every_green_bms_record_decodes_field_by_field() {
    assert_eq!(compare("green_bms", include_str!("vectors/green_bms.json")), 28);
}

#[test]
fn every_jbd_record_decodes_field_by_field() {
    assert_eq!(compare("jbd", include_str!("vectors/jbd.json")), 109);
}

#[test]
fn every_jk_record_decodes_field_by_field() {
    assert_eq!(compare("jk", include_str!("vectors/jk.json")), 231);
}

#[test]
fn every_libre_solar_record_decodes_field_by_field() {
    assert_eq!(compare("libre_solar", include_str!("vectors/libre_solar.json")), 77);
}

#[test]
fn every_seplos_record_decodes_field_by_field() {
    assert_eq!(compare("seplos", include_str!("vectors/seplos.json")), 11);
}

#[test]
fn every_pylontech_record_decodes_field_by_field() {
    assert_eq!(compare("pylontech", include_str!("vectors/pylontech.json")), 6);
}

const SUNSPEC: &str = include_str!("vectors/sunspec_modbus.json");

#[test]
fn every_sunspec_and_modbus_record_decodes_field_by_field() {
    assert_eq!(compare("sunspec_modbus", SUNSPEC), 37);
}

#[test]
fn the_same_models_in_modbus_frames_of_both_kinds_say_the_same() {
    let records: Vec<Value> = serde_json::from_str(SUNSPEC).unwrap();
    let mut compared = 0;
    for record in records {
        for key in ["modbus_rtu_response_hex", "modbus_tcp_response_hex"] {
            let Some(hex) = record[key].as_str() else { continue };
            let decoded = decode("sunspec_modbus", &[parse_hex(hex).unwrap()]).unwrap();
            assert_eq!(decoded["unit"], 1);
            assert_eq!(mismatches(&record["expected"], &decoded), Vec::<String>::new());
            compared += 1;
        }
    }
    assert_eq!(compared, 6);
}

#[test]
fn a_wrong_value_would_be_noticed() {
    let expected = serde_json::json!({ "voltage_v": 53.0, "cells": [1, 2], "alarms": [], "note": "x" });
    let decoded = serde_json::json!({ "voltage_v": 53.01, "cells": [1, 3], "note": "y" });
    assert_eq!(mismatches(&expected, &decoded).len(), 3);
}
