//! What a Bluetooth LE battery is called on the air and where its bytes go in and out. Nothing here needs a radio.
//!
//! The places are tried in order: makers have changed theirs, and some boards show one that refuses to be used.

use std::fmt;
use std::str::FromStr;

/// A device's address on the air.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BleAddress(pub [u8; 6]);

/// A text that is no address of a Bluetooth device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not six pairs of hexadecimal digits such as AA:BB:CC:DD:EE:FF")]
pub struct BadBleAddress;

impl FromStr for BleAddress {
    type Err = BadBleAddress;

    fn from_str(text: &str) -> Result<Self, BadBleAddress> {
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2).ok_or(BadBleAddress)?;
            // A sign would be taken for a digit otherwise.
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(BadBleAddress);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadBleAddress)?;
        }
        if pairs.next().is_some() { Err(BadBleAddress) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for BleAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}

/// A service and the two characteristics of a stream of bytes, as 128-bit UUIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gatt {
    /// The service.
    pub service: u128,
    /// What the device notifies.
    pub notify: u128,
    /// What is written.
    pub write: u128,
}

/// The full UUID of one that the Bluetooth SIG's base holds.
pub const fn short(uuid: u16) -> u128 {
    0x0000_0000_0000_1000_8000_0080_5F9B_34FB | ((uuid as u128) << 96)
}

/// A UUID of ThingSet's service: itself, and its characteristics.
const fn thingset(number: u32) -> u128 {
    0x0000_0000_5423_4887_9C6A_14AD_27BF_C06D | ((number as u128) << 96)
}

impl Gatt {
    /// Daly's modules.
    pub const DALY: Self = Self { service: short(0xFFF0), notify: short(0xFFF1), write: short(0xFFF2) };
    /// JBD's modules, and Daly's newer ones.
    pub const JBD: Self = Self { service: short(0xFF00), notify: short(0xFF01), write: short(0xFF02) };
    /// JK's boards: one characteristic both ways.
    pub const JK: Self = Self { service: short(0xFFE0), notify: short(0xFFE1), write: short(0xFFE1) };
    /// Libre Solar's boards: ThingSet's own service.
    pub const LIBRE_SOLAR: Self = Self { service: thingset(1), notify: thingset(3), write: thingset(2) };
    /// Every place that is known.
    pub const ALL: &'static [Self] = &[Self::DALY, Self::JK, Self::JBD, Self::LIBRE_SOLAR];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_six_pairs_and_nothing_else() {
        let address: BleAddress = "c8:47:80:0a:0b:ff".parse().unwrap();
        assert_eq!(address.to_string(), "C8:47:80:0A:0B:FF");
        for bad in ["", "C8:47:80:0A:0B", "C8:47:80:0A:0B:FF:00", "C8:47:80:0A:0B:+F", "C847800A0BFF"] {
            assert_eq!(bad.parse::<BleAddress>(), Err(BadBleAddress), "{bad}");
        }
    }

    #[test]
    fn short_uuids_stand_in_the_base() {
        assert_eq!(format!("{:032x}", short(0xFFE1)), "0000ffe100001000800000805f9b34fb");
    }
}
