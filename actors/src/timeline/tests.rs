use proptest::prelude::*;

use super::*;

const LEAST: Duration = Duration::from_secs(60);

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn range(from: i64, to: i64) -> Range {
    Range { from: at(from), to: at(to), known_since: Some(at(from)) }
}

fn change(state: DeviceState, since: i64) -> StateChange {
    StateChange { state, since: at(since), reason: String::new() }
}

fn life(started: i64, alive: i64) -> Life {
    Life { started: at(started), alive: at(alive) }
}

fn found(range: Range, times: &[i64]) -> Vec<(i64, i64)> {
    let mut silences = Silences::new(range, LEAST, usize::MAX, []);
    silences.take(times);
    silences.finish().iter().map(|silence| (silence.from, silence.to)).collect()
}

fn explained(silence: (i64, i64), states: &[StateChange], lives: &[Life]) -> Vec<(i64, i64, GapCause)> {
    let silence = Silence { from: silence.0, to: silence.1, patience: 60_000 };
    let gaps = Evidence::new(states, lives).explain(&silence);
    gaps.iter().map(|gap| (gap.from.as_millis(), gap.to.as_millis(), gap.cause)).collect()
}

#[test]
fn a_silence_of_more_than_a_minute_and_three_periods_counts() {
    let times: Vec<i64> = (0..10).map(|n| n * 1_000).chain([69_000, 129_001]).collect();
    assert_eq!(found(range(0, 130_000), &times), [(69_000, 129_001)]);
    let every_half_minute: Vec<i64> = (0..20).map(|n| n * 30_000).chain([660_000, 760_000]).collect();
    assert_eq!(found(range(0, 760_001), &every_half_minute), [(660_000, 760_000)]);
}

#[test]
fn what_the_range_cuts_counts_with_its_part_inside_and_nothing_is_missed_before_the_device_was_known() {
    assert_eq!(found(range(0, 300_000), &[]), [(0, 300_000)]);
    assert_eq!(found(range(0, 300_000), &[100_000, 101_000]), [(0, 100_000), (101_000, 300_000)]);
    let known = |since| Range { known_since: since, ..range(0, 300_000) };
    assert_eq!(found(known(Some(at(50_000))), &[100_000, 101_000]), [(101_000, 300_000)]);
    assert_eq!(found(known(Some(at(250_000))), &[100_000, 101_000]), [(101_000, 300_000)]);
    assert_eq!(found(known(None), &[250_000]), []);
    assert_eq!(found(known(None), &[]), []);
}

#[test]
fn times_that_are_not_sealed_yet_fill_the_silences_of_those_that_are() {
    let with_open = |open: &[i64]| {
        let mut silences = Silences::new(range(0, 202_000), LEAST, usize::MAX, open.iter().copied());
        silences.take(&[0, 1_000, 2_000]);
        silences.take(&[200_000, 201_000]);
        silences.finish().iter().map(|silence| (silence.from, silence.to)).collect::<Vec<_>>()
    };
    assert_eq!(with_open(&[]), [(2_000, 200_000)]);
    assert_eq!(with_open(&[150_000, 50_000, 100_000]), []);
}

#[test]
fn no_more_silences_are_found_than_were_asked_for() {
    let mut silences = Silences::new(range(0, 10_000_000), LEAST, 2, []);
    silences.take(&[0, 1, 2, 3, 4, 5, 100_000, 200_000, 300_000]);
    assert_eq!(silences.finish().len(), 2);
}

#[test]
fn each_cause_is_told_from_what_is_known() {
    use DeviceState::{Disabled, Offline, Online, Parked};
    let states = [change(Online, 0), change(Offline, 120_000), change(Online, 500_000)];
    let link_down = [(100_000, 500_000, GapCause::LinkDown)];
    assert_eq!(explained((100_000, 500_000), &states, &[life(0, 900_000)]), link_down);
    for state in [Parked, Disabled] {
        let states = [change(Online, 0), change(state, 100_500), change(Online, 499_000)];
        assert_eq!(explained((100_000, 500_000), &states, &[]), [(100_000, 500_000, GapCause::Parked)]);
    }
    let lives = [life(0, 98_000), life(450_000, 900_000)];
    let states = [change(Online, 0), change(Offline, 450_100), change(Online, 500_000)];
    assert_eq!(explained((100_000, 500_000), &states, &lives), [(100_000, 500_000, GapCause::NodeDown)]);
    let online = [change(Online, 0)];
    assert_eq!(explained((100_000, 500_000), &online, &lives[..1]), [(100_000, 500_000, GapCause::None)]);
    assert_eq!(explained((100_000, 500_000), &[], &[]), [(100_000, 500_000, GapCause::None)]);
}

#[test]
fn a_silence_with_several_causes_is_split() {
    use DeviceState::{Offline, Online, Parked};
    let states =
        [change(Online, 0), change(Offline, 110_000), change(Parked, 300_000), change(Online, 900_000)];
    let lives = [life(0, 500_000), life(700_000, 1_000_000)];
    let gaps = explained((100_000, 900_000), &states, &lives);
    let expected = [
        (100_000, 300_000, GapCause::LinkDown),
        (300_000, 500_000, GapCause::Parked),
        (500_000, 700_000, GapCause::NodeDown),
        (700_000, 900_000, GapCause::Parked),
    ];
    assert_eq!(gaps, expected);
}

#[test]
fn a_clock_that_was_set_back_makes_no_time_without_the_node() {
    let lives = [life(1_000_000, 2_000_000), life(500_000, 1_500_000), life(2_100_000, 2_000_000)];
    assert_eq!(Evidence::new(&[], &lives).down, [(2_000_000, 2_100_000)]);
}

fn state() -> impl Strategy<Value = DeviceState> {
    use DeviceState::{Disabled, Offline, Online, Parked, Quarantined};
    prop::sample::select(vec![Online, Offline, Parked, Quarantined, Disabled])
}

proptest! {
    /// The times are of one hour, so that its patience can be told beforehand.
    #[test]
    fn gaps_never_overlap_and_with_the_covered_stretches_make_up_the_range(
        times in prop::collection::btree_set(0_i64..HOUR_MS, 0..60),
        open in prop::collection::btree_set(0_i64..HOUR_MS, 0..20),
        changes in prop::collection::vec((state(), -10_000..HOUR_MS), 0..30),
        lives in prop::collection::vec((-10_000..HOUR_MS, -10_000..HOUR_MS), 0..10),
        cut in prop::collection::btree_set(0_i64..HOUR_MS, 2),
        least_ms in 1_i64..300_000,
    ) {
        let (Some(from), Some(to)) = (cut.first().copied(), cut.last().copied()) else { return Ok(()) };
        let all: Vec<i64> = times.union(&open).copied().filter(|at| (from..to).contains(at)).collect();
        let mut silences = Silences::new(range(from, to), Duration::from_millis(least_ms.unsigned_abs()), usize::MAX, open);
        silences.take(&times.into_iter().collect::<Vec<_>>());
        let states: Vec<_> = changes.into_iter().map(|(state, since)| change(state, since)).collect();
        let lives: Vec<_> = lives.into_iter().map(|(started, alive)| life(started, alive)).collect();
        let evidence = Evidence::new(&states, &lives);
        let patience = Silences::new(range(from, to), Duration::from_millis(least_ms.unsigned_abs()), 0, []).patience(&all);
        let gaps: Vec<_> = silences.finish().iter().flat_map(|silence| evidence.explain(silence)).collect();

        let mut gaps = gaps.into_iter().peekable();
        let marks: Vec<i64> = [from].into_iter().chain(all).chain([to]).collect();
        for pair in marks.windows(2) {
            let (start, end) = (pair[0], pair[1]);
            if end - start <= patience {
                continue;
            }
            // The gaps of this silence tile it, with no two alike beside each other and none too short beside others.
            let (mut at, mut tiles, mut last) = (start, 0, None);
            while let Some(gap) = gaps.next_if(|gap| gap.to.as_millis() <= end) {
                prop_assert_eq!(gap.from.as_millis(), at);
                prop_assert!(gap.from < gap.to);
                prop_assert_ne!(Some(gap.cause), last);
                (at, tiles, last) = (gap.to.as_millis(), tiles + 1, Some(gap.cause));
                prop_assert!(tiles == 1 || gap.length().as_millis() > u128::from(patience.unsigned_abs()));
            }
            prop_assert_eq!(at, end);
        }
        prop_assert_eq!(gaps.next(), None);
    }

    #[test]
    fn the_cause_of_a_whole_silence_is_what_held_all_through_it(
        state in state(), from in 1_000_i64..100_000, length in 60_001_i64..1_000_000,
    ) {
        let gaps = explained((from, from + length), &[change(state, from)], &[life(0, from + length)]);
        let cause = match state {
            DeviceState::Offline => GapCause::LinkDown,
            DeviceState::Online => GapCause::None,
            DeviceState::Parked | DeviceState::Quarantined | DeviceState::Disabled => GapCause::Parked,
        };
        prop_assert_eq!(gaps, [(from, from + length, cause)]);
    }
}
