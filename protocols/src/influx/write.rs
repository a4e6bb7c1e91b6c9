//! Writing lines, so that what is exported can be read here again and by every other reader of line protocol.

use std::fmt::Write as _;

use super::{FieldValue, Line};

/// Appends a line with its end of line.
pub fn write_line(out: &mut String, line: &Line<'_>) {
    escaped(out, &line.measurement, &[',', ' ']);
    for (key, value) in &line.tags {
        out.push(',');
        pair(out, key);
        escaped(out, value, &[',', '=', ' ']);
    }
    for (index, (key, value)) in line.fields.iter().enumerate() {
        out.push(if index == 0 { ' ' } else { ',' });
        pair(out, key);
        field(out, value);
    }
    if let Some(time) = line.time {
        out.push(' ');
        number(out, time);
    }
    out.push('\n');
}

fn pair(out: &mut String, key: &str) {
    escaped(out, key, &[',', '=', ' ']);
    out.push('=');
}

fn field(out: &mut String, value: &FieldValue<'_>) {
    match value {
        FieldValue::Float(value) => number(out, value),
        FieldValue::Integer(value) => {
            number(out, value);
            out.push('i');
        }
        FieldValue::Unsigned(value) => {
            number(out, value);
            out.push('u');
        }
        FieldValue::Boolean(value) => number(out, value),
        FieldValue::Text(text) => {
            out.push('"');
            escaped(out, text, &['"', '\\']);
            out.push('"');
        }
    }
}

fn number(out: &mut String, value: impl std::fmt::Display) {
    // Writing into a string does not fail.
    write!(out, "{value}").ok();
}

fn escaped(out: &mut String, text: &str, special: &[char]) {
    for c in text.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
}
