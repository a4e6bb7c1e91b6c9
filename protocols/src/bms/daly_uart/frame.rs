//! Frames: thirteen bytes `A5 address command 08 data×8 sum`, found in a stream that may hold anything else.
//!
//! How they are found is the business of [`framing`](crate::bms::framing); here is what they look like. What follows a wrong
//! length byte may not be there yet and must make no difference, so that byte alone decides.

use crate::bms::framing::{BadFrame, BadFrameReason, Found, Framing, StreamDecoder, noise_before};
use crate::checksum::sum8;

/// The length of every frame.
pub const FRAME_BYTES: usize = 13;
/// The first byte of every frame.
pub const START: u8 = 0xA5;
/// The fourth byte of every frame: how many data bytes follow.
pub const LENGTH_BYTE: u8 = 8;

const HEADER_BYTES: usize = 4;

/// A frame whose start, length and checksum are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Who is asked, or who answers.
    pub address: u8,
    /// What is asked, echoed in the answer.
    pub command: u8,
    /// Big-endian values, their layout given by the command.
    pub data: [u8; 8],
}

/// The shape of all frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct A5Framing;

/// Finds frames in a stream of bytes, fed in pieces of any size.
pub type FrameDecoder = StreamDecoder<A5Framing>;

impl Frame {
    /// Puts the frame into bytes.
    pub fn to_bytes(self) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        bytes[0] = START;
        bytes[1] = self.address;
        bytes[2] = self.command;
        bytes[3] = LENGTH_BYTE;
        bytes[4..12].copy_from_slice(&self.data);
        bytes[12] = sum8(&bytes[..12]);
        bytes
    }

    /// Reads exactly one frame.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadFrame> {
        let bad = |reason| BadFrame { reason, bytes: bytes.to_vec() };
        if bytes.first().is_some_and(|first| *first != START) {
            return Err(bad(BadFrameReason::Shape));
        }
        if bytes.get(3).is_some_and(|length| *length != LENGTH_BYTE) {
            return Err(bad(BadFrameReason::Length));
        }
        let &[_, address, command, _, d0, d1, d2, d3, d4, d5, d6, d7, sum] = bytes else {
            return Err(bad(BadFrameReason::Incomplete));
        };
        if sum8(&bytes[..FRAME_BYTES - 1]) != sum {
            return Err(bad(BadFrameReason::Checksum));
        }
        Ok(Self { address, command, data: [d0, d1, d2, d3, d4, d5, d6, d7] })
    }

    /// Tells a board's answer from a host's request: hosts have addresses from 0x20.
    pub const fn is_answer(&self) -> bool {
        self.address < 0x20
    }
}

impl Framing for A5Framing {
    type Frame = Frame;

    fn find(&self, bytes: &[u8]) -> Found<Frame> {
        if let Some(noise) = noise_before(bytes, |byte| byte == START) {
            return noise;
        }
        if bytes.get(3).is_some_and(|length| *length != LENGTH_BYTE) {
            return Found::Bad(BadFrameReason::Length, HEADER_BYTES);
        }
        let Some(candidate) = bytes.get(..FRAME_BYTES) else { return Found::Incomplete };
        match Frame::parse(candidate) {
            Ok(frame) => Found::Frame(frame, FRAME_BYTES),
            Err(bad) => Found::Bad(bad.reason, FRAME_BYTES),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bms::framing::{Decoded, FrameStats, laws};

    fn frame() -> Frame {
        Frame { address: 1, command: 0x94, data: [0x0E, 1, 0, 0, 2, 0, 0, 0x20] }
    }

    fn decode_all(stream: &[u8]) -> (Vec<Decoded<Frame>>, FrameStats) {
        let mut decoder = FrameDecoder::default();
        decoder.push(stream);
        let found = std::iter::from_fn(|| decoder.next_decoded()).collect();
        (found, decoder.stats())
    }

    #[test]
    fn leading_garbage_is_skipped_and_counted() {
        let stream = [&[0, 0][..], &frame().to_bytes()].concat();
        let (found, stats) = decode_all(&stream);
        assert_eq!(found, [Decoded::Frame(frame())]);
        assert_eq!(stats, FrameStats { frames: 1, skipped_bytes: 2, ..FrameStats::default() });
    }

    #[test]
    fn a_stray_start_byte_does_not_cost_the_frame_behind_it() {
        let stream = [&[START][..], &frame().to_bytes()].concat();
        let (found, stats) = decode_all(&stream);
        assert_eq!(found.last(), Some(&Decoded::Frame(frame())));
        assert_eq!((stats.frames, stats.bad_frames(), stats.skipped_bytes), (1, 1, 1));
    }

    #[test]
    fn a_corrupt_frame_is_counted_and_the_next_one_found() {
        let mut corrupt = frame().to_bytes();
        corrupt[5] ^= 0x10;
        let stream = [corrupt, frame().to_bytes()].concat();
        let (found, stats) = decode_all(&stream);
        assert_eq!(found.last(), Some(&Decoded::Frame(frame())));
        assert_eq!((stats.frames, stats.bad_checksum, stats.skipped_bytes), (1, 1, 13));
    }

    #[test]
    fn a_reset_forgets_half_a_frame() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&frame().to_bytes()[..7]);
        assert_eq!(decoder.next_frame(), None);
        decoder.reset();
        decoder.push(&frame().to_bytes());
        assert_eq!(decoder.next_frame(), Some(frame()));
        assert_eq!(decoder.stats().skipped_bytes, 7);
    }

    /// Bytes that look like frames more often than chance would have it.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let good = (any::<u8>(), any::<u8>(), any::<[u8; 8]>())
            .prop_map(|(address, command, data)| Frame { address, command, data }.to_bytes().to_vec());
        let noise =
            proptest::collection::vec(prop_oneof![Just(START), Just(LENGTH_BYTE), any::<u8>()], 0..20);
        let cut = (good.clone(), 0..FRAME_BYTES).prop_map(|(bytes, length)| bytes[..length].to_vec());
        proptest::collection::vec(prop_oneof![good, noise, cut], 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn a_frame_survives_its_bytes(address: u8, command: u8, data: [u8; 8]) {
            let frame = Frame { address, command, data };
            prop_assert_eq!(Frame::parse(&frame.to_bytes()), Ok(frame));
        }

        #[test]
        fn a_stream_decodes_alike_whole_and_split_anywhere(
            bytes in stream(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        ) {
            laws::splits_make_no_difference(A5Framing, &bytes, &cuts, |_| FRAME_BYTES)?;
        }
    }
}
