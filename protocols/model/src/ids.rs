//! Names that cross rooms, each valid by construction and cheap to clone.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::text::Text;

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
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct DeviceId(Arc<str>);

/// A metric's name: 1 to 128 characters, none of them a control character.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct MetricName(Text);

/// A unit as its source wrote it ("V", "°C"): up to 32 characters, shown and never computed with.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Unit(Text);

fn check(kind: &'static str, text: &str, max: usize, allowed: fn(char) -> bool) -> Result<(), InvalidId> {
    if text.is_empty() || text.len() > max {
        return Err(InvalidId::Length { kind, max, length: text.len() });
    }
    match text.chars().find(|c| !allowed(*c)) {
        Some(found) => Err(InvalidId::Character { kind, found }),
        None => Ok(()),
    }
}

macro_rules! text_id {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.as_str()).finish()
            }
        }

        /// Copies of one text, which most are, are found equal without a look at it.
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                std::ptr::eq(self.as_str(), other.as_str()) || self.as_str() == other.as_str()
            }
        }

        impl Eq for $name {}

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                if std::ptr::eq(self.as_str(), other.as_str()) {
                    return Ordering::Equal;
                }
                self.as_str().cmp(other.as_str())
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
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
                serializer.serialize_str(self.as_str())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }
    };
}

text_id!(DeviceId);
text_id!(MetricName);
text_id!(Unit);

impl DeviceId {
    /// Checks the text and takes it over.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        check("a device id", text.as_ref(), 64, allowed)?;
        Ok(Self(Arc::from(text.as_ref())))
    }

    /// Borrows the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! shared_text {
    ($name:ident, $kind:literal, $max:literal) => {
        impl $name {
            /// Checks the text and takes it over.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                let text = text.as_ref();
                // What is shared was checked before it was.
                if text.len() <= $max
                    && let Some(known) = Text::find(text)
                {
                    return Ok(Self(known));
                }
                check($kind, text, $max, |c| !c.is_control())?;
                Ok(Self(Text::keep(text)))
            }

            /// Borrows the text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Hashes which it is, without a look at its text if that is shared.
            pub(crate) fn hash_identity(&self, state: &mut impl Hasher) {
                self.0.hash_identity(state);
            }
        }
    };
}

shared_text!(MetricName, "a metric name", 128);
shared_text!(Unit, "a unit", 32);

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
    fn an_id_error_names_the_offender() {
        let error = DeviceId::new("a/b").unwrap_err().to_string();
        assert_eq!(error, "a device id may not contain '/'");
    }
}
