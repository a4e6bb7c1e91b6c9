//! From what a message holds to a number or a text: enumerations, scale and offset, and numbers in bytes.
//!
//! Never guesses: a text is a number only where its mapping, or its format, says that texts are.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;
use voltree_model::RejectReason;

use super::draft::Value;

/// What a value is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TakenFor {
    /// What it is in JSON; a payload of plain text is a number if it reads as one.
    #[default]
    Auto,
    /// A number, also where it is written as a text.
    Number,
    /// A text, even if it reads as a number.
    Text,
}

/// How one value is converted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conversion {
    pub(super) taken_for: TakenFor,
    pub(super) scale: f64,
    pub(super) offset: f64,
    /// What words mean.
    pub(super) values: BTreeMap<String, f64>,
}

impl Default for Conversion {
    fn default() -> Self {
        Self { taken_for: TakenFor::Auto, scale: 1.0, offset: 0.0, values: BTreeMap::new() }
    }
}

impl Conversion {
    /// Converts a JSON value. Words of the enumeration come first, `true` and `false` among them.
    pub(super) fn apply(&self, value: &Json) -> Result<Value, RejectReason> {
        let word = match value {
            Json::String(text) => Some(text.as_str()),
            Json::Bool(true) => Some("true"),
            Json::Bool(false) => Some("false"),
            Json::Null | Json::Number(_) | Json::Array(_) | Json::Object(_) => None,
        };
        if let Some(number) = word.and_then(|word| self.values.get(word)) {
            return Ok(Value::Number(*number));
        }
        match (value, self.taken_for) {
            (Json::String(text), TakenFor::Number) => self.number(text.trim().parse().ok()),
            (Json::String(text), _) if self.values.is_empty() => Ok(Value::Text(text.clone())),
            (Json::Number(number), TakenFor::Text) => Ok(Value::Text(number.to_string())),
            (Json::Bool(flag), TakenFor::Text) => Ok(Value::Text(flag.to_string())),
            (Json::Number(number), _) => self.number(number.as_f64()),
            (Json::Bool(flag), _) => self.number(Some(f64::from(u8::from(*flag)))),
            (Json::String(_) | Json::Null | Json::Array(_) | Json::Object(_), _) => {
                Err(RejectReason::BadValue)
            }
        }
    }

    fn number(&self, number: Option<f64>) -> Result<Value, RejectReason> {
        let number =
            number.map(|number| number * self.scale + self.offset).filter(|number| number.is_finite());
        number.map(Value::Number).ok_or(RejectReason::BadValue)
    }
}

/// A payload of plain text as a JSON value: a number if it reads as one, unless it is to stay a text.
pub(super) fn plain(text: &str, taken_for: TakenFor) -> Json {
    let number = text.parse::<f64>().ok().filter(|_| taken_for == TakenFor::Auto);
    match number {
        // Neither NaN nor infinity has a form in JSON; as null they are left out by name.
        Some(number) => serde_json::Number::from_f64(number).map_or(Json::Null, Json::Number),
        None => Json::String(text.to_owned()),
    }
}

/// A number among bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ByteType {
    U8,
    I8,
    U16be,
    U16le,
    I16be,
    I16le,
    U32be,
    U32le,
    I32be,
    I32le,
    F32be,
    F32le,
    F64be,
    F64le,
}

impl ByteType {
    /// Reads it at a place; nothing if the bytes end before.
    pub(super) fn read(self, bytes: &[u8], at: usize) -> Option<f64> {
        let rest = bytes.get(at..)?;
        Some(match self {
            Self::U8 => f64::from(*rest.first()?),
            Self::I8 => f64::from(i8::from_be_bytes(first(rest)?)),
            Self::U16be => f64::from(u16::from_be_bytes(first(rest)?)),
            Self::U16le => f64::from(u16::from_le_bytes(first(rest)?)),
            Self::I16be => f64::from(i16::from_be_bytes(first(rest)?)),
            Self::I16le => f64::from(i16::from_le_bytes(first(rest)?)),
            Self::U32be => f64::from(u32::from_be_bytes(first(rest)?)),
            Self::U32le => f64::from(u32::from_le_bytes(first(rest)?)),
            Self::I32be => f64::from(i32::from_be_bytes(first(rest)?)),
            Self::I32le => f64::from(i32::from_le_bytes(first(rest)?)),
            Self::F32be => f64::from(f32::from_be_bytes(first(rest)?)),
            Self::F32le => f64::from(f32::from_le_bytes(first(rest)?)),
            Self::F64be => f64::from_be_bytes(first(rest)?),
            Self::F64le => f64::from_le_bytes(first(rest)?),
        })
    }
}

fn first<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.get(..N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_looked_up_numbers_are_scaled_and_null_is_no_value() {
        let values = [("ON".to_owned(), 1.0), ("true".to_owned(), 7.0)].into();
        let words = Conversion { values, ..Conversion::default() };
        assert_eq!(words.apply(&json!("ON")), Ok(Value::Number(1.0)));
        assert_eq!(words.apply(&json!(true)), Ok(Value::Number(7.0)));
        assert_eq!(words.apply(&json!("DIM")), Err(RejectReason::BadValue));
        let scaled = Conversion { scale: 0.1, offset: -40.0, ..Conversion::default() };
        assert_eq!(scaled.apply(&json!(500)), Ok(Value::Number(10.0)));
        assert_eq!(scaled.apply(&json!(null)), Err(RejectReason::BadValue));
        assert_eq!(scaled.apply(&json!([1])), Err(RejectReason::BadValue));
    }

    #[test]
    fn a_text_is_a_number_only_where_that_is_said() {
        let taken_for = |taken_for| Conversion { taken_for, ..Conversion::default() };
        assert_eq!(taken_for(TakenFor::Auto).apply(&json!("1.5")), Ok(Value::Text("1.5".to_owned())));
        assert_eq!(taken_for(TakenFor::Number).apply(&json!(" 1.5 ")), Ok(Value::Number(1.5)));
        assert_eq!(taken_for(TakenFor::Number).apply(&json!("nan")), Err(RejectReason::BadValue));
        assert_eq!(taken_for(TakenFor::Text).apply(&json!(1.5)), Ok(Value::Text("1.5".to_owned())));
        assert_eq!(plain("21.5", TakenFor::Auto), json!(21.5));
        assert_eq!(plain("nan", TakenFor::Auto), Json::Null);
        assert_eq!(plain("ON", TakenFor::Auto), json!("ON"));
    }

    #[test]
    fn numbers_are_read_from_bytes_in_either_order() {
        let bytes = [0x01, 0xFF, 0x02, 0x41, 0x48, 0, 0];
        assert_eq!(ByteType::I16le.read(&bytes, 0), Some(-255.0));
        assert_eq!(ByteType::U16be.read(&bytes, 0), Some(511.0));
        assert_eq!(ByteType::F32be.read(&bytes, 3), Some(12.5));
        assert_eq!(ByteType::F64be.read(&bytes, 0), None);
        assert_eq!(ByteType::U8.read(&bytes, 99), None);
    }
}
