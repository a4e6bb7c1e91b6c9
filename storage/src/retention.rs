//! How long what is kept, and what goes first when there is too much of it. Pure: it is asked about days and sizes and
//! touches nothing.
//!
//! Ages are counted in whole UTC days from the end of the day that a reading belongs to. A day is never cut: what is
//! younger than the limit is always there.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use voltree_model::{DeviceId, Timestamp};

use crate::Level;
use crate::bucket::Day;
use crate::rollup::DAY_MS;

/// How many days everything of one device is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepDays {
    /// Its readings.
    pub raw: u32,
    /// Their rollups of minutes.
    pub minutes: u32,
    /// Their rollups of hours.
    pub hours: u32,
    /// Their rollups of days.
    pub days: u32,
}

impl Default for KeepDays {
    /// Three months of readings, a little more than a year of minutes, ten years of hours and a hundred of days.
    fn default() -> Self {
        Self { raw: 90, minutes: 400, hours: 3_653, days: 36_525 }
    }
}

/// What a bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Raw,
    Rollup(Level),
}

/// How long what is kept; everything for ever, until it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// What holds for most devices.
    pub default: KeepDays,
    /// What holds for some.
    pub devices: BTreeMap<DeviceId, KeepDays>,
    /// How many bytes the buckets may take; the oldest readings go first, then the oldest minutes. `None` is no limit.
    pub max_bytes: Option<u64>,
}

impl KeepDays {
    /// So long that nobody will see its end.
    pub const FOREVER: Self = Self { raw: u32::MAX, minutes: u32::MAX, hours: u32::MAX, days: u32::MAX };

    fn of(&self, kind: Kind) -> i64 {
        i64::from(match kind {
            Kind::Raw => self.raw,
            Kind::Rollup(Level::Minutes) => self.minutes,
            Kind::Rollup(Level::Hours) => self.hours,
            Kind::Rollup(Level::Days) => self.days,
        })
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { default: KeepDays::FOREVER, devices: BTreeMap::new(), max_bytes: None }
    }
}

impl Retention {
    fn keep(&self, device: &DeviceId, kind: Kind) -> i64 {
        self.devices.get(device).unwrap_or(&self.default).of(kind)
    }

    /// Whether what a device said on a day is past its time.
    pub(crate) fn is_past(&self, device: &DeviceId, kind: Kind, day: Day, now: Timestamp) -> bool {
        age(day, now) >= self.keep(device, kind)
    }

    /// Whether a day is past its time for every device.
    pub(crate) fn is_past_for_all(&self, kind: Kind, day: Day, now: Timestamp) -> bool {
        let longest = self.devices.values().map(|keep| keep.of(kind)).max().unwrap_or(0);
        age(day, now) >= longest.max(self.default.of(kind))
    }

    /// The longest time that a day of this age is past; different answers mean that there is something new to remove.
    pub(crate) fn past_limit(&self, kind: Kind, day: Day, now: Timestamp) -> Option<i64> {
        let age = age(day, now);
        let limits = self.devices.values().chain([&self.default]).map(|keep| keep.of(kind));
        limits.filter(|limit| *limit <= age).max()
    }
}

/// How many days a day has been over; negative while it is not.
fn age(day: Day, now: Timestamp) -> i64 {
    now.as_millis().saturating_sub(day.end().as_millis()).div_euclid(DAY_MS)
}

/// What is too old to be taken in, shared by the store and the doors.
#[derive(Debug, Default)]
pub struct AgeLimits(RwLock<Limits>);

/// The limits as they are now.
#[derive(Debug, Default)]
struct Limits {
    retention: Retention,
    /// The last day of which readings were removed; none that old is taken in again.
    removed_through: Option<Day>,
}

impl Limits {
    /// What is kept for ever may come in again even for days that were removed.
    fn removed_for(&self, device: &DeviceId) -> Option<Day> {
        let for_ever = self.retention.devices.get(device) == Some(&KeepDays::FOREVER);
        self.removed_through.filter(|_| !for_ever)
    }
}

impl AgeLimits {
    /// Whether a reading of this time would come too late to be kept.
    pub fn refuses(&self, device: &DeviceId, at: Timestamp, now: Timestamp) -> bool {
        let limits = self.0.read();
        let day = Day::of(at);
        limits.removed_for(device).is_some_and(|through| day <= through)
            || limits.retention.is_past(device, Kind::Raw, day, now)
    }

    /// The first moment of which a reading would not come too late; `None` if none would.
    pub fn oldest(&self, device: &DeviceId, now: Timestamp) -> Option<Timestamp> {
        let limits = self.0.read();
        let keep = limits.retention.devices.get(device).unwrap_or(&limits.retention.default);
        let today = Day::of(now);
        let by_age = (keep.raw < u32::MAX).then(|| Day(today.0.saturating_sub(i64::from(keep.raw))));
        let by_removal = limits.removed_for(device).map(|through| Day(through.0.saturating_add(1)));
        by_age.max(by_removal).map(|day| day.first_hour().start())
    }

    pub(crate) fn set_retention(&self, retention: Retention) {
        self.0.write().retention = retention;
    }

    pub(crate) fn set_removed_through(&self, day: Day) {
        let mut limits = self.0.write();
        limits.removed_through = limits.removed_through.max(Some(day));
    }

    pub(crate) fn retention(&self) -> Retention {
        self.0.read().retention.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(text: &str) -> DeviceId {
        DeviceId::new(text).unwrap()
    }

    fn at_day(days: i64) -> Timestamp {
        Timestamp::from_millis(days * DAY_MS)
    }

    #[test]
    fn a_day_is_past_once_it_has_been_over_for_as_long_as_it_is_kept() {
        let keep = KeepDays { raw: 2, ..KeepDays::default() };
        let devices = BTreeMap::from([(device("long"), KeepDays { raw: 5, ..keep })]);
        let retention = Retention { default: keep, devices, max_bytes: None };
        let past = |name, day, now| retention.is_past(&device(name), Kind::Raw, Day(day), at_day(now));
        assert!(!past("a", 10, 12) && past("a", 10, 13));
        assert!(!past("long", 10, 13) && past("long", 10, 16));
        assert!(!retention.is_past_for_all(Kind::Raw, Day(10), at_day(13)));
        assert!(retention.is_past_for_all(Kind::Raw, Day(10), at_day(16)));
        let limit = |now| retention.past_limit(Kind::Raw, Day(10), at_day(now));
        assert_eq!([limit(12), limit(13), limit(15), limit(16)], [None, Some(2), Some(2), Some(5)]);
    }

    #[test]
    fn the_door_refuses_what_would_be_removed_at_once_and_what_was_removed() {
        let limits = AgeLimits::default();
        limits.set_retention(Retention { default: KeepDays::default(), ..Retention::default() });
        let refuses = |day, now| limits.refuses(&device("a"), at_day(day), at_day(now));
        assert!(!refuses(10, 100) && refuses(10, 101));
        assert_eq!(limits.oldest(&device("a"), at_day(101)), Some(at_day(11)));
        limits.set_removed_through(Day(50));
        assert!(refuses(50, 60) && !refuses(51, 60));
        assert_eq!(limits.oldest(&device("a"), at_day(60)), Some(at_day(51)));
    }

    #[test]
    fn what_is_kept_for_ever_is_never_too_old() {
        let limits = AgeLimits::default();
        let devices = BTreeMap::from([(device("a"), KeepDays::FOREVER)]);
        limits.set_retention(Retention { default: KeepDays::default(), devices, max_bytes: None });
        limits.set_removed_through(Day(50));
        assert!(!limits.refuses(&device("a"), at_day(0), at_day(1_000)));
        assert_eq!(limits.oldest(&device("a"), at_day(1_000)), None);
        assert!(limits.refuses(&device("b"), at_day(0), at_day(1_000)));
    }
}
