//! Checksums of the wires we speak, one function each.
//!
//! Pure arithmetic over borrowed bytes; framing decides which bytes count and what a mismatch means.

use crc::{CRC_16_MODBUS, CRC_32_ISO_HDLC, Crc, Table};

const MODBUS: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_MODBUS);

const ISO_HDLC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// Computes the CRC of IEEE 802.3, zlib and ThingSet's text mode.
pub fn crc32(bytes: &[u8]) -> u32 {
    ISO_HDLC.checksum(bytes)
}

/// Computes the CRC of Modbus RTU, which is sent low byte first.
pub fn crc16_modbus(bytes: &[u8]) -> u16 {
    MODBUS.checksum(bytes)
}

/// Adds up all bytes and keeps the low sixteen bits (JBD, JK, Pylontech).
pub fn sum16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(u16::from(*byte)))
}

/// Adds up all bytes and keeps the low eight bits (Daly A5, JK over Bluetooth).
pub fn sum8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_wraps_at_eight_bits() {
        assert_eq!(sum8(&[]), 0);
        assert_eq!(sum8(&[0xA5, 0x40, 0x90, 0x08]), 0x7D);
        assert_eq!(sum8(&[0xFF, 0x02]), 0x01);
    }

    #[test]
    fn the_wide_sum_keeps_sixteen_bits() {
        assert_eq!(sum16(&[0xFF, 0x02]), 0x0101);
        assert_eq!(sum16(&[0xFF; 257]), 0xFFFF);
        assert_eq!(sum16(&[0xFF; 258]), 0x00FE);
    }

    #[test]
    fn the_wide_crc_is_that_of_zlib() {
        assert_eq!((crc32(b"123456789"), crc32(b"?Meas")), (0xCBF4_3926, 0x77DB_2B01));
    }

    #[test]
    fn the_modbus_crc_is_that_of_other_implementations() {
        assert_eq!(crc16_modbus(b"123456789"), 0x4B37);
        assert_eq!(crc16_modbus(&[0xD2, 0x03, 0x00, 0x00, 0x00, 0x3E]).to_le_bytes(), [0xD7, 0xB9]);
    }
}
