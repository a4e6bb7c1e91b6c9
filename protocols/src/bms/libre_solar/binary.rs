//! ThingSet's binary mode: one byte that says what the message is, then CBOR.
//!
//! A message is whole when this sees it; what carries it (CAN, Bluetooth) knows where it ends. Nesting is bounded, so
//! that no message can exhaust the stack.

use ciborium::Value as Cbor;
use serde_json::{Map, Value, json};

const GET: u8 = 0x01;
const EXECUTE: u8 = 0x02;
const DELETE: u8 = 0x04;
const FETCH: u8 = 0x05;
const CREATE: u8 = 0x06;
const UPDATE: u8 = 0x07;
const REPORT: u8 = 0x1F;
const FIRST_STATUS: u8 = 0x80;
/// Far deeper than any group of a board.
const MAX_NESTING: usize = 16;
const TAG_DECIMAL_FRACTION: u64 = 4;

/// What a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// By number.
    Id(u64),
    /// By name.
    Path(String),
    /// One of a list.
    Element(u64, u64),
}

/// One message. Values are JSON with ids as `0x…` keys, floats as the shortest decimal that they stand for.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// From a host.
    Request {
        /// `GET`, `FETCH` and so on.
        verb: &'static str,
        /// About what.
        endpoint: Endpoint,
        /// With what.
        payload: Option<Value>,
    },
    /// From a board that was asked.
    Response {
        /// 0x80 and above; from 0xA0 on a refusal.
        status: u8,
        /// What came with it.
        payload: Option<Value>,
    },
    /// From a board that was not asked.
    Report {
        /// About what.
        endpoint: Endpoint,
        /// What it says.
        payload: Value,
    },
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No message begins with this byte.
    #[error("no message begins with 0x{0:02X}")]
    Code(u8),
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// The CBOR is cut off, too deep or none.
    #[error("its CBOR can't be read")]
    Cbor,
    /// What it is about is neither number, name nor list element.
    #[error("it does not say what it is about")]
    Endpoint,
    /// Something stands behind its end.
    #[error("{0} bytes stand behind its end")]
    Trailing(usize),
}

/// Reads a message.
pub fn parse_message(bytes: &[u8]) -> Result<Message, MessageError> {
    let (code, mut rest) = bytes.split_first().ok_or(MessageError::Empty)?;
    let message = match *code {
        FIRST_STATUS.. => response(*code, &mut rest)?,
        REPORT => {
            let report =
                Message::Report { endpoint: endpoint(&mut rest)?, payload: to_json(&next(&mut rest)?) };
            // The last frame of a report on CAN is filled up.
            rest = without_leading_zeros(rest);
            report
        }
        code => {
            let verb = verb(code).ok_or(MessageError::Code(code))?;
            let endpoint = endpoint(&mut rest)?;
            let payload = if rest.is_empty() { None } else { Some(to_json(&next(&mut rest)?)) };
            Message::Request { verb, endpoint, payload }
        }
    };
    if rest.is_empty() { Ok(message) } else { Err(MessageError::Trailing(rest.len())) }
}

/// Tells whether a message in binary mode may begin so.
pub(super) fn begins_binary(byte: u8) -> bool {
    byte >= FIRST_STATUS || byte == REPORT || verb(byte).is_some()
}

/// Reads one value, as reports of a single item carry it.
pub(super) fn parse_value(mut bytes: &[u8]) -> Result<Value, MessageError> {
    Ok(to_json(&next(&mut bytes)?))
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

const fn verb(code: u8) -> Option<&'static str> {
    Some(match code {
        GET => "GET",
        EXECUTE => "EXEC",
        DELETE => "DELETE",
        FETCH => "FETCH",
        CREATE => "CREATE",
        UPDATE => "UPDATE",
        _ => return None,
    })
}

fn response(status: u8, rest: &mut &[u8]) -> Result<Message, MessageError> {
    // Null, or the name of the node where a gateway passes its answer on.
    let node = next(rest)?;
    if !(node.is_null() || node.is_text()) {
        return Err(MessageError::Endpoint);
    }
    let payload = if rest.is_empty() { None } else { Some(to_json(&next(rest)?)) };
    Ok(Message::Response { status, payload: payload.filter(|payload| !payload.is_null()) })
}

fn next(rest: &mut &[u8]) -> Result<Cbor, MessageError> {
    ciborium::de::from_reader_with_recursion_limit(rest, MAX_NESTING).map_err(|_| MessageError::Cbor)
}

fn endpoint(rest: &mut &[u8]) -> Result<Endpoint, MessageError> {
    let number = |value: &Cbor| value.as_integer().and_then(|number| u64::try_from(number).ok());
    let value = next(rest)?;
    if let Some(path) = value.as_text() {
        return Ok(Endpoint::Path(path.to_owned()));
    }
    if let Some([id, index]) = value.as_array().map(Vec::as_slice) {
        return number(id)
            .zip(number(index))
            .map(|(id, index)| Endpoint::Element(id, index))
            .ok_or(MessageError::Endpoint);
    }
    number(&value).map(Endpoint::Id).ok_or(MessageError::Endpoint)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library keeps the right to add kinds of values")]
fn to_json(value: &Cbor) -> Value {
    match value {
        Cbor::Integer(number) => integer(i128::from(*number)),
        Cbor::Float(float) => json!(shortest(*float)),
        Cbor::Bool(on) => json!(on),
        Cbor::Text(text) => json!(text),
        Cbor::Bytes(bytes) => json!(hex::encode(bytes)),
        Cbor::Array(items) => items.iter().map(to_json).collect(),
        Cbor::Map(pairs) => {
            Value::Object(pairs.iter().map(|(k, v)| (key(k), to_json(v))).collect::<Map<_, _>>())
        }
        Cbor::Tag(TAG_DECIMAL_FRACTION, inner) => decimal_fraction(inner).unwrap_or(Value::Null),
        Cbor::Tag(_, inner) => to_json(inner),
        // A value that is missing, and whatever CBOR may come to have.
        _ => Value::Null,
    }
}

fn key(key: &Cbor) -> String {
    match key.as_integer() {
        Some(id) => format!("0x{:02X}", i128::from(id)),
        None => key.as_text().map_or_else(|| to_json(key).to_string(), str::to_owned),
    }
}

fn integer(number: i128) -> Value {
    i64::try_from(number)
        .map(Value::from)
        .or_else(|_| u64::try_from(number).map(Value::from))
        .unwrap_or_default()
}

/// Boards send float32; widening one makes digits that nobody sent.
fn shortest(float: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "whether anything is lost is what this asks")]
    let narrow = float as f32;
    #[expect(clippy::float_cmp, reason = "only the very same number was a float32")]
    let was_narrow = f64::from(narrow) == float;
    if was_narrow { narrow.to_string().parse().unwrap_or(float) } else { float }
}

fn decimal_fraction(inner: &Cbor) -> Option<Value> {
    let [exponent, mantissa] = inner.as_array()?.as_slice() else { return None };
    let exponent = i32::try_from(exponent.as_integer()?).ok().filter(|e| (-300..=300).contains(e))?;
    let mantissa = i32::try_from(mantissa.as_integer()?).ok()?;
    // By text, because 10⁻² has no exact float and a power of it less so.
    Some(json!(format!("{mantissa}e{exponent}").parse::<f64>().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex).unwrap()
    }

    #[test]
    fn numbers_of_all_widths_are_read() {
        let value = |hex: &str| parse_value(&hex::decode(hex).unwrap()).unwrap();
        assert_eq!(value("fa41d27ae1"), json!(26.31));
        assert_eq!(value("f93e00"), json!(1.5));
        assert_eq!(value("fb3ff199999999999a"), json!(1.1));
        assert_eq!(value("c482213904d1"), json!(-12.34));
        assert_eq!(value("fa7fc00000"), Value::Null);
        assert_eq!(value("1bffffffffffffffff"), json!(u64::MAX));
    }

    #[test]
    fn endpoints_are_numbers_names_or_elements() {
        let of = |hex: &str| {
            let Message::Request { endpoint, .. } = parse_message(&bytes(hex)).unwrap() else {
                panic!("{hex} is no request")
            };
            endpoint
        };
        assert_eq!(of("0107"), Endpoint::Id(7));
        assert_eq!(of("01644d656173"), Endpoint::Path("Meas".to_owned()));
        assert_eq!(of("018219010002"), Endpoint::Element(256, 2));
    }

    #[test]
    fn what_is_no_message_is_refused_with_the_reason() {
        assert_eq!(parse_message(&bytes("")), Err(MessageError::Empty));
        assert_eq!(parse_message(&bytes("0307")), Err(MessageError::Code(3)));
        assert_eq!(parse_message(&bytes("01f5")), Err(MessageError::Endpoint));
        assert_eq!(parse_message(&bytes("85f6fa41")), Err(MessageError::Cbor));
        assert_eq!(parse_message(&bytes("85f60102")), Err(MessageError::Trailing(1)));
        assert_eq!(parse_message(&bytes(&format!("85f6{}", "81".repeat(5000)))), Err(MessageError::Cbor));
    }

    #[test]
    fn a_report_may_be_filled_up_with_zeros() {
        assert!(matches!(
            parse_message(&bytes("1f18710100000000")),
            Ok(Message::Report { endpoint: Endpoint::Id(0x71), .. })
        ));
        assert_eq!(parse_message(&bytes("1f187101000001")), Err(MessageError::Trailing(1)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(start in prop_oneof![Just(0x85u8), Just(0x1F), Just(0x07), any::<u8>()], bytes: Vec<u8>) {
            let bytes = [&[start], bytes.as_slice()].concat();
            // The outcome itself is not of interest, only that a message begins as one may.
            prop_assert!(parse_message(&bytes).is_err() || begins_binary(start));
        }

        #[test]
        fn a_float32_keeps_the_digits_that_were_meant(float in -10_000i32..10_000) {
            #[expect(clippy::cast_precision_loss, reason = "four digits fit")]
            let narrow = float as f32 / 100.0;
            prop_assert_eq!(json!(shortest(f64::from(narrow))), json!(f64::from(float) / 100.0));
        }
    }
}
