//! Finding frames in a stream that may hold anything else, whatever the vendor.
//!
//! A [`Framing`] judges bytes from the first one on; the [`StreamDecoder`] slides over the stream and drops one byte when
//! a candidate fails, because a stray start must not cost the good frame behind it. Every drop is counted with its
//! reason; none of them is an error to anybody.

use std::fmt;

/// Why bytes that begin like a frame are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BadFrameReason {
    /// The length it states is impossible.
    Length,
    /// The checksum does not match.
    Checksum,
    /// Something in its fixed parts is not what it must be.
    Shape,
    /// The bytes end, or another frame begins, before it is whole.
    Incomplete,
}

impl fmt::Display for BadFrameReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "its length is impossible",
            Self::Checksum => "its checksum does not match",
            Self::Shape => "a fixed byte is wrong",
            Self::Incomplete => "it is cut off",
        })
    }
}

/// What bytes are, judged from the first one on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<F> {
    /// So many bytes can't begin a frame.
    Noise(usize),
    /// It is too early to tell.
    Incomplete,
    /// They begin like a frame and are none; the second value says how many of them tell so.
    Bad(BadFrameReason, usize),
    /// A good frame of so many bytes.
    Frame(F, usize),
}

/// The shape of one protocol's frames.
pub trait Framing {
    /// What a good frame becomes.
    type Frame;

    /// Judges bytes, of which there is at least one. More bytes behind those that decided must not change the verdict.
    fn find(&self, bytes: &[u8]) -> Found<Self::Frame>;
}

/// Bytes that begin like a frame and are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFrame {
    /// What is wrong.
    pub reason: BadFrameReason,
    /// The bytes that tell so.
    pub bytes: Vec<u8>,
}

/// What a decoder found next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<F> {
    /// A good frame.
    Frame(F),
    /// A candidate that failed; its first byte is dropped, the rest is looked at again.
    Bad(BadFrame),
}

/// What a decoder has seen so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameStats {
    /// Good frames.
    pub frames: u64,
    /// Bytes outside of frames, those of bad frames included.
    pub skipped_bytes: u64,
    /// Candidates with an impossible length.
    pub bad_length: u64,
    /// Candidates with a wrong checksum.
    pub bad_checksum: u64,
    /// Candidates with a wrong fixed byte.
    pub bad_shape: u64,
    /// Candidates that were cut off.
    pub incomplete: u64,
}

impl FrameStats {
    /// Candidates that failed, for any reason.
    pub const fn bad_frames(&self) -> u64 {
        self.bad_length + self.bad_checksum + self.bad_shape + self.incomplete
    }

    fn count(&mut self, reason: BadFrameReason) {
        match reason {
            BadFrameReason::Length => self.bad_length += 1,
            BadFrameReason::Checksum => self.bad_checksum += 1,
            BadFrameReason::Shape => self.bad_shape += 1,
            BadFrameReason::Incomplete => self.incomplete += 1,
        }
    }
}

/// Finds frames in a stream of bytes, fed in pieces of any size.
#[derive(Debug, Clone, Default)]
pub struct StreamDecoder<K> {
    framing: K,
    buffer: Vec<u8>,
    /// How much of the buffer is done with; removed when more arrives, so that a drop of one byte moves nothing.
    done: usize,
    ended: bool,
    stats: FrameStats,
}

impl<K: Framing> StreamDecoder<K> {
    /// Looks for frames of this shape.
    pub fn new(framing: K) -> Self {
        Self { framing, buffer: Vec::new(), done: 0, ended: false, stats: FrameStats::default() }
    }

    /// The shape that is looked for; a change counts from the next look on.
    pub fn framing_mut(&mut self) -> &mut K {
        &mut self.framing
    }

    /// Appends what arrived. Call [`next_frame`](Self::next_frame) until it is dry, or the buffer grows.
    pub fn push(&mut self, bytes: &[u8]) {
        self.ended = false;
        self.buffer.drain(..self.done);
        self.done = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Says that nothing more will come for now: a frame that still waits for its rest is cut off, and what stands
    /// behind its first byte is looked at again.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Takes the next good frame off the stream; `None` while there is none yet.
    pub fn next_frame(&mut self) -> Option<K::Frame> {
        loop {
            match self.next_decoded()? {
                Decoded::Frame(frame) => return Some(frame),
                Decoded::Bad(_) => {}
            }
        }
    }

    /// Takes the next good frame or failed candidate off the stream; `None` while neither is whole.
    pub fn next_decoded(&mut self) -> Option<Decoded<K::Frame>> {
        while !self.pending().is_empty() {
            match self.framing.find(self.pending()) {
                Found::Noise(bytes) => self.skip(bytes),
                Found::Frame(frame, bytes) => {
                    self.done += bytes;
                    self.stats.frames += 1;
                    return Some(Decoded::Frame(frame));
                }
                Found::Bad(reason, bytes) => return Some(Decoded::Bad(self.reject(reason, bytes))),
                Found::Incomplete if self.ended => {
                    let bytes = self.pending().len();
                    return Some(Decoded::Bad(self.reject(BadFrameReason::Incomplete, bytes)));
                }
                Found::Incomplete => return None,
            }
        }
        None
    }

    fn reject(&mut self, reason: BadFrameReason, bytes: usize) -> BadFrame {
        let bytes = self.pending()[..bytes].to_vec();
        self.stats.count(reason);
        self.skip(1);
        BadFrame { reason, bytes }
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

/// Skips to the first byte that may begin a frame, if that is not the first one.
pub(crate) fn noise_before<F>(bytes: &[u8], starts: impl Fn(u8) -> bool) -> Option<Found<F>> {
    match bytes.iter().position(|byte| starts(*byte)) {
        Some(0) => None,
        Some(at) => Some(Found::Noise(at)),
        None => Some(Found::Noise(bytes.len())),
    }
}

/// What every framing must keep, for the property tests of each.
#[cfg(test)]
pub(crate) mod laws {
    use std::fmt::Debug;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::{Decoded, FrameStats, Framing, StreamDecoder};

    fn decode<K: Framing>(framing: K, pieces: &[&[u8]]) -> (Vec<Decoded<K::Frame>>, FrameStats) {
        let mut decoder = StreamDecoder::new(framing);
        let mut found = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            while let Some(decoded) = decoder.next_decoded() {
                found.push(decoded);
            }
        }
        decoder.end();
        while let Some(decoded) = decoder.next_decoded() {
            found.push(decoded);
        }
        (found, decoder.stats())
    }

    /// A stream decodes alike whole, split at `cuts` and byte by byte, and every byte is accounted for.
    pub(crate) fn splits_make_no_difference<K>(
        framing: K,
        bytes: &[u8],
        cuts: &[Index],
        length: impl Fn(&K::Frame) -> usize,
    ) -> Result<(), TestCaseError>
    where
        K: Framing + Clone,
        K::Frame: Debug + PartialEq,
    {
        let whole = decode(framing.clone(), &[bytes]);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&decode(framing.clone(), &pieces), &whole);
        prop_assert_eq!(&decode(framing, &bytes.chunks(1).collect::<Vec<_>>()), &whole);
        let in_frames: usize = whole
            .0
            .iter()
            .map(|decoded| match decoded {
                Decoded::Frame(frame) => length(frame),
                Decoded::Bad(_) => 0,
            })
            .sum();
        prop_assert_eq!(in_frames as u64 + whole.1.skipped_bytes, bytes.len() as u64);
        Ok(())
    }

    /// All frames are found, whatever stands before and between them.
    pub(crate) fn every_frame_is_found<K>(
        framing: K,
        frames: &[(Vec<u8>, K::Frame)],
        noise: &[Vec<u8>],
    ) -> Result<(), TestCaseError>
    where
        K: Framing,
        K::Frame: Debug + PartialEq + Clone,
    {
        let mut stream = Vec::new();
        for (index, (bytes, _)) in frames.iter().enumerate() {
            stream.extend_from_slice(noise.get(index).map_or(&[], Vec::as_slice));
            stream.extend_from_slice(bytes);
        }
        let (found, _) = decode(framing, &[&stream]);
        let found: Vec<K::Frame> = found
            .into_iter()
            .filter_map(|decoded| match decoded {
                Decoded::Frame(frame) => Some(frame),
                Decoded::Bad(_) => None,
            })
            .collect();
        let expected: Vec<K::Frame> = frames.iter().map(|(_, frame)| frame.clone()).collect();
        prop_assert_eq!(found, expected);
        Ok(())
    }
}
