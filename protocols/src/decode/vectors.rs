//! Files of recorded frames: a JSON array of records, each with a name, frames in hex and the values they must give.
//!
//! Every record gives exactly one line, in the file's order, even when it can't be read; nothing is left out silently.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DecodeError, decode, decode_can, parse_hex, protocol};
use crate::can::{CanFrame, CanId};

/// Keys of expectations that are remarks, not fields.
const REMARKS: [&str; 3] = ["note", "secret", "text"];

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VectorLine {
    /// The record's name, or its position where it has none.
    pub name: String,
    /// The wire's view of its frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoded: Option<Value>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Fields that the record expects and the view does not have, with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Record {
    frames_hex: Vec<String>,
    #[serde(default)]
    expected: BTreeMap<String, Value>,
    /// The id of all frames, where they are of a CAN bus.
    can_id: Option<String>,
    /// The frames with an id each, where they are of a CAN bus and differ.
    #[serde(default)]
    frames: Vec<FrameRecord>,
    #[serde(default)]
    extended_id: bool,
    dialect: Option<String>,
}

#[derive(Deserialize)]
struct FrameRecord {
    can_id: String,
    data_hex: String,
}

impl Record {
    /// The frames of a CAN bus; `None` where the record is of another wire.
    fn can_frames(&self) -> Option<Result<Vec<CanFrame>, String>> {
        // Some records name the id among what must be shown.
        let shown = |key: &str| self.expected.get(key);
        let one = self.can_id.as_deref().or(shown("can_id").and_then(Value::as_str));
        let extended = self.extended_id || shown("extended_id").is_some_and(|extended| *extended == true);
        let pairs: Vec<(&str, &str)> = match one {
            Some(id) => self.frames_hex.iter().map(|data| (id, data.as_str())).collect(),
            None => self.frames.iter().map(|f| (f.can_id.as_str(), f.data_hex.as_str())).collect(),
        };
        let frame = |(index, (id, data))| {
            can_frame(id, extended, data).map_err(|error| format!("frame {}: {error}", index + 1))
        };
        (!pairs.is_empty()).then(|| pairs.into_iter().enumerate().map(frame).collect())
    }
}

fn can_frame(id: &str, extended: bool, data: &str) -> Result<CanFrame, String> {
    let number = u32::from_str_radix(id.trim_start_matches("0x"), 16).ok();
    let id = number.and_then(|number| CanId::new(number, extended)).ok_or(format!("{id:?} is no CAN id"))?;
    let data = parse_hex(data).map_err(|error| error.to_string())?;
    CanFrame::new(id, &data).ok_or("it has more than eight bytes".to_owned())
}

/// Decodes every record of a vector file, one line each.
pub fn decode_vectors(protocol_name: &str, json: &str) -> Result<Vec<VectorLine>, DecodeError> {
    protocol(protocol_name)?;
    let records: Vec<Value> =
        serde_json::from_str(json).map_err(|source| DecodeError::ReadVectors { source })?;
    Ok(records.into_iter().enumerate().map(|(index, record)| line(protocol_name, index, record)).collect())
}

fn line(protocol_name: &str, index: usize, record: Value) -> VectorLine {
    let name = record
        .get("name")
        .and_then(Value::as_str)
        .map_or_else(|| format!("record {}", index + 1), str::to_owned);
    match decode_record(protocol_name, record) {
        Ok((decoded, skipped)) => VectorLine { name, decoded: Some(decoded), error: None, skipped },
        Err(error) => VectorLine { name, decoded: None, error: Some(error), skipped: BTreeMap::new() },
    }
}

fn decode_record(protocol_name: &str, record: Value) -> Result<(Value, BTreeMap<String, String>), String> {
    let record: Record =
        serde_json::from_value(record).map_err(|error| format!("unreadable record: {error}"))?;
    let decoded = match record.can_frames() {
        Some(frames) => decode_can(protocol_name, &frames?, record.dialect.as_deref()),
        None => decode(protocol_name, &byte_frames(&record.frames_hex)?),
    };
    let decoded = decoded.map_err(|error| error.to_string())?;
    let skipped = record
        .expected
        .keys()
        .filter(|field| !REMARKS.contains(&field.as_str()) && decoded.get(field).is_none())
        .map(|field| (field.clone(), format!("{protocol_name} does not show this field")))
        .collect();
    Ok((decoded, skipped))
}

fn byte_frames(texts: &[String]) -> Result<Vec<Vec<u8>>, String> {
    let read = |(index, text): (usize, &String)| {
        parse_hex(text).map_err(|error| format!("frame {}: {error}", index + 1))
    };
    texts.iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_gives_a_line_even_an_unreadable_one() {
        let json = r#"[
            {"name": "good", "frames_hex": ["a540900800000000000000007d"], "expected": {"command": 144, "smell": 1, "note": "n"}},
            {"name": "bad", "frames_hex": ["a5 zz"], "expected": {}},
            {"frames_hex": 7}
        ]"#;
        let lines = decode_vectors("daly_uart", json).unwrap();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].decoded.as_ref().unwrap()["command"], 144);
        assert_eq!(lines[0].skipped.keys().collect::<Vec<_>>(), ["smell"]);
        assert_eq!(lines[1].error.as_deref(), Some("frame 1: line 1, column 4: 'z' is no hex digit"));
        assert_eq!(lines[2].name, "record 3");
        assert!(lines[2].error.is_some());
    }

    #[test]
    fn can_records_carry_one_id_or_one_each() {
        let json = r#"[
            {"name": "one", "can_id": "0x234", "frames_hex": ["0320000000000000"]},
            {"name": "each", "frames": [{"can_id": "0x244", "data_hex": "0000000001000000"}], "frames_hex": ["00"]},
            {"name": "bad", "can_id": "0x900", "frames_hex": ["00"]}
        ]"#;
        let lines = decode_vectors("foxbms", json).unwrap();
        assert_eq!(lines[0].decoded.as_ref().unwrap()["InsulationResistance"], 700.0);
        assert_eq!(lines[1].decoded.as_ref().unwrap()["EnergyCounter"], 1);
        assert_eq!(lines[2].error.as_deref(), Some("frame 1: \"0x900\" is no CAN id"));
    }

    #[test]
    fn a_line_is_written_without_what_it_has_not() {
        let lines = decode_vectors("daly_uart", r#"[{"name": "x", "frames_hex": []}]"#).unwrap();
        let text = serde_json::to_string(&lines[0]).unwrap();
        assert_eq!(text, r#"{"name":"x","error":"there are no bytes to decode"}"#);
    }

    #[test]
    fn a_file_that_is_no_array_is_an_error() {
        assert!(matches!(decode_vectors("daly_uart", "{}"), Err(DecodeError::ReadVectors { .. })));
    }
}
