//! Messages over Bluetooth LE: a stream of bytes in which a line feed ends a message and escapes stand for what must
//! not be in one.
//!
//! Messages are text or binary; what a packet says is not judged here.

use crate::bms::framing::{BadFrameReason, Found, Framing};

const END: u8 = 0x0A;
const SKIPPED: u8 = 0x0D;
const ESCAPE: u8 = 0xCE;
/// What stands behind an escape, and for what.
const ESCAPED: [(u8, u8); 3] = [(0xCA, END), (0xCD, SKIPPED), (0xCF, ESCAPE)];
/// Far more than the firmware's buffers hold.
const MAX_PACKET_BYTES: usize = 4096;

/// Puts a message into a packet, with a line feed in front, too, so that what was cut before it ends there.
pub fn to_packet(message: &[u8]) -> Vec<u8> {
    let mut packet = vec![END];
    for byte in message {
        match ESCAPED.iter().find(|(_, plain)| plain == byte) {
            Some((code, _)) => packet.extend([ESCAPE, *code]),
            None => packet.push(*byte),
        }
    }
    packet.push(END);
    packet
}

fn unescape(packet: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(packet.len());
    let mut bytes = packet.iter().filter(|byte| **byte != SKIPPED);
    while let Some(byte) = bytes.next() {
        match *byte {
            ESCAPE => {
                let code = bytes.next()?;
                message.push(ESCAPED.iter().find(|(known, _)| known == code)?.1);
            }
            plain => message.push(plain),
        }
    }
    Some(message)
}

/// The shape of packets; a frame is the message in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PacketFraming;

impl Framing for PacketFraming {
    type Frame = Vec<u8>;

    fn find(&self, bytes: &[u8]) -> Found<Vec<u8>> {
        let empty = bytes.iter().take_while(|byte| matches!(**byte, END | SKIPPED)).count();
        if empty > 0 {
            return Found::Noise(empty);
        }
        let window = &bytes[..bytes.len().min(MAX_PACKET_BYTES)];
        match window.iter().position(|byte| *byte == END) {
            Some(end) => match unescape(&bytes[..end]) {
                Some(message) => Found::Frame(message, end + 1),
                None => Found::Bad(BadFrameReason::Shape, end + 1),
            },
            None if window.len() == MAX_PACKET_BYTES => Found::Bad(BadFrameReason::Length, MAX_PACKET_BYTES),
            None => Found::Incomplete,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bms::framing::{Decoded, StreamDecoder};

    fn decode(pieces: &[&[u8]]) -> Vec<Decoded<Vec<u8>>> {
        let mut decoder = StreamDecoder::new(PacketFraming);
        let mut found = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            found.extend(std::iter::from_fn(|| decoder.next_decoded()));
        }
        found
    }

    #[test]
    fn escapes_are_undone_and_a_wrong_one_is_refused() {
        assert_eq!(
            to_packet(&[0x85, 0x0A, 0x0D, 0xCE]),
            [0x0A, 0x85, 0xCE, 0xCA, 0xCE, 0xCD, 0xCE, 0xCF, 0x0A]
        );
        assert_eq!(PacketFraming.find(&[0x85, 0xCE, 0x00, 0x0A]), Found::Bad(BadFrameReason::Shape, 4));
        assert_eq!(PacketFraming.find(&[0x85, 0xCE, 0x0A]), Found::Bad(BadFrameReason::Shape, 3));
        assert_eq!(PacketFraming.find(b"?Meas\r\n"), Found::Frame(b"?Meas".to_vec(), 7));
    }

    proptest! {
        #[test]
        fn messages_are_found_behind_any_noise(messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 1..4), noise: Vec<u8>) {
            let packets: Vec<u8> = messages.iter().flat_map(|message| to_packet(message)).collect();
            let found = decode(&[&noise, &packets]);
            let expected: Vec<_> = messages.into_iter().map(Decoded::Frame).collect();
            prop_assert!(found.ends_with(&expected), "{:?}", found);
        }

        #[test]
        fn splits_make_no_difference(bytes in proptest::collection::vec(prop_oneof![Just(END), Just(ESCAPE), any::<u8>()], 0..80), cut: proptest::sample::Index) {
            let cut = cut.index(bytes.len() + 1);
            let whole = decode(&[&bytes]);
            prop_assert_eq!(&decode(&[&bytes[..cut], &bytes[cut..]]), &whole);
            prop_assert_eq!(&decode(&bytes.chunks(1).collect::<Vec<_>>()), &whole);
        }
    }
}
