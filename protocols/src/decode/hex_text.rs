//! Hex as people paste it: spaces, colons and line breaks between bytes are forgiven, anything else is pointed at.
//!
//! Never guesses: half a byte or a stray character is an error that names its line and column.

/// Why a text is no hex.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// A character that is no hex digit.
    #[error("line {line}, column {column}: {found:?} is no hex digit")]
    Digit {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What stands there.
        found: char,
    },
    /// A byte with one digit.
    #[error("line {line}, column {column}: this hex digit has no partner")]
    HalfByte {
        /// Line of the lone digit, from 1.
        line: usize,
        /// Column of the lone digit, from 1.
        column: usize,
    },
}

/// Reads bytes. A byte's two digits must stand together.
pub fn parse_hex(text: &str) -> Result<Vec<u8>, HexError> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for (line, content) in text.lines().enumerate() {
        parse_line(line + 1, content, &mut bytes)?;
    }
    Ok(bytes)
}

fn parse_line(line: usize, content: &str, bytes: &mut Vec<u8>) -> Result<(), HexError> {
    let mut high: Option<(u8, usize)> = None;
    for (index, found) in content.chars().enumerate() {
        let column = index + 1;
        if found.is_whitespace() || found == ':' {
            no_half_byte(line, high)?;
            continue;
        }
        let digit = found.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let digit = digit.ok_or(HexError::Digit { line, column, found })?;
        high = match high {
            None => Some((digit, column)),
            Some((first, _)) => {
                bytes.push(first << 4 | digit);
                None
            }
        };
    }
    no_half_byte(line, high)
}

fn no_half_byte(line: usize, high: Option<(u8, usize)>) -> Result<(), HexError> {
    high.map_or(Ok(()), |(_, column)| Err(HexError::HalfByte { line, column }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spaces_colons_and_line_breaks_are_forgiven() {
        assert_eq!(parse_hex("A5 01:90\n 08\r\nff").unwrap(), [0xA5, 0x01, 0x90, 0x08, 0xFF]);
        assert!(parse_hex("").unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        assert_eq!(parse_hex("a5\n01 xz"), Err(HexError::Digit { line: 2, column: 4, found: 'x' }));
        assert_eq!(parse_hex("a5 1 23"), Err(HexError::HalfByte { line: 1, column: 4 }));
        assert_eq!(parse_hex("0xa5").unwrap_err().to_string(), "line 1, column 2: 'x' is no hex digit");
    }

    proptest! {
        #[test]
        fn any_text_is_bytes_or_an_error(text: String) {
            // The outcome itself is not of interest, only that there is one.
            prop_assert!(parse_hex(&text).map_or(true, |bytes| bytes.len() <= text.len()));
        }

        #[test]
        fn written_bytes_read_back(bytes: Vec<u8>) {
            prop_assert_eq!(parse_hex(&hex::encode(&bytes)).unwrap(), bytes);
        }
    }
}
