//! Frames: thirteen bytes `A5 address command 08 data×8 sum`, found in a stream that may hold anything else.
//!
//! The decoder slides to the next start byte and drops one byte when a candidate fails, because a stray `A5` must not
//! cost the good frame behind it. Every drop is counted with its reason; none of them is an error to anybody.

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

/// Why bytes that begin like a frame are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BadFrameReason {
    /// The start byte is missing.
    NoStart,
    /// The length byte is not 8.
    Length,
    /// The checksum does not match.
    Checksum,
    /// The bytes end before the frame does.
    Incomplete,
}

/// Bytes that begin like a frame and are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFrame {
    /// What is wrong.
    pub reason: BadFrameReason,
    /// The bytes that were looked at.
    pub bytes: Vec<u8>,
}

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
            return Err(bad(BadFrameReason::NoStart));
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

/// What a decoder has seen so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameStats {
    /// Good frames.
    pub frames: u64,
    /// Bytes outside of frames, those of bad frames included.
    pub skipped_bytes: u64,
    /// Candidates with a wrong length byte.
    pub bad_length: u64,
    /// Candidates with a wrong checksum.
    pub bad_checksum: u64,
}

impl FrameStats {
    /// Candidates that failed, for any reason.
    pub const fn bad_frames(&self) -> u64 {
        self.bad_length + self.bad_checksum
    }
}

/// What the decoder found next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A good frame.
    Frame(Frame),
    /// A candidate that failed; its first byte is dropped, the rest is looked at again.
    Bad(BadFrame),
}

/// Finds frames in a stream of bytes, fed in pieces of any size.
#[derive(Debug, Clone, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    /// How much of the buffer is done with; removed when more arrives, so that a drop of one byte moves nothing.
    done: usize,
    stats: FrameStats,
}

impl FrameDecoder {
    /// Appends what arrived. Call [`next_frame`](Self::next_frame) until it is dry, or the buffer grows.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.done);
        self.done = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next good frame off the stream; `None` while there is none yet.
    pub fn next_frame(&mut self) -> Option<Frame> {
        loop {
            match self.next_decoded()? {
                Decoded::Frame(frame) => return Some(frame),
                Decoded::Bad(_) => {}
            }
        }
    }

    /// Takes the next good frame or failed candidate off the stream; `None` while neither is whole.
    pub fn next_decoded(&mut self) -> Option<Decoded> {
        let pending = self.pending();
        let start = pending.iter().position(|byte| *byte == START).unwrap_or(pending.len());
        self.skip(start);
        let candidate = &self.pending()[..self.pending().len().min(FRAME_BYTES)];
        match Frame::parse(candidate) {
            Ok(frame) => {
                self.done += FRAME_BYTES;
                self.stats.frames += 1;
                Some(Decoded::Frame(frame))
            }
            Err(bad) => self.reject(bad),
        }
    }

    fn reject(&mut self, mut bad: BadFrame) -> Option<Decoded> {
        match bad.reason {
            BadFrameReason::Incomplete | BadFrameReason::NoStart => return None,
            BadFrameReason::Length => {
                // What follows the length byte may not be here yet, and must make no difference.
                bad.bytes.truncate(HEADER_BYTES);
                self.stats.bad_length += 1;
            }
            BadFrameReason::Checksum => self.stats.bad_checksum += 1,
        }
        self.skip(1);
        Some(Decoded::Bad(bad))
    }

    fn skip(&mut self, count: usize) {
        self.done += count;
        self.stats.skipped_bytes =
            self.stats.skipped_bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Forgets a half-received frame, as after discarding what waited on the wire; the counts stay.
    pub fn reset(&mut self) {
        self.skip(self.pending().len());
    }

    /// Bytes that may still become a frame.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.done..]
    }

    /// What was seen so far.
    pub const fn stats(&self) -> FrameStats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame() -> Frame {
        Frame { address: 1, command: 0x94, data: [0x0E, 1, 0, 0, 2, 0, 0, 0x20] }
    }

    fn decode_all(pieces: &[&[u8]]) -> (Vec<Decoded>, FrameStats) {
        let mut decoder = FrameDecoder::default();
        let mut found = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            while let Some(decoded) = decoder.next_decoded() {
                found.push(decoded);
            }
        }
        (found, decoder.stats())
    }

    #[test]
    fn leading_garbage_is_skipped_and_counted() {
        let stream = [&[0, 0][..], &frame().to_bytes()].concat();
        let (found, stats) = decode_all(&[&stream]);
        assert_eq!(found, [Decoded::Frame(frame())]);
        assert_eq!(stats, FrameStats { frames: 1, skipped_bytes: 2, ..FrameStats::default() });
    }

    #[test]
    fn a_stray_start_byte_does_not_cost_the_frame_behind_it() {
        let stream = [&[START][..], &frame().to_bytes()].concat();
        let (found, stats) = decode_all(&[&stream]);
        assert_eq!(found.last(), Some(&Decoded::Frame(frame())));
        assert_eq!((stats.frames, stats.bad_frames(), stats.skipped_bytes), (1, 1, 1));
    }

    #[test]
    fn a_corrupt_frame_is_counted_and_the_next_one_found() {
        let mut corrupt = frame().to_bytes();
        corrupt[5] ^= 0x10;
        let stream = [corrupt, frame().to_bytes()].concat();
        let (found, stats) = decode_all(&[&stream]);
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
        fn a_stream_decodes_alike_whole_and_split_anywhere(bytes in stream(), cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8)) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(decode_all(&pieces), decode_all(&[&bytes]));
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(decode_all(&single), decode_all(&[&bytes]));
        }

        #[test]
        fn every_byte_is_in_a_frame_or_skipped_or_pending(bytes in stream()) {
            let mut decoder = FrameDecoder::default();
            decoder.push(&bytes);
            while decoder.next_frame().is_some() {}
            let stats = decoder.stats();
            let accounted = stats.frames * 13 + stats.skipped_bytes + decoder.pending().len() as u64;
            prop_assert_eq!(accounted, bytes.len() as u64);
        }
    }
}
