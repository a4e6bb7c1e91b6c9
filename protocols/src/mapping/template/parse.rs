//! From a template's text to its tree: a scanner, and a parser that goes down by precedence.

use serde_json::Value as Json;

use super::{Expr, Filter, Node, Op, TemplateError};

const LONGEST: usize = 4_096;
const DEEPEST: usize = 40;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Number(f64),
    Text(String),
    Sign(&'static str),
}

const SIGNS: [&str; 19] =
    ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ".", ",", "|", "+", "-", "*", "/", "%", "~"];

/// Reads a whole template.
pub(super) fn template(text: &str) -> Result<Vec<Node>, TemplateError> {
    if text.len() > LONGEST {
        return Err(TemplateError::TooLarge);
    }
    let mut parts = parts(text)?.into_iter().peekable();
    let nodes = nodes(&mut parts, 0)?;
    match parts.next() {
        None => Ok(nodes),
        Some(part) => Err(part.misplaced()),
    }
}

/// A text, what stands in `{{ }}`, or what stands in `{% %}`.
#[derive(Debug, Clone, PartialEq)]
enum Part<'a> {
    Text(&'a str),
    Print(&'a str),
    Statement(&'a str),
}

impl Part<'_> {
    fn misplaced(&self) -> TemplateError {
        let (Self::Text(near) | Self::Print(near) | Self::Statement(near)) = self;
        syntax(near)
    }
}

fn syntax(near: &str) -> TemplateError {
    TemplateError::Syntax { near: near.chars().filter(|c| !c.is_control()).take(30).collect() }
}

fn unsupported(what: impl Into<String>) -> TemplateError {
    TemplateError::Unsupported { what: what.into().chars().filter(|c| !c.is_control()).take(60).collect() }
}

fn parts(text: &str) -> Result<Vec<Part<'_>>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let opening = ["{{", "{%"].into_iter().filter_map(|sign| Some((rest.find(sign)?, sign))).min();
        let Some((at, sign)) = opening else {
            if !rest.is_empty() {
                parts.push(Part::Text(rest));
            }
            return Ok(parts);
        };
        let (before, inside) = rest.split_at(at);
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        let closing = if sign == "{{" { "}}" } else { "%}" };
        let (inside, after) = inside
            .strip_prefix(sign)
            .and_then(|inside| inside.split_once(closing))
            .ok_or_else(|| syntax(inside))?;
        // A dash only eats white space around it.
        let inside = inside.strip_prefix('-').unwrap_or(inside);
        let inside = inside.strip_suffix('-').unwrap_or(inside).trim();
        parts.push(if sign == "{{" { Part::Print(inside) } else { Part::Statement(inside) });
        rest = after;
    }
}

type Parts<'a> = std::iter::Peekable<std::vec::IntoIter<Part<'a>>>;

fn nodes(parts: &mut Parts<'_>, depth: usize) -> Result<Vec<Node>, TemplateError> {
    let mut nodes = Vec::new();
    while let Some(part) = parts.peek().cloned() {
        match part {
            Part::Text(text) => nodes.push(Node::Text(text.to_owned())),
            Part::Print(inside) => nodes.push(Node::Print(expression(inside)?)),
            Part::Statement(inside) => {
                let (word, rest) = inside.split_once(char::is_whitespace).unwrap_or((inside, ""));
                match word {
                    "if" => {
                        parts.next();
                        nodes.push(branches(rest, parts, depth + 1)?);
                        continue;
                    }
                    "elif" | "else" | "endif" => return Ok(nodes),
                    _ => return Err(unsupported(format!("{{% {word}"))),
                }
            }
        }
        parts.next();
    }
    Ok(nodes)
}

fn branches(condition: &str, parts: &mut Parts<'_>, depth: usize) -> Result<Node, TemplateError> {
    if depth > DEEPEST {
        return Err(TemplateError::TooLarge);
    }
    let mut branches = vec![(expression(condition)?, nodes(parts, depth)?)];
    loop {
        let Some(Part::Statement(inside)) = parts.next() else { return Err(syntax(condition)) };
        let (word, rest) = inside.split_once(char::is_whitespace).unwrap_or((inside, ""));
        match word {
            "endif" => return Ok(Node::If(branches)),
            "elif" => branches.push((expression(rest)?, nodes(parts, depth)?)),
            _ => branches.push((Expr::Literal(Json::Bool(true)), nodes(parts, depth)?)),
        }
    }
}

fn expression(text: &str) -> Result<Expr, TemplateError> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let expression = parser.choice()?;
    match parser.peek() {
        None => Ok(expression),
        Some(_) => Err(syntax(text)),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let after = if first.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, after) = rest.split_at(end);
            tokens.push(Token::Number(number.parse().map_err(|_| syntax(number))?));
            after
        } else if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            tokens.push(Token::Name(name.to_owned()));
            after
        } else if let Some(inside) = rest.strip_prefix(['\'', '"']) {
            let (inside, after) = inside.split_once(first).ok_or_else(|| syntax(rest))?;
            tokens.push(Token::Text(inside.to_owned()));
            after
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign)).ok_or_else(|| syntax(rest))?;
            tokens.push(Token::Sign(sign));
            rest.strip_prefix(sign).unwrap_or_default()
        };
        rest = after.trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

/// Operators of two sides, from those that bind least.
const LEVELS: [&[(&str, Op)]; 5] = [
    &[("or", Op::Or)],
    &[("and", Op::And)],
    &[
        ("==", Op::Equal),
        ("!=", Op::Unequal),
        ("<=", Op::LessOrEqual),
        (">=", Op::GreaterOrEqual),
        ("<", Op::Less),
        (">", Op::Greater),
        ("in", Op::In),
    ],
    &[("+", Op::Add), ("-", Op::Subtract), ("~", Op::Join)],
    &[("*", Op::Multiply), ("/", Op::Divide), ("%", Op::Remainder)],
];
/// From here on `not` no longer applies.
const COMPARISONS: usize = 2;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// Takes the next token if it is this word or sign.
    fn take(&mut self, wanted: &str) -> bool {
        let found = match self.peek() {
            Some(Token::Name(name)) => name == wanted,
            Some(Token::Sign(sign)) => *sign == wanted,
            Some(Token::Number(_) | Token::Text(_)) | None => false,
        };
        self.at += usize::from(found);
        found
    }

    fn need(&mut self, wanted: &str) -> Result<(), TemplateError> {
        if self.take(wanted) { Ok(()) } else { Err(self.wrong()) }
    }

    fn wrong(&self) -> TemplateError {
        match self.peek() {
            Some(Token::Name(near) | Token::Text(near)) => syntax(near),
            Some(Token::Sign(near)) => syntax(near),
            Some(Token::Number(near)) => syntax(&near.to_string()),
            None => syntax("its end"),
        }
    }

    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, TemplateError>,
    ) -> Result<T, TemplateError> {
        if self.depth >= DEEPEST {
            return Err(TemplateError::TooLarge);
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn choice(&mut self) -> Result<Expr, TemplateError> {
        self.deeper(|this| {
            let then = this.binary(0)?;
            if !this.take("if") {
                return Ok(then);
            }
            let condition = Box::new(this.binary(0)?);
            let other = if this.take("else") { Some(Box::new(this.choice()?)) } else { None };
            Ok(Expr::Choice { condition, then: Box::new(then), other })
        })
    }

    fn binary(&mut self, level: usize) -> Result<Expr, TemplateError> {
        let Some(operators) = LEVELS.get(level) else { return self.filtered() };
        if level == COMPARISONS && self.take("not") {
            return self.deeper(|this| Ok(Expr::Not(Box::new(this.binary(level)?))));
        }
        let mut left = self.binary(level + 1)?;
        loop {
            if level == COMPARISONS && self.take("is") {
                left = self.test(left)?;
                continue;
            }
            let Some((_, op)) = operators.iter().find(|(sign, _)| self.take(sign)) else { return Ok(left) };
            left = Expr::Binary(*op, Box::new(left), Box::new(self.binary(level + 1)?));
        }
    }

    fn test(&mut self, subject: Expr) -> Result<Expr, TemplateError> {
        let negated = self.take("not");
        let test = match self.peek() {
            Some(Token::Name(name)) => name.clone(),
            Some(Token::Number(_) | Token::Text(_) | Token::Sign(_)) | None => return Err(self.wrong()),
        };
        self.at += 1;
        let tested = match test.as_str() {
            "defined" => Expr::IsDefined(Box::new(subject)),
            "true" => Expr::Binary(Op::Equal, Box::new(subject), Box::new(Expr::Literal(Json::Bool(true)))),
            "false" => Expr::Binary(Op::Equal, Box::new(subject), Box::new(Expr::Literal(Json::Bool(false)))),
            "none" => Expr::Binary(Op::Equal, Box::new(subject), Box::new(Expr::Literal(Json::Null))),
            _ => return Err(unsupported(format!("the test {test}"))),
        };
        Ok(if negated { Expr::Not(Box::new(tested)) } else { tested })
    }

    fn filtered(&mut self) -> Result<Expr, TemplateError> {
        if self.take("-") {
            return self.deeper(|this| Ok(Expr::Negative(Box::new(this.filtered()?))));
        }
        let mut subject = self.postfixed()?;
        while self.take("|") {
            let Some(Token::Name(name)) = self.peek().cloned() else { return Err(self.wrong()) };
            self.at += 1;
            let filter = filter(&name).ok_or_else(|| unsupported(format!("the filter {name}")))?;
            let arguments = if self.take("(") { self.list(")")? } else { Vec::new() };
            subject = Expr::Filter(Box::new(subject), filter, arguments);
        }
        Ok(subject)
    }

    fn postfixed(&mut self) -> Result<Expr, TemplateError> {
        let mut subject = self.atom()?;
        loop {
            if self.take(".") {
                let Some(Token::Name(name)) = self.peek().cloned() else { return Err(self.wrong()) };
                self.at += 1;
                if !self.take("(") {
                    subject = item(subject, Expr::Literal(Json::String(name)));
                    continue;
                }
                let mut arguments = self.list(")")?.into_iter();
                let (Some(key), "get") = (arguments.next(), name.as_str()) else {
                    return Err(unsupported(format!("{name}()")));
                };
                subject = item(subject, key);
                if let Some(fallback) = arguments.next() {
                    subject = Expr::Filter(Box::new(subject), Filter::Default, vec![fallback]);
                }
            } else if self.take("[") {
                let key = self.choice()?;
                self.need("]")?;
                subject = item(subject, key);
            } else {
                return Ok(subject);
            }
        }
    }

    fn atom(&mut self) -> Result<Expr, TemplateError> {
        let Some(token) = self.peek().cloned() else { return Err(self.wrong()) };
        self.at += 1;
        match token {
            Token::Number(number) => Ok(Expr::Literal(super::eval::number(number).unwrap_or(Json::Null))),
            Token::Text(text) => Ok(Expr::Literal(Json::String(text))),
            Token::Sign("(") => {
                let inside = self.choice()?;
                self.need(")")?;
                Ok(inside)
            }
            Token::Sign("[") => {
                let items = self.list("]")?.into_iter().map(|item| {
                    let Expr::Literal(value) = item else {
                        return Err(unsupported("a list that is no constant"));
                    };
                    Ok(value)
                });
                Ok(Expr::Literal(Json::Array(items.collect::<Result<_, _>>()?)))
            }
            Token::Sign(sign) => Err(syntax(sign)),
            Token::Name(name) => self.named(&name),
        }
    }

    fn named(&mut self, name: &str) -> Result<Expr, TemplateError> {
        if self.take("(") {
            let mut arguments = self.list(")")?.into_iter();
            return match (filter(name), arguments.next()) {
                (Some(filter), Some(subject)) => {
                    Ok(Expr::Filter(Box::new(subject), filter, arguments.collect()))
                }
                (None, _) | (_, None) => Err(unsupported(format!("{name}()"))),
            };
        }
        Ok(match name {
            "value" => Expr::Value,
            "value_json" => Expr::ValueJson,
            "true" | "True" => Expr::Literal(Json::Bool(true)),
            "false" | "False" => Expr::Literal(Json::Bool(false)),
            "none" | "None" | "null" => Expr::Literal(Json::Null),
            _ => Expr::Undefined,
        })
    }

    fn list(&mut self, end: &str) -> Result<Vec<Expr>, TemplateError> {
        let mut items = Vec::new();
        while !self.take(end) {
            items.push(self.choice()?);
            if !self.take(",") {
                self.need(end)?;
                break;
            }
        }
        Ok(items)
    }
}

fn item(subject: Expr, key: Expr) -> Expr {
    Expr::Item(Box::new(subject), Box::new(key))
}

fn filter(name: &str) -> Option<Filter> {
    Some(match name {
        "float" => Filter::Float,
        "int" => Filter::Int,
        "round" => Filter::Round,
        "default" | "d" => Filter::Default,
        "lower" => Filter::Lower,
        "upper" => Filter::Upper,
        "trim" => Filter::Trim,
        "abs" => Filter::Abs,
        "bool" => Filter::Bool,
        "string" => Filter::Text,
        "iif" => Filter::Iif,
        "is_defined" => Filter::IsDefined,
        _ => return None,
    })
}
