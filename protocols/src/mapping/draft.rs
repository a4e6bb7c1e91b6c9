//! What a message of any convention comes to, before its device's clock gives it a time: readings, presence, and what was
//! turned away.
//!
//! Limits are those of the native payload, so that no convention is a way round them.

use std::borrow::Cow;

use crc::{CRC_32_ISO_HDLC, Crc};
use voltree_model::{
    DeviceId, InvalidId, Metric, MetricName, MetricRef, MetricRejection, Reading, RejectReason, Timestamp,
    Unit,
};

use crate::mqtt::{MAX_CLOCK_LEAD, MAX_METRICS, PayloadRejection};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// How much of a long name is kept before its checksum.
const KEPT_CHARS: usize = 55;

/// What a message means.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Meaning {
    /// What it says of its devices.
    pub readings: Vec<Result<Draft, Turned>>,
    /// Who is there now, or no longer.
    pub presence: Vec<(DeviceId, bool)>,
}

/// A message, or a part of one, that can't be a reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Turned {
    /// Whose it is, if that could be made out.
    pub device: Option<DeviceId>,
    /// What was wrong.
    pub rejection: PayloadRejection,
}

/// A reading that may have no time yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Who.
    pub device: DeviceId,
    /// What the device is called where it comes from.
    pub name: String,
    /// When it was measured, if the message says so.
    pub at: Option<Timestamp>,
    metrics: Vec<Metric>,
    attributes: Vec<(MetricName, String)>,
    left_out: Vec<MetricRejection>,
}

/// A value on its way into a reading.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a series.
    Number(f64),
    /// Of an attribute.
    Text(String),
}

impl Meaning {
    /// What it comes to, for a person: a line for each reading, value and word of presence.
    pub fn explain(&self, now: Timestamp) -> String {
        let mut lines = Vec::new();
        for (device, online) in &self.presence {
            lines.push(format!("  {device} is {}", if *online { "online" } else { "offline" }));
        }
        for reading in &self.readings {
            match reading {
                Ok(draft) => draft.explain(now, &mut lines),
                Err(Turned { device, rejection }) => {
                    let device = device.as_ref().map_or("no device", DeviceId::as_str);
                    lines.push(format!("  {device}: rejected as {rejection}"));
                }
            }
        }
        if lines.is_empty() {
            lines.push("  known, and nothing to keep".to_owned());
        }
        lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

impl Turned {
    /// With a detail that is safe to log.
    pub fn new(device: Option<DeviceId>, reason: RejectReason, detail: &str) -> Self {
        Self { device, rejection: PayloadRejection::new(reason, detail) }
    }
}

impl Draft {
    /// A reading without values.
    pub fn new(device: DeviceId, name: String, at: Option<Timestamp>) -> Self {
        Self { device, name, at, metrics: Vec::new(), attributes: Vec::new(), left_out: Vec::new() }
    }

    /// Whether nothing was put in yet.
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty() && self.attributes.is_empty() && self.left_out.is_empty()
    }

    /// Puts a value in; of two with one name the later counts.
    pub fn put(&mut self, name: &str, unit: Option<&str>, value: Result<Value, RejectReason>) {
        let (Ok(metric), Ok(unit)) = (MetricName::new(name), unit.map(Unit::new).transpose()) else {
            return self.leave_out(name, RejectReason::BadName);
        };
        match value {
            Ok(Value::Number(value)) if value.is_finite() => {
                self.metrics.retain(|known| known.name != metric);
                self.metrics.push(Metric { name: metric, value, unit });
            }
            Ok(Value::Text(text)) => {
                self.attributes.retain(|(known, _)| *known != metric);
                self.attributes.push((metric, text));
            }
            Ok(Value::Number(_)) => self.leave_out(name, RejectReason::BadValue),
            Err(reason) => self.leave_out(name, reason),
        }
    }

    fn leave_out(&mut self, name: &str, reason: RejectReason) {
        let name = name.chars().filter(|c| !c.is_control()).take(64).collect();
        self.left_out.push(MetricRejection { name, reason });
    }

    /// Takes over the values of another part of the same message.
    pub fn absorb(&mut self, other: Self) {
        for metric in other.metrics {
            let unit = metric.unit.as_ref().map(Unit::as_str);
            self.put(metric.name.as_str(), unit, Ok(Value::Number(metric.value)));
        }
        for (name, text) in other.attributes {
            self.put(name.as_str(), None, Ok(Value::Text(text)));
        }
        self.left_out.extend(other.left_out);
    }

    fn explain(&self, now: Timestamp, lines: &mut Vec<String>) {
        let device = &self.device;
        match self.clone().finish(now, || now) {
            Err(rejection) => lines.push(format!("  {device}: rejected as {rejection}")),
            Ok(reading) => {
                let at = self.at.map_or("its arrival".to_owned(), |at| at.to_string());
                lines.push(format!("  {device} at {at}"));
                for MetricRef { name, value, unit } in reading.metrics.iter() {
                    let unit = unit.map(|unit| format!(" {unit}")).unwrap_or_default();
                    lines.push(format!("    {name} = {value}{unit}"));
                }
                lines.extend(reading.attributes.iter().map(|(name, text)| format!("    {name} is {text:?}")));
                let left_out = reading.left_out.iter();
                lines.extend(left_out.map(|left| format!("    {:?} left out: {}", left.name, left.reason)));
            }
        }
    }

    /// The reading, at its own time or at the one it is given.
    pub fn finish(
        self,
        received_at: Timestamp,
        own_time: impl FnOnce() -> Timestamp,
    ) -> Result<Reading, PayloadRejection> {
        let values = self.metrics.len() + self.attributes.len() + self.left_out.len();
        if values > MAX_METRICS {
            let detail = format!("{values} metrics, {MAX_METRICS} are allowed");
            return Err(PayloadRejection::new(RejectReason::TooManyMetrics, &detail));
        }
        if self.metrics.is_empty() && self.attributes.is_empty() {
            return Err(match self.left_out.first() {
                Some(first) => {
                    let detail = format!("no usable metric; the first is {:?}", first.name);
                    PayloadRejection::new(first.reason, &detail)
                }
                None => {
                    PayloadRejection::new(RejectReason::NoMetrics, "nothing of what the mapping looks for")
                }
            });
        }
        if let Some(at) = self.at.filter(|at| *at > received_at.plus(MAX_CLOCK_LEAD)) {
            let detail = format!("{at} is more than {} s ahead of our clock", MAX_CLOCK_LEAD.as_secs());
            return Err(PayloadRejection::new(RejectReason::FutureTimestamp, &detail));
        }
        Ok(Reading {
            device: self.device,
            at: self.at.unwrap_or_else(own_time),
            metrics: self.metrics.into(),
            attributes: self.attributes,
            left_out: self.left_out,
        })
    }
}

/// A device id for any name. A name that is none itself keeps what can be read of it and gets a checksum, so that no two
/// names share an id.
pub fn device_id(name: &str) -> Result<DeviceId, InvalidId> {
    if name.is_empty() {
        return DeviceId::new(name);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let text: Cow<'_, str> = if name.len() <= 64 && name.chars().all(allowed) {
        name.into()
    } else {
        let readable: String =
            name.chars().map(|c| if allowed(c) { c } else { '-' }).take(KEPT_CHARS).collect();
        format!("{readable}-{:08x}", CRC.checksum(name.as_bytes())).into()
    };
    DeviceId::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_ids_become_ids_of_their_own() {
        assert_eq!(device_id("plug_1").unwrap().as_str(), "plug_1");
        let [a, b] = ["living room/plug", "living/room plug"].map(|name| device_id(name).unwrap());
        assert!(a.as_str().starts_with("living-room-plug-") && b.as_str().starts_with("living-room-plug-"));
        assert_ne!(a, b);
        assert!(device_id("").is_err());
        assert_eq!(device_id(&"é".repeat(100)).unwrap().as_str().len(), 64);
    }

    #[test]
    fn of_two_values_with_one_name_the_later_counts_and_a_bad_one_costs_itself_alone() {
        let mut draft = Draft::new(DeviceId::new("d").unwrap(), String::new(), None);
        for value in [1.0, 2.0] {
            draft.put("a", Some("V"), Ok(Value::Number(value)));
        }
        draft.put("b", None, Ok(Value::Number(f64::NAN)));
        draft.put("", None, Ok(Value::Number(1.0)));
        let at = Timestamp::from_millis(5);
        let reading = draft.finish(at, || at).unwrap();
        assert_eq!((reading.metrics.len(), reading.metrics.values()[0], reading.left_out.len()), (1, 2.0, 2));
    }

    #[test]
    fn a_reading_of_tomorrow_or_of_nothing_is_none() {
        let now = Timestamp::from_millis(0);
        let draft = |at| Draft::new(DeviceId::new("d").unwrap(), String::new(), at);
        assert_eq!(draft(None).finish(now, || now).unwrap_err().reason, RejectReason::NoMetrics);
        let mut early = draft(Some(Timestamp::from_millis(301_000)));
        early.put("a", None, Ok(Value::Number(1.0)));
        assert_eq!(early.finish(now, || now).unwrap_err().reason, RejectReason::FutureTimestamp);
    }
}
