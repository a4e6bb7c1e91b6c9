//! Topic patterns with named captures, `tele/{device}/SENSOR`, and the texts that are made of what they caught.
//!
//! `{name}` stands for one level or a part of one, `{name*}` for one level or more. A text is made of the same braces;
//! `{{` and `}}` are braces themselves. Nothing here indexes into a topic by bytes.

use std::collections::BTreeMap;

use crate::mqtt::{Filter, TopicError};

/// What a pattern caught, by name.
pub type Captures = BTreeMap<String, String>;

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A brace without its partner, or two captures in one level.
    #[error("a level is a text, +, {{name}} with a text around it, or {{name*}} alone; this is {level:?}")]
    Level {
        /// The level.
        level: String,
    },
    /// Two captures of one name.
    #[error("{{{name}}} stands in it twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// More than one capture of several levels can be read in many ways.
    #[error("only one {{name*}} may stand in a topic")]
    ManyTwice,
    /// The rest of it is no topic.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A text names a capture that nobody makes.
    #[error("{{{name}}} is not known here; known are: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Those that are.
        known: String,
    },
    /// A brace without its partner.
    #[error("a brace has no partner in {text:?}; a brace itself is written twice")]
    Brace {
        /// The text.
        text: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Literal(String),
    Any,
    One { before: String, name: String, after: String },
    Many(String),
}

/// A topic with names for parts of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern {
    levels: Vec<Level>,
    filter: Filter,
}

impl TopicPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let levels = text.split('/').map(level).collect::<Result<Vec<_>, _>>()?;
        let mut names = Vec::new();
        let mut many = 0;
        for level in &levels {
            let name = match level {
                Level::Literal(_) | Level::Any => continue,
                Level::One { name, .. } => name,
                Level::Many(name) => {
                    many += 1;
                    name
                }
            };
            if names.contains(&name) {
                return Err(PatternError::Twice { name: name.clone() });
            }
            names.push(name);
        }
        if many > 1 {
            return Err(PatternError::ManyTwice);
        }
        let filter = Filter::parse(filter(&levels))?;
        Ok(Self { levels, filter })
    }

    /// The narrowest filter that hears every topic of this pattern.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The names of what it catches.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().filter_map(|level| match level {
            Level::Literal(_) | Level::Any => None,
            Level::One { name, .. } | Level::Many(name) => Some(name.as_str()),
        })
    }

    /// What it catches of a topic, if the topic is one of its own.
    pub fn captures(&self, topic: &str) -> Option<Captures> {
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Literal(_))) {
            return None;
        }
        let given: Vec<&str> = topic.split('/').collect();
        let spare = given.len().checked_sub(self.levels.len())?;
        let mut captures = Captures::new();
        let mut at = 0;
        for level in &self.levels {
            let width = if matches!(level, Level::Many(_)) { spare + 1 } else { 1 };
            let part = given.get(at..at + width)?;
            level.take(part, &mut captures)?;
            at += width;
        }
        (at == given.len()).then_some(captures)
    }
}

impl Level {
    fn take(&self, given: &[&str], captures: &mut Captures) -> Option<()> {
        let (name, caught) = match self {
            Self::Literal(text) => return (given == [text.as_str()]).then_some(()),
            Self::Any => return Some(()),
            Self::One { before, name, after } => {
                let level = given.first()?;
                (name, level.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?.to_owned())
            }
            Self::Many(name) => (name, given.join("/")),
        };
        if caught.is_empty() {
            return None;
        }
        captures.insert(name.clone(), caught);
        Some(())
    }
}

fn level(text: &str) -> Result<Level, PatternError> {
    let bad = || PatternError::Level { level: text.to_owned() };
    let Some((before, rest)) = text.split_once('{') else {
        return match text {
            "+" => Ok(Level::Any),
            _ if text.contains(['}', '#', '+']) => Err(bad()),
            _ => Ok(Level::Literal(text.to_owned())),
        };
    };
    let (name, after) = rest.split_once('}').ok_or_else(bad)?;
    let many = name.ends_with('*');
    let name = name.strip_suffix('*').unwrap_or(name);
    let around = [before, after];
    if !is_name(name) || around.iter().any(|part| part.contains(['{', '}', '+', '#'])) {
        return Err(bad());
    }
    if many && around != ["", ""] {
        return Err(bad());
    }
    let name = name.to_owned();
    if many {
        return Ok(Level::Many(name));
    }
    Ok(Level::One { before: before.to_owned(), name, after: after.to_owned() })
}

/// A capture of several levels that others follow is heard with all that begins as it does.
fn filter(levels: &[Level]) -> String {
    let mut parts = Vec::new();
    for level in levels {
        match level {
            Level::Literal(text) => parts.push(text.as_str()),
            Level::Any | Level::One { .. } => parts.push("+"),
            Level::Many(_) => {
                parts.push("#");
                break;
            }
        }
    }
    parts.join("/")
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Name(String),
}

/// A text with places for captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

impl Template {
    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let bad = || PatternError::Brace { text: text.to_owned() };
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.peek() == Some(&c) => {
                    chars.next();
                    literal.push(c);
                }
                '{' => {
                    let mut name = String::new();
                    loop {
                        match chars.next().ok_or_else(bad)? {
                            '}' => break,
                            c => name.push(c),
                        }
                    }
                    if !is_name(&name) {
                        return Err(bad());
                    }
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Name(name));
                }
                '}' => return Err(bad()),
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self(parts))
    }

    /// The names that it asks for.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Name(name) => Some(name.as_str()),
        })
    }

    /// Refuses a text that asks for a name that is not among these.
    pub fn check<'a>(&self, known: impl IntoIterator<Item = &'a str>) -> Result<(), PatternError> {
        let known: Vec<&str> = known.into_iter().collect();
        match self.names().find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(PatternError::Unknown { name: name.to_owned(), known })
            }
        }
    }

    /// The one name that it is, if it is nothing else.
    pub fn only_name(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Name(name)] => Some(name),
            _ => None,
        }
    }

    /// Puts in what each name stands for; nothing if one stands for nothing.
    pub fn render(&self, value_of: impl Fn(&str) -> Option<String>) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Name(name) => text.push_str(&value_of(name)?),
            }
        }
        Some(text)
    }

    /// Puts in what was caught.
    pub fn fill(&self, captures: &Captures) -> Option<String> {
        self.render(|name| captures.get(name).cloned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn caught(pattern: &str, topic: &str) -> Option<Vec<(String, String)>> {
        let captures = TopicPattern::parse(pattern).unwrap().captures(topic)?;
        Some(captures.into_iter().collect())
    }

    fn one(name: &str, value: &str) -> Option<Vec<(String, String)>> {
        Some(vec![(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_pattern_catches_levels_parts_of_levels_and_several_levels() {
        assert_eq!(caught("tele/{device}/SENSOR", "tele/plug/SENSOR"), one("device", "plug"));
        assert_eq!(caught("shellies/shellyem-{id}/x", "shellies/shellyem-ABC/x"), one("id", "ABC"));
        assert_eq!(
            caught("z/{name*}/availability", "z/living/lamp/availability"),
            one("name", "living/lamp")
        );
    }

    #[test]
    fn a_topic_of_another_shape_is_not_caught() {
        for (pattern, topic) in [
            ("tele/{device}/SENSOR", "tele/SENSOR"),
            ("tele/{device}/SENSOR", "tele/a/b/SENSOR"),
            ("tele/{device}/SENSOR", "tele//SENSOR"),
            ("z/{name*}/availability", "z/availability"),
            ("{name*}", "$SYS/uptime"),
            ("a/b-{x}", "a/b-"),
        ] {
            assert_eq!(caught(pattern, topic), None, "{pattern} {topic}");
        }
    }

    #[test]
    fn its_filter_hears_what_it_catches() {
        let filter = |text| TopicPattern::parse(text).unwrap().filter().as_str().to_owned();
        assert_eq!(filter("tele/{device}/SENSOR"), "tele/+/SENSOR");
        assert_eq!(filter("z/{name*}/availability"), "z/#");
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for bad in ["{a}/{a}", "{a*}/{b*}", "x{a}{b}", "x{a*}", "a/#", "a/b+", "{", "}", "", "{a b}", "{}"] {
            assert!(TopicPattern::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_text_is_filled_and_doubled_braces_are_braces() {
        let template = Template::parse("{{{device}}}-x").unwrap();
        assert_eq!(template.fill(&[("device".to_owned(), "a".to_owned())].into()), Some("{a}-x".to_owned()));
        assert_eq!(template.fill(&Captures::new()), None);
        assert!(template.check(["device"]).is_ok());
        let error = template.check(["id"]).unwrap_err().to_string();
        assert_eq!(error, "{device} is not known here; known are: id");
        assert!(Template::parse("{a").is_err() && Template::parse("a}").is_err());
    }

    proptest! {
        #[test]
        fn nothing_that_is_caught_escapes_the_filter(pattern in "[a-b{}*/+]{0,12}", topic in "[a-b/$é]{0,10}") {
            if let Ok(pattern) = TopicPattern::parse(&pattern)
                && pattern.captures(&topic).is_some()
            {
                prop_assert!(pattern.filter().matches(&topic), "{pattern:?} {topic:?}");
            }
        }
    }
}
