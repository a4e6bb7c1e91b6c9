//! Commands of the contract in a device's own words: a topic and a payload, with places for parameters.
//!
//! A payload that is JSON stays JSON: a parameter takes the place of a whole value or becomes part of a text, and can't
//! break out of either. In a topic a parameter may only be a plain word.

use std::collections::BTreeMap;

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
