//! Frames: `~`, version, address, kind of device, command, length, information, checksum, carriage return; every byte
//! as two hexadecimal letters. An answer carries a return code in the command's place.

use crate::bms::framing::{BadFrameReason, Found, Framing, noise_before};
use crate::checksum::sum16;

const START: u8 = b'~';
const END: u8 = b'\r';
/// The kind of device that a lithium battery is.
pub(super) const BATTERY: u8 = 0x46;
/// Letters of everything before the information.
const HEADER_LETTERS: usize = 12;
const CHECKSUM_LETTERS: usize = 4;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelecomFrame {
    /// The protocol's version, two digits.
    pub version: u8,
    /// Which pack on the line.
    pub address: u8,
    /// What kind of device.
    pub device: u8,
    /// What is asked; in an answer 0 when it went well.
    pub command: u8,
    /// The information.
    pub info: Vec<u8>,
}

impl TelecomFrame {
    /// Puts the frame into bytes; information past 2047 bytes does not fit and is left out.
    pub fn to_bytes(&self) -> Vec<u8> {
        let info = hex::encode_upper(&self.info[..self.info.len().min(2047)]);
        let length = with_check(u16::try_from(info.len()).unwrap_or_default());
        let head = [self.version, self.address, self.device, self.command];
        let mut bytes = vec![START];
        bytes.extend(hex::encode_upper(head).into_bytes());
        bytes.extend(format!("{length:04X}{info}").into_bytes());
        let check = 0u16.wrapping_sub(sum16(&bytes[1..]));
        bytes.extend(format!("{check:04X}\r").into_bytes());
        bytes
    }

    /// How many bytes the frame has on the wire.
    pub fn wire_length(&self) -> usize {
        1 + HEADER_LETTERS + 2 * self.info.len() + CHECKSUM_LETTERS + 1
    }
}

/// Puts the check digit before a length: all four digits add up to a multiple of sixteen.
fn with_check(length: u16) -> u16 {
    let length = length & 0x0FFF;
    let digits = (length & 0xF) + (length >> 4 & 0xF) + (length >> 8);
    (0u16.wrapping_sub(digits) & 0xF) << 12 | length
}

/// The shape of these frames, in either direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TelecomFraming;

impl Framing for TelecomFraming {
    type Frame = TelecomFrame;

    fn find(&self, bytes: &[u8]) -> Found<TelecomFrame> {
        if let Some(noise) = noise_before(bytes, |byte| byte == START) {
            return noise;
        }
        // The first byte that is no letter ends the frame, whatever its length says.
        let letters = bytes[1..].iter().position(|byte| !byte.is_ascii_hexdigit());
        let known = letters.unwrap_or(bytes.len() - 1);
        let Some(header) = bytes.get(1..=HEADER_LETTERS).filter(|_| known >= HEADER_LETTERS) else {
            return match letters {
                Some(at) => Found::Bad(BadFrameReason::Shape, at + 2),
                None => Found::Incomplete,
            };
        };
        let length = decoded(&header[8..]).and_then(|length| <[u8; 2]>::try_from(length).ok());
        let Some([length0, length1]) = length else {
            return Found::Bad(BadFrameReason::Shape, HEADER_LETTERS + 1);
        };
        let stated = u16::from_be_bytes([length0, length1]);
        if with_check(stated) != stated || stated % 2 != 0 {
            return Found::Bad(BadFrameReason::Length, HEADER_LETTERS + 1);
        }
        let end = 1 + HEADER_LETTERS + usize::from(stated & 0x0FFF) + CHECKSUM_LETTERS;
        match letters {
            Some(at) if at + 1 < end => Found::Bad(BadFrameReason::Shape, at + 2),
            _ if bytes.len() <= end => Found::Incomplete,
            _ => parse(&bytes[..=end]),
        }
    }
}

/// Reads a candidate of the length that it states itself, all of it letters but for its two ends.
fn parse(bytes: &[u8]) -> Found<TelecomFrame> {
    let bad = |reason| Found::Bad(reason, bytes.len());
    let Some((&END, body)) = bytes.split_last() else { return bad(BadFrameReason::Shape) };
    let (summed, check) = body[1..].split_at(body.len() - 1 - CHECKSUM_LETTERS);
    let expected = 0u16.wrapping_sub(sum16(summed)).to_be_bytes();
    if decoded(check).is_none_or(|check| check != expected) {
        return bad(BadFrameReason::Checksum);
    }
    let Some(data) = decoded(summed) else { return bad(BadFrameReason::Shape) };
    let [version, address, device, command, _, _, info @ ..] = data.as_slice() else {
        return bad(BadFrameReason::Length);
    };
    let (version, address, device, command) = (*version, *address, *device, *command);
    Found::Frame(TelecomFrame { version, address, device, command, info: info.to_vec() }, bytes.len())
}

fn decoded(letters: &[u8]) -> Option<Vec<u8>> {
    hex::decode(letters).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::bms::framing::laws;

    fn frame() -> impl Strategy<Value = TelecomFrame> {
        let info = proptest::collection::vec(any::<u8>(), 0..120);
        (any::<[u8; 4]>(), info).prop_map(|([version, address, device, command], info)| TelecomFrame {
            version,
            address,
            device,
            command,
            info,
        })
    }

    fn noise() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(START), Just(END), Just(b'0'), Just(b'E'), any::<u8>()];
        let random = proptest::collection::vec(byte, 0..40);
        let cut = (frame(), any::<Index>()).prop_map(|(frame, at)| {
            let bytes = frame.to_bytes();
            bytes[..at.index(bytes.len())].to_vec()
        });
        prop_oneof![random, cut]
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let good = b"~20004642E00200FD37\r";
        assert!(matches!(TelecomFraming.find(good), Found::Frame(_, 20)));
        let with = |at: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            TelecomFraming.find(&bytes)
        };
        assert_eq!(with(14, b'1'), Found::Bad(BadFrameReason::Checksum, 20));
        assert_eq!(with(9, b'D'), Found::Bad(BadFrameReason::Length, 13));
        assert_eq!(with(5, b'~'), Found::Bad(BadFrameReason::Shape, 6));
        assert_eq!(with(19, b'0'), Found::Bad(BadFrameReason::Shape, 20));
    }

    #[test]
    fn a_length_carries_its_check_digit() {
        assert_eq!((with_check(2), with_check(0x96), with_check(0)), (0xE002, 0x1096, 0));
    }

    proptest! {
        #[test]
        fn a_frame_survives_its_bytes(frame in frame()) {
            let bytes = frame.to_bytes();
            prop_assert_eq!(TelecomFraming.find(&bytes), Found::Frame(frame, bytes.len()));
        }

        #[test]
        fn any_stream_decodes_alike_whole_and_split(parts in proptest::collection::vec(prop_oneof![noise(), frame().prop_map(|f| f.to_bytes())], 0..6), cuts: Vec<Index>) {
            laws::splits_make_no_difference(TelecomFraming, &parts.concat(), &cuts, TelecomFrame::wire_length)?;
        }

        #[test]
        fn every_frame_among_noise_is_found(frames in proptest::collection::vec(frame(), 1..5), noise in proptest::collection::vec(noise(), 0..5)) {
            let frames: Vec<_> = frames.into_iter().map(|frame| (frame.to_bytes(), frame)).collect();
            laws::every_frame_is_found(TelecomFraming, &frames, &noise)?;
        }
    }
}
