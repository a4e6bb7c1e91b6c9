//! This room's metrics.

use metrics::{Unit, counter, gauge, histogram};
use rumqttc::QoS;
use voltree_model::{DeviceState, Reading, RejectReason, Timestamp};
use voltree_protocols::link::{Health, Radio};
use voltree_runtime::metrics::{MetricInfo, MetricKind};
use voltree_storage::{JournalSlot, Store};

use crate::registry::Registry;

const POINTS: &str = "telemetry_points_ingested_total";
const READINGS: &str = "actors_readings_committed_total";
const REJECTED: &str = "actors_readings_rejected_total";
const DEAD: &str = "actors_readings_dead_lettered_total";
const MQTT_MESSAGES: &str = "mqtt_messages_received_total";
const MQTT_CONNECTIONS: &str = "actors_mqtt_connections";
const MQTT_OUTSIDE: &str = "actors_mqtt_outside_brokers_connected";
const MQTT_RETAINED: &str = "actors_mqtt_retained_messages";
const MQTT_NOT_RETAINED: &str = "actors_mqtt_messages_not_retained_total";
const MQTT_REFUSED: &str = "actors_mqtt_clients_refused_total";
const MQTT_UNDELIVERED: &str = "actors_mqtt_messages_undelivered_total";
const MQTT_SLOWED: &str = "actors_mqtt_publishes_slowed_total";
const MQTT_ENDED: &str = "actors_mqtt_connections_ended_total";
const FORWARDED: &str = "actors_mqtt_messages_forwarded_total";
const FORWARD_WAITING: &str = "actors_mqtt_forward_waiting_messages";
const FORWARD_DROPPED: &str = "actors_mqtt_forward_dropped_total";
const MQTT_RETURNED: &str = "actors_mqtt_messages_returned_total";
const ALERTS: &str = "alerts_triggered_total";
const POLLS: &str = "actors_bms_polls_total";
const POLL_SECONDS: &str = "actors_bms_poll_seconds";
const BAD_FRAMES: &str = "actors_bms_bad_frames_total";
const LINK_QUALITY: &str = "actors_bms_lowest_link_quality_ratio";
const BLE_SLOTS: &str = "actors_ble_slots";
const BLE_WAITING: &str = "actors_ble_waiting_batteries";
const BLE_CONNECTS: &str = "actors_ble_connects_total";
const BLE_CURES: &str = "actors_ble_cures_total";
const DEVICES: &str = "actors_devices";
const INBOX_DEPTH: &str = "actors_inbox_readings";
const INBOX_DEEPEST: &str = "actors_inbox_deepest_readings";
const INBOX_AGE: &str = "actors_inbox_oldest_seconds";

const STORED_BYTES: &str = "storage_bucket_bytes";
const AGED_OUT: &str = "storage_readings_aged_out_total";
const DISK_FULL: &str = "storage_disk_full";
const JOURNAL_QUEUED: &str = "storage_journal_entries_queued";

const fn info(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
) -> MetricInfo {
    MetricInfo { name, kind, unit: Unit::Count, help, labels }
}

/// This room's metrics.
pub const METRICS: &[MetricInfo] = &[
    info(POINTS, MetricKind::Counter, &[], "Values of committed readings, one per metric."),
    info(READINGS, MetricKind::Counter, &[], "Readings committed to the journal."),
    info(REJECTED, MetricKind::Counter, &["reason"], "Readings turned away, by reason."),
    info(DEAD, MetricKind::Counter, &[], "Readings set aside after their handler failed on them repeatedly."),
    info(
        MQTT_MESSAGES,
        MetricKind::Counter,
        &["qos"],
        "PUBLISH packets received, from clients of the listener and from outside brokers.",
    ),
    info(MQTT_CONNECTIONS, MetricKind::Gauge, &[], "MQTT clients connected now."),
    info(MQTT_OUTSIDE, MetricKind::Gauge, &[], "Outside MQTT brokers that are heard now."),
    info(MQTT_RETAINED, MetricKind::Gauge, &[], "Retained MQTT messages."),
    info(MQTT_NOT_RETAINED, MetricKind::Counter, &[], "Messages that were to be retained and found no room."),
    info(FORWARDED, MetricKind::Counter, &[], "Messages that outside brokers acknowledged."),
    info(FORWARD_WAITING, MetricKind::Gauge, &[], "Messages that wait for outside brokers."),
    info(
        FORWARD_DROPPED,
        MetricKind::Counter,
        &["reason"],
        "Messages that were to go to an outside broker and did not.",
    ),
    info(MQTT_RETURNED, MetricKind::Counter, &[], "Own messages that came back over other brokers."),
    info(
        MQTT_REFUSED,
        MetricKind::Counter,
        &[],
        "MQTT clients that were turned away: no name, a wrong password, no right.",
    ),
    info(
        MQTT_UNDELIVERED,
        MetricKind::Counter,
        &[],
        "Messages that an MQTT subscriber did not get: it is too slow, or takes no packet of that size.",
    ),
    info(
        MQTT_SLOWED,
        MetricKind::Counter,
        &[],
        "Publishes after which their client was read more slowly: it is faster than it may be.",
    ),
    info(MQTT_ENDED, MetricKind::Counter, &["reason"], "MQTT connections that ended, by reason."),
    info(ALERTS, MetricKind::Counter, &["severity"], "Alerts that began."),
    info(POLLS, MetricKind::Counter, &["result"], "Polls of battery management systems, by result."),
    MetricInfo {
        name: POLL_SECONDS,
        kind: MetricKind::Histogram,
        unit: Unit::Seconds,
        labels: &[],
        help: "How long a poll of a battery took that gave a reading, from its first question on.",
    },
    MetricInfo {
        name: LINK_QUALITY,
        kind: MetricKind::Gauge,
        unit: Unit::Count,
        labels: &[],
        help: "The lowest share of good polls, 0 to 1, that a battery's last hundred polls have.",
    },
    info(
        BAD_FRAMES,
        MetricKind::Counter,
        &[],
        "Frames that failed their check on the wire and were dropped.",
    ),
    info(BLE_SLOTS, MetricKind::Gauge, &["state"], "Connections over Bluetooth LE: in use, and free."),
    info(BLE_WAITING, MetricKind::Gauge, &[], "Batteries on the air that wait for a free connection."),
    info(
        BLE_CONNECTS,
        MetricKind::Counter,
        &["result"],
        "Tries to connect to a battery on the air, by result.",
    ),
    info(
        BLE_CURES,
        MetricKind::Counter,
        &["cure"],
        "What was done about Bluetooth links that die: stale ones ended, devices forgotten, adapters switched off and on.",
    ),
    MetricInfo {
        name: STORED_BYTES,
        kind: MetricKind::Gauge,
        unit: Unit::Bytes,
        labels: &["kind"],
        help: "What the time buckets take on disk: raw readings and rollups.",
    },
    info(AGED_OUT, MetricKind::Counter, &[], "Stored readings that were removed when their time was over."),
    info(DISK_FULL, MetricKind::Gauge, &[], "1 while intake waits for space on the disk."),
    info(JOURNAL_QUEUED, MetricKind::Gauge, &[], "Entries that wait for the journal's writer."),
    info(DEVICES, MetricKind::Gauge, &["state"], "Devices, by state."),
    info(INBOX_DEPTH, MetricKind::Gauge, &[], "Readings that wait in the inboxes of all devices."),
    info(INBOX_DEEPEST, MetricKind::Gauge, &[], "Readings that wait in the fullest inbox."),
    MetricInfo {
        name: INBOX_AGE,
        kind: MetricKind::Gauge,
        unit: Unit::Seconds,
        help: "How long the oldest reading in any inbox has been waiting.",
        labels: &[],
    },
];

/// Counts readings that came together.
pub(crate) fn ingested<'a>(readings: impl Iterator<Item = &'a Reading>) {
    let (mut count, mut points) = (0, 0);
    for reading in readings {
        count += 1;
        points += u64::try_from(reading.metrics.len()).unwrap_or(u64::MAX);
    }
    counter!(READINGS).increment(count);
    counter!(POINTS).increment(points);
}

pub(crate) fn rejected(reason: RejectReason) {
    counter!(REJECTED, "reason" => reason.as_str()).increment(1);
}

pub(crate) fn dead_lettered() {
    counter!(DEAD).increment(1);
}

pub(crate) fn mqtt_messages(qos: QoS, count: u64) {
    let qos = match qos {
        QoS::AtMostOnce => "0",
        QoS::AtLeastOnce => "1",
        QoS::ExactlyOnce => "2",
    };
    counter!(MQTT_MESSAGES, "qos" => qos).increment(count);
}

pub(crate) fn mqtt_connections(change: f64) {
    gauge!(MQTT_CONNECTIONS).increment(change);
}

pub(crate) fn mqtt_outside_connections(change: f64) {
    gauge!(MQTT_OUTSIDE).increment(change);
}

pub(crate) fn mqtt_forwarded() {
    counter!(FORWARDED).increment(1);
}

pub(crate) fn mqtt_forward_waiting(change: f64) {
    gauge!(FORWARD_WAITING).increment(change);
}

pub(crate) fn mqtt_forward_dropped(reason: &'static str) {
    counter!(FORWARD_DROPPED, "reason" => reason).increment(1);
}

pub(crate) fn mqtt_returned() {
    counter!(MQTT_RETURNED).increment(1);
}

pub(crate) fn mqtt_retained(count: usize) {
    gauge!(MQTT_RETAINED).set(u32::try_from(count).unwrap_or(u32::MAX));
}

pub(crate) fn mqtt_not_retained() {
    counter!(MQTT_NOT_RETAINED).increment(1);
}

pub(crate) fn mqtt_refused() {
    counter!(MQTT_REFUSED).increment(1);
}

pub(crate) fn mqtt_slowed() {
    counter!(MQTT_SLOWED).increment(1);
}

pub(crate) fn mqtt_ended(reason: &'static str) {
    counter!(MQTT_ENDED, "reason" => reason).increment(1);
}

pub(crate) fn mqtt_undelivered() {
    counter!(MQTT_UNDELIVERED).increment(1);
}

pub(crate) fn alert(severity: &'static str) {
    counter!(ALERTS, "severity" => severity).increment(1);
}

pub(crate) fn poll(result: &'static str) {
    counter!(POLLS, "result" => result).increment(1);
}

/// How long a poll that gave a reading took, from its first question to its reading.
pub(crate) fn poll_took(took: std::time::Duration) {
    histogram!(POLL_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn bad_frames(count: u64) {
    counter!(BAD_FRAMES).increment(count);
}

/// Measures the radio that batteries on the air share, for a scrape.
pub fn observe_radio(radio: &Radio) {
    let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    gauge!(BLE_SLOTS, "state" => "in_use").set(count(radio.in_use()));
    gauge!(BLE_SLOTS, "state" => "free").set(count(radio.free()));
    gauge!(BLE_WAITING).set(count(radio.waiting()));
    let Health { connected, failed, stale, forgotten, cycled } = radio.health();
    counter!(BLE_CONNECTS, "result" => "connected").absolute(connected);
    counter!(BLE_CONNECTS, "result" => "failed").absolute(failed);
    counter!(BLE_CURES, "cure" => "ended_stale").absolute(stale);
    counter!(BLE_CURES, "cure" => "forgot_device").absolute(forgotten);
    counter!(BLE_CURES, "cure" => "cycled_adapter").absolute(cycled);
}

/// Measures what is kept, for a scrape. What can't be measured keeps its last value.
pub fn observe_storage(store: &Store, journal: &JournalSlot) {
    if let Ok(used) = store.disk_use() {
        gauge!(STORED_BYTES, "kind" => "raw").set(bytes(used.raw_bytes));
        gauge!(STORED_BYTES, "kind" => "rollup").set(bytes(used.rollup_bytes));
    }
    counter!(AGED_OUT).absolute(store.aged_out().values().sum());
    let stats = journal.stats();
    gauge!(DISK_FULL).set(if stats.disk_full { 1.0 } else { 0.0 });
    gauge!(JOURNAL_QUEUED).set(u32::try_from(stats.queued).unwrap_or(u32::MAX));
}

#[expect(clippy::cast_precision_loss, reason = "nobody reads the last digit of so many bytes")]
fn bytes(count: u64) -> f64 {
    count as f64
}

/// Looks at the devices and their inboxes, for a scrape.
pub fn observe(registry: &Registry, now: Timestamp) {
    let devices = registry.list();
    let depths: Vec<_> = devices.iter().map(|device| device.intake.depth()).collect();
    let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    gauge!(INBOX_DEPTH).set(count(depths.iter().sum()));
    gauge!(INBOX_DEEPEST).set(count(depths.into_iter().max().unwrap_or_default()));
    let age = devices.iter().filter_map(|device| device.intake.age()).max().unwrap_or_default();
    gauge!(INBOX_AGE).set(age);
    let worst = devices.iter().filter_map(|device| device.quality().good_percent()).reduce(f64::min);
    gauge!(LINK_QUALITY).set(worst.map_or(1.0, |percent| percent / 100.0));
    let states: Vec<_> = devices.iter().map(|device| registry.state(device, now)).collect();
    for state in DeviceState::ALL {
        let count = states.iter().filter(|s| **s == state).count();
        gauge!(DEVICES, "state" => state.as_str()).set(u32::try_from(count).unwrap_or(u32::MAX));
    }
}
