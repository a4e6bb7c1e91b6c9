//! Simulated packs as their users meet them: `voltree simulate` in one process and `voltree run` in another, and a line
//! on which everything goes wrong.

use std::process::Command;

use voltree_protocols::sim::{Fault, Flaky};

use crate::support::node::{BOUND, Site, VOLTREE};
use crate::support::simulator::Simulator;
use crate::support::{daly, serve, until};

const EVERY_FAULT: &str =
    "drop=0.03,delay=0.1,corrupt=0.05,cut=0.03,garbage=0.2,wrong-board=0.03,silence=0.003";

#[tokio::test(flavor = "multi_thread")]
async fn a_simulator_in_one_process_is_a_device_of_a_node_in_another() {
    let simulator = Simulator::start(&["--profile", "telecom", "--speed", "600", "--capacity-ah", "50"]);
    let site = Site::new().pack("pack", simulator.port(), 300);
    let node = site.start().await;
    simulator.until_said("five polls were answered", |said| said["measurements"].as_u64() >= Some(5)).await;
    let (said, ended) = simulator.stop().await;
    assert!(ended.success(), "{ended}");
    // What was under way when the port went may have been answered in part.
    let count = |name: &str| said[name].as_u64().unwrap();
    assert!(count("requests") - count("answers") <= 1, "a good line: {said}");
    let answered = count("measurements");
    let ledger = until("all but the last poll are stored", BOUND, || async {
        let ledger = node.ledger(Some("pack")).await;
        if ledger.pending == 0 && ledger.stored + 1 >= answered {
            Ok(ledger)
        } else {
            Err(format!("{ledger:?}"))
        }
    })
    .await;
    assert!(ledger.stored <= answered, "{ledger:?} and {said}");
    assert_eq!(node.samples("pack", "cell_voltage_14").await.len() as u64, ledger.stored);
    let volts = node.samples("pack", "pack_voltage").await;
    assert!(volts.iter().all(|(_, volts)| (45.0..59.0).contains(volts)), "{volts:?}");
    assert_eq!(node.stop().await, Some(0));
}

/// The witness counts the answers that make a reading and left unspoilt. None may get lost, whatever happens around them.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_flaky_line_every_good_answer_is_stored_and_nobody_is_stuck() {
    let board = serve(Flaky::new(daly(1), EVERY_FAULT.parse().unwrap(), 7));
    let site = Site::new().pack("pack", board.path(), 300);
    let node = site.start().await;
    until("twenty readings came and every lossy fault but silence was there", BOUND * 2, || async {
        let stats = board.stats();
        let seen = |fault: Fault| fault == Fault::Silence || stats.faults(fault) > 0;
        if stats.measurements() >= 20 && Fault::ALL.into_iter().all(seen) {
            Ok(())
        } else {
            Err(format!("{stats:?}"))
        }
    })
    .await;
    board.pause();
    let ledger = until("every good answer is stored", BOUND, || async {
        let ledger = node.ledger(Some("pack")).await;
        let answered = board.stats().measurements();
        if ledger.pending == 0 && ledger.stored == answered {
            Ok(ledger)
        } else {
            Err(format!("{ledger:?}, {answered} good answers"))
        }
    })
    .await;
    assert_eq!((ledger.received, ledger.duplicate, ledger.dead), (ledger.stored, 0, 0));
    board.resume();
    until("readings come again after the silence", BOUND, || async {
        let now = node.ledger(Some("pack")).await.received;
        if now > ledger.received { Ok(()) } else { Err(format!("{now} readings")) }
    })
    .await;
    let tree = node.try_tree().await.unwrap();
    assert!(tree.iter().all(|actor| actor.restarts == 0), "a bad line is no fault: {tree:?}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flaky_simulator_tells_what_it_did() {
    let simulator = Simulator::start(&["--flaky", "drop=0.3,garbage=0.5", "--seed", "3"]);
    let site = Site::new().pack("pack", simulator.port(), 300);
    let node = site.start().await;
    let said = simulator
        .until_said("three polls were answered", |said| said["measurements"].as_u64() >= Some(3))
        .await;
    let count = |name: &str| said["faults"][name].as_u64().unwrap();
    assert!(count("drop") > 0 && count("garbage") > 0, "{said}");
    assert_eq!((count("cut"), count("silence")), (0, 0));
    assert_eq!(node.stop().await, Some(0));
    simulator.stop().await;
}

#[test]
fn a_simulator_refuses_what_makes_no_sense_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (port, taken) = (dir.path().join("port"), dir.path().join("taken"));
    std::fs::write(&taken, "mine").unwrap();
    let refused = |args: &[&str]| {
        let output = Command::new(VOLTREE).args(["simulate", "daly"]).args(args).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let port = port.to_str().unwrap();
    for (value, named) in
        [("drpo=0.1", "silence"), ("drop=2", "0 to 1"), ("drop", "drop=0.05"), ("drop=0.1;cut=0.1", "0 to 1")]
    {
        let text = refused(&["--pty", port, "--flaky", value]);
        assert!(text.contains(named) && text.contains("--flaky"), "{value}: {text}");
    }
    assert!(refused(&["--pty", port, "--profile", "boat"]).contains("telecom"));
    assert!(refused(&["--pty", port, "--capacity-ah", "none"]).contains("0.5"));
    assert!(refused(&["--pty", port, "--cells", "49"]).contains("48"));
    let text = refused(&["--pty", taken.to_str().unwrap()]);
    assert!(text.contains("is no link") && text.contains("--pty"), "{text}");
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "mine");
}
