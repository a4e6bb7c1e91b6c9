//! Time stamps as devices write them.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use voltree_model::Timestamp;

use super::path::JsonPath;

/// How a time stamp is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TimeFormat {
    /// 2026-01-15T10:30:00Z, of any zone.
    #[default]
    Rfc3339,
    /// 2026-01-15T10:30:00, with a `T` or a space, of a zone that the mapping names.
    Local,
    /// Seconds since 1970, with or without a fraction.
    EpochS,
    /// Milliseconds since 1970.
    EpochMs,
    /// Microseconds since 1970.
    EpochUs,
}

/// Where a message says when it was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TimeSource {
    pub(super) path: JsonPath,
    pub(super) format: TimeFormat,
    pub(super) utc_offset_minutes: i32,
}

/// A time stamp that isn't one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} at {path} is no time of the format {format:?}")]
pub(super) struct BadTime {
    found: String,
    path: String,
    format: TimeFormat,
}

impl TimeSource {
    /// When; nothing if the message does not say.
    pub(super) fn read(&self, document: &Value) -> Result<Option<Timestamp>, BadTime> {
        let Some(value) = self.path.find(document).filter(|value| !value.is_null()) else { return Ok(None) };
        let time = match self.format {
            TimeFormat::Rfc3339 => value.as_str().and_then(|text| Timestamp::parse_rfc3339(text).ok()),
            TimeFormat::Local => value.as_str().and_then(|text| self.local(text)),
            TimeFormat::EpochS => epoch(value, 1_000.0),
            TimeFormat::EpochMs => epoch(value, 1.0),
            TimeFormat::EpochUs => epoch(value, 0.001),
        };
        let bad = || BadTime {
            found: value.to_string().chars().take(64).collect(),
            path: self.path.as_str().to_owned(),
            format: self.format,
        };
        time.map(Some).ok_or_else(bad)
    }

    fn local(&self, text: &str) -> Option<Timestamp> {
        let at = Timestamp::parse_rfc3339(&format!("{}Z", text.trim())).ok()?;
        let offset = Duration::from_secs(u64::from(self.utc_offset_minutes.unsigned_abs()) * 60);
        Some(if self.utc_offset_minutes < 0 { at.plus(offset) } else { at.minus(offset) })
    }
}

/// Numbers may be written as texts, because JavaScript's can't hold all of them.
fn epoch(value: &Value, to_millis: f64) -> Option<Timestamp> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    let millis = (number * to_millis).round();
    // Year 9999; beyond it no text form exists.
    if !(0.0..253_402_300_800_000.0).contains(&millis) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it lies in that range")]
    Some(Timestamp::from_millis(millis as i64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(format: TimeFormat, utc_offset_minutes: i32) -> TimeSource {
        TimeSource { path: JsonPath::parse("t").unwrap(), format, utc_offset_minutes }
    }

    fn read(format: TimeFormat, offset: i32, value: &Value) -> Result<Option<i64>, BadTime> {
        let source = source(format, offset);
        Ok(source.read(&json!({ "t": value }))?.map(Timestamp::as_millis))
    }

    #[test]
    fn every_format_gives_the_same_time() {
        let expected = Ok(Some(1_768_473_000_000));
        assert_eq!(read(TimeFormat::Rfc3339, 0, &json!("2026-01-15T10:30:00Z")), expected);
        assert_eq!(read(TimeFormat::Local, 60, &json!("2026-01-15T11:30:00")), expected);
        assert_eq!(read(TimeFormat::Local, -300, &json!("2026-01-15 05:30:00")), expected);
        assert_eq!(read(TimeFormat::EpochS, 0, &json!(1_768_473_000)), expected);
        assert_eq!(read(TimeFormat::EpochMs, 0, &json!("1768473000000")), expected);
        assert_eq!(read(TimeFormat::EpochUs, 0, &json!(1_768_473_000_000_000_i64)), expected);
    }

    #[test]
    fn a_missing_time_is_none_and_a_wrong_one_is_an_error() {
        assert_eq!(read(TimeFormat::EpochS, 0, &Value::Null), Ok(None));
        for bad in [json!("noon"), json!(-5), json!(1e300), json!(true), json!({})] {
            let error = read(TimeFormat::EpochS, 0, &bad).unwrap_err().to_string();
            assert!(error.ends_with("at t is no time of the format EpochS"), "{error}");
        }
    }
}
