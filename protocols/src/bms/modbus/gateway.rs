//! From RTU to TCP and back, so that a conversation over a serial line can be led over a Modbus server as it is.
//!
//! A question loses its CRC and gets a transaction number; an answer under that number becomes the RTU frame that a line
//! would have brought. Answers to older questions are dropped here: a line has no such numbers to tell them by.

use super::rtu::sealed;
use super::tcp::{HEADER_BYTES, MAX_LENGTH, framed};
use crate::bms::framing::{Found, Framing};

/// The other end speaks something else; only a new connection can be trusted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what came is no Modbus TCP")]
pub struct NotModbus;

/// Translates one connection.
#[derive(Debug, Clone, Default)]
pub struct TcpTranslator {
    transaction: u16,
    buffer: Vec<u8>,
}

impl TcpTranslator {
    /// Puts an RTU question into a TCP frame under the next number; `None` if it is too short to be one.
    pub fn question(&mut self, rtu: &[u8]) -> Option<Vec<u8>> {
        let transaction = self.transaction.wrapping_add(1);
        let frame = tcp_frame(transaction, rtu)?;
        self.transaction = transaction;
        Some(frame)
    }

    /// Takes what came and gives the RTU frames of it that answer the last question.
    pub fn answers(&mut self, bytes: &[u8]) -> Result<Vec<u8>, NotModbus> {
        self.buffer.extend_from_slice(bytes);
        let mut rtu = Vec::new();
        while let Some(&[t0, t1, p0, p1, l0, l1]) = self.buffer.first_chunk() {
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            if [p0, p1] != [0, 0] || !(2..=MAX_LENGTH).contains(&length) {
                return Err(NotModbus);
            }
            let end = HEADER_BYTES - 1 + length;
            let Some(frame) = self.buffer.get(HEADER_BYTES - 1..end) else { break };
            if u16::from_be_bytes([t0, t1]) == self.transaction {
                rtu.extend(sealed(frame.to_vec()));
            }
            self.buffer.drain(..end);
        }
        Ok(rtu)
    }
}

/// The shape of questions on the network, as RTU frames under their transaction numbers, for simulated devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpQuestions;

impl Framing for TcpQuestions {
    type Frame = (u16, Vec<u8>);

    fn find(&self, bytes: &[u8]) -> Found<(u16, Vec<u8>)> {
        let Some(&[t0, t1, p0, p1, l0, l1]) = bytes.first_chunk() else { return Found::Incomplete };
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if [p0, p1] != [0, 0] || !(2..=MAX_LENGTH).contains(&length) {
            return Found::Noise(1);
        }
        let end = HEADER_BYTES - 1 + length;
        match bytes.get(HEADER_BYTES - 1..end) {
            Some(frame) => Found::Frame((u16::from_be_bytes([t0, t1]), sealed(frame.to_vec())), end),
            None => Found::Incomplete,
        }
    }
}

/// Puts an RTU frame into a TCP frame; `None` if it is too short to be one.
pub fn tcp_frame(transaction: u16, rtu: &[u8]) -> Option<Vec<u8>> {
    let (body, _crc) = rtu.split_last_chunk::<2>()?;
    let (unit, pdu) = body.split_first()?;
    Some(framed(transaction, *unit, pdu))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bms::modbus::{ReadRegisters, RegistersAnswer, Table};

    const ASKED: ReadRegisters = ReadRegisters { unit: 9, table: Table::Holding, first: 40_000, count: 2 };

    #[test]
    fn a_question_and_its_answer_are_what_a_server_and_a_line_expect() {
        let mut translator = TcpTranslator::default();
        assert_eq!(translator.question(&ASKED.to_rtu()), Some(ASKED.to_tcp(1)));
        let answer = RegistersAnswer::Registers(vec![0x5375, 0x6E53]);
        assert_eq!(translator.answers(&ASKED.answer_tcp(1, &answer)), Ok(ASKED.answer_rtu(&answer)));
        assert_eq!(translator.question(&[1, 2]), None);
    }

    #[test]
    fn a_late_answer_to_an_older_question_is_dropped() {
        let mut translator = TcpTranslator::default();
        translator.question(&ASKED.to_rtu()).unwrap();
        translator.question(&ASKED.to_rtu()).unwrap();
        let answer = RegistersAnswer::Exception(6);
        let both = [ASKED.answer_tcp(1, &answer), ASKED.answer_tcp(2, &answer)].concat();
        assert_eq!(translator.answers(&both), Ok(ASKED.answer_rtu(&answer)));
    }

    #[test]
    fn another_protocol_is_told() {
        assert_eq!(TcpTranslator::default().answers(b"HTTP/1.1 400 Bad Request"), Err(NotModbus));
    }

    proptest! {
        #[test]
        fn answers_survive_any_split(values in proptest::collection::vec(any::<u16>(), 1..60), cut: prop::sample::Index) {
            let asked = ReadRegisters { count: u16::try_from(values.len()).unwrap(), ..ASKED };
            let answer = RegistersAnswer::Registers(values);
            let bytes = asked.answer_tcp(1, &answer);
            let mut translator = TcpTranslator::default();
            translator.question(&asked.to_rtu()).unwrap();
            let (head, tail) = bytes.split_at(cut.index(bytes.len()));
            let mut rtu = translator.answers(head).unwrap();
            rtu.extend(translator.answers(tail).unwrap());
            prop_assert_eq!(rtu, asked.answer_rtu(&answer));
        }

        #[test]
        fn any_bytes_are_survived(pieces: Vec<Vec<u8>>) {
            let mut translator = TcpTranslator::default();
            for piece in pieces {
                if translator.answers(&piece).is_err() {
                    break;
                }
            }
        }
    }
}
