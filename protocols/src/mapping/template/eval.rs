//! What a template's tree comes to for one payload. Nothing stands for whatever the payload lacks.

use serde_json::{Number, Value as Json};

use super::{Expr, Filter, Node, Op};

/// What a template may look at.
pub(super) struct Scope<'a> {
    pub(super) payload: &'a str,
    pub(super) json: Option<&'a Json>,
}

/// A number as JSON: whole where it is whole and exact.
pub(super) fn number(number: f64) -> Option<Json> {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and lies in that range")]
        return Some(Json::from(number as i64));
    }
    Number::from_f64(number).map(Json::Number)
}

/// The longest text that a template may make: without a bound it could multiply what a stranger publishes.
const LONGEST: usize = 64 * 1024;

fn joined(mut left: String, right: &str) -> Option<String> {
    left.push_str(right);
    (left.len() <= LONGEST).then_some(left)
}

impl Scope<'_> {
    /// Writes nodes; nothing if any of them lacks what it asks for.
    pub(super) fn write(&self, nodes: &[Node], text: &mut String) -> Option<()> {
        for node in nodes {
            match node {
                Node::Text(literal) => text.push_str(literal),
                Node::Print(expression) => {
                    *text = joined(std::mem::take(text), &written(&self.value(expression)?))?
                }
                Node::If(branches) => {
                    let mut branches = branches.iter();
                    let taken =
                        branches.find(|(condition, _)| self.value(condition).as_ref().is_some_and(truth));
                    if let Some((_, nodes)) = taken {
                        self.write(nodes, text)?;
                    }
                }
            }
        }
        Some(())
    }

    /// An expression's value.
    pub(super) fn value(&self, expression: &Expr) -> Option<Json> {
        match expression {
            Expr::Literal(value) => Some(value.clone()),
            Expr::Value => Some(Json::String(self.payload.to_owned())),
            Expr::ValueJson => self.json.cloned(),
            Expr::Undefined => None,
            Expr::Item(..) => self.place(expression).cloned(),
            Expr::Filter(subject, filter, arguments) => self.filter(subject, *filter, arguments),
            Expr::Not(inner) => Some(Json::Bool(!self.value(inner).as_ref().is_some_and(truth))),
            Expr::Negative(inner) => number(-as_number(&self.value(inner)?)?),
            Expr::Binary(op, left, right) => self.binary(*op, left, right),
            Expr::Choice { condition, then, other } => {
                if self.value(condition).as_ref().is_some_and(truth) {
                    self.value(then)
                } else {
                    self.value(other.as_ref()?)
                }
            }
            Expr::IsDefined(inner) => Some(Json::Bool(self.value(inner).is_some())),
        }
    }

    /// Walks down without copying what lies on the way.
    fn place(&self, expression: &Expr) -> Option<&Json> {
        let Expr::Item(subject, key) = expression else {
            return matches!(expression, Expr::ValueJson).then_some(self.json).flatten();
        };
        let subject = self.place(subject)?;
        match self.value(key)? {
            Json::String(key) => subject.get(key),
            Json::Number(index) => {
                let index = index.as_f64().filter(|index| (0.0..1e9).contains(index))?;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it lies in that range; an index is whole"
                )]
                subject.get(index as usize)
            }
            Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
        }
    }

    fn filter(&self, subject: &Expr, filter: Filter, arguments: &[Expr]) -> Option<Json> {
        let value = self.value(subject);
        let argument = |index: usize| self.value(arguments.get(index)?);
        match filter {
            Filter::Default => value.or_else(|| argument(0)),
            Filter::IsDefined => value,
            Filter::Float => value.as_ref().and_then(as_number).and_then(number).or_else(|| argument(0)),
            Filter::Int => {
                let whole = value.as_ref().and_then(as_number).map(f64::trunc);
                whole.and_then(number).or_else(|| argument(0))
            }
            Filter::Round => {
                let digits = argument(0).as_ref().and_then(as_number).unwrap_or(0.0).clamp(0.0, 12.0);
                let factor = 10_f64.powf(digits.trunc());
                number((as_number(&value?)? * factor).round() / factor)
            }
            Filter::Abs => number(as_number(&value?)?.abs()),
            Filter::Lower => Some(Json::String(written(&value?).to_lowercase())),
            Filter::Upper => Some(Json::String(written(&value?).to_uppercase())),
            Filter::Trim => Some(Json::String(written(&value?).trim().to_owned())),
            Filter::Text => Some(Json::String(written(&value?))),
            Filter::Bool => {
                let value = value?;
                let yes = |text: &str| ["1", "true", "yes", "on"].contains(&text.to_lowercase().as_str());
                Some(Json::Bool(value.as_str().map_or_else(|| truth(&value), yes)))
            }
            Filter::Iif => match value.as_ref().is_some_and(truth) {
                true => argument(0).or(Some(Json::Bool(true))),
                false => argument(1).or(Some(Json::Bool(false))),
            },
        }
    }

    fn binary(&self, op: Op, left: &Expr, right: &Expr) -> Option<Json> {
        let holds = |expression| self.value(expression).as_ref().is_some_and(truth);
        if op == Op::And {
            return Some(Json::Bool(holds(left) && holds(right)));
        }
        if op == Op::Or {
            return Some(Json::Bool(holds(left) || holds(right)));
        }
        let (left, right) = (self.value(left)?, self.value(right)?);
        let numbers = || Some((as_number(&left)?, as_number(&right)?));
        let compare = |holds: fn(f64, f64) -> bool| numbers().map(|(a, b)| Json::Bool(holds(a, b)));
        let count = |compute: fn(f64, f64) -> f64| numbers().and_then(|(a, b)| number(compute(a, b)));
        match op {
            Op::Equal => Some(Json::Bool(equal(&left, &right))),
            Op::Unequal => Some(Json::Bool(!equal(&left, &right))),
            Op::Less => compare(|a, b| a < b),
            Op::LessOrEqual => compare(|a, b| a <= b),
            Op::Greater => compare(|a, b| a > b),
            Op::GreaterOrEqual => compare(|a, b| a >= b),
            Op::In => Some(Json::Bool(contains(&right, &left))),
            Op::Add if left.is_string() && right.is_string() => {
                joined(written(&left), &written(&right)).map(Json::String)
            }
            Op::Join => joined(written(&left), &written(&right)).map(Json::String),
            Op::Add => count(|a, b| a + b),
            Op::Subtract => count(|a, b| a - b),
            Op::Multiply => count(|a, b| a * b),
            Op::Divide => count(|a, b| a / b),
            Op::Remainder => count(f64::rem_euclid),
            Op::And | Op::Or => None,
        }
    }
}

fn equal(left: &Json, right: &Json) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => (left - right).abs() < f64::EPSILON,
        _ => left == right,
    }
}

fn contains(whole: &Json, part: &Json) -> bool {
    match (whole, part) {
        (Json::Array(items), _) => items.iter().any(|item| equal(item, part)),
        (Json::Object(entries), Json::String(key)) => entries.contains_key(key),
        (Json::String(text), Json::String(part)) => text.contains(part),
        (Json::Object(_) | Json::String(_) | Json::Null | Json::Bool(_) | Json::Number(_), _) => false,
    }
}

fn truth(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(flag) => *flag,
        Json::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Json::String(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        Json::Object(entries) => !entries.is_empty(),
    }
}

fn as_number(value: &Json) -> Option<f64> {
    match value {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => text.trim().parse().ok(),
        Json::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

fn written(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        // A number that is whole is written without a point, as Jinja writes an integer.
        Json::Number(number) => {
            number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string())
        }
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => value.to_string(),
    }
}
