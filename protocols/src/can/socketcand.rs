//! socketcand: frames of a CAN bus as messages in angle brackets, over a TCP connection to a machine with an interface.
//!
//! `< frame 123 23.424242 11 22 >` brings a frame, `< send 123 2 11 22 >` sends one; three digits of id are a short one,
//! eight a long one. Which bus it is and the mode are settled once, after the greeting.

use super::frame::{CanFrame, CanId};
use crate::bms::framing::{BadFrameReason, Found, Framing, noise_before};

/// Longer than any message: nine words of a frame, or an error's text.
const MAX_MESSAGE_BYTES: usize = 256;

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerSays {
    /// It is there.
    Hi,
    /// It did what it was asked.
    Ok,
    /// It did not, and why.
    Error(String),
    /// A frame of the bus.
    Frame(CanFrame),
    /// Anything else.
    Other,
}

/// Asks for a bus.
pub fn open(bus: &str) -> String {
    format!("< open {bus} >")
}

/// Asks for every frame as it is.
pub const RAW_MODE: &str = "< rawmode >";

/// Asks for a frame to be sent.
pub fn send(frame: &CanFrame) -> String {
    format!("< send {} {}{} >", id_text(frame), frame.data().len(), data_text(frame))
}

/// A frame as a server passes it on, for simulated servers.
pub fn frame_message(frame: &CanFrame, seconds: f64) -> String {
    format!("< frame {} {seconds:.6}{} >", id_text(frame), data_text(frame))
}

/// Reads a frame that is asked to be sent, for simulated servers.
pub fn parse_send(message: &str) -> Option<CanFrame> {
    let mut words = message.split_whitespace();
    let ("send", id, length) = (words.next()?, words.next()?, words.next()?) else { return None };
    let frame = frame_of(id, words)?;
    (length.parse() == Ok(frame.data().len())).then_some(frame)
}

fn id_text(frame: &CanFrame) -> String {
    match frame.id() {
        CanId::Standard(id) => format!("{id:03X}"),
        CanId::Extended(id) => format!("{id:08X}"),
    }
}

fn data_text(frame: &CanFrame) -> String {
    frame.data().iter().map(|byte| format!(" {byte:02X}")).collect()
}

/// Bytes stand apart in the protocol's description and together in some of its servers.
fn frame_of<'a>(id: &str, data: impl Iterator<Item = &'a str>) -> Option<CanFrame> {
    let number = u32::from_str_radix(id, 16).ok()?;
    let id = CanId::new(number, id.len() == 8)?;
    let data = hex::decode(data.collect::<String>()).ok()?;
    CanFrame::new(id, &data)
}

/// What a message of the server means.
pub fn parse_message(message: &str) -> ServerSays {
    let mut words = message.split_whitespace();
    match words.next() {
        Some("hi") => ServerSays::Hi,
        Some("ok") => ServerSays::Ok,
        Some("error") => ServerSays::Error(words.collect::<Vec<_>>().join(" ")),
        Some("frame") => {
            let id = words.next();
            let time = words.next();
            id.filter(|_| time.is_some())
                .and_then(|id| frame_of(id, words))
                .map_or(ServerSays::Other, ServerSays::Frame)
        }
        _ => ServerSays::Other,
    }
}

/// The shape of messages, both ways: what stands between the brackets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bracketed;

impl Framing for Bracketed {
    type Frame = String;

    fn find(&self, bytes: &[u8]) -> Found<String> {
        if let Some(noise) = noise_before(bytes, |byte| byte == b'<') {
            return noise;
        }
        let window = &bytes[..bytes.len().min(MAX_MESSAGE_BYTES)];
        let Some(at) = window.iter().skip(1).position(|byte| matches!(byte, b'<' | b'>')) else {
            return if window.len() == MAX_MESSAGE_BYTES {
                Found::Bad(BadFrameReason::Length, MAX_MESSAGE_BYTES)
            } else {
                Found::Incomplete
            };
        };
        if bytes[at + 1] == b'<' {
            return Found::Bad(BadFrameReason::Incomplete, at + 2);
        }
        match std::str::from_utf8(&bytes[1..=at]) {
            Ok(message) => Found::Frame(message.trim().to_owned(), at + 2),
            Err(_) => Found::Bad(BadFrameReason::Shape, at + 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::bms::framing::StreamDecoder;

    fn messages(bytes: &[u8]) -> Vec<String> {
        let mut decoder = StreamDecoder::new(Bracketed);
        decoder.push(bytes);
        std::iter::from_fn(|| decoder.next_frame()).collect()
    }

    #[test]
    fn what_servers_say_is_understood() {
        let said: Vec<_> = messages(b"< hi >< ok >< error could not open bus >< frame 123 23.424242 11 22 >< frame 18904001 1.0 0212 >< echo >")
            .iter()
            .map(|message| parse_message(message))
            .collect();
        let frame = |id, data: &[u8]| ServerSays::Frame(CanFrame::new(id, data).unwrap());
        let expected = [
            ServerSays::Hi,
            ServerSays::Ok,
            ServerSays::Error("could not open bus".to_owned()),
            frame(CanId::Standard(0x123), &[0x11, 0x22]),
            frame(CanId::Extended(0x1890_4001), &[0x02, 0x12]),
            ServerSays::Other,
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn frames_are_sent_as_the_protocol_says() {
        let frame = CanFrame::new(CanId::Standard(0x123), &[0x11, 0xAB]).unwrap();
        assert_eq!(send(&frame), "< send 123 2 11 AB >");
        assert_eq!(parse_send("send 123 2 11 AB"), Some(frame));
        assert_eq!(parse_send("send 123 3 11 AB"), None);
    }

    proptest! {
        #[test]
        fn a_frame_survives_its_message(id: u32, extended: bool, data in vec(any::<u8>(), 0..=8)) {
            let id = CanId::new(id % (1 << if extended { 29 } else { 11 }), extended).unwrap();
            let frame = CanFrame::new(id, &data).unwrap();
            let message = messages(frame_message(&frame, 1.5).as_bytes()).remove(0);
            prop_assert_eq!(parse_message(&message), ServerSays::Frame(frame));
        }

        #[test]
        fn any_bytes_are_survived(bytes in vec(prop_oneof![Just(b'<'), Just(b'>'), Just(b' '), any::<u8>()], 0..400)) {
            for message in messages(&bytes) {
                prop_assert!(!matches!(parse_message(&message), ServerSays::Frame(frame) if frame.data().len() > 8));
            }
        }
    }
}
