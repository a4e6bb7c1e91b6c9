//! The shapes a payload may have before anything is believed: any JSON value, and a bounded list of metrics.
//!
//! A field of the wrong kind must not fail the whole document, so every field is read as "any value" and judged
//! later by whoever knows what it was for. Texts are borrowed from the payload wherever they have no escapes.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::MAX_METRICS;

/// Any JSON value, with as much detail as the contract cares for.
#[derive(Debug, Default, PartialEq)]
pub(super) enum RawValue<'a> {
    /// The key isn't there at all.
    #[default]
    Missing,
    Null,
    /// A number, or a boolean as 1 and 0.
    Number(f64),
    Text(Cow<'a, str>),
    /// An array or an object.
    Nested,
}

/// One entry of the list of metrics.
#[derive(Debug, Deserialize)]
pub(super) struct RawMetric<'a> {
    #[serde(borrow, default)]
    pub(super) name: RawValue<'a>,
    #[serde(borrow, default)]
    pub(super) value: RawValue<'a>,
    #[serde(borrow, default)]
    pub(super) unit: RawValue<'a>,
}

/// Few messages carry more.
const USUAL: usize = 16;

/// The list of metrics: everything is counted, and no more is kept than a message may carry.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    pub(super) kept: Vec<RawMetric<'a>>,
    pub(super) total: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for RawValue<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = RawValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawValue<'de>, E> {
        Ok(RawValue::Number(f64::from(u8::from(value))))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawValue<'de>, E> {
        Ok(RawValue::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawValue<'de>, E> {
        Ok(RawValue::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawValue<'de>, E> {
        Ok(RawValue::Number(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<RawValue<'de>, E> {
        Ok(RawValue::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<RawValue<'de>, E> {
        Ok(RawValue::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<RawValue<'de>, E> {
        Ok(RawValue::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawValue<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(RawValue::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawValue<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(RawValue::Nested)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of metrics")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries<'de>, A::Error> {
        let mut kept = Vec::with_capacity(USUAL);
        while kept.len() < MAX_METRICS {
            match list.next_element()? {
                Some(entry) => kept.push(entry),
                None => return Ok(Entries { total: kept.len(), kept }),
            }
        }
        let mut total = kept.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            total += 1;
        }
        Ok(Entries { kept, total })
    }
}
