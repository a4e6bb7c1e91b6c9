//! The payload of Sparkplug B, as far as it is read here: field numbers and types are the specification's.

use prost::Message;

/// What every message but STATE carries.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Payload {
    #[prost(uint64, optional, tag = "1")]
    pub(super) timestamp: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    pub(super) metrics: Vec<Metric>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) seq: Option<u64>,
}

/// One value, by name in a birth and usually by alias later.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) alias: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    pub(super) datatype: Option<u32>,
    #[prost(bool, optional, tag = "7")]
    pub(super) is_null: Option<bool>,
    #[prost(message, optional, tag = "9")]
    pub(super) properties: Option<PropertySet>,
    #[prost(oneof = "Kind", tags = "10, 11, 12, 13, 14, 15, 16")]
    pub(super) value: Option<Kind>,
}

/// A value as it is carried; what an integer means depends on its declared type.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Kind {
    #[prost(uint32, tag = "10")]
    Int(u32),
    #[prost(uint64, tag = "11")]
    Long(u64),
    #[prost(float, tag = "12")]
    Float(f32),
    #[prost(double, tag = "13")]
    Double(f64),
    #[prost(bool, tag = "14")]
    Boolean(bool),
    #[prost(string, tag = "15")]
    Text(String),
    #[prost(bytes, tag = "16")]
    Bytes(Vec<u8>),
}

/// What else is said of a metric; the unit is here.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PropertySet {
    #[prost(string, repeated, tag = "1")]
    pub(super) keys: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    pub(super) values: Vec<PropertyValue>,
}

/// A property's value, if it is a text.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PropertyValue {
    #[prost(string, optional, tag = "8")]
    pub(super) text: Option<String>,
}

/// The types of integers that have a sign, and of booleans.
pub(super) const INT8: u32 = 1;
pub(super) const INT16: u32 = 2;
pub(super) const INT32: u32 = 3;
pub(super) const INT64: u32 = 4;
pub(super) const BOOLEAN: u32 = 11;

impl PropertySet {
    /// The unit, under the name that the specification gives it.
    pub(super) fn unit(&self) -> Option<&str> {
        let at = self.keys.iter().position(|key| key == "engUnit")?;
        self.values.get(at)?.text.as_deref().filter(|unit| !unit.is_empty())
    }
}
