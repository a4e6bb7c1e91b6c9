//! What a device publishes, read from the contract's JSON into the vocabulary's types: telemetry here, status below.
//!
//! One bad metric costs that metric alone; a payload that isn't the contract's JSON costs the reading. Both name their
//! reason. The parser stands in the path of every message, so it borrows from the payload and never builds a tree.
//! It must never let a device's own text reach a log uncut.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use voltree_model::{DeviceId, Metric, MetricName, MetricRejection, Reading, RejectReason, Timestamp, Unit};

use value::{Entries, RawMetric, RawValue};

pub use status::{DeviceStatus, ReportedState, parse_status};
pub use template::{LastTemplate, Templates};

mod status;
mod template;
mod value;

/// The most metrics that one message may carry.
pub const MAX_METRICS: usize = 512;

/// How far a device's clock may run ahead of ours.
pub const MAX_CLOCK_LEAD: Duration = Duration::from_mins(5);

const MAX_DETAIL_CHARS: usize = 200;
const MAX_SHOWN_NAME_CHARS: usize = 64;

/// Why a whole payload was turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct PayloadRejection {
    /// The reason that the ledger counts.
    pub reason: RejectReason,
    /// For a person: at most 200 characters, none of them a control character.
    pub detail: String,
}

impl PayloadRejection {
    pub(crate) fn new(reason: RejectReason, detail: &str) -> Self {
        Self { reason, detail: printable(detail, MAX_DETAIL_CHARS) }
    }
}

#[derive(Deserialize)]
struct Telemetry<'a> {
    #[serde(borrow, default)]
    device_id: RawValue<'a>,
    #[serde(borrow, default)]
    timestamp: RawValue<'a>,
    #[serde(borrow)]
    metrics: Entries<'a>,
}

/// Reads a telemetry payload that arrived on the topic of `topic_device`. One without a time of its own is given
/// `own_time`, which should differ from that of the device's other readings: two that share a time are one.
pub fn parse_telemetry(
    topic_device: &DeviceId,
    payload: &[u8],
    received_at: Timestamp,
    own_time: impl FnOnce() -> Timestamp,
) -> Result<Reading, PayloadRejection> {
    // Once for all of it is cheaper than text by text.
    let text = std::str::from_utf8(payload)
        .map_err(|error| PayloadRejection::new(RejectReason::BadPayload, &error.to_string()))?;
    let telemetry: Telemetry<'_> = serde_json::from_str(text)
        .map_err(|error| PayloadRejection::new(RejectReason::BadPayload, &error.to_string()))?;
    check_device(topic_device, &telemetry.device_id)?;
    let at = reading_time(&telemetry.timestamp, received_at, own_time)?;
    if telemetry.metrics.total > MAX_METRICS {
        let detail = format!("{} metrics, {MAX_METRICS} are allowed", telemetry.metrics.total);
        return Err(PayloadRejection::new(RejectReason::TooManyMetrics, &detail));
    }
    fill(topic_device.clone(), at, telemetry.metrics.kept)
}

fn check_device(topic_device: &DeviceId, given: &RawValue<'_>) -> Result<(), PayloadRejection> {
    match given {
        RawValue::Text(text) if text == topic_device.as_str() => Ok(()),
        RawValue::Text(text) => {
            let shown = printable(text, MAX_SHOWN_NAME_CHARS);
            let detail = format!("the topic is {topic_device}'s, the payload says {shown:?}");
            Err(PayloadRejection::new(RejectReason::DeviceMismatch, &detail))
        }
        RawValue::Missing => Err(PayloadRejection::new(RejectReason::BadPayload, "device_id is missing")),
        RawValue::Null | RawValue::Number(_) | RawValue::Nested => {
            Err(PayloadRejection::new(RejectReason::BadPayload, "device_id is not a text"))
        }
    }
}

fn reading_time(
    given: &RawValue<'_>,
    received_at: Timestamp,
    own_time: impl FnOnce() -> Timestamp,
) -> Result<Timestamp, PayloadRejection> {
    let at = match given {
        RawValue::Missing => return Ok(own_time()),
        RawValue::Text(text) => Timestamp::parse_rfc3339(text)
            .map_err(|error| PayloadRejection::new(RejectReason::BadTimestamp, &error.to_string()))?,
        RawValue::Null | RawValue::Number(_) | RawValue::Nested => {
            return Err(PayloadRejection::new(RejectReason::BadTimestamp, "timestamp is not a text"));
        }
    };
    if at > received_at.plus(MAX_CLOCK_LEAD) {
        let detail = format!("{at} is more than {} s ahead of our clock", MAX_CLOCK_LEAD.as_secs());
        return Err(PayloadRejection::new(RejectReason::FutureTimestamp, &detail));
    }
    Ok(at)
}

/// Sorts the entries into series, attributes and what is left out. Of two entries with one name the later counts, which
/// is why this walks backwards and turns the lists round at the end.
fn fill(device: DeviceId, at: Timestamp, entries: Vec<RawMetric<'_>>) -> Result<Reading, PayloadRejection> {
    let mut seen = Seen::with_capacity(entries.len());
    let (mut metrics, mut attributes, mut turned) =
        (Vec::with_capacity(entries.len()), Vec::new(), Vec::new());
    for entry in entries.into_iter().rev() {
        match read_metric(entry) {
            Ok(Named { name, unit, value }) => {
                if !seen.insert(&name) {
                    continue;
                }
                match value {
                    Value::Number(value) => metrics.push(Metric { name, value, unit }),
                    Value::Text(text) => attributes.push((name, text)),
                    Value::Unusable(reason) => turned.push(left_out(name.as_str(), reason)),
                }
            }
            Err(rejection) => turned.push(rejection),
        }
    }
    metrics.reverse();
    attributes.reverse();
    turned.reverse();
    if metrics.is_empty() && attributes.is_empty() {
        return Err(nothing_left(&turned));
    }
    Ok(Reading { device, at, metrics: metrics.into(), attributes, left_out: turned })
}

/// The names that a message has used. Most messages have few, among which looking is faster than hashing.
struct Seen {
    few: SmallVec<[MetricName; FEW]>,
    many: Option<HashSet<MetricName>>,
}

/// How many names are few.
const FEW: usize = 16;

impl Seen {
    fn with_capacity(names: usize) -> Self {
        Self { few: SmallVec::new(), many: (names > FEW).then(|| HashSet::with_capacity(names)) }
    }

    /// Whether the name is new.
    fn insert(&mut self, name: &MetricName) -> bool {
        match &mut self.many {
            Some(names) => names.insert(name.clone()),
            None if self.few.contains(name) => false,
            None => {
                self.few.push(name.clone());
                true
            }
        }
    }
}

struct Named {
    name: MetricName,
    unit: Option<Unit>,
    value: Value,
}

enum Value {
    Number(f64),
    Text(String),
    Unusable(RejectReason),
}

fn read_metric(entry: RawMetric<'_>) -> Result<Named, MetricRejection> {
    let RawValue::Text(raw_name) = &entry.name else {
        return Err(left_out("", RejectReason::BadName));
    };
    let name = MetricName::new(raw_name).map_err(|_| left_out(raw_name, RejectReason::BadName))?;
    let (unit, unit_usable) = match &entry.unit {
        RawValue::Missing | RawValue::Null => (None, true),
        RawValue::Text(text) if text.is_empty() => (None, true),
        RawValue::Text(text) => Unit::new(text).map_or((None, false), |unit| (Some(unit), true)),
        RawValue::Number(_) | RawValue::Nested => (None, false),
    };
    let value = match entry.value {
        _ if !unit_usable => Value::Unusable(RejectReason::BadName),
        RawValue::Number(number) if number.is_finite() => Value::Number(number),
        RawValue::Text(text) => Value::Text(text.into_owned()),
        RawValue::Number(_) | RawValue::Null | RawValue::Nested | RawValue::Missing => {
            Value::Unusable(RejectReason::BadValue)
        }
    };
    Ok(Named { name, unit, value })
}

fn left_out(name: &str, reason: RejectReason) -> MetricRejection {
    MetricRejection { name: printable(name, MAX_SHOWN_NAME_CHARS), reason }
}

fn nothing_left(left_out: &[MetricRejection]) -> PayloadRejection {
    match left_out.first() {
        Some(first) => {
            let detail = format!("no usable metric; the first is {:?}", first.name);
            PayloadRejection::new(first.reason, &detail)
        }
        None => PayloadRejection::new(RejectReason::NoMetrics, "the list of metrics is empty"),
    }
}

#[derive(Serialize)]
struct TelemetryOut<'a> {
    device_id: &'a str,
    timestamp: String,
    metrics: Vec<MetricOut<'a>>,
}

#[derive(Serialize)]
struct MetricOut<'a> {
    name: &'a str,
    value: ValueOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ValueOut<'a> {
    Number(f64),
    Text(&'a str),
}

/// Writes a reading as the contract's telemetry, the way a device would: for simulated publishers and tests.
///
/// JSON knows neither NaN nor infinity; such a value becomes null, which the reader leaves out by its name.
pub fn telemetry_json(reading: &Reading) -> Vec<u8> {
    let series = reading.metrics.iter().map(|metric| MetricOut {
        name: metric.name.as_str(),
        value: ValueOut::Number(metric.value),
        unit: metric.unit.map(Unit::as_str),
    });
    let attributes = reading.attributes.iter().map(|(name, text)| MetricOut {
        name: name.as_str(),
        value: ValueOut::Text(text),
        unit: None,
    });
    let telemetry = TelemetryOut {
        device_id: reading.device.as_str(),
        timestamp: reading.at.to_string(),
        metrics: series.chain(attributes).collect(),
    };
    serde_json::to_vec(&telemetry).expect("texts and numbers always have a JSON form")
}

/// Drops control characters and cuts to `max` characters.
fn printable(text: &str, max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(max).collect()
}

#[cfg(test)]
mod tests;
