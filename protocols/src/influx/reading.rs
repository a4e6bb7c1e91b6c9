//! What a line means here: which device, which series, when.
//!
//! The device is the value of the first tag of a configured list. A series is named by measurement, field and the tags
//! that are left, because two lines that differ in any of them are two series to whoever wrote them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use voltree_model::{
    DeviceId, Metric, MetricName, MetricRejection, Metrics, Reading, RejectReason, Series, SeriesSet,
    Timestamp,
};

use super::names::Names;
use super::{FieldValue, KnownNames, Line};

/// The most fields that one line may carry.
pub const MAX_FIELDS: usize = 512;
/// How far the writer's clock may run ahead of ours.
const MAX_CLOCK_LEAD: Duration = Duration::from_mins(5);
const MAX_DETAIL_CHARS: usize = 200;
const MAX_SHOWN_NAME_CHARS: usize = 64;

/// In which unit times are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Nanoseconds, which the protocol assumes.
    #[default]
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
}

/// How lines become devices and series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The tags that may name the device, the first that a line has counts.
    pub device_tags: Vec<String>,
    /// Whether a series' name begins with its measurement.
    pub measurement_in_name: bool,
}

/// Why a line was turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct LineRejection {
    /// The reason that the ledger counts.
    pub reason: RejectReason,
    /// For a person: at most 200 characters, none of them a control character.
    pub detail: String,
}

impl LineRejection {
    /// Cuts the detail to what can be shown.
    pub fn new(reason: RejectReason, detail: &str) -> Self {
        Self { reason, detail: printable(detail, MAX_DETAIL_CHARS) }
    }
}

impl Default for Mapping {
    fn default() -> Self {
        let device_tags = ["device", "device_id", "dev", "host"].map(str::to_owned).to_vec();
        Self { device_tags, measurement_in_name: true }
    }
}

impl Precision {
    /// Reads what the parameter `precision` may be in either version of the API.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "n" | "ns" | "" => Some(Self::Nanoseconds),
            "u" | "us" | "µ" => Some(Self::Microseconds),
            "ms" => Some(Self::Milliseconds),
            "s" => Some(Self::Seconds),
            "m" => Some(Self::Minutes),
            "h" => Some(Self::Hours),
            _ => None,
        }
    }

    /// UTC milliseconds; what is finer is cut off towards the past.
    fn timestamp(self, time: i64) -> Option<Timestamp> {
        let millis = match self {
            Self::Nanoseconds => Some(time.div_euclid(1_000_000)),
            Self::Microseconds => Some(time.div_euclid(1_000)),
            Self::Milliseconds => Some(time),
            Self::Seconds => time.checked_mul(1_000),
            Self::Minutes => time.checked_mul(60_000),
            Self::Hours => time.checked_mul(3_600_000),
        };
        millis.map(Timestamp::from_millis)
    }
}

impl Mapping {
    /// Whose a line is.
    pub fn device(&self, line: &Line<'_>) -> Result<DeviceId, LineRejection> {
        let Some((key, value)) = self.device_tag(line) else {
            let detail =
                format!("no tag names the device; one of these must: {}", self.device_tags.join(", "));
            return Err(LineRejection::new(RejectReason::BadPayload, &detail));
        };
        DeviceId::new(value).map_err(|error| {
            LineRejection::new(RejectReason::BadName, &format!("the tag {key}={value}: {error}"))
        })
    }

    /// The tag that says whose a line is, and its value, which need not be good for an id.
    pub fn device_tag<'l>(&self, line: &'l Line<'_>) -> Option<(&'l str, &'l str)> {
        let tag = |name: &String| line.tags.iter().find(|(key, _)| *key == name.as_str());
        self.device_tags.iter().find_map(tag).map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    /// What the device said. A line without a time of its own is given `own_time`, which should differ from that of the
    /// device's other readings: two that share a time are one. The names of its series are those of an earlier line if
    /// they can be.
    pub fn reading(
        &self,
        device: &DeviceId,
        line: Line<'_>,
        precision: Precision,
        received_at: Timestamp,
        own_time: impl FnOnce() -> Timestamp,
        known: &mut KnownNames,
    ) -> Result<Reading, LineRejection> {
        let at = match line.time {
            None => own_time(),
            Some(time) => checked_time(time, precision, received_at)?,
        };
        if line.fields.len() > MAX_FIELDS {
            let detail = format!("{} fields, {MAX_FIELDS} are allowed", line.fields.len());
            return Err(LineRejection::new(RejectReason::TooManyMetrics, &detail));
        }
        let Filled { metrics, attributes, left_out } = match known.of(&line, self) {
            Some(series) => fill(line, series),
            None => fill_what_can_be(&self.names(&line), line),
        };
        match left_out.first() {
            Some(first) if metrics.is_empty() && attributes.is_empty() => Err(LineRejection::new(
                first.reason,
                &format!("no usable field; the first is {:?}", first.name),
            )),
            Some(_) | None => Ok(Reading { device: device.clone(), at, metrics, attributes, left_out }),
        }
    }
}

fn checked_time(time: i64, precision: Precision, received_at: Timestamp) -> Result<Timestamp, LineRejection> {
    let Some(at) = precision.timestamp(time) else {
        return Err(LineRejection::new(RejectReason::BadTimestamp, "its time is beyond every calendar"));
    };
    if at > received_at.plus(MAX_CLOCK_LEAD) {
        let detail = format!(
            "{at} is more than {} s ahead of our clock; is the precision right?",
            MAX_CLOCK_LEAD.as_secs()
        );
        return Err(LineRejection::new(RejectReason::FutureTimestamp, &detail));
    }
    Ok(at)
}

/// What the fields of a line come to.
struct Filled {
    metrics: Metrics,
    attributes: Vec<(MetricName, String)>,
    left_out: Vec<MetricRejection>,
}

fn fill(line: Line<'_>, series: &SeriesSet) -> Filled {
    let mut values = Vec::with_capacity(line.fields.len());
    let mut texts = Vec::new();
    for (place, (_, value)) in line.fields.into_iter().enumerate() {
        match as_number(value) {
            Ok(value) => values.push(value),
            Err(text) => texts.push((place, text)),
        }
    }
    let left_out = Vec::new();
    if texts.is_empty()
        && let Some(metrics) = Metrics::new(series.clone(), values.as_slice())
    {
        return Filled { metrics, attributes: Vec::new(), left_out };
    }
    let is_text = |place: usize| texts.iter().any(|(text, _)| *text == place);
    let numbers = series.iter().enumerate().filter(|(place, _)| !is_text(*place)).map(|(_, series)| series);
    let metric =
        |((name, unit), value): (&Series, f64)| Metric { name: name.clone(), value, unit: unit.clone() };
    let metrics = numbers.zip(values).map(metric).collect();
    let named = |(place, text): (usize, String)| Some((series.get(place)?.0.clone(), text));
    Filled { metrics, attributes: texts.into_iter().filter_map(named).collect(), left_out }
}

/// Of two fields with one name the later counts, which is why this walks backwards and turns the lists round at the end.
fn fill_what_can_be(names: &Names, line: Line<'_>) -> Filled {
    let mut seen: HashSet<Cow<'_, str>> = HashSet::with_capacity(line.fields.len());
    let (mut metrics, mut attributes, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    for (key, value) in line.fields.into_iter().rev() {
        if !seen.insert(key.clone()) {
            continue;
        }
        let (Some(name), Ok(unit)) = (names.of(&key), names.unit.clone().transpose()) else {
            let name = printable(&key, MAX_SHOWN_NAME_CHARS);
            left_out.push(MetricRejection { name, reason: RejectReason::BadName });
            continue;
        };
        match as_number(value) {
            Ok(value) => metrics.push(Metric { name, value, unit }),
            Err(text) => attributes.push((name, text)),
        }
    }
    metrics.reverse();
    attributes.reverse();
    left_out.reverse();
    Filled { metrics: metrics.into(), attributes, left_out }
}

/// A series' value, or an attribute's text. Whole numbers beyond 2^53 become the nearest that a series can hold.
#[expect(clippy::cast_precision_loss, reason = "series hold doubles, as the doc says")]
fn as_number(value: FieldValue<'_>) -> Result<f64, String> {
    match value {
        FieldValue::Float(value) => Ok(value),
        FieldValue::Integer(value) => Ok(value as f64),
        FieldValue::Unsigned(value) => Ok(value as f64),
        FieldValue::Boolean(value) => Ok(f64::from(u8::from(value))),
        FieldValue::Text(text) => Err(text.into_owned()),
    }
}

/// Drops control characters and cuts to `max` characters.
fn printable(text: &str, max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(max).collect()
}
