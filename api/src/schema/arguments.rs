//! Arguments from text to the words of the model. Every refusal names the argument and says what is expected.

use std::time::Duration;

use async_graphql::{ID, Result};
use voltree_model::{DeviceId, MetricName, Timestamp};

use super::error::bad_argument;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// The longest interval an aggregation may have: a leap year's worth of days.
const LONGEST_INTERVAL: u64 = 366 * DAY;
/// The most buckets one answer may have; a year of hours fits.
const MAX_BUCKETS: i64 = 10_000;

pub(super) fn device_id(argument: &str, id: &ID) -> Result<DeviceId> {
    DeviceId::new(&**id)
        .map_err(|error| bad_argument(argument, format!("{error}; expected 1 to 64 of A-Z a-z 0-9 _ . -")))
}

/// A device id that may be left out.
pub(super) fn optional_device_id(argument: &str, id: Option<&ID>) -> Result<Option<DeviceId>> {
    id.map(|id| device_id(argument, id)).transpose()
}

pub(super) fn metric_name(argument: &str, name: &str) -> Result<MetricName> {
    MetricName::new(name).map_err(|error| bad_argument(argument, error))
}

/// The range from `from` (inside) to `to` (outside).
pub(super) fn range(from: &str, to: &str) -> Result<(Timestamp, Timestamp)> {
    let (from, to) = (time("from", from)?, time("to", to)?);
    if from > to {
        return Err(bad_argument("from", format!("{from} is later than to, {to}; expected from <= to")));
    }
    Ok((from, to))
}

fn time(argument: &str, text: &str) -> Result<Timestamp> {
    Timestamp::parse_rfc3339(text).map_err(|error| bad_argument(argument, error))
}

/// How many entries an answer may have; an explicit null means the default.
pub(super) fn limit(given: Option<i32>, default: usize, max: usize) -> Result<usize> {
    let Some(given) = given else { return Ok(default) };
    match usize::try_from(given) {
        Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
        Ok(_) | Err(_) => Err(bad_argument("limit", format!("{given} is out of range; expected 1 to {max}"))),
    }
}

/// The width of a bucket: a whole number of minutes, hours or days.
pub(super) fn interval(text: &str) -> Result<Duration> {
    let seconds = interval_seconds(text).filter(|seconds| (1..=LONGEST_INTERVAL).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        bad_argument(
            "interval",
            format!(
                "{shown:?} is no interval; expected a whole number of minutes, hours or days up to 366 days, \
                 such as \"15 minutes\", \"1 hour\" or \"1 day\""
            ),
        )
    })
}

fn interval_seconds(text: &str) -> Option<u64> {
    let mut words = text.split_ascii_whitespace();
    let (number, unit, rest) = (words.next()?, words.next()?, words.next());
    if rest.is_some() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let unit = match unit.to_ascii_lowercase().as_str() {
        "minute" | "minutes" => MINUTE,
        "hour" | "hours" => HOUR,
        "day" | "days" => DAY,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Refuses a range that would fall into more buckets than an answer may have.
pub(super) fn check_buckets(from: Timestamp, to: Timestamp, interval: Duration) -> Result<()> {
    let width = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let buckets = to.as_millis().saturating_sub(from.as_millis()) / width;
    if buckets > MAX_BUCKETS {
        return Err(bad_argument(
            "interval",
            format!(
                "the range holds {buckets} such intervals, at most {MAX_BUCKETS} are answered; \
                     expected a wider interval or a shorter range"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        interval(text).ok().map(|interval| interval.as_secs())
    }

    #[test]
    fn an_interval_is_a_whole_number_of_minutes_hours_or_days() {
        assert_eq!(seconds("1 minute"), Some(60));
        assert_eq!(seconds("15 minutes"), Some(900));
        assert_eq!(seconds("1 hour"), Some(3_600));
        assert_eq!(seconds("36 Hours"), Some(129_600));
        assert_eq!(seconds("1 day"), Some(86_400));
        assert_eq!(seconds("366 days"), Some(366 * 86_400));
    }

    #[test]
    fn anything_else_is_no_interval_and_the_error_says_what_is() {
        let bad = ["", "hour", "1h", "0 hours", "-1 hour", "+1 hour", "1.5 hours", "1 second", "1 hour ago"];
        for text in
            bad.into_iter().chain(["367 days", "99999999999999999999 days", "9999999999999999999 days"])
        {
            let error = interval(text).unwrap_err();
            assert!(error.message.starts_with("interval: "), "{text:?}: {}", error.message);
            assert!(error.message.contains("15 minutes"));
        }
    }

    #[test]
    fn a_range_of_too_many_buckets_is_refused() {
        let (from, hour) = (Timestamp::from_millis(0), Duration::from_secs(3_600));
        let hours = |count: i64| Timestamp::from_millis(count * 3_600_000);
        assert!(check_buckets(from, hours(MAX_BUCKETS), hour).is_ok());
        assert!(check_buckets(from, hours(MAX_BUCKETS + 1), hour).is_err());
        assert!(
            check_buckets(Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX), hour).is_err()
        );
    }

    #[test]
    fn a_time_may_come_from_any_zone_and_a_range_must_not_run_backwards() {
        let (from, to) = range("2026-01-15T12:30:00+02:00", "2026-01-15T10:30:00Z").unwrap();
        assert_eq!(from, to);
        let error = range("2026-01-16T00:00:00Z", "2026-01-15T00:00:00Z").unwrap_err();
        assert!(error.message.starts_with("from: "));
        let error = range("2026-01-16T00:00:00Z", "tomorrow").unwrap_err();
        assert!(error.message.starts_with("to: \"tomorrow\""), "{}", error.message);
    }

    #[test]
    fn a_limit_out_of_range_is_refused_and_none_means_the_default() {
        assert_eq!(limit(None, 100, 1_000).unwrap(), 100);
        assert_eq!(limit(Some(1_000), 100, 1_000).unwrap(), 1_000);
        for bad in [0, -1, 1_001, i32::MIN] {
            assert!(limit(Some(bad), 100, 1_000).is_err(), "{bad}");
        }
    }
}
