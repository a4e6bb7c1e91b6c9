//! One kind of time inside: UTC milliseconds. Zones and calendars belong to whoever faces a person.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(i64);

/// A text that is no RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an RFC 3339 time such as 2026-01-15T10:30:00Z")]
pub struct InvalidTimestamp {
    text: String,
}

impl Timestamp {
    /// From UTC milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// As UTC milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads an RFC 3339 time of any zone; fractions below a millisecond are cut.
    pub fn parse_rfc3339(text: &str) -> Result<Self, InvalidTimestamp> {
        text.parse::<jiff::Timestamp>()
            .map(|t| Self(t.as_millisecond()))
            .map_err(|_| InvalidTimestamp { text: text.chars().take(64).collect() })
    }

    /// This time moved on.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This time moved back.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// How long ago `earlier` was; zero when it was not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC, with milliseconds only where there are any.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_reads_and_prints_as_rfc_3339() {
        let time = Timestamp::parse_rfc3339("2026-01-15T12:30:00.250+02:00").unwrap();
        assert_eq!(time.to_string(), "2026-01-15T10:30:00.25Z");
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_bad_time_is_named_in_its_error() {
        assert!(Timestamp::parse_rfc3339("yesterday").unwrap_err().to_string().contains("yesterday"));
    }

    proptest! {
        #[test]
        fn printing_then_parsing_is_the_identity(ms in -62_000_000_000_000_i64..250_000_000_000_000) {
            let time = Timestamp::from_millis(ms);
            prop_assert_eq!(Timestamp::parse_rfc3339(&time.to_string()).unwrap(), time);
        }
    }
}
