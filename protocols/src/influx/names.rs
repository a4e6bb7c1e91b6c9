//! What the series of a line are called, and the names of the lines before: a writer says the same measurement, tags and
//! fields each time, so that the names of one line are mostly those of an earlier one.
//!
//! A line is compared with what was said before as it stands, so nothing is put together, checked or hashed for one that
//! is alike. Which series a line has never depends on what is remembered.

use std::borrow::Cow;
use std::collections::HashSet;

use voltree_model::{MetricName, SeriesSet, Unit};

use super::{Line, Mapping, OWN_MEASUREMENT};

/// So many kinds of lines are remembered, the oldest of which gives way.
const MOST_KINDS: usize = 16;

/// The names of the lines before, all of them read by one [`Mapping`].
#[derive(Debug, Default)]
pub struct KnownNames {
    kinds: Vec<Kind>,
    /// The one that the last line was of; writers go through theirs in turn.
    last: usize,
    oldest: usize,
}

/// Lines that differ in their device, their values and their times alone.
#[derive(Debug)]
struct Kind {
    measurement: String,
    /// The value is left out where it names the device.
    tags: Vec<(String, Option<String>)>,
    fields: Vec<String>,
    series: SeriesSet,
}

/// What stands around a field's name in the name of its series, and the unit of all of them.
pub(super) struct Names {
    before: String,
    after: String,
    pub(super) unit: Option<Result<Unit, ()>>,
}

impl KnownNames {
    /// The series of a line's fields, in their order; `None` if one of them has no name, or two have the same.
    pub(super) fn of(&mut self, line: &Line<'_>, mapping: &Mapping) -> Option<&SeriesSet> {
        let count = self.kinds.len();
        let mut in_turn = (0..count).map(|step| (self.last + step) % count);
        let known = in_turn.find(|index| self.kinds[*index].is_of(line));
        self.last = match known {
            Some(known) => known,
            None => self.learn(Kind::of(line, mapping)?),
        };
        self.kinds.get(self.last).map(|kind| &kind.series)
    }

    fn learn(&mut self, kind: Kind) -> usize {
        if self.kinds.len() < MOST_KINDS {
            self.kinds.push(kind);
            return self.kinds.len() - 1;
        }
        let place = self.oldest % MOST_KINDS;
        self.kinds[place] = kind;
        self.oldest += 1;
        place
    }
}

impl Kind {
    fn of(line: &Line<'_>, mapping: &Mapping) -> Option<Self> {
        let names = mapping.names(line);
        let unit = names.unit.clone().transpose().ok()?;
        let (mut seen, mut series) = (HashSet::new(), Vec::with_capacity(line.fields.len()));
        for (key, _) in &line.fields {
            if !seen.insert(key) {
                return None;
            }
            series.push((names.of(key)?, unit.clone()));
        }
        let named_by = mapping.named_by(line);
        let tag = |(key, value): &(Cow<'_, str>, Cow<'_, str>)| {
            let value = (named_by != Some(key.as_ref())).then(|| value.clone().into_owned());
            (key.clone().into_owned(), value)
        };
        Some(Self {
            measurement: line.measurement.clone().into_owned(),
            tags: line.tags.iter().map(tag).collect(),
            fields: line.fields.iter().map(|(key, _)| key.clone().into_owned()).collect(),
            series: series.as_slice().into(),
        })
    }

    fn is_of(&self, line: &Line<'_>) -> bool {
        self.measurement == line.measurement
            && self.fields.len() == line.fields.len()
            && self.tags.len() == line.tags.len()
            && self.tags.iter().zip(&line.tags).all(|(known, tag)| is_tag(known, tag))
            && self.fields.iter().zip(&line.fields).all(|(known, (key, _))| known == key)
    }
}

fn is_tag((key, value): &(String, Option<String>), tag: &(Cow<'_, str>, Cow<'_, str>)) -> bool {
    *key == tag.0 && value.as_ref().is_none_or(|value| *value == tag.1)
}

impl Names {
    /// What the series of a field is called, if it can be.
    pub(super) fn of(&self, key: &str) -> Option<MetricName> {
        MetricName::new(format!("{}{key}{}", self.before, self.after)).ok()
    }
}

impl Mapping {
    /// Which of a line's tags names the device.
    fn named_by(&self, line: &Line<'_>) -> Option<&str> {
        let has = |name: &&String| line.tags.iter().any(|(key, _)| key == name.as_str());
        self.device_tags.iter().find(has).map(String::as_str)
    }

    pub(super) fn names(&self, line: &Line<'_>) -> Names {
        let own = line.measurement == OWN_MEASUREMENT;
        let named_by = self.named_by(line);
        let unit = own.then(|| line.tags.iter().find(|(key, _)| key == "unit")).flatten();
        let mut rest: Vec<_> = line
            .tags
            .iter()
            .filter(|(key, _)| named_by.is_none_or(|name| key != name) && !(own && key == "unit"))
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        rest.sort_unstable();
        let before =
            if own || !self.measurement_in_name { String::new() } else { format!("{}.", line.measurement) };
        let after = if rest.is_empty() { String::new() } else { format!("{{{}}}", rest.join(",")) };
        Names { before, after, unit: unit.map(|(_, unit)| Unit::new(unit).map_err(|_| ())) }
    }
}
