//! Frames: `DD`, three bytes, data, a checksum over all but the first two or one of them, `77`.
//!
//! A request and an answer look alike and are summed differently, so that whoever listens must know which way a frame
//! goes. Newer boards over Bluetooth want a secret before anything else; its frames begin with `FF AA`.

use crate::bms::framing::{BadFrameReason, Found, Framing, noise_before};
use crate::checksum::{sum8, sum16};

const START: u8 = 0xDD;
const END: u8 = 0x77;
const READ: u8 = 0xA5;
const WRITE: u8 = 0x5A;
/// Start, two bytes, length.
const HEADER_BYTES: usize = 4;
/// Checksum and end.
const TRAILER_BYTES: usize = 3;
const SECRET_START: [u8; 2] = [0xFF, 0xAA];
const SECRET_COMMAND: u8 = 0x15;
/// The board's "come in".
pub const SECRET_ACCEPTED: SecretAnswer = SecretAnswer { accepted: true };

/// From a host to the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Writes the register, else reads it.
    pub write: bool,
    /// Which register.
    pub register: u8,
    /// What to write.
    pub data: Vec<u8>,
}

/// From the board to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which register.
    pub register: u8,
    /// 0 when it went well.
    pub status: u8,
    /// What stands in it.
    pub data: Vec<u8>,
}

/// What the board says to a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretAnswer {
    /// The secret was right.
    pub accepted: bool,
}

fn checksum(summed: &[u8]) -> [u8; 2] {
    0u16.wrapping_sub(sum16(summed)).to_be_bytes()
}

fn wrap(head: [u8; 2], data: &[u8], summed_from: usize) -> Vec<u8> {
    let length = u8::try_from(data.len()).unwrap_or(u8::MAX);
    let data = &data[..data.len().min(usize::from(u8::MAX))];
    let mut bytes = vec![START, head[0], head[1], length];
    bytes.extend_from_slice(data);
    let sum = checksum(&bytes[summed_from..]);
    bytes.extend_from_slice(&sum);
    bytes.push(END);
    bytes
}

impl Request {
    /// Puts the request into bytes; data past 255 bytes does not fit and is left out.
    pub fn to_bytes(&self) -> Vec<u8> {
        wrap([if self.write { WRITE } else { READ }, self.register], &self.data, 2)
    }
}

impl Answer {
    /// Puts the answer into bytes; data past 255 bytes does not fit and is left out.
    pub fn to_bytes(&self) -> Vec<u8> {
        wrap([self.register, self.status], &self.data, 2)
    }
}

/// Builds the frame that hands over a secret of six digits.
pub fn secret_request(secret: &[u8; 6]) -> Vec<u8> {
    let mut bytes = SECRET_START.to_vec();
    bytes.extend([SECRET_COMMAND, 6]);
    bytes.extend(secret);
    bytes.push(sum8(&bytes[2..]));
    bytes
}

impl SecretAnswer {
    /// Puts the answer into bytes.
    pub fn to_bytes(self) -> [u8; 6] {
        let refused = u8::from(!self.accepted);
        [SECRET_START[0], SECRET_START[1], SECRET_COMMAND, 1, refused, SECRET_COMMAND + 1 + refused]
    }
}

/// Finds a whole frame in either direction; `head` says whether the bytes behind the start suit it.
fn find(bytes: &[u8], head: impl Fn(u8, u8) -> bool) -> Found<&[u8]> {
    if let Some(noise) = noise_before(bytes, |byte| byte == START) {
        return noise;
    }
    let &[_, first, second, length, ..] = bytes else { return Found::Incomplete };
    if !head(first, second) {
        return Found::Bad(BadFrameReason::Shape, HEADER_BYTES);
    }
    let total = HEADER_BYTES + usize::from(length) + TRAILER_BYTES;
    let Some(frame) = bytes.get(..total) else { return Found::Incomplete };
    let Some((body, &[c0, c1, end])) = frame.split_last_chunk::<TRAILER_BYTES>() else {
        return Found::Incomplete;
    };
    if end != END {
        return Found::Bad(BadFrameReason::Shape, total);
    }
    if checksum(&body[2..]) != [c0, c1] {
        return Found::Bad(BadFrameReason::Checksum, total);
    }
    Found::Frame(body, total)
}

fn map<A, B>(found: Found<A>, into: impl FnOnce(A) -> B) -> Found<B> {
    match found {
        Found::Noise(bytes) => Found::Noise(bytes),
        Found::Incomplete => Found::Incomplete,
        Found::Bad(reason, bytes) => Found::Bad(reason, bytes),
        Found::Frame(frame, bytes) => Found::Frame(into(frame), bytes),
    }
}

/// The shape of requests, for simulated boards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestFraming;

impl Framing for RequestFraming {
    type Frame = Request;

    fn find(&self, bytes: &[u8]) -> Found<Request> {
        map(find(bytes, |direction, _| matches!(direction, READ | WRITE)), |body| Request {
            write: body[1] == WRITE,
            register: body[2],
            data: body[HEADER_BYTES..].to_vec(),
        })
    }
}

/// The shape of answers. No register that is read has the number of a request's direction, so a request that a
/// half-duplex adapter hands back is not taken for an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AnswerFraming;

impl Framing for AnswerFraming {
    type Frame = Answer;

    fn find(&self, bytes: &[u8]) -> Found<Answer> {
        map(find(bytes, |register, _| !matches!(register, READ | WRITE)), |body| Answer {
            register: body[1],
            status: body[2],
            data: body[HEADER_BYTES..].to_vec(),
        })
    }
}

/// Reads a frame of the secret's conversation: a request gives `None` for the answer.
pub(super) fn parse_secret(bytes: &[u8]) -> Option<Option<SecretAnswer>> {
    let (body, sum) = bytes.strip_prefix(&SECRET_START)?.split_last().map(|(sum, body)| (body, *sum))?;
    match *body {
        [SECRET_COMMAND, 6, _, _, _, _, _, _] if sum8(body) == sum => Some(None),
        [SECRET_COMMAND, 1, refused] if sum8(body) == sum => {
            Some(Some(SecretAnswer { accepted: refused == 0 }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::bms::framing::laws;

    fn data() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..=255)
    }

    fn answer() -> impl Strategy<Value = Answer> {
        let register = any::<u8>().prop_filter("no direction", |r| !matches!(*r, READ | WRITE));
        (register, any::<u8>(), data()).prop_map(|(register, status, data)| Answer { register, status, data })
    }

    fn request() -> impl Strategy<Value = Request> {
        (any::<bool>(), any::<u8>(), data()).prop_map(|(write, register, data)| Request {
            write,
            register,
            data,
        })
    }

    /// Zeros are rare: an empty answer is little else, and one that noise spells out is found with good reason.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(START), Just(END), Just(0x1D), any::<u8>()];
        let random = proptest::collection::vec(byte, 0..30);
        let cut = (answer(), any::<Index>()).prop_map(|(answer, at)| {
            let bytes = answer.to_bytes();
            bytes[..at.index(bytes.len() - 3)].to_vec()
        });
        prop_oneof![random, cut]
    }

    fn length(answer: &Answer) -> usize {
        answer.data.len() + 7
    }

    #[test]
    fn a_wrong_end_and_a_wrong_sum_are_told_apart() {
        let good = Answer { register: 4, status: 0, data: vec![0x0F, 0x45] }.to_bytes();
        let mut end = good.clone();
        end[8] = 0;
        assert_eq!(AnswerFraming.find(&end), Found::Bad(BadFrameReason::Shape, 9));
        let mut sum = good;
        sum[5] ^= 4;
        assert_eq!(AnswerFraming.find(&sum), Found::Bad(BadFrameReason::Checksum, 9));
    }

    #[test]
    fn a_secret_is_recognized_and_its_answer_read() {
        let request = secret_request(b"000000");
        assert_eq!(hex::encode(&request), "ffaa15063030303030303b");
        assert_eq!(parse_secret(&request), Some(None));
        assert_eq!(hex::encode(SECRET_ACCEPTED.to_bytes()), "ffaa15010016");
        let refused = SecretAnswer { accepted: false };
        assert_eq!(hex::encode(refused.to_bytes()), "ffaa15010117");
        assert_eq!(parse_secret(&refused.to_bytes()), Some(Some(refused)));
        assert_eq!(parse_secret(&[0xFF, 0xAA, 0x15, 0x01, 0x00, 0x17]), None);
    }

    proptest! {
        #[test]
        fn frames_survive_their_bytes(answer in answer(), request in request()) {
            let bytes = answer.to_bytes();
            prop_assert_eq!(AnswerFraming.find(&bytes), Found::Frame(answer, bytes.len()));
            let bytes = request.to_bytes();
            prop_assert_eq!(RequestFraming.find(&bytes), Found::Frame(request, bytes.len()));
        }

        #[test]
        fn any_stream_decodes_alike_whole_and_split(parts in proptest::collection::vec(prop_oneof![noise(), answer().prop_map(|a| a.to_bytes())], 0..6), cuts: Vec<Index>) {
            laws::splits_make_no_difference(AnswerFraming, &parts.concat(), &cuts, length)?;
        }

        #[test]
        fn every_answer_among_noise_is_found(answers in proptest::collection::vec(answer(), 1..5), noise in proptest::collection::vec(noise(), 0..5)) {
            let answers: Vec<_> = answers.into_iter().map(|answer| (answer.to_bytes(), answer)).collect();
            laws::every_frame_is_found(AnswerFraming, &answers, &noise)?;
        }
    }
}
