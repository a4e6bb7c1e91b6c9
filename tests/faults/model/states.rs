//! Every kind of actor is killed while it is born, stopped, parked, backing off and frozen, where it can be in that state.

use std::collections::BTreeSet;

use super::{PACKS, Play, SENSORS, operations};
use crate::support::node::{Actor, BOUND, Node};
use crate::support::until;

/// A state to be killed in.
#[derive(Debug, Clone, Copy)]
enum State {
    /// Its successor is being born or waits for its turn.
    Starting,
    /// It was told to stop, and is then parked.
    Stopping,
    /// It failed at this fault point and waits for its next start.
    BackingOff(&'static str),
    /// It waits for ever over its work, which this fault point brings about.
    Frozen(&'static str),
}

/// The kinds of actor that a node is made of, and the states that each can be killed in besides running. Sessions can't
/// be parked, and neither can what an operator reaches the node through. A kind that is not named here, or that is not
/// there, fails the test.
const KINDS: [(&str, &[State]); 20] = [
    ("aggregator", &[State::Starting, State::Stopping, State::Frozen("aggregator.handle")]),
    ("alerts", &[State::Starting, State::Stopping, State::Frozen("alerts.handle")]),
    ("ble_adapter", &[State::Starting, State::Stopping]),
    ("crash_reporter", &[State::Starting, State::Stopping]),
    (
        "daly_bms",
        &[State::Starting, State::Stopping, State::Frozen("bms.link"), State::BackingOff("bms.link")],
    ),
    ("event_log", &[State::Starting, State::Stopping]),
    ("http", &[State::Starting]),
    ("journal", &[State::Starting, State::Stopping]),
    ("live", &[State::Starting, State::Stopping]),
    ("mqtt_client", &[State::Starting, State::Frozen("mqtt.session")]),
    (
        "mqtt_device",
        &[
            State::Starting,
            State::Stopping,
            State::Frozen("device.handle"),
            State::BackingOff("device.handle"),
        ],
    ),
    ("mqtt_keeper", &[State::Starting, State::Stopping]),
    ("mqtt_listener", &[State::Starting, State::Stopping]),
    ("mqtt_messenger", &[State::Starting, State::Stopping]),
    ("mqtt_outside", &[State::Starting, State::Stopping]),
    ("node", &[State::Starting]),
    ("presence", &[State::Starting, State::Stopping]),
    ("recorder", &[State::Starting, State::Stopping]),
    ("supervisor", &[State::Starting, State::Stopping]),
    ("uptime", &[State::Starting, State::Stopping]),
];
/// A new process has taken no orders yet, and this many kinds need fewer than may come at once.
const KINDS_PER_NODE: usize = 3;
/// The group that stands for all supervisors: the API does not live in it.
const GROUP: &str = "node/analysis";
/// The device that stands for all that publish: the probe must lose nothing.
const SENSOR: &str = "node/devices/sensor-0";

async fn victim(node: &Node, kind: &str) -> Actor {
    until(&format!("there is a {kind}"), BOUND, || async {
        let tree = node.try_tree().await?;
        let stands_for_it = |actor: &&Actor| match kind {
            "supervisor" => actor.path == GROUP,
            "mqtt_device" => actor.path == SENSOR,
            _ => actor.kind == kind,
        };
        tree.iter().find(stands_for_it).cloned().ok_or_else(|| format!("{tree:?}"))
    })
    .await
}

async fn standing(node: &Node, path: &str) -> Result<Actor, String> {
    let tree = node.try_tree().await?;
    tree.into_iter().find(|actor| actor.path == path).ok_or_else(|| format!("{path} is gone"))
}

/// Kills it three times at once, twice: the later kills find it dead, being born or born again.
async fn kill_at_birth(node: &Node, victim: &Actor) {
    for _ in 0..2 {
        // Whether each finds somebody is left to chance; what counts is that it comes back.
        let kill = || node.order("killActor", &victim.path);
        let (first, second, third) = tokio::join!(kill(), kill(), kill());
        for killed in [first, second, third] {
            assert!(!was_refused_as_too_many(&killed), "{killed:?}");
        }
    }
}

fn was_refused_as_too_many(order: &Result<(), String>) -> bool {
    order.as_ref().is_err_and(|refused| refused.contains("TOO_MANY_ORDERS"))
}

async fn kill_while_it_stops(node: &Node, victim: &Actor) {
    let park = operations::insist(node, "parkActor", &victim.path);
    let kill = node.order("killActor", &victim.path);
    let (parked, killed) = tokio::join!(park, kill);
    parked.unwrap();
    assert!(!was_refused_as_too_many(&killed), "{killed:?}");
    until(&format!("{} is parked", victim.path), BOUND, || async {
        let now = standing(node, &victim.path).await?;
        if now.status == "parked" { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    let refused = operations::insist(node, "killActor", &victim.path).await.unwrap_err();
    assert!(refused.contains("NOT_RUNNING"), "who is parked can't be killed: {refused}");
    assert_eq!(standing(node, &victim.path).await.unwrap().status, "parked", "and it stays so");
    operations::insist(node, "resumeActor", &victim.path).await.unwrap();
}

/// Lets it fail three times, and says whether it was then seen to back off: where the machine stands still for longer
/// than a wait, it may have come back between two looks.
async fn is_seen_to_back_off(node: &Node, victim: &Actor, point: &str, target: Option<&str>) -> bool {
    const TIMES: u32 = 3;
    let before = operations::trips(node, point).await.unwrap_or_default();
    operations::inject(node, point, "PANIC", target, TIMES).await;
    until(&format!("{} backs off", victim.path), BOUND, || async {
        let trips = operations::trips(node, point).await.unwrap_or_default();
        let now = standing(node, &victim.path).await?;
        match now.status.as_str() {
            "backing_off" => Ok(true),
            "running" if trips >= before + u64::from(TIMES) => Ok(false),
            _ => Err(format!("{now:?}, {point} was tripped {trips} times, {before} before")),
        }
    })
    .await
}

async fn kill_while_it_backs_off(node: &Node, victim: &Actor, point: &str, target: Option<&str>) {
    let mut tries = 0;
    while !is_seen_to_back_off(node, victim, point, target).await {
        tries += 1;
        assert!(tries < 5, "{} was never seen to back off", victim.path);
    }
    let killed = node.order("killActor", &victim.path).await;
    // Nobody is there to be killed, unless its next start came first.
    assert!(killed.is_ok() || killed.as_ref().is_err_and(|why| why.contains("NOT_RUNNING")), "{killed:?}");
}

async fn kill_in(play: &mut Play, kind: &str, state: State) {
    let victim = victim(play.node(), kind).await;
    match state {
        State::Starting => kill_at_birth(play.node(), &victim).await,
        State::Stopping => kill_while_it_stops(play.node(), &victim).await,
        State::Frozen(point) | State::BackingOff(point) => {
            let name = victim.path.rsplit('/').next().unwrap();
            let target = match kind {
                "daly_bms" => Some(name.to_owned()),
                "mqtt_device" => Some(format!("{name}:*")),
                "aggregator" => name.strip_prefix("aggregator-").map(str::to_owned),
                _ => None,
            };
            if kind == "daly_bms" {
                play.interrupted.iter_mut().for_each(|interrupted| *interrupted += 1);
            }
            if matches!(state, State::BackingOff(_)) {
                kill_while_it_backs_off(play.node(), &victim, point, target.as_deref()).await;
            } else {
                operations::freeze_and_kill(play.node(), point, target.as_deref(), &victim.path).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_actor_can_be_killed_in_every_state_it_can_be_in() {
    let mut play = Play::begin().await;
    let tree = play.node().try_tree().await.unwrap();
    let kinds: BTreeSet<_> = tree.iter().map(|actor| actor.kind.as_str()).collect();
    assert_eq!(kinds, KINDS.into_iter().map(|(kind, _)| kind).collect(), "the kinds in the tree");
    assert!(tree.len() > PACKS + SENSORS);
    for kinds in KINDS.chunks(KINDS_PER_NODE) {
        for (kind, states) in kinds {
            for state in *states {
                println!("{kind} {state:?}");
                kill_in(&mut play, kind, *state).await;
                play.recover().await;
            }
        }
        play.restart(true).await;
    }
    play.end().await;
}
