//! Days as people count them: from one local midnight to the next, which is 23, 24 or 25 hours, or odder.
//!
//! The only place of this room that knows of time zones. Everything else is UTC.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use voltree_model::Timestamp;

use crate::Error;

/// Where the local days of a range begin and end: `from`, each midnight between, `to`.
///
/// `zone` is a name of the machine's time zone database, such as `Europe/Berlin`, or a POSIX rule such as
/// `CET-1CEST,M3.5.0,M10.5.0/3`.
pub fn local_day_edges(zone: &str, from: Timestamp, to: Timestamp) -> Result<Vec<Timestamp>, Error> {
    let unknown = || Error::UnknownZone { zone: zone.chars().take(64).collect() };
    let tz = TimeZone::get(zone).or_else(|_| TimeZone::posix(zone)).map_err(|_| unknown())?;
    let date = |at: Timestamp| -> Result<Date, Error> {
        let at = jiff::Timestamp::from_millisecond(at.as_millis()).map_err(|_| Error::NoCalendar { at })?;
        Ok(at.to_zoned(tz.clone()).date())
    };
    let mut edges = vec![from];
    let (mut day, last) = (date(from)?, date(to)?);
    while day < last {
        day = day.tomorrow().map_err(|_| Error::NoCalendar { at: to })?;
        // Where midnight is skipped, the day begins at the first moment after it.
        let midnight = day.to_zoned(tz.clone()).map_err(|_| Error::NoCalendar { at: to })?;
        edges.push(Timestamp::from_millis(midnight.timestamp().as_millisecond()));
    }
    edges.push(to);
    edges.retain(|edge| from <= *edge && *edge <= to);
    edges.dedup();
    Ok(edges)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn hours(edges: &[Timestamp]) -> Vec<i64> {
        edges.windows(2).map(|pair| (pair[1].as_millis() - pair[0].as_millis()) / 3_600_000).collect()
    }

    #[test]
    fn days_on_which_the_clock_is_changed_have_an_hour_more_or_less() {
        let spring =
            local_day_edges(BERLIN, at("2026-03-28T00:00:00+01:00"), at("2026-03-31T00:00:00+02:00"))
                .unwrap();
        assert_eq!(hours(&spring), [24, 23, 24]);
        let autumn =
            local_day_edges(BERLIN, at("2026-10-24T00:00:00+02:00"), at("2026-10-27T00:00:00+01:00"))
                .unwrap();
        assert_eq!(hours(&autumn), [24, 25, 24]);
        assert_eq!(autumn[1], at("2026-10-24T22:00:00Z"));
    }

    #[test]
    fn a_range_is_cut_where_it_begins_and_ends() {
        let edges = local_day_edges(BERLIN, at("2026-01-01T12:00:00Z"), at("2026-01-02T12:00:00Z")).unwrap();
        assert_eq!(edges, ["2026-01-01T12:00:00Z", "2026-01-01T23:00:00Z", "2026-01-02T12:00:00Z"].map(at));
    }

    #[test]
    fn a_zone_that_nobody_knows_is_named() {
        let error = local_day_edges("Mars/Olympus", at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"))
            .unwrap_err();
        assert!(error.to_string().contains("Mars/Olympus"));
    }
}
