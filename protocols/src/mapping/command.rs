//! Commands of the contract in a device's own words: a topic and a payload, with places for parameters.
//!
//! A payload that is JSON stays JSON: a parameter takes the place of a whole value or becomes part of a text, and can't
//! break out of either. In a topic a parameter may only be a plain word.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::path::JsonPath;
use super::pattern::{Captures, PatternError, Template};
use crate::mqtt::{TopicError, publish_topic_valid};

/// A command that the device has a word for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CommandRule {
    pub(super) action: String,
    pub(super) topic: Template,
    pub(super) payload: Payload,
    /// The device's words for the values of a parameter.
    pub(super) values: BTreeMap<String, BTreeMap<String, String>>,
    /// What is allowed of a parameter; of others whatever fits its place.
    pub(super) params: BTreeMap<String, Allowed>,
}

/// What a parameter may be.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Allowed {
    Boolean,
    Number { min: f64, max: f64 },
    Integer { min: i64, max: i64 },
    OneOf { words: Vec<String> },
}

impl Allowed {
    fn allows(&self, value: &Json) -> bool {
        match self {
            Self::Boolean => value.is_boolean(),
            Self::Number { min, max } => value.as_f64().is_some_and(|number| (*min..=*max).contains(&number)),
            Self::Integer { min, max } => {
                value.as_i64().is_some_and(|number| (*min..=*max).contains(&number))
            }
            Self::OneOf { words } => {
                value.as_str().is_some_and(|word| words.iter().any(|known| known == word))
            }
        }
    }

    /// Whether there is anything that it allows.
    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::Boolean => true,
            Self::Number { min, max } => min <= max,
            Self::Integer { min, max } => min <= max,
            Self::OneOf { words } => !words.is_empty(),
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("true or false"),
            Self::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Self::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::OneOf { words } => write!(f, "one of {}", words.join(", ")),
        }
    }
}

/// A payload with places.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Payload {
    Text(Template),
    Json(Tree),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Fixed(Json),
    Text(Template),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// Why a command can't be put into the device's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No rule has this action.
    #[error("{action:?} is no command of this mapping; it has: {known}")]
    UnknownAction {
        /// What was asked for.
        action: String,
        /// What there is.
        known: String,
    },
    /// A parameter that the command needs.
    #[error("{name} is missing or is nothing that can be written there")]
    Parameter {
        /// Which.
        name: String,
    },
    /// A value that the device has no word for.
    #[error("{name} may be one of: {known}")]
    Value {
        /// Which parameter.
        name: String,
        /// What it may be.
        known: String,
    },
    /// A parameter that the device does not take.
    #[error("{name}: expected {expected}")]
    Unfit {
        /// Which parameter.
        name: &'static str,
        /// What it takes.
        expected: String,
    },
    /// A parameter that is not what the mapping allows.
    #[error("params.{name}: expected {expected}")]
    NotAllowed {
        /// Which parameter.
        name: String,
        /// What is allowed.
        expected: String,
    },
    /// The finished topic is none.
    #[error(transparent)]
    Topic(#[from] TopicError),
}

/// Reads a payload as it stands in a mapping: a text, or JSON of which texts may have places.
pub(super) fn payload(raw: &Json) -> Result<Payload, PatternError> {
    match raw.as_str() {
        Some(text) => Ok(Payload::Text(Template::parse(text)?)),
        None => Ok(Payload::Json(tree(raw)?)),
    }
}

fn tree(raw: &Json) -> Result<Tree, PatternError> {
    Ok(match raw {
        Json::String(text) => Tree::Text(Template::parse(text)?),
        Json::Array(items) => Tree::Array(items.iter().map(tree).collect::<Result<_, _>>()?),
        Json::Object(entries) => {
            let entry = |(key, value): (&String, &Json)| Ok((key.clone(), tree(value)?));
            Tree::Object(entries.iter().map(entry).collect::<Result<_, PatternError>>()?)
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => Tree::Fixed(raw.clone()),
    })
}

/// What a command's places may be filled with.
struct Source<'a> {
    captures: &'a Captures,
    params: &'a Json,
    rule: &'a CommandRule,
}

impl CommandRule {
    /// The device's topic and payload for a command.
    pub(super) fn write(
        &self,
        captures: &Captures,
        params: &Json,
    ) -> Result<(String, Vec<u8>), CommandError> {
        let source = Source { captures, params, rule: self };
        let topic = source.text(&self.topic)?;
        for name in self.topic.names().filter(|name| name.starts_with("params.")) {
            let word = source.value(name)?;
            let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
            if !plain(&written(&word)) {
                return Err(CommandError::Parameter { name: name.to_owned() });
            }
        }
        publish_topic_valid(&topic)?;
        let payload = match &self.payload {
            Payload::Text(template) => source.text(template)?.into_bytes(),
            Payload::Json(tree) => source.tree(tree)?.to_string().into_bytes(),
        };
        Ok((topic, payload))
    }
}

impl Source<'_> {
    fn value(&self, name: &str) -> Result<Json, CommandError> {
        let missing = || CommandError::Parameter { name: name.to_owned() };
        let Some(parameter) = name.strip_prefix("params.") else {
            return self.captures.get(name).cloned().map(Json::String).ok_or_else(missing);
        };
        let path = JsonPath::parse(parameter).map_err(|_| missing())?;
        let value = path.find(self.params).ok_or_else(missing)?;
        if let Some(allowed) = self.rule.params.get(parameter).filter(|allowed| !allowed.allows(value)) {
            return Err(CommandError::NotAllowed {
                name: parameter.to_owned(),
                expected: allowed.to_string(),
            });
        }
        match self.rule.values.get(parameter) {
            None => Ok(value.clone()),
            Some(words) => words.get(&written(value)).cloned().map(Json::String).ok_or_else(|| {
                let known: Vec<_> = words.keys().map(String::as_str).collect();
                CommandError::Value { name: name.to_owned(), known: known.join(", ") }
            }),
        }
    }

    fn text(&self, template: &Template) -> Result<String, CommandError> {
        let mut wrong = None;
        for name in template.names() {
            match self.value(name)? {
                Json::String(_) | Json::Number(_) | Json::Bool(_) => {}
                Json::Null | Json::Array(_) | Json::Object(_) => wrong = Some(name.to_owned()),
            }
        }
        match wrong {
            Some(name) => Err(CommandError::Parameter { name }),
            None => {
                Ok(template.render(|name| self.value(name).ok().map(|v| written(&v))).unwrap_or_default())
            }
        }
    }

    fn tree(&self, tree: &Tree) -> Result<Json, CommandError> {
        Ok(match tree {
            Tree::Fixed(value) => value.clone(),
            Tree::Text(template) => match template.only_name() {
                Some(name) => self.value(name)?,
                None => Json::String(self.text(template)?),
            },
            Tree::Array(items) => {
                Json::Array(items.iter().map(|item| self.tree(item)).collect::<Result<_, _>>()?)
            }
            Tree::Object(entries) => {
                let mut object = Map::new();
                for (key, value) in entries {
                    object.insert(key.clone(), self.tree(value)?);
                }
                Json::Object(object)
            }
        })
    }
}

/// A text as it is, anything else as JSON writes it.
fn written(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
