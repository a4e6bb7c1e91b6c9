//! Presence: the contract's status object, or one bare word as simple devices and last wills send it.
//!
//! A word that we don't know is kept as it is, so that a device's own vocabulary reaches its operator.

use serde::Deserialize;
use voltree_model::{RejectReason, Timestamp};

use super::PayloadRejection;
use super::value::RawValue;

const MAX_STATUS_CHARS: usize = 64;

/// What a device says of its own presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceStatus {
    /// The word it used.
    pub state: ReportedState,
    /// When it said so; a last will can't know its time.
    pub at: Option<Timestamp>,
}

/// The presence words that mean something to us, and all others as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedState {
    /// It is there.
    Online,
    /// It goes, or its last will says that it is gone.
    Offline,
    /// A word of its own: 1 to 64 characters, none of them a control character.
    Other(String),
}

#[derive(Deserialize)]
struct StatusObject<'a> {
    #[serde(borrow, default)]
    status: RawValue<'a>,
    #[serde(borrow, default)]
    timestamp: RawValue<'a>,
}

/// Reads a status payload: the contract's object, or one word, bare or in quotes.
pub fn parse_status(payload: &[u8]) -> Result<DeviceStatus, PayloadRejection> {
    let bad_payload = |detail: &str| PayloadRejection::new(RejectReason::BadPayload, detail);
    let text = str::from_utf8(payload).map_err(|error| bad_payload(&error.to_string()))?.trim();
    if !text.starts_with(['{', '"']) {
        return Ok(DeviceStatus { state: reported_state(text)?, at: None });
    }
    if text.starts_with('"') {
        let word: String = serde_json::from_str(text).map_err(|error| bad_payload(&error.to_string()))?;
        return Ok(DeviceStatus { state: reported_state(&word)?, at: None });
    }
    let object: StatusObject<'_> =
        serde_json::from_str(text).map_err(|error| bad_payload(&error.to_string()))?;
    let RawValue::Text(word) = object.status else {
        return Err(bad_payload("status is missing or not a text"));
    };
    let at = match object.timestamp {
        RawValue::Missing => None,
        RawValue::Text(text) => {
            let bad_time = |error: voltree_model::InvalidTimestamp| {
                PayloadRejection::new(RejectReason::BadTimestamp, &error.to_string())
            };
            Some(Timestamp::parse_rfc3339(&text).map_err(bad_time)?)
        }
        RawValue::Null | RawValue::Number(_) | RawValue::Nested => {
            return Err(PayloadRejection::new(RejectReason::BadTimestamp, "timestamp is not a text"));
        }
    };
    Ok(DeviceStatus { state: reported_state(&word)?, at })
}

fn reported_state(word: &str) -> Result<ReportedState, PayloadRejection> {
    if word.eq_ignore_ascii_case("online") {
        return Ok(ReportedState::Online);
    }
    if word.eq_ignore_ascii_case("offline") {
        return Ok(ReportedState::Offline);
    }
    let length = word.chars().count();
    if length == 0 || length > MAX_STATUS_CHARS || word.chars().any(char::is_control) {
        let detail = "a status is one word of 1 to 64 printable characters";
        return Err(PayloadRejection::new(RejectReason::BadPayload, detail));
    }
    Ok(ReportedState::Other(word.to_owned()))
}
