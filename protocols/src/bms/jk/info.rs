//! The device record of the Bluetooth protocol: who the board is, and the version that decides how its cells are read.
//!
//! The record also carries the owner's passwords; they are neither kept nor shown.

use serde_json::{Value, json};

use super::Record;
use crate::bms::fields::{Kind, Order, float, printable, whole};

/// Who a board is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The model.
    pub vendor: String,
    /// Version of the hardware.
    pub hardware_version: String,
    /// Version of the firmware.
    pub software_version: String,
    /// The name it was given.
    pub device_name: String,
    /// Its serial number.
    pub serial_number: String,
    /// How long it has been running.
    pub uptime_s: u32,
    /// How often it was switched on.
    pub power_on_count: u32,
}

impl DeviceInfo {
    /// Reads a device record.
    pub fn decode(record: &Record) -> Self {
        let bytes = record.bytes();
        let text = |from: usize, to: usize| printable(&bytes[from..to]);
        let number = |offset| {
            let raw = whole(bytes, offset, Kind::U32, Order::Little);
            raw.and_then(|raw| u32::try_from(raw).ok()).unwrap_or_default()
        };
        Self {
            vendor: text(6, 22),
            hardware_version: text(22, 30),
            software_version: text(30, 38),
            device_name: text(46, 62),
            serial_number: text(86, 97),
            uptime_s: number(38),
            power_on_count: number(42),
        }
    }

    /// Writes the record, for simulated boards; texts are cut where their place ends.
    pub fn fill(&self, bytes: &mut [u8]) {
        let mut put = |from: usize, to: usize, text: &[u8]| {
            let length = text.len().min(to - from);
            bytes[from..from + length].copy_from_slice(&text[..length]);
        };
        put(6, 22, self.vendor.as_bytes());
        put(22, 30, self.hardware_version.as_bytes());
        put(30, 38, self.software_version.as_bytes());
        put(38, 42, &self.uptime_s.to_le_bytes());
        put(42, 46, &self.power_on_count.to_le_bytes());
        put(46, 62, self.device_name.as_bytes());
        put(86, 97, self.serial_number.as_bytes());
    }

    pub(super) fn show(&self) -> Value {
        json!({
            "vendor": self.vendor,
            "hardware_version": self.hardware_version,
            "software_version": self.software_version,
            "device_name": self.device_name,
            "serial_number": self.serial_number,
            "uptime_s": self.uptime_s,
            "power_on_count": self.power_on_count,
        })
    }
}

/// What a settings record tells.
pub(super) fn show_settings(record: &Record) -> Value {
    let raw = whole(record.bytes(), 130, Kind::U32, Order::Little).and_then(float);
    json!({ "nominal_capacity_ah": raw.map(|raw| raw / 1000.0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bms::jk::record_type;

    #[test]
    fn what_is_written_is_read() {
        let info = DeviceInfo {
            vendor: "JK_PB2A16S15P".to_owned(),
            hardware_version: "14.XA".to_owned(),
            software_version: "14.20".to_owned(),
            device_name: "garage".to_owned(),
            serial_number: "3092571234".to_owned(),
            uptime_s: 107_400,
            power_on_count: 148,
        };
        let record = Record::build(record_type::DEVICE, 0, |bytes| info.fill(bytes));
        assert_eq!(DeviceInfo::decode(&record), info);
    }
}
