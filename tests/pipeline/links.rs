//! A link that goes is a state, not a fault: told once each way, and taken up again.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;

use crate::support::node::{BOUND, Node, Site};
use crate::support::simulator::Simulator;
use crate::support::{daly, hush, pack, until};
use serde_json::json;
use voltree_protocols::sim::{LinePace, TcpSim};

fn told(node: &Node, event: &str) -> usize {
    node.log_lines().iter().filter(|line| line["event"] == event).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_board_goes_offline_and_comes_back_without_a_restart() {
    let board = pack(1);
    let site = Site::new().pack("pack", board.path(), 300);
    let node = site.start().await;
    node.device_is("pack", "ONLINE").await;
    board.pause();
    node.device_is("pack", "OFFLINE").await;
    board.resume();
    node.device_is("pack", "ONLINE").await;
    assert_eq!((told(&node, "device.offline"), told(&node, "device.online")), (1, 2));
    let tree = node.try_tree().await.unwrap();
    assert!(tree.iter().all(|actor| actor.restarts == 0), "{tree:?}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_vanishes_and_returns_as_another_device_is_taken_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let by_id = dir.path().join("usb-adapter");
    let first = pack(1);
    symlink(first.path(), &by_id).unwrap();
    let site = Site::new().pack("pack", &by_id, 300);
    let node = site.start().await;
    node.device_is("pack", "ONLINE").await;
    drop(first);
    std::fs::remove_file(&by_id).unwrap();
    node.device_is("pack", "OFFLINE").await;
    let second = pack(2);
    symlink(second.path(), &by_id).unwrap();
    node.device_is("pack", "ONLINE").await;
    until("the second board's polls are stored or pending", BOUND, || async {
        let ledger = node.ledger(Some("pack")).await;
        if second.stats().cycles_completed() > 0 && ledger.received > 0 {
            Ok(())
        } else {
            Err(format!("{ledger:?}"))
        }
    })
    .await;
    let tree = node.try_tree().await.unwrap();
    assert!(tree.iter().all(|actor| actor.restarts == 0), "{tree:?}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_configured_no_longer_keeps_its_name_type_and_history() {
    let board = pack(1);
    let mut site = Site::new().pack("pack", board.path(), 300);
    let node = site.start().await;
    node.device_is("pack", "ONLINE").await;
    hush(std::slice::from_ref(&board)).await;
    let stored = node.ledger_at_rest(Some("pack")).await.stored;
    assert_eq!(node.stop().await, Some(0));
    site.forget_devices();
    let node = site.start().await;
    let data = node.query("{ device(id: \"pack\") { name type state readings } }", json!({})).await;
    assert_eq!(
        data["device"],
        json!({ "name": "pack", "type": "daly_bms", "state": "DISABLED", "readings": stored })
    );
    assert_eq!(node.samples("pack", "pack_voltage").await.len() as u64, stored);
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_on_the_network_goes_offline_and_comes_back() {
    let gateway = |listen: SocketAddr| TcpSim::spawn(daly(1), LinePace::default(), listen);
    let first = gateway(([127, 0, 0, 1], 0).into()).await.unwrap();
    let url = first.path().to_owned();
    let address = url.to_str().unwrap().strip_prefix("tcp://").unwrap().parse().unwrap();
    let site = Site::new().pack("pack", &url, 300);
    let node = site.start().await;
    node.device_is("pack", "ONLINE").await;
    first.stop().await.unwrap();
    node.device_is("pack", "OFFLINE").await;
    let second = until("the gateway's port is free again", BOUND, || async {
        gateway(address).await.map_err(|error| error.to_string())
    })
    .await;
    node.device_is("pack", "ONLINE").await;
    assert!(second.stats().cycles_completed() > 0);
    let tree = node.try_tree().await.unwrap();
    assert!(tree.iter().all(|actor| actor.restarts == 0), "{tree:?}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn boards_of_one_line_take_turns_and_a_dead_one_does_not_stop_the_others() {
    let line = Simulator::start(&["--boards", "3", "--baud", "115200", "--profile", "rest"]);
    let mut site = Site::new();
    for board in [1, 2, 3, 9] {
        site = site.battery(&format!("board-{board}"), "daly_bms", line.port(), &format!("board = {board}"));
    }
    let node = site.start().await;
    for board in [1, 2, 3] {
        node.device_is(&format!("board-{board}"), "ONLINE").await;
    }
    node.device_is("board-9", "OFFLINE").await;
    let readings = async |device: &str| node.ledger(Some(device)).await.received;
    for board in [1, 2, 3] {
        let device = format!("board-{board}");
        let before = readings(&device).await;
        until(&format!("{device} is read on"), BOUND, || async {
            let received = readings(&device).await;
            if received >= before + 5 { Ok(()) } else { Err(format!("{received}, before {before}")) }
        })
        .await;
    }
    let quality = |device: &str| {
        let query = "query($d: ID!) { device(id: $d) { linkQuality { goodPercent roundTripMs badFrames } } }";
        let variables = json!({ "d": device });
        let node = &node;
        async move { node.query(query, variables).await["device"]["linkQuality"].clone() }
    };
    let good = quality("board-1").await;
    assert!(
        good["goodPercent"].as_f64().unwrap() > 90.0 && good["roundTripMs"].as_f64().unwrap() > 0.0,
        "{good}"
    );
    assert_eq!(quality("board-9").await["goodPercent"], json!(0.0));
    assert_eq!(node.stop().await, Some(0));
}
