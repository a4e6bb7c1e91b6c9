//! Names that cross rooms, each valid by construction and cheap to clone.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// Why a text can't be an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Empty, or longer than the kind allows.
    #[error("{kind} must have 1 to {max} characters, this has {length}")]
    Length {
        /// What the text was meant to be.
        kind: &'static str,
        /// The longest allowed, in bytes.
        max: usize,
        /// What was given, in bytes.
        length: usize,
    },
    /// A character that would not survive topics, URLs and file names.
    #[error("{kind} may not contain {found:?}")]
    Character {
        /// What the text was meant to be.
        kind: &'static str,
        /// The first offending character.
        found: char,
    },
}

/// A device's identity: 1 to 64 of `[A-Za-z0-9_.-]`, the same in topics, GraphQL, REST and files.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct DeviceId(Arc<str>);

/// A metric's name: 1 to 128 characters, none of them a control character.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct MetricName(Arc<str>);

/// A unit as its source wrote it ("V", "°C"): up to 32 characters, shown and never computed with.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Unit(Arc<str>);

fn check(kind: &'static str, text: &str, max: usize, allowed: fn(char) -> bool) -> Result<(), InvalidId> {
    if text.is_empty() || text.len() > max {
        return Err(InvalidId::Length { kind, max, length: text.len() });
    }
    match text.chars().find(|c| !allowed(*c)) {
        Some(found) => Err(InvalidId::Character { kind, found }),
        None => Ok(()),
    }
}

/// So many texts are shared by each thread; whoever sends ever new names gets copies of their own.
const MOST_SHARED: usize = 2048;

/// One copy of a text that comes again and again: a node keeps hundreds of thousands of readings, and their names and units
/// would be most of them. Each thread has its own, so that no lock is taken.
fn shared(text: &str) -> Arc<str> {
    thread_local! {
        static SHARED: RefCell<HashSet<Arc<str>>> = RefCell::default();
    }
    SHARED.with_borrow_mut(|shared| {
        if let Some(known) = shared.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(text);
        if shared.len() < MOST_SHARED {
            shared.insert(Arc::clone(&new));
        }
        new
    })
}

macro_rules! text_id {
    ($name:ident, $kind:literal, $max:literal, $allowed:expr, $keep:expr) => {
        impl $name {
            /// Checks the text and takes it over.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                check($kind, text.as_ref(), $max, $allowed)?;
                Ok(Self($keep(text.as_ref())))
            }

            /// Borrows the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// Copies of one text, which most are, are found equal without a look at it.
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
            }
        }

        impl Eq for $name {}

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        /// As text, without a copy of it: this is what the journal does most.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    DeviceId,
    "a device id",
    64,
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'),
    Arc::from
);
text_id!(MetricName, "a metric name", 128, |c| !c.is_control(), shared);
text_id!(Unit, "a unit", 32, |c| !c.is_control(), shared);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_id_takes_what_topics_and_files_can_carry() {
        assert!(DeviceId::new("pack-01_A.b").is_ok());
        for bad in ["", "a b", "a/b", "a+", "énergie", &"x".repeat(65)] {
            assert!(DeviceId::new(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn names_that_come_again_are_kept_once_and_floods_of_names_are_not_kept() {
        let [first, second] = ["pack_voltage"; 2].map(|name| MetricName::new(name).unwrap());
        assert!(Arc::ptr_eq(&first.0, &second.0));
        let flood = (0..2 * MOST_SHARED).map(|number| MetricName::new(number.to_string()).unwrap());
        let kept = flood.filter(|name| Arc::strong_count(&name.0) > 1).count();
        assert!(kept < MOST_SHARED, "{kept}");
    }

    #[test]
    fn an_id_error_names_the_offender() {
        let error = DeviceId::new("a/b").unwrap_err().to_string();
        assert_eq!(error, "a device id may not contain '/'");
    }
}
