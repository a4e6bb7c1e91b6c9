//! How an announced entity is told what to do: its topic, its words, and what it takes.
//!
//! A value that the entity would not take is refused here, with what it takes instead. Templates are understood as far as
//! they put the value into a text; an entity with any other takes no commands.

use serde_json::{Map, Value as Json};

use super::word;
use crate::mapping::command::CommandError;
use crate::mqtt::publish_topic_valid;

/// What Home Assistant takes as the range of a number without one.
const USUAL_RANGE: (f64, f64) = (1.0, 100.0);
/// How long a text may be.
const MOST_CHARS: usize = 255;

/// How an entity is told what to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Control {
    topic: String,
    /// The payload before and behind the value, if it is not the value alone.
    around: Option<(String, String)>,
    takes: Takes,
}

/// What an entity takes.
#[derive(Debug, Clone, PartialEq)]
enum Takes {
    Switch { on: String, off: String },
    Number { min: f64, max: f64 },
    Choice(Vec<String>),
    Text,
    Press(String),
}

impl Control {
    /// Reads how an entity is told; nothing if it can't be.
    pub(super) fn of(object: &Map<String, Json>, component: &str) -> Option<Self> {
        let text = |key: &str| object.get(key).and_then(Json::as_str).filter(|text| !text.is_empty());
        let topic = text("command_topic").filter(|topic| publish_topic_valid(topic).is_ok())?;
        let said = |key: &str, usual: &str| object.get(key).map_or_else(|| usual.to_owned(), word);
        let bound = |key: &str, usual: f64| object.get(key).and_then(Json::as_f64).unwrap_or(usual);
        let choices = |key: &str| Some(object.get(key)?.as_array()?.iter().map(word).collect());
        let takes = match component {
            "light" if text("schema").is_some_and(|schema| schema != "basic") => return None,
            "switch" | "light" | "fan" | "siren" | "humidifier" => {
                Takes::Switch { on: said("payload_on", "ON"), off: said("payload_off", "OFF") }
            }
            "lock" => {
                Takes::Switch { on: said("payload_lock", "LOCK"), off: said("payload_unlock", "UNLOCK") }
            }
            "number" => Takes::Number { min: bound("min", USUAL_RANGE.0), max: bound("max", USUAL_RANGE.1) },
            "select" => Takes::Choice(choices("options")?),
            "cover" | "valve" => Takes::Choice(
                [("payload_open", "OPEN"), ("payload_close", "CLOSE"), ("payload_stop", "STOP")]
                    .map(|(key, usual)| said(key, usual))
                    .to_vec(),
            ),
            "text" => Takes::Text,
            "button" | "scene" => Takes::Press(said(
                if component == "button" { "payload_press" } else { "payload_on" },
                if component == "button" { "PRESS" } else { "ON" },
            )),
            _ => return None,
        };
        let around = text("command_template").map(split).map_or(Some(None), |split| split.map(Some))?;
        Some(Self { topic: topic.to_owned(), around, takes })
    }

    /// The entity's topic and payload for an action.
    pub(super) fn write(
        &self,
        action: &str,
        value: Option<&Json>,
    ) -> Result<(String, Vec<u8>), CommandError> {
        let expected = || CommandError::Unfit { name: "value", expected: self.takes.to_string() };
        let word = match (&self.takes, action, value) {
            (Takes::Press(word), "press", None) => word.clone(),
            (Takes::Switch { on, off }, "set", Some(Json::Bool(is_on))) => {
                if *is_on {
                    on.clone()
                } else {
                    off.clone()
                }
            }
            (Takes::Number { min, max }, "set", Some(Json::Number(number))) => {
                let fits = number.as_f64().is_some_and(|number| (*min..=*max).contains(&number));
                if fits { number.to_string() } else { return Err(expected()) }
            }
            (Takes::Choice(words), "set", Some(Json::String(word))) if words.contains(word) => word.clone(),
            (Takes::Text, "set", Some(Json::String(word))) if word.chars().count() <= MOST_CHARS => {
                word.clone()
            }
            _ => return Err(expected()),
        };
        let payload = match &self.around {
            Some((before, behind)) => format!("{before}{word}{behind}"),
            None => word,
        };
        Ok((self.topic.clone(), payload.into_bytes()))
    }
}

impl std::fmt::Display for Takes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Switch { .. } => f.write_str("true or false, by the action set"),
            Self::Number { min, max } => write!(f, "a number from {min} to {max}, by the action set"),
            Self::Choice(words) => write!(f, "one of {}, by the action set", words.join(", ")),
            Self::Text => write!(f, "a text of at most {MOST_CHARS} characters, by the action set"),
            Self::Press(_) => f.write_str("nothing, by the action press"),
        }
    }
}

/// A template that puts the value into a text: what stands before it, and behind.
fn split(template: &str) -> Option<(String, String)> {
    let (before, rest) = template.split_once("{{")?;
    let (inner, behind) = rest.split_once("}}")?;
    let value = inner.split('|').map(str::trim).collect::<Vec<_>>();
    let plain = matches!(value.as_slice(), ["value"] | ["value", "int" | "float" | "string"]);
    let fixed = |text: &str| !text.contains("{{") && !text.contains("{%");
    (plain && fixed(before) && fixed(behind)).then(|| (before.to_owned(), behind.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn control(component: &str, object: &Json) -> Option<Control> {
        Control::of(object.as_object()?, component)
    }

    fn told(component: &str, object: Json, action: &str, value: Json) -> Result<String, String> {
        let value = Some(&value).filter(|value| !value.is_null());
        let written = control(component, &object).unwrap().write(action, value);
        let (topic, payload) = written.map_err(|error| error.to_string())?;
        assert_eq!(topic, "t");
        Ok(String::from_utf8_lossy(&payload).into_owned())
    }

    #[test]
    fn each_kind_of_entity_is_told_in_its_own_words() {
        let plain = || json!({ "command_topic": "t" });
        assert_eq!(told("switch", plain(), "set", json!(true)).unwrap(), "ON");
        let words = json!({ "command_topic": "t", "payload_off": 0 });
        assert_eq!(told("switch", words, "set", json!(false)).unwrap(), "0");
        let range = json!({ "command_topic": "t", "min": -5, "max": 5, "command_template": "{\"v\": {{ value | int }} }" });
        assert_eq!(told("number", range, "set", json!(-5)).unwrap(), "{\"v\": -5 }");
        let options = json!({ "command_topic": "t", "options": ["eco", "boost"] });
        assert_eq!(told("select", options, "set", json!("eco")).unwrap(), "eco");
        assert_eq!(told("button", plain(), "press", Json::Null).unwrap(), "PRESS");
        assert_eq!(told("cover", plain(), "set", json!("STOP")).unwrap(), "STOP");
        assert_eq!(told("lock", plain(), "set", json!(true)).unwrap(), "LOCK");
    }

    #[test]
    fn what_an_entity_does_not_take_is_refused_with_what_it_takes() {
        let plain = || json!({ "command_topic": "t" });
        let options = json!({ "command_topic": "t", "options": ["eco", "boost"] });
        for (component, object, action, value, expected) in [
            ("switch", plain(), "set", json!("ON"), "true or false"),
            ("switch", plain(), "press", Json::Null, "true or false"),
            ("number", plain(), "set", json!(101), "a number from 1 to 100"),
            ("number", plain(), "set", json!("7"), "a number from 1 to 100"),
            ("select", options, "set", json!("turbo"), "one of eco, boost"),
            ("button", plain(), "set", json!(true), "by the action press"),
            ("text", plain(), "set", json!("x".repeat(256)), "at most 255"),
        ] {
            let refused = told(component, object, action, value).unwrap_err();
            assert!(refused.contains(expected), "{component}: {refused}");
        }
    }

    #[test]
    fn an_entity_that_cannot_be_told_takes_no_commands() {
        for (component, object) in [
            ("switch", json!({})),
            ("switch", json!({ "command_topic": "a/#" })),
            ("sensor", json!({ "command_topic": "t" })),
            ("light", json!({ "command_topic": "t", "schema": "json" })),
            ("number", json!({ "command_topic": "t", "command_template": "{% if value %}1{% endif %}" })),
            ("number", json!({ "command_topic": "t", "command_template": "{{ value }} {{ value }}" })),
            ("select", json!({ "command_topic": "t" })),
        ] {
            assert_eq!(control(component, &object), None, "{component} {object}");
        }
    }
}
