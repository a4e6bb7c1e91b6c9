use super::*;
use proptest::prelude::*;
use std::time::Duration;
use voltree_model::{MetricName, Origin, Reading};

fn reading(device: &str, at_ms: i64, metrics: &[(&str, f64)]) -> Entry {
    let metrics = metrics
        .iter()
        .map(|(name, value)| Metric { name: MetricName::new(name).unwrap(), value: *value, unit: None })
        .collect();
    let reading = Reading {
        device: DeviceId::new(device).unwrap(),
        at: Timestamp::from_millis(at_ms),
        metrics,
        attributes: Vec::new(),
        left_out: Vec::new(),
    };
    Entry::Reading { origin: Origin { epoch: 0, sequence: 1 }, reading: reading.into() }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

#[test]
fn the_worst_cell_raises_one_alert_that_ends_well_inside_the_limit() {
    let mut engine = AlertEngine::default();
    let high = reading("p", 1_000, &[("cell_voltage_1", 4.3), ("cell_voltage_2", 4.4)]);
    let [Change::Raised(alert)] = &engine.judge(Lsn(1), &high, at(1_000))[..] else { panic!("not raised") };
    assert_eq!((alert.metric.as_ref().unwrap().as_str(), alert.value), ("cell_voltage_2", Some(4.4)));
    assert_eq!(engine.judge(Lsn(2), &high, at(1_100)), []);
    let near = reading("p", 1_200, &[("cell_voltage_1", 4.23)]);
    assert_eq!(engine.judge(Lsn(3), &near, at(1_200)), [], "inside the hysteresis nothing changes");
    let inside = reading("p", 1_300, &[("cell_voltage_1", 4.0)]);
    assert!(matches!(&engine.judge(Lsn(4), &inside, at(1_300))[..], [Change::Resolved(_)]));
    assert!(engine.active().is_empty());
    assert_eq!(engine.history(at(0), at(9_999)).len(), 1);
}

#[test]
fn low_cells_and_hot_sensors_raise_their_own_alerts() {
    let mut engine = AlertEngine::default();
    let bad = reading("p", 1_000, &[("cell_voltage_1", 2.1), ("temperature_1", 71.0), ("temperature", 99.0)]);
    let changes = engine.judge(Lsn(1), &bad, at(1_000)).into_iter();
    let titles: Vec<_> = changes
        .map(|change| match change {
            Change::Raised(alert) | Change::Resolved(alert) => alert.title,
        })
        .collect();
    assert_eq!(titles, ["Cell under-voltage", "Over-temperature"]);
}

#[test]
fn what_is_sent_again_neither_begins_nor_ends_an_alert_a_second_time() {
    let mut engine = AlertEngine::default();
    let hot = |at_ms| reading("p", at_ms, &[("temperature_1", 95.0)]);
    let cool = |at_ms| reading("p", at_ms, &[("temperature_1", 20.0)]);
    let first: Vec<_> = [hot(1_000), cool(1_100), hot(1_200)].into_iter().zip(1..).collect();
    let changes: Vec<_> =
        first.iter().flat_map(|(entry, lsn)| engine.judge(Lsn(*lsn), entry, at(1_300))).collect();
    assert_eq!(changes.len(), 3);
    for (entry, lsn) in first {
        assert_eq!(engine.judge(Lsn(lsn + 3), &entry, at(1_400)), [], "{entry:?}");
    }
    assert_eq!((engine.active().len(), engine.history(at(0), at(9_999)).len()), (1, 2));
}

#[test]
fn a_clock_that_was_ahead_and_is_set_right_silences_nothing() {
    let mut engine = AlertEngine::default();
    let hour_ms = 3_600_000;
    let hot = |at_ms| reading("p", at_ms, &[("temperature_1", 95.0)]);
    let cool = |at_ms| reading("p", at_ms, &[("temperature_1", 20.0)]);
    // The device's clock was ahead, then the node's.
    assert_eq!(engine.judge(Lsn(1), &cool(hour_ms + 1_000), at(1_000)), []);
    assert_eq!(engine.judge(Lsn(2), &hot(2_000), at(2_000)).len(), 1);
    assert_eq!(engine.judge(Lsn(3), &cool(hour_ms), at(hour_ms)).len(), 1);
    assert_eq!(engine.judge(Lsn(4), &hot(4_000), at(4_000)).len(), 1);
}

#[test]
fn a_reading_that_tells_of_the_past_raises_nothing() {
    let mut engine = AlertEngine::default();
    let old = reading("p", 1_000, &[("cell_voltage_1", 4.4)]);
    assert_eq!(engine.judge(Lsn(1), &old, at(1_000 + 301_000)), []);
}

#[test]
fn a_silent_device_is_told_once_each_way() {
    let mut engine = AlertEngine::default();
    let device = DeviceId::new("p").unwrap();
    let heard = at(0);
    assert_eq!(engine.judge_silence(&device, heard, at(300_000)), None);
    assert!(matches!(engine.judge_silence(&device, heard, at(300_001)), Some(Change::Raised(_))));
    assert_eq!(engine.judge_silence(&device, heard, at(400_000)), None);
    assert!(matches!(engine.judge_silence(&device, at(400_000), at(400_001)), Some(Change::Resolved(_))));
}

#[test]
fn judging_again_after_a_kill_gives_the_same_alert() {
    let entry = reading("p", 1_000, &[("cell_voltage_1", 4.4)]);
    let first = AlertEngine::default().judge(Lsn(1), &entry, at(1_000));
    assert_eq!(first, AlertEngine::default().judge(Lsn(1), &entry, at(2_000)));
    let mut engine = AlertEngine::default();
    engine.judge(Lsn(1), &entry, at(1_000));
    assert_eq!(engine.judge(Lsn(1), &entry, at(1_000)), [], "an entry is judged once");
}

proptest! {
    #[test]
    fn raised_and_resolved_alternate_per_rule_and_device(
        values in prop::collection::vec((0_u8..3, 2.0_f64..4.8), 0..200)
    ) {
        let mut engine = AlertEngine::default();
        engine.set_limits(AlertLimits { lateness: Duration::MAX, ..AlertLimits::default() });
        let mut open = BTreeSet::new();
        for (lsn, (device, volts)) in values.into_iter().enumerate() {
            let entry = reading(&format!("d{device}"), lsn as i64, &[("cell_voltage_1", volts)]);
            for change in engine.judge(Lsn(lsn as u64 + 1), &entry, at(lsn as i64)) {
                match change {
                    Change::Raised(a) => prop_assert!(open.insert((a.device, a.title)), "raised twice"),
                    Change::Resolved(a) => prop_assert!(open.remove(&(a.device, a.title)), "ended twice"),
                }
            }
            prop_assert_eq!(engine.active().len(), open.len());
        }
    }
}
