//! Frames of all three dialects in one stream, both ways.
//!
//! Register frames are Modbus RTU without a start byte, so a candidate begins at every byte that is one of the units,
//! followed by a function that is known; A5 frames are found by their start and length bytes. No question needs to be
//! known to find an answer, because its length stands in it.

use crate::bms::daly_uart::{A5Framing, Frame, START};
use crate::bms::framing::{BadFrameReason, Found, Framing, noise_before};
use crate::checksum::crc16_modbus;

/// The unit of the first dialect, both ways.
pub(super) const UNIT_D2: u8 = 0xD2;
/// The unit that questions of the second dialect carry.
pub(super) const UNIT_P81_ASKED: u8 = 0x81;
/// The unit that answers of the second dialect carry.
pub(super) const UNIT_P81_ANSWER: u8 = 0x51;

const READ: u8 = 3;
const WRITE: u8 = 6;
const REFUSED_READ: u8 = READ | 0x80;
const REFUSED_WRITE: u8 = WRITE | 0x80;
const REQUEST_BYTES: usize = 8;
const REFUSAL_BYTES: usize = 5;
/// Unit, function, byte count and checksum.
const ANSWER_OVERHEAD: usize = 5;
const MOST_ANSWER_BYTES: u8 = 250;

/// What a register frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterFrame {
    /// A question for registers.
    Read {
        /// Whom it asks.
        unit: u8,
        /// The first register.
        first: u16,
        /// How many.
        count: u16,
    },
    /// The registers that were asked for.
    Registers {
        /// Who answers.
        unit: u8,
        /// Their values.
        values: Vec<u16>,
    },
    /// A register is to be written; the board's confirmation is the same frame.
    Write {
        /// Whom it asks, or who confirms.
        unit: u8,
        /// The register.
        register: u16,
        /// Its new value.
        value: u16,
    },
    /// The board refuses.
    Refused {
        /// Who answers.
        unit: u8,
        /// What it refuses, 3 or 6.
        function: u8,
        /// Why.
        code: u8,
    },
}

impl RegisterFrame {
    /// Puts the frame into bytes. Values past the most that one answer holds are cut off.
    pub fn to_bytes(&self) -> Vec<u8> {
        let words = |unit, function, a: u16, b: u16| {
            [&[unit, function][..], &a.to_be_bytes(), &b.to_be_bytes()].concat()
        };
        let mut bytes = match self {
            Self::Read { unit, first, count } => words(*unit, READ, *first, *count),
            Self::Write { unit, register, value } => words(*unit, WRITE, *register, *value),
            Self::Refused { unit, function, code } => vec![*unit, function | 0x80, *code],
            Self::Registers { unit, values } => {
                let values = &values[..values.len().min(usize::from(MOST_ANSWER_BYTES / 2))];
                let length = u8::try_from(values.len() * 2).unwrap_or(MOST_ANSWER_BYTES);
                let mut bytes = vec![*unit, READ, length];
                bytes.extend(values.iter().flat_map(|value| value.to_be_bytes()));
                bytes
            }
        };
        bytes.extend(crc16_modbus(&bytes).to_le_bytes());
        bytes
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
        Some(match *body {
            [unit, function @ (REFUSED_READ | REFUSED_WRITE), code] => {
                Self::Refused { unit, function: function & 0x7F, code }
            }
            [unit, WRITE, a, b, c, d] => Self::Write { unit, register: word(a, b), value: word(c, d) },
            [unit, READ, a, b, c, d] if asks_for_registers(unit, a) => {
                Self::Read { unit, first: word(a, b), count: word(c, d) }
            }
            [unit, READ, _, ref data @ ..] => {
                let (pairs, _) = data.as_chunks();
                Self::Registers { unit, values: pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect() }
            }
            _ => return None,
        })
    }
}

/// Questions to unit D2 begin with a zero where an answer has its length: that dialect ends below register 0x100.
const fn asks_for_registers(unit: u8, third: u8) -> bool {
    unit == UNIT_P81_ASKED || unit == UNIT_D2 && third == 0
}

/// A frame of any dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BleFrame {
    /// Registers, of the first or the second dialect.
    Register(RegisterFrame),
    /// A frame as on the UART.
    A5(Frame),
}

impl BleFrame {
    /// Puts the frame into bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Register(frame) => frame.to_bytes(),
            Self::A5(frame) => frame.to_bytes().to_vec(),
        }
    }
}

/// The shape of all frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BleFraming;

impl Framing for BleFraming {
    type Frame = BleFrame;

    fn find(&self, bytes: &[u8]) -> Found<BleFrame> {
        let starts = |byte| matches!(byte, START | UNIT_D2 | UNIT_P81_ASKED | UNIT_P81_ANSWER);
        match noise_before(bytes, starts) {
            Some(noise) => noise,
            None if bytes.first() == Some(&START) => find_a5(bytes),
            None => find_registers(bytes),
        }
    }
}

fn find_a5(bytes: &[u8]) -> Found<BleFrame> {
    match A5Framing.find(bytes) {
        Found::Frame(frame, length) => Found::Frame(BleFrame::A5(frame), length),
        Found::Bad(reason, length) => Found::Bad(reason, length),
        Found::Noise(bytes) => Found::Noise(bytes),
        Found::Incomplete => Found::Incomplete,
    }
}

fn find_registers(bytes: &[u8]) -> Found<BleFrame> {
    let length = match *bytes {
        [_, REFUSED_READ | REFUSED_WRITE, ..] => REFUSAL_BYTES,
        [_, WRITE, ..] => REQUEST_BYTES,
        [unit, READ, third, ..] if asks_for_registers(unit, third) => REQUEST_BYTES,
        [_, READ, 0, ..] => return Found::Bad(BadFrameReason::Length, 3),
        [_, READ, length, ..] if length % 2 != 0 || length > MOST_ANSWER_BYTES => {
            return Found::Bad(BadFrameReason::Length, 3);
        }
        [_, READ, length, ..] => ANSWER_OVERHEAD + usize::from(length),
        [_] | [_, READ] => return Found::Incomplete,
        _ => return Found::Noise(1),
    };
    let Some((body, crc)) = bytes.get(..length).and_then(|frame| frame.split_last_chunk::<2>()) else {
        return Found::Incomplete;
    };
    if crc16_modbus(body).to_le_bytes() != *crc {
        return Found::Bad(BadFrameReason::Checksum, length);
    }
    match RegisterFrame::parse(body) {
        Some(frame) => Found::Frame(BleFrame::Register(frame), length),
        None => Found::Bad(BadFrameReason::Shape, length),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::bms::framing::laws;

    fn frame() -> impl Strategy<Value = BleFrame> {
        let unit = || prop_oneof![Just(UNIT_D2), Just(UNIT_P81_ANSWER)];
        let registers =
            prop_oneof![
                (0u16..0x100, any::<u16>()).prop_map(|(first, count)| RegisterFrame::Read {
                    unit: UNIT_D2,
                    first,
                    count
                }),
                (any::<u16>(), any::<u16>()).prop_map(|(first, count)| RegisterFrame::Read {
                    unit: UNIT_P81_ASKED,
                    first,
                    count
                }),
                (unit(), vec(any::<u16>(), 1..=125))
                    .prop_map(|(unit, values)| RegisterFrame::Registers { unit, values }),
                (unit(), any::<u16>(), any::<u16>())
                    .prop_map(|(unit, register, value)| RegisterFrame::Write { unit, register, value }),
                (unit(), prop_oneof![Just(READ), Just(WRITE)], any::<u8>())
                    .prop_map(|(unit, function, code)| RegisterFrame::Refused { unit, function, code }),
            ];
        let a5 = (any::<u8>(), any::<u8>(), any::<[u8; 8]>())
            .prop_map(|(address, command, data)| BleFrame::A5(Frame { address, command, data }));
        prop_oneof![4 => registers.prop_map(BleFrame::Register), 1 => a5]
    }

    /// Noise that begins frames often and, with sixteen bits of checksum or eight bits and a length, ends none.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![Just(UNIT_D2), Just(UNIT_P81_ANSWER), Just(START), Just(READ), 9u8..], 0..30)
    }

    #[test]
    fn questions_have_the_bytes_that_other_clients_send() {
        let d2 = RegisterFrame::Read { unit: UNIT_D2, first: 0, count: 62 };
        assert_eq!(hex::encode(d2.to_bytes()), "d2030000003ed7b9");
        let p81 = RegisterFrame::Read { unit: UNIT_P81_ASKED, first: 0x178, count: 74 };
        assert_eq!(hex::encode(p81.to_bytes()), "81030178004a5a18");
        let write = RegisterFrame::Write { unit: UNIT_D2, register: 0xA5, value: 1 };
        assert_eq!(hex::encode(write.to_bytes()), "d20600a500014b8a");
    }

    proptest! {
        #[test]
        fn a_frame_survives_its_bytes(frame in frame()) {
            let bytes = frame.to_bytes();
            prop_assert_eq!(BleFraming.find(&bytes), Found::Frame(frame, bytes.len()));
        }

        #[test]
        fn any_bytes_decode_alike_whole_and_split(bytes: Vec<u8>, cuts: Vec<Index>) {
            laws::splits_make_no_difference(BleFraming, &bytes, &cuts, |frame| frame.to_bytes().len())?;
        }

        #[test]
        fn any_stream_decodes_alike_whole_and_split(parts in vec(prop_oneof![noise(), frame().prop_map(|f| f.to_bytes())], 0..6), cuts: Vec<Index>) {
            laws::splits_make_no_difference(BleFraming, &parts.concat(), &cuts, |frame| frame.to_bytes().len())?;
        }

        #[test]
        fn every_frame_among_noise_is_found(frames in vec(frame(), 1..5), noise in vec(noise(), 0..5)) {
            let frames: Vec<_> = frames.into_iter().map(|frame| (frame.to_bytes(), frame)).collect();
            laws::every_frame_is_found(BleFraming, &frames, &noise)?;
        }
    }
}
