//! Checksums of the wires we speak, one function each.
//!
//! Pure arithmetic over borrowed bytes; framing decides which bytes count and what a mismatch means.

/// Adds up all bytes and keeps the low eight bits (Daly A5).
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
}
