//! Where in a JSON document a value stands: `ENERGY.Power`, `cells[0].volts`, `["a.b"].c`, or a JSON Pointer, `/a/0`.
//!
//! A path only walks down; it never searches, so that reading a message costs what its mapping says.

use serde_json::Value;

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no path such as ENERGY.Power, cells[0].volts, [\"a.b\"].c or /a/0")]
pub struct PathError {
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Steps from the top of a document to a value. Without steps it is the document itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath {
    steps: Vec<Step>,
    text: String,
}

impl JsonPath {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let steps = if text.starts_with('/') { Some(pointer(text)) } else { dotted(text) };
        let steps = steps.ok_or_else(|| PathError { text: text.to_owned() })?;
        Ok(Self { steps, text: text.to_owned() })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is the document itself.
    pub fn is_top(&self) -> bool {
        self.steps.is_empty()
    }

    /// The value that stands there.
    pub fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.steps.iter().try_fold(document, |value, step| match step {
            Step::Key(key) => match value.as_array() {
                Some(items) => items.get(key.parse::<usize>().ok()?),
                None => value.get(key),
            },
            Step::Index(index) => value.get(index),
        })
    }
}

/// RFC 6901; a step that is a number counts in an array and is a key in an object.
fn pointer(text: &str) -> Vec<Step> {
    text.split('/').skip(1).map(|step| Step::Key(step.replace("~1", "/").replace("~0", "~"))).collect()
}

fn dotted(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let (key, after) = quoted.split_once("\"]")?;
            steps.push(Step::Key(key.to_owned()));
            rest = after;
        } else if let Some(inside) = rest.strip_prefix('[') {
            let (index, after) = inside.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (key, after) = rest.split_at(end);
            if key.is_empty() || key.contains(']') {
                return None;
            }
            steps.push(Step::Key(key.to_owned()));
            rest = after;
        }
        if let Some(after) = rest.strip_prefix('.') {
            if after.is_empty() {
                return None;
            }
            rest = after;
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_walks_down_keys_and_indices() {
        let document =
            json!({ "a": { "b": [{ "c": 1 }, { "c": 2 }] }, "switch:0": { "x.y": 3 }, "/": 4, "e/~": 5 });
        for (path, value) in [
            ("a.b[1].c", 2),
            ("/a/b/0/c", 1),
            ("switch:0[\"x.y\"]", 3),
            ("[\"switch:0\"][\"x.y\"]", 3),
            ("/e~1~0", 5),
        ] {
            assert_eq!(JsonPath::parse(path).unwrap().find(&document), Some(&json!(value)), "{path}");
        }
        assert_eq!(JsonPath::parse("").unwrap().find(&document), Some(&document));
        for missing in ["a.x", "a.b[7]", "a.b.c", "/a/b/7", "a.b[0].c.d"] {
            assert_eq!(JsonPath::parse(missing).unwrap().find(&document), None, "{missing}");
        }
    }

    #[test]
    fn half_a_path_is_none() {
        for bad in [".", "a.", "a..b", "a[", "a[x]", "a[-1]", "[\"a]", "a]", ".a"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad:?}");
        }
    }
}
