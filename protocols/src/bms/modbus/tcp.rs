//! TCP frames: a transaction number, a protocol number that is 0, a length, and then as RTU without its CRC.

use super::{ReadRegisters, RegistersAnswer, answer_of};
use crate::bms::framing::{BadFrameReason, Found, Framing};

/// Bytes before the function.
pub(super) const HEADER_BYTES: usize = 7;
/// The longest answer that the protocol allows.
pub(super) const MAX_LENGTH: usize = 254;

impl ReadRegisters {
    /// Puts the question into a TCP frame.
    pub fn to_tcp(self, transaction: u16) -> Vec<u8> {
        framed(transaction, self.unit, &self.pdu())
    }

    /// Puts an answer to this question into a TCP frame, for simulated devices.
    pub fn answer_tcp(self, transaction: u16, answer: &RegistersAnswer) -> Vec<u8> {
        framed(transaction, self.unit, &self.answer_pdu(answer))
    }
}

pub(super) fn framed(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(pdu.len() + 1).unwrap_or(u16::MAX);
    let mut bytes = transaction.to_be_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend(length.to_be_bytes());
    bytes.push(unit);
    bytes.extend(pdu);
    bytes
}

/// The shape of answers to one question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpAnswers {
    /// What was asked last and under which number; without it there is no answer.
    pub asked: Option<(u16, ReadRegisters)>,
}

impl Framing for TcpAnswers {
    type Frame = RegistersAnswer;

    fn find(&self, bytes: &[u8]) -> Found<RegistersAnswer> {
        let Some((transaction, asked)) = self.asked else { return Found::Noise(bytes.len()) };
        let [t0, t1] = transaction.to_be_bytes();
        let expected = [t0, t1, 0, 0];
        let seen = bytes.len().min(4);
        if bytes[..seen] != expected[..seen] {
            return Found::Noise(1);
        }
        let &[_, _, _, _, l0, l1, unit, function, third, ..] = bytes else { return Found::Incomplete };
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if !(3..=MAX_LENGTH).contains(&length) {
            return Found::Bad(BadFrameReason::Length, HEADER_BYTES);
        }
        let Some(frame) = bytes.get(..HEADER_BYTES - 1 + length) else { return Found::Incomplete };
        let ours = function == asked.table.function() && usize::from(third) == asked.answer_bytes();
        let fits = ours && length == 3 + asked.answer_bytes();
        let exception = function == asked.table.function() | 0x80;
        if unit != asked.unit || !(fits || exception) {
            return Found::Bad(BadFrameReason::Shape, frame.len());
        }
        match answer_of(function, asked, &frame[HEADER_BYTES + 1..]) {
            Some(answer) => Found::Frame(answer, frame.len()),
            None => Found::Bad(BadFrameReason::Shape, frame.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bms::modbus::Table;

    const ASKED: ReadRegisters = ReadRegisters { unit: 1, table: Table::Holding, first: 0, count: 2 };

    #[test]
    fn an_answer_under_another_number_is_none_of_ours() {
        let answer = RegistersAnswer::Registers(vec![0x5375, 0x6E53]);
        let bytes = ASKED.answer_tcp(7, &answer);
        assert_eq!(hex::encode(&bytes), "000700000007010304".to_owned() + "53756e53");
        assert_eq!(TcpAnswers { asked: Some((7, ASKED)) }.find(&bytes), Found::Frame(answer, 13));
        assert_eq!(TcpAnswers { asked: Some((8, ASKED)) }.find(&bytes), Found::Noise(1));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(3), any::<u8>()], 1..40)) {
            let found = TcpAnswers { asked: Some((0, ASKED)) }.find(&bytes);
            prop_assert!(!matches!(found, Found::Noise(0)));
        }
    }
}
