//! What a pack is used for: how much current a site asks of it, or has for it, at a time of day.
//!
//! Pure functions of the time and a seed: clouds, kettles and mains failures are drawn from both, so that a run can be
//! played again and a day can be looked at from its middle. Whether the current flows is decided by charger, inverter and
//! protections, not here.

use std::f64::consts::TAU;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const SECONDS_PER_DAY: f64 = 86_400.0;

/// The kind of site.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// Nothing but what `set_current` asks for.
    #[default]
    Rest,
    /// A house with panels on its roof: charged over midday, used in the morning and most in the evening.
    House,
    /// A site that lives on its panels alone: strong sun under clouds, a steady load day and night.
    Solar,
    /// A radio mast on float: full while there is mains, discharged while it fails, about one time slot of 6 h in four.
    Telecom,
}

/// A profile that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no load profile; there are house, solar, telecom and rest")]
pub struct UnknownProfile {
    name: String,
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "rest" => Ok(Self::Rest),
            "house" => Ok(Self::House),
            "solar" => Ok(Self::Solar),
            "telecom" => Ok(Self::Telecom),
            _ => Err(UnknownProfile { name: name.to_owned() }),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rest => "rest",
            Self::House => "house",
            Self::Solar => "solar",
            Self::Telecom => "telecom",
        })
    }
}

impl Profile {
    /// What the site asks for at a time since any midnight, as a multiple of the rated capacity per hour, positive while
    /// charging; `None` where it asks for nothing.
    pub(super) fn demanded_rate(self, time: Duration, seed: u64) -> Option<f64> {
        let seconds = time.as_secs_f64();
        let hour = seconds % SECONDS_PER_DAY / 3600.0;
        let chance = |every_s: f64, salt: u64| drawn(seed, (seconds / every_s).floor(), salt);
        match self {
            Self::Rest => None,
            Self::House => {
                let load = 0.03
                    + 0.05 * bump(hour, 7.5, 1.0)
                    + 0.15 * bump(hour, 19.5, 2.0)
                    + if chance(300.0, 1) < 0.12 { 0.12 } else { 0.0 };
                Some(0.35 * sun(hour) * clouds(seconds, seed) - load)
            }
            Self::Solar => Some(0.5 * sun(hour) * clouds(seconds, seed) - 0.07 - 0.02 * chance(900.0, 2)),
            Self::Telecom => {
                let load = 0.12 + 0.02 * (hour / 24.0 * TAU).sin();
                Some(if mains_fail(seconds, seed) { -load } else { 0.2 })
            }
        }
    }
}

/// The panels' share of their peak: a bell from six to six.
fn sun(hour: f64) -> f64 {
    ((hour - 6.0) / 12.0 * TAU / 2.0).sin().max(0.0)
}

/// What clouds leave of the sun; drawn every ten minutes and blended in between.
fn clouds(seconds: f64, seed: u64) -> f64 {
    let slot = (seconds / 600.0).floor();
    let share = seconds / 600.0 - slot;
    let (now, next) = (drawn(seed, slot, 3), drawn(seed, slot + 1.0, 3));
    1.0 - 0.6 * (now + (next - now) * share)
}

/// A failure lies inside its slot of six hours, and lasts from 20 minutes to 3 hours.
fn mains_fail(seconds: f64, seed: u64) -> bool {
    const SLOT_S: f64 = 21_600.0;
    let slot = (seconds / SLOT_S).floor();
    if drawn(seed, slot, 4) >= 0.25 {
        return false;
    }
    let lasts = 1_200.0 + 9_600.0 * drawn(seed, slot, 5);
    let begins = (SLOT_S - lasts) * drawn(seed, slot, 6);
    (begins..begins + lasts).contains(&(seconds - slot * SLOT_S))
}

fn bump(hour: f64, middle: f64, width: f64) -> f64 {
    (-((hour - middle) / width).powi(2)).exp()
}

/// A number from 0 to 1 that belongs to a seed, a slot of time and a purpose.
fn drawn(seed: u64, slot: f64, salt: u64) -> f64 {
    let mixed = seed.rotate_left(32) ^ slot.to_bits() ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    fastrand::Rng::with_seed(mixed).f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(profile: Profile, seed: u64, day: u64) -> Vec<f64> {
        (0..1440)
            .map(|minute| {
                profile.demanded_rate(Duration::from_secs(day * 86_400 + minute * 60), seed).unwrap()
            })
            .collect()
    }

    fn ampere_hours(demands: &[f64]) -> f64 {
        demands.iter().map(|rate| rate / 60.0).sum()
    }

    #[test]
    fn a_house_charges_at_noon_and_lives_on_it_in_the_evening() {
        let demands = day(Profile::House, 1, 0);
        assert!(ampere_hours(&demands[660..840]) > 0.2);
        assert!(ampere_hours(&demands[1080..1320]) < -0.3);
        assert!(demands.iter().all(|rate| (-0.4..0.4).contains(rate)));
    }

    #[test]
    fn a_solar_site_gets_more_than_it_uses_on_most_days() {
        let good = (0..30).filter(|n| ampere_hours(&day(Profile::Solar, 3, *n)) > 0.0).count();
        assert!(good > 15, "{good} of 30 days");
    }

    #[test]
    fn mains_fail_now_and_then_and_never_for_longer_than_three_hours() {
        let demands: Vec<f64> = (0..30).flat_map(|n| day(Profile::Telecom, 2, n)).collect();
        let failures: Vec<usize> = demands
            .chunk_by(|a, b| (*a < 0.0) == (*b < 0.0))
            .filter(|run| run[0] < 0.0)
            .map(<[_]>::len)
            .collect();
        assert!((15..=45).contains(&failures.len()), "{} failures in 30 days", failures.len());
        assert!(failures.iter().all(|minutes| (19..=181).contains(minutes)), "{failures:?}");
    }

    #[test]
    fn a_time_and_a_seed_give_one_demand_and_another_seed_another() {
        assert_eq!(day(Profile::House, 7, 3), day(Profile::House, 7, 3));
        assert_ne!(day(Profile::House, 7, 3), day(Profile::House, 8, 3));
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for profile in [Profile::Rest, Profile::House, Profile::Solar, Profile::Telecom] {
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
        let error = "boat".parse::<Profile>().unwrap_err().to_string();
        assert!(error.contains("boat") && error.contains("telecom"), "{error}");
    }
}
