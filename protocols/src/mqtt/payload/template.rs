//! Telemetry that differs from what the device sent last only in its time and its numbers.
//!
//! A device says the same over and over. So what stands around its time and its numbers is kept of one payload, and
//! another that has exactly that around them is read without being parsed as JSON: a number in the place of a number and a
//! text in the place of a text change nothing about the rest. Whatever else comes is parsed, and so is whatever would be
//! turned away: what a payload means is said in one place.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use serde_json::value::RawValue as Token;
use voltree_model::{DeviceId, Metrics, Reading, SeriesSet, Timestamp};

use super::value::RawValue;
use super::{PayloadRejection, parse_telemetry, reading_time};

/// How many templates devices share; a device of a further kind has its own.
const MOST_SHARED: usize = 256;

/// What a payload has in a place where another may have something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Device,
    Time,
    Value,
}

/// A payload without its parts.
#[derive(Debug, PartialEq)]
struct Template {
    /// Each part with what stands before it.
    parts: Box<[(Box<str>, Part)]>,
    /// What stands behind the last.
    end: Box<str>,
    series: SeriesSet,
}

/// The template that a device's next payload may fit.
#[derive(Debug, Default)]
pub struct LastTemplate(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    template: Option<Arc<Template>>,
    /// How many payloads in a row did not fit.
    misses: u32,
}

/// The templates of devices that say the same.
#[derive(Debug, Default)]
pub struct Templates(RwLock<Vec<Arc<Template>>>);

impl Templates {
    /// Reads a telemetry payload as [`parse_telemetry`] does, and faster if the device's last one was like it.
    pub fn read(
        &self,
        last: &LastTemplate,
        device: &DeviceId,
        payload: &[u8],
        received_at: Timestamp,
        own_time: impl FnOnce() -> Timestamp,
    ) -> Result<Reading, PayloadRejection> {
        let mut last = last.0.lock();
        let reading = |at, metrics| Reading {
            device: device.clone(),
            at,
            metrics,
            attributes: Vec::new(),
            left_out: Vec::new(),
        };
        let text = std::str::from_utf8(payload).ok();
        match text.and_then(|text| last.template.as_ref()?.fit(device, text)) {
            Some(Fit { time: None, metrics }) => {
                last.misses = 0;
                return Ok(reading(own_time(), metrics));
            }
            Some(Fit { time: Some(time), metrics }) => {
                let time = RawValue::Text(time.into());
                if let Ok(at) = reading_time(&time, received_at, || received_at) {
                    last.misses = 0;
                    return Ok(reading(at, metrics));
                }
            }
            None => {}
        }
        let parsed = parse_telemetry(device, payload, received_at, own_time)?;
        last.misses = last.misses.saturating_add(1);
        // Of a device that never says the same twice nothing is learned ever more rarely.
        if last.misses.is_power_of_two() {
            last.template = text.and_then(|text| self.learn(&parsed, text));
        }
        Ok(parsed)
    }

    /// A template that the payload fits: another device's, or a new one.
    fn learn(&self, parsed: &Reading, payload: &str) -> Option<Arc<Template>> {
        let fitting = |templates: &[Arc<Template>]| {
            templates.iter().find(|known| known.fit(&parsed.device, payload).is_some()).cloned()
        };
        if let Some(known) = fitting(&self.0.read()) {
            return Some(known);
        }
        let new = Arc::new(Template::of(parsed, payload)?);
        let mut templates = self.0.write();
        if let Some(known) = fitting(&templates) {
            return Some(known);
        }
        if templates.len() < MOST_SHARED {
            templates.push(Arc::clone(&new));
        }
        Some(new)
    }
}

/// Where a payload has its parts. Anything else in it is the same each time or not at all.
#[derive(Deserialize)]
struct Layout<'a> {
    #[serde(borrow)]
    device_id: &'a Token,
    #[serde(borrow, default)]
    timestamp: Option<&'a Token>,
    #[serde(borrow)]
    metrics: Vec<MetricLayout<'a>>,
}

#[derive(Deserialize)]
struct MetricLayout<'a> {
    #[serde(borrow)]
    value: &'a Token,
}

/// The parts of a payload that fits.
struct Fit<'a> {
    time: Option<&'a str>,
    metrics: Metrics,
}

impl Template {
    /// The template of a payload that was read as this, if it says nothing but numbers.
    fn of(reading: &Reading, payload: &str) -> Option<Self> {
        let Reading { device, metrics, attributes, left_out, .. } = reading;
        let Layout { device_id, timestamp, metrics: layouts } = serde_json::from_str(payload).ok()?;
        let values = layouts.iter().map(|layout| number(layout.value.get()));
        let says_the_same = metrics.values().iter().map(|value| Some((*value, ""))).eq(values);
        if !attributes.is_empty() || !left_out.is_empty() || !says_the_same {
            return None;
        }
        let mut parts = vec![(quoted(device_id.get()).filter(|id| *id == device.as_str())?, Part::Device)];
        if let Some(time) = timestamp {
            parts.push((quoted(time.get())?, Part::Time));
        }
        parts.extend(layouts.iter().map(|layout| (layout.value.get(), Part::Value)));
        let begin = payload.as_ptr().addr();
        parts.sort_by_key(|(text, _)| text.as_ptr().addr());
        let mut done = 0;
        let mut pieces = Vec::with_capacity(parts.len());
        for (text, part) in parts {
            let at = text.as_ptr().addr().checked_sub(begin)?;
            pieces.push((payload.get(done..at)?.into(), part));
            done = at + text.len();
        }
        Some(Self {
            parts: pieces.into(),
            end: payload.get(done..)?.into(),
            series: metrics.series().clone(),
        })
    }

    fn fit<'a>(&self, device: &DeviceId, payload: &'a str) -> Option<Fit<'a>> {
        let (mut rest, mut time) = (payload, None);
        let mut values = Vec::with_capacity(self.series.len());
        for (before, part) in &self.parts {
            rest = rest.strip_prefix(&**before)?;
            rest = match part {
                Part::Device => rest.strip_prefix(device.as_str())?,
                Part::Time => {
                    let (text, behind) = rest.split_at(rest.find('"')?);
                    time = Some(text);
                    behind
                }
                Part::Value => {
                    let (value, behind) = number(rest)?;
                    values.push(value);
                    behind
                }
            };
        }
        let metrics = Metrics::new(self.series.clone(), values).filter(|_| rest == &*self.end)?;
        Some(Fit { time, metrics })
    }
}

/// What stands between the quotes of a JSON text that needs no escapes.
fn quoted(token: &str) -> Option<&str> {
    token.strip_prefix('"')?.strip_suffix('"').filter(|text| !text.contains('\\'))
}

/// The JSON number that a text begins with, and what stands behind it.
fn number(text: &str) -> Option<(f64, &str)> {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        let end = bytes.iter().skip(from).position(|byte| !byte.is_ascii_digit());
        end.map_or(bytes.len(), |count| from + count)
    };
    let is_one_of = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|byte| wanted.contains(byte));
    let first = usize::from(is_one_of(0, b"-"));
    let mut end = digits(first);
    if end == first || (is_one_of(first, b"0") && end > first + 1) {
        return None;
    }
    if is_one_of(end, b".") {
        let fraction = end + 1;
        end = digits(fraction);
        if end == fraction {
            return None;
        }
    }
    if is_one_of(end, b"eE") {
        let exponent = end + 1 + usize::from(is_one_of(end + 1, b"+-"));
        end = digits(exponent);
        if end == exponent {
            return None;
        }
    }
    let (number, behind) = text.split_at_checked(end)?;
    // One that is too large is turned away elsewhere.
    let value = number.parse::<f64>().ok().filter(|value| value.is_finite())?;
    Some((value, behind))
}

#[cfg(test)]
mod tests;
