//! What the model test does to a node, as data that can be drawn, told and played again.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::{PACKS, Play, SENSORS, device_path, pack_id, sensor_id};
use crate::support::node::{BOUND, Node};
use crate::support::until;

/// How long a frozen actor is given to freeze: it does so only when it is next at work.
const TO_FREEZE: Duration = Duration::from_secs(2);

/// Something that is done, and how long the load then runs before the next.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) operation: Operation,
    pub(super) pause_ms: u64,
}

/// One thing that is done to a node.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    /// Kill whoever stands at this place of the tree's list.
    Kill(Index),
    /// A sensor's next message makes its handler fail this often.
    PoisonMessage { sensor: usize, panics: bool, times: u32 },
    /// What a pack says makes its decoder panic, comes garbled, or the line is cut.
    Line { pack: usize, fault: LineFault, times: u32 },
    /// An actor of the node itself panics or fails at its work.
    Fail(Work),
    /// One waits for ever over its work, until it is killed.
    Freeze(Frozen),
    /// The journal can't be written.
    Disk { full: bool, times: u32 },
    /// The connection of a sensor is cut.
    CutSession(usize),
    /// SIGTERM or kill -9, and a new process on the same data.
    Restart { orderly: bool },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum LineFault {
    Panic,
    Corrupt,
    Cut,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    Aggregator,
    Alerts,
    Recorder,
    Journal,
    Session,
    Intake,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Frozen {
    Aggregator,
    Alerts,
    Sensor(usize),
    Pack(usize),
}

/// Sequences to play.
pub(super) fn sequences() -> impl Strategy<Value = Vec<Step>> {
    let step = (operations(), 20..400_u64);
    prop::collection::vec(step.prop_map(|(operation, pause_ms)| Step { operation, pause_ms }), 4..10)
}

fn operations() -> impl Strategy<Value = Operation> {
    let fault = prop::sample::select(vec![LineFault::Panic, LineFault::Corrupt, LineFault::Cut]);
    let work = prop::sample::select(vec![
        Work::Aggregator,
        Work::Alerts,
        Work::Recorder,
        Work::Journal,
        Work::Session,
        Work::Intake,
    ]);
    let frozen = prop_oneof![
        Just(Frozen::Aggregator),
        Just(Frozen::Alerts),
        (0..SENSORS).prop_map(Frozen::Sensor),
        (0..PACKS).prop_map(Frozen::Pack),
    ];
    prop_oneof![
        4 => any::<Index>().prop_map(Operation::Kill),
        2 => (0..SENSORS, any::<bool>(), 1..=3_u32)
            .prop_map(|(sensor, panics, times)| Operation::PoisonMessage { sensor, panics, times }),
        2 => (0..PACKS, fault, 1..=2_u32).prop_map(|(pack, fault, times)| Operation::Line { pack, fault, times }),
        2 => work.prop_map(Operation::Fail),
        2 => frozen.prop_map(Operation::Freeze),
        1 => (any::<bool>(), 1..=2_u32).prop_map(|(full, times)| Operation::Disk { full, times }),
        1 => (0..SENSORS).prop_map(Operation::CutSession),
        1 => any::<bool>().prop_map(|orderly| Operation::Restart { orderly }),
    ]
}

impl Operation {
    pub(super) async fn carry_out(&self, play: &mut Play) {
        match self {
            Self::Kill(index) => kill_any(play.node(), index).await,
            Self::PoisonMessage { sensor, panics, times } => {
                let (kind, target) =
                    (if *panics { "PANIC" } else { "ERROR" }, format!("{}:*", sensor_id(*sensor)));
                inject(play.node(), "device.handle", kind, Some(&target), *times).await;
            }
            Self::Line { pack, fault, times } => {
                let (point, kind) = match fault {
                    LineFault::Panic => ("bms.poll.before_decode", "PANIC"),
                    LineFault::Corrupt => ("bms.poll.before_decode", "CORRUPT_FRAME"),
                    LineFault::Cut => ("bms.link", "DROP_LINK"),
                };
                play.interrupted[*pack] += u64::from(*times);
                inject(play.node(), point, kind, Some(&pack_id(*pack)), *times).await;
            }
            Self::Fail(work) => {
                let (point, kind) = match work {
                    Work::Aggregator => ("aggregator.handle", "PANIC"),
                    Work::Alerts => ("alerts.handle", "PANIC"),
                    Work::Recorder => ("recorder.seal", "ERROR"),
                    Work::Journal => ("journal.before_commit", "PANIC"),
                    Work::Session => ("mqtt.session", "PANIC"),
                    Work::Intake => ("intake.before_accept", "PANIC"),
                };
                // A panic on the way into an inbox ends whoever brings the reading, a pack's own actor too.
                let target = matches!(work, Work::Intake).then_some("sensor-*");
                inject(play.node(), point, kind, target, 1).await;
            }
            Self::Freeze(frozen) => freeze(play, *frozen).await,
            Self::Disk { full, times } => {
                let kind = if *full { "DISK_FULL" } else { "FSYNC_ERROR" };
                inject(play.node(), "journal.fsync", kind, None, *times).await;
            }
            Self::CutSession(sensor) => {
                inject(play.node(), "mqtt.session", "DROP_LINK", Some(&sensor_id(*sensor)), 1).await;
            }
            Self::Restart { orderly } => play.restart(*orderly).await,
        }
    }
}

async fn kill_any(node: &Node, index: &Index) {
    // What carries the answer may be what was killed, or be on its way back.
    let Ok(tree) = node.try_tree().await else { return };
    let victim = index.get(&tree);
    println!("  kills {} ({})", victim.path, victim.status);
    node.order("killActor", &victim.path).await.ok();
}

async fn freeze(play: &mut Play, frozen: Frozen) {
    let (point, target, path) = match frozen {
        Frozen::Aggregator => ("aggregator.handle", "0".to_owned(), "node/analysis/aggregator-0".to_owned()),
        Frozen::Alerts => ("alerts.handle", "alerts".to_owned(), "node/analysis/alerts".to_owned()),
        Frozen::Sensor(n) => ("device.handle", format!("{}:*", sensor_id(n)), device_path(&sensor_id(n))),
        Frozen::Pack(n) => ("bms.link", pack_id(n), device_path(&pack_id(n))),
    };
    if let Frozen::Pack(n) = frozen {
        play.interrupted[n] += 1;
    }
    freeze_and_kill(play.node(), point, Some(&target), &path).await;
}

/// Makes an actor wait for ever over its next work, and kills it.
pub(super) async fn freeze_and_kill(node: &Node, point: &str, target: Option<&str>, path: &str) {
    let before = trips(node, point).await;
    inject(node, point, "FREEZE", target, 1).await;
    let begun = std::time::Instant::now();
    // It may be down or parked by what was done before, and has then nothing to freeze over.
    while trips(node, point).await == before && begun.elapsed() < TO_FREEZE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    insist(node, "killActor", path).await.ok();
}

/// How often the fault point has failed somebody since the process began.
pub(super) async fn trips(node: &Node, point: &str) -> Option<u64> {
    let answer = node.ask("{ faultPoints { name trips } }", json!({})).await.ok()?;
    let points = answer["data"]["faultPoints"].as_array()?;
    points.iter().find(|known| known["name"] == point)?["trips"].as_u64()
}

pub(super) async fn inject(node: &Node, point: &str, kind: &str, target: Option<&str>, times: u32) {
    let fault: Value = json!({ "point": point, "kind": kind, "target": target, "times": times });
    // The API itself may be what was killed a moment ago.
    until(&format!("{point} {kind} is injected"), BOUND, || node.inject(&fault)).await;
}

/// Gives an order again for as long as there were too many, or nobody answers.
pub(super) async fn insist(node: &Node, order: &str, path: &str) -> Result<(), String> {
    until(&format!("{order} is heard"), BOUND, || async {
        match node.order(order, path).await {
            Err(refused) if refused.contains("too many orders") || !refused.contains("errors") => {
                Err(refused)
            }
            heard => Ok(heard),
        }
    })
    .await
}
