//! The scanner behind the lines: a position in the bytes, and one function for each part of a line.

use std::borrow::Cow;

use super::{FieldValue, Line, LineError};

/// Reads one line from its first byte on.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

impl<'a> Scanner<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(super) const fn position(&self) -> usize {
        self.at
    }

    /// A whole line, with the end of line that belongs to it.
    pub(super) fn line(&mut self) -> Result<Line<'a>, LineError> {
        let measurement = self.token(b", ")?;
        if measurement.is_empty() {
            return Err(LineError::NoMeasurement);
        }
        let tags = self.tags()?;
        self.spaces();
        let fields = self.fields()?;
        self.spaces();
        let time = self.time()?;
        Ok(Line { measurement, tags, fields, time })
    }

    fn tags(&mut self) -> Result<Vec<Pair<'a>>, LineError> {
        let mut tags = Vec::new();
        while self.take(b',') {
            let key = self.token(b",= ")?;
            if key.is_empty() || !self.take(b'=') {
                return Err(LineError::BadTag);
            }
            let value = self.token(b",= ")?;
            if value.is_empty() || self.peek() == Some(b'=') {
                return Err(LineError::BadTag);
            }
            tags.push((key, value));
        }
        Ok(tags)
    }

    fn fields(&mut self) -> Result<Vec<(Cow<'a, str>, FieldValue<'a>)>, LineError> {
        if self.at_end() {
            return Err(LineError::NoFields);
        }
        let mut fields = Vec::with_capacity(8);
        loop {
            let key = self.token(b",= ")?;
            if key.is_empty() || !self.take(b'=') {
                return Err(LineError::BadField);
            }
            fields.push((key, self.value()?));
            if !self.take(b',') {
                return Ok(fields);
            }
        }
    }

    fn value(&mut self) -> Result<FieldValue<'a>, LineError> {
        if self.take(b'"') {
            return self.quoted().map(FieldValue::Text);
        }
        let rest = self.rest();
        let length = rest.iter().position(|byte| matches!(byte, b',' | b' ' | b'\n' | b'\r'));
        let raw = rest.get(..length.unwrap_or(rest.len())).unwrap_or_default();
        self.at += raw.len();
        number_or_boolean(std::str::from_utf8(raw).map_err(|_| LineError::NotUtf8)?)
    }

    /// The text after an opening quote, up to and with the closing one.
    fn quoted(&mut self) -> Result<Cow<'a, str>, LineError> {
        let rest = self.rest();
        let (mut end, mut escaped) = (0, false);
        loop {
            match rest.get(end) {
                None => return Err(LineError::OpenQuote),
                Some(b'"') => break,
                Some(b'\\') if matches!(rest.get(end + 1), Some(b'"' | b'\\')) => {
                    escaped = true;
                    end += 2;
                }
                Some(_) => end += 1,
            }
        }
        self.at += end + 1;
        text(rest.get(..end).unwrap_or_default(), escaped, b"\"\\")
    }

    /// A name up to one of these bytes that is not escaped, or to the end of the line.
    fn token(&mut self, ends: &[u8]) -> Result<Cow<'a, str>, LineError> {
        let rest = self.rest();
        let (mut end, mut escaped) = (0, false);
        while let Some(byte) = rest.get(end) {
            match byte {
                b'\\' if matches!(rest.get(end + 1), Some(b',' | b'=' | b' ')) => {
                    escaped = true;
                    end += 2;
                }
                b'\n' => break,
                byte if ends.contains(byte) => break,
                _ => end += 1,
            }
        }
        self.at += end;
        text(rest.get(..end).unwrap_or_default(), escaped, b",= ")
    }

    fn time(&mut self) -> Result<Option<i64>, LineError> {
        let rest = self.rest();
        let end = rest.iter().position(|byte| *byte == b'\n');
        self.at += end.map_or(rest.len(), |end| end + 1);
        let digits = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default().trim_ascii();
        if digits.is_empty() {
            return Ok(None);
        }
        let digits = std::str::from_utf8(digits).map_err(|_| LineError::BadTime)?;
        digits.parse().map(Some).map_err(|_| LineError::BadTime)
    }

    fn spaces(&mut self) {
        self.at += self.rest().iter().take_while(|byte| **byte == b' ').count();
    }

    fn at_end(&self) -> bool {
        matches!(self.peek(), None | Some(b'\n' | b'\r'))
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

fn number_or_boolean<'a>(raw: &str) -> Result<FieldValue<'a>, LineError> {
    let bad = LineError::BadValue;
    match raw {
        "t" | "T" | "true" | "True" | "TRUE" => return Ok(FieldValue::Boolean(true)),
        "f" | "F" | "false" | "False" | "FALSE" => return Ok(FieldValue::Boolean(false)),
        _ => {}
    }
    if let Some(digits) = raw.strip_suffix('i') {
        return digits.parse().map(FieldValue::Integer).map_err(|_| bad);
    }
    if let Some(digits) = raw.strip_suffix('u') {
        return digits.parse().map(FieldValue::Unsigned).map_err(|_| bad);
    }
    // Rust reads "inf" and "nan" as numbers, the protocol does not.
    if !raw.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E')) {
        return Err(bad);
    }
    match raw.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(FieldValue::Float(value)),
        Ok(_) | Err(_) => Err(bad),
    }
}

fn text<'a>(raw: &'a [u8], escaped: bool, escapable: &[u8]) -> Result<Cow<'a, str>, LineError> {
    let raw = std::str::from_utf8(raw).map_err(|_| LineError::NotUtf8)?;
    if !escaped {
        return Ok(Cow::Borrowed(raw));
    }
    let mut plain = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        let next =
            chars.peek().copied().filter(|next| escapable.iter().any(|byte| char::from(*byte) == *next));
        match next {
            Some(next) if c == '\\' => {
                plain.push(next);
                chars.next();
            }
            Some(_) | None => plain.push(c),
        }
    }
    Ok(Cow::Owned(plain))
}
