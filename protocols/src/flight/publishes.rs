//! The last payloads of a device that publishes by itself, and what each was read as.
//!
//! Recording costs a publish next to nothing: payloads lie in one ring, and what a reading said is found out when somebody
//! asks, by reading it once more, which this build does the same way each time. A payload that is larger than the whole
//! record is not kept.

use std::collections::VecDeque;

use crc::{CRC_64_XZ, Crc, Table};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, Reading, Timestamp};

use crate::mqtt::{PayloadRejection, parse_telemetry};

/// How much of a device's payloads is kept, in bytes of memory.
const KEPT_BYTES: usize = 8 * 1024;
/// What a payload costs besides its bytes.
const ENTRY_BYTES: usize = size_of::<Entry>();
static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);

/// What a payload was read as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReadAs {
    /// A reading.
    Reading {
        /// Its time.
        at: Timestamp,
        /// The CRC-64/XZ of all it says, in hexadecimal digits.
        crc: String,
    },
    /// Nothing, and why.
    Rejected(String),
}

/// A payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// When it arrived.
    pub at: Timestamp,
    /// Its bytes.
    #[serde(with = "hex::serde")]
    pub payload: Vec<u8>,
    /// What it was read as.
    pub read_as: ReadAs,
}

/// A payload that is kept, without its bytes.
#[derive(Debug)]
struct Entry {
    arrived: Timestamp,
    length: usize,
    /// The time of its reading, or why it is none.
    read_as: Result<Timestamp, Box<str>>,
}

/// The last payloads of one device.
#[derive(Debug, Default)]
pub struct PublishRecorder(Mutex<Payloads>);

#[derive(Debug, Default)]
struct Payloads {
    entries: VecDeque<Entry>,
    /// Theirs, one after the other.
    bytes: VecDeque<u8>,
}

impl PublishRecorder {
    /// Writes down a payload and what it was read as.
    pub fn record(&self, arrived: Timestamp, payload: &[u8], parsed: &Result<Reading, PayloadRejection>) {
        if ENTRY_BYTES + payload.len() > KEPT_BYTES {
            return;
        }
        let read_as = match parsed {
            Ok(reading) => Ok(reading.at),
            Err(rejection) => Err(rejection.to_string().into()),
        };
        let mut payloads = self.0.lock();
        payloads.make_room(payload.len());
        payloads.bytes.extend(payload);
        payloads.entries.push_back(Entry { arrived, length: payload.len(), read_as });
    }

    /// What is kept of the device's payloads, oldest first.
    pub fn publishes(&self, device: &DeviceId) -> Vec<Publish> {
        let payloads = self.0.lock();
        let mut bytes = payloads.bytes.iter().copied();
        let publish = |Entry { arrived, length, read_as }: &Entry| {
            let payload: Vec<_> = bytes.by_ref().take(*length).collect();
            let read_as = match read_as {
                Ok(at) => read(device, &payload, *arrived, *at),
                Err(why) => ReadAs::Rejected(why.to_string()),
            };
            Publish { at: *arrived, payload, read_as }
        };
        payloads.entries.iter().map(publish).collect()
    }
}

impl Payloads {
    /// Lets the oldest go until one of this length has room.
    fn make_room(&mut self, length: usize) {
        while ENTRY_BYTES * (self.entries.len() + 1) + self.bytes.len() + length > KEPT_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes.drain(..oldest.length);
        }
    }
}

impl Publish {
    /// Whether it was read as a reading.
    pub const fn is_reading(&self) -> bool {
        matches!(self.read_as, ReadAs::Reading { .. })
    }

    /// Reads the payload once more, and says what differs if anything does.
    pub fn read_again(&self, device: &DeviceId) -> Option<String> {
        // A reading without a time of its own was given one when it arrived.
        let own_time = match &self.read_as {
            ReadAs::Reading { at, .. } => *at,
            ReadAs::Rejected(_) => self.at,
        };
        let now = read(device, &self.payload, self.at, own_time);
        (now != self.read_as).then(|| format!("it was read as {:?}, now as {now:?}", self.read_as))
    }
}

/// What a payload is read as that arrived then; a reading without a time of its own was given one.
fn read(device: &DeviceId, payload: &[u8], arrived: Timestamp, own_time: Timestamp) -> ReadAs {
    match parse_telemetry(device, payload, arrived, || own_time) {
        Ok(reading) => ReadAs::Reading { at: reading.at, crc: format!("{:016x}", checksum(&reading)) },
        Err(rejection) => ReadAs::Rejected(rejection.to_string()),
    }
}

fn checksum(reading: &Reading) -> u64 {
    // One checksum of all is far cheaper than one of each piece.
    let mut said = Vec::with_capacity(512);
    let mut text = |text: &str| {
        said.extend_from_slice(text.as_bytes());
        // No text holds this byte, so that none runs into the next.
        said.push(0xFF);
    };
    for metric in reading.metrics.iter() {
        text(metric.name.as_str());
        text(metric.unit.map_or("", |unit| unit.as_str()));
    }
    for (name, value) in &reading.attributes {
        text(name.as_str());
        text(value);
    }
    reading.left_out.iter().for_each(|left| text(&left.name));
    for metric in reading.metrics.iter() {
        said.extend_from_slice(&metric.value.to_bits().to_le_bytes());
    }
    said.extend_from_slice(&reading.at.as_millis().to_le_bytes());
    CRC.checksum(&said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(payloads: &[&str]) -> Vec<Publish> {
        let (device, recorder) = (DeviceId::new("sensor").unwrap(), PublishRecorder::default());
        for (number, payload) in (1_700_000_000_000..).zip(payloads) {
            let at = Timestamp::from_millis(number);
            let parsed = parse_telemetry(&device, payload.as_bytes(), at, || at);
            recorder.record(at, payload.as_bytes(), &parsed);
        }
        recorder.publishes(&device)
    }

    #[test]
    fn what_was_published_is_read_the_same_again_and_a_changed_byte_is_not() {
        let device = DeviceId::new("sensor").unwrap();
        let payload = r#"{"device_id":"sensor","metrics":[{"name":"t","value":21.5,"unit":"C"}]}"#;
        let publishes = recorded(&[payload, "not json", "{}"]);
        assert_eq!(publishes.len(), 3);
        assert!(publishes.iter().all(|publish| publish.read_again(&device).is_none()), "{publishes:?}");
        assert!(matches!(publishes[1].read_as, ReadAs::Rejected(_)), "{publishes:?}");
        let text = serde_json::to_string(&publishes).unwrap();
        let mut read: Vec<Publish> = serde_json::from_str(&text).unwrap();
        assert_eq!(read, publishes);
        let digit = payload.find("21.5").unwrap();
        read[0].payload[digit] = b'3';
        assert!(read[0].read_again(&device).unwrap().starts_with("it was read as "), "{read:?}");
    }

    #[test]
    fn the_oldest_make_room_and_one_that_is_too_large_is_not_kept() {
        let large = "x".repeat(KEPT_BYTES);
        assert!(recorded(&[&large]).is_empty());
        let some = "y".repeat(1_000);
        let payloads: Vec<_> = (0..50).map(|_| some.as_str()).collect();
        let kept = recorded(&payloads);
        assert_eq!(kept.len(), KEPT_BYTES / (1_000 + ENTRY_BYTES));
        assert_eq!(kept.last().unwrap().at.as_millis(), 1_700_000_000_049);
    }
}
