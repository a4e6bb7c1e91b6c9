//! InfluxDB line protocol: what Telegraf, Home Assistant and many gateways write, read without a copy where nothing is
//! escaped, and written.
//!
//! A body is read line by line, and a bad line costs that line alone: it is named by its number, and reading goes on
//! after its end. Newlines inside quoted texts belong to the text. No byte sequence panics the reader.

mod names;
mod reading;
mod scan;
mod write;

use std::borrow::Cow;

pub use names::KnownNames;
pub use reading::{LineRejection, MAX_FIELDS, Mapping, Precision};
pub use write::write_line;

/// The measurement under which Voltree itself writes: its fields keep their names, and its tag `unit` is a unit.
pub const OWN_MEASUREMENT: &str = "voltree";

/// One line: a measurement, its tags, its fields, and a time in whatever precision was agreed upon.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    /// What was measured.
    pub measurement: Cow<'a, str>,
    /// Tags in the order of the line.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Fields in the order of the line, at least one.
    pub fields: Vec<(Cow<'a, str>, FieldValue<'a>)>,
    /// The time as the line gives it.
    pub time: Option<i64>,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue<'a> {
    /// `1`, `1.5`, `1e3`.
    Float(f64),
    /// `1i`.
    Integer(i64),
    /// `1u`.
    Unsigned(u64),
    /// `t`, `true`, `f`, `false`.
    Boolean(bool),
    /// `"text"`.
    Text(Cow<'a, str>),
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The line begins with a comma or a space.
    #[error("it has no measurement")]
    NoMeasurement,
    /// A tag without its equals sign, its key or its value.
    #[error("a tag is not key=value")]
    BadTag,
    /// Nothing follows the measurement and its tags.
    #[error("it has no fields")]
    NoFields,
    /// A field without its equals sign, its key or its value.
    #[error("a field is not key=value")]
    BadField,
    /// A value that is no number, no boolean and no quoted text.
    #[error("a field's value is no number, no boolean and no quoted text")]
    BadValue,
    /// A quoted text that does not end.
    #[error("a quoted text does not end")]
    OpenQuote,
    /// What follows the fields is no whole number.
    #[error("its time is no whole number")]
    BadTime,
    /// A name or a text is not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
}

/// The lines of a body, each with its number from 1; empty ones and comments are passed over.
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
    /// The names of the last line's fields: the next one's are mostly the same.
    fields: Vec<&'a str>,
}

impl<'a> Lines<'a> {
    /// The lines of a body.
    pub const fn new(body: &'a [u8]) -> Self {
        Self { rest: body, number: 1, fields: Vec::new() }
    }

    fn skip_to_next(&mut self) {
        let end = self.rest.iter().position(|byte| *byte == b'\n').map_or(self.rest.len(), |end| end + 1);
        self.advance(end);
    }

    fn advance(&mut self, by: usize) {
        let (passed, rest) = self.rest.split_at(by.min(self.rest.len()));
        self.number += passed.iter().filter(|byte| **byte == b'\n').count();
        self.rest = rest;
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, Result<Line<'a>, LineError>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let blank =
                self.rest.iter().take_while(|byte| matches!(**byte, b'\n' | b'\r' | b' ' | b'\t')).count();
            self.advance(blank);
            match self.rest.first()? {
                b'#' => self.skip_to_next(),
                _ => break,
            }
        }
        let number = self.number;
        let mut scanner = scan::Scanner::new(self.rest, &mut self.fields);
        let line = scanner.line();
        let position = scanner.position();
        match &line {
            Ok(_) => self.advance(position),
            Err(_) => self.skip_to_next(),
        }
        Some((number, line))
    }
}

#[cfg(test)]
mod tests;
