//! The scanner behind the lines: a position in the bytes, and one function for each part of a line.

use std::borrow::Cow;

use super::{FieldValue, Line, LineError};

/// Reads one line from its first byte on.
#[derive(Debug)]
pub(super) struct Scanner<'a, 'f> {
    bytes: &'a [u8],
    at: usize,
    /// The names of the fields of a line before, as far as they stand there as they are; then those of this one.
    likely: &'f mut Vec<&'a str>,
}

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

impl<'a, 'f> Scanner<'a, 'f> {
    pub(super) const fn new(bytes: &'a [u8], likely: &'f mut Vec<&'a str>) -> Self {
        Self { bytes, at: 0, likely }
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
        let mut fields = Vec::with_capacity(self.likely.len().max(8));
        loop {
            let key = self.field_name(fields.len())?;
            fields.push((key, self.value()?));
            if !self.take(b',') {
                return Ok(fields);
            }
        }
    }

    /// A field's name with its equals sign. One that stands where it stood in the line before need not be read again: it
    /// has no escapes and ends with the sign, so that it would be read as the same.
    fn field_name(&mut self, index: usize) -> Result<Cow<'a, str>, LineError> {
        let likely = self.likely.get(index).copied();
        if let Some(name) = likely
            && let Some(after) = self.rest().strip_prefix(name.as_bytes())
            && after.first() == Some(&b'=')
        {
            self.at += name.len() + 1;
            return Ok(Cow::Borrowed(name));
        }
        let name = self.token(b",= ")?;
        if name.is_empty() || !self.take(b'=') {
            return Err(LineError::BadField);
        }
        self.likely.truncate(index);
        if let Cow::Borrowed(name) = name
            && self.likely.len() == index
        {
            self.likely.push(name);
        }
        Ok(name)
    }

    fn value(&mut self) -> Result<FieldValue<'a>, LineError> {
        if self.take(b'"') {
            return self.quoted().map(FieldValue::Text);
        }
        let rest = self.rest();
        if let Some((value, length)) = plain_decimal(rest) {
            self.at += length;
            return Ok(FieldValue::Float(value));
        }
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

/// So many digits make a whole number that a float holds exactly, and so does the power of ten that it is divided by: the
/// quotient is then the float that is nearest to the decimal.
const EXACT_DIGITS: usize = 15;
const POWERS_OF_TEN: [f64; EXACT_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// A number of few digits as most values are written, such as `-3.312`, with its length; everything else is left to
/// those who know all forms.
fn plain_decimal(bytes: &[u8]) -> Option<(f64, usize)> {
    let is_negative = bytes.first() == Some(&b'-');
    let begin = usize::from(is_negative);
    let (mut whole, mut point, mut at) = (0_u64, None, begin);
    loop {
        match bytes.get(at) {
            Some(digit @ b'0'..=b'9') => whole = whole * 10 + u64::from(digit - b'0'),
            Some(b'.') if point.is_none() => point = Some(at),
            None | Some(b',' | b' ' | b'\n' | b'\r') => break,
            Some(_) => return None,
        }
        at += 1;
        if at - begin > EXACT_DIGITS + 1 {
            return None;
        }
    }
    let digits = at - begin - usize::from(point.is_some());
    if digits == 0 || digits > EXACT_DIGITS {
        return None;
    }
    let decimals = point.map_or(0, |point| at - point - 1);
    #[expect(clippy::cast_precision_loss, reason = "fifteen digits are less than 2^53")]
    let value = whole as f64 / POWERS_OF_TEN.get(decimals)?;
    Some((if is_negative { -value } else { value }, at))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn as_std_reads(text: &str) -> Option<u64> {
        text.parse::<f64>().ok().filter(|value| value.is_finite()).map(f64::to_bits)
    }

    #[test]
    fn a_plain_decimal_is_what_the_standard_library_makes_of_it() {
        for text in ["0", "-0", "-0.0", "3.312", "5.", ".5", "-273.15", "999999999999999", "0.00000000000001"]
        {
            let (value, length) = plain_decimal(format!("{text},x=1").as_bytes()).unwrap();
            assert_eq!((Some(value.to_bits()), length), (as_std_reads(text), text.len()), "{text}");
        }
        for text in
            ["", "-", ".", "-.", "1e3", "+1", "1i", "1.2.3", "nan", "9999999999999999", "0.000000000000000"]
        {
            assert_eq!(plain_decimal(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn decimals_are_read_as_the_standard_library_reads_them(text in "-?[0-9]{0,9}\\.?[0-9]{0,9}") {
            if let Some((value, length)) = plain_decimal(text.as_bytes()) {
                prop_assert_eq!(length, text.len());
                prop_assert_eq!(Some(value.to_bits()), as_std_reads(&text), "{}", text);
            }
        }
    }
}
