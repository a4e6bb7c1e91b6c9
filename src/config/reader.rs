//! Taking a TOML table apart key by key, so that every mistake and every unknown key is found in one go.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use toml::{Table, Value};

/// Something that is wrong with one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    key: String,
    reason: String,
}

impl Mistake {
    pub(crate) fn new(key: String, reason: String) -> Self {
        Self { key, reason }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

/// A table whose keys are taken out as they are understood; what is left at the end nobody knows.
#[derive(Debug)]
pub(super) struct Section {
    path: String,
    table: Table,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "any other type of TOML value is the same mistake")]
impl Section {
    pub(super) fn root(table: Table) -> Self {
        Self { path: String::new(), table }
    }

    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn mistake(&self, key: &str, reason: &str, mistakes: &mut Vec<Mistake>) {
        mistakes.push(Mistake::new(self.key(key), reason.to_owned()));
    }

    /// Reads a sub-table, if it is there.
    pub(super) fn section(
        &mut self,
        key: &str,
        mistakes: &mut Vec<Mistake>,
        read: impl FnOnce(&mut Self, &mut Vec<Mistake>),
    ) {
        match self.table.remove(key) {
            None => {}
            Some(Value::Table(table)) => {
                let mut section = Self { path: self.key(key), table };
                read(&mut section, mistakes);
                section.finish(mistakes);
            }
            Some(_) => self.mistake(key, &format!("must be a section [{key}]"), mistakes),
        }
    }

    /// Takes an array of tables.
    pub(super) fn sections(&mut self, key: &str, mistakes: &mut Vec<Mistake>) -> Vec<Self> {
        let values = match self.table.remove(key) {
            None => return Vec::new(),
            Some(Value::Array(values)) => values,
            Some(_) => {
                self.mistake(key, &format!("must be a list of sections [[{key}]]"), mistakes);
                return Vec::new();
            }
        };
        let mut sections = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            let path = self.key(&format!("{key}[{index}]"));
            match value {
                Value::Table(table) => sections.push(Self { path, table }),
                _ => mistakes.push(Mistake::new(path, "must be a table".to_owned())),
            }
        }
        sections
    }

    /// The whole table, for whoever has a reader of its own.
    pub(super) fn into_table(self) -> Table {
        self.table
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Names every key that nobody took.
    pub(super) fn finish(self, mistakes: &mut Vec<Mistake>) {
        for key in self.table.keys() {
            self.mistake(key, "unknown key", mistakes);
        }
    }

    pub(super) fn required(&self, keys: &[&str], mistakes: &mut Vec<Mistake>) {
        for key in keys.iter().filter(|key| !self.table.contains_key(**key)) {
            self.mistake(key, "is missing", mistakes);
        }
    }

    pub(super) fn text(&mut self, key: &str, mistakes: &mut Vec<Mistake>) -> Option<String> {
        match self.table.remove(key)? {
            Value::String(text) if !text.is_empty() => Some(text),
            _ => {
                self.mistake(key, "must be a text that is not empty", mistakes);
                None
            }
        }
    }

    pub(super) fn flag(&mut self, key: &str, mistakes: &mut Vec<Mistake>) -> Option<bool> {
        let value = self.table.remove(key)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.mistake(key, "must be true or false", mistakes);
        }
        flag
    }

    pub(super) fn checked<T>(
        &mut self,
        key: &str,
        check: impl FnOnce(&str) -> Result<T, String>,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<T> {
        let text = self.text(key, mistakes)?;
        match check(&text) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.mistake(key, &reason, mistakes);
                None
            }
        }
    }

    pub(super) fn parsed<T: FromStr>(
        &mut self,
        key: &str,
        what: &str,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<T> {
        self.checked(key, |text| text.parse().map_err(|_| format!("{text:?} is not {what}")), mistakes)
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &str,
        choices: &[(&str, T)],
        mistakes: &mut Vec<Mistake>,
    ) -> Option<T> {
        let choose = |text: &str| {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let chosen = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
            chosen.ok_or_else(|| format!("{text:?} is none of: {}", names.join(", ")))
        };
        self.checked(key, choose, mistakes)
    }

    pub(super) fn number(
        &mut self,
        key: &str,
        range: RangeInclusive<f64>,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<f64> {
        let number = match self.table.remove(key)? {
            Value::Float(number) => number,
            #[expect(clippy::cast_precision_loss, reason = "a limit that large is out of range anyway")]
            Value::Integer(number) => number as f64,
            _ => {
                self.mistake(key, "must be a number", mistakes);
                return None;
            }
        };
        if range.contains(&number) {
            return Some(number);
        }
        self.mistake(key, &format!("must lie between {} and {}", range.start(), range.end()), mistakes);
        None
    }

    pub(super) fn whole(
        &mut self,
        key: &str,
        range: RangeInclusive<u64>,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<u64> {
        let number = self.table.remove(key)?.as_integer().and_then(|number| u64::try_from(number).ok());
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        let reason = format!("must be a whole number between {} and {}", range.start(), range.end());
        self.mistake(key, &reason, mistakes);
        None
    }

    pub(super) fn list(&mut self, key: &str, mistakes: &mut Vec<Mistake>) -> Vec<String> {
        let values = match self.table.remove(key) {
            None => return Vec::new(),
            Some(Value::Array(values)) => values,
            Some(other) => vec![other],
        };
        let texts: Option<Vec<_>> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
        if texts.is_none() {
            self.mistake(key, "must be a list of texts", mistakes);
        }
        texts.unwrap_or_default()
    }

    pub(super) fn texts(&mut self, key: &str, mistakes: &mut Vec<Mistake>) -> BTreeMap<String, String> {
        match self.table.remove(key) {
            None => BTreeMap::new(),
            Some(Value::Table(table)) => {
                let mut texts = BTreeMap::new();
                for (name, value) in table {
                    match value {
                        Value::String(text) => {
                            texts.insert(name, text);
                        }
                        _ => self.mistake(&format!("{key}.{name}"), "must be a text", mistakes),
                    }
                }
                texts
            }
            Some(_) => {
                self.mistake(key, "must be a table of texts", mistakes);
                BTreeMap::new()
            }
        }
    }
}
