//! Frames of the wired protocol: `4E 57`, length, terminal, command, source, type, tagged values, record number, `68`,
//! and a sum over everything before it.

use crate::bms::framing::{BadFrameReason, Found, Framing, noise_before};
use crate::checksum::sum16;

/// The first two bytes of every frame.
const START: [u8; 2] = [0x4E, 0x57];
/// Start, length, terminal, command, source, type.
const HEADER_BYTES: usize = 11;
/// Record number, end mark, checksum.
const TRAILER_BYTES: usize = 9;
const END_MARK: u8 = 0x68;
/// The longest answer known has 48 cells and all settings, well below this.
const MAX_BYTES: usize = 700;

/// What a frame asks for.
mod command {
    /// Writes one value.
    pub(super) const WRITE: u8 = 0x02;
    /// Reads everything.
    pub(super) const READ_ALL: u8 = 0x06;
}

/// A frame of the wired protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UartFrame {
    /// The board's number; 0 unless set otherwise.
    pub terminal: u32,
    /// What is asked, or what is answered.
    pub command: u8,
    /// Who speaks: 0 the board, 1 Bluetooth, 2 GPS, 3 a PC.
    pub source: u8,
    /// 0 a request, 1 an answer, 2 an unasked report.
    pub frame_type: u8,
    /// Tagged values.
    pub data: Vec<u8>,
    /// A counter that is handed back.
    pub record: u32,
}

impl UartFrame {
    /// Puts the frame into bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let total = HEADER_BYTES + self.data.len() + TRAILER_BYTES;
        let mut bytes = Vec::with_capacity(total);
        bytes.extend_from_slice(&START);
        bytes.extend_from_slice(&u16::try_from(total - 2).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(&self.terminal.to_be_bytes());
        bytes.extend_from_slice(&[self.command, self.source, self.frame_type]);
        bytes.extend_from_slice(&self.data);
        bytes.extend_from_slice(&self.record.to_be_bytes());
        bytes.extend_from_slice(&[END_MARK, 0, 0]);
        let sum = sum16(&bytes);
        bytes.extend_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// How many bytes the frame has on the wire.
    pub fn wire_length(&self) -> usize {
        HEADER_BYTES + self.data.len() + TRAILER_BYTES
    }

    /// Tells a board's frame from a host's request.
    pub const fn is_answer(&self) -> bool {
        self.frame_type != 0
    }
}

/// Builds the request for everything.
pub fn read_all_request() -> UartFrame {
    UartFrame { terminal: 0, command: command::READ_ALL, source: 3, frame_type: 0, data: vec![0], record: 0 }
}

/// Builds the request that writes one tagged value. Boards want a password frame shortly before it, and give no other
/// sign than the value read back.
pub fn write_request(tag: u8, value: &[u8]) -> UartFrame {
    let data = [&[tag], value].concat();
    UartFrame { terminal: 0, command: command::WRITE, source: 3, frame_type: 0, data, record: 0 }
}

/// The shape of these frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UartFraming;

impl Framing for UartFraming {
    type Frame = UartFrame;

    fn find(&self, bytes: &[u8]) -> Found<UartFrame> {
        if let Some(noise) = noise_before(bytes, |byte| byte == START[0]) {
            return noise;
        }
        let &[_, second, ..] = bytes else { return Found::Incomplete };
        if second != START[1] {
            // The letter N alone is no candidate.
            return Found::Noise(1);
        }
        let &[_, _, high, low, ..] = bytes else { return Found::Incomplete };
        let total = usize::from(u16::from_be_bytes([high, low])) + 2;
        if !(HEADER_BYTES + TRAILER_BYTES..=MAX_BYTES).contains(&total) {
            return Found::Bad(BadFrameReason::Length, 4);
        }
        match bytes.get(..total) {
            Some(candidate) => parse(candidate),
            None => Found::Incomplete,
        }
    }
}

/// Reads a candidate of the length that it states itself.
fn parse(bytes: &[u8]) -> Found<UartFrame> {
    let bad = |reason| Found::Bad(reason, bytes.len());
    let Some((body, &[c0, c1])) = bytes.split_last_chunk::<2>() else { return Found::Incomplete };
    if sum16(body) != u16::from_be_bytes([c0, c1]) {
        return bad(BadFrameReason::Checksum);
    }
    let Some((front, &[r0, r1, r2, r3, END_MARK, _, _])) = body.split_last_chunk::<7>() else {
        return bad(BadFrameReason::Shape);
    };
    let [_, _, _, _, t0, t1, t2, t3, command, source, frame_type, data @ ..] = front else {
        return bad(BadFrameReason::Length);
    };
    let frame = UartFrame {
        terminal: u32::from_be_bytes([*t0, *t1, *t2, *t3]),
        command: *command,
        source: *source,
        frame_type: *frame_type,
        data: data.to_vec(),
        record: u32::from_be_bytes([r0, r1, r2, r3]),
    };
    Found::Frame(frame, bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::bms::framing::laws;

    fn frame() -> impl Strategy<Value = UartFrame> {
        let data = proptest::collection::vec(any::<u8>(), 0..300);
        (any::<u32>(), any::<(u8, u8, u8)>(), data, any::<u32>()).prop_map(
            |(terminal, (command, source, frame_type), data, record)| UartFrame {
                terminal,
                command,
                source,
                frame_type,
                data,
                record,
            },
        )
    }

    fn noise() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0x4E), Just(0x57), Just(0x00), Just(0x13), any::<u8>()];
        let random = proptest::collection::vec(byte, 0..40);
        let cut = (frame(), any::<Index>()).prop_map(|(frame, at)| {
            let bytes = frame.to_bytes();
            bytes[..at.index(bytes.len() - 2)].to_vec()
        });
        prop_oneof![random, cut]
    }

    #[test]
    fn a_wrong_sum_a_wrong_end_and_a_wrong_length_are_told_apart() {
        let good = read_all_request().to_bytes();
        let mut sum = good.clone();
        sum[20] ^= 1;
        assert_eq!(UartFraming.find(&sum), Found::Bad(BadFrameReason::Checksum, 21));
        let mut end = good.clone();
        end[16] ^= 1;
        end[20] += 1;
        assert_eq!(UartFraming.find(&end), Found::Bad(BadFrameReason::Shape, 21));
        let mut length = good;
        length[2] = 0xFF;
        assert_eq!(UartFraming.find(&length), Found::Bad(BadFrameReason::Length, 4));
    }

    proptest! {
        #[test]
        fn a_frame_survives_its_bytes(frame in frame()) {
            let bytes = frame.to_bytes();
            prop_assert_eq!(UartFraming.find(&bytes), Found::Frame(frame, bytes.len()));
        }

        #[test]
        fn any_stream_decodes_alike_whole_and_split(parts in proptest::collection::vec(prop_oneof![noise(), frame().prop_map(|f| f.to_bytes())], 0..6), cuts: Vec<Index>) {
            laws::splits_make_no_difference(UartFraming, &parts.concat(), &cuts, UartFrame::wire_length)?;
        }

        #[test]
        fn every_frame_among_noise_is_found(frames in proptest::collection::vec(frame(), 1..5), noise in proptest::collection::vec(noise(), 0..5)) {
            let frames: Vec<_> = frames.into_iter().map(|frame| (frame.to_bytes(), frame)).collect();
            laws::every_frame_is_found(UartFraming, &frames, &noise)?;
        }
    }
}
