//! Frames as candump and most tools beside it write them: `220#0A3C000900000005`, with or without a time and an
//! interface in front.
//!
//! Never guesses: what is no frame is an error that names its line and the word.

use super::frame::{CanFrame, CanId};

/// Why a text is no list of frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {word:?} is no CAN frame: {why}")]
pub struct CandumpError {
    /// Line, from 1.
    pub line: usize,
    /// What stands there.
    pub word: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Reads frames; words without `#` (times, interfaces) are passed over on lines that have a frame.
pub fn parse_candump(text: &str) -> Result<Vec<CanFrame>, CandumpError> {
    let mut frames = Vec::new();
    for (index, content) in text.lines().enumerate() {
        let error = |word: &str, why| CandumpError { line: index + 1, word: word.to_owned(), why };
        let before = frames.len();
        for word in content.split_whitespace().filter(|word| word.contains('#')) {
            frames.push(parse_word(word).map_err(|why| error(word, why))?);
        }
        if frames.len() == before && !content.trim().is_empty() {
            return Err(error(content.trim(), "write the id, a # and the bytes, as in 220#0A3C000900000005"));
        }
    }
    Ok(frames)
}

fn parse_word(word: &str) -> Result<CanFrame, &'static str> {
    let (id, data) = word.split_once('#').ok_or("it has no #")?;
    let extended = match id.len() {
        3 => false,
        8 => true,
        _ => return Err("an id has three hex digits, or eight where it has 29 bits"),
    };
    let id = u32::from_str_radix(id, 16).ok().filter(|_| id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let id =
        CanId::new(id.ok_or("its id is not hexadecimal")?, extended).ok_or("its id has too many bits")?;
    let data = hex::decode(data).map_err(|_| "its data is not hexadecimal bytes")?;
    CanFrame::new(id, &data).ok_or("it has more than eight bytes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn logs_and_bare_frames_are_read() {
        let frames = parse_candump("(1740480000.1) can0 220#0A3C\n\n1E00710A#FA 100#").unwrap();
        let texts: Vec<_> = frames.iter().map(CanFrame::to_string).collect();
        assert_eq!(texts, ["220#0A3C", "1E00710A#FA", "100#"]);
        assert_eq!(frames[1].id(), CanId::Extended(0x1E00_710A));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let said = |text: &str| parse_candump(text).unwrap_err().to_string();
        assert!(said("220#00\n0A3C").starts_with("line 2: \"0A3C\" is no CAN frame: write the id"));
        assert!(said("22#00").contains("three hex digits"));
        assert!(said("800#00").contains("too many bits"));
        assert!(said("220#R").contains("hexadecimal bytes"));
        assert!(said("220#001122334455667788").contains("eight bytes"));
    }

    proptest! {
        #[test]
        fn any_text_is_frames_or_an_error(text in "[0-9a-fA-F#R \n]{0,40}") {
            if let Ok(frames) = parse_candump(&text) {
                prop_assert_eq!(frames.len(), text.matches('#').count());
            }
        }

        #[test]
        fn written_frames_read_back(id: u32, extended: bool, data in proptest::collection::vec(any::<u8>(), 0..=8)) {
            let id = CanId::new(id % (1 << if extended { 29 } else { 11 }), extended).unwrap();
            let frame = CanFrame::new(id, &data).unwrap();
            prop_assert_eq!(parse_candump(&frame.to_string()), Ok(vec![frame]));
        }
    }
}
