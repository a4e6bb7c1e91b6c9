//! Frames of the Bluetooth protocol: records of 300 bytes from the board (`55 AA EB 90`), commands of 20 bytes to it
//! (`AA 55 90 EB`), which it also uses for short notices of its own.
//!
//! Records arrive in notifications of any size, and boards put notices and the text `AT\r\n` between them. A record
//! inside of which another begins was cut off.

use crate::bms::framing::{BadFrameReason, Found, Framing, noise_before};
use crate::checksum::sum8;

const RECORD_START: [u8; 4] = [0x55, 0xAA, 0xEB, 0x90];
const COMMAND_START: [u8; 4] = [0xAA, 0x55, 0x90, 0xEB];
/// The length of every record.
pub const RECORD_BYTES: usize = 300;
const COMMAND_BYTES: usize = 20;
/// Values that a command can carry.
const COMMAND_VALUES: usize = 13;

/// A record, its checksum right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    bytes: Box<[u8; RECORD_BYTES]>,
}

impl Record {
    /// Builds a record of zeros with a type and a counter, for simulated boards; `fill` writes the rest.
    pub fn build(record_type: u8, counter: u8, fill: impl FnOnce(&mut [u8; RECORD_BYTES])) -> Self {
        let mut bytes = Box::new([0; RECORD_BYTES]);
        fill(&mut bytes);
        bytes[..4].copy_from_slice(&RECORD_START);
        bytes[4] = record_type;
        bytes[5] = counter;
        bytes[RECORD_BYTES - 1] = sum8(&bytes[..RECORD_BYTES - 1]);
        Self { bytes }
    }

    /// What the record holds, see [`record_type`](super::record_type).
    pub fn record_type(&self) -> u8 {
        self.bytes[4]
    }

    /// Counts records.
    pub fn counter(&self) -> u8 {
        self.bytes[5]
    }

    /// All of it, start and checksum included, because that is how its fields are counted.
    pub fn bytes(&self) -> &[u8] {
        &*self.bytes
    }
}

/// A frame in either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Jk02Frame {
    /// From the board.
    Record(Record),
    /// To the board, or a notice from it.
    Command {
        /// Which register.
        register: u8,
        /// How many of the values count.
        length: u8,
        /// Little-endian values.
        values: [u8; COMMAND_VALUES],
    },
}

impl Jk02Frame {
    /// How many bytes the frame has on the wire.
    pub const fn wire_length(&self) -> usize {
        match self {
            Self::Record(_) => RECORD_BYTES,
            Self::Command { .. } => COMMAND_BYTES,
        }
    }
}

/// Builds a command; values past the thirteenth byte don't fit and are left out.
pub fn command_frame(register: u8, values: &[u8]) -> [u8; COMMAND_BYTES] {
    let values = &values[..values.len().min(COMMAND_VALUES)];
    let mut bytes = [0; COMMAND_BYTES];
    bytes[..4].copy_from_slice(&COMMAND_START);
    bytes[4] = register;
    bytes[5] = u8::try_from(values.len()).unwrap_or_default();
    bytes[6..6 + values.len()].copy_from_slice(values);
    bytes[COMMAND_BYTES - 1] = sum8(&bytes[..COMMAND_BYTES - 1]);
    bytes
}

/// The shape of these frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Jk02Framing;

impl Framing for Jk02Framing {
    type Frame = Jk02Frame;

    fn find(&self, bytes: &[u8]) -> Found<Jk02Frame> {
        if let Some(noise) = noise_before(bytes, |byte| byte == RECORD_START[0] || byte == COMMAND_START[0]) {
            return noise;
        }
        let seen = bytes.len().min(4);
        if bytes[..seen] == RECORD_START[..seen] {
            if seen < 4 { Found::Incomplete } else { record(bytes) }
        } else if bytes[..seen] == COMMAND_START[..seen] {
            if seen < 4 { Found::Incomplete } else { command(bytes) }
        } else {
            // One of four start bytes alone is common in data and no candidate.
            Found::Noise(1)
        }
    }
}

fn record(bytes: &[u8]) -> Found<Jk02Frame> {
    let candidate = &bytes[..bytes.len().min(RECORD_BYTES)];
    if let Some(at) = candidate[1..].windows(4).position(|four| four == RECORD_START) {
        return Found::Bad(BadFrameReason::Incomplete, at + 1);
    }
    let Ok(bytes) = Box::<[u8; RECORD_BYTES]>::try_from(Box::<[u8]>::from(candidate)) else {
        return Found::Incomplete;
    };
    if sum8(&bytes[..RECORD_BYTES - 1]) != bytes[RECORD_BYTES - 1] {
        return Found::Bad(BadFrameReason::Checksum, RECORD_BYTES);
    }
    Found::Frame(Jk02Frame::Record(Record { bytes }), RECORD_BYTES)
}

fn command(bytes: &[u8]) -> Found<Jk02Frame> {
    let Some(frame) = bytes.first_chunk::<COMMAND_BYTES>() else { return Found::Incomplete };
    let [_, _, _, _, register, length, values @ .., sum] = *frame;
    if sum8(&frame[..COMMAND_BYTES - 1]) != sum {
        return Found::Bad(BadFrameReason::Checksum, COMMAND_BYTES);
    }
    Found::Frame(Jk02Frame::Command { register, length, values }, COMMAND_BYTES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::bms::framing::laws;

    fn bytes_of(frame: &Jk02Frame) -> Vec<u8> {
        match frame {
            Jk02Frame::Record(record) => record.bytes().to_vec(),
            Jk02Frame::Command { register, length, values } => {
                command_frame(*register, &values[..usize::from(*length)]).to_vec()
            }
        }
    }

    fn frame() -> impl Strategy<Value = Jk02Frame> {
        let record = (any::<u8>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 293)).prop_map(
            |(record_type, counter, data)| {
                Jk02Frame::Record(Record::build(record_type, counter, |bytes| {
                    bytes[6..299].copy_from_slice(&data);
                }))
            },
        );
        let command =
            (any::<u8>(), 0u8..=13, any::<[u8; 13]>()).prop_map(|(register, length, mut values)| {
                values[usize::from(length)..].fill(0);
                Jk02Frame::Command { register, length, values }
            });
        prop_oneof![record, command]
    }

    /// Cuts stay short of the end: with a checksum of eight bits a record that lacks one byte is whole once in 256.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0x55), Just(0xAA), Just(0xEB), Just(0x90), any::<u8>()];
        let cut = (frame(), 0usize..15).prop_map(|(frame, length)| match frame {
            Jk02Frame::Record(record) => record.bytes()[..length * 15].to_vec(),
            Jk02Frame::Command { .. } => b"AT\r\n".to_vec(),
        });
        prop_oneof![proptest::collection::vec(byte, 0..3), cut, Just(b"AT\r\n".to_vec())]
    }

    #[test]
    fn a_record_that_another_cuts_off_costs_only_itself() {
        let record = Record::build(2, 7, |_| {});
        let stream = [&record.bytes()[..150], record.bytes()].concat();
        assert_eq!(Jk02Framing.find(&stream), Found::Bad(BadFrameReason::Incomplete, 150));
    }

    proptest! {
        #[test]
        fn a_frame_survives_its_bytes(frame in frame()) {
            let bytes = bytes_of(&frame);
            prop_assert_eq!(Jk02Framing.find(&bytes), Found::Frame(frame, bytes.len()));
        }

        #[test]
        fn any_stream_decodes_alike_whole_and_split(parts in proptest::collection::vec(prop_oneof![noise(), frame().prop_map(|f| bytes_of(&f))], 0..6), cuts: Vec<Index>) {
            laws::splits_make_no_difference(Jk02Framing, &parts.concat(), &cuts, Jk02Frame::wire_length)?;
        }

        #[test]
        fn every_frame_among_noise_is_found(frames in proptest::collection::vec(frame().prop_filter("records", |f| matches!(f, Jk02Frame::Record(_))), 1..5), noise in proptest::collection::vec(noise(), 0..5)) {
            let frames: Vec<_> = frames.into_iter().map(|frame| (bytes_of(&frame), frame)).collect();
            laws::every_frame_is_found(Jk02Framing, &frames, &noise)?;
        }
    }
}
