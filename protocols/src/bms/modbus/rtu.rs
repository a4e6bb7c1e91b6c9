//! RTU frames: unit, function, data, and a CRC with its low byte first. There is no start byte, so a candidate begins at
//! every byte that is the unit that was asked, followed by its function.

use serde_json::{Value, json};

use super::{ReadRegisters, RegistersAnswer, Table, answer_of};
use crate::bms::framing::{BadFrameReason, Found, Framing, noise_before};
use crate::checksum::crc16_modbus;

impl ReadRegisters {
    /// Puts the question into an RTU frame.
    pub fn to_rtu(self) -> Vec<u8> {
        sealed([&[self.unit][..], &self.pdu()].concat())
    }

    /// Puts an answer to this question into an RTU frame, for simulated devices.
    pub fn answer_rtu(self, answer: &RegistersAnswer) -> Vec<u8> {
        sealed([&[self.unit][..], &self.answer_pdu(answer)].concat())
    }

    pub(super) fn answer_pdu(self, answer: &RegistersAnswer) -> Vec<u8> {
        match answer {
            RegistersAnswer::Registers(registers) => {
                let mut pdu =
                    vec![self.table.function(), u8::try_from(registers.len() * 2).unwrap_or(u8::MAX)];
                pdu.extend(registers.iter().flat_map(|register| register.to_be_bytes()));
                pdu
            }
            RegistersAnswer::Exception(code) => vec![self.table.function() | 0x80, *code],
        }
    }
}

pub(super) fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc16_modbus(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

/// Checks a candidate whose length is known.
fn checked(bytes: &[u8], length: usize) -> Found<&[u8]> {
    let Some(frame) = bytes.get(..length) else { return Found::Incomplete };
    match frame.split_last_chunk::<2>() {
        Some((body, crc)) if crc16_modbus(body).to_le_bytes() == *crc => Found::Frame(body, length),
        _ => Found::Bad(BadFrameReason::Checksum, length),
    }
}

/// The shape of answers to one question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RtuAnswers {
    /// What was asked last; without it there is no answer.
    pub asked: Option<ReadRegisters>,
}

impl Framing for RtuAnswers {
    type Frame = RegistersAnswer;

    fn find(&self, bytes: &[u8]) -> Found<RegistersAnswer> {
        let Some(asked) = self.asked else { return Found::Noise(bytes.len()) };
        if let Some(noise) = noise_before(bytes, |byte| byte == asked.unit) {
            return noise;
        }
        let &[_, function, third, ..] = bytes else {
            return match bytes {
                [_, function] if function & 0x7F != asked.table.function() => Found::Noise(1),
                _ => Found::Incomplete,
            };
        };
        let length = if function == asked.table.function() && usize::from(third) == asked.answer_bytes() {
            5 + asked.answer_bytes()
        } else if function == asked.table.function() | 0x80 {
            5
        } else {
            // The address of a device is a common byte and alone no candidate.
            return Found::Noise(1);
        };
        match checked(bytes, length) {
            Found::Frame(body, length) => match answer_of(function, asked, &body[2..]) {
                Some(answer) => Found::Frame(answer, length),
                None => Found::Bad(BadFrameReason::Shape, length),
            },
            Found::Bad(reason, bytes) => Found::Bad(reason, bytes),
            Found::Noise(bytes) => Found::Noise(bytes),
            Found::Incomplete => Found::Incomplete,
        }
    }
}

/// The shape of questions to one device, for simulated devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtuRequests {
    /// The device.
    pub unit: u8,
}

impl Framing for RtuRequests {
    type Frame = ReadRegisters;

    fn find(&self, bytes: &[u8]) -> Found<ReadRegisters> {
        if let Some(noise) = noise_before(bytes, |byte| byte == self.unit) {
            return noise;
        }
        let Some(function) = bytes.get(1) else { return Found::Incomplete };
        let Some(table) = table_of(*function) else { return Found::Noise(1) };
        match checked(bytes, 8) {
            Found::Frame(&[unit, _, f0, f1, c0, c1], length) => {
                let (first, count) = (u16::from_be_bytes([f0, f1]), u16::from_be_bytes([c0, c1]));
                Found::Frame(ReadRegisters { unit, table, first, count }, length)
            }
            Found::Frame(_, length) => Found::Bad(BadFrameReason::Shape, length),
            Found::Bad(reason, bytes) => Found::Bad(reason, bytes),
            Found::Noise(bytes) => Found::Noise(bytes),
            Found::Incomplete => Found::Incomplete,
        }
    }
}

const fn table_of(function: u8) -> Option<Table> {
    match function {
        3 => Some(Table::Holding),
        4 => Some(Table::Input),
        _ => None,
    }
}

/// Reads exactly one question.
pub fn parse_request(bytes: &[u8]) -> Option<ReadRegisters> {
    let unit = *bytes.first()?;
    match (RtuRequests { unit }.find(bytes), bytes.len()) {
        (Found::Frame(request, 8), 8) => Some(request),
        _ => None,
    }
}

/// Shows any single RTU frame by its parts; `None` where the CRC does not match.
pub fn show_rtu(bytes: &[u8]) -> Option<Value> {
    let (body, crc) = bytes.split_last_chunk::<2>()?;
    // No function comes without data, and two bytes of ones have a CRC of zeros.
    let &[unit, function, ref data @ ..] = body else { return None };
    if data.is_empty() || crc16_modbus(body).to_le_bytes() != *crc {
        return None;
    }
    let exception = (function & 0x80 != 0).then(|| data.first()).flatten();
    Some(json!({
        "unit": unit,
        "function": function & 0x7F,
        "crc": hex::encode(crc16_modbus(body).to_be_bytes()),
        "exception": exception,
        "data_hex": hex::encode(data),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::bms::framing::laws;

    fn asked(count: u16) -> ReadRegisters {
        ReadRegisters { unit: 1, table: Table::Holding, first: 40_000, count }
    }

    fn answer(count: u16) -> impl Strategy<Value = RegistersAnswer> {
        let registers = proptest::collection::vec(any::<u16>(), usize::from(count));
        prop_oneof![
            4 => registers.prop_map(RegistersAnswer::Registers),
            1 => any::<u8>().prop_map(RegistersAnswer::Exception),
        ]
    }

    fn length(answer: &RegistersAnswer) -> usize {
        match answer {
            RegistersAnswer::Registers(registers) => 5 + 2 * registers.len(),
            RegistersAnswer::Exception(_) => 5,
        }
    }

    /// Few bytes that begin an answer: sixteen bits of checksum let one in 65536 of what noise begins pass.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(1u8), Just(3), any::<u8>()], 0..30)
    }

    #[test]
    fn questions_have_the_bytes_that_other_clients_send() {
        let two = ReadRegisters { unit: 1, table: Table::Holding, first: 0, count: 2 };
        assert_eq!(hex::encode(two.to_rtu()), "010300000002c40b");
        let daly = ReadRegisters { unit: 0xD2, table: Table::Holding, first: 0, count: 0x3E };
        assert_eq!(hex::encode(daly.to_rtu()), "d2030000003ed7b9");
        assert_eq!(parse_request(&two.to_rtu()), Some(two));
    }

    #[test]
    fn an_answer_to_another_question_is_none_of_ours() {
        let bytes = asked(3).answer_rtu(&RegistersAnswer::Registers(vec![1, 2, 3]));
        assert_eq!(RtuAnswers { asked: Some(asked(2)) }.find(&bytes), Found::Noise(1));
        assert_eq!(RtuAnswers { asked: None }.find(&bytes), Found::Noise(11));
    }

    proptest! {
        #[test]
        fn an_answer_survives_its_bytes(answer in answer(10)) {
            let bytes = asked(10).answer_rtu(&answer);
            prop_assert_eq!(RtuAnswers { asked: Some(asked(10)) }.find(&bytes), Found::Frame(answer, bytes.len()));
        }

        #[test]
        fn any_stream_decodes_alike_whole_and_split(parts in proptest::collection::vec(prop_oneof![noise(), answer(10).prop_map(|a| asked(10).answer_rtu(&a))], 0..6), cuts: Vec<Index>) {
            laws::splits_make_no_difference(RtuAnswers { asked: Some(asked(10)) }, &parts.concat(), &cuts, length)?;
        }

        #[test]
        fn every_answer_among_noise_is_found(answers in proptest::collection::vec(answer(10), 1..5), noise in proptest::collection::vec(noise(), 0..5)) {
            let answers: Vec<_> = answers.into_iter().map(|a| (asked(10).answer_rtu(&a), a)).collect();
            laws::every_frame_is_found(RtuAnswers { asked: Some(asked(10)) }, &answers, &noise)?;
        }

        #[test]
        fn any_bytes_are_shown_or_not(bytes: Vec<u8>) {
            prop_assert!(show_rtu(&bytes).is_none_or(|view| view.is_object()));
        }
    }
}
