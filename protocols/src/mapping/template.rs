//! The part of Jinja that devices use when they announce themselves to Home Assistant: `{{ value_json.a.b[0] | float }}`,
//! comparisons, a little arithmetic, and `{% if %}`.
//!
//! There are no loops, no assignments and no calls, so that a template of a stranger costs what its text says and no more.
//! A template outside this part is refused when it is read, by name of what is missing.

mod eval;
mod parse;

use serde_json::Value as Json;

use eval::Scope;

/// Why a template can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It uses something that is not understood here.
    #[error("{what} is not understood in a template")]
    Unsupported {
        /// What.
        what: String,
    },
    /// It is cut off, or has a sign where none belongs.
    #[error("the template is no template near {near:?}")]
    Syntax {
        /// What stands there.
        near: String,
    },
    /// Longer or deeper than any device needs.
    #[error("the template is too long or too deep")]
    TooLarge,
}

/// A template that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueTemplate(Vec<Node>);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Print(Expr),
    /// The first branch whose condition holds.
    If(Vec<(Expr, Vec<Node>)>),
}

#[derive(Debug, Clone, PartialEq)]
enum Expr {
    Literal(Json),
    Value,
    ValueJson,
    /// A name that stands for nothing here.
    Undefined,
    Item(Box<Expr>, Box<Expr>),
    Filter(Box<Expr>, Filter, Vec<Expr>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Binary(Op, Box<Expr>, Box<Expr>),
    Choice {
        condition: Box<Expr>,
        then: Box<Expr>,
        other: Option<Box<Expr>>,
    },
    IsDefined(Box<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Join,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    Float,
    Int,
    Round,
    Default,
    Lower,
    Upper,
    Trim,
    Abs,
    Bool,
    Text,
    Iif,
    IsDefined,
}

impl ValueTemplate {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::template(text).map(Self)
    }

    /// What it makes of a payload; nothing if the payload has not what it asks for. A template that is one expression
    /// gives that expression's value, any other a text.
    pub fn render(&self, payload: &str, json: Option<&Json>) -> Option<Json> {
        let scope = Scope { payload, json };
        match self.0.as_slice() {
            [Node::Print(expression)] => scope.value(expression),
            nodes => {
                let mut text = String::new();
                scope.write(nodes, &mut text)?;
                Some(Json::String(text.trim().to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn render(template: &str, payload: &str) -> Option<Json> {
        let json = serde_json::from_str(payload).ok();
        ValueTemplate::parse(template)
            .unwrap_or_else(|error| panic!("{template}: {error}"))
            .render(payload, json.as_ref())
    }

    #[test]
    fn what_devices_write_is_understood() {
        let payload = r#"{"a":{"b":[1,"2.456"]},"state":"ON","contact":false,"x y":7,"n":null}"#;
        for (template, expected) in [
            ("{{ value_json.a.b[0] }}", json!(1)),
            ("{{value_json.a.b[1]|float|round(1)}}", json!(2.5)),
            ("{{ value_json['x y'] | int }}", json!(7)),
            ("{{ value_json.a.b[1] | float * 1000 }}", json!(2456)),
            ("{{ (value_json.a.b[0] / 4) | round(2) }}", json!(0.25)),
            ("{{ value_json.contact }}", json!(false)),
            ("{{ value_json.state == 'ON' }}", json!(true)),
            ("{{ 'on' if value_json.state == 'ON' else 'off' }}", json!("on")),
            (
                "{% if value_json.state is defined and value_json.state == 'OFF' %}0{% else %}1{% endif %}",
                json!("1"),
            ),
            (
                "{% if value_json.q is defined %}{{ value_json.q }}{% elif not value_json.contact %} c {% endif %}",
                json!("c"),
            ),
            ("{{ value_json.q | default(3) }}", json!(3)),
            ("{{ value_json.get('q', 4) }}", json!(4)),
            ("{{ iif(value_json.contact, 'a', 'b') }}", json!("b")),
            ("{{ value_json.contact | iif('a', 'b') }}", json!("b")),
            ("{{ value_json.state | lower }}-{{ value_json.a.b[0] }}", json!("on-1")),
            ("{{ value_json.state in ['ON', 'OPEN'] }}", json!(true)),
            ("{{ -value_json.a.b[0] + 3 % 2 }}", json!(0)),
        ] {
            assert_eq!(render(template, payload), Some(expected), "{template}");
        }
        assert_eq!(render("{{ value }}", "21.5"), Some(json!("21.5")));
        assert_eq!(render("{{ value | float / 10 }}", "215"), Some(json!(21.5)));
        assert_eq!(render("{{ value_json }}", "215"), Some(json!(215)));
    }

    #[test]
    fn what_the_payload_lacks_is_nothing() {
        for template in
            ["{{ value_json.q }}", "{{ value_json.q.r | float }}", "a{{ value_json.q }}", "{{ 1 / 0 }}"]
        {
            assert_eq!(render(template, "{}"), None, "{template}");
        }
        assert_eq!(render("{{ value_json.a }}", "no json"), None);
        assert_eq!(render("{{ value | float }}", "warm"), None);
        let large = "x".repeat(60_000);
        assert_eq!(
            render("{{ value ~ value ~ value ~ value }}", &large),
            None,
            "nor does a text grow without end"
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (template, what) in [
            ("{% set x = 1 %}{{ x }}", "{% set"),
            ("{% for i in value_json %}{% endfor %}", "{% for"),
            ("{{ value_json.x | regex_replace('a', 'b') }}", "the filter regex_replace"),
            ("{{ now() }}", "now()"),
            ("{{ value_json.keys() }}", "keys()"),
        ] {
            let error = ValueTemplate::parse(template).unwrap_err().to_string();
            assert_eq!(error, format!("{what} is not understood in a template"));
        }
        for broken in [
            "{{ value",
            "{{ }}",
            "{% if value %}x",
            "{{ value }",
            "{{ value_json[ }}",
            "{% endif %}",
            "{{ 'a }}",
        ] {
            assert!(ValueTemplate::parse(broken).is_err(), "{broken}");
        }
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(500), ")".repeat(500));
        assert_eq!(ValueTemplate::parse(&deep), Err(TemplateError::TooLarge));
    }

    proptest! {
        #[test]
        fn no_template_panics(template in r#"(\{\{|\}\}|\{%|%\}|if|else|endif|value_json|value|[.|()\[\]'"a1 +*/%=<>~-]|float|round){0,24}"#) {
            if let Ok(template) = ValueTemplate::parse(&template) {
                template.render("{\"a\":1}", Some(&json!({ "a": 1 })));
            }
        }
    }
}
