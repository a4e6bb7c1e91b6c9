//! The places in this room where faults can be injected. A name that stands here is promised to plans and operators.

use voltree_runtime::FaultKind::{
    ClockStep, CorruptFrame, Delay, DiskFull, DropLink, Error, Freeze, FsyncError, Panic,
};
use voltree_runtime::FaultPoint;

const fn point(
    name: &'static str,
    kinds: &'static [voltree_runtime::FaultKind],
    help: &'static str,
) -> FaultPoint {
    FaultPoint { name, kinds, help }
}

/// The wire to a battery.
pub const BMS_LINK: FaultPoint = point(
    "bms.link",
    &[DropLink, Delay, Freeze, Panic],
    "The wire to a battery, at every read. Targets are device ids.",
);
/// What a battery said, before anybody looks at it.
pub const BMS_BEFORE_DECODE: FaultPoint = point(
    "bms.poll.before_decode",
    &[CorruptFrame, Panic, Delay],
    "Bytes that came from a battery, before they are decoded. Targets are device ids.",
);
/// The way into a device's inbox.
pub const INTAKE_BEFORE_ACCEPT: FaultPoint = point(
    "intake.before_accept",
    &[Panic, Delay, Freeze],
    "A reading that is about to enter its device's inbox. Targets are device ids.",
);
/// A device's handler with one item of its inbox in hand.
pub const DEVICE_HANDLE: FaultPoint = point(
    "device.handle",
    &[Panic, Error, Delay, Freeze],
    "A device's actor with one item of its inbox in hand. Targets are DEVICE:NUMBER, as dead letters are named.",
);
/// A write to the journal.
pub const JOURNAL_BEFORE_COMMIT: FaultPoint = point(
    "journal.before_commit",
    &[Error, DiskFull, Delay, Panic, Freeze],
    "A group that is about to be written to the journal. The target is \"journal\".",
);
/// A sync of the journal.
pub const JOURNAL_FSYNC: FaultPoint = point(
    "journal.fsync",
    &[FsyncError, DiskFull, Delay, Freeze],
    "A sync of the journal. The target is \"journal\".",
);
/// An aggregator at work.
pub const AGGREGATOR_HANDLE: FaultPoint = point(
    "aggregator.handle",
    &[Panic, Error, Delay, Freeze],
    "An aggregator that is about to fold committed readings. Targets are shard numbers.",
);
/// The alert actor at work.
pub const ALERTS_HANDLE: FaultPoint = point(
    "alerts.handle",
    &[Panic, Error, Delay, Freeze],
    "The alert actor when it is about to judge committed readings. The target is \"alerts\".",
);
/// A recorder at work.
pub const RECORDER_SEAL: FaultPoint = point(
    "recorder.seal",
    &[Panic, Error, Delay, Freeze],
    "A recorder that is about to seal. Targets are shard numbers.",
);
/// An MQTT session at work.
pub const MQTT_SESSION: FaultPoint = point(
    "mqtt.session",
    &[Panic, DropLink, Delay, Freeze],
    "A connected MQTT client's session, at every turn. Targets are client ids.",
);
/// The node's wall clock.
pub const NODE_CLOCK: FaultPoint = point(
    "node.clock",
    &[ClockStep],
    "The wall clock that arriving readings are stamped and judged by. It has no targets.",
);

/// Every point of this room.
pub const FAULT_POINTS: &[FaultPoint] = &[
    BMS_LINK,
    BMS_BEFORE_DECODE,
    INTAKE_BEFORE_ACCEPT,
    DEVICE_HANDLE,
    JOURNAL_BEFORE_COMMIT,
    JOURNAL_FSYNC,
    AGGREGATOR_HANDLE,
    ALERTS_HANDLE,
    RECORDER_SEAL,
    MQTT_SESSION,
    NODE_CLOCK,
];
