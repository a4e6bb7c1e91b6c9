//! ThingSet's text mode: one message a line, with a CRC-32 in front of the line end where the board was built with it.
//!
//! Boards print logs and a shell on the same line, so a line counts only if it begins like a message and is one to its
//! end. A CRC that is there must match; one that is missing is no fault.

use serde_json::Value;

use crate::bms::framing::{BadFrameReason, Found, Framing, noise_before};
use crate::checksum::crc32;

/// Three times what the firmware's buffers hold.
const MAX_LINE_BYTES: usize = 2048;
/// ` 77DB2B01#`
const CRC_BYTES: usize = 10;

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Changes values.
    Update,
    /// Calls a function.
    Execute,
    /// Adds to a list.
    Create,
    /// Takes from a list.
    Delete,
    /// Wishes for values without an answer.
    Desire,
}

impl Verb {
    const ALL: [Self; 6] = [Self::Get, Self::Update, Self::Execute, Self::Create, Self::Delete, Self::Desire];

    const fn letter(self) -> char {
        match self {
            Self::Get => '?',
            Self::Update => '=',
            Self::Execute => '!',
            Self::Create => '+',
            Self::Delete => '-',
            Self::Desire => '@',
        }
    }
}

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub enum TextBody {
    /// From a host.
    Request {
        /// What it wants.
        verb: Verb,
        /// Of what.
        path: String,
        /// With what.
        payload: Option<Value>,
    },
    /// From a board that was asked.
    Response {
        /// 0x80 and above; from 0xA0 on a refusal.
        status: u8,
        /// What came with it.
        payload: Option<Value>,
    },
    /// From a board that was not asked.
    Report {
        /// About what.
        path: String,
        /// What it says.
        payload: Value,
    },
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct TextFrame {
    /// What it says.
    pub body: TextBody,
    /// The message without its CRC, as it came.
    pub text: String,
    /// Its CRC, where it has one.
    pub crc: Option<u32>,
    wire_bytes: usize,
}

/// Puts a message into a line with a CRC.
pub fn to_line(message: &str) -> Vec<u8> {
    format!("{message} {:08X}#\r\n", crc32(message.as_bytes())).into_bytes()
}

impl TextBody {
    /// Writes the message as text, without a CRC.
    pub fn to_text(&self) -> String {
        let with = |head: String, payload: Option<&Value>| match payload {
            Some(payload) => format!("{head} {payload}"),
            None => head,
        };
        match self {
            Self::Request { verb, path, payload } => {
                with(format!("{}{path}", verb.letter()), payload.as_ref())
            }
            Self::Response { status, payload } => with(format!(":{status:02X}"), payload.as_ref()),
            Self::Report { path, payload } => with(format!("#{path}"), Some(payload)),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (head, payload) = match text.split_once(' ') {
            Some((head, payload)) => (head, Some(serde_json::from_str(payload).ok()?)),
            None => (text, None),
        };
        let (first, rest) = head.split_at_checked(1)?;
        match first {
            ":" => {
                // A gateway may name the node that answered.
                let code = rest.split_once('/').map_or(rest, |(code, _)| code);
                let hex = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_hexdigit());
                let status = u8::from_str_radix(code, 16).ok().filter(|status| hex && *status >= 0x80)?;
                Some(Self::Response { status, payload })
            }
            "#" => (is_path(rest) && !rest.is_empty())
                .then_some(Self::Report { path: rest.to_owned(), payload: payload? }),
            _ => {
                let verb = Verb::ALL.into_iter().find(|verb| first.starts_with(verb.letter()))?;
                is_path(rest).then(|| Self::Request { verb, path: rest.to_owned(), payload })
            }
        }
    }
}

fn is_path(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'/')
}

/// Parts a line from its CRC.
fn split_crc(line: &str) -> Result<(&str, Option<u32>), BadFrameReason> {
    let Some(marked) = line.strip_suffix('#') else { return Ok((line, None)) };
    let at = line.len().checked_sub(CRC_BYTES).ok_or(BadFrameReason::Shape)?;
    let (text, crc) = marked.split_at_checked(at).ok_or(BadFrameReason::Shape)?;
    let crc = crc.strip_prefix(' ').filter(|crc| crc.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let crc = crc.and_then(|crc| u32::from_str_radix(crc, 16).ok()).ok_or(BadFrameReason::Shape)?;
    if crc32(text.as_bytes()) != crc {
        return Err(BadFrameReason::Checksum);
    }
    Ok((text, Some(crc)))
}

fn parse(line: &str, wire_bytes: usize) -> Result<TextFrame, BadFrameReason> {
    let (text, crc) = split_crc(line)?;
    let body = TextBody::parse(text).ok_or(BadFrameReason::Shape)?;
    Ok(TextFrame { body, text: text.to_owned(), crc, wire_bytes })
}

/// Reads a message that is known to be whole, as a Bluetooth packet is.
pub(super) fn parse_whole(bytes: &[u8]) -> Result<TextFrame, BadFrameReason> {
    parse(std::str::from_utf8(bytes).map_err(|_| BadFrameReason::Shape)?, bytes.len())
}

/// The shape of lines, both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TextFraming;

/// Tells whether a message in text mode may begin so.
pub(super) fn begins_text(byte: u8) -> bool {
    b"?=!+-:@#".contains(&byte)
}

impl Framing for TextFraming {
    type Frame = TextFrame;

    fn find(&self, bytes: &[u8]) -> Found<TextFrame> {
        if let Some(noise) = noise_before(bytes, begins_text) {
            return noise;
        }
        let window = &bytes[..bytes.len().min(MAX_LINE_BYTES)];
        let Some(at) = window.iter().position(|byte| byte.is_ascii_control()) else {
            return if window.len() == MAX_LINE_BYTES {
                Found::Bad(BadFrameReason::Length, MAX_LINE_BYTES)
            } else {
                Found::Incomplete
            };
        };
        let end = match (bytes[at], bytes.get(at + 1)) {
            (b'\n', _) => at + 1,
            (b'\r', None) => return Found::Incomplete,
            (b'\r', Some(b'\n')) => at + 2,
            _ => return Found::Bad(BadFrameReason::Shape, at + 1),
        };
        let line = std::str::from_utf8(&bytes[..at]).map_err(|_| BadFrameReason::Shape);
        match line.and_then(|line| parse(line, end)) {
            Ok(frame) => Found::Frame(frame, end),
            Err(reason) => Found::Bad(reason, end),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;
    use serde_json::json;

    use super::*;
    use crate::bms::framing::laws;

    fn payload() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i32>().prop_map(|n| json!(n)),
            "[a-z:#? é]{0,12}".prop_map(|text| json!(text)),
            ("[a-z]{1,6}", any::<bool>()).prop_map(|(name, on)| json!({ name: on })),
            Just(Value::Null),
        ]
    }

    fn body() -> impl Strategy<Value = TextBody> {
        let maybe = || proptest::option::of(payload());
        prop_oneof![
            (proptest::sample::select(&Verb::ALL[..]), "[A-Za-z_/]{0,10}", maybe())
                .prop_map(|(verb, path, payload)| TextBody::Request { verb, path, payload }),
            (0x80u8.., maybe()).prop_map(|(status, payload)| TextBody::Response { status, payload }),
            ("[A-Za-z_/]{1,10}", payload()).prop_map(|(path, payload)| TextBody::Report { path, payload }),
        ]
    }

    fn frame(body: TextBody, with_crc: bool) -> (Vec<u8>, TextFrame) {
        let text = body.to_text();
        let bytes = if with_crc { to_line(&text) } else { format!("{text}\n").into_bytes() };
        let crc = with_crc.then(|| crc32(text.as_bytes()));
        (bytes.clone(), TextFrame { body, text, crc, wire_bytes: bytes.len() })
    }

    fn frames() -> impl Strategy<Value = Vec<(Vec<u8>, TextFrame)>> {
        let one = (body(), any::<bool>()).prop_map(|(body, with_crc)| frame(body, with_crc));
        proptest::collection::vec(one, 1..5)
    }

    /// What a log prints, lines that were cut and anything else; never a message without its line end, which would run
    /// into the next line.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        let random = proptest::collection::vec(128u8.., 0..20);
        let log = "\\[[0-9:.]{4,9}\\] <inf> [a-z ]{0,20}\r\n".prop_map(String::into_bytes);
        let cut = (frame_bytes(), any::<Index>()).prop_map(|(bytes, at)| {
            let mut cut = bytes[..at.index(bytes.len() - 2)].to_vec();
            cut.push(0);
            cut
        });
        prop_oneof![random, log, cut]
    }

    fn frame_bytes() -> impl Strategy<Value = Vec<u8>> {
        body().prop_map(|body| frame(body, true).0)
    }

    #[test]
    fn a_crc_that_is_there_must_match_and_may_be_missing() {
        let find = |text: &str| TextFraming.find(text.as_bytes());
        assert!(matches!(find(":85 12.9 44AFEDED#\r\n"), Found::Frame(TextFrame { crc: Some(_), .. }, 20)));
        assert!(matches!(find(":85 12.9\n"), Found::Frame(TextFrame { crc: None, .. }, 9)));
        assert_eq!(find(":85 13.9 44AFEDED#\r\n"), Found::Bad(BadFrameReason::Checksum, 20));
        assert_eq!(find(":85 12.9 44AF#\r\n"), Found::Bad(BadFrameReason::Shape, 16));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in [
            ":7F\n",
            ":8\n",
            ":+5\n",
            ":85 {\n",
            "#\n",
            "#mLive\n",
            "?Me as\n",
            "#1234567#\n",
            "# é5678901#\n",
        ] {
            assert!(matches!(TextFraming.find(text.as_bytes()), Found::Bad(..)), "{text:?}");
        }
    }

    #[test]
    fn a_gateway_may_name_the_node() {
        let body = TextBody::parse(":85/ABC 1").unwrap();
        assert_eq!(body, TextBody::Response { status: 0x85, payload: Some(json!(1)) });
    }

    proptest! {
        #[test]
        fn lines_survive_their_bytes(body in body(), with_crc: bool) {
            let (bytes, frame) = frame(body, with_crc);
            prop_assert_eq!(TextFraming.find(&bytes), Found::Frame(frame, bytes.len()));
        }

        #[test]
        fn splits_make_no_difference(frames in frames(), noise in proptest::collection::vec(any::<Vec<u8>>(), 4), cuts in proptest::collection::vec(any::<Index>(), 0..8)) {
            let mut stream = Vec::new();
            for ((bytes, _), noise) in frames.iter().zip(&noise) {
                stream.extend_from_slice(noise);
                stream.extend_from_slice(bytes);
            }
            laws::splits_make_no_difference(TextFraming, &stream, &cuts, |frame| frame.wire_bytes)?;
        }

        #[test]
        fn every_line_is_found(frames in frames(), noise in proptest::collection::vec(noise(), 5)) {
            laws::every_frame_is_found(TextFraming, &frames, &noise)?;
        }
    }
}
